package relay

import (
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip13"
)

// DefaultKinds are the kinds that a relay for orders and their trades needs, besides the
// ephemeral kinds.
var DefaultKinds = []int{
	mostro.KindOrder, mostro.KindUserRating, mostro.KindInfo, mostro.KindDispute, mostro.KindDevFee, mostro.KindReceiptKeys,
	mostro.KindAnnouncement, mostro.KindHealth,
	mostro.KindProfile, mostro.KindRelayList, mostro.KindAppData, mostro.KindHostRating, mostro.KindDeletion,
	mostro.KindMessage, mostro.KindGiftWrap, mostro.KindLegacyDM,
	3,     // contacts
	1985,  // labels (NIP-32)
	10040, // trusted providers (NIP-85)
	10050, // relays for private messages (NIP-17)
	13194, // wallet service info (NIP-47)
	30382, // assertions about users (NIP-85)
	30384, // assertions about addresses (NIP-85)
	30666, // statistics of a market (bestiario)
	38000, // recommendations (NIP-87)
}

// Defaults of the fields of Policy that are zero.
const (
	DefaultMaxEventBytes = 128 << 10
	DefaultMaxTags       = 2000
	DefaultMaxFuture     = 15 * time.Minute
)

// LargestMaxEventBytes is the upper limit of Policy.MaxEventBytes. The derived keys of one
// event must fit into one transaction of the log.
const LargestMaxEventBytes = 512 << 10

// Kinds that prove an identity for one connection or one request. The relay never passes
// such an event on to other clients.
const (
	kindAuth     = 22242 // NIP-42
	kindHTTPAuth = 27235 // NIP-98
)

// oneUse maps a kind that is kept for one use only to a description of that use. Other
// applications publish many events under the numbers next to 38383.
var oneUse = map[int]string{
	mostro.KindReceiptKeys:  "keys of blind receipts alone (z=receipt-keys)",
	mostro.KindAnnouncement: "announcements alone (z=announcement, d and expiration), and keys of blind receipts of before (z=receipt-keys)",
	mostro.KindHealth:       "the health of Mostros alone (z=health, d=the author, expiration within three hours)",
}

// Policy says which events this relay takes. Its methods are pure functions.
type Policy struct {
	Kinds         []int         // nil: DefaultKinds. Ephemeral kinds are always taken.
	MaxEventBytes int           // largest JSON of an event; 0: DefaultMaxEventBytes
	MaxTags       int           // 0: DefaultMaxTags
	MaxFuture     time.Duration // how far created_at may be ahead of the relay's clock; 0: DefaultMaxFuture
	MinPow        int           // leading zero bits of the id (NIP-13); 0: no proof of work is required
}

// withDefaults replaces zero fields by the defaults.
func (p Policy) withDefaults() Policy {
	if p.Kinds == nil {
		p.Kinds = DefaultKinds
	}
	if p.MaxEventBytes == 0 {
		p.MaxEventBytes = DefaultMaxEventBytes
	}
	if p.MaxTags == 0 {
		p.MaxTags = DefaultMaxTags
	}
	if p.MaxFuture == 0 {
		p.MaxFuture = DefaultMaxFuture
	}
	return p
}

// WellFormed returns the reason why an event can never be valid, or "". WellFormed checks
// the form only; it verifies neither the id nor the signature.
//
// khatru indexes into the d tags of replaceable and addressable events without a check of
// their length. An event that WellFormed refuses must not reach khatru.
func WellFormed(evt *nostr.Event) string {
	switch {
	case !hex32.Valid(evt.ID):
		return "invalid: id is not 64 lower-case hex digits"
	case !hex32.Valid(evt.PubKey):
		return "invalid: pubkey is not 64 lower-case hex digits"
	case len(evt.Sig) != 128 || !hex32.IsLower(evt.Sig):
		return "invalid: sig is not 128 lower-case hex digits"
	case evt.Kind < 0 || evt.Kind > 65535:
		return "invalid: kind is not between 0 and 65535"
	case evt.CreatedAt < 0:
		return "invalid: created_at is before 1970"
	case !utf8.ValidString(evt.Content):
		return "invalid: content is not UTF-8"
	}
	regular := nostr.IsRegularKind(evt.Kind) || nostr.IsEphemeralKind(evt.Kind)
	for _, tag := range evt.Tags {
		if len(tag) == 0 || tag[0] == "" {
			return "invalid: a tag has no name"
		}
		if len(tag) == 1 && tag[0] == "d" && !regular {
			return "invalid: a d tag has no value"
		}
		for _, word := range tag {
			if !utf8.ValidString(word) {
				return "invalid: a tag is not UTF-8"
			}
		}
	}
	return ""
}

// Refuse returns the reason why this relay does not take an event of size bytes that
// comes from origin at time now, or "". Refuse makes only cheap checks. The id and the
// signature are verified afterwards.
func (p Policy) Refuse(evt *nostr.Event, size int, now time.Time, origin mostro.Origin) string {
	p = p.withDefaults()
	return p.refuse(evt, size, now, origin)
}

func (p *Policy) refuse(evt *nostr.Event, size int, now time.Time, origin mostro.Origin) string {
	if size > p.MaxEventBytes {
		return fmt.Sprintf("invalid: the event is larger than %d bytes", p.MaxEventBytes)
	}
	if len(evt.Tags) > p.MaxTags {
		return fmt.Sprintf("invalid: the event has more than %d tags", p.MaxTags)
	}
	if reason := WellFormed(evt); reason != "" {
		return reason
	}
	if reason := refuseSeveral(evt.Tags); reason != "" {
		return reason
	}
	if evt.Kind == kindAuth || evt.Kind == kindHTTPAuth {
		return "invalid: proofs of identity are not published"
	}
	if evt.Kind == mostro.KindAttestation {
		// A user shows an attestation to one Mostro. A public attestation would connect
		// the keys of one person.
		return "invalid: kind 38388 is an attestation of a reputation and travels inside messages only"
	}
	ephemeral := nostr.IsEphemeralKind(evt.Kind)
	if !ephemeral && !slices.Contains(p.Kinds, evt.Kind) {
		return fmt.Sprintf("blocked: kind %d is not kept here", evt.Kind)
	}
	if want := oneUse[evt.Kind]; want != "" && mostro.Classify(evt) == mostro.ClassForeign {
		return fmt.Sprintf("blocked: kind %d is kept here for %s", evt.Kind, want)
	}
	// The times of this program's own events are not checked. An own event that is refused
	// here would be published on no relay.
	own := origin == mostro.OriginSelf
	if ahead := int64(evt.CreatedAt) - now.Unix(); !own && ahead > int64(p.MaxFuture/time.Second) {
		return fmt.Sprintf("invalid: created_at is more than %d seconds in the future", int64(p.MaxFuture/time.Second))
	}
	history := origin == mostro.OriginImport || origin == mostro.OriginBackfill
	if ephemeral && history {
		return "invalid: ephemeral events are not stored"
	}
	if !history && !own && eventlog.ExpiredAt(evt.Tags, now) {
		return "invalid: expired"
	}
	if p.MinPow > 0 && origin != mostro.OriginSelf && nip13.Difficulty(evt.ID) < p.MinPow {
		return fmt.Sprintf("pow: the id has fewer than %d leading zero bits", p.MinPow)
	}
	return ""
}

// maxSeveral is how many distinct values of the tag s, and of f, an event may have. An
// order has one of each.
const maxSeveral = 8

// refuseSeveral refuses an event with too many statuses or currencies, because every query
// for one of them would have to compare the event.
func refuseSeveral(tags nostr.Tags) string {
	var values [2][maxSeveral]string
	var n [2]int
	for _, tag := range tags {
		if len(tag) < 2 || tag[0] != "s" && tag[0] != "f" {
			continue
		}
		i := 0
		if tag[0] == "f" {
			i = 1
		}
		if slices.Contains(values[i][:n[i]], tag[1]) {
			continue
		}
		if n[i] == maxSeveral {
			return fmt.Sprintf("invalid: the event has more than %d values of %s", maxSeveral, tag[0])
		}
		values[i][n[i]] = tag[1]
		n[i]++
	}
	return ""
}

// isProtected reports whether only its authenticated author may publish an event (NIP-70).
func isProtected(tags nostr.Tags) bool {
	for _, tag := range tags {
		if len(tag) > 0 && tag[0] == "-" {
			return true
		}
	}
	return false
}
