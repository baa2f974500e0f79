package relay

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"

	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip11"
)

// khatruRelay is named here, because no other file imports khatru.
type khatruRelay = khatru.Relay

// newKhatru makes the khatru relay that every event passes. khatru.NewRelay is
// not used: it starts an expiry sweep that cannot be stopped, and the store
// knows itself what has expired.
func (s *Server) newKhatru(router *http.ServeMux) *khatru.Relay {
	r := &khatru.Relay{
		ServiceURL: s.cfg.URL,
		Info:       &nip11.RelayInformationDocument{Name: s.cfg.Name, Version: s.cfg.Version},
		Log:        log.New(io.Discard, "", 0),
	}
	r.SetRouter(router)
	r.RejectEvent = append(r.RejectEvent, func(ctx context.Context, _ *nostr.Event) (bool, string) {
		a := ctx.(*admission)
		a.seen = true
		a.stop(s.refuseProtected(a))
		return a.reason != "", a.reason
	})
	store := func(ctx context.Context, _ *nostr.Event) error {
		a := ctx.(*admission)
		a.stop(s.enqueue(a))
		return errHandled
	}
	r.StoreEvent = append(r.StoreEvent, store)     // regular kinds
	r.ReplaceEvent = append(r.ReplaceEvent, store) // replaceable and addressable kinds
	r.OnEphemeralEvent = append(r.OnEphemeralEvent, func(ctx context.Context, _ *nostr.Event) {
		a := ctx.(*admission)
		a.stop(s.deliver(a))
	})
	return r
}

// errHandled ends AddEvent behind our hook. Without an error khatru goes on to
// its expiration manager, which a relay that NewRelay did not make lacks.
var errHandled = errors.New("error: handled")

// submit passes an event that check let through to khatru, whose AddEvent calls
// the hooks of newKhatru: first refuseProtected (NIP-70), then enqueue for an
// event that is stored, or deliver for an ephemeral one. The outcome stands in
// a: pending if the store decides, else ok or a reason.
func (s *Server) submit(a *admission) {
	defer s.caught(func(reason string) { a.refuse(reason) })
	_, err := s.khatru.AddEvent(a, a.evt)
	switch {
	case !a.seen:
		a.refuse("error: the event did not pass khatru")
	case a.pending != nil, a.ok, a.reason != "":
	case err != nil: // a hook that is not ours
		a.refuse(err.Error())
	}
}

// stop takes the answer of one hook: "" lets the event go on.
func (a *admission) stop(refusal string) {
	if refusal != "" {
		a.refuse(refusal)
	}
}
