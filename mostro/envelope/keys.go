package envelope

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
	"github.com/mostrodex/mostrodex/internal/cache"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr/nip06"
	"github.com/nbd-wtf/go-nostr/nip19"
)

// Keys is one key pair. It is immutable and safe for concurrent use. Every fmt verb
// prints only the public key.
type Keys struct {
	secret *btcec.PrivateKey
	signer signer
	pubkey string
	// conversations caches NIP-44 conversation keys; nil caches none.
	conversations *cache.Cache[string, ConversationKey]
}

// NewKeys returns a random key pair. If source is nil, NewKeys uses crypto/rand.
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
	return nil, fmt.Errorf("new key: the source of randomness returns no valid secret")
}

// KeysFromSecret returns the key pair of a secret key. It returns an error if the
// secret is zero or not below the order of the curve.
func KeysFromSecret(secret [32]byte) (*Keys, error) {
	var n btcec.ModNScalar
	if overflow := n.SetBytes(&secret); overflow != 0 || n.IsZero() {
		return nil, message.NewError(message.RuleKey, "not a secret of secp256k1")
	}
	sk, _ := btcec.PrivKeyFromBytes(secret[:])
	signer, pubkey := newSigner(sk)
	return &Keys{secret: sk, signer: signer, pubkey: pubkey}, nil
}

// ParseSecret parses a secret key as hex or nsec, with optional white space around it,
// as in a key file. The error never contains the input.
func ParseSecret(s string) (*Keys, error) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(strings.ToLower(s), "nsec1") {
		prefix, v, err := nip19.Decode(s)
		text, ok := v.(string)
		if err != nil || prefix != "nsec" || !ok {
			return nil, message.NewError(message.RuleKey, "broken nsec")
		}
		s = text
	}
	var secret [32]byte
	if len(s) != 64 {
		return nil, message.NewError(message.RuleKey, "want 64 hex digits or an nsec")
	}
	if _, err := hex.Decode(secret[:], []byte(s)); err != nil {
		return nil, message.NewError(message.RuleKey, "want 64 hex digits or an nsec")
	}
	return KeysFromSecret(secret)
}

// Pubkey returns the public key as 64 lower-case hex digits.
func (k *Keys) Pubkey() string { return k.pubkey }

// Secret returns the secret key. Use it only to store the key.
func (k *Keys) Secret() [32]byte {
	var b [32]byte
	k.secret.Key.PutBytes(&b)
	return b
}

// Npub returns the public key in bech32.
func (k *Keys) Npub() string {
	s, err := nip19.EncodePublicKey(k.pubkey)
	if err != nil {
		return "" // a valid key has 32 bytes, so encoding cannot fail
	}
	return s
}

// Nsec returns the secret key in bech32.
func (k *Keys) Nsec() string {
	b := k.Secret()
	s, err := nip19.EncodePrivateKey(hex.EncodeToString(b[:]))
	if err != nil {
		return "" // a valid key has 32 bytes, so encoding cannot fail
	}
	return s
}

// String returns the public key in hex.
func (k *Keys) String() string { return k.pubkey }

// Format prints the public key for every verb, so that no verb prints the secret.
func (k *Keys) Format(f fmt.State, _ rune) { io.WriteString(f, k.pubkey) }

// sharedX returns the x coordinate of the Diffie-Hellman point of the secret key and
// the peer's key with even y.
func (k *Keys) sharedX(peer *btcec.PublicKey) [32]byte {
	var x [32]byte
	copy(x[:], btcec.GenerateSharedSecret(k.secret, peer))
	return x
}

// sign returns the BIP-340 signature of a digest, with 32 bytes of auxiliary
// randomness.
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

// signText returns the signature that both current transports use: BIP-340 over the
// SHA-256 of the text, in hex.
func (k *Keys) signText(text []byte, random io.Reader) (string, error) {
	sig, err := k.sign(sha256.Sum256(text), random)
	return hex.EncodeToString(sig[:]), err
}

// verifyText reports whether sig is the signature of signText. It returns false for a
// malformed signature.
func verifyText(pubkey *btcec.PublicKey, text []byte, sig string) bool {
	var b [64]byte
	if len(sig) != 2*len(b) { // check first: hex.Decode trusts the size of its buffer
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

// Words is a BIP-39 seed phrase. All keys of a user derive from the phrase.
type Words struct{ seed [64]byte }

// NewWords returns a new seed phrase of 24 words.
func NewWords() (string, error) { return nip06.GenerateSeedWords() }

// ParseWords parses a seed phrase. It returns an error if a word is not in the English
// list or if the checksum is wrong. The passphrase is always empty.
func ParseWords(s string) (*Words, error) {
	s = strings.Join(strings.Fields(strings.ToLower(s)), " ")
	if !nip06.ValidateWords(s) {
		return nil, message.NewError(message.RuleKey, "not a BIP-39 seed phrase: a word is unknown or the checksum is wrong")
	}
	w := new(Words)
	copy(w.seed[:], nip06.SeedFromWords(s))
	return w, nil
}

// Format prints no part of the seed for any verb.
func (w *Words) Format(f fmt.State, _ rune) { io.WriteString(f, "mostro.Words") }

// The derivation path is m/44'/1237'/38383'/0/i.
const (
	hardened      = 1 << 31
	identityIndex = 0
)

// Identity derives the identity key, index 0. A user in full-privacy mode does not use
// this key: the trade key is then also the identity.
func (w *Words) Identity() (*Keys, error) { return w.derive(identityIndex) }

// Trade derives the key of a trade. It returns an error if index is 0 (the identity
// key) or above 2^31-1.
func (w *Words) Trade(index uint32) (*Keys, error) {
	if index == identityIndex {
		return nil, message.NewError(message.RuleRange, "trade index 0 belongs to the identity key")
	}
	return w.derive(index)
}

func (w *Words) derive(index uint32) (*Keys, error) {
	if index >= hardened {
		return nil, message.NewError(message.RuleRange, "trade index beyond 2^31-1")
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

// splitNode returns the BIP-32 child key and chain code of an HMAC: the parent key plus
// the left half, and the right half.
func splitNode(sum []byte, parent *btcec.ModNScalar) (*btcec.ModNScalar, []byte, error) {
	s := new(btcec.ModNScalar)
	if overflow := s.SetByteSlice(sum[:32]); overflow {
		return nil, nil, message.NewError(message.RuleKey, "this index has no key (chance 2^-127): use the next index")
	}
	if parent != nil {
		s.Add(parent)
	}
	if s.IsZero() {
		return nil, nil, message.NewError(message.RuleKey, "this index has no key (chance 2^-127): use the next index")
	}
	return s, sum[32:], nil
}
