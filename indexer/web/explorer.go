package web

import (
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
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
	vocabularies vocabularies
	figures      *figures
	pages        pageSet
	notice       string // at the top of every page; "": none
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
		{Method: http.MethodGet, Path: bookScriptPath, Handler: http.HandlerFunc(serveBookScript)},
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
	Live               bool // the page has the script of the book
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
		prob = prob.in(l)
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
	if fr.Live {
		h.Set("Content-Security-Policy", contentPolicy+"; script-src 'self'; connect-src 'self'")
	}
	if fr.Script {
		h.Set("Content-Security-Policy", scriptPolicy(r))
	}
	if fr.Problem != nil && status == http.StatusOK {
		fr.Problem, status = fr.Problem.in(l), fr.Problem.Status
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

// Any reports whether there is a note.
func (n noteRow) Any() bool { return n.Marked() || n.SharesNameWith != "" || n.NewSince != "" }

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

type instanceRow struct {
	Name, Link, Version, Volume, Fee, Limits string
	Pending, Trades                          int
	Key                                      string
	Note                                     noteRow
	First, Last                              webpage.Moment
	Rank                                     rankCell
	Transport, Bond, Health, HealthClass     string // "" if unknown
	Since, Seen                              string // day of the first event, and the time since the last
	Own                                      bool   // the operator of this site runs it
}

func (x *explorer) instanceRowOf(l *lang.Lang, v *instanceView, now time.Time) instanceRow {
	row := instanceRow{Key: v.Pubkey[:8], Note: x.noteRow(l, x.index.NoteOf(v.Pubkey, ""), now), Name: v.Pubkey[:8] + "…", Link: l.Link("/instances/" + v.Pubkey), Volume: l.T("figure.unknown"), Fee: l.T("instances.notstated"), Limits: l.T("instances.notstated"), Own: v.Pubkey == x.own,
		Pending: v.Orders[string(mostro.StatusPending)], Trades: v.Trades, First: momentOf(l, v.FirstSeenAt, now), Last: momentOf(l, v.LastSeenAt, now), Rank: rankCellOf(l, v.Reputation)}
	if v.Name != nil {
		row.Name = *v.Name
	}
	if v.Version != nil {
		row.Version = *v.Version
	}
	if v.VolumeSats != nil {
		row.Volume = l.Int(*v.VolumeSats)
	}
	if v.Fee != nil {
		row.Fee = percent(*v.Fee)
	}
	if v.MinOrderSats != nil && v.MaxOrderSats != nil {
		row.Limits = l.Int(*v.MinOrderSats) + "–" + l.Int(*v.MaxOrderSats)
	}
	if v.FirstSeenAt != nil {
		row.Since = time.Unix(*v.FirstSeenAt, 0).UTC().Format(time.DateOnly)
	}
	if v.LastSeenAt != nil {
		row.Seen = l.Ago(now.Sub(time.Unix(*v.LastSeenAt, 0)))
	}
	if v.ProtocolVersion != nil {
		row.Transport = "v" + strconv.Itoa(*v.ProtocolVersion)
	}
	if v.Bond != nil {
		row.Bond = l.T("instances.nobond")
		if v.Bond.Enabled {
			row.Bond = l.T("instances.withbond")
		}
	}
	if v.Health != nil {
		row.Health, row.HealthClass = l.T("health."+v.Health.Status), v.Health.Status
	}
	if v.Maintenance != nil && *v.Maintenance {
		row.Health, row.HealthClass = l.T("card.maintenance"), "down"
	}
	return row
}

func (x *explorer) instancesPage(r *http.Request) (string, any, error) {
	values := r.URL.Query()
	l := lang.Of(r)
	sorts := []string{"volume", l.T("instances.volume"), "trades", l.T("figure.trades"), "orders", l.T("card.open"), "fee", l.T("instances.fee"), "limit", l.T("instances.limit"), "bond", l.T("instances.bond"), "version", l.T("instances.version"), "health", l.T("instances.health"), "age", l.T("instances.first"), "seen", l.T("instances.last")}
	if x.summaries != nil {
		if sorts = append([]string{"rank", l.T("figure.rank")}, sorts...); values.Get("sort") == "" {
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
	}{frame: frame{Title: l.T("instances.title"), Page: "instances", Description: l.T("instances.lede")},
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
