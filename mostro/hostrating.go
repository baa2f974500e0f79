package mostro

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/nbd-wtf/go-nostr"
)

// MaxRatingText is the greatest length of a host rating's text, in characters.
const MaxRatingText = 500

// HostRating is a user's rating of a host. Mostro's users rate a Mostro in the form in
// which RoboSats' users rate their coordinators. The rating itself proves nothing.
// Token and Receipt may prove that the author traded with the host; ParseHostRating
// does not check either, receipt.Check does.
type HostRating struct {
	EventID   string
	Pubkey    string // the rater's key
	D         string // "<alias>:<order id>"
	CreatedAt nostr.Timestamp

	Platform string             // "mostro" if Alias is; otherwise as claimed, or "robosats" if there is a token and no claim; "" unknown
	Alias    string             // host's short name, before the first ':' of D
	OrderID  string             // after the first ':' of D
	Host     string             // the host's key, hex
	Rating   Decimal            // 0 to 1
	Aspects  map[string]Decimal // sub-scores by name, 0 to 1; nil if none

	Token   string   // `sig`: the host's signature over author and order id, 128 hex digits; "" none
	Receipt []string // values of the receipt tag; nil none
	Role    string   // "buyer", "seller", "" unknown
	Order   string   // `a`: address of the rated order; "" none
	Text    string   // at most MaxRatingText characters

	Expiration nostr.Timestamp // NIP-40; 0 none
}

// ParseHostRating parses kind 31986. Each rule refuses a form that an attacker could
// exploit: two hosts, two ratings, or a rating that is not a plain number from 0 to 1.
// The error is an EventError.
func ParseHostRating(evt *nostr.Event) (HostRating, error) {
	if err := Expect(evt, ClassHostRating); err != nil {
		return HostRating{}, err
	}
	if err := Once(evt, "d", "p", "sig", "receipt", "role", "a"); err != nil {
		return HostRating{}, err
	}
	t := TagReader(evt.Tags)
	platform, _ := t.Claim()
	r := HostRating{
		EventID: evt.ID, Pubkey: evt.PubKey, D: evt.Tags.GetD(), CreatedAt: evt.CreatedAt,
		Host: t.Value("p"), Token: t.Value("sig"), Receipt: t.values("receipt"),
		Role: t.Value("role"), Order: t.Value("a"), Text: strings.TrimSpace(evt.Content),
		Expiration: t.time("expiration"),
	}
	var ok bool
	if r.Alias, r.OrderID, ok = strings.Cut(r.D, ":"); !ok || r.Alias == "" || r.OrderID == "" {
		return HostRating{}, MalformedEvent(evt, "d is not alias:order")
	}
	switch {
	case r.Alias == PlatformMostro:
		r.Platform = PlatformMostro
	case platform == "" && r.Token != "":
		r.Platform = PlatformRoboSats // RoboSats' ratings carry no y
	default:
		r.Platform = platform
	}
	if r.Platform == PlatformMostro && r.Alias != PlatformMostro {
		return HostRating{}, MalformedEvent(evt, "alias of another platform")
	}
	if !hex32.Valid(r.Host) {
		return HostRating{}, MalformedEvent(evt, "p is not a public key")
	}
	if r.Token != "" && (len(r.Token) != 128 || !hex32.IsLower(r.Token)) {
		return HostRating{}, MalformedEvent(evt, "sig is not a signature")
	}
	if r.Role != "" && r.Role != "buyer" && r.Role != "seller" {
		return HostRating{}, MalformedEvent(evt, "role is neither buyer nor seller")
	}
	if r.Order != "" && r.Platform == PlatformMostro && r.Order != "38383:"+r.Host+":"+r.OrderID {
		return HostRating{}, MalformedEvent(evt, "a is not the rated order")
	}
	if utf8.RuneCountInString(r.Text) > MaxRatingText {
		return HostRating{}, MalformedEvent(evt, "text longer than 500 characters")
	}
	if rule := r.readScores(evt.Tags); rule != "" {
		return HostRating{}, MalformedEvent(evt, rule)
	}
	return r, nil
}

// readScores reads the rating tags: exactly one plain rating, and any number of
// aspects. It returns the broken rule, or "" if there is none.
func (r *HostRating) readScores(tags nostr.Tags) (rule string) {
	rated := false
	for _, tag := range tags {
		if len(tag) < 2 || tag[0] != "rating" {
			continue
		}
		score, err := ParseDecimal(tag[1])
		if err != nil || score.Sign() < 0 || score.Cmp(DecimalOf(1)) > 0 {
			return "rating is not a number from 0 to 1"
		}
		aspect := ""
		if len(tag) >= 3 {
			aspect = tag[2]
		}
		_, seen := r.Aspects[aspect]
		switch {
		case aspect == "" && rated || seen:
			return "several ratings"
		case aspect == "":
			r.Rating, rated = score, true
		default:
			if r.Aspects == nil {
				r.Aspects = make(map[string]Decimal)
			}
			r.Aspects[aspect] = score
		}
	}
	if !rated {
		return "no overall rating"
	}
	return ""
}

// Event returns the rating, ready to be signed by the rater. The four tags of RoboSats
// come first and in RoboSats' order, so that readers of RoboSats' ratings accept the
// event.
func (r HostRating) Event() nostr.Event {
	w := TagWriter{}
	w.text("sig", r.Token)
	w.Add("d", r.D)
	w.Add("p", r.Host)
	w.Add("rating", r.Rating.String())
	for _, aspect := range slices.Sorted(maps.Keys(r.Aspects)) {
		w.Add("rating", r.Aspects[aspect].String(), aspect)
	}
	if r.Platform != PlatformRoboSats || r.Token == "" {
		w.text("y", r.Platform)
		w.Add("k", "38383")
	}
	w.text("a", r.Order)
	if len(r.Receipt) > 0 {
		w.Add("receipt", r.Receipt...)
	}
	w.text("role", r.Role)
	w.time("expiration", r.Expiration)
	if r.Platform == PlatformMostro {
		w.Add("alt", "Rating of a Mostro after a trade")
	}
	return nostr.Event{PubKey: r.Pubkey, CreatedAt: r.CreatedAt, Kind: KindHostRating, Tags: nostr.Tags(w), Content: r.Text}
}
