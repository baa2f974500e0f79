package reputation

import (
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/internal/cache"
	"github.com/mostrodex/mostrodex/reputation/score"
)

// JSON types of scores. Numbers from 0 to 1 and from 0 to 100 have six decimals. Times are
// given as unix seconds and in RFC 3339. null means unknown, and is never 0.

type scoreView struct {
	Pubkey string  `json:"pubkey"`
	Name   *string `json:"name" null:"the node publishes no name"`
	times
	Rank         *int         `json:"rank" null:"there is no rank; reason says why" doc:"0 to 100"`
	Reason       *string      `json:"reason" null:"there is a rank, or the rating counts in full" doc:"of a score: unwitnessed, watching or clock; of a rating: why it does not count or counts less"`
	ReasonText   *string      `json:"reason_text" null:"there is a rank" doc:"reason as a sentence"`
	WatchedDays  int          `json:"watched_days" unit:"days" doc:"days on which events were witnessed"`
	WatchDays    int          `json:"watch_days" unit:"days" doc:"witnessed days that a rank needs"`
	Lo           *score.Micro `json:"lo" null:"there is no rank" doc:"lower bound of the value, 0 to 100"`
	Hi           *score.Micro `json:"hi" null:"there is no rank" doc:"upper bound"`
	Value        *score.Micro `json:"value" null:"there is no rank" doc:"0 to 100"`
	Provisional  bool         `json:"provisional" doc:"the value rests on claims, because too little was witnessed"`
	ClaimedValue *score.Micro `json:"claimed_value" null:"the node is not provisional" doc:"value by claims alone; never a rank"`
	ExposureSats int64        `json:"exposure_sats" doc:"amount that the evidence can secure"`

	Ratings      int             `json:"ratings"`
	NEff         score.Micro     `json:"n_eff" doc:"weight of the ratings that count, in ratings"`
	Mu           score.Micro     `json:"mu" doc:"mean that the ratings are shrunk to, 0 to 1"`
	Components   []componentView `json:"components" doc:"parts of the value"`
	Gates        []string        `json:"gates" doc:"limits that hold the value down"`
	Flags        []score.Flag    `json:"flags" doc:"warnings"`
	Linked       []string        `json:"linked" doc:"keys that name the same Lightning node"`
	Evidence     evidenceView    `json:"evidence" doc:"facts behind the score"`
	BorrowedRank *int            `json:"borrowed_rank" null:"no witnesses are configured, or too few of them have a rank" doc:"rank by the receive logs of other relays: the median of seen_by; never published, and never part of rank"`
	SeenBy       []seenByView    `json:"seen_by" doc:"the score as each trusted relay saw the node"`
	Facts        factsView       `json:"facts" doc:"facts that need no score, each the node's own word or witnessed"`

	Algo  string    `json:"algo" doc:"version of the method"`
	Root  string    `json:"root" doc:"hash over the evidence"`
	Links linksView `json:"links" doc:"paths of more"`
}

type times struct {
	AsOf    int64  `json:"as_of" unit:"unix seconds" doc:"time of the score"`
	AsOfRFC string `json:"as_of_rfc3339"`
}

func timesOf(t time.Time) times { return times{t.Unix(), t.UTC().Format(time.RFC3339)} }

type componentView struct {
	score.SubScore
	Costs *score.Micro `json:"costs" null:"there is no rank" doc:"points of value that the component costs"`
}

// evidenceView is score.Evidence with null for unknown times.
type evidenceView struct {
	Orders    score.Triple `json:"orders"`
	Taken     score.Triple `json:"taken"`
	Successes score.Triple `json:"successes"`
	Failures  score.Triple `json:"failures"`
	Omitted   score.Triple `json:"omitted"`
	Silent    score.Triple `json:"silent"`
	Expired   score.Triple `json:"expired"`

	CancelledEarly score.Triple `json:"cancelled_early"`
	EndedLate      score.Triple `json:"ended_late"`

	VolumeSats  score.Triple `json:"volume_sats"`
	Disputes    score.Triple `json:"disputes"`
	Resolved    score.Triple `json:"resolved"`
	Unresolved  score.Triple `json:"unresolved"`
	DevFees     score.Triple `json:"dev_fees"`
	DevFeeSats  score.Triple `json:"dev_fee_sats"`
	Ratings     score.Triple `json:"ratings"`
	Proven      score.Triple `json:"proven"`
	UserRatings score.Triple `json:"user_ratings"`
	Infos       score.Triple `json:"infos"`
	OpenSats    score.Triple `json:"open_sats"`

	FirstClaimedAt      *int64  `json:"first_claimed_at" unit:"unix seconds" null:"unknown" doc:"least created_at"`
	FirstClaimedAtRFC   *string `json:"first_claimed_at_rfc3339"`
	FirstWitnessedAt    *int64  `json:"first_witnessed_at" unit:"unix seconds" null:"nothing was witnessed"`
	FirstWitnessedAtRFC *string `json:"first_witnessed_at_rfc3339"`
	LastWitnessedAt     *int64  `json:"last_witnessed_at" unit:"unix seconds" null:"nothing was witnessed"`
	LastWitnessedAtRFC  *string `json:"last_witnessed_at_rfc3339"`
	WitnessedDays       int     `json:"witnessed_days" unit:"days"`
	TakeSecondsP90      *int64  `json:"take_seconds_p90" unit:"seconds" null:"no dispute was taken" doc:"time until a solver took a dispute, 90th percentile"`

	Equivocations []equivocationView `json:"equivocations" doc:"two versions of one order that were signed for one second"`
}

type equivocationView struct {
	Address      string   `json:"address" doc:"address of the order"`
	CreatedAt    int64    `json:"created_at"`
	CreatedAtRFC string   `json:"created_at_rfc3339"`
	EventIDs     []string `json:"event_ids" unit:"64 hex digits"`
	Proofs       []string `json:"proofs" doc:"paths of both signed events"`
}

type linksView struct {
	Ratings   string  `json:"ratings"`
	Instance  string  `json:"instance"`
	Page      string  `json:"page"`
	Badge     string  `json:"badge"`
	Method    string  `json:"method"`
	Assertion *string `json:"assertion" null:"none is published" doc:"address of the signed NIP-85 event"`
}

func wordsOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func unixOrNull(t time.Time) (*int64, *string) {
	if t.IsZero() {
		return nil, nil
	}
	unix, text := t.Unix(), t.UTC().Format(time.RFC3339)
	return &unix, &text
}

// costs returns by how many points the value would rise if the component were perfect. The
// result is for display only. The score itself is computed with integers.
func costs(s *score.Score, sub score.SubScore) score.Micro {
	mean, weight := math.Max(sub.Mean.Float(), 0.02), sub.Weight.Float()
	return score.Micro(math.Round(s.Value.Float() * (math.Pow(mean, -weight) - 1) * float64(score.One)))
}

// scoreAPI answers questions about one score. Its only state is the cache of ratings.
type scoreAPI struct {
	known Known
	seeds []string    // keys that the operator trusts
	walks *sync.Mutex // held while a personal order is computed: one at a time, because anybody can ask
	about describer   // nil: nothing is known of what a node says of itself
	rated *cache.Cache[string, ratedAt]
}

// ratedAt is the cached list of a node's ratings as of one score. The cache bounds the work
// of repeated requests, because the computation of Moves reads all facts of a node and any
// client can request the ratings.
type ratedAt struct {
	root string
	asOf time.Time
	list []score.RatedBy
}

// ratings returns the ratings of a node as of its score. The caller must not change the
// list.
func (f scoreAPI) ratings(s *score.Score) []score.RatedBy {
	held, ok := f.rated.Get(s.Pubkey)
	if ok && held.root == s.Root && held.asOf.Equal(s.AsOf) {
		return held.list
	}
	list := f.known.Ratings(s.Pubkey)
	f.rated.Put(s.Pubkey, ratedAt{s.Root, s.AsOf, list})
	return list
}

// scoreOf returns the score of the node in the path. If there is none, scoreOf returns a
// refusal.
func (f scoreAPI) scoreOf(r *http.Request) (score.Score, error) {
	pubkey, err := parseKey(r.PathValue("pubkey"))
	if err != nil {
		return score.Score{}, err
	}
	s, ok := f.known.Score(pubkey)
	if ok {
		return s, nil
	}
	if !f.known.Ready() {
		return score.Score{}, &refusal{http.StatusServiceUnavailable, "", "The reputation has not caught up with the log yet. Try again in a moment."}
	}
	return score.Score{}, &refusal{http.StatusNotFound, "", "No score: this key never described itself as a Mostro in an event that is held here. Scores of all Mostros: /api/v1/instances?sort=rank"}
}

func (f scoreAPI) view(s *score.Score) scoreView {
	e := &s.Evidence
	v := scoreView{
		Pubkey: s.Pubkey, Name: wordsOrNull(s.Name), times: timesOf(s.AsOf), Provisional: s.Provisional, ExposureSats: s.ExposureSats,
		Ratings: s.N, NEff: s.NEff, Mu: s.Mu, Gates: s.Gates, Flags: s.Flags, Linked: s.Linked, Algo: s.Algo, Root: s.Root,
		Evidence: evidenceView{Orders: e.Orders, Taken: e.Taken, Successes: e.Successes, Failures: e.Failures, Omitted: e.Omitted, Silent: e.Silent, Expired: e.Expired, CancelledEarly: e.CancelledEarly, EndedLate: e.EndedLate,
			VolumeSats: e.VolumeSats, Disputes: e.Disputes, Resolved: e.Resolved, Unresolved: e.Unresolved, DevFees: e.DevFees, DevFeeSats: e.DevFeeSats,
			Ratings: e.Ratings, Proven: e.Proven, UserRatings: e.UserRatings, Infos: e.Infos, OpenSats: e.OpenSats, WitnessedDays: e.WitnessedDays,
			Equivocations: []equivocationView{}},
		Facts: factsOf(s, f.about), SeenBy: seenByViews(f.known, s.Pubkey), BorrowedRank: borrowedRank(f.known, s.Pubkey),
		Links: linksView{Ratings: "/api/v1/instances/" + s.Pubkey + "/ratings", Instance: "/api/v1/instances/" + s.Pubkey, Page: "/instances/" + s.Pubkey,
			Badge: "/badge/" + s.Pubkey + ".svg", Method: "/method"},
	}
	v.WatchedDays, v.WatchDays = e.WitnessedDays, s.WatchDays
	if s.Unranked != "" {
		text := s.WhyUnranked()
		v.Reason, v.ReasonText = &s.Unranked, &text
	}
	switch {
	case s.Provisional:
		v.ClaimedValue = &s.Claim
	case s.Unranked == "":
		v.Rank, v.Lo, v.Hi, v.Value = &s.Rank, &s.Lo, &s.Hi, &s.Value
		if key := f.known.Pubkey(); key != "" {
			v.Links.Assertion = wordsOrNull(strconv.Itoa(KindAssertion) + ":" + key + ":" + s.Pubkey)
		}
	}
	for _, sub := range s.Sub {
		c := componentView{SubScore: sub}
		if s.Unranked == "" {
			costs := costs(s, sub)
			c.Costs = &costs
		}
		v.Components = append(v.Components, c)
	}
	d := &v.Evidence
	d.FirstClaimedAt, d.FirstClaimedAtRFC = unixOrNull(e.FirstClaimed)
	d.FirstWitnessedAt, d.FirstWitnessedAtRFC = unixOrNull(e.FirstWitnessed)
	d.LastWitnessedAt, d.LastWitnessedAtRFC = unixOrNull(e.LastWitnessed)
	if e.TakeSecondsP90 > 0 {
		d.TakeSecondsP90 = &e.TakeSecondsP90
	}
	for _, q := range e.Equivocations {
		one := equivocationView{Address: q.Address, CreatedAt: q.CreatedAt.Unix(), CreatedAtRFC: q.CreatedAt.UTC().Format(time.RFC3339)}
		for _, id := range q.IDs {
			one.EventIDs = append(one.EventIDs, id)
			one.Proofs = append(one.Proofs, "/api/v1/events/"+id)
		}
		d.Equivocations = append(d.Equivocations, one)
	}
	return v
}

func (f scoreAPI) get(r *http.Request) (any, error) {
	for name := range r.URL.Query() {
		return nil, badParam(name, "unknown parameter; this resource takes none")
	}
	s, err := f.scoreOf(r)
	if err != nil {
		return nil, err
	}
	return f.view(&s), nil
}

type ratingsView struct {
	Items      []ratingView `json:"items"`
	Total      int          `json:"total"`
	Counted    int          `json:"counted" doc:"the rating counts; of a list: ratings that count"`
	NextCursor *string      `json:"next_cursor" null:"this is the last page"`
}

type ratingView struct {
	EventID       string      `json:"event_id"`
	Rater         string      `json:"rater" unit:"64 hex digits" doc:"public key of the rater"`
	OrderID       *string     `json:"order_id" null:"the rating names no order"`
	Rating        score.Micro `json:"rating" doc:"0 to 1"`
	Stars         float64     `json:"stars" doc:"0 to 5"`
	Role          *string     `json:"role" null:"not stated" doc:"role of the rater"`
	Text          *string     `json:"text" null:"no text"`
	Platform      *string     `json:"platform" null:"not stated"`
	CreatedAt     int64       `json:"created_at"` // created_at, as signed
	CreatedAtRFC  string      `json:"created_at_rfc3339"`
	ReceivedAt    int64       `json:"received_at"` // time of receipt on this relay
	ReceivedAtRFC string      `json:"received_at_rfc3339"`
	ReceivedBy    *string     `json:"received_by" null:"unknown" doc:"road on which the event arrived"`
	Receipt       *string     `json:"receipt" null:"unproven" doc:"r0 to r3, the strength of the proof of a trade"`
	Counted       bool        `json:"counted" doc:"the rating counts; of a list: ratings that count"`
	Reason        *string     `json:"reason" null:"there is a rank, or the rating counts in full" doc:"of a score: unwitnessed, watching or clock; of a rating: why it does not count or counts less"`
	Weight        score.Micro `json:"weight" doc:"weight of the rating, 0 to 1"`
	Moves         score.Micro `json:"moves" doc:"points of value that the rating adds; below 0 if it takes points"`
	Event         string      `json:"event" doc:"path of the signed event"`
}

func ratingViewOf(r *score.RatedBy) ratingView {
	return ratingView{
		EventID: r.EventID, Rater: r.Rater, OrderID: wordsOrNull(r.OrderID), Rating: r.Rating, Stars: r.Rating.Float() * 5, Role: wordsOrNull(r.Role),
		Text: wordsOrNull(r.Text), Platform: wordsOrNull(r.Platform), CreatedAt: r.CreatedAt.Unix(), CreatedAtRFC: r.CreatedAt.UTC().Format(time.RFC3339),
		ReceivedAt: r.ReceivedAt.Unix(), ReceivedAtRFC: r.ReceivedAt.UTC().Format(time.RFC3339), ReceivedBy: wordsOrNull(r.Source),
		Receipt: wordsOrNull(strings.ToLower(r.Proof)), Counted: r.Weight > 0, Reason: wordsOrNull(r.Reason), Weight: r.Weight, Moves: r.Moves,
		Event: "/api/v1/events/" + r.EventID,
	}
}

// Lengths of a page of ratings.
const (
	defaultRatings = 50
	maxRatings     = 500
)

// ratingsQuery holds the limit and the cursor of a request.
type ratingsQuery struct {
	limit   int
	at      int64  // time of receipt in milliseconds; the page begins after this rating
	eventID string // "" for the first page
	node    string // the rated node, because a cursor belongs to one node
}

func parseRatingsQuery(r *http.Request) (q ratingsQuery, err error) {
	q.limit, q.node = defaultRatings, strings.ToLower(r.PathValue("pubkey"))
	if key, err := parseKey(q.node); err == nil {
		q.node = key
	}
	for name, values := range r.URL.Query() {
		value := strings.TrimSpace(values[len(values)-1])
		if value == "" {
			continue
		}
		switch name {
		case "limit":
			if q.limit, err = strconv.Atoi(value); err != nil || q.limit < 1 || q.limit > maxRatings {
				return q, badParam("limit", "%q is not a whole number from 1 to %d", value, maxRatings)
			}
		case "cursor":
			raw, err := base64.RawURLEncoding.DecodeString(value)
			mine, own := strings.CutSuffix(string(raw), "|"+q.node)
			at, id, ok := strings.Cut(mine, "|")
			if q.at, q.eventID = 0, id; err == nil {
				q.at, err = strconv.ParseInt(at, 10, 64)
			}
			if err != nil || !ok || !own || len(id) != 64 {
				return q, badParam("cursor", "not a cursor of this list; start again without it")
			}
		default:
			return q, badParam(name, "unknown parameter; known are limit and cursor")
		}
	}
	return q, nil
}

// page returns one page of ratings and the cursor of the next page. all must be sorted
// with the newest first.
func (q ratingsQuery) page(all []score.RatedBy) (page []score.RatedBy, next *string) {
	from := 0
	if q.eventID != "" {
		for from < len(all) {
			at := all[from].ReceivedAt.UnixMilli()
			if at < q.at || at == q.at && all[from].EventID < q.eventID {
				break
			}
			from++
		}
	}
	to := min(from+q.limit, len(all))
	if to < len(all) {
		last := &all[to-1]
		cursor := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d|%s|%s", last.ReceivedAt.UnixMilli(), last.EventID, q.node))
		next = &cursor
	}
	return all[from:to], next
}

func (f scoreAPI) getRatings(r *http.Request) (any, error) {
	q, err := parseRatingsQuery(r)
	if err != nil {
		return nil, err
	}
	s, err := f.scoreOf(r)
	var all []score.RatedBy
	if err != nil { // a coordinator of RoboSats has ratings and no score
		if from, ok := f.known.(starred); !ok || from.Stars(q.node).Count == 0 {
			return nil, err
		}
		all = f.known.Ratings(q.node)
	} else {
		all = f.ratings(&s)
	}
	out := ratingsView{Items: []ratingView{}, Total: len(all)}
	for i := range all {
		if all[i].Weight > 0 {
			out.Counted++
		}
	}
	page, next := q.page(all)
	for i := range page {
		out.Items = append(out.Items, ratingViewOf(&page[i]))
	}
	out.NextCursor = next
	return out, nil
}
