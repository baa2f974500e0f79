package indexer

import (
	"context"
	"encoding/hex"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
)

// Standings is what the index shows of a reputation. All methods are called
// concurrently.
type Standings interface {
	// Standing gives a node's standing; ok is false where nothing is known.
	Standing(pubkey string) (s mostro.Standing, ok bool)
	// Section is the part of an instance's page that explains its standing:
	// safe HTML, whose scripts are files of this origin.
	Section(r *http.Request, pubkey string) (template.HTML, error)
}

// Show adds standings to the API and the explorer. It is called before
// Handler.
func (x *Index) Show(s Standings) { x.standings = s }

// reputationView is a Standing in JSON. What is unknown of a node of which
// nothing was witnessed is null.
type reputationView struct {
	Rank         *int            `json:"rank"`
	Lo           *float64        `json:"lo"`
	Hi           *float64        `json:"hi"`
	Provisional  bool            `json:"provisional"`
	Reason       *string         `json:"reason"` // why rank is null: "unwitnessed", "watching" or "clock"
	WatchedDays  int             `json:"watched_days"`
	WatchDays    int             `json:"watch_days"`    // that a rank needs
	ClaimedValue *float64        `json:"claimed_value"` // of a provisional one: never a rank
	ExposureSats int64           `json:"exposure_sats"`
	Trades       mostro.Evidence `json:"trades"`
	VolumeSats   mostro.Evidence `json:"volume_sats"`
	Disputes     mostro.Evidence `json:"disputes"`
	Flags        []string        `json:"flags"`
	Why          string          `json:"why"` // path of the whole score
}

// stand notes an instance's standing in its view.
func (x *Index) stand(v *instanceView) {
	if x.standings == nil {
		return
	}
	s, ok := x.standings.Standing(v.Pubkey)
	if !ok {
		return
	}
	r := &reputationView{Provisional: s.Provisional, WatchedDays: s.WatchedDays, WatchDays: s.WatchDays, ExposureSats: s.Exposure, Trades: s.Trades, VolumeSats: s.VolumeSats, Disputes: s.Disputes,
		Flags: listOf(s.Flags), Why: "/api/v1/instances/" + v.Pubkey + "/score"}
	if s.Unranked != "" {
		r.Reason = &s.Unranked
	}
	switch {
	case s.Provisional:
		r.ClaimedValue = &s.Claim
	case s.Unranked == "":
		r.Rank, r.Lo, r.Hi = &s.Rank, &s.Lo, &s.Hi
	}
	v.Rank, v.Reputation = r.Rank, r
}

// byRank sorts by rank, then by the lower bound; then those that were not watched
// for long enough, by days; then those of which nothing was witnessed, by what
// they claim.
func byRank(v *instanceView) float64 {
	switch r := v.Reputation; {
	case r == nil:
		return math.Inf(-1)
	case r.Rank == nil && r.ClaimedValue == nil:
		return float64(r.WatchedDays) - 500
	case r.Rank == nil:
		return *r.ClaimedValue - 1000
	default:
		return float64(*r.Rank)*1000 + *r.Lo
	}
}

// rankCell is a rank with its interval, as a table shows it. The bar is 100
// wide.
type rankCell struct {
	Known, Provisional bool
	Watched            string // "watched 3 of 30 days"; "" where that is no reason
	Rank               int
	Lo, Hi, Claim      string
	From, Width        string
	Secures            string
	Trades             mostro.Evidence
	Flags              []string
}

func rankCellOf(r *reputationView) rankCell {
	if r == nil {
		return rankCell{}
	}
	c := rankCell{Known: true, Provisional: r.Provisional, Secures: grouped(strconv.FormatInt(r.ExposureSats, 10)), Trades: r.Trades, Flags: r.Flags}
	if r.Rank == nil && r.ClaimedValue == nil {
		c.Watched = fmt.Sprintf("watched %d of %d days", r.WatchedDays, r.WatchDays)
		return c
	}
	if r.Rank == nil {
		c.Claim = strconv.Itoa(int(*r.ClaimedValue))
		return c
	}
	c.Rank = *r.Rank
	c.Lo, c.Hi = strconv.Itoa(int(*r.Lo)), strconv.Itoa(int(math.Ceil(*r.Hi)))
	c.From, c.Width = strconv.FormatFloat(*r.Lo, 'f', 1, 64), strconv.FormatFloat(max(1, *r.Hi-*r.Lo), 'f', 1, 64)
	return c
}

// Infos gives what each instance says of itself, under the name that it goes
// by, sorted by key. Banned and quarantined keys are left out.
func (x *Index) Infos() []mostro.Info {
	hidden := func(string) bool { return false }
	if x.cfg.Rules != nil {
		_, never, onDemand, _ := x.cfg.Rules.Shunned()
		hidden = func(pubkey string) bool {
			var key [32]byte
			_, err := hex.Decode(key[:], []byte(pubkey))
			_, banned := never[key]
			_, quarantined := onDemand[key]
			return err == nil && (banned || quarantined)
		}
	}
	s := x.book.authors.Load()
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []mostro.Info
	for pubkey, a := range s.infos {
		if !hidden(pubkey) {
			info := *a.Info
			info.Name = a.name()
			out = append(out, info)
		}
	}
	slices.SortFunc(out, func(a, b mostro.Info) int { return strings.Compare(a.Pubkey, b.Pubkey) })
	return out
}

// maxOffers bounds what one question about offers reads.
const maxOffers = 10_000

// Offers gives the orders of instances that are on offer in a currency, by
// the maker's side, newest first, of one payment method unless that is "";
// whole is false when there are more than are given.
func (x *Index) Offers(ctx context.Context, fiat string, side mostro.Side, method string) (offers []mostro.Order, whole bool, err error) {
	q := Query{Fiat: []string{fiat}, Side: []mostro.Side{side}, Limit: MaxLimit}
	if method != "" {
		q.Method = []string{method}
	}
	for _, info := range x.Infos() {
		q.Instance = append(q.Instance, info.Pubkey)
	}
	if len(q.Instance) == 0 { // of no one, not of all
		return nil, true, nil
	}
	for {
		a, err := x.Orders(ctx, q)
		if err != nil {
			return nil, false, err
		}
		for _, r := range a.Orders {
			offers = append(offers, r.Order)
		}
		if a.Next == "" || len(offers) >= maxOffers {
			return offers, a.Next == "", nil
		}
		q.Cursor = a.Next
	}
}

// API makes a handler of the API's manners out of what gives a value or an
// error: GET and HEAD alone, open to every origin, with an ETag. An error
// that has a method Problem() (status int, param, detail string) is told to
// the client as such a problem document.
func (x *Index) API(route string, get func(*http.Request) (any, error)) http.HandlerFunc {
	return x.api(route, get)
}

// Page makes a handler of the explorer's look out of what gives a title and
// the safe HTML between head and foot. nav names the place in the navigation.
func (x *Index) Page(route, nav string, get func(*http.Request) (title string, body template.HTML, err error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		x.page(x.pages, route, func(r *http.Request) (string, any, error) {
			title, body, err := get(r)
			if err != nil {
				return "", nil, err
			}
			return "lent", &lentPage{frame{Title: title, Page: nav}, body}, nil
		}, w, r)
	}
}

type lentPage struct {
	frame
	Body template.HTML
}

// plainHost is a Host header that can stand in a header of ours.
var plainHost = regexp.MustCompile(`^[A-Za-z0-9.\-]+(:[0-9]{1,5})?$|^\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?$`)

// scriptPolicy allows scripts of this origin, and its relay. Some browsers do
// not take 'self' for a websocket.
func scriptPolicy(r *http.Request) string {
	relay := ""
	if plainHost.MatchString(r.Host) {
		relay = " ws://" + r.Host + " wss://" + r.Host
	}
	return contentPolicy + "; script-src 'self'; connect-src 'self'" + relay
}
