package web

import (
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/internal/lang"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/internal/webpage"
	"github.com/mostrodex/mostrodex/mostro"
)

//go:embed *.html
var files embed.FS

// pageSet renders the explorer: HTML made on the server, with one style sheet. Text from
// publishers is escaped and is never markup. The templates are parsed once for each language.
type pageSet map[*lang.Lang]*template.Template

func newPages() pageSet {
	set := pageSet{}
	for _, l := range append([]*lang.Lang{lang.Default}, lang.All...) {
		set[l] = template.Must(template.New("").Funcs(l.Funcs()).ParseFS(files, "*.html"))
	}
	return set
}

// explorer answers with the HTML pages.
type explorer struct {
	*views
	figures *figures
	pages   pageSet
	notice  string // at the top of every page; "": none
	origin
	own string // public key of the operator's Mostro; "": none
	log *slog.Logger
}

// routes returns the rows of the explorer.
func (x *explorer) routes() []route.Route {
	return []route.Route{
		x.page("/{$}", "explorer", "explorer (HTML); Upgrade: websocket: the relay; Accept: application/nostr+json: NIP-11", x.bookPage),
		x.page("/orders/{pubkey}/{d...}", "explorer_order", "one order with its history (HTML)", x.orderPage),
		x.page("/instances", "explorer_instances", "the instances and what they are ranked by (HTML)", x.instancesPage),
		x.page("/instances/{pubkey}", "explorer_instance", "one instance (HTML)", x.instancePage),
		{Method: http.MethodGet, Path: webpage.StylePath(), Handler: http.HandlerFunc(webpage.ServeStyle)},
	}
}

// frame is the data that every page has.
type frame struct {
	Title, Page, Style string
	Lang, Here         string // code of the language; path and query without a language
	Languages          []languageLink
	Description        string // of the page, for search engines and shared links; "": the general one
	Now                webpage.Moment
	Ready              bool
	Notice             string // for every page; "": none
	Rated              bool   // the site has reputations
	Share              sharing
	Script             bool // the page has scripts, which connect to the relay
	Problem            *problem
}

// languageLink leads to the page in a language.
type languageLink struct {
	Code, Name, Link string
	On               bool
}

// framed is the data of a page, which embeds a frame.
type framed interface{ frameOf() *frame }

func (f *frame) frameOf() *frame { return f }

// sharing is what a page says of itself to search engines and messengers.
type sharing struct{ URL, Picture, Icon, Icon2 string }

const contentPolicy = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// page returns the row of a page. get returns the name of a template and its data, which
// embeds a frame. If get returns an error, the answer is an error page.
func (x *explorer) page(path, name, summary string, get func(*http.Request) (string, any, error)) route.Route {
	return route.Route{Method: http.MethodGet, Path: path, Name: name, Summary: summary,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { x.servePage(name, get, w, r) })}
}

func (x *explorer) servePage(route string, get func(*http.Request) (string, any, error), w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	if lang.Redirect(w, r) {
		return
	}
	l := lang.Of(r)
	h.Set("Content-Language", l.Code)
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
		panic(fmt.Sprintf("page %s without a frame", name)) // impossible: the data of all pages embeds a frame
	}
	fr := f.frameOf()
	now := x.index.Now()
	fr.Style, fr.Now, fr.Ready = webpage.StylePath(), webpage.Moment{RFC: rfc(now), Text: l.Date(now) + now.UTC().Format(", 15:04:05") + " UTC"}, x.index.Ready()
	fr.Rated, fr.Notice = x.summaries != nil, x.notice
	fr.Lang, fr.Here = l.Code, r.URL.EscapedPath()
	if query := r.URL.RawQuery; query != "" && len(query) <= maxParam {
		fr.Here += "?" + query
	}
	for _, other := range lang.All {
		fr.Languages = append(fr.Languages, languageLink{other.Code, other.Name, other.Link(fr.Here), other.Code == l.Code})
	}
	fr.Share = sharing{Icon: icon.path, Icon2: icon2.path}
	if base := x.base(r); base != "" {
		fr.Share.URL, fr.Share.Picture = base+l.Link(r.URL.EscapedPath()), base+share.path
	}
	x.setOnion(h, r)
	if fr.Script {
		h.Set("Content-Security-Policy", scriptPolicy(r))
	}
	if fr.Problem != nil && status == http.StatusOK {
		status = fr.Problem.Status
	}
	body := takeBuffer()
	defer body.release()
	if err := x.pages[l].ExecuteTemplate(body, name, data); err != nil {
		x.log.Error("page failed", "route", route, "error", err)
		problemOf(err).write(w)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	if status == http.StatusOK {
		serveTagged(w, r, body.Bytes(), tagOf(body.Bytes()))
		return
	}
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(body.Bytes())
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
	if !known { // a value that only the URL has is kept as a choice
		out = append(out, option{on, on, true})
	}
	return out
}

type countRow struct {
	Name  string
	Text  string // Name as shown on the page
	Count int
	Link  string
	On    bool
}

// most returns the values of a facet, the most frequent first.
func most(f map[string]int, limit int) []countRow {
	out := make([]countRow, 0, len(f))
	for name, n := range f {
		out = append(out, countRow{Name: name, Text: name, Count: n})
	}
	slices.SortFunc(out, func(a, b countRow) int { return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Name, b.Name)) })
	return out[:min(len(out), limit)]
}

// orderRow is one order in a table of orders.
type orderRow struct {
	Side, Amount, Fiat, Sats, Premium string
	Market                            bool
	Methods                           []string
	MoreMethods                       int
	Instance, Platform, Network       string
	Rating, Reviews, Status           string
	Left, Age                         string
	Link, InstanceLink, JSON          string
	Key                               string       // beginning of the author's public key
	Take                              template.URL // "" if the order cannot be taken, or has no link that is safe to follow
	Unchecked                         string       // text that the publisher wrote instead of such a link
	Note                              noteRow
}

// noteRow is a note about an author, as text.
type noteRow struct {
	Unknown        bool
	NewSince       string // "" if the author is not new
	UsesNameOf     string // name and beginning of the key; "" if there is no clash
	SharesNameWith string
	OtherLink      template.HTML // link to the other key
	OtherSeen      string        // day on which the other key was first seen with the name
}

// Marked reports whether the page warns of the author.
func (n noteRow) Marked() bool { return n.Unknown || n.UsesNameOf != "" }

func (x *explorer) noteRow(l *lang.Lang, n indexer.Note, now time.Time) noteRow {
	out := noteRow{Unknown: n.Unknown}
	if n.New {
		out.NewSince = l.Span(now.Sub(n.First))
	}
	if c := n.Clash; c != nil {
		name := c.Name + " (" + c.Pubkey[:8] + "…)"
		if c.Shared {
			out.SharesNameWith = name
		} else {
			out.UsesNameOf = name
		}
		out.OtherSeen = l.Date(c.Since)
		out.OtherLink = template.HTML(`<a href="` + template.HTMLEscapeString(x.authorLink(l, c.Pubkey)) + `"><bdi>` + template.HTMLEscapeString(name) + `</bdi></a>`)
	}
	return out
}

// authorLink returns the page of an author: that of an instance, or the list of its orders.
func (x *explorer) authorLink(l *lang.Lang, pubkey string) string {
	if x.index.IsInstance(pubkey) {
		return l.Link("/instances/" + pubkey)
	}
	return l.Link("/?open=any&instance=" + pubkey)
}

// shownMethods bounds the payment methods in a row of the book.
const shownMethods = 5

func (x *explorer) row(l *lang.Lang, r *orders.Record, now time.Time) orderRow {
	o := &r.Order
	note := x.index.NoteOf(o.Pubkey, o.Platform)
	out := orderRow{Key: o.Pubkey[:8], Note: x.noteRow(l, note, now),
		Side: string(o.Side), Amount: amountText(o.FiatAmount), Fiat: o.Fiat, Premium: premiumText(o.PremiumPct),
		Methods: o.Methods, Platform: cmp.Or(o.Platform, "unknown platform"), Status: cmp.Or(string(o.Status), "unknown"),
		Instance: x.index.NameFor(o), Age: ageText(now.Sub(time.Unix(int64(o.CreatedAt), 0))),
		Link: l.Link("/orders/" + orderPath(o.Pubkey, o.D)), JSON: "/api/v1/orders/" + orderPath(o.Pubkey, o.D),
		InstanceLink: x.authorLink(l, o.Pubkey), Take: template.URL(note.TakeLink(&r.Version, now)), // the scheme is one that TakeLink permits
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
	if len(out.Methods) > shownMethods {
		out.MoreMethods = len(out.Methods) - shownMethods
		out.Methods = out.Methods[:shownMethods]
	}
	if n := satsOrNull(o.AmountSats); n != nil {
		out.Sats = webpage.Grouped(strconv.FormatInt(*n, 10))
	} else if o.AmountSats != nil {
		out.Market = true
	}
	if m := o.MakerRating; m != nil && m.Mean != nil {
		out.Rating = "★ " + strconv.FormatFloat(*m.Mean, 'f', 1, 64)
		if m.Max > 0 {
			out.Rating += " of " + strconv.FormatFloat(m.Max, 'f', -1, 64)
		}
		if m.Reviews != nil {
			out.Reviews = webpage.Plural(int(*m.Reviews), "review", "reviews")
		} else {
			out.Reviews = "number of reviews not stated"
		}
	} else if m != nil && m.Reviews != nil && *m.Reviews == 0 {
		out.Rating, out.Reviews = "New", "no reviews yet"
	}
	if end, ok := r.Ends(); ok && o.Status == mostro.StatusPending {
		if left := end.Sub(now); left > 0 {
			out.Left = webpage.Ago(left)
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

func (x *explorer) bookPage(r *http.Request) (string, any, error) {
	form := r.URL.Query()
	for name, values := range form { // a form also sends its empty fields
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
		Sorts:    choices(form.Get("sort"), "", "Known first", "newest", "Newest first", "oldest", "Oldest first", "cost", "Lowest cost, fee included", "premium", "Lowest premium", "-premium", "Highest premium", "amount", "Fewest sats", "-amount", "Most sats", "expiry", "Ending soonest", "-expiry", "Ending latest"),
		Networks: choices(form.Get("network"), "", "Any", "mainnet", "mainnet", "testnet", "testnet", "signet", "signet", "regtest", "regtest"),
		Past:     form.Get("open") == "any" || form.Get("open") == "false" || form.Get("at") != "",
		JSON:     with("/api/v1/orders", "cursor", form.Get("cursor")),
	}
	for name := range form {
		d.Filtered = d.Filtered || name != "sort" && name != "limit" && name != "cursor"
		d.More = d.More || slices.Contains([]string{"method", "min_premium", "max_premium", "min_maker_rating", "min_maker_days", "min_rank", "amount", "platform", "instance", "network", "open", "status"}, name)
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
	now := x.index.Now()
	for _, o := range a.Orders {
		d.Rows = append(d.Rows, x.row(lang.Of(r), o, now))
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
				v.Text = x.index.MethodSpelling(v.Name)
			}
			v.On = strings.EqualFold(form.Get(f.param), v.Name)
			v.Link = with(lang.Of(r).Link("/"), f.param, v.Name)
			if v.On {
				v.Link = with(lang.Of(r).Link("/"), f.param, "")
			}
		}
		if len(row.Values) > 1 || len(row.Values) == 1 && row.Values[0].On {
			d.Facets = append(d.Facets, row)
		}
	}
	d.Limit = cmp.Or(q.Limit, orders.DefaultLimit)
	if a.Next != "" {
		d.Next = with(lang.Of(r).Link("/"), "cursor", a.Next)
	}
	if q.Cursor != "" {
		d.First = with(lang.Of(r).Link("/"))
	}
	if q.Open != orders.OpenAny {
		d.AnyLink = with(lang.Of(r).Link("/"), "open", "any")
	}
	kind := "on offer"
	if d.Past {
		kind = "found"
	}
	d.Caption = webpage.Plural(a.Total, "order ", "orders ") + kind
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
	Created, Received                 webpage.Moment
	Archived, Withdrawn               bool
}

func (x *explorer) orderPage(r *http.Request) (string, any, error) {
	pubkey, err := orders.ParsePubkey(r.PathValue("pubkey"))
	if err != nil {
		return "", nil, &orders.QueryError{Param: "pubkey", Reason: err.Error()}
	}
	record, versions, next, err := x.shownOrder(r, pubkey)
	if err != nil {
		return "", nil, err
	}
	now, o := x.index.Now(), &record.Order
	end, ends := record.Ends()
	d := &struct {
		frame
		Row                 orderRow
		Methods             []string
		Description, Layers string
		Pubkey, D, EventID  string
		Expires, FirstSeen  webpage.Moment
		Expired             bool
		History             []historyRow
		Count               string
		Older, Newest       string // URLs of other pages of the history; "" if there are none
	}{
		frame: frame{Title: "Order", Page: "order"}, Row: x.row(lang.Of(r), record, now), Methods: o.Methods, Description: o.Description,
		Layers: strings.Join(o.Layers, ", "), Pubkey: o.Pubkey, D: o.D, EventID: o.EventID,
		Expires: lang.Of(r).Moment(time.Unix(int64(o.ExpiresAt), 0), now), FirstSeen: lang.Of(r).Moment(record.FirstSeenAt, now),
		Expired: o.Status == mostro.StatusPending && ends && end.Unix() <= now.Unix(),
	}
	d.Count = webpage.Plural(record.Versions, "version of this order", "versions of this order")
	if next != "" {
		d.Older = d.Row.Link + "?cursor=" + url.QueryEscape(next)
	}
	if r.URL.Query().Get("cursor") != "" {
		d.Newest = d.Row.Link
	}
	for _, v := range slices.Backward(versions) {
		h := historyRow{Status: cmp.Or(string(v.Order.Status), "unknown"), Via: v.Source.String(), ID: v.Order.EventID, Short: v.Order.EventID[:8],
			Created: lang.Of(r).Moment(v.Order.CreatedAt.Time(), now), Received: lang.Of(r).Moment(v.ReceivedAt, now), Archived: v.Archived, Withdrawn: v.Withdrawn}
		if v.Order.RawStatus != string(v.Order.Status) {
			h.Raw = v.Order.RawStatus
		}
		if n := satsOrNull(v.Order.AmountSats); n != nil {
			h.Sats = webpage.Grouped(strconv.FormatInt(*n, 10))
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
	First, Last                              webpage.Moment
	Rank                                     rankCell
}

func (x *explorer) instanceRowOf(l *lang.Lang, v *instanceView, now time.Time) instanceRow {
	row := instanceRow{Key: v.Pubkey[:8], Note: x.noteRow(l, x.index.NoteOf(v.Pubkey, ""), now), Name: v.Pubkey[:8] + "…", Link: l.Link("/instances/" + v.Pubkey), Volume: "unknown", Fee: "not stated", Limits: "not stated",
		Pending: v.Orders[string(mostro.StatusPending)], Trades: v.Trades, First: momentOf(l, v.FirstSeenAt, now), Last: momentOf(l, v.LastSeenAt, now), Rank: rankCellOf(l, v.Reputation)}
	if v.Name != nil {
		row.Name = *v.Name
	}
	if v.Version != nil {
		row.Version = "version " + *v.Version
	}
	if v.VolumeSats != nil {
		row.Volume = webpage.Grouped(strconv.FormatInt(*v.VolumeSats, 10))
	}
	if v.Fee != nil {
		row.Fee = percent(*v.Fee)
	}
	if v.MinOrderSats != nil && v.MaxOrderSats != nil {
		row.Limits = webpage.Grouped(strconv.FormatInt(*v.MinOrderSats, 10)) + "–" + webpage.Grouped(strconv.FormatInt(*v.MaxOrderSats, 10))
	}
	return row
}

func (x *explorer) instancesPage(r *http.Request) (string, any, error) {
	values := r.URL.Query()
	sorts := []string{"volume", "Volume", "trades", "Trades", "fee", "Lowest fee", "age", "Longest known"}
	if x.summaries != nil {
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
		Sorts: choices(cmp.Or(values.Get("sort"), "volume"), sorts...), JSON: "/api/v1/instances?" + values.Encode()}
	list, err := x.directory(r.Context(), values)
	if err != nil {
		if d.Problem = problemOf(err); d.Problem.Param == "" {
			return "", nil, err
		}
		return "instances", d, nil
	}
	now := x.index.Now()
	d.Total = list.Total
	for i := range list.Items {
		d.Rows = append(d.Rows, x.instanceRowOf(lang.Of(r), &list.Items[i], now))
	}
	if list.NextCursor != nil {
		values.Set("cursor", *list.NextCursor)
		d.Next = lang.Of(r).Link("/instances?") + values.Encode()
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
		}{name, platform, lang.Of(r).Link("/?open=any&instance=" + p.Pubkey), p.Orders})
	}
	return "instances", d, nil
}

type factRow struct{ Name, Value string }

func (x *explorer) instancePage(r *http.Request) (string, any, error) {
	pubkey, err := orders.ParsePubkey(r.PathValue("pubkey"))
	if err != nil {
		return "", nil, &orders.QueryError{Param: "pubkey", Reason: err.Error()}
	}
	v, err := x.instance(r.Context(), pubkey, wantsSpam(r))
	if err != nil {
		return "", nil, err
	}
	now := x.index.Now()
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	row := x.instanceRowOf(lang.Of(r), v, now)
	d := &struct {
		frame
		Row                       instanceRow
		About, Pubkey, InfoID     string
		BookLink                  string
		Policy                    []factRow
		Statuses, Fiats, Disputes []countRow
		ReputationSummary         template.HTML
	}{frame: frame{Title: row.Name, Page: "instance"}, Row: row, About: text(v.About), Pubkey: pubkey, InfoID: v.InfoEventID,
		BookLink: lang.Of(r).Link("/?instance=" + pubkey), Statuses: most(v.Orders, 20), Fiats: most(v.Fiats, 30), Disputes: most(v.Disputes, 10)}
	currencies := strings.Join(v.Currencies, ", ")
	if v.AnyCurrency {
		currencies = "all"
	}
	bond := ""
	if v.Bond != nil {
		bond = "none"
		if v.Bond.Enabled {
			bond = "required of: " + cmp.Or(text(v.Bond.ApplyTo), "unknown")
		}
	}
	transport := ""
	if v.ProtocolVersion != nil {
		transport = "version " + strconv.Itoa(*v.ProtocolVersion)
	}
	d.Policy = []factRow{{"Fee, both sides together", row.Fee}, {"Order size, sats", row.Limits}, {"Currencies", currencies}, {"Bond", bond},
		{"Escrow", v.EscrowMode}, {"Daemon", text(v.Version)}, {"Transport", transport}, {"Lightning node", text(v.LightningAlias)},
		{"Relays", strings.Join(v.Relays, " ")}, {"Website", text(v.Website)}, {"Info signed", momentOf(lang.Of(r), v.InfoAt, now).Text}}
	if x.summaries != nil {
		if d.ReputationSummary, err = x.summaries.Section(r, pubkey); err != nil {
			return "", nil, err
		}
		d.Script = true
	}
	return "instance", d, nil
}
