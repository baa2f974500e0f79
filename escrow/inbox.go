package escrow

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// Log is the part of mostro.Log that the inbox needs.
type Log interface {
	// Read calls fn for each readable entry after a position, in ascending order, up to
	// the head.
	Read(ctx context.Context, after uint64, fn func(mostro.Entry) error) error
	// Wait returns when the head is greater than seq.
	Wait(ctx context.Context, seq uint64) error
	// Head returns the position of the last entry, readable or not.
	Head() uint64
}

// Opener opens an event of the log that is addressed to this node. The id and signature of
// the event have been checked.
type Opener interface {
	Open(evt *nostr.Event) (envelope.Envelope, error)
}

// inbox reads the log and passes every message to the engine, in the order of the log. The
// engine commits the position together with the results of the messages.
type inbox struct {
	log       Log
	prefilter *Prefilter
	opener    Opener
	pubkey    string // this node's
	deliver   func(ctx context.Context, n notice) error
	metrics   *metrics
	heard     func(*nostr.Event) // receives events of kind 30078; nil to ignore the events
}

// chunk is the number of entries that are opened in parallel.
const chunk = 256

// maxMessage is the size limit of an opened message in bytes. Relays of the network accept
// 6,000 bytes.
const maxMessage = 16 << 10

var errChunk = errors.New("chunk is full")

// run follows the log until ctx ends.
func (b *inbox) run(ctx context.Context, cursor uint64) error {
	for {
		batch := make([]mostro.Entry, 0, chunk)
		last, head := cursor, b.log.Head()
		lastID := ""
		err := b.log.Read(ctx, cursor, func(e mostro.Entry) error {
			last, lastID = e.Seq, e.Event.ID
			if b.heard != nil && e.Event.Kind == mostro.KindAppData {
				b.heard(e.Event)
			}
			if b.mine(e) {
				batch = append(batch, e)
			}
			if len(batch) == chunk {
				return errChunk
			}
			return nil
		})
		if err != nil && !errors.Is(err, errChunk) {
			return fmt.Errorf("read the log: %w", err)
		}
		if err == nil {
			if last < head { // entries that can no longer be read are skipped
				last, lastID = head, ""
			}
		}
		if err := b.pass(ctx, batch, last, lastID); err != nil {
			return err
		}
		if last == cursor {
			if err := b.log.Wait(ctx, cursor); err != nil {
				return fmt.Errorf("wait for the log: %w", err)
			}
		}
		cursor = last
	}
}

// mine reports whether an entry is a message for this node that may be processed. An
// imported event is never a message, because the operator imports history. A message of the
// node's own key is a request of the operator if a client sent it to our relay, as mostro-cli
// does, and otherwise one of our answers.
func (b *inbox) mine(e mostro.Entry) bool {
	if !mostro.IsMail(e.Event.Kind) || e.Event.PubKey == b.pubkey && e.Source.Origin != mostro.OriginClient || e.Source.Origin == mostro.OriginImport {
		return false
	}
	for _, tag := range e.Event.Tags {
		if len(tag) >= 2 && tag[0] == "p" {
			return tag[1] == b.pubkey
		}
	}
	return false
}

// pass opens a batch on all processors and delivers the messages in order.
func (b *inbox) pass(ctx context.Context, batch []mostro.Entry, last uint64, lastID string) error {
	messages := make([]*InboundMessage, len(batch))
	var wg sync.WaitGroup
	workers := min(runtime.NumCPU(), len(batch))
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := w; i < len(batch); i += workers {
				messages[i] = b.open(batch[i])
			}
		}()
	}
	wg.Wait()
	for i, msg := range messages {
		if msg == nil {
			continue
		}
		if err := b.deliver(ctx, notice{message: msg, seq: batch[i].Seq, id: batch[i].Event.ID}); err != nil {
			return err
		}
	}
	if last == 0 {
		return nil
	}
	return b.deliver(ctx, notice{seq: last, id: lastID})
}

// open returns the message of an entry, or nil if the message is dropped without an
// answer.
func (b *inbox) open(e mostro.Entry) *InboundMessage {
	drop := func(err error) *InboundMessage {
		b.metrics.dropped(err)
		return nil
	}
	if err := b.prefilter.Check(e.Event); err != nil {
		return drop(err)
	}
	env, err := b.opener.Open(e.Event)
	if err != nil {
		return drop(err)
	}
	if len(env.RawMessage) > maxMessage {
		return drop(&message.WireError{Rule: message.RuleSize})
	}
	if env.Identity != env.Sender && !env.Signed {
		return drop(&message.WireError{Rule: message.RuleUnsigned})
	}
	return &InboundMessage{
		Transport: env.Transport, Sender: env.Sender, Identity: env.Identity, Signed: env.Signed,
		CreatedAt: int64(env.CreatedAt), ReplayID: env.ReplayID,
		Received: e.ReceivedAt.Unix(), Late: e.Source.Origin == mostro.OriginBackfill,
		Message: trade.Outgoing{Message: env.Message},
	}
}

// KeysOpener opens messages with the node's own keys.
type KeysOpener struct{ Keys *envelope.Keys }

// Open opens one event.
func (o KeysOpener) Open(evt *nostr.Event) (envelope.Envelope, error) {
	return envelope.OpenVerified(evt, o.Keys)
}
