package mostro

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/nbd-wtf/go-nostr/nip06"
	"github.com/nbd-wtf/go-nostr/nip19"
)

// Keys is one key pair. It is never changed after it was made, and may be
// used by many goroutines. Printing it shows the public key alone.
type Keys struct {
	secret *btcec.PrivateKey
	signer signer
	pubkey string
	// conversations remembers NIP-44 conversation keys; nil remembers none.
	conversations *conversationCache
}

// NewKeys makes a random key pair. A nil source is crypto/rand.
func NewKeys(source io.Reader) (*Keys, error) {
	if source == nil {
		source = rand.Reader
	}
	var b [32]byte
	for range 8 {
		if _, err := io.ReadFull(source, b[:]); err != nil {
			return nil, fmt.Errorf("new key: %w", err)
		}
		if k, err := KeysFromSecret(b); err == nil {
			return k, nil
		}
	}
	return nil, fmt.Errorf("new key: the source of randomness gives no valid secret")
}

// KeysFromSecret takes the 32 bytes of a secret key.
func KeysFromSecret(secret [32]byte) (*Keys, error) {
	var n btcec.ModNScalar
	if overflow := n.SetBytes(&secret); overflow != 0 || n.IsZero() {
		return nil, broke(RuleKey, "not a secret of secp256k1")
	}
	sk, _ := btcec.PrivKeyFromBytes(secret[:])
	signer, pubkey := newSigner(sk)
	return &Keys{secret: sk, signer: signer, pubkey: pubkey}, nil
}

// ParseSecret reads a secret key as hex or nsec, white space around it
// allowed: the content of a key file. The error never repeats the input.
func ParseSecret(s string) (*Keys, error) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(strings.ToLower(s), "nsec1") {
		prefix, v, err := nip19.Decode(s)
		text, ok := v.(string)
		if err != nil || prefix != "nsec" || !ok {
			return nil, broke(RuleKey, "broken nsec")
		}
		s = text
	}
	var secret [32]byte
	if len(s) != 64 {
		return nil, broke(RuleKey, "want 64 hex digits or an nsec")
	}
	if _, err := hex.Decode(secret[:], []byte(s)); err != nil {
		return nil, broke(RuleKey, "want 64 hex digits or an nsec")
	}
	return KeysFromSecret(secret)
}

// ParsePubkey reads a public key as hex or npub and gives it as lower-case
// hex. It proves that the key is a point of the curve.
func ParsePubkey(s string) (string, error) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(strings.ToLower(s), "npub1") {
		prefix, v, err := nip19.Decode(s)
		text, ok := v.(string)
		if err != nil || prefix != "npub" || !ok {
			return "", broke(RuleKey, "broken npub")
		}
		s = text
	}
	s = strings.ToLower(s)
	if _, err := pointOf(s); err != nil {
		return "", err
	}
	return s, nil
}

// Pubkey is the public key as 64 lower-case hex digits.
func (k *Keys) Pubkey() string { return k.pubkey }

// Secret gives the secret key. It is for those who must store it.
func (k *Keys) Secret() [32]byte {
	var b [32]byte
	k.secret.Key.PutBytes(&b)
	return b
}

// Npub gives the public key in its bech32 form.
func (k *Keys) Npub() string {
	s, err := nip19.EncodePublicKey(k.pubkey)
	if err != nil {
		return "" // a valid key has 32 bytes, nothing else can go wrong
	}
	return s
}

// Nsec gives the secret key in its bech32 form.
func (k *Keys) Nsec() string {
	b := k.Secret()
	s, err := nip19.EncodePrivateKey(hex.EncodeToString(b[:]))
	if err != nil {
		return "" // a valid key has 32 bytes, nothing else can go wrong
	}
	return s
}

// String gives the public key.
func (k *Keys) String() string { return k.pubkey }

// Format keeps the secret out of every verb.
func (k *Keys) Format(f fmt.State, _ rune) { io.WriteString(f, k.pubkey) }

// pointOf reads an x-only public key given as 64 lower-case hex digits.
func pointOf(pubkey string) (*btcec.PublicKey, error) {
	var x [32]byte
	if !decodeHex(x[:], pubkey) {
		return nil, broke(RuleKey, "want 64 lower-case hex digits")
	}
	p, err := schnorr.ParsePubKey(x[:])
	if err != nil {
		return nil, broke(RuleKey, "not a point of secp256k1")
	}
	return p, nil
}

// decodeHex fills dst from exactly 2*len(dst) lower-case hex digits.
func decodeHex(dst []byte, s string) bool {
	if len(s) != 2*len(dst) {
		return false
	}
	for i := range dst {
		hi, lo := hexDigit(s[2*i]), hexDigit(s[2*i+1])
		if hi|lo > 15 {
			return false
		}
		dst[i] = hi<<4 | lo
	}
	return true
}

func hexDigit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// sharedX is the x coordinate of the Diffie-Hellman point of our secret and
// the peer's key with even y.
func (k *Keys) sharedX(peer *btcec.PublicKey) [32]byte {
	var x [32]byte
	copy(x[:], btcec.GenerateSharedSecret(k.secret, peer))
	return x
}

// sign is BIP-340 over a digest, with 32 bytes of auxiliary randomness.
func (k *Keys) sign(digest [32]byte, random io.Reader) ([64]byte, error) {
	var aux [32]byte
	if _, err := io.ReadFull(random, aux[:]); err != nil {
		return [64]byte{}, fmt.Errorf("sign: %w", err)
	}
	out, err := k.signer.sign(digest, aux)
	if err != nil {
		return out, fmt.Errorf("sign: %w", err)
	}
	return out, nil
}

// signText is the signature primitive of both current transports: BIP-340
// over the SHA-256 of the text, in hex.
func (k *Keys) signText(text []byte, random io.Reader) (string, error) {
	sig, err := k.sign(sha256.Sum256(text), random)
	return hex.EncodeToString(sig[:]), err
}

// verifyText checks what signText made. Malformed keys and signatures are
// just wrong.
func verifyText(pubkey *btcec.PublicKey, text []byte, sig string) bool {
	var b [64]byte
	if len(sig) != 2*len(b) { // first: hex.Decode trusts the room that it is given
		return false
	}
	if _, err := hex.Decode(b[:], []byte(sig)); err != nil {
		return false
	}
	s, err := schnorr.ParseSignature(b[:])
	if err != nil {
		return false
	}
	digest := sha256.Sum256(text)
	return s.Verify(digest[:], pubkey)
}

// Words is a BIP-39 seed phrase from which all keys of a user derive.
type Words struct{ seed [64]byte }

// NewWords makes a seed phrase of 24 words.
func NewWords() (string, error) { return nip06.GenerateSeedWords() }

// ParseWords checks a seed phrase against the English list and its checksum.
// The passphrase is always empty.
func ParseWords(s string) (*Words, error) {
	s = strings.Join(strings.Fields(strings.ToLower(s)), " ")
	if !nip06.ValidateWords(s) {
		return nil, broke(RuleKey, "not a BIP-39 seed phrase: a word is unknown or the checksum is wrong")
	}
	w := new(Words)
	copy(w.seed[:], nip06.SeedFromWords(s))
	return w, nil
}

// Format keeps the seed out of every print.
func (w *Words) Format(f fmt.State, _ rune) { io.WriteString(f, "mostro.Words") }

// The derivation path is m/44'/1237'/38383'/0/i.
const (
	hardened      = 1 << 31
	identityIndex = 0
)

// Identity derives the identity key, index 0. In full-privacy mode it is not
// used: the trade key is then identity as well.
func (w *Words) Identity() (*Keys, error) { return w.derive(identityIndex) }

// Trade derives the key of a trade. Index 0 is the identity's and refused.
func (w *Words) Trade(index uint32) (*Keys, error) {
	if index == identityIndex {
		return nil, broke(RuleRange, "trade index 0 is the identity key's")
	}
	return w.derive(index)
}

func (w *Words) derive(index uint32) (*Keys, error) {
	if index >= hardened {
		return nil, broke(RuleRange, "trade index beyond 2^31-1")
	}
	h := hmac.New(sha512.New, []byte("Bitcoin seed"))
	h.Write(w.seed[:])
	secret, chain, err := splitNode(h.Sum(nil), nil)
	if err != nil {
		return nil, err
	}
	for _, i := range [...]uint32{hardened + 44, hardened + 1237, hardened + 38383, 0, index} {
		var data [37]byte
		if i >= hardened {
			secret.PutBytesUnchecked(data[1:33])
		} else {
			copy(data[:33], btcec.PrivKeyFromScalar(secret).PubKey().SerializeCompressed())
		}
		binary.BigEndian.PutUint32(data[33:], i)
		h := hmac.New(sha512.New, chain)
		h.Write(data[:])
		if secret, chain, err = splitNode(h.Sum(nil), secret); err != nil {
			return nil, err
		}
	}
	var b [32]byte
	secret.PutBytes(&b)
	return KeysFromSecret(b)
}

// splitNode makes BIP-32's child out of an HMAC: parent + left half, and the
// right half as chain code.
func splitNode(sum []byte, parent *btcec.ModNScalar) (*btcec.ModNScalar, []byte, error) {
	s := new(btcec.ModNScalar)
	if overflow := s.SetByteSlice(sum[:32]); overflow {
		return nil, nil, broke(RuleKey, "this index has no key (one in 2^127): take the next")
	}
	if parent != nil {
		s.Add(parent)
	}
	if s.IsZero() {
		return nil, nil, broke(RuleKey, "this index has no key (one in 2^127): take the next")
	}
	return s, sum[32:], nil
}
