package indexer

import (
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
)

//go:embed web
var web embed.FS

// pageSet renders the explorer: HTML made on the server, one style sheet, no
// script. Whatever publishers wrote is text to it, never markup.
type pageSet struct {
	templates *template.Template
	style     []byte
	styleName string // holds a hash, so that it can be cached for ever
}

func newPages() *pageSet {
	style, err := web.ReadFile("web/style.css")
	if err != nil {
		panic(err) // it is compiled in
	}
	sum := sha256.Sum256(style)
	return &pageSet{
		templates: template.Must(template.ParseFS(web, "web/*.html")),
		style:     style,
		styleName: "style-" + hex.EncodeToString(sum[:6]) + ".css",
	}
}

// explorer adds the HTML routes.
func (x *Index) explorer(mux *http.ServeMux) {
	p := x.pages
	page := func(route string, get func(*http.Request) (string, any, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { x.page(p, route, get, w, r) }
	}
	mux.HandleFunc("/{$}", page("explorer", x.bookPage))
	mux.HandleFunc("/", page("explorer", func(*http.Request) (string, any, error) {
		return "", nil, refuse(http.StatusNotFound, "There is no page at this address.")
	}))
	mux.HandleFunc("/orders/{pubkey}/{d...}", page("explorer_order", x.orderPage))
	mux.HandleFunc("/instances", page("explorer_instances", x.instancesPage))
	mux.HandleFunc("/instances/{pubkey}", page("explorer_instance", x.instancePage))
	mux.HandleFunc("/assets/"+p.styleName, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Write(p.style) // a client that is gone needs no answer
	})
}

// frame is what every page has.
type frame struct {
	Title, Page, Style string
	Now                moment
	Ready              bool
	Rated              bool // there are standings to show
	Script             bool // the page has scripts, and speaks to the relay
	Problem            *problem
}

// framed is a page's data, which holds a frame.
type framed interface{ frameOf() *frame }

func (f *frame) frameOf() *frame { return f }

const contentPolicy = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func (x *Index) page(p *pageSet, route string, get func(*http.Request) (string, any, error), w http.ResponseWriter, r *http.Request) {
	rec := &statusRecorder{ResponseWriter: w, code: http.StatusOK}
	defer func() { x.metrics.requests.WithLabelValues(route, strconv.Itoa(rec.code)).Inc() }()
	h := rec.Header()
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		refuse(http.StatusMethodNotAllowed, "This page is only read: use GET.").write(rec)
		return
	}
	name, data, err := get(r)
	status := http.StatusOK
	if err != nil {
		prob := problemOf(err)
		if prob.Status == http.StatusInternalServerError {
			x.log.Error("request failed", "route", route, "error", err)
		}
		name, data, status = "sorry", &frame{Title: prob.Title, Problem: prob}, prob.Status
	}
	f, ok := data.(framed)
	if !ok {
		panic(fmt.Sprintf("page %s without a frame", name)) // impossible: all pages embed one
	}
	fr := f.frameOf()
	now := x.cfg.Now()
	fr.Style, fr.Now, fr.Ready = p.styleName, moment{rfc(now), now.UTC().Format("2 January 2006, 15:04:05") + " UTC"}, x.Ready()
	fr.Rated = x.standings != nil
	if fr.Script {
		h.Set("Content-Security-Policy", scriptPolicy(r))
	}
	if fr.Problem != nil && status == http.StatusOK {
		status = fr.Problem.Status
	}
	body := takeBuffer()
	defer body.release()
	if err := p.templates.ExecuteTemplate(body, name, data); err != nil {
		x.log.Error("page failed", "route", route, "error", err)
		problemOf(err).write(rec)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	if status == http.StatusOK {
		serveTagged(rec, r, body.Bytes())
		return
	}
	h.Set("Cache-Control", "no-store")
	rec.WriteHeader(status)
	if r.Method != http.MethodHead {
		rec.Write(body.Bytes())
	}
}

type option struct {
	Value, Text string
	On          bool
}

func choices(on string, pairs ...string) []option {
	var out []option
	known := false
	for i := 0; i+1 < len(pairs); i += 2 {
		known = known || pairs[i] == on
		out = append(out, option{pairs[i], pairs[i+1], pairs[i] == on})
	}
	if !known { // a value that only the URL offers is kept
		out = append(out, option{on, on, true})
	}
	return out
}

type countRow struct {
	Name  string
	Text  string // Name as it is written
	Count int
	Link  string
	On    bool
}

// most gives a facet's values, the most frequent first.
func most(f map[string]int, limit int) []countRow {
	out := make([]countRow, 0, len(f))
	for name, n := range f {
		out = append(out, countRow{Name: name, Text: name, Count: n})
	}
	slices.SortFunc(out, func(a, b countRow) int { return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Name, b.Name)) })
	return out[:min(len(out), limit)]
}

// orderRow is one order in a table.
type orderRow struct {
	Side, Amount, Fiat, Sats, Premium string
	Market                            bool
	Methods                           []string
	MoreMethods                       int
	Instance, Platform, Network       string
	Rating, Reviews, Status           string
	Left, Age                         string
	Link, InstanceLink, JSON          string
	Key                               string       // the beginning of the author's
	Take                              template.URL // "" where there is nothing to take, or no link that we follow
	Unchecked                         string       // what the publisher wrote in place of such a link
	Note                              noteRow
}

// noteRow is a note about an author, in words.
type noteRow struct {
	Unknown          bool
	NewSince         string // "" for one that is not new
	UsesNameOf       string // name and beginning of the key; "" for nobody
	SharesNameWith   string
	Other, OtherSeen string // path and time of the other key
}

// Marked reports whether the author is to be warned of.
func (n noteRow) Marked() bool { return n.Unknown || n.UsesNameOf != "" }

func (x *Index) noteRow(n authorNote, now time.Time) noteRow {
	out := noteRow{Unknown: n.Unknown}
	if n.New {
		out.NewSince = ago(now.Sub(n.First))
	}
	if c := n.Clash; c != nil {
		name := c.Name + " (" + c.Pubkey[:8] + "…)"
		if c.Shared {
			out.SharesNameWith = name
		} else {
			out.UsesNameOf = name
		}
		out.Other, out.OtherSeen = "/?open=any&instance="+c.Pubkey, c.Since.UTC().Format("2 January 2006")
		if x.book.authors.Load().infoID(c.Pubkey) != "" {
			out.Other = "/instances/" + c.Pubkey
		}
	}
	return out
}

// shownMethods bounds the methods in a row of the book.
const shownMethods = 5

func (x *Index) row(r *Record, now time.Time) orderRow {
	o := &r.Order
	note := x.book.authors.Load().noteOf(o.Pubkey, o.Platform, now)
	out := orderRow{Key: o.Pubkey[:8], Note: x.noteRow(note, now),
		Side: string(o.Side), Amount: amountText(o.FiatAmount), Fiat: o.Fiat, Premium: premiumText(o.PremiumPct),
		Methods: o.Methods, Platform: cmpOr(o.Platform, "unknown platform"), Status: cmpOr(string(o.Status), "unknown"),
		Instance: x.nameFor(o), Age: ageText(now.Sub(time.Unix(int64(o.CreatedAt), 0))),
		Link: "/orders/" + orderPath(o.Pubkey, o.D), JSON: "/api/v1/orders/" + orderPath(o.Pubkey, o.D),
		InstanceLink: "/?open=any&instance=" + o.Pubkey, Take: template.URL(note.takeLink(&r.Version, now)), // of a scheme that TakeLink names
	}
	if out.Take == "" && o.TakeLink() == "" {
		out.Unchecked = o.Link
	}
	if o.Network != "mainnet" {
		out.Network = o.Network
	}
	if out.Instance == "" {
		out.Instance = o.Pubkey[:8] + "…"
	}
	if x.book.authors.Load().infoID(o.Pubkey) != "" {
		out.InstanceLink = "/instances/" + o.Pubkey
	}
	if len(out.Methods) > shownMethods {
		out.MoreMethods = len(out.Methods) - shownMethods
		out.Methods = out.Methods[:shownMethods]
	}
	if n := satsOrNull(o.AmountSats); n != nil {
		out.Sats = grouped(strconv.FormatInt(*n, 10))
	} else if o.AmountSats != nil {
		out.Market = true
	}
	if m := o.MakerRating; m != nil && m.Mean != nil {
		out.Rating = "★ " + strconv.FormatFloat(*m.Mean, 'f', 1, 64)
		if m.Max > 0 {
			out.Rating += " of " + strconv.FormatFloat(m.Max, 'f', -1, 64)
		}
		if m.Reviews != nil {
			out.Reviews = plural(int(*m.Reviews), "review", "reviews")
		} else {
			out.Reviews = "number of reviews not stated"
		}
	} else if m != nil && m.Reviews != nil && *m.Reviews == 0 {
		out.Rating, out.Reviews = "New", "no reviews yet"
	}
	if end := r.endsAt(); end != never && o.Status == mostro.StatusPending {
		if left := time.Unix(int64(end), 0).Sub(now); left > 0 {
			out.Left = ago(left)
		} else {
			out.Left = "expired"
		}
	}
	return out
}

type bookData struct {
	frame
	Form                       url.Values
	Sides, Opens, Statuses     []option
	Sorts, Networks            []option
	Fiats, Methods, Platforms  []countRow
	Facets                     []facetRow
	Rows                       []orderRow
	Caption                    string
	First, Next, JSON, AnyLink string
	Limit                      int
	Filtered, More, Past       bool
}

type facetRow struct {
	Name   string
	Values []countRow
}

func (x *Index) bookPage(r *http.Request) (string, any, error) {
	form := r.URL.Query()
	for name, values := range form { // a form sends what was left empty too
		if values = slices.DeleteFunc(values, func(v string) bool { return strings.TrimSpace(v) == "" }); len(values) == 0 {
			delete(form, name)
		} else {
			form[name] = values
		}
	}
	with := func(path string, change ...string) string {
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
	d := &bookData{frame: frame{Title: "Order book", Page: "book"}, Form: form,
		Sides:    choices(form.Get("side"), "", "Anyone", "sell", "sells bitcoin", "buy", "buys bitcoin"),
		Opens:    choices(form.Get("open"), "", "On offer now", "any", "All, past too", "false", "Past only"),
		Statuses: choices(form.Get("status"), "", "Any that fits", "pending", "pending", "in-progress", "in progress", "success", "success", "canceled", "canceled", "expired", "expired", "gone", "gone"),
		Sorts:    choices(form.Get("sort"), "", "Known first", "newest", "Newest first", "oldest", "Oldest first", "premium", "Lowest premium", "-premium", "Highest premium", "amount", "Fewest sats", "-amount", "Most sats", "expiry", "Ending soonest", "-expiry", "Ending latest"),
		Networks: choices(form.Get("network"), "", "Any", "mainnet", "mainnet", "testnet", "testnet", "signet", "signet", "regtest", "regtest"),
		Past:     form.Get("open") == "any" || form.Get("open") == "false" || form.Get("at") != "",
		JSON:     with("/api/v1/orders", "cursor", form.Get("cursor")),
	}
	for name := range form {
		d.Filtered = d.Filtered || name != "sort" && name != "limit" && name != "cursor"
		d.More = d.More || slices.Contains([]string{"method", "min_premium", "max_premium", "amount", "platform", "instance", "network", "open", "status"}, name)
	}
	q, err := ParseQuery(form)
	var a *Answer
	if err == nil {
		a, err = x.Orders(r.Context(), q)
	}
	if err != nil {
		if d.Problem = problemOf(err); d.Problem.Param == "" {
			return "", nil, err
		}
		return "book", d, nil
	}
	now := x.cfg.Now()
	for _, o := range a.Orders {
		d.Rows = append(d.Rows, x.row(o, now))
	}
	d.Fiats, d.Methods, d.Platforms = most(a.Facets.Fiat, 200), most(a.Facets.Method, 50), most(a.Facets.Platform, 50)
	for _, f := range []struct {
		title, param string
		values       map[string]int
		limit        int
	}{{"Maker", "side", a.Facets.Side, 2}, {"Currency", "fiat", a.Facets.Fiat, 12}, {"Platform", "platform", a.Facets.Platform, 6}, {"Method", "method", a.Facets.Method, 8}} {
		row := facetRow{Name: f.title, Values: most(f.values, f.limit)}
		for i := range row.Values {
			v := &row.Values[i]
			if f.param == "method" {
				v.Text = x.book.shelf.Load().spelling(v.Name)
			}
			v.On = strings.EqualFold(form.Get(f.param), v.Name)
			v.Link = with("/", f.param, v.Name)
			if v.On {
				v.Link = with("/", f.param, "")
			}
		}
		if len(row.Values) > 1 || len(row.Values) == 1 && row.Values[0].On {
			d.Facets = append(d.Facets, row)
		}
	}
	d.Limit = q.limit()
	if a.Next != "" {
		d.Next = with("/", "cursor", a.Next)
	}
	if q.Cursor != "" {
		d.First = with("/")
	}
	if q.Open != OpenAny {
		d.AnyLink = with("/", "open", "any")
	}
	kind := "on offer"
	if d.Past {
		kind = "found"
	}
	d.Caption = plural(a.Total, "order ", "orders ") + kind
	if len(d.Rows) < a.Total {
		d.Caption += ", " + strconv.Itoa(len(d.Rows)) + " on this page"
	}
	if !q.At.IsZero() {
		d.Caption += ", as it was at " + rfc(q.At)
	}
	return "book", d, nil
}

type historyRow struct {
	Status, Raw, Via, Sats, ID, Short string
	Created, Received                 moment
	Archived, Withdrawn               bool
}

func (x *Index) orderPage(r *http.Request) (string, any, error) {
	pubkey, err := ParsePubkey(r.PathValue("pubkey"))
	if err != nil {
		return "", nil, &QueryError{"pubkey", err.Error()}
	}
	record, versions, next, err := x.shownOrder(r, pubkey)
	if err != nil {
		return "", nil, err
	}
	now, o := x.cfg.Now(), &record.Order
	d := &struct {
		frame
		Row                 orderRow
		Methods             []string
		Description, Layers string
		Pubkey, D, EventID  string
		Expires, FirstSeen  moment
		Expired             bool
		History             []historyRow
		Count               string
		Older, Newest       string // addresses of other parts of the history; "" for none
	}{
		frame: frame{Title: "Order", Page: "order"}, Row: x.row(record, now), Methods: o.Methods, Description: o.Description,
		Layers: strings.Join(o.Layers, ", "), Pubkey: o.Pubkey, D: o.D, EventID: o.EventID,
		Expires: momentAt(time.Unix(int64(o.ExpiresAt), 0), now), FirstSeen: momentAt(record.FirstSeenAt, now),
		Expired: o.Status == mostro.StatusPending && record.endsAt() != never && int64(record.endsAt()) <= now.Unix(),
	}
	d.Count = plural(record.Versions, "version of this order", "versions of this order")
	if next != "" {
		d.Older = d.Row.Link + "?cursor=" + url.QueryEscape(next)
	}
	if r.URL.Query().Get("cursor") != "" {
		d.Newest = d.Row.Link
	}
	for _, v := range slices.Backward(versions) {
		h := historyRow{Status: cmpOr(string(v.Order.Status), "unknown"), Via: v.Source.String(), ID: v.Order.EventID, Short: v.Order.EventID[:8],
			Created: momentAt(v.Order.CreatedAt.Time(), now), Received: momentAt(v.ReceivedAt, now), Archived: v.Archived, Withdrawn: v.Withdrawn}
		if v.Order.RawStatus != string(v.Order.Status) {
			h.Raw = v.Order.RawStatus
		}
		if n := satsOrNull(v.Order.AmountSats); n != nil {
			h.Sats = grouped(strconv.FormatInt(*n, 10))
		}
		d.History = append(d.History, h)
	}
	return "order", d, nil
}

type instanceRow struct {
	Name, Link, Version, Volume, Fee, Limits string
	Pending, Trades                          int
	Key                                      string
	Note                                     noteRow
	First, Last                              moment
	Rank                                     rankCell
}

func (x *Index) instanceRowOf(v *instanceView, now time.Time) instanceRow {
	row := instanceRow{Key: v.Pubkey[:8], Note: x.noteRow(x.book.authors.Load().noteOf(v.Pubkey, "", now), now), Name: v.Pubkey[:8] + "…", Link: "/instances/" + v.Pubkey, Volume: "unknown", Fee: "not stated", Limits: "not stated",
		Pending: v.Orders[string(mostro.StatusPending)], Trades: v.Trades, First: momentOf(v.FirstSeenAt, now), Last: momentOf(v.LastSeenAt, now), Rank: rankCellOf(v.Reputation)}
	if v.Name != nil {
		row.Name = *v.Name
	}
	if v.Version != nil {
		row.Version = "version " + *v.Version
	}
	if v.VolumeSats != nil {
		row.Volume = grouped(strconv.FormatInt(*v.VolumeSats, 10))
	}
	if v.Fee != nil {
		row.Fee = percent(*v.Fee)
	}
	if v.MinOrderSats != nil && v.MaxOrderSats != nil {
		row.Limits = grouped(strconv.FormatInt(*v.MinOrderSats, 10)) + "–" + grouped(strconv.FormatInt(*v.MaxOrderSats, 10))
	}
	return row
}

func (x *Index) instancesPage(r *http.Request) (string, any, error) {
	values := r.URL.Query()
	sorts := []string{"volume", "Volume", "trades", "Trades", "fee", "Lowest fee", "age", "Longest known"}
	if x.standings != nil {
		if sorts = append([]string{"rank", "Rank"}, sorts...); values.Get("sort") == "" {
			values.Set("sort", "rank")
		}
	}
	d := &struct {
		frame
		Sorts      []option
		Rows       []instanceRow
		Total      int
		Next, JSON string
		Publishers []struct {
			Name, Platform, Link string
			Count                int
		}
	}{frame: frame{Title: "Instances", Page: "instances"},
		Sorts: choices(cmpOr(values.Get("sort"), "volume"), sorts...), JSON: "/api/v1/instances?" + values.Encode()}
	list, err := x.directory(r.Context(), values)
	if err != nil {
		if d.Problem = problemOf(err); d.Problem.Param == "" {
			return "", nil, err
		}
		return "instances", d, nil
	}
	now := x.cfg.Now()
	d.Total = list.Total
	for i := range list.Items {
		d.Rows = append(d.Rows, x.instanceRowOf(&list.Items[i], now))
	}
	if list.NextCursor != nil {
		values.Set("cursor", *list.NextCursor)
		d.Next = "/instances?" + values.Encode()
	}
	for _, p := range list.Publishers[:min(len(list.Publishers), 50)] {
		name, platform := p.Pubkey[:8]+"…", "unknown platform"
		if p.Name != nil {
			name = *p.Name
		}
		if p.Platform != nil {
			platform = *p.Platform
		}
		d.Publishers = append(d.Publishers, struct {
			Name, Platform, Link string
			Count                int
		}{name, platform, "/?open=any&instance=" + p.Pubkey, p.Orders})
	}
	return "instances", d, nil
}

type factRow struct{ Name, Value string }

func (x *Index) instancePage(r *http.Request) (string, any, error) {
	pubkey, err := ParsePubkey(r.PathValue("pubkey"))
	if err != nil {
		return "", nil, &QueryError{"pubkey", err.Error()}
	}
	v, err := x.instance(r, pubkey)
	if err != nil {
		return "", nil, err
	}
	now := x.cfg.Now()
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	row := x.instanceRowOf(v, now)
	d := &struct {
		frame
		Row                       instanceRow
		About, Pubkey, InfoID     string
		BookLink                  string
		Policy                    []factRow
		Statuses, Fiats, Disputes []countRow
		Standing                  template.HTML
	}{frame: frame{Title: row.Name, Page: "instance"}, Row: row, About: text(v.About), Pubkey: pubkey, InfoID: v.InfoEventID,
		BookLink: "/?instance=" + pubkey, Statuses: most(v.Orders, 20), Fiats: most(v.Fiats, 30), Disputes: most(v.Disputes, 10)}
	currencies := strings.Join(v.Currencies, ", ")
	if v.AnyCurrency {
		currencies = "all"
	}
	bond := ""
	if v.Bond != nil {
		bond = "none"
		if v.Bond.Enabled {
			bond = "required of: " + cmpOr(text(v.Bond.ApplyTo), "unknown")
		}
	}
	transport := ""
	if v.ProtocolVersion != nil {
		transport = "version " + strconv.Itoa(*v.ProtocolVersion)
	}
	d.Policy = []factRow{{"Fee, both sides together", row.Fee}, {"Order size, sats", row.Limits}, {"Currencies", currencies}, {"Bond", bond},
		{"Escrow", v.EscrowMode}, {"Daemon", text(v.Version)}, {"Transport", transport}, {"Lightning node", text(v.LightningAlias)},
		{"Relays", strings.Join(v.Relays, " ")}, {"Website", text(v.Website)}, {"Info signed", momentOf(v.InfoAt, now).Text}}
	if x.standings != nil {
		if d.Standing, err = x.standings.Section(r, pubkey); err != nil {
			return "", nil, err
		}
		d.Script = true
	}
	return "instance", d, nil
}
