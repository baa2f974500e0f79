package eventlog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog/liveindex"
	"github.com/nbd-wtf/go-nostr"
)

// Outcome is the result of an append.
type Outcome uint8

const (
	Added     Outcome = 1 // stored and served; only these events are broadcast
	Duplicate Outcome = 2 // already in the log, in any state
	Archived  Outcome = 3 // stored as history, not served: an older version of its address, or expired at arrival
	Deleted   Outcome = 4 // refused: its author deleted it (NIP-09)
	OverQuota Outcome = 5 // refused: its key or platform has reached its quota of live addresses
)

// String returns the spelling of the outcome in import results and metrics.
func (o Outcome) String() string {
	switch o {
	case Added:
		return "added"
	case Duplicate:
		return "duplicate"
	case Archived:
		return "archived"
	case Deleted:
		return "deleted"
	case OverQuota:
		return "over_quota"
	}
	return "unknown"
}

// Arrival is an event to be appended. Its id and signature are verified and its tags
// are well formed.
type Arrival struct {
	Event      *nostr.Event // must not be modified afterwards
	JSON       []byte       // canonical JSON of Event; if nil, the store encodes Event
	ReceivedAt time.Time
	Source     mostro.Source
	Forward    bool       // queue the event for other relays in the same commit
	Quota      LiveQuotas // quotas for a new address; zero means none
	Urgent     bool       // if the disk is full, the event may use a part of the reserve

	// Restored is set if the event comes from a backup of this relay. ReceivedAt,
	// Source and Archived are then those of the first arrival, and the store does not
	// check again whether the event has expired.
	Restored bool
	Archived bool
}

// LiveQuotas bounds the number of live addresses; 0 means no bound. The committer
// enforces the bounds exactly. A new version of a live address always fits.
type LiveQuotas struct {
	Key      int // addresses of one kind by one key
	Platform int // addresses of one platform (tag y)
}

// Pending is the handle of an append in progress. One goroutine may call Wait, once.
type Pending interface {
	// Wait returns once the event is durable, or once the committer has decided not to
	// store it.
	Wait(ctx context.Context) (seq uint64, out Outcome, err error)
}

// MailLifetime is the time for which mail without an expiration stays readable.
const MailLifetime = 30 * 24 * time.Hour

// Enqueued is an arrival in the committer's queue.
type Enqueued struct {
	Arrival // Event is nil if only keys are written
	writes  []keyWrite
	call    func(*committer) error // called between two groups; nil: not a call
	expired bool                   // a replayed or restored event had expired, or was archived, at its arrival
	queue   *arrivalQueue
	done    chan struct{}
	seq     uint64
	out     Outcome
	err     error
	Walked  int // number of records that a deletion has read
}

// Wait returns once the event is durable, or once the committer has decided not to
// store it.
func (p *Enqueued) Wait(ctx context.Context) (uint64, Outcome, error) {
	select {
	case <-p.done:
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	return p.seq, p.out, p.err
}

func (p *Enqueued) answer(seq uint64, out Outcome, err error) {
	p.seq, p.out, p.err = seq, out, err
	if p.IsDeletion() {
		p.queue.deleting.Release(DeletionWeight(p.Event))
	}
	close(p.done)
}

func (p *Enqueued) IsDeletion() bool { return p.Event != nil && p.Event.Kind == mostro.KindDeletion }

// maxDeleting bounds the events and addresses that the deletion requests in the queue
// name together. An append behind these requests waits for all of them.
const maxDeleting = 8192

// DeletionWeight returns the number of events and addresses that a deletion request
// names, at most maxDeleting.
func DeletionWeight(evt *nostr.Event) int64 {
	n := int64(1)
	for _, t := range evt.Tags {
		if len(t) > 1 && (t[0] == "e" || t[0] == "a") {
			n++
		}
	}
	return min(n, maxDeleting)
}

// Enqueue hands an arrival to the committer. Arrivals enqueued by one goroutine are
// appended in that order. Enqueue blocks only if the committer's queue is full or, for
// a deletion request, if the requests in the queue name too many events. It returns
// ErrClosed if the store is closed and ErrFull if the disk is full.
func (st *Store) Enqueue(ctx context.Context, a Arrival) (Pending, error) {
	if err := storable(a.Event); err != nil {
		return nil, err
	}
	if a.JSON == nil {
		a.JSON = mostro.EncodeEvent(a.Event)
	}
	return st.queue.put(ctx, &Enqueued{Arrival: a, expired: a.Restored && a.Archived, done: make(chan struct{})})
}

// Append calls Enqueue and waits for the result.
func (st *Store) Append(ctx context.Context, a Arrival) (uint64, Outcome, error) {
	p, err := st.Enqueue(ctx, a)
	if err != nil {
		return 0, 0, err
	}
	return p.Wait(ctx)
}

// Settle returns once everything that was enqueued before the call is committed.
func (st *Store) Settle(ctx context.Context) error { return st.queue.writeKeys(ctx) }

// storable returns an error if the store cannot represent the event. Admission refuses
// such events earlier, with a better reason.
func storable(evt *nostr.Event) error {
	switch {
	case evt.Kind < 0 || evt.Kind > 65535:
		return fmt.Errorf("kind %d is not in 0..65535", evt.Kind)
	case evt.CreatedAt < 0 || evt.CreatedAt > liveindex.MaxTime:
		return fmt.Errorf("created_at %d is not in 0..%d", evt.CreatedAt, int64(liveindex.MaxTime))
	case kindClass(evt.Kind) == ephemeral:
		return fmt.Errorf("kind %d is ephemeral: never stored", evt.Kind)
	}
	if len(evt.Tags) > math.MaxUint16 {
		return fmt.Errorf("%d tags, at most %d can be indexed", len(evt.Tags), math.MaxUint16)
	}
	for _, t := range evt.Tags {
		if len(t) > 0 && t[0] == "d" {
			if len(t) < 2 && kindClass(evt.Kind) == addressable {
				return errors.New("the d tag has no value")
			}
			break
		}
	}
	return nil
}

// ExpiredAt reports whether the first expiration tag (NIP-40) is at or before now. It
// returns false if the tag is missing or not a number.
func ExpiredAt(tags nostr.Tags, now time.Time) bool {
	for _, tag := range tags {
		if len(tag) >= 2 && tag[0] == "expiration" {
			at, err := strconv.ParseInt(tag[1], 10, 64)
			return err == nil && at <= now.Unix()
		}
	}
	return false
}

// Ping returns nil if the committer works: it has ended a group, and takes the next one. Ping
// returns the error of ctx if the committer does not answer in time, for example because the
// disk does not end a write.
func (st *Store) Ping(ctx context.Context) error {
	if err := st.failure.get(); err != nil {
		return err
	}
	select {
	case st.pings <- struct{}{}:
		return nil
	case <-st.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}
