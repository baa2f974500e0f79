package web

import (
	"html/template"
	"math"
	"net/http"
	"regexp"
	"strconv"

	"github.com/mostrodex/mostrodex/internal/lang"
	"github.com/mostrodex/mostrodex/mostro"
)

// Summaries is the source of the reputation that the site shows. Its methods are called
// concurrently.
type Summaries interface {
	// ReputationSummary returns the reputation of a node. ok is false if nothing is known of the
	// node.
	ReputationSummary(pubkey string) (s mostro.ReputationSummary, ok bool)
	// Section returns the part of an instance's page that explains its reputation. The HTML
	// must be safe, and its scripts must be files of this origin.
	Section(r *http.Request, pubkey string) (template.HTML, error)
}

// reputationView is the JSON of a ReputationSummary. If the reputation room has witnessed no event
// of a node, its unknown values are null.
type reputationView struct {
	Rank         *int            `json:"rank"`
	Lo           *float64        `json:"lo"`
	Hi           *float64        `json:"hi"`
	Provisional  bool            `json:"provisional"`
	Reason       *string         `json:"reason" doc:"why rank is null: \"unwitnessed\", \"watching\" or \"clock\""`
	BorrowedRank *int            `json:"borrowed_rank" doc:"rank by the receive logs of other relays that the operator trusts; null if there is none"`
	WatchedDays  int             `json:"watched_days"`
	WatchDays    int             `json:"watch_days" doc:"days of watching that a rank requires"`
	ClaimedValue *float64        `json:"claimed_value" doc:"value of a provisional reputation; never a rank"`
	ExposureSats int64           `json:"exposure_sats"`
	Trades       mostro.Evidence `json:"trades"`
	VolumeSats   mostro.Evidence `json:"volume_sats"`
	Disputes     mostro.Evidence `json:"disputes"`
	Flags        []string        `json:"flags"`
	Why          string          `json:"why" doc:"path of the full score"`
}

// stand sets the reputation of an instance in its view.
func (x *views) stand(v *instanceView) {
	if x.summaries == nil {
		return
	}
	s, ok := x.summaries.ReputationSummary(v.Pubkey)
	if !ok {
		return
	}
	r := &reputationView{Provisional: s.Provisional, BorrowedRank: s.Borrowed, WatchedDays: s.WatchedDays, WatchDays: s.WatchDays, ExposureSats: s.Exposure, Trades: s.Trades, VolumeSats: s.VolumeSats, Disputes: s.Disputes,
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

// rankOf returns the rank of a publisher, or nil if there is none.
func (x *views) rankOf(pubkey string) *int {
	if x.summaries == nil {
		return nil
	}
	s, ok := x.summaries.ReputationSummary(pubkey)
	if !ok || s.Provisional || s.Unranked != "" {
		return nil
	}
	return &s.Rank
}

// byRank sorts by rank, then by the lower bound of the rank's interval. Instances with a
// borrowed rank alone follow, by that rank. Instances that were not watched long enough come
// next, by days watched. Instances without witnessed
// events come last, by the value that they claim.
func byRank(v *instanceView) float64 {
	switch r := v.Reputation; {
	case r == nil:
		return math.Inf(-1)
	case r.Rank == nil && r.BorrowedRank != nil:
		return float64(*r.BorrowedRank) / 1000
	case r.Rank == nil && r.ClaimedValue == nil:
		return float64(r.WatchedDays) - 500
	case r.Rank == nil:
		return *r.ClaimedValue - 1000
	default:
		return float64(*r.Rank)*1000 + *r.Lo
	}
}

// rankCell is a rank with its interval in a table. The bar is 100 wide.
type rankCell struct {
	Known, Provisional bool
	Watched            string // "watched 3 of 30 days"; "" if there is a rank
	Rank               int
	Lo, Hi, Claim      string
	From, Width        string
	Secures            string
	Trades             mostro.Evidence
	Flags              []string
}

func rankCellOf(l *lang.Lang, r *reputationView) rankCell {
	if r == nil {
		return rankCell{}
	}
	c := rankCell{Known: true, Provisional: r.Provisional, Secures: l.Int(r.ExposureSats), Trades: r.Trades, Flags: r.Flags}
	if r.Rank == nil { // too little was witnessed for any number
		c.Watched = l.T("rank.watched", r.WatchedDays, r.WatchDays)
		return c
	}
	c.Rank = *r.Rank
	c.Lo, c.Hi = strconv.Itoa(int(*r.Lo)), strconv.Itoa(int(math.Ceil(*r.Hi)))
	c.From, c.Width = strconv.FormatFloat(*r.Lo, 'f', 1, 64), strconv.FormatFloat(max(1, *r.Hi-*r.Lo), 'f', 1, 64)
	return c
}

type lentPage struct {
	frame
	Body template.HTML
}

// plainHost matches a Host header that is safe to copy into a header of the answer.
var plainHost = regexp.MustCompile(`^[A-Za-z0-9.\-]+(:[0-9]{1,5})?$|^\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?$`)

// scriptPolicy returns a Content-Security-Policy that allows scripts of this origin and a
// connection to its relay. Some browsers do not accept 'self' for a websocket.
func scriptPolicy(r *http.Request) string {
	relay := ""
	if plainHost.MatchString(r.Host) {
		relay = " ws://" + r.Host + " wss://" + r.Host
	}
	return contentPolicy + "; script-src 'self'; connect-src 'self'" + relay
}
