//go:build libsecp256k1 && linux

package relay

// go-nostr compiles libsecp256k1 into the program and passes the author's key as text for
// each event. Decoding a key to a point of the curve costs a square root, a seventh of the
// whole check, and most events are of a few authors. The points of those authors are
// therefore cached here. The message is the id, because admission has proven that the id
// is the hash of the event.
//
// The functions are declared weak. go-nostr links the library, and the trial link of this
// package must not report missing symbols.

/*
#include <stddef.h>

extern const void *const secp256k1_context_static __attribute__((weak));
extern int secp256k1_xonly_pubkey_parse(const void *ctx, void *point, const unsigned char *key32) __attribute__((weak));
extern int secp256k1_schnorrsig_verify(const void *ctx, const unsigned char *sig64, const unsigned char *msg, size_t len, const void *point) __attribute__((weak));

static int relay_point(unsigned char *point64, const unsigned char *key32) {
	return secp256k1_xonly_pubkey_parse(secp256k1_context_static, point64, key32);
}

static int relay_verify(const unsigned char *sig64, const unsigned char *msg32, const unsigned char *point64) {
	return secp256k1_schnorrsig_verify(secp256k1_context_static, sig64, msg32, 32, point64);
}
*/
// #cgo noescape relay_point
// #cgo nocallback relay_point
// #cgo noescape relay_verify
// #cgo nocallback relay_verify
import "C"

import (
	"encoding/hex"
	"unsafe"

	"github.com/mostrodex/mostrodex/internal/cache"
	"github.com/nbd-wtf/go-nostr"
)

// point is a public key in the internal form of libsecp256k1 (secp256k1_xonly_pubkey),
// which is documented as 64 bytes.
type point [64]byte

// points caches the points of recent authors, in a megabyte. The keys of mail are used
// once and evict other points; busy authors are soon in the cache again.
var points = cache.Cache[[32]byte, point]{Max: 8192}

func pointOf(key [32]byte) (p point, ok bool) {
	if p, ok = points.Get(key); ok {
		return p, true
	}
	if C.relay_point((*C.uchar)(unsafe.Pointer(&p)), (*C.uchar)(unsafe.Pointer(&key))) != 1 {
		return p, false
	}
	points.Put(key, p)
	return p, true
}

// signatureHolds reports whether the signature of an event is valid for its author and its
// id. The caller has proven that the id is the hash of the event.
func signatureHolds(evt *nostr.Event) bool {
	var key, id [32]byte
	var sig [64]byte
	if !hexInto(key[:], evt.PubKey) || !hexInto(id[:], evt.ID) || !hexInto(sig[:], evt.Sig) {
		return false
	}
	p, ok := pointOf(key)
	return ok && C.relay_verify((*C.uchar)(unsafe.Pointer(&sig)), (*C.uchar)(unsafe.Pointer(&id)), (*C.uchar)(unsafe.Pointer(&p))) == 1
}

// hexInto decodes hex text into dst. hexInto returns false if the length differs from dst.
func hexInto(dst []byte, text string) bool {
	if len(text) != 2*len(dst) {
		return false
	}
	_, err := hex.Decode(dst, []byte(text))
	return err == nil
}
