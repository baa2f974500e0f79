package envelope

import (
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// Direct is a private text message of NIP-17. Sender is proven by the seal.
type Direct struct {
	Sender    string
	Text      string
	CreatedAt nostr.Timestamp // of the rumor, the time at which the sender wrote it
	SealID    string          // anyone who can open the gift wrap can wrap its seal again
}

// SealDirect returns a gift wrap (NIP-59) with a text message of NIP-17 for a public key. If
// random is nil, SealDirect uses crypto/rand.
func SealDirect(from *Keys, to, text string, now time.Time, random io.Reader) (*nostr.Event, error) {
	if random == nil {
		random = rand.Reader
	}
	rumor := &nostr.Event{PubKey: from.pubkey, CreatedAt: nostr.Timestamp(now.Unix()), Kind: nostr.KindDirectMessage, Tags: nostr.Tags{{"p", to}}, Content: text}
	rumor.ID = rumor.GetID()
	wrap, err := wrapRumor(rumor, from, to, now, random)
	if err != nil {
		return nil, fmt.Errorf("seal message: %w", err)
	}
	return wrap, nil
}

// wrapRumor seals a rumor with the sender's key, and wraps the seal with an ephemeral key.
// Both are dated back by a random time of up to two days.
func wrapRumor(rumor *nostr.Event, from *Keys, to string, now time.Time, random io.Reader) (*nostr.Event, error) {
	seal := &nostr.Event{PubKey: from.pubkey, Kind: nostr.KindSeal, Tags: nostr.Tags{}}
	if err := closeInto(seal, from, to, rumor, now, random); err != nil {
		return nil, err
	}
	ephemeral, err := NewKeys(random)
	if err != nil {
		return nil, err
	}
	wrap := &nostr.Event{PubKey: ephemeral.pubkey, Kind: mostro.KindGiftWrap, Tags: nostr.Tags{{"p", to}}}
	return wrap, closeInto(wrap, ephemeral, to, seal, now, random)
}

// closeInto encrypts an event into the content of another, dates that back and signs it.
func closeInto(outer *nostr.Event, from *Keys, to string, inner *nostr.Event, now time.Time, random io.Reader) (err error) {
	key, err := from.Conversation(to)
	if err != nil {
		return err
	}
	if outer.CreatedAt, err = tweaked(now, random); err != nil {
		return err
	}
	if outer.Content, err = key.Encrypt(mostro.EncodeEvent(inner), random); err != nil {
		return err
	}
	return signEvent(outer, from, random)
}

// OpenDirect decrypts a gift wrap that holds a text message of NIP-17 for keys. It checks the
// signature of the seal, and that the seal's author wrote the message. It does not check the
// id and the signature of the wrap, which a relay checks. The caller checks the age. Every
// error is a WireError.
func OpenDirect(evt *nostr.Event, keys *Keys) (Direct, error) {
	if evt.Kind != mostro.KindGiftWrap {
		return Direct{}, message.NewError(message.RuleKind, fmt.Sprintf("kind %d is no gift wrap", evt.Kind))
	}
	key, err := keys.Conversation(evt.PubKey)
	if err != nil {
		return Direct{}, err
	}
	plain, err := key.Decrypt(evt.Content)
	if err != nil {
		return Direct{}, err
	}
	seal, err := message.DecodeEvent(plain)
	if err != nil {
		return Direct{}, message.InPath("seal", err)
	}
	if seal.Kind != nostr.KindSeal {
		return Direct{}, message.NewError(message.RuleSealKind, fmt.Sprintf("the wrap holds kind %d", seal.Kind))
	}
	if err := CheckEvent(seal); err != nil {
		return Direct{}, message.NewError(message.RuleSeal, err.Error())
	}
	if key, err = keys.Conversation(seal.PubKey); err != nil {
		return Direct{}, message.InPath("seal", err)
	}
	if plain, err = key.Decrypt(seal.Content); err != nil {
		return Direct{}, message.InPath("seal", err)
	}
	rumor, err := message.DecodeRumor(plain)
	if err != nil {
		return Direct{}, message.InPath("rumor", err)
	}
	switch {
	case rumor.Kind != nostr.KindDirectMessage:
		return Direct{}, message.NewError(message.RuleRumorKind, fmt.Sprintf("the seal holds kind %d", rumor.Kind))
	case rumor.PubKey != seal.PubKey:
		return Direct{}, message.NewError(message.RuleUnsigned, "the author of the message is not the author of the seal")
	}
	return Direct{Sender: seal.PubKey, Text: rumor.Content, CreatedAt: rumor.CreatedAt, SealID: seal.ID}, nil
}
