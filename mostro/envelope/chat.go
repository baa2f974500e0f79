package envelope

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// Chat is a conversation between two keys without the node: between buyer and seller
// with their trade keys, or between a party and its solver. Both sides derive the same
// Chat. A Chat is immutable.
type Chat struct {
	// Conv encrypts every message. Its public key is the p tag of every message.
	Conv *Keys
	// Sign is the author of every message. A client subscribes to its public key.
	// Sign is nil in a chat that is only read.
	Sign *Keys

	shared *Keys // the older form encrypts to the bare shared secret
	// parties are the only keys that may sign an inner message.
	parties []string
}

// Limits of chat messages, from the protocol.
const (
	maxChatContent = 64 << 10
	maxChatSkew    = 60 * time.Second
)

// NewChat derives the conversation of own with a peer's public key. It returns an error
// if peer is not a public key.
func NewChat(own *Keys, peer string) (*Chat, error) {
	p, err := message.ParsePoint(peer)
	if err != nil {
		return nil, err
	}
	x := own.sharedX(p)
	c := &Chat{parties: []string{own.pubkey, peer}}
	if c.shared, err = KeysFromSecret(x); err != nil {
		return nil, fmt.Errorf("chat: %w", err)
	}
	if c.Conv, err = chatKey(x, "mostro:chat:conv:v1"); err != nil {
		return nil, err
	}
	if c.Sign, err = chatKey(x, "mostro:chat:sign:v1"); err != nil {
		return nil, err
	}
	return c, nil
}

// chatKey derives one key. If the derived bytes are not a valid secret (practically
// impossible), chatKey appends a counter to the label and tries again.
func chatKey(shared [32]byte, info string) (*Keys, error) {
	for n := range 256 {
		label := info
		if n > 0 {
			label += string([]byte{byte(n)})
		}
		out, err := hkdf.Key(sha256.New, shared[:], nil, label, 32)
		if err != nil {
			return nil, fmt.Errorf("chat key: %w", err)
		}
		if k, err := KeysFromSecret([32]byte(out)); err == nil {
			return k, nil
		}
	}
	return nil, errors.New("chat key: no valid secret")
}

// Filters returns the filters for the events of the conversation: those of the current form by
// their author, because anybody can name the address, and those of the older form.
func (c *Chat) Filters() []nostr.Filter {
	return []nostr.Filter{{Kinds: []int{mostro.KindMessage}, Authors: []string{c.Sign.pubkey}},
		{Kinds: []int{mostro.KindGiftWrap}, Tags: nostr.TagMap{"p": {c.OldAddress()}}}}
}

// OldAddress returns the public key that receives the older, gift-wrapped form.
func (c *Chat) OldAddress() string { return c.shared.pubkey }

// ChatReader reads a conversation of others by a key that one of them has given away. It
// cannot sign for a party. A ChatReader is immutable.
type ChatReader struct{ chats [2]*Chat }

// NewChatReader returns a reader for a key in one of two forms: the shared secret of both
// sides, or the key that encrypts the messages (K_conv). parties are the public keys that may
// have written a message. NewChatReader returns an error if secret is not a secret key.
func NewChatReader(secret [32]byte, parties ...string) (*ChatReader, error) {
	bare, err := KeysFromSecret(secret)
	if err != nil {
		return nil, fmt.Errorf("chat: %w", err)
	}
	derived := &Chat{shared: bare, parties: parties}
	if derived.Conv, err = chatKey(secret, "mostro:chat:conv:v1"); err != nil {
		return nil, err
	}
	if derived.Sign, err = chatKey(secret, "mostro:chat:sign:v1"); err != nil {
		return nil, err
	}
	return &ChatReader{[2]*Chat{derived, {Conv: bare, shared: bare, parties: parties}}}, nil
}

// Filters returns the filters for the events of the conversation.
func (r *ChatReader) Filters() []nostr.Filter {
	return append(r.chats[0].Filters(), nostr.Filter{Kinds: []int{mostro.KindMessage}, Tags: nostr.TagMap{"p": {r.chats[1].Conv.pubkey}}})
}

// Open decrypts and verifies a message as Chat.Open does. If the key is K_conv, the author of
// the outer event is not checked, because the key that signs it is unknown. The signature of
// the inner event proves the writer in any case.
func (r *ChatReader) Open(evt *nostr.Event, now time.Time) (ChatMessage, error) {
	msg, err := r.chats[0].Open(evt, now)
	if err != nil && evt.Kind == mostro.KindMessage {
		return r.chats[1].Open(evt, now)
	}
	return msg, err
}

// Chat returns the conversation whose shared secret the key is, if evt is a message of it in
// the current form. Otherwise Chat returns nil: nothing tells the shared secret from K_conv, with
// which no message may be written.
func (r *ChatReader) Chat(evt *nostr.Event, now time.Time) *Chat {
	if evt.Kind != mostro.KindMessage {
		return nil
	}
	if _, err := r.chats[0].Open(evt, now); err != nil {
		return nil
	}
	return r.chats[0]
}

// ChatMessage is a decrypted chat message.
type ChatMessage struct {
	Text      string
	Sender    string // party's key, proven
	CreatedAt nostr.Timestamp
	// InnerID should be remembered forever, because the other party can wrap the same
	// inner event again in a new outer event.
	InnerID string
	OuterID string
}

// Seal signs a text with the sender's key and encrypts it for the conversation, in the
// current form. If random is nil, Seal uses crypto/rand. Seal returns a WireError if
// the sender is not a party of the chat or if the text is too long.
func (c *Chat) Seal(from *Keys, text string, now time.Time, random io.Reader) (*nostr.Event, error) {
	if random == nil {
		random = rand.Reader
	}
	if !slices.Contains(c.parties, from.pubkey) {
		return nil, message.NewError(message.RuleParty, "the sender is not a party of this chat")
	}
	at := nostr.Timestamp(now.Unix())
	inner := &nostr.Event{PubKey: from.pubkey, CreatedAt: at, Kind: nostr.KindTextNote, Tags: nostr.Tags{}, Content: text}
	if err := signEvent(inner, from, random); err != nil {
		return nil, fmt.Errorf("seal chat: %w", err)
	}
	return c.Wrap(inner, now, random)
}

// Wrap encrypts an inner event, which a party has signed, for the conversation, in the current
// form. If random is nil, Wrap uses crypto/rand. Wrap returns a WireError if the inner event is
// not one that Open accepts.
func (c *Chat) Wrap(inner *nostr.Event, now time.Time, random io.Reader) (*nostr.Event, error) {
	if random == nil {
		random = rand.Reader
	}
	if _, err := c.checkInner(inner); err != nil {
		return nil, err
	}
	at := nostr.Timestamp(now.Unix())
	if err := checkInnerDate(inner.CreatedAt, at); err != nil {
		return nil, err
	}
	key, err := c.Conv.Conversation(c.Conv.pubkey)
	if err != nil {
		return nil, fmt.Errorf("seal chat: %w", err)
	}
	outer := &nostr.Event{PubKey: c.Sign.pubkey, CreatedAt: at, Kind: mostro.KindMessage, Tags: nostr.Tags{{"p", c.Conv.pubkey}}}
	if outer.Content, err = key.Encrypt(mostro.EncodeEvent(inner), random); err != nil {
		return nil, fmt.Errorf("seal chat: %w", err)
	}
	if len(outer.Content) > maxChatContent {
		return nil, message.NewError(message.RuleSize, fmt.Sprintf("encrypted text of %d bytes, the limit is %d", len(outer.Content), maxChatContent))
	}
	if err := signEvent(outer, c.Sign, random); err != nil {
		return nil, fmt.Errorf("seal chat: %w", err)
	}
	return outer, nil
}

// Open decrypts and verifies a chat message in either form: kind 14, or the gift wrap
// of older clients. The cheap checks come first. The caller has to limit the rate and
// to remember OuterID and InnerID against replays. Errors are WireErrors.
func (c *Chat) Open(evt *nostr.Event, now time.Time) (ChatMessage, error) {
	switch evt.Kind {
	case mostro.KindMessage:
		return c.open(evt, now)
	case mostro.KindGiftWrap:
		return c.openOld(evt)
	}
	return ChatMessage{}, message.NewError(message.RuleKind, "kind "+strconv.Itoa(evt.Kind)+" carries no chat")
}

func (c *Chat) open(evt *nostr.Event, now time.Time) (ChatMessage, error) {
	if c.Sign != nil && evt.PubKey != c.Sign.pubkey {
		return ChatMessage{}, message.NewError(message.RuleParty, "the author is not the conversation's signing key")
	}
	ps := 0
	for _, tag := range evt.Tags {
		if len(tag) > 0 && tag[0] == "p" {
			ps++
			if len(tag) < 2 || tag[1] != c.Conv.pubkey {
				ps = 2
			}
		}
	}
	if ps != 1 {
		return ChatMessage{}, message.NewError(message.RuleStructure, "want exactly one p tag, naming the conversation")
	}
	if int64(evt.CreatedAt) > now.Add(maxChatSkew).Unix() {
		return ChatMessage{}, message.NewError(message.RuleFuture, fmt.Sprintf("dated more than %s ahead", maxChatSkew))
	}
	if len(evt.Content) > maxChatContent {
		return ChatMessage{}, message.NewError(message.RuleSize, fmt.Sprintf("encrypted text of %d bytes", len(evt.Content)))
	}
	if err := CheckEvent(evt); err != nil {
		return ChatMessage{}, err
	}
	key, err := c.Conv.Conversation(c.Conv.pubkey)
	if err != nil {
		return ChatMessage{}, err
	}
	msg, err := c.inner(evt, key)
	if err != nil {
		return ChatMessage{}, err
	}
	if err := checkInnerDate(msg.CreatedAt, evt.CreatedAt); err != nil {
		return ChatMessage{}, err
	}
	return msg, nil
}

// checkInnerDate returns a WireError if the dates of the two events are too far apart.
func checkInnerDate(inner, outer nostr.Timestamp) error {
	if skew := int64(inner) - int64(outer); skew > 60 || skew < -60 {
		return message.NewError(message.RuleStale, "the inner and the outer event are dated more than a minute apart")
	}
	return nil
}

// openOld decrypts a gift wrap that is encrypted to the key of the bare shared secret.
// The outer author and date prove nothing; only the inner signature counts.
func (c *Chat) openOld(evt *nostr.Event) (ChatMessage, error) {
	if err := CheckEvent(evt); err != nil {
		return ChatMessage{}, err
	}
	key, err := c.shared.Conversation(evt.PubKey)
	if err != nil {
		return ChatMessage{}, err
	}
	return c.inner(evt, key)
}

func (c *Chat) inner(evt *nostr.Event, key ConversationKey) (ChatMessage, error) {
	plain, err := key.Decrypt(evt.Content)
	if err != nil {
		return ChatMessage{}, err
	}
	inner, err := message.DecodeEvent(plain)
	if err != nil {
		return ChatMessage{}, message.InPath("inner", err)
	}
	msg, err := c.checkInner(inner)
	msg.OuterID = evt.ID
	return msg, err
}

// checkInner checks the event inside a message. Errors are WireErrors.
func (c *Chat) checkInner(inner *nostr.Event) (ChatMessage, error) {
	if err := CheckEvent(inner); err != nil {
		return ChatMessage{}, message.InPath("inner", err)
	}
	if !slices.Contains(c.parties, inner.PubKey) {
		return ChatMessage{}, message.NewError(message.RuleParty, "signed by a key outside the conversation")
	}
	if inner.Kind != nostr.KindTextNote {
		return ChatMessage{}, message.NewError(message.RuleRumorKind, fmt.Sprintf("the inner event has kind %d", inner.Kind))
	}
	return ChatMessage{Text: inner.Content, Sender: inner.PubKey, CreatedAt: inner.CreatedAt, InnerID: inner.ID}, nil
}
