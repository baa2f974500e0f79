package federation

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mostrodex/mostrodex/relay"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/mostrodex/mostrodex/relay/negentropy"
	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/errgroup"
)

// reconciler compares the events here with the events of one relay (NIP-77). One goroutine
// uses it.
type reconciler struct {
	srv     *relay.Server
	store   *eventlog.Store
	health  *health
	link    *link
	since   int64 // Config.Since
	refused *idSet
}

// reconcile fetches the events that the relay holds and we lack (NIP-77). ok is false if
// the relay does not support NIP-77.
func (r *reconciler) reconcile(f nostr.Filter) (ok bool, err error) {
	r.health.method("negentropy")
	since := nostr.Timestamp(r.since)
	f.Since = &since
	for round := 0; ; round++ {
		need, more, ok, err := r.difference(f)
		if err != nil || !ok {
			return ok, err
		}
		got, err := r.fetchIDs(need)
		if err != nil {
			return true, err
		}
		if !more {
			return true, nil
		}
		if got == 0 {
			return true, fmt.Errorf("%w: %d ids are offered, and no event of them can be kept", errLying, len(need))
		}
	}
}

const (
	maxNeed      = 250_000 // ids of one reconciliation; the next one finds the rest
	maxNegRounds = 20_000
	idsARequest  = 200
	idRequests   = 4 // under way at the same time
)

// difference returns the ids that we lack. more is true if there are more than maxNeed.
func (r *reconciler) difference(f nostr.Filter) (need []string, more, ok bool, err error) {
	set, done, err := r.srv.Snapshot(r.link.ctx, f)
	if err != nil {
		return nil, false, false, err
	}
	defer done()
	n := &negentropy.Session{Set: set, Limit: r.health.negLimit(), Client: true}
	n.Need = func(id [32]byte) {
		if len(need) < maxNeed {
			need = append(need, fmt.Sprintf("%x", id))
		} else {
			more = true
		}
	}
	sub, err := r.link.open("NEG-OPEN", f, false, fmt.Sprintf("%x", n.Start()))
	if err != nil {
		return nil, false, false, err
	}
	defer func() {
		if closeErr := r.link.close("NEG-CLOSE", sub); err == nil {
			err = closeErr
		}
	}()
	timer := time.NewTimer(frameTimeout)
	defer timer.Stop()
	for round := range maxNegRounds {
		var frame negFrame
		select {
		case frame = <-sub.neg:
		case end := <-sub.done: // CLOSED is treated as an error
			frame.err = "closed: " + end.reason
		case <-timer.C:
			if round == 0 {
				r.health.noNeg("no answer")
				return nil, false, false, nil
			}
			return nil, false, false, fmt.Errorf("%w: no answer in a reconciliation", errSilent)
		case <-r.link.ctx.Done():
			return nil, false, false, context.Cause(r.link.ctx)
		}
		if frame.err != "" {
			r.health.noNeg(frame.err)
			return nil, false, false, nil
		}
		timer.Reset(frameTimeout)
		raw, err := hex.DecodeString(frame.msg)
		if err == nil {
			r.health.rounds.Add(1)
			raw, err = n.Answer(raw)
		}
		if err != nil {
			// The relay sent garbage. Pages are used instead, and may work better.
			r.health.malformed.Add(1)
			r.health.noNeg(err.Error())
			return nil, false, false, nil
		}
		if raw == nil || more {
			return need, more, true, nil
		}
		if err := r.link.send(fmt.Appendf(nil, `["NEG-MSG",%q,"%x"]`, sub.id, raw)); err != nil {
			return nil, false, false, err
		}
	}
	return nil, false, false, fmt.Errorf("%w: the reconciliation does not end", errLying)
}

// fetchIDs requests events by id, except ids that are stored in any state or were refused
// before. fetchIDs returns how many events were kept.
func (r *reconciler) fetchIDs(ids []string) (kept int64, err error) {
	wanted := ids[:0]
	for _, id := range ids {
		if r.refused.has(id) {
			continue
		}
		held, err := r.store.Has(r.link.ctx, id)
		if err != nil {
			return 0, err
		}
		if !held {
			wanted = append(wanted, id)
		}
	}
	var g errgroup.Group
	g.SetLimit(idRequests)
	var failed atomic.Bool
	for part := range slices.Chunk(wanted, idsARequest) {
		if failed.Load() {
			break
		}
		g.Go(func() error {
			sub, err := r.link.ask(nostr.Filter{IDs: part, Limit: len(part)}, false)
			if err != nil {
				failed.Store(true)
				return err
			}
			if missing := len(part) - sub.n; missing > 0 {
				r.health.missing.Add(int64(missing))
			}
			return r.link.close("CLOSE", sub)
		})
	}
	before := r.health.kept.Load()
	if err := g.Wait(); err != nil {
		return 0, err
	}
	if err := r.link.barrier(); err != nil {
		return 0, err
	}
	return r.health.kept.Load() - before, nil
}
