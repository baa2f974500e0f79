package mostro

import (
	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/nbd-wtf/go-nostr"
)

// UserRating is a node's rating of one of its users. Its address is the user's key of
// one trade, so one user has many ratings, and only their numbers link them. A
// UserRating is no statement about the node.
type UserRating struct {
	EventID   string
	Pubkey    string // the node
	D         string // the rated user's trade key, hex
	CreatedAt nostr.Timestamp

	TotalReviews *int64
	TotalRating  *float64 // mean, from MinRate to MaxRate; half the first vote after one
	LastRating   *int64
	MaxRate      *int64          // greatest vote so far
	MinRate      *int64          // least vote so far
	Days         *int64          // age of the user's account
	Since        nostr.Timestamp // first trade of the user, written to the day; 0 unknown (before 0.19)

	Expiration nostr.Timestamp // NIP-40; 0 none
}

// ParseUserRating parses kind 38384, and the ratings in kind 38383 that nodes published
// until the end of 2025. The error is an EventError.
func ParseUserRating(evt *nostr.Event) (UserRating, error) {
	if err := Expect(evt, ClassUserRating); err != nil {
		return UserRating{}, err
	}
	t := TagReader(evt.Tags)
	r := UserRating{
		EventID: evt.ID, Pubkey: evt.PubKey, D: evt.Tags.GetD(), CreatedAt: evt.CreatedAt,
		TotalReviews: t.Whole("total_reviews"), TotalRating: t.float("total_rating"),
		LastRating: t.Whole("last_rating"), MaxRate: t.Whole("max_rate"), MinRate: t.Whole("min_rate"),
		Days: t.Whole("days"), Since: t.time("since"), Expiration: t.time("expiration"),
	}
	if !hex32.Valid(r.D) {
		return UserRating{}, MalformedEvent(evt, "d is not a public key")
	}
	if r.TotalReviews == nil {
		return UserRating{}, MalformedEvent(evt, "total_reviews is not a whole number")
	}
	if r.TotalRating == nil || *r.TotalRating > 5 {
		return UserRating{}, MalformedEvent(evt, "total_rating is not a number from 0 to 5")
	}
	for _, vote := range []*int64{r.LastRating, r.MaxRate, r.MinRate} {
		if vote != nil && *vote > 5 {
			return UserRating{}, MalformedEvent(evt, "a vote above 5")
		}
	}
	return r, nil
}

// Event returns the rating as a Mostro publishes it, ready to be signed. It has no `y`
// tag, because mostrod writes none.
func (r UserRating) Event() nostr.Event {
	w := TagWriter{{"d", r.D}}
	w.time("expiration", r.Expiration)
	w.Whole("total_reviews", r.TotalReviews)
	if r.TotalRating != nil {
		w.Add("total_rating", rustDisplay(*r.TotalRating))
	}
	w.Whole("last_rating", r.LastRating)
	w.Whole("max_rate", r.MaxRate)
	w.Whole("min_rate", r.MinRate)
	w.time("since", startOfDay(r.Since))
	w.Add("z", "rating")
	w.Whole("days", r.Days)
	return nostr.Event{PubKey: r.Pubkey, CreatedAt: r.CreatedAt, Kind: KindUserRating, Tags: nostr.Tags(w)}
}
