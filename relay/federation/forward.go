package federation

import (
	"context"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/internal/clip"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/mostrodex/mostrodex/relay/eventlog"
)

const (
	// forwardKept is the longest time that an event stays in the queue.
	forwardKept = 7 * 24 * time.Hour
	// forwardTries is how often a relay may ask for a later attempt before the event is
	// removed from its queue.
	forwardTries = 8
)

// forwarder sends the queued events of this program to one relay. One goroutine uses it.
type forwarder struct {
	srv    *relay.Server
	store  *eventlog.Store
	url    string
	health *health
	link   *link
}

// sendQueue sends the queued events to this relay, in order, until the link ends.
func (f *forwarder) sendQueue() error {
	l := f.link
	for {
		head := f.store.Head()
		pos, err := f.store.ForwardCursor(f.url)
		if err != nil {
			return err
		}
		seqs, err := f.store.ForwardQueue(pos, 100)
		if err != nil {
			return err
		}
		for _, seq := range seqs {
			outcome, reason, err := f.send(seq)
			if err != nil {
				return err
			}
			f.health.forwardOutcome(outcome, reason)
			err = f.store.RecordForward(l.ctx, seq, eventlog.ForwardOutcome{Relay: f.url, Outcome: outcome, Reason: reason, At: f.srv.Now().UTC()})
			if err != nil {
				return endOr(l.ctx, err)
			}
		}
		if len(seqs) == 100 {
			continue
		}
		if err := f.store.Wait(l.ctx, head); err != nil {
			if l.ctx.Err() != nil {
				return context.Cause(l.ctx)
			}
			return err
		}
	}
}

// send sends one event, and sends it again if the relay asks for a later attempt.
func (f *forwarder) send(seq uint64) (outcome, reason string, err error) {
	l := f.link
	authed := false
	wait := time.Second
	for tries := 1; ; tries++ {
		body, why, err := f.store.ForwardBody(seq, f.srv.Now())
		if err != nil || why != "" {
			return why, "", err
		}
		id := string(body[7 : 7+64])
		r, err := l.publish(id, body)
		if err != nil {
			return "", "", err
		}
		if r.ok {
			return "accepted", "", nil
		}
		switch prefix, _, _ := strings.Cut(r.reason, ":"); {
		case prefix == "duplicate":
			return "accepted", "", nil
		case prefix == "auth-required" && !authed:
			if err := l.authenticate(); err != nil {
				return "refused", clip.Text(err.Error(), 200), nil
			}
			authed = true
		case (prefix == "rate-limited" || prefix == "error") && tries < forwardTries:
			if err := pause(l.ctx, jitter(wait)); err != nil {
				return "", "", err
			}
			wait = min(2*wait, maxBackoff)
		default:
			return "refused", clip.Text(r.reason, 200), nil
		}
	}
}

// sweepForwards removes old rows from the queue until ctx ends.
func sweepForwards(ctx context.Context, st *eventlog.Store, now func() time.Time) error {
	for {
		if err := st.SweepForwards(ctx, now().Add(-forwardKept)); err != nil {
			return endOr(ctx, err)
		}
		if pause(ctx, time.Hour) != nil {
			return nil
		}
	}
}

// longestQueue returns the length of the longest queue of own events.
func longestQueue(st *eventlog.Store, relays []*upstream) (n int) {
	for _, u := range relays {
		if !u.forward {
			continue
		}
		pos, err := st.ForwardCursor(u.url)
		if err != nil {
			continue // ignored, because a broken store is reported elsewhere
		}
		seqs, err := st.ForwardQueue(pos, 100_000)
		if err == nil {
			n = max(n, len(seqs))
		}
	}
	return n
}
