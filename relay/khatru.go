package relay

import (
	"context"
	"errors"
	"io"
	"log"

	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip11"
)

// khatruRelay is the relay of khatru. Only this file imports khatru.
type khatruRelay = khatru.Relay

// newKhatru makes the khatru relay that every event passes. khatru.NewRelay is
// not used: it starts an expiry sweep that cannot be stopped, and the store
// knows itself what has expired. No HTTP request reaches khatru, so it has no
// router.
func (d *admitter) newKhatru() *khatru.Relay {
	r := &khatru.Relay{
		ServiceURL: d.cfg.URL,
		Info:       &nip11.RelayInformationDocument{Name: d.cfg.Name, Version: d.cfg.Version},
		Log:        log.New(io.Discard, "", 0),
	}
	r.RejectEvent = append(r.RejectEvent, func(ctx context.Context, _ *nostr.Event) (bool, string) {
		a := ctx.(*Admission)
		a.seen = true
		a.stop(d.refuseProtected(a))
		return a.reason != "", a.reason
	})
	store := func(ctx context.Context, _ *nostr.Event) error {
		a := ctx.(*Admission)
		a.stop(d.enqueue(a))
		return errHandled
	}
	r.StoreEvent = append(r.StoreEvent, store)     // regular kinds
	r.ReplaceEvent = append(r.ReplaceEvent, store) // replaceable and addressable kinds
	r.OnEphemeralEvent = append(r.OnEphemeralEvent, func(ctx context.Context, _ *nostr.Event) {
		a := ctx.(*Admission)
		a.stop(d.deliver(a))
	})
	return r
}

// errHandled ends AddEvent after our hook. If the hook returned no error, khatru would use
// its expiration manager, which is nil in a relay that khatru.NewRelay did not make.
var errHandled = errors.New("error: handled")

// submit passes an event that check let through to khatru. khatru's AddEvent calls the
// hooks of newKhatru: first refuseProtected (NIP-70), then enqueue for a stored kind, or
// deliver for an ephemeral kind. The outcome is set in a: pending if the store decides,
// else ok and reason.
func (d *admitter) submit(a *Admission) {
	defer d.caught(func(reason string) { a.refuse(reason) })
	_, err := d.khatru.AddEvent(a, a.evt)
	switch {
	case !a.seen:
		a.refuse("error: the event did not pass khatru")
	case a.pending != nil, a.ok, a.reason != "":
	case err != nil: // an error of a hook that is not ours
		a.refuse(err.Error())
	}
}

// stop records the answer of one hook. If refusal is "", the event goes on.
func (a *Admission) stop(refusal string) {
	if refusal != "" {
		a.refuse(refusal)
	}
}
