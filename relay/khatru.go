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

// KhatruRelay is named here, because no other file imports khatru.
type KhatruRelay = khatru.Relay

// NewKhatru makes the khatru relay that every event passes. khatru.NewRelay is
// not used: it starts an expiry sweep that cannot be stopped, and the store
// knows itself what has expired.
func (s *Server) NewKhatru(router *http.ServeMux) *khatru.Relay {
	r := &khatru.Relay{
		ServiceURL: s.cfg.URL,
		Info:       &nip11.RelayInformationDocument{Name: s.cfg.Name, Version: s.cfg.Version},
		Log:        log.New(io.Discard, "", 0),
	}
	r.SetRouter(router)
	r.RejectEvent = append(r.RejectEvent, func(ctx context.Context, _ *nostr.Event) (bool, string) {
		a := ctx.(*Admission)
		a.Seen = true
		a.stop(s.RefuseProtected(a))
		return a.Reason != "", a.Reason
	})
	store := func(ctx context.Context, _ *nostr.Event) error {
		a := ctx.(*Admission)
		a.stop(s.Enqueue(a))
		return errHandled
	}
	r.StoreEvent = append(r.StoreEvent, store)     // regular kinds
	r.ReplaceEvent = append(r.ReplaceEvent, store) // replaceable and addressable kinds
	r.OnEphemeralEvent = append(r.OnEphemeralEvent, func(ctx context.Context, _ *nostr.Event) {
		a := ctx.(*Admission)
		a.stop(s.Deliver(a))
	})
	return r
}

// errHandled ends AddEvent behind our hook. Without an error khatru goes on to
// its expiration manager, which a relay that NewRelay did not make lacks.
var errHandled = errors.New("error: handled")

// Submit passes an event that check let through to khatru, whose AddEvent calls
// the hooks of newKhatru: first refuseProtected (NIP-70), then enqueue for an
// event that is stored, or deliver for an ephemeral one. The outcome stands in
// a: pending if the store decides, else ok or a reason.
func (s *Server) Submit(a *Admission) {
	defer s.Caught(func(reason string) { a.Refuse(reason) })
	_, err := s.khatru.AddEvent(a, a.Evt)
	switch {
	case !a.Seen:
		a.Refuse("error: the event did not pass khatru")
	case a.Pending != nil, a.Ok, a.Reason != "":
	case err != nil: // a hook that is not ours
		a.Refuse(err.Error())
	}
}

// stop takes the answer of one hook: "" lets the event go on.
func (a *Admission) stop(refusal string) {
	if refusal != "" {
		a.Refuse(refusal)
	}
}
