package envelope

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// The transport of 2023: kind 4, NIP-04, with the bare message as plaintext. No part of
// this transport authenticates an identity. The sender is therefore the author of the
// event, in full privacy unless the pubkey field names the same key. NIP-04 has no MAC.
// Every decryption failure returns the same error below, and a daemon drops such events
// without an answer.

// maxLegacyContent bounds the length of content that is decrypted: base64 of the
// largest plaintext with padding and iv, rounded up.
const maxLegacyContent = 88 << 10

var errLegacyCipher = &message.WireError{Rule: message.RuleEncryption, Detail: "not for this key, or damaged"}

func openLegacy(evt *nostr.Event, keys *Keys) (Envelope, error) {
	peer, err := message.ParsePoint(evt.PubKey)
	if err != nil {
		return Envelope{}, err
	}
	if len(evt.Content) > maxLegacyContent {
		return Envelope{}, message.NewError(message.RuleSize, fmt.Sprintf("encrypted content of %d bytes", len(evt.Content)))
	}
	plain, ok := decryptNIP04(evt.Content, keys.sharedX(peer))
	if !ok {
		e := *errLegacyCipher
		return Envelope{}, &e
	}
	if len(plain) > maxPlaintext {
		return Envelope{}, message.NewError(message.RuleSize, fmt.Sprintf("plaintext of %d bytes, the limit is %d", len(plain), maxPlaintext))
	}
	m, contact, err := message.ParseLegacy(plain)
	if err != nil {
		return Envelope{}, err
	}
	return Envelope{
		Transport: TransportLegacy, Sender: evt.PubKey, Identity: evt.PubKey, FullPrivacy: contact != evt.PubKey,
		CreatedAt: evt.CreatedAt, EventID: evt.ID, ReplayID: evt.ID, Message: m, RawMessage: plain, Contact: contact,
	}, nil
}

func sealLegacy(ctx context.Context, m message.Message, o SealOptions) (*nostr.Event, error) {
	if _, err := sendable(m); err != nil {
		return nil, fmt.Errorf("seal legacy: %w", err)
	}
	plain, err := message.AppendLegacy(make([]byte, 0, 512), m, o.contact)
	if err != nil {
		return nil, fmt.Errorf("seal legacy: %w", err)
	}
	if back, contact, err := message.ParseLegacy(plain); err != nil {
		return nil, fmt.Errorf("seal legacy: the receiver could not parse the message: %w", err)
	} else if again, err := message.AppendLegacy(nil, back, contact); err != nil || !bytes.Equal(again, plain) {
		return nil, fmt.Errorf("seal legacy: %w", message.NewError(message.RuleCanonical, "the message changes when it is encoded and parsed again"))
	}
	peer, err := message.ParsePoint(o.To)
	if err != nil {
		return nil, fmt.Errorf("seal legacy: %w", err)
	}
	content, err := encryptNIP04(plain, o.Trade.sharedX(peer), o.Rand)
	if err != nil {
		return nil, fmt.Errorf("seal legacy: %w", err)
	}
	evt := &nostr.Event{
		PubKey: o.Trade.pubkey, CreatedAt: nostr.Timestamp(o.Now.Unix()), Kind: mostro.KindLegacyDM,
		Tags: nostr.Tags{{"p", o.To}}, Content: content,
	}
	if o.Expiration != 0 {
		evt.Tags = append(evt.Tags, expirationTag(o.Expiration))
	}
	if err := Mine(ctx, evt, o.Work); err != nil {
		return nil, fmt.Errorf("seal legacy: %w", err)
	}
	if err := signEvent(evt, o.Trade, o.Rand); err != nil {
		return nil, fmt.Errorf("seal legacy: %w", err)
	}
	return evt, nil
}

// encryptNIP04 encrypts with AES-256-CBC and PKCS#7 padding. The key is the bare x
// coordinate of the shared point.
func encryptNIP04(plain []byte, x [32]byte, random io.Reader) (string, error) {
	if len(plain) > maxPlaintext {
		return "", message.NewError(message.RuleSize, fmt.Sprintf("plaintext of %d bytes, the limit is %d", len(plain), maxPlaintext))
	}
	var iv [aes.BlockSize]byte
	if _, err := io.ReadFull(random, iv[:]); err != nil {
		return "", fmt.Errorf("iv: %w", err)
	}
	block, err := aes.NewCipher(x[:])
	if err != nil {
		return "", fmt.Errorf("cipher: %w", err)
	}
	pad := aes.BlockSize - len(plain)%aes.BlockSize
	body := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, iv[:]).CryptBlocks(body, body)
	return base64.StdEncoding.EncodeToString(body) + "?iv=" + base64.StdEncoding.EncodeToString(iv[:]), nil
}

// decryptNIP04 returns false for every failure, without a reason.
func decryptNIP04(content string, x [32]byte) ([]byte, bool) {
	text, ivText, ok := strings.Cut(content, "?iv=")
	if !ok {
		return nil, false
	}
	body, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(body) == 0 || len(body)%aes.BlockSize != 0 {
		return nil, false
	}
	iv, err := base64.StdEncoding.DecodeString(ivText)
	if err != nil || len(iv) != aes.BlockSize {
		return nil, false
	}
	block, err := aes.NewCipher(x[:])
	if err != nil {
		return nil, false
	}
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(body, body)
	pad := int(body[len(body)-1])
	if pad < 1 || pad > aes.BlockSize || pad > len(body) {
		return nil, false
	}
	for _, c := range body[len(body)-pad:] {
		if int(c) != pad {
			return nil, false
		}
	}
	plain := body[:len(body)-pad]
	return plain, utf8.Valid(plain)
}
