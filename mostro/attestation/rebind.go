package attestation

import (
	"strconv"
	"time"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// RebindLifetime is the longest life of a rebind, in seconds.
const RebindLifetime = 3600

// Rebind is a user's consent that an issuer binds the user's reputation to a new
// identity. A rebind is used once; the node must remember EventID until Expiration.
type Rebind struct {
	EventID     string
	Bound       string // identity to which the reputation is bound now; signs the rebind; hex
	NewIdentity string // hex
	Issuer      string // issuer's key for attestations, hex
	CreatedAt   nostr.Timestamp
	Expiration  nostr.Timestamp
}

// Event returns the rebind, ready to be signed by the key Bound. It returns an Error if
// an issuer would refuse the event.
func (r Rebind) Event() (nostr.Event, error) {
	var w mostro.TagWriter
	w.Add("p", r.NewIdentity)
	w.Add("issuer", r.Issuer)
	w.Add("expiration", strconv.FormatInt(int64(r.Expiration), 10))
	w.Add("z", rebindZ)
	evt := nostr.Event{PubKey: r.Bound, CreatedAt: r.CreatedAt, Kind: mostro.KindAttestation, Tags: nostr.Tags(w)}
	back, fault := readRebind(&evt)
	if fault == nil {
		fault = checkClock(back.CreatedAt, back.Expiration, r.CreatedAt.Time(), RebindLifetime)
	}
	if fault != nil {
		return nostr.Event{}, rebindFault(fault)
	}
	return evt, nil
}

// ParseRebind parses and verifies a rebind from its event JSON. It checks everything
// that the event itself shows; Rebind.Check compares the rebind with the request. The
// error is an Error with the reason ReasonInvalidReputationRebind.
func ParseRebind(text string, now time.Time) (Rebind, error) {
	evt, fault := openDocument(text)
	if fault != nil {
		return Rebind{}, rebindFault(fault)
	}
	r, fault := readRebind(evt)
	if fault == nil {
		fault = checkClock(r.CreatedAt, r.Expiration, now, RebindLifetime)
	}
	if fault != nil {
		return Rebind{}, rebindFault(fault)
	}
	return r, nil
}

// Check returns nil if the rebind moves a reputation of this issuer from the bound
// identity to the destination of the request. Otherwise it returns an Error with the
// reason ReasonInvalidReputationRebind.
func (r Rebind) Check(issuer, bound, destination string) error {
	switch {
	case r.Issuer != issuer:
		return rebindFault(&Error{Fault: FaultIssuer})
	case r.Bound != bound, r.NewIdentity != destination:
		return rebindFault(&Error{Fault: FaultIdentity})
	}
	return nil
}

func rebindFault(e *Error) *Error {
	e.reason = message.ReasonInvalidReputationRebind
	return e
}

func readRebind(evt *nostr.Event) (Rebind, *Error) {
	if fault := checkDocument(evt, rebindZ); fault != nil {
		return Rebind{}, fault
	}
	t, fault := singleTags(evt, "p", "issuer", "expiration")
	if fault != nil {
		return Rebind{}, fault
	}
	for _, name := range []string{"p", "issuer"} {
		if !hex32.Valid(t[name]) {
			return Rebind{}, &Error{Fault: FaultValue, Tag: name}
		}
	}
	r := Rebind{EventID: evt.ID, Bound: evt.PubKey, NewIdentity: t["p"], Issuer: t["issuer"], CreatedAt: evt.CreatedAt}
	if r.Expiration, fault = expiration(t, evt); fault != nil {
		return Rebind{}, fault
	}
	return r, nil
}
