package mostro

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// Class says what an event is to us: its kind, corrected by its `z` tag and
// its shape, because old Mostros put everything in kind 38383 and other
// applications use the same kind numbers.
type Class uint8

const (
	// ClassForeign is an event of another application, of a kind that we
	// share with it or of a kind that means nothing here.
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
	ClassKeyset           // ParseKeyset

	ClassAnnouncement // a notice to the users of a client
	ClassHealth       // the state of a node
)

var classNames = [...]string{
	ClassForeign: "foreign", ClassOrder: "order", ClassInfo: "info", ClassDispute: "dispute",
	ClassUserRating: "user-rating", ClassDevFee: "dev-fee", ClassHostRating: "host-rating",
	ClassProfile: "profile", ClassRelayList: "relay-list", ClassRates: "rates",
	ClassMail: "mail", ClassDeletion: "deletion", ClassKeyset: "keyset",
	ClassAnnouncement: "announcement", ClassHealth: "health",
}

// String gives the name in lower case: "order", "user-rating", "foreign".
func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return "unknown"
}

// Classify says what an event is: kind first, then `z`, then shape. It looks
// at no signature and promises no more than that the event means to be of its
// class; the parser of the class may still refuse it.
//
// `y` is a claim that anyone can make. It only ever takes an event out: an
// info, a dispute or a fee that claims another platform is foreign.
func Classify(evt *nostr.Event) Class {
	if evt == nil {
		return ClassForeign
	}
	if IsMail(evt.Kind) {
		return ClassMail
	}
	t := tagReader(evt.Tags)
	switch evt.Kind {
	case KindProfile:
		return ClassProfile
	case KindRelayList:
		return ClassRelayList
	case KindDeletion:
		return ClassDeletion
	case KindAppData:
		if t.value("d") == ratesD {
			return ClassRates
		}
	case KindHostRating:
		if looksHostRating(t) {
			return ClassHostRating
		}
	case KindOrder:
		return classifyOrderKind(t)
	case KindUserRating:
		if isMostroClaim(t) && (t.value("z") == "rating" || t.value("z") == "" && t.has("total_reviews")) {
			return ClassUserRating
		}
	case KindInfo:
		if isMostroClaim(t) && (t.value("z") == "info" || t.value("z") == "" && t.has("mostro_version")) {
			return ClassInfo
		}
	case KindDispute:
		if isMostroClaim(t) && (t.value("z") == "dispute" || t.value("z") == "" && looksDispute(t)) {
			return ClassDispute
		}
	case KindReceiptKeys, KindAnnouncement:
		switch z := t.value("z"); {
		case !isMostroClaim(t): // foreign
		case z == keysetZ:
			return ClassKeyset
		case evt.Kind == KindAnnouncement && z == "announcement" && t.value("d") != "" && t.value("expiration") != "":
			return ClassAnnouncement
		}
	case KindHealth:
		if isMostroClaim(t) && t.value("z") == "health" && looksHealth(evt) {
			return ClassHealth
		}
	case KindDevFee:
		if isMostroClaim(t) && (t.value("z") == "dev-fee-payment" || t.value("z") == "" && t.has("order-id") && t.has("hash")) {
			return ClassDevFee
		}
	}
	return ClassForeign
}

// classifyOrderKind sorts kind 38383, which held all of a Mostro's public
// events until the end of 2025.
func classifyOrderKind(t tagReader) Class {
	switch z := t.value("z"); {
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

// isMostroClaim says that the event claims to be Mostro's, or claims nothing:
// user ratings carry no `y`.
func isMostroClaim(t tagReader) bool {
	if !t.has("y") {
		return true
	}
	platform, _ := t.claim()
	return platform == PlatformMostro
}

// keysetZ is the z of a keyset, whose kind is of our own choice and may be
// another application's as well.
const keysetZ = "receipt-keys"

// maxHealthLife is three of the longest intervals at which a node says how it
// is: an event that lived longer would report a node that stopped as running.
const maxHealthLife = 3 * 3600

// looksHealth reports whether an event is about its own author and ends in
// time.
func looksHealth(evt *nostr.Event) bool {
	t := tagReader(evt.Tags)
	ends := t.whole("expiration")
	return t.value("d") == evt.PubKey && ends != nil && *ends > int64(evt.CreatedAt) && *ends-int64(evt.CreatedAt) <= maxHealthLife
}

func looksDispute(t tagReader) bool {
	return t.has("d") && t.has("s") && !t.has("k") && !t.has("f") && disputeStates[kebab(t.value("s"))] != DisputeStateUnknown
}

// looksHostRating tells a rating of a host from the other applications that
// rate things with kind 31986: it carries a token of the host, or says by `k`
// or `y` that it is about orders.
func looksHostRating(t tagReader) bool {
	if !t.has("d") || !t.has("p") || !t.has("rating") {
		return false
	}
	platform, _ := t.claim()
	return t.value("sig") != "" || t.values("receipt") != nil || t.value("k") == "38383" ||
		platform == PlatformMostro || platform == PlatformRoboSats
}

// ErrForeign is the refusal of an event of another application, or of
// another class than the parser's.
var ErrForeign = errors.New("event of another application")

// ErrMalformedEvent is the refusal of an event that means to be of the
// parser's class and breaks one of its rules.
var ErrMalformedEvent = errors.New("malformed event")

// EventError is a parser's refusal. It is ErrForeign or ErrMalformedEvent to
// errors.Is, and Rule says which rule was broken in words fit for an audit.
type EventError struct {
	Kind  int
	Rule  string
	cause error
}

// Error names the kind and the rule.
func (e *EventError) Error() string { return fmt.Sprintf("%v: kind %d: %s", e.cause, e.Kind, e.Rule) }

// Unwrap gives ErrForeign or ErrMalformedEvent.
func (e *EventError) Unwrap() error { return e.cause }

func malformed(evt *nostr.Event, rule string) error {
	return &EventError{Kind: evt.Kind, Rule: rule, cause: ErrMalformedEvent}
}

// expect is the first line of every parser.
func expect(evt *nostr.Event, want Class) error {
	if evt == nil {
		return &EventError{Kind: -1, Rule: "no event", cause: ErrForeign}
	}
	if got := Classify(evt); got != want {
		return &EventError{Kind: evt.Kind, Rule: "is " + got.String() + ", not " + want.String(), cause: ErrForeign}
	}
	return nil
}

// once refuses an event that states any of the named tags twice: where money
// or evidence hangs on a tag, two values are none.
func once(evt *nostr.Event, names ...string) error {
	for _, name := range names {
		if tagReader(evt.Tags).count(name) > 1 {
			return malformed(evt, "several "+name+" tags")
		}
	}
	return nil
}

// Platforms with a dialect of their own. Any other name is kept as it is
// claimed.
const (
	PlatformMostro   = "mostro"
	PlatformRoboSats = "robosats"
	PlatformLnp2pBot = "lnp2pbot"
	PlatformTelegram = "telegram" // forks of lnp2pBot, named in the second y value
	PlatformPeach    = "peach"
	PlatformHodlHodl = "hodlhodl"
)

// instanceName gives the second y value of the platforms that name the
// instance there: a node, a bot, a coordinator's alias.
func instanceName(platform, second string) string {
	if slices.Contains([]string{PlatformMostro, PlatformRoboSats, PlatformLnp2pBot, PlatformTelegram}, platform) {
		return strings.TrimSpace(second)
	}
	return ""
}
