package attestation

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// The limits of an attestation. Times are in seconds.
const (
	Lifetime   = 7 * 86400 // an issuer's longest lifetime, and a destination's default limit
	ClockSkew  = 300       // tolerated difference between the clocks, in both directions
	MinReviews = 5
	MinSince   = 1577836800 // 1 January 2020: no issuer is older

	maxSubject = 64 // bytes
)

// The z tags of the two documents.
const (
	attestationZ = "reputation-attestation"
	rebindZ      = "reputation-rebind"
)

// Attestation is the statement of a node about a user's reputation there, addressed to
// one identity of the user at one other node.
type Attestation struct {
	EventID string
	Issuer  string // key of the issuing node for attestations, not its node key; hex

	Destination string // identity that may import the attestation, hex
	Subject     string // the user at the issuer: opaque, and the same in every attestation of the user
	Figures
	CreatedAt  nostr.Timestamp
	Expiration nostr.Timestamp // end of the time in which the attestation can be imported
}

// Figures are the facts that an import adds to a user's reputation. A node keeps the
// figures of each import, because Ratings.Revert needs them.
type Figures struct {
	Reviews    uint32 // votes received at the issuer, without imported ones
	Hundredths uint16 // mean of the votes in hundredths of a star, 100 to 500
	Since      int64  // day of the user's first trade: unix seconds, a multiple of 86400
}

// Rating returns the mean of the votes, 1 to 5.
func (f Figures) Rating() float64 { return float64(f.Hundredths) / 100 }

// RatingText returns the mean with two decimals, as the event has it.
func (f Figures) RatingText() string {
	return fmt.Sprintf("%d.%02d", f.Hundredths/100, f.Hundredths%100)
}

// Hundredths returns a mean in hundredths of a star, rounded half away from zero and
// limited to 100 and 500. ok is false if the mean is not a finite number.
//
// The double is rounded as it is, not its decimal text: 4.895 is slightly less than its
// text, so the result is 489. Issuers must agree on this.
func Hundredths(mean float64) (hundredths uint16, ok bool) {
	if math.IsNaN(mean) || math.IsInf(mean, 0) {
		return 0, false
	}
	return uint16(min(max(math.Round(mean*100), 100), 500)), true
}

// Event returns the attestation as an issuer publishes it in a message, ready to be
// signed by the key Issuer. It returns an Error if a destination would refuse the event.
// The lifetime must not exceed Lifetime.
func (a Attestation) Event() (nostr.Event, error) {
	var w mostro.TagWriter
	w.Add("p", a.Destination)
	w.Add("subject", a.Subject)
	w.Add("reviews", strconv.FormatUint(uint64(a.Reviews), 10))
	w.Add("rating", a.RatingText())
	w.Add("since", strconv.FormatInt(a.Since, 10))
	w.Add("expiration", strconv.FormatInt(int64(a.Expiration), 10))
	w.Add("z", attestationZ)
	evt := nostr.Event{PubKey: a.Issuer, CreatedAt: a.CreatedAt, Kind: mostro.KindAttestation, Tags: nostr.Tags(w)}
	back, fault := read(&evt)
	if fault == nil {
		fault = checkClock(back.CreatedAt, back.Expiration, a.CreatedAt.Time(), Lifetime)
	}
	if fault != nil {
		return nostr.Event{}, fault
	}
	return evt, nil
}

// Parse parses and verifies an attestation from its event JSON. now is the receiver's
// time, and lifetime the receiver's limit in seconds (Lifetime is usual). Parse checks
// everything that the event itself shows. Policy.Accept also checks the issuer and the
// destination. The error is an Error.
func Parse(text string, now time.Time, lifetime int64) (Attestation, error) {
	evt, fault := openDocument(text)
	if fault != nil {
		return Attestation{}, fault
	}
	a, fault := read(evt)
	if fault == nil {
		fault = checkClock(a.CreatedAt, a.Expiration, now, lifetime)
	}
	if fault != nil {
		return Attestation{}, fault
	}
	return a, nil
}

// read reads the fields of an attestation. It checks neither signature nor clock.
func read(evt *nostr.Event) (Attestation, *Error) {
	if fault := checkDocument(evt, attestationZ); fault != nil {
		return Attestation{}, fault
	}
	t, fault := singleTags(evt, "p", "subject", "reviews", "rating", "since", "expiration")
	if fault != nil {
		return Attestation{}, fault
	}
	a := Attestation{EventID: evt.ID, Issuer: evt.PubKey, Destination: t["p"], Subject: t["subject"], CreatedAt: evt.CreatedAt}
	if !hex32.Valid(a.Destination) {
		return Attestation{}, &Error{Fault: FaultValue, Tag: "p"}
	}
	if !validSubject(a.Subject) {
		return Attestation{}, &Error{Fault: FaultValue, Tag: "subject"}
	}
	reviews, ok := decimal(t["reviews"])
	if !ok || reviews < MinReviews || reviews > math.MaxUint32 {
		return Attestation{}, &Error{Fault: FaultValue, Tag: "reviews"}
	}
	a.Reviews = uint32(reviews)
	if a.Hundredths, ok = parseRating(t["rating"]); !ok {
		return Attestation{}, &Error{Fault: FaultValue, Tag: "rating"}
	}
	if a.Since, ok = decimal(t["since"]); !ok || a.Since%86400 != 0 || a.Since < MinSince || a.Since > int64(evt.CreatedAt) {
		return Attestation{}, &Error{Fault: FaultValue, Tag: "since"}
	}
	if a.Expiration, fault = expiration(t, evt); fault != nil {
		return Attestation{}, fault
	}
	return a, nil
}

func validSubject(s string) bool {
	if s == "" || len(s) > maxSubject {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// parseRating parses the form d.dd, from 1.00 to 5.00.
func parseRating(s string) (hundredths uint16, ok bool) {
	if len(s) != 4 || s[1] != '.' {
		return 0, false
	}
	n, ok := decimal("1" + s[:1] + s[2:]) // the first digit lets a rating begin with 0
	n -= 1000
	if !ok || n < 100 || n > 500 {
		return 0, false
	}
	return uint16(n), true
}

// Policy states which attestations a destination accepts.
type Policy struct {
	Issuers  map[string]string // names of the trusted issuers by key, hex
	OwnKey   string            // the destination's own key for attestations, which is never trusted; "" for none
	Lifetime int64             // limit in seconds; 0 means the constant Lifetime
}

// Accept parses an attestation that a user with this identity wants to import, and
// checks it against the policy. The transport must have proved the identity. The error
// is an Error.
func (p Policy) Accept(text, identity string, now time.Time) (Attestation, error) {
	lifetime := p.Lifetime
	if lifetime == 0 {
		lifetime = Lifetime
	}
	a, err := Parse(text, now, lifetime)
	if err != nil {
		return Attestation{}, err
	}
	if _, ok := p.Issuers[a.Issuer]; !ok || a.Issuer == p.OwnKey {
		return Attestation{}, &Error{Fault: FaultIssuer, reason: message.ReasonUntrustedReputationIssuer}
	}
	if a.Destination != identity {
		return Attestation{}, &Error{Fault: FaultIdentity, reason: message.ReasonReputationIdentityMismatch}
	}
	return a, nil
}
