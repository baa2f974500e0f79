package receipt

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/crypto/chacha20"
)

// R0: the host's own message to a trader is the receipt. The published values open only
// that one message (v2), or the messages to that one trade key (v1). docs/receipts.md
// explains why a cheat cannot forge such a message.

// messageKeysLen is the length in bytes of the keys that NIP-44 derives for one
// message: ChaCha20 key, ChaCha20 nonce and MAC key.
const messageKeysLen = 32 + 12 + 32

// provingActions maps each action that a host sends only to the parties of a taken
// order to the role that the action proves; "" if the action proves no role.
var provingActions = map[message.Action]string{
	message.ActionPurchaseCompleted:         RoleBuyer,
	message.ActionHoldInvoicePaymentSettled: RoleSeller,
	message.ActionRate:                      "",
	message.ActionCooperativeCancelAccepted: "",
	message.ActionAdminSettled:              "",
	message.ActionAdminCanceled:             "",
	message.ActionDisputeInitiatedByYou:     "",
	message.ActionDisputeInitiatedByPeer:    "",
	message.ActionCanceled:                  "",
}

// Disclosable reports whether a host's message with this action can be used as a
// receipt. ActionCanceled can, but it proves little: a user who publishes an order and
// cancels it receives one.
func Disclosable(a message.Action) bool { _, ok := provingActions[a]; return ok }

// Disclose makes an R0 receipt from an event that a host sent, and returns the values
// of the rating's receipt tag. trade is the trade key that received the event; the same
// key has to sign the rating. If random is nil, Disclose uses crypto/rand. Disclose
// returns an error if the event does not open with trade or its message proves no
// trade.
func Disclose(evt *nostr.Event, trade *envelope.Keys, random io.Reader) ([]string, error) {
	switch envelope.TransportOf(evt.Kind) {
	case envelope.TransportV2:
		return DiscloseV2(evt, trade)
	case envelope.TransportV1:
		return DiscloseV1(evt, trade, random)
	}
	return nil, message.NewError(message.RuleKind, fmt.Sprintf("kind %d carries no message that can be disclosed", evt.Kind))
}

// DiscloseV2 makes an R0 receipt from a signed kind 14. The receipt holds message keys,
// which open only this event.
func DiscloseV2(evt *nostr.Event, trade *envelope.Keys) ([]string, error) {
	env, err := opened(evt, trade, envelope.TransportV2)
	if err != nil {
		return nil, err
	}
	raw, err := base64.StdEncoding.DecodeString(evt.Content)
	if err != nil {
		return nil, message.NewError(message.RuleEncryption, "broken base64")
	}
	key, err := trade.Conversation(evt.PubKey)
	if err != nil {
		return nil, err
	}
	keys, err := key.MessageKeys(raw[1:33])
	if err != nil {
		return nil, fmt.Errorf("message keys: %w", err)
	}
	return proven(env, trade.Pubkey(), []string{"r0", "v2", string(mostro.EncodeEvent(bare(evt))), hex.EncodeToString(keys)})
}

// DiscloseV1 makes an R0 receipt from a gift wrap. The receipt holds the shared point
// of host and trade key. The shared point opens every seal between these two keys, so a
// trade key must not be used for a second trade. The shared point opens no gift wrap.
// If random is nil, DiscloseV1 uses crypto/rand.
func DiscloseV1(evt *nostr.Event, trade *envelope.Keys, random io.Reader) ([]string, error) {
	if random == nil {
		random = rand.Reader
	}
	env, err := opened(evt, trade, envelope.TransportV1)
	if err != nil {
		return nil, err
	}
	key, err := trade.Conversation(evt.PubKey)
	if err != nil {
		return nil, err
	}
	sealJSON, err := key.Decrypt(evt.Content)
	if err != nil {
		return nil, err
	}
	seal, err := message.DecodeEvent(sealJSON)
	if err != nil {
		return nil, message.InPath("seal", err)
	}
	host, err := message.ParsePoint(seal.PubKey)
	if err != nil {
		return nil, message.InPath("seal", err)
	}
	point, proof, err := sharedPoint(trade, host, []byte(seal.ID), random)
	if err != nil {
		return nil, fmt.Errorf("prove the shared point: %w", err)
	}
	return proven(env, trade.Pubkey(), []string{
		"r0", "v1", string(mostro.EncodeEvent(bare(seal))), hex.EncodeToString(point.SerializeCompressed()), hex.EncodeToString(proof[:]),
	})
}

// bare returns a copy of an event with only the fields that NIP-01 defines.
func bare(evt *nostr.Event) *nostr.Event {
	return &nostr.Event{ID: evt.ID, PubKey: evt.PubKey, CreatedAt: evt.CreatedAt, Kind: evt.Kind, Tags: evt.Tags, Content: evt.Content, Sig: evt.Sig}
}

func opened(evt *nostr.Event, trade *envelope.Keys, want envelope.Transport) (envelope.Envelope, error) {
	if envelope.TransportOf(evt.Kind) != want {
		return envelope.Envelope{}, message.NewError(message.RuleKind, "not a message of transport "+want.String())
	}
	env, err := envelope.Open(evt, trade)
	if err != nil {
		return envelope.Envelope{}, err
	}
	if env.Message.ID == nil {
		return envelope.Envelope{}, forged(RuleOrder, "the message names no order")
	}
	return env, nil
}

// proven checks a new receipt before its author publishes it.
func proven(env envelope.Envelope, rater string, values []string) ([]string, error) {
	r := Receipt{Node: env.Identity, Rater: rater, Order: env.Message.ID.String()}
	if err := r.checkDisclosed(values[1:]); err != nil {
		return nil, err
	}
	return values, nil
}

// checkDisclosed checks the transport, the event and the values that open the event.
func (r *Receipt) checkDisclosed(values []string) error {
	if len(values) == 0 {
		return forged(RuleFields, "r0 needs a transport")
	}
	var plain []byte
	var err error
	transport := envelope.TransportV2
	switch values[0] {
	case "v2":
		plain, err = r.discloseV2(values[1:])
	case "v1":
		transport = envelope.TransportV1
		plain, err = r.discloseV1(values[1:])
	default:
		err = forged(RuleForm, "unknown transport of r0: want v2 or v1")
	}
	if err != nil {
		return err
	}
	return r.readDisclosed(plain, transport)
}

// hostEvent parses an event inside a receipt. The event must be encoded as EncodeEvent
// does, be of the given kind, and be signed by the host.
func (r *Receipt) hostEvent(text string, kind int) (*nostr.Event, error) {
	evt, err := message.DecodeEvent([]byte(text))
	if err != nil || string(mostro.EncodeEvent(evt)) != text {
		return nil, forged(RuleJSON, "want an event's fields in NIP-01's order, without white space")
	}
	switch {
	case evt.Kind != kind:
		return nil, forged(RuleEventKind, fmt.Sprintf("kind %d, want %d", evt.Kind, kind))
	case evt.PubKey != r.Node:
		return nil, forged(RuleNode, "the author is not the rated host")
	}
	var w *message.WireError
	switch err := envelope.CheckEvent(evt); {
	case errors.As(err, &w) && w.Rule == message.RuleEventID:
		return nil, forged(RuleEventID, w.Detail)
	case err != nil:
		return nil, forged(RuleEventSig, "does not verify")
	}
	return evt, nil
}

// discloseV2 decrypts a kind 14 with the keys of this one message.
func (r *Receipt) discloseV2(values []string) ([]byte, error) {
	if len(values) != 2 {
		return nil, forged(RuleFields, "r0 v2 needs event and message keys")
	}
	evt, err := r.hostEvent(values[0], mostro.KindMessage)
	if err != nil {
		return nil, err
	}
	var to []string
	for _, tag := range evt.Tags {
		if len(tag) > 0 && tag[0] == "p" {
			to = append(to, slices.Concat(tag[1:], []string{""})[0])
		}
	}
	switch {
	case len(to) != 1:
		return nil, forged(RuleRecipients, fmt.Sprintf("%d p tags", len(to)))
	case to[0] != r.Rater:
		return nil, forged(RuleRecipient, "the recipient is not the rating's author")
	}
	var keys [messageKeysLen]byte
	if !hex32.Decode(keys[:], values[1]) {
		return nil, forged(RuleKeys, "want ChaCha20 key, nonce and MAC key: 152 lower-case hex digits")
	}
	return openStrictly(evt.Content, keys)
}

// openStrictly decrypts a NIP-44 payload with its message keys. Decrypt accepts any
// payload that authenticates; openStrictly also requires the strict form of base64,
// length and padding. The prover chooses the message keys, so every bit of the
// plaintext that is not fixed makes a forgery easier.
func openStrictly(payload string, keys [messageKeysLen]byte) ([]byte, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(payload)
	if err != nil || base64.StdEncoding.EncodeToString(raw) != payload || len(raw) < 1+32+2+32+32 {
		return nil, forged(RuleCiphertext, "not base64, or too short")
	}
	if raw[0] != 2 {
		return nil, forged(RuleVersion, fmt.Sprintf("version %d", raw[0]))
	}
	nonce, body, mac := raw[1:33], raw[33:len(raw)-32], raw[len(raw)-32:]
	h := hmac.New(sha256.New, keys[44:])
	h.Write(nonce)
	h.Write(body)
	if !hmac.Equal(h.Sum(nil), mac) {
		return nil, forged(RuleMAC, "these are not the keys of this message")
	}
	cipher, err := chacha20.NewUnauthenticatedCipher(keys[:32], keys[32:44])
	if err != nil {
		return nil, forged(RuleKeys, "unusable")
	}
	plain := make([]byte, len(body))
	cipher.XORKeyStream(plain, body)
	return unpadStrictly(plain)
}

// unpadStrictly checks and removes length and padding.
func unpadStrictly(padded []byte) ([]byte, error) {
	size := int(binary.BigEndian.Uint16(padded))
	if size == 0 || len(padded) != 2+envelope.PaddedLen(size) {
		return nil, forged(RuleLength, "the padded length does not fit the text")
	}
	if len(bytes.TrimRight(padded[2+size:], "\x00")) > 0 {
		return nil, forged(RulePadding, "padding bytes are not zero")
	}
	return padded[2 : 2+size], nil
}

// discloseV1 decrypts a seal with the shared point of host and trade key.
func (r *Receipt) discloseV1(values []string) ([]byte, error) {
	if len(values) != 3 {
		return nil, forged(RuleFields, "r0 v1 needs seal, shared point and proof")
	}
	seal, err := r.hostEvent(values[0], nostr.KindSeal)
	if err != nil {
		return nil, err
	}
	var compressed [33]byte
	var proof [64]byte
	if !hex32.Decode(compressed[:], values[1]) {
		return nil, forged(RulePoint, "want 66 lower-case hex digits")
	}
	point, err := btcec.ParsePubKey(compressed[:])
	if err != nil {
		return nil, forged(RulePoint, "not on the curve")
	}
	if !hex32.Decode(proof[:], values[2]) {
		return nil, forged(RuleProof, "want 128 lower-case hex digits")
	}
	host, err := message.ParsePoint(r.Node)
	if err != nil {
		return nil, forged(RuleNode, "the host's key is not a public key")
	}
	rater, err := message.ParsePoint(r.Rater)
	if err != nil {
		return nil, forged(RuleRecipient, "the author's key is not a public key")
	}
	if !provenShared(rater, host, point, proof, []byte(seal.ID)) {
		return nil, forged(RuleProof, "the proof does not hold for author and host")
	}
	prk, err := hkdf.Extract(sha256.New, compressed[1:], []byte("nip44-v2"))
	if err != nil {
		return nil, forged(RuleProof, "no conversation key")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(seal.Content)
	if err != nil || base64.StdEncoding.EncodeToString(raw) != seal.Content || len(raw) < 1+32+2+32+32 {
		return nil, forged(RuleCiphertext, "not base64, or too short")
	}
	keys, err := envelope.ConversationKey(prk).MessageKeys(raw[1:33])
	if err != nil {
		return nil, forged(RuleProof, "no message keys")
	}
	rumorJSON, err := openStrictly(seal.Content, [messageKeysLen]byte(keys))
	if err != nil {
		return nil, err
	}
	rumor, err := message.DecodeRumor(rumorJSON)
	switch {
	case err != nil:
		return nil, forged(RuleRumor, "not an event")
	case rumor.Kind != nostr.KindTextNote:
		return nil, forged(RuleRumor, fmt.Sprintf("kind %d, want 1", rumor.Kind))
	case rumor.PubKey != r.Node:
		return nil, forged(RuleRumor, "the author is not the author of the seal")
	}
	return []byte(rumor.Content), nil
}

// readDisclosed parses the decrypted tuple. The tuple must hold the canonical bytes of
// one message from the host about the rated order, followed by nulls.
func (r *Receipt) readDisclosed(plain []byte, transport envelope.Transport) error {
	head, tail := []byte("["), []byte(",null,null]")
	if transport == envelope.TransportV1 {
		tail = []byte(",null]")
	}
	if !bytes.HasPrefix(plain, head) || !bytes.HasSuffix(plain, tail) {
		return forged(RuleTuple, "want a message followed by nulls")
	}
	body := plain[len(head) : len(plain)-len(tail)]
	m, err := message.ParseMessage(body)
	if err != nil || !bytes.Equal(m.JSON(), body) {
		return forged(RuleCanonical, "not the bytes that a host writes")
	}
	switch {
	case m.Wrapper != message.WrapperOrder:
		return forged(RuleWrapper, "wrapped as "+string(m.Wrapper))
	case m.Version != transport.Version():
		return forged(RuleMessageVersion, fmt.Sprintf("version %d, want %d", m.Version, transport.Version()))
	case !Disclosable(m.Action):
		return forged(RuleAction, "this action proves no trade")
	case m.ID == nil || m.ID.String() != r.Order:
		return forged(RuleOrder, "the message is about another order")
	}
	if m.Payload != nil {
		ref, ok := m.Payload.(message.DisputeRef)
		disputed := m.Action == message.ActionDisputeInitiatedByYou || m.Action == message.ActionDisputeInitiatedByPeer
		if !ok || !disputed || ref.Info != nil {
			return forged(RulePayload, "only the id of a dispute may be published")
		}
		r.Dispute = ref.ID.String()
	}
	r.Kind, r.Action, r.Role = R0, m.Action, provingActions[m.Action]
	return nil
}
