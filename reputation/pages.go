package reputation

import (
	"cmp"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/reputation/score"
)

// interval is a mean between two bounds, with positions in a picture of width 100.
type interval struct {
	Lo, Mean, Hi  string // formatted numbers
	From, Wide    string // of the bar
	At            string // of the mark
	HasMean, Tall bool
}

func intervalOf(lo, mean, hi score.Micro, hasMean bool) interval {
	place := func(m score.Micro) string { return strconv.FormatFloat(min(100, max(0, m.Float())), 'f', 2, 64) }
	return interval{Lo: points(lo), Mean: points(mean), Hi: points(hi), From: place(lo), Wide: place(max(score.One/2, hi-lo)), At: place(min(mean, 99*score.One)), HasMean: hasMean}
}

// componentRow is one sub-score on the page.
type componentRow struct {
	Title, What, Why string
	Weight, Mean     string
	Costs            string // "" if there is no rank
	Bar              interval
}

// componentWords are the title and the explanation of each sub-score.
var componentWords = [len(score.SubNames)][2]string{
	score.SubUsers:      {"Users", "what traders with a receipt say"},
	score.SubCompletion: {"Completion", "taken orders that ended well"},
	score.SubDisputes:   {"Disputes", "how few, and how soon resolved"},
	score.SubVolume:     {"Volume", "how much was traded, with confirmed cost"},
	score.SubLiveness:   {"Liveness", "whether it was there"},
	score.SubLongevity:  {"Longevity", "on how many days it was seen"},
}

type tripleRow struct {
	Name string
	score.Triple
	Note string
}

type ratingRow struct {
	ratingView
	Stars, Rater, When, WhenRFC, Status, Moved, Heavy string
	Up                                                bool
}

// shownRatings is the number of ratings on the page of a node.
const shownRatings = 25

type scorePage struct {
	Score      *score.Score
	Pubkey     string
	Interval   interval
	Unranked   string // reason why there is no rank; "" if there is one
	AsOf       string
	AsOfRFC    string
	Components []componentRow
	Facts      []factRow
	SeenBy     []seenByRow
	Borrowed   *int
	Flags      []score.Flag // without the exposure if no fund is named here: then all Mostros have it
	Evidence   []tripleRow
	First      string
	Proofs     []equivocationView
	Ratings    []ratingRow
	Movers     []ratingRow
	Total      int
	Counted    int
	Assertion  string
	Base       string
	Script     string
	Ready      bool
	Funds      bool // a development fund confirms payments
}

// section returns the part of a node's explorer page that explains the score. base is the
// address under which the visitor reaches this program.
func section(f scoreAPI, base, pubkey string) (template.HTML, error) {
	s, ok := f.known.Score(pubkey)
	p := &scorePage{Pubkey: pubkey, Base: base, Script: rateScriptPath, Ready: f.known.Ready()}
	if !ok {
		return render("unknown", p)
	}
	params := f.known.Params()
	p.Funds = len(params.Funds)+len(params.Payees) > 0
	p.Score, p.AsOf, p.AsOfRFC = &s, s.AsOf.UTC().Format("2 January 2006, 15:04 UTC"), s.AsOf.UTC().Format(time.RFC3339)
	if s.Unranked != "" {
		p.Unranked = s.WhyUnranked()
	}
	for _, flag := range s.Flags {
		if flag.Name != score.FlagExposure || p.Funds {
			p.Flags = append(p.Flags, flag)
		}
	}
	p.Interval = intervalOf(s.Lo, s.Value, s.Hi, true)
	for j, sub := range s.Sub {
		row := componentRow{Title: componentWords[j][0], What: componentWords[j][1], Why: sub.Why, Weight: percentOf(sub.Weight), Mean: percentOf(sub.Mean),
			Bar: intervalOf(100*sub.Lo, 100*sub.Mean, 100*sub.Hi, true)}
		if s.Unranked == "" {
			row.Costs = points(costs(&s, sub))
		}
		p.Components = append(p.Components, row)
	}
	e := &s.Evidence
	p.Evidence = []tripleRow{
		{"Trades that ended well", e.Successes, ""}, {"Volume, sats", e.VolumeSats, "of those trades"}, {"Orders taken", e.Taken, ""},
		{"Taken and cancelled", e.Failures, ""}, {"Cancelled soon after the take", e.CancelledEarly, "says nothing of the node"},
		{"Taken, no end published", e.Omitted, ""}, {"End seen late", e.EndedLate, "says nothing of the node"}, {"Disputes", e.Disputes, ""},
		{"Disputes resolved", e.Resolved, ""}, {"Development fees, sats", e.DevFeeSats, ""}, {"Ratings by users", e.Ratings, ""},
		{"Ratings with a valid receipt", e.Proven, ""}, {"Orders published", e.Orders, ""}, {"On offer or under way, sats", e.OpenSats, "now"},
	}
	if !e.FirstWitnessed.IsZero() {
		p.First = e.FirstWitnessed.UTC().Format("2 January 2006")
	}
	v := f.view(&s)
	p.Facts, p.SeenBy, p.Borrowed = factRows(&v.Facts), seenByRows(v.SeenBy), v.BorrowedRank
	p.Proofs = v.Evidence.Equivocations
	if v.Links.Assertion != nil {
		p.Assertion = *v.Links.Assertion
	}
	all := f.ratings(&s)
	p.Total = len(all)
	for i := range all {
		if all[i].Weight > 0 {
			p.Counted++
		}
		if i < shownRatings {
			p.Ratings = append(p.Ratings, ratingRowOf(&all[i]))
		}
	}
	movers := slices.DeleteFunc(slices.Clone(all), func(r score.RatedBy) bool { return r.Moves == 0 })
	slices.SortStableFunc(movers, func(a, b score.RatedBy) int { return cmp.Compare(max(b.Moves, -b.Moves), max(a.Moves, -a.Moves)) })
	for i := range movers[:min(len(movers), 3)] {
		p.Movers = append(p.Movers, ratingRowOf(&movers[i]))
	}
	return render("standing", p)
}

func ratingRowOf(r *score.RatedBy) ratingRow {
	row := ratingRow{ratingView: ratingViewOf(r), Rater: shortKey(r.Rater), When: r.ReceivedAt.UTC().Format("2 Jan 2006"), WhenRFC: r.ReceivedAt.UTC().Format(time.RFC3339)}
	row.Stars = strconv.FormatFloat(row.ratingView.Stars, 'f', 1, 64)
	row.Status, row.Heavy = "no receipt", strconv.FormatFloat(r.Weight.Float(), 'f', 3, 64)
	if r.Proof != "" {
		row.Status = "receipt " + strings.ToUpper(r.Proof)
	}
	if r.Moves != 0 {
		row.Up = r.Moves > 0
		row.Moved = strconv.FormatFloat(r.Moves.Float(), 'f', 2, 64)
		if row.Up {
			row.Moved = "+" + row.Moved
		}
	}
	return row
}

func methodPage(known Known) (string, template.HTML, error) {
	p := known.Params()
	weights := make([]componentRow, len(score.SubNames))
	for j := range weights {
		weights[j] = componentRow{Title: componentWords[j][0], What: componentWords[j][1], Weight: percentOf(p.Weights[j])}
	}
	name, hash, _ := strings.Cut(p.Algo(), " ")
	body, err := render("method", map[string]any{
		"Components": weights, "Params": p, "Funds": len(p.Funds)+len(p.Payees) > 0, "Algo": name, "Hash": hash, "Key": known.Pubkey(),
		"Plain": percentOf(p.CPlain), "Witnessed": percentOf(p.CWitnessed), "Free": percentOf(p.VolumeFree), "Late": p.LateSeconds / 60, "Neutral": p.NeutralSeconds / 60,
		"DisputeTop": percentOf(p.DisputeTop), "DayCap": percentOf(p.DayCap), "NEff": int64(p.GateNEff / score.One),
		"Example": intervalOf(52*score.One, 61*score.One, 68*score.One, true),
	})
	return "How ranks work", body, err
}

type chooseForm struct {
	Fiat, Amount, Sats, Method string
	Sides, Exposures, Networks []formOption
	Fiats                      []string
}

type formOption struct {
	Value, Text string
	On          bool
}

func formOptions(on string, pairs ...string) (out []formOption) {
	for i := 0; i+1 < len(pairs); i += 2 {
		out = append(out, formOption{pairs[i], pairs[i+1], pairs[i] == on})
	}
	return out
}

type candidateRow struct {
	*Candidate
	Title   string
	Watched string // "watched 3 of 30 days"; "" if there is a rank, or no score
	Bar     interval
	Place   int
}

type choosePage struct {
	Form     chooseForm
	Problem  string
	Choice   *Choice
	In       string
	Rows     []candidateRow
	Excluded []candidateRow
	JSON     string
}

// page answers GET /choose with the form and its result.
func (f chooser) page(r *http.Request) (string, template.HTML, error) {
	values := r.URL.Query()
	p := &choosePage{JSON: "/api/v1/choose?" + values.Encode(), Form: chooseForm{
		Fiat: values.Get("fiat"), Amount: values.Get("amount"), Sats: values.Get("sats"), Method: values.Get("method"),
		Sides:     formOptions(values.Get("side"), "buy", "buy bitcoin", "sell", "sell bitcoin"),
		Exposures: formOptions(values.Get("exposure"), "", "Leave it out if another secures it", exposureRequire, "Leave it out", exposureIgnore, "Only warn me"),
		Networks:  formOptions(values.Get("network"), "", "mainnet", "testnet", "testnet", "signet", "signet", "regtest", "regtest"),
		Fiats:     f.currencies(),
	}}
	const title = "Choose a Mostro"
	asked := slices.ContainsFunc([]string{"fiat", "amount", "sats", "method"}, func(name string) bool { return strings.TrimSpace(values.Get(name)) != "" })
	if !asked && values.Get("side") == "" {
		body, err := render("choose", p)
		return title, body, err
	}
	w, err := ParseWish(values)
	if err != nil {
		p.Problem = err.Error()
		body, err := render("choose", p)
		return title, body, err
	}
	if p.Choice, err = f.choose(r.Context(), w); err != nil {
		return "", "", err
	}
	p.In = w.in()
	rows := func(list []Candidate) (out []candidateRow) {
		for i := range list {
			c := &list[i]
			row := candidateRow{Candidate: c, Title: shortKey(c.Pubkey), Place: i + 1}
			if c.Name != nil {
				row.Title = *c.Name
			}
			if c.score != nil && c.score.Unranked != "" {
				row.Watched = c.score.WatchProgress()
			}
			if c.Rank != nil {
				row.Bar = intervalOf(*c.Lo, c.score.Value, *c.Hi, true)
			}
			out = append(out, row)
		}
		return out
	}
	p.Rows, p.Excluded = rows(p.Choice.Candidates), rows(p.Choice.Excluded)
	body, err := render("choose", p)
	return title, body, err
}

// currencies returns the currencies that the Mostros accept, for the form.
func (f chooser) currencies() (list []string) {
	for _, info := range f.market.Infos() {
		list = append(list, info.Currencies...)
	}
	slices.Sort(list)
	list = slices.Compact(list)
	return list[:min(len(list), 200)]
}
