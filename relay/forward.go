package relay

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"strings"
	"time"
)

// Own events go to other relays from a queue in the store: the row that queues
// an event is committed with the event. Each relay has a cursor; an outcome
// and the cursor that passes it are committed together, so that a crash sends
// an event twice at worst, which relays answer as a duplicate.

const (
	// forwardKept is how long an event stays in the queue at most.
	forwardKept = 7 * 24 * time.Hour
	// forwardTries is how often a relay may answer "later" before the event is
	// given up there.
	forwardTries = 8
	// sweepRows bounds, but for the outcomes of one event, what is taken out of
	// the queue in one transaction.
	sweepRows = 4096
)

// sendQueue sends what is queued to this relay, in order, until the link ends.
func (u *upstream) sendQueue(l *link) error {
	for {
		head := u.store.Head()
		pos, err := u.store.forwardCursor(u.url)
		if err != nil {
			return err
		}
		seqs, err := u.store.queued(pos, 100)
		if err != nil {
			return err
		}
		for _, seq := range seqs {
			outcome, reason, err := u.forwardOne(l, seq)
			if err != nil {
				return err
			}
			u.health.forwardOutcome(outcome, reason)
			row, err := json.Marshal(ForwardOutcome{Relay: u.url, Outcome: outcome, Reason: reason, At: u.srv.cfg.Now().UTC()})
			if err != nil {
				return err
			}
			err = u.store.writeRows(l.ctx,
				rowWrite{forwardOutcomeKey(seq, u.url), row},
				rowWrite{forwardCursorKey(u.url), binary.BigEndian.AppendUint64(nil, seq)})
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

// forwardOne sends one event, patiently.
func (u *upstream) forwardOne(l *link, seq uint64) (outcome, reason string, err error) {
	authed := false
	wait := time.Second
	for tries := 1; ; tries++ {
		body, why, err := u.store.forwardBody(seq, u.srv.cfg.Now())
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
				return "refused", cut(err.Error(), 200), nil
			}
			authed = true
		case (prefix == "rate-limited" || prefix == "error") && tries < forwardTries:
			if err := pause(l.ctx, jitter(wait)); err != nil {
				return "", "", err
			}
			wait = min(2*wait, maxBackoff)
		default:
			return "refused", cut(r.reason, 200), nil
		}
	}
}

// sweepForwards takes old rows out of the queue.
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
	st := us.cfg.Store
	before := us.cfg.Server.cfg.Now().Add(-forwardKept).UnixMilli()
	for {
		seqs, err := st.queued(0, 500)
		if err != nil {
			return err
		}
		var rows []rowWrite
		for _, seq := range seqs {
			r, _, err := st.rowAt(seq)
			if err != nil && !isDamage(err) {
				return err
			} // a damaged row received at 0 leaves the queue
			if r.receivedAt >= before || len(rows) > sweepRows {
				break
			}
			rows = append(rows, rowWrite{key: forwardKey(seq)})
			prefix := forwardOutcomeKey(seq, "")
			err = st.eachRow(prefix, prefix, func(key, _ []byte) bool {
				rows = append(rows, rowWrite{key: key})
				return true
			})
			if err != nil {
				return err
			}
		}
		if len(rows) == 0 {
			return nil
		}
		if err := st.writeRows(ctx, rows...); err != nil {
			return err
		}
	}
}

// longestQueue is how many own events the slowest relay has yet to be sent.
func (us *Upstreams) longestQueue() (n int) {
	for _, u := range us.list() {
		if !u.forward {
			continue
		}
		pos, err := us.cfg.Store.forwardCursor(u.url)
		if err != nil {
			continue // a gauge is not where a broken store is noticed
		}
		seqs, err := us.cfg.Store.queued(pos, 100_000)
		if err == nil {
			n = max(n, len(seqs))
		}
	}
	return n
}
