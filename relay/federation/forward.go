package federation

import (
	"context"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/internal/clip"
	"github.com/mostrodex/mostrodex/relay/eventlog"
)

const (
	// forwardKept is the longest time that an event stays in the queue.
	forwardKept = 7 * 24 * time.Hour
	// forwardTries is how often a relay may ask for a later attempt before the event is
	// removed from its queue.
	forwardTries = 8
)

// sendQueue sends the queued events to this relay, in order, until the link ends.
func (u *upstream) sendQueue(l *link) error {
	for {
		head := u.store.Head()
		pos, err := u.store.ForwardCursor(u.url)
		if err != nil {
			return err
		}
		seqs, err := u.store.ForwardQueue(pos, 100)
		if err != nil {
			return err
		}
		for _, seq := range seqs {
			outcome, reason, err := u.forwardOne(l, seq)
			if err != nil {
				return err
			}
			u.health.forwardOutcome(outcome, reason)
			err = u.store.RecordForward(l.ctx, seq, eventlog.ForwardOutcome{Relay: u.url, Outcome: outcome, Reason: reason, At: u.srv.Now().UTC()})
			if err != nil {
				return endOr(l.ctx, err)
			}
		}
		if len(seqs) == 100 {
			continue
		}
		if err := u.store.Wait(l.ctx, head); err != nil {
			if l.ctx.Err() != nil {
				return context.Cause(l.ctx)
			}
			return err
		}
	}
}

// forwardOne sends one event, and sends it again if the relay asks for a later attempt.
func (u *upstream) forwardOne(l *link, seq uint64) (outcome, reason string, err error) {
	authed := false
	wait := time.Second
	for tries := 1; ; tries++ {
		body, why, err := u.store.ForwardBody(seq, u.srv.Now())
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

// sweepForwards removes old rows from the queue.
func (us *Upstreams) sweepForwards(ctx context.Context) error {
	for {
		if err := us.sweepOnce(ctx); err != nil {
			return endOr(ctx, err)
		}
		if pause(ctx, time.Hour) != nil {
			return nil
		}
	}
}

func (us *Upstreams) sweepOnce(ctx context.Context) error {
	return us.cfg.Store.SweepForwards(ctx, us.cfg.Server.Now().Add(-forwardKept))
}

// longestQueue returns the length of the longest queue of own events.
func (us *Upstreams) longestQueue() (n int) {
	for _, u := range us.list() {
		if !u.forward {
			continue
		}
		pos, err := us.cfg.Store.ForwardCursor(u.url)
		if err != nil {
			continue // ignored, because a broken store is reported elsewhere
		}
		seqs, err := us.cfg.Store.ForwardQueue(pos, 100_000)
		if err == nil {
			n = max(n, len(seqs))
		}
	}
	return n
}
