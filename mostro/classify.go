package mostro

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// Class is the meaning of an event for this program. Classify determines it from the
// kind, the `z` tag and the shape of the event, because old Mostros published
// everything as kind 38383 and because other applications use the same kinds.
type Class uint8

const (
	// ClassForeign is an event of another application. Its kind is either shared with
	// Mostro or unknown to this program.
	ClassForeign    Class = iota
	ClassOrder            // ParseOrder
	ClassInfo             // ParseInfo
	ClassDispute          // ParseDispute
	ClassUserRating       // ParseUserRating
	ClassDevFee           // ParseDevFee
	ClassHostRating       // ParseHostRating
	ClassProfile          // ParseProfile
	ClassRelayList        // ParseRelayList
	ClassRates            // ParseRates
	ClassMail             // a private message: see IsMail
	ClassDeletion         // NIP-09
	ClassKeyset           // receipt.ParseKeyset

	ClassAnnouncement // a notice to the users of a client
	ClassHealth       // ParseHealth
)

var classNames = [...]string{
	ClassForeign: "foreign", ClassOrder: "order", ClassInfo: "info", ClassDispute: "dispute",
	ClassUserRating: "user-rating", ClassDevFee: "dev-fee", ClassHostRating: "host-rating",
	ClassProfile: "profile", ClassRelayList: "relay-list", ClassRates: "rates",
	ClassMail: "mail", ClassDeletion: "deletion", ClassKeyset: "keyset",
	ClassAnnouncement: "announcement", ClassHealth: "health",
}

// String returns the name in lower case, such as "order", "user-rating" or "foreign".
func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return "unknown"
}

// Classify returns the class of an event from its kind, then its `z` tag, then its
// shape. Classify checks no signature. The class only states the apparent type: the
// parser of the class may still refuse the event.
//
// The `y` tag is a claim that anyone can make. Classify uses `y` only to exclude: if an
// info, a dispute or a fee claims another platform, its class is ClassForeign.
func Classify(evt *nostr.Event) Class {
	if evt == nil {
		return ClassForeign
	}
	if IsMail(evt.Kind) {
		return ClassMail
	}
	t := TagReader(evt.Tags)
	if isStranger(evt.Kind, t) {
		return ClassForeign
	}
	switch evt.Kind {
	case KindProfile:
		return ClassProfile
	case KindRelayList:
		return ClassRelayList
	case KindDeletion:
		return ClassDeletion
	case KindAppData:
		if t.Value("d") == ratesD {
			return ClassRates
		}
	case KindHostRating:
		if looksHostRating(t) {
			return ClassHostRating
		}
	case KindOrder:
		return classifyOrderKind(t)
	case KindUserRating:
		if isMostroClaim(t) && (t.Value("z") == "rating" || t.Value("z") == "" && t.has("total_reviews")) {
			return ClassUserRating
		}
	case KindInfo:
		if isMostroClaim(t) && (t.Value("z") == "info" || t.Value("z") == "" && t.has("mostro_version")) {
			return ClassInfo
		}
	case KindDispute:
		if isMostroClaim(t) && (t.Value("z") == "dispute" || t.Value("z") == "" && looksDispute(t)) {
			return ClassDispute
		}
	case KindReceiptKeys, KindAnnouncement:
		switch z := t.Value("z"); {
		case !isMostroClaim(t): // foreign
		case z == keysetZ:
			return ClassKeyset
		case evt.Kind == KindAnnouncement && z == "announcement" && t.Value("d") != "" && t.Value("expiration") != "":
			return ClassAnnouncement
		}
	case KindHealth:
		if isMostroClaim(t) && t.Value("z") == "health" && looksHealth(evt) {
			return ClassHealth
		}
	case KindDevFee:
		if isMostroClaim(t) && (t.Value("z") == "dev-fee-payment" || t.Value("z") == "" && t.has("order-id") && t.has("hash")) {
			return ClassDevFee
		}
	}
	return ClassForeign
}

// paygress is an application for computing power that publishes on Mostro's kinds. Its
// offers have the tags of orders.
const paygress = "paygress"

// isStranger reports whether an event on one of Mostro's kinds names another application.
// Such events outnumber Mostro's own on some kinds (census of October 2026). An event that
// claims to be Mostro's is no stranger: otherwise a node could hide its disputes behind
// one more tag.
func isStranger(kind int, t TagReader) bool {
	switch kind {
	case KindOrder, KindUserRating, KindInfo, KindDispute:
		if t.Value("t") == paygress || strings.HasPrefix(t.Value("d"), paygress+":") {
			platform, _ := t.Claim()
			return platform != PlatformMostro
		}
	}
	return false
}

// classifyOrderKind classifies kind 38383, which held all of a Mostro's public events
// until the end of 2025.
func classifyOrderKind(t TagReader) Class {
	switch z := t.Value("z"); {
	case z == "order":
		return ClassOrder
	case z == "" && t.has("k") && t.has("f") && t.has("s"):
		return ClassOrder
	case !isMostroClaim(t):
		return ClassForeign
	case z == "info" || z == "" && t.has("mostro_version"):
		return ClassInfo
	case z == "rating" || z == "" && t.has("total_reviews"):
		return ClassUserRating
	case z == "dispute" || z == "" && looksDispute(t):
		return ClassDispute
	}
	return ClassForeign
}

// isMostroClaim reports whether the event claims to be Mostro's or has no `y` tag. User
// ratings have no `y` tag.
func isMostroClaim(t TagReader) bool {
	if !t.has("y") {
		return true
	}
	platform, _ := t.Claim()
	return platform == PlatformMostro
}

// keysetZ is the z tag of a keyset. The kind of keysets is this project's own choice,
// so another application may use the same kind.
const keysetZ = "receipt-keys"

// maxHealthLife is the longest life of a health event in seconds: three times the
// longest interval between health events. With a longer life, an event would report a
// stopped node as running.
const maxHealthLife = 3 * 3600

// looksHealth reports whether an event describes its own author and expires within
// maxHealthLife.
func looksHealth(evt *nostr.Event) bool {
	t := TagReader(evt.Tags)
	ends := t.Whole("expiration")
	return t.Value("d") == evt.PubKey && ends != nil && *ends > int64(evt.CreatedAt) && *ends-int64(evt.CreatedAt) <= maxHealthLife
}

func looksDispute(t TagReader) bool {
	return t.has("d") && t.has("s") && !t.has("k") && !t.has("f") && disputeStates[kebab(t.Value("s"))] != DisputeStateUnknown
}

// looksHostRating separates host ratings from events of other applications that rate
// things with kind 31986. A host rating carries a token or receipt of the host, or
// states with `k` or `y` that it is about orders.
func looksHostRating(t TagReader) bool {
	if !t.has("d") || !t.has("p") || !t.has("rating") {
		return false
	}
	platform, _ := t.Claim()
	return t.Value("sig") != "" || t.values("receipt") != nil || t.Value("k") == "38383" ||
		platform == PlatformMostro || platform == PlatformRoboSats
}

// ErrForeign is returned if an event belongs to another application, or to another
// class than the parser's.
var ErrForeign = errors.New("event of another application")

// ErrMalformedEvent is returned if an event belongs to the parser's class but breaks
// one of its rules.
var ErrMalformedEvent = errors.New("malformed event")

// EventError is the error of every event parser. errors.Is matches it with ErrForeign
// or ErrMalformedEvent. Rule describes the broken rule and can be stored in an audit.
type EventError struct {
	Kind  int
	Rule  string
	cause error
}

// Error returns the cause, the kind and the rule.
func (e *EventError) Error() string { return fmt.Sprintf("%v: kind %d: %s", e.cause, e.Kind, e.Rule) }

// Unwrap returns ErrForeign or ErrMalformedEvent.
func (e *EventError) Unwrap() error { return e.cause }

// MalformedEvent returns an EventError with the cause ErrMalformedEvent.
func MalformedEvent(evt *nostr.Event, rule string) error {
	return &EventError{Kind: evt.Kind, Rule: rule, cause: ErrMalformedEvent}
}

// Expect returns an error if the event is not of the wanted class. Every parser calls
// it first.
func Expect(evt *nostr.Event, want Class) error {
	if evt == nil {
		return &EventError{Kind: -1, Rule: "no event", cause: ErrForeign}
	}
	if got := Classify(evt); got != want {
		return &EventError{Kind: evt.Kind, Rule: "is " + got.String() + ", not " + want.String(), cause: ErrForeign}
	}
	return nil
}

// Once returns an error if a named tag occurs twice. Money or evidence depends on these
// tags, so two values count as no value.
func Once(evt *nostr.Event, names ...string) error {
	for _, name := range names {
		if TagReader(evt.Tags).count(name) > 1 {
			return MalformedEvent(evt, "several "+name+" tags")
		}
	}
	return nil
}
