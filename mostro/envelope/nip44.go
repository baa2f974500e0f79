package envelope

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"unicode/utf8"

	"github.com/mostrodex/mostrodex/internal/cache"
	"github.com/mostrodex/mostrodex/mostro/message"
	"golang.org/x/crypto/chacha20"
)

// NIP-44 version 2. This package has its own implementation because the daemon decrypts
// untrusted payloads: the MAC is compared in constant time, conversation keys can be
// cached, and a payload for another key costs no allocation per layer.

// Limits of a NIP-44 plaintext, in bytes.
const (
	minPlaintext = 1
	maxPlaintext = 65535
)

const (
	minPayload = 132   // base64 of version, nonce, 32 padded bytes with length, MAC
	maxPayload = 87472 // the same for the largest plaintext
)

// A ConversationKey encrypts between two keys. It is a secret of both.
type ConversationKey [32]byte

// Format writes a fixed word for every verb, so that no log shows the key.
func (key ConversationKey) Format(f fmt.State, _ rune) { io.WriteString(f, "[redacted]") }

// Remembering returns a copy of the key pair with a cache of up to n conversation keys.
// The cache saves the Diffie-Hellman computation for each further message from the same
// peer. A peer enters the cache only after one of its payloads was authenticated.
func (k *Keys) Remembering(n int) *Keys {
	c := *k
	c.conversations = nil
	if n > 0 {
		c.conversations = &cache.Cache[string, ConversationKey]{Max: n}
	}
	return &c
}

// Conversation returns the conversation key with a peer. It returns a WireError with
// RuleKey if peer is not a public key.
func (k *Keys) Conversation(peer string) (ConversationKey, error) {
	if k.conversations != nil {
		if key, ok := k.conversations.Get(peer); ok {
			return key, nil
		}
	}
	p, err := message.ParsePoint(peer)
	if err != nil {
		return ConversationKey{}, err
	}
	x := k.sharedX(p)
	prk, err := hkdf.Extract(sha256.New, x[:], []byte("nip44-v2"))
	if err != nil {
		return ConversationKey{}, fmt.Errorf("conversation key: %w", err)
	}
	return ConversationKey(prk), nil
}

// remember stores a conversation key in the cache.
func (k *Keys) remember(peer string, key ConversationKey) {
	if k.conversations != nil {
		k.conversations.Put(peer, key)
	}
}

// MessageKeys derives ChaCha20 key, ChaCha20 nonce and MAC key of one message, 76 bytes
// in this order.
func (key ConversationKey) MessageKeys(nonce []byte) ([]byte, error) {
	return hkdf.Expand(sha256.New, key[:], string(nonce), 76)
}

// PaddedLen returns the length to which NIP-44 pads n bytes.
func PaddedLen(n int) int {
	if n <= 32 {
		return 32
	}
	next := 1 << bits.Len(uint(n-1))
	chunk := max(32, next/8)
	return chunk * ((n-1)/chunk + 1)
}

// Encrypt returns the base64 payload for a plaintext of 1 to 65,535 bytes. random supplies
// the nonce.
func (key ConversationKey) Encrypt(plain []byte, random io.Reader) (string, error) {
	if len(plain) < minPlaintext || len(plain) > maxPlaintext {
		return "", message.NewError(message.RuleSize, fmt.Sprintf("plaintext of %d bytes, the limit is %d", len(plain), maxPlaintext))
	}
	padded := 2 + PaddedLen(len(plain))
	out := make([]byte, 1+32+padded+32)
	out[0] = 2
	nonce, body, mac := out[1:33], out[33:33+padded], out[33+padded:]
	if _, err := io.ReadFull(random, nonce); err != nil {
		return "", fmt.Errorf("nonce: %w", err)
	}
	keys, err := key.MessageKeys(nonce)
	if err != nil {
		return "", fmt.Errorf("message keys: %w", err)
	}
	binary.BigEndian.PutUint16(body, uint16(len(plain)))
	copy(body[2:], plain)
	cipher, err := chacha20.NewUnauthenticatedCipher(keys[:32], keys[32:44])
	if err != nil {
		return "", fmt.Errorf("cipher: %w", err)
	}
	cipher.XORKeyStream(body, body)
	h := hmac.New(sha256.New, keys[44:])
	h.Write(nonce)
	h.Write(body)
	h.Sum(mac[:0])
	return base64.StdEncoding.EncodeToString(out), nil
}

// Decrypt returns the plaintext of a payload. It returns RuleSize if the length of the
// payload is impossible, and RuleEncryption for any other fault.
func (key ConversationKey) Decrypt(payload string) ([]byte, error) {
	if len(payload) < minPayload || len(payload) > maxPayload {
		return nil, message.NewError(message.RuleSize, fmt.Sprintf("encrypted content of %d bytes", len(payload)))
	}
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(payload)))
	n, err := base64.StdEncoding.Decode(raw, []byte(payload))
	if err != nil {
		return nil, message.NewError(message.RuleEncryption, "broken base64")
	}
	if n < 1+32+2+32+32 { // line breaks count in the payload, but decode to nothing
		return nil, message.NewError(message.RuleEncryption, "too short")
	}
	raw = raw[:n]
	if raw[0] != 2 {
		return nil, message.NewError(message.RuleEncryption, "not NIP-44 version 2")
	}
	nonce, body, mac := raw[1:33], raw[33:n-32], raw[n-32:]
	keys, err := key.MessageKeys(nonce)
	if err != nil {
		return nil, fmt.Errorf("message keys: %w", err)
	}
	h := hmac.New(sha256.New, keys[44:])
	h.Write(nonce)
	h.Write(body)
	var sum [32]byte
	if !hmac.Equal(h.Sum(sum[:0]), mac) {
		return nil, message.NewError(message.RuleEncryption, "not for this key, or damaged")
	}
	cipher, err := chacha20.NewUnauthenticatedCipher(keys[:32], keys[32:44])
	if err != nil {
		return nil, fmt.Errorf("cipher: %w", err)
	}
	cipher.XORKeyStream(body, body)
	size := int(binary.BigEndian.Uint16(body))
	if size < minPlaintext || len(body) != 2+PaddedLen(size) {
		return nil, message.NewError(message.RuleEncryption, "wrong padding")
	}
	plain := body[2 : 2+size]
	if !utf8.Valid(plain) {
		return nil, message.NewError(message.RuleEncryption, "not UTF-8")
	}
	return plain, nil
}
