//go:build libsecp256k1 && linux

package relay

// go-nostr compiles libsecp256k1 into the program and calls it with the author's
// key as text, event by event. To make a point of the curve of a key costs a
// square root, a seventh of the whole check, and most events are by a few
// authors; so the points of these are kept here, and the message is the id,
// which admission has proven to be the event's hash.
//
// The functions are declared weak: the library is linked by go-nostr, not by
// this package, whose own trial link must not miss them.

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
	"sync"
	"unsafe"

	"github.com/nbd-wtf/go-nostr"
)

// point is a public key as libsecp256k1 calculates with it: its secp256k1_xonly_pubkey,
// which is 64 bytes by its documentation.
type point [64]byte

// points are those of the authors seen last.
var points = struct {
	sync.RWMutex
	of map[[32]byte]point
}{of: make(map[[32]byte]point)}

// maxPoints bounds the memory to a megabyte. Mail is by keys that are used
// once: when there is no room, all are forgotten and the busy ones are soon
// back.
const maxPoints = 8192

func pointOf(key [32]byte) (p point, ok bool) {
	points.RLock()
	p, ok = points.of[key]
	points.RUnlock()
	if ok {
		return p, true
	}
	if C.relay_point((*C.uchar)(unsafe.Pointer(&p)), (*C.uchar)(unsafe.Pointer(&key))) != 1 {
		return p, false
	}
	points.Lock()
	if len(points.of) >= maxPoints {
		clear(points.of)
	}
	points.of[key] = p
	points.Unlock()
	return p, true
}

// signatureHolds says whether the signature of an event is its author's over its id,
// which the caller has proven to be the event's hash.
func signatureHolds(evt *nostr.Event) bool {
	var key, id [32]byte
	var sig [64]byte
	if !hexInto(key[:], evt.PubKey) || !hexInto(id[:], evt.ID) || !hexInto(sig[:], evt.Sig) {
		return false
	}
	p, ok := pointOf(key)
	return ok && C.relay_verify((*C.uchar)(unsafe.Pointer(&sig)), (*C.uchar)(unsafe.Pointer(&id)), (*C.uchar)(unsafe.Pointer(&p))) == 1
}

// hexInto decodes hex that is as long as dst.
func hexInto(dst []byte, text string) bool {
	if len(text) != 2*len(dst) {
		return false
	}
	_, err := hex.Decode(dst, []byte(text))
	return err == nil
}
