package attestation

import (
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// Fault names the rule that a document breaks. The name is stable, so it can be a
// metric's label.
type Fault string

// The faults, in the order in which a document is checked.
const (
	FaultMalformed Fault = "malformed" // not the JSON of a signed event
	FaultSignature Fault = "signature" // the id is not the hash, or the signature does not verify
	FaultKind      Fault = "kind"      // another kind than 38388
	FaultDocument  Fault = "document"  // no z tag, several, or of another document
	FaultMissing   Fault = "missing"   // a required tag is absent
	FaultRepeated  Fault = "repeated"  // a tag that must occur once occurs again
	FaultValue     Fault = "value"     // the value of a tag has another form, or is out of its range
	FaultFuture    Fault = "future"    // signed later than the clocks can differ
	FaultExpired   Fault = "expired"
	FaultLifetime  Fault = "lifetime" // valid for longer than allowed
	FaultIssuer    Fault = "issuer"   // an issuer that is not trusted, or another issuer than this node
	FaultIdentity  Fault = "identity" // of or for another identity than the request's
)

// Error is the error of every refused document.
type Error struct {
	Fault  Fault
	Tag    string         // name of the tag, "" if the fault concerns no single tag
	reason message.Reason // "" for the reason of the fault in an attestation
}

// Error returns the fault and the tag.
func (e *Error) Error() string {
	if e.Tag != "" {
		return "attestation: " + string(e.Fault) + ": " + e.Tag
	}
	return "attestation: " + string(e.Fault)
}

// Reason returns the reason with which a node refuses the request.
func (e *Error) Reason() message.Reason {
	switch {
	case e.reason != "":
		return e.reason
	case e.Fault == FaultExpired:
		return message.ReasonExpiredReputationAttestation
	}
	return message.ReasonInvalidReputationAttestation
}

// openDocument parses an event and verifies its id and signature.
func openDocument(text string) (*nostr.Event, *Error) {
	evt, err := message.DecodeEvent([]byte(text))
	if err != nil || evt.CreatedAt < 0 {
		return nil, &Error{Fault: FaultMalformed}
	}
	for _, tag := range evt.Tags {
		if len(tag) == 0 {
			return nil, &Error{Fault: FaultMalformed} // as the reference implementation
		}
	}
	if envelope.CheckEvent(evt) != nil {
		return nil, &Error{Fault: FaultSignature}
	}
	return evt, nil
}

// checkDocument checks the kind and the z tag.
func checkDocument(evt *nostr.Event, z string) *Error {
	if evt.Kind != mostro.KindAttestation {
		return &Error{Fault: FaultKind}
	}
	if t, fault := singleTags(evt, "z"); fault != nil || t["z"] != z {
		return &Error{Fault: FaultDocument}
	}
	return nil
}

// singleTags returns the first value of each named tag. Each tag must occur exactly
// once, so that a document has one meaning. A tag without a value has the value "".
func singleTags(evt *nostr.Event, names ...string) (map[string]string, *Error) {
	found := make(map[string]string, len(names))
	for _, name := range names {
		n := 0
		for _, tag := range evt.Tags {
			if len(tag) == 0 || tag[0] != name {
				continue
			}
			if n++; n > 1 {
				return nil, &Error{Fault: FaultRepeated, Tag: name}
			}
			found[name] = ""
			if len(tag) > 1 {
				found[name] = tag[1]
			}
		}
		if n == 0 {
			return nil, &Error{Fault: FaultMissing, Tag: name}
		}
	}
	return found, nil
}

// decimal parses a whole number without sign, leading zero or white space.
func decimal(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" || s[0] == '0' && s != "0" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

func expiration(t map[string]string, evt *nostr.Event) (nostr.Timestamp, *Error) {
	n, ok := decimal(t["expiration"])
	if !ok || n <= int64(evt.CreatedAt) {
		return 0, &Error{Fault: FaultValue, Tag: "expiration"}
	}
	return nostr.Timestamp(n), nil
}

// checkClock checks the times of a document. All times are at or after 1970, and the
// expiration is later than the creation, so no difference overflows.
func checkClock(created, expires nostr.Timestamp, now time.Time, lifetime int64) *Error {
	at := now.Unix()
	switch {
	case int64(created)-ClockSkew > at:
		return &Error{Fault: FaultFuture}
	case int64(expires) < at-ClockSkew:
		return &Error{Fault: FaultExpired}
	case int64(expires)-int64(created) > lifetime:
		return &Error{Fault: FaultLifetime}
	}
	return nil
}
