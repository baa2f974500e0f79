package envelope

import (
	"context"
	"fmt"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// The second protocol version: one signed event of kind 14, authored by the trade key.
// Its NIP-44 plaintext is [message, signature, identity proof].

// proofPrefix binds an identity's signature to this protocol and to one trade key, so
// that an attacker cannot copy the proof into another sender's event.
func proofPrefix(tradePubkey string) []byte {
	return []byte("mostro-transport-v2-identity:" + tradePubkey + ":")
}

func openV2(evt *nostr.Event, keys *Keys) (Envelope, error) {
	key, err := keys.Conversation(evt.PubKey)
	if err != nil {
		return Envelope{}, err
	}
	plain, err := key.Decrypt(evt.Content)
	if err != nil {
		return Envelope{}, err
	}
	keys.remember(evt.PubKey, key)
	t, err := message.ParseTuple(plain, 3)
	if err != nil {
		return Envelope{}, err
	}
	env := Envelope{
		Transport: TransportV2, Sender: evt.PubKey, Identity: evt.PubKey, Signed: t.Sig != nil, CreatedAt: evt.CreatedAt,
		EventID: evt.ID, ReplayID: evt.ID, Message: t.Message, RawMessage: t.Raw,
	}
	if t.Sig == nil && t.Identity != nil {
		return Envelope{}, message.NewError(message.RuleUnsigned, "an identity proof without the trade key's signature")
	}
	if t.Sig != nil {
		sender, err := message.ParsePoint(evt.PubKey)
		if err != nil {
			return Envelope{}, err
		}
		if !verified(t, sender, nil, *t.Sig) {
			return Envelope{}, message.NewError(message.RuleInnerSig, "not the trade key's signature over this message")
		}
	}
	if t.Identity != nil {
		if env.Identity, err = message.ParsePubkey(*t.Identity); err != nil {
			return Envelope{}, message.InPath("identity", err)
		}
		identity, err := message.ParsePoint(env.Identity)
		if err != nil {
			return Envelope{}, message.InPath("identity", err)
		}
		if !verified(t, identity, proofPrefix(evt.PubKey), t.IdentitySig) {
			return Envelope{}, message.NewError(message.RuleIdentity, "not the identity's signature over this trade key and message")
		}
	}
	env.FullPrivacy = env.Identity == env.Sender
	return env, nil
}

func sealV2(ctx context.Context, m message.Message, o SealOptions) (*nostr.Event, error) {
	body, err := sendable(m)
	if err != nil {
		return nil, fmt.Errorf("seal v2: %w", err)
	}
	plain := make([]byte, 0, len(body)+512)
	plain = append(plain, '[')
	plain = append(plain, body...)
	if o.Unsigned {
		plain = append(plain, ",null"...)
	} else {
		sig, err := o.Trade.signText(body, o.Rand)
		if err != nil {
			return nil, fmt.Errorf("seal v2: %w", err)
		}
		plain = append(plain, `,"`...)
		plain = append(plain, sig...)
		plain = append(plain, '"')
	}
	if o.Identity.pubkey == o.Trade.pubkey {
		plain = append(plain, ",null]"...)
	} else {
		sig, err := o.Identity.signText(append(proofPrefix(o.Trade.pubkey), body...), o.Rand)
		if err != nil {
			return nil, fmt.Errorf("seal v2: %w", err)
		}
		plain = append(plain, `,["`...)
		plain = append(plain, o.Identity.pubkey...)
		plain = append(plain, `","`...)
		plain = append(plain, sig...)
		plain = append(plain, `"]]`...)
	}
	key, err := o.Trade.Conversation(o.To)
	if err != nil {
		return nil, fmt.Errorf("seal v2: %w", err)
	}
	o.Trade.remember(o.To, key)
	content, err := key.Encrypt(plain, o.Rand)
	if err != nil {
		return nil, fmt.Errorf("seal v2: %w", err)
	}
	evt := &nostr.Event{
		PubKey: o.Trade.pubkey, CreatedAt: nostr.Timestamp(o.Now.Unix()), Kind: mostro.KindMessage,
		Tags: nostr.Tags{{"p", o.To}}, Content: content,
	}
	if o.Expiration != 0 {
		evt.Tags = append(evt.Tags, expirationTag(o.Expiration))
	}
	if err := Mine(ctx, evt, o.Work); err != nil {
		return nil, fmt.Errorf("seal v2: %w", err)
	}
	if err := signEvent(evt, o.Trade, o.Rand); err != nil {
		return nil, fmt.Errorf("seal v2: %w", err)
	}
	return evt, nil
}
