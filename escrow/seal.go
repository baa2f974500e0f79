package escrow

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// Sealer converts a message to the event that is published. A Sealer is safe for
// concurrent use.
type Sealer interface {
	Seal(ctx context.Context, to trade.Party, m message.Message, now time.Time) (*nostr.Event, error)
}

// Signer signs the node's public events.
type Signer interface {
	Sign(evt *nostr.Event) error
}

// KeysSealer seals and signs with the node's own keys.
type KeysSealer struct {
	Keys *envelope.Keys
	// MailDays is the number of days for which relays keep a message. 0 means for ever.
	MailDays int64
}

// Seal seals a message in the receiver's transport. The message inside is not signed,
// because the event's author is proof enough for a message of a node.
func (s KeysSealer) Seal(ctx context.Context, to trade.Party, m message.Message, now time.Time) (*nostr.Event, error) {
	o := envelope.SealOptions{Transport: to.Transport, To: to.Key, Trade: s.Keys, Unsigned: true, Now: now}
	if s.MailDays > 0 && to.Transport == envelope.TransportV2 {
		o.Expiration = nostr.Timestamp(now.Unix() + s.MailDays*86400)
	}
	return envelope.Seal(ctx, m, o)
}

// Sign signs an event.
func (s KeysSealer) Sign(evt *nostr.Event) error {
	secret := s.Keys.Secret()
	if err := evt.Sign(hex.EncodeToString(secret[:])); err != nil {
		return fmt.Errorf("sign kind %d: %w", evt.Kind, err)
	}
	return nil
}

// EncryptTo encrypts a text for a public key (NIP-44).
func (s KeysSealer) EncryptTo(pubkey, text string) (string, error) {
	key, err := s.Keys.Conversation(pubkey)
	if err != nil {
		return "", fmt.Errorf("encrypt: %w", err)
	}
	sealed, err := key.Encrypt([]byte(text), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("encrypt: %w", err)
	}
	return sealed, nil
}

// seal seals and signs the events of a commit, on all processors. The plaintext is removed
// from the row. If the receiver's key is not a point of the curve, the message cannot be
// read and is dropped. If an event of this node cannot be signed, the error is fatal.
func seal(ctx context.Context, e *Engine, c *Commit, now time.Time) error {
	rows := c.Outbox
	errs := make([]error, len(rows))
	lost := make([]bool, len(rows))
	var wg sync.WaitGroup
	workers := min(runtime.NumCPU(), len(rows))
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := w; i < len(rows); i += workers {
				r := &rows[i]
				switch {
				case r.Effect.Kind == trade.FxSend:
					evt, err := e.Sealer.Seal(ctx, r.Effect.To, r.Effect.Message.Message, now)
					if err != nil {
						lost[i] = true
						continue
					}
					r.Event, r.Effect = evt, trade.Effect{Kind: trade.FxSend}
				case r.Event != nil:
					errs[i] = e.Signer.Sign(r.Event)
				}
			}
		}()
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	kept := rows[:0]
	for i, r := range rows {
		if errs[i] != nil {
			return errs[i]
		}
		if lost[i] {
			e.metrics.unsealable()
			continue
		}
		kept = append(kept, r)
	}
	c.Outbox = kept
	return nil
}
