package envelope

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// The first protocol version: NIP-59 with separate keys. The trade key authors the
// rumor (kind 1), the identity key signs the seal (kind 13), and an ephemeral key signs
// the gift wrap (kind 1059). The authors of rumor and seal differ on purpose. Libraries
// that reject or rewrite such a rumor lose the trade key.

// maxTweak is the longest time by which NIP-59 dates a seal and a gift wrap back.
const maxTweak = 2 * 24 * time.Hour

func openV1(evt *nostr.Event, keys *Keys) (Envelope, error) {
	// The gift wrap's key is ephemeral, so its conversation key is not cached.
	key, err := keys.Conversation(evt.PubKey)
	if err != nil {
		return Envelope{}, err
	}
	sealJSON, err := key.Decrypt(evt.Content)
	if err != nil {
		return Envelope{}, err
	}
	seal, err := message.DecodeEvent(sealJSON)
	if err != nil {
		return Envelope{}, message.InPath("seal", err)
	}
	if seal.Kind != nostr.KindSeal {
		return Envelope{}, message.NewError(message.RuleSealKind, fmt.Sprintf("the wrap holds kind %d", seal.Kind))
	}
	if err := CheckEvent(seal); err != nil {
		// The reference implementation checks the signature over the id in the seal.
		// This code also checks that id.
		return Envelope{}, message.NewError(message.RuleSeal, err.Error())
	}
	if key, err = keys.Conversation(seal.PubKey); err != nil {
		return Envelope{}, message.InPath("seal", err)
	}
	rumorJSON, err := key.Decrypt(seal.Content)
	if err != nil {
		return Envelope{}, message.InPath("seal", err)
	}
	keys.remember(seal.PubKey, key)
	rumor, err := message.DecodeRumor(rumorJSON)
	if err != nil {
		return Envelope{}, message.InPath("rumor", err)
	}
	if rumor.Kind != nostr.KindTextNote {
		return Envelope{}, message.NewError(message.RuleRumorKind, fmt.Sprintf("the seal holds kind %d", rumor.Kind))
	}
	sender, err := message.ParsePoint(rumor.PubKey)
	if err != nil {
		return Envelope{}, message.InPath("rumor", err)
	}
	t, err := message.ParseTuple([]byte(rumor.Content), 2)
	if err != nil {
		return Envelope{}, err
	}
	if t.Sig != nil && !verified(t, sender, nil, *t.Sig) {
		return Envelope{}, message.NewError(message.RuleInnerSig, "not the trade key's signature over this message")
	}
	if t.Sig == nil && rumor.PubKey != seal.PubKey {
		// The seal proves only the identity. Without this check any identity could send
		// messages in the name of another trade key.
		return Envelope{}, message.NewError(message.RuleUnsigned, "identity and trade key differ, and the message is unsigned")
	}
	return Envelope{
		Transport: TransportV1, Sender: rumor.PubKey, Identity: seal.PubKey, FullPrivacy: rumor.PubKey == seal.PubKey,
		Signed: t.Sig != nil, CreatedAt: rumor.CreatedAt, EventID: evt.ID, ReplayID: seal.ID, Message: t.Message, RawMessage: t.Raw,
	}, nil
}

func sealV1(ctx context.Context, m message.Message, o SealOptions) (*nostr.Event, error) {
	body, err := sendable(m)
	if err != nil {
		return nil, fmt.Errorf("seal v1: %w", err)
	}
	content := make([]byte, 0, len(body)+160)
	content = append(content, '[')
	content = append(content, body...)
	if o.Unsigned {
		content = append(content, ",null]"...)
	} else {
		sig, err := o.Trade.signText(body, o.Rand)
		if err != nil {
			return nil, fmt.Errorf("seal v1: %w", err)
		}
		content = append(content, `,"`...)
		content = append(content, sig...)
		content = append(content, `"]`...)
	}
	rumor := &nostr.Event{
		PubKey: o.Trade.pubkey, CreatedAt: nostr.Timestamp(o.Now.Unix()), Kind: nostr.KindTextNote, Tags: nostr.Tags{}, Content: string(content),
	}
	rumor.ID = rumor.GetID()

	key, err := o.Identity.Conversation(o.To)
	if err != nil {
		return nil, fmt.Errorf("seal v1: %w", err)
	}
	o.Identity.remember(o.To, key)
	sealAt, err := tweaked(o.Now, o.Rand)
	if err != nil {
		return nil, fmt.Errorf("seal v1: %w", err)
	}
	seal := &nostr.Event{PubKey: o.Identity.pubkey, CreatedAt: sealAt, Kind: nostr.KindSeal, Tags: nostr.Tags{}}
	if seal.Content, err = key.Encrypt(mostro.EncodeEvent(rumor), o.Rand); err != nil {
		return nil, fmt.Errorf("seal v1: %w", err)
	}
	if err := signEvent(seal, o.Identity, o.Rand); err != nil {
		return nil, fmt.Errorf("seal v1: %w", err)
	}

	ephemeral, err := NewKeys(o.Rand)
	if err != nil {
		return nil, fmt.Errorf("seal v1: %w", err)
	}
	if key, err = ephemeral.Conversation(o.To); err != nil {
		return nil, fmt.Errorf("seal v1: %w", err)
	}
	wrapAt, err := tweaked(o.Now, o.Rand)
	if err != nil {
		return nil, fmt.Errorf("seal v1: %w", err)
	}
	wrap := &nostr.Event{PubKey: ephemeral.pubkey, CreatedAt: wrapAt, Kind: mostro.KindGiftWrap, Tags: nostr.Tags{}}
	if o.Expiration != 0 {
		wrap.Tags = append(wrap.Tags, expirationTag(o.Expiration))
	}
	wrap.Tags = append(wrap.Tags, nostr.Tag{"p", o.To})
	if wrap.Content, err = key.Encrypt(mostro.EncodeEvent(seal), o.Rand); err != nil {
		return nil, fmt.Errorf("seal v1: %w", err)
	}
	if err := Mine(ctx, wrap, o.Work); err != nil {
		return nil, fmt.Errorf("seal v1: %w", err)
	}
	if err := signEvent(wrap, ephemeral, o.Rand); err != nil {
		return nil, fmt.Errorf("seal v1: %w", err)
	}
	return wrap, nil
}

// tweaked returns now minus a random time of up to two days.
func tweaked(now time.Time, random io.Reader) (nostr.Timestamp, error) {
	var b [8]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return 0, fmt.Errorf("date: %w", err)
	}
	back := binary.BigEndian.Uint64(b[:]) % uint64(maxTweak/time.Second)
	return nostr.Timestamp(now.Unix() - int64(back)), nil
}
