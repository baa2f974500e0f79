package web

import (
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed" // the script of the book
	"encoding/hex"
	"html/template"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mostrodex/mostrodex/internal/lang"
	"github.com/mostrodex/mostrodex/mostro"
)

// orderRow is one order as the book shows it, in the words of a visitor who takes it: an order
// of a maker who sells is an order to buy.
type orderRow struct {
	Want             string // "buy" or "sell", what a taker does; "": not stated
	Pay, Get         string // what the taker pays and gets
	Price            string // against the market, "": not known
	PriceClass       string // "better" or "worse" for the taker, or ""
	Cost             string // premium and half of the fee; "" if it is not known or not other than the price
	Methods          []string
	Author, Platform string
	Network          string // "" on mainnet
	AuthorLink       string
	Key              string // beginning of the author's public key
	Known            rankCell
	Rating           string // of the maker, as the publisher states it; "": not stated
	Reviews          string
	RatingMarked     bool // the publisher is not to be believed
	Status           string
	Left, Age        string
	Link, JSON, ID   string
	Take             template.URL // "" if the order cannot be taken, or has no link that is safe to follow
	Unchecked        string       // text that the publisher wrote instead of such a link
	Note             noteRow
}

// Shown returns the payment methods that a row of the book has room for, and Hidden the number
// of the others.
func (o orderRow) Shown() []string { return o.Methods[:min(len(o.Methods), shownMethods)] }

// Hidden returns the number of payment methods that are not shown.
func (o orderRow) Hidden() int { return max(0, len(o.Methods)-shownMethods) }

// shownMethods bounds the payment methods in a row of the book.
const shownMethods = 4

func (x *explorer) row(l *lang.Lang, r *orders.Record, amount float64, now time.Time) orderRow {
	o := &r.Order
	note := x.index.NoteOf(o.Pubkey, o.Platform)
	out := orderRow{Key: o.Pubkey[:8], Note: x.noteRow(l, note, now), Platform: plainLine(o.Platform), Status: cmp.Or(string(o.Status), "unknown"),
		Author: plainLine(x.index.NameFor(o)), AuthorLink: x.authorLink(l, o.Pubkey), Known: x.knownCell(l, o.Pubkey),
		Age: l.T("book.signed", l.Ago(now.Sub(o.CreatedAt.Time()))), ID: o.Pubkey + ":" + o.D,
		Link: l.Link("/orders/" + orderPath(o.Pubkey, o.D)), JSON: "/api/v1/orders/" + orderPath(o.Pubkey, o.D),
		Take: template.URL(note.TakeLink(&r.Version, now)), // the scheme is one that TakeLink permits
	}
	if out.Take == "" && o.TakeLink() == "" {
		out.Unchecked = plainLine(o.Link)
	}
	if o.Network != "mainnet" {
		out.Network = plainLine(o.Network)
	}
	if out.Author == "" {
		out.Author = o.Pubkey[:8] + "…"
	}
	for _, m := range o.Methods {
		out.Methods = append(out.Methods, plainLine(m))
	}
	x.deal(l, &out, o, amount, now)
	if m := o.MakerRating; m != nil && m.Mean != nil {
		out.Rating = "★ " + l.Float(*m.Mean, 1)
		if m.Max > 0 && m.Max != 5 {
			out.Rating += " / " + l.Number(strconv.FormatFloat(m.Max, 'f', -1, 64))
		}
		if m.Reviews != nil {
			out.Rating += " (" + l.Int(*m.Reviews) + ")"
			out.Reviews = l.T("book.reviews", int(*m.Reviews))
		}
		out.RatingMarked = out.Note.Marked()
	} else if m != nil && m.Reviews != nil && *m.Reviews == 0 {
		out.Rating = l.T("book.maker_new")
	}
	if end, ok := r.Ends(); ok && o.Status == mostro.StatusPending {
		if left := end.Sub(now); left > 0 {
			out.Left = l.T("book.left", l.Span(left))
		} else {
			out.Left = l.T("status.expired")
		}
	}
	return out
}

// deal sets what a taker pays and gets, and the price against the market.
func (x *explorer) deal(l *lang.Lang, out *orderRow, o *mostro.Order, amount float64, now time.Time) {
	lo, hi := orders.RangeOf(o.FiatAmount)
	fiat := amountText(l, o.FiatAmount)
	fits := !math.IsNaN(amount) && amount >= lo && amount <= hi
	if fits {
		fiat = l.Number(decimalText(amount))
	}
	if o.Fiat != "" {
		fiat += " " + plainLine(o.Fiat)
	}
	sats := l.T("book.sats_later")
	p := x.priceOf(o, amount, now)
	exact := satsOrNull(o.AmountSats)
	switch {
	case p != nil && p.Sats != nil && *p.Sats > 0:
		key := "book.sats_about"
		if exact != nil {
			key = "book.sats"
		} else if !fits && lo != hi {
			key = "book.sats_from"
		}
		sats = l.T(key, l.Int(*p.Sats))
	case exact != nil:
		sats = l.T("book.sats", l.Int(*exact))
	}
	switch o.Side {
	case mostro.SideSell:
		out.Want, out.Pay, out.Get = "buy", fiat, sats
	case mostro.SideBuy:
		out.Want, out.Pay, out.Get = "sell", sats, fiat
	default:
		out.Pay, out.Get = fiat, sats
	}
	if d := o.PremiumPct; d != nil && (exact == nil || d.Sign() != 0) {
		switch text := l.Number(strings.TrimPrefix(d.String(), "-")); {
		case d.Sign() > 0:
			out.Price, out.PriceClass = l.T("book.above", text), "worse"
		case d.Sign() < 0:
			out.Price, out.PriceClass = l.T("book.below", text), "better"
		default:
			out.Price = l.T("book.at_market")
		}
		if out.Want == "sell" && out.PriceClass != "" { // a seller gains by a premium
			out.PriceClass = map[string]string{"better": "worse", "worse": "better"}[out.PriceClass]
		}
	}
	if p != nil && p.CostPct != nil && (o.PremiumPct == nil || math.Abs(math.Abs(*p.CostPct)-math.Abs(o.PremiumPct.Float())) > 0.004) {
		if text := l.Float(math.Abs(*p.CostPct), 1); *p.CostPct >= 0 {
			out.Cost = l.T("book.cost", text)
		} else {
			out.Cost = l.T("book.gain", text)
		}
	}
}

// knownCell returns how well this relay knows an author.
func (x *explorer) knownCell(l *lang.Lang, pubkey string) rankCell {
	v := &instanceView{Pubkey: pubkey}
	x.stand(v)
	return rankCellOf(l, v.Reputation)
}

type bookData struct {
	frame
	Form                      url.Values // as the visitor filled it in
	Wants, Fiats              []option
	Opens, Statuses, Networks []option
	Sorts                     []option // the value is a link
	Chips                     []countRow
	Methods, Platforms        []countRow
	Rows                      []orderRow
	Caption, Nearest, Changed string
	First, Next, JSON, Past   string
	Stream, StreamScript      string // "": the page is not live
	Filtered, More, ShowState bool
}

// moreFilters are the fields below the sentence.
var moreFilters = []string{"q", "min_premium", "max_premium", "min_maker_rating", "min_maker_days", "min_rank", "amount", "platform", "instance", "network", "open", "status", "at"}

// withParams returns a path with the parameters of a form and some changes. An empty value
// removes a parameter, and a cursor is not kept.
func withParams(path string, form url.Values, change ...string) string {
	next := url.Values{}
	for k, v := range form {
		next[k] = v
	}
	next.Del("cursor")
	for i := 0; i+1 < len(change); i += 2 {
		if change[i+1] == "" {
			next.Del(change[i])
		} else {
			next.Set(change[i], change[i+1])
		}
	}
	if len(next) == 0 {
		return path
	}
	return path + "?" + next.Encode()
}

// withoutEmpty drops the empty values of a form, because a form also sends its empty fields.
func withoutEmpty(form url.Values) {
	for name, values := range form {
		if values = slices.DeleteFunc(values, func(v string) bool { return strings.TrimSpace(v) == "" }); len(values) == 0 {
			delete(form, name)
		} else {
			form[name] = values
		}
	}
}

func (x *explorer) bookPage(r *http.Request) (string, any, error) {
	l := lang.Of(r)
	form := r.URL.Query()
	withoutEmpty(form)
	shown := url.Values{}
	for name, values := range form {
		shown[name] = values
	}
	// The page asks what the visitor wants, and the API what the maker does.
	if side := sideOf(form.Get("want")); side != "" {
		form.Set("side", side)
	}
	form.Del("want")
	known, err := x.vocabularies.get(r.Context(), x.views)
	if err != nil {
		return "", nil, err
	}
	known.understand(form)
	want := map[string]string{"sell": "buy", "buy": "sell"}[strings.ToLower(form.Get("side"))]
	for _, name := range []string{"fiat", "fiat_amount", "method"} {
		if v := form.Get(name); v != "" {
			shown.Set(name, v)
		}
	}
	path := l.Link("/")
	link := func(change ...string) string { return withParams(path, form, change...) }
	d := &bookData{frame: frame{Title: l.T("book.title"), Page: "book"}, Form: shown,
		Wants:     choices(want, "", l.T("book.want_any"), "buy", l.T("book.want_buy"), "sell", l.T("book.want_sell")),
		Opens:     choices(form.Get("open"), "", l.T("book.open_now"), "any", l.T("book.open_any"), "false", l.T("book.open_past")),
		Statuses:  choices(form.Get("status"), "", l.T("book.any"), "pending", l.T("status.pending"), "in-progress", l.T("status.in-progress"), "success", l.T("status.success"), "canceled", l.T("status.canceled"), "expired", l.T("status.expired"), "gone", l.T("status.gone")),
		Networks:  choices(form.Get("network"), "", l.T("book.any"), "mainnet", "mainnet", "testnet", "testnet", "signet", "signet", "regtest", "regtest"),
		ShowState: form.Get("open") == "any" || form.Get("open") == "false" || form.Get("at") != "" || form.Get("status") != "",
		JSON:      withParams("/api/v1/orders", form, "cursor", form.Get("cursor")), Methods: known.methods,
	}
	fiats := []string{"", l.T("book.any_currency")}
	for _, c := range known.fiats {
		fiats = append(fiats, c.Name, plainLine(c.Name))
	}
	d.Fiats = choices(strings.ToUpper(form.Get("fiat")), fiats...)
	for _, s := range []string{"", "cost", "newest", "-premium", "amount", "expiry"} {
		d.Sorts = append(d.Sorts, option{link("sort", s), l.T("book.sort." + cmp.Or(s, "trusted")), form.Get("sort") == s})
	}
	for name := range form {
		d.Filtered = d.Filtered || name != "sort" && name != "limit" && name != "cursor"
		d.More = d.More || slices.Contains(moreFilters, name)
	}
	q, err := orders.ParseQuery(form)
	var a *indexer.Answer
	if err == nil {
		a, err = x.find(r.Context(), q)
	}
	if err != nil {
		if d.Problem = problemOf(err); d.Problem.Param == "" {
			return "", nil, err
		}
		return "book", d, nil
	}
	now, amount := x.index.Now(), wantedAmount(&q)
	if a.Total == 0 && q.Cursor == "" && !d.ShowState {
		if a, err = x.nearest(r.Context(), l, d, known, form, a); err != nil {
			return "", nil, err
		}
	}
	for _, o := range a.Orders {
		d.Rows = append(d.Rows, x.row(l, o, amount, now))
	}
	x.chips(l, d, form, a)
	for _, p := range most(a.Facets.Platform, 20) {
		p.Name = plainLine(p.Name)
		d.Platforms = append(d.Platforms, p)
	}
	if a.Next != "" && d.Nearest == "" {
		d.Next = link("cursor", a.Next)
	}
	if q.Cursor != "" {
		d.First = link()
	}
	if q.Open != orders.OpenAny {
		d.Past = link("open", "any")
	}
	d.Caption = l.T("book.found", a.Total)
	if d.ShowState {
		d.Caption = l.T("book.found_all", a.Total)
	}
	if !q.At.IsZero() {
		d.Caption += " · " + l.T("book.at", rfc(q.At))
	}
	if d.Nearest != "" {
		d.Caption = d.Nearest
	}
	if d.StreamScript = bookScriptPath; len(d.Rows) > 0 && !d.ShowState && q.Text == "" && q.Cursor == "" && d.Nearest == "" {
		live := withParams("/api/v1/stream", form, "sort", "", "limit", "", "include", "", "last_event_id", strconv.FormatUint(x.index.Position(), 10))
		d.Stream = live
	}
	d.Live = d.Stream != ""
	return "book", d, nil
}

// chips sets the links that narrow the book: the currencies, or the payment methods of one.
func (x *explorer) chips(l *lang.Lang, d *bookData, form url.Values, a *indexer.Answer) {
	param, values := "fiat", a.Facets.Fiat
	if form.Get("fiat") != "" {
		param, values = "method", a.Facets.Method
	}
	for _, v := range most(values, 10) {
		if v.Text = plainLine(v.Name); param == "method" {
			v.Text = plainLine(x.index.MethodSpelling(v.Name))
		}
		v.On = strings.EqualFold(form.Get(param), v.Name)
		if v.Link = withParams(l.Link("/"), form, param, v.Name); v.On {
			v.Link = withParams(l.Link("/"), form, param, "")
		}
		d.Chips = append(d.Chips, v)
	}
}

// nearest answers a question that no order fits: first with the words corrected, then with one
// condition after the other left out. none is returned if there is nothing near.
func (x *explorer) nearest(ctx context.Context, l *lang.Lang, d *bookData, v *vocabulary, form url.Values, none *indexer.Answer) (*indexer.Answer, error) {
	try := func(change url.Values) (*indexer.Answer, orders.Query, error) {
		q, err := orders.ParseQuery(change)
		if err != nil {
			return none, q, nil // a corrected word may be longer than a parameter
		}
		a, err := x.find(ctx, q)
		return a, q, err
	}
	corrected := url.Values{}
	for name, values := range form {
		corrected[name] = slices.Clone(values)
	}
	for _, name := range []string{"method", "q"} {
		text := corrected.Get(name)
		if text == "" || strings.ContainsAny(text, `":`) {
			continue
		}
		good, dropped := v.correct(words.Split(nil, text))
		if corrected.Set(name, strings.Join(good, " ")); len(good) == 0 {
			corrected.Del(name)
		}
		if len(good) > 0 && strings.Join(good, " ") != strings.Join(words.Split(nil, text), " ") {
			d.Changed = l.T("book.corrected", strings.Join(good, " "))
		}
		if len(dropped) > 0 && len(good) > 0 {
			d.Changed = l.T("book.dropped", strings.Join(good, " "), plainLine(strings.Join(dropped, " ")))
		}
	}
	if d.Changed != "" {
		if a, _, err := try(corrected); err != nil || a.Total > 0 {
			return a, err
		}
		d.Changed = ""
	}
	for _, drop := range [][]string{{"fiat_amount"}, {"method"}, {"q"}, {"method", "q"}, {"fiat_amount", "method", "q"}, {"fiat"}, {"fiat", "fiat_amount"}, {"fiat", "fiat_amount", "method", "q"}} {
		change, left := url.Values{}, 0
		for name, values := range corrected {
			if slices.Contains(drop, name) {
				left++
			} else {
				change[name] = values
			}
		}
		had := 0
		for _, name := range drop {
			if form.Get(name) != "" {
				had++
			}
		}
		if had != len(drop) {
			continue
		}
		change.Set("limit", "50")
		a, _, err := try(change)
		if err != nil {
			return nil, err
		}
		if a.Total == 0 {
			continue
		}
		if q, err := orders.ParseQuery(form); err == nil && slices.Contains(drop, "fiat_amount") && !slices.Contains(drop, "fiat") {
			nearTo(a.Orders, q.FiatAmount)
		}
		a.Orders = a.Orders[:min(len(a.Orders), 10)]
		d.Nearest = l.T("book.nearest", len(a.Orders))
		return a, nil
	}
	return none, nil
}

// nearTo sorts orders by the distance of their amounts from a wanted amount.
func nearTo(list []*orders.Record, want orders.Span) {
	from, to := want.Bounds()
	distance := func(r *orders.Record) float64 {
		lo, hi := orders.RangeOf(r.Order.FiatAmount)
		switch {
		case math.IsNaN(lo) || math.IsNaN(hi):
			return math.Inf(1)
		case hi < from:
			return from - hi
		case lo > to:
			return lo - to
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b *orders.Record) int { return cmp.Compare(distance(a), distance(b)) })
}

// bookScript is the script of the book. Its path has a hash of its content.
//
//go:embed book.js
var bookScript []byte

var bookScriptPath = func() string {
	sum := sha256.Sum256(bookScript)
	return "/assets/book-" + hex.EncodeToString(sum[:6]) + ".js"
}()

func serveBookScript(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Write(bookScript) // a write error means that the client is gone
}
