package web

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/internal/lang"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/internal/webpage"
)

// Relay is the state of a relay that this program follows. Unknown times are zero.
type Relay struct {
	URL        string
	Configured bool   // named by the operator; false: found in events
	State      string // "new", "connecting", "catching up", "live" or "down"
	Since      time.Time
	Synced     time.Time // last complete catching up
	LastLive   time.Time // receipt of the last live event
	Lag        time.Duration
	Received   int64 // events since the start of the program
	Kept       int64
	Refused    int64
	Software   string
	MaxLimit   int // 0: unknown
}

// Export is a data set that can be downloaded, and its files of closed months.
type Export struct {
	Name, Doc string
	Stream    string // path of the stream
	Columns   int
	Files     []ExportFile
}

// ExportFile is a file of a closed month.
type ExportFile struct {
	Month, Format, Path, SHA256 string
	Rows, Bytes                 int64
}

// Data is what the pages about the data of the program show. A nil function has no page.
type Data struct {
	Relays  func() []Relay
	Exports func() []Export
	// Address is the public websocket address of this relay; "": that of the request.
	Address string
}

// Bounds of the pages about data.
const (
	shownRelays = 200
	shownFiles  = 120 // of one data set
)

// dataPages makes the pages about the data of the program.
type dataPages struct{ *explorer }

// DataPages returns the rows of the pages about relays, downloads and the API. table holds the
// other rows of the program.
func DataPages(site *Site, d Data, table route.Table) []route.Route {
	x := dataPages{site.explorer}
	rows := []route.Route{x.page("/api", "explorer_api", "the routes of the API, for people (HTML)", x.apiPage(table))}
	if d.Relays != nil {
		rows = append(rows, x.page("/relays", "explorer_relays", "the relays that this one follows (HTML)", x.relaysPage(d)))
	}
	if d.Exports != nil {
		rows = append(rows, x.page("/downloads", "explorer_downloads", "data sets and files of closed months (HTML)", x.downloadsPage(d)))
	}
	return rows
}

type relayRow struct {
	URL, State, Class, Software string
	Configured                  bool
	Since, Synced, LastLive     webpage.Moment
	Lag                         string
	Received, Kept, Refused     string
}

func (x dataPages) relaysPage(data Data) func(*http.Request) (string, any, error) {
	return func(r *http.Request) (string, any, error) {
		l := lang.Of(r)
		d := &struct {
			frame
			Address  string
			Rows     []relayRow
			Live     int
			RowsLeft int
		}{frame: frame{Page: "relays"}, Address: data.Address}
		d.Title, d.Description = l.T("relays.title"), l.T("relays.lede")
		if d.Address == "" && plainHost.MatchString(r.Host) {
			d.Address = "ws://" + r.Host
			if r.TLS != nil {
				d.Address = "wss://" + r.Host
			}
		}
		all, now := data.Relays(), x.index.Now()
		slices.SortStableFunc(all, func(a, b Relay) int {
			return cmp.Or(cmp.Compare(relayOrder[a.State], relayOrder[b.State]), cmp.Compare(b.Kept, a.Kept), strings.Compare(a.URL, b.URL))
		})
		for _, one := range all {
			if one.State == "live" {
				d.Live++
			}
			if len(d.Rows) == shownRelays {
				d.RowsLeft++
				continue
			}
			row := relayRow{URL: one.URL, State: l.T("relay." + strings.ReplaceAll(one.State, " ", "")), Class: strings.ReplaceAll(one.State, " ", ""), Software: one.Software, Configured: one.Configured,
				Since: l.Moment(one.Since, now), Synced: l.Moment(one.Synced, now), LastLive: l.Moment(one.LastLive, now),
				Received: l.Int(one.Received), Kept: l.Int(one.Kept), Refused: l.Int(one.Refused)}
			if !one.LastLive.IsZero() {
				row.Lag = l.Span(one.Lag)
			}
			d.Rows = append(d.Rows, row)
		}
		return "relays", d, nil
	}
}

var relayOrder = map[string]int{"live": 0, "catching up": 1, "connecting": 2, "new": 3, "down": 4}

type exportRow struct {
	Export
	Text   string
	Months []exportMonth
	Left   int
}

type exportMonth struct {
	Month string
	Rows  string
	Files []exportLink
}

type exportLink struct{ Path, Format, Size, SHA256 string }

func (x dataPages) downloadsPage(data Data) func(*http.Request) (string, any, error) {
	return func(r *http.Request) (string, any, error) {
		l := lang.Of(r)
		d := &struct {
			frame
			Sets  []exportRow
			Files bool
		}{frame: frame{Page: "downloads"}}
		d.Title, d.Description = l.T("downloads.title"), l.T("downloads.lede")
		for _, set := range data.Exports() {
			row := exportRow{Export: set, Text: l.T("set." + set.Name)}
			slices.SortFunc(set.Files, func(a, b ExportFile) int {
				return cmp.Or(strings.Compare(b.Month, a.Month), strings.Compare(a.Format, b.Format))
			})
			for _, f := range set.Files {
				if n := len(row.Months); n == 0 || row.Months[n-1].Month != f.Month {
					if n >= shownFiles {
						row.Left++
						continue
					}
					row.Months = append(row.Months, exportMonth{Month: f.Month, Rows: l.Int(f.Rows)})
				}
				m := &row.Months[len(row.Months)-1]
				m.Files = append(m.Files, exportLink{"/api/v1/export/" + f.Path, f.Format, byteText(l, f.Bytes), f.SHA256})
				d.Files = true
			}
			d.Sets = append(d.Sets, row)
		}
		return "downloads", d, nil
	}
}

// byteText returns a number of bytes in its largest unit.
func byteText(l *lang.Lang, n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.size {
			return l.Float(float64(n)/float64(u.size), 1) + " " + u.name
		}
	}
	return l.Int(n) + " B"
}

type apiGroup struct {
	Name, Title string
	Rows        []apiRow
}

type apiRow struct {
	Method, Path, Anchor string
	Link                 string // "" if the path has parameters or the method changes something
	Summary              []string
	Params               []apiParam
}

type apiParam struct {
	Name, Doc, Default string
	Enum               []string
	Needed             bool
}

// apiGroups are the groups of routes, by the beginning of the path after /api/v1/. Later rows
// catch what earlier ones leave.
var apiGroups = []struct {
	name     string
	prefixes []string
}{
	{"orders", []string{"orders", "stream", "events"}},
	{"choose", []string{"choose", "instances"}},
	{"market", []string{"market", "stats"}},
	{"data", []string{"export", "import", "relays", "kinds"}},
	{"other", []string{""}},
}

func (x dataPages) apiPage(table route.Table) func(*http.Request) (string, any, error) {
	groups := make([]apiGroup, len(apiGroups))
	for _, r := range table {
		path := strings.ReplaceAll(r.Path, "...}", "}")
		rest, ok := strings.CutPrefix(path, "/api/v1/")
		if !ok || r.Summary == "" || r.Listener == route.Private {
			continue
		}
		row := apiRow{Method: r.Method, Path: path, Anchor: strings.ToLower(r.Method) + "-" + strings.NewReplacer("/", "-", "{", "", "}", "").Replace(rest), Summary: strings.Split(r.Summary, "\n")}
		needed := r.Method != http.MethodGet
		for _, p := range r.Params {
			needed = needed || p.Needed || p.InPath
			row.Params = append(row.Params, apiParam{p.Name, p.Doc, p.Default, p.Enum, p.Needed || p.InPath})
		}
		if !needed && !strings.Contains(path, "{") && !strings.HasPrefix(r.Media, "text/event-stream") && !strings.HasPrefix(rest, "export/") {
			row.Link = path
		}
		at := slices.IndexFunc(apiGroups, func(g struct {
			name     string
			prefixes []string
		}) bool {
			return slices.ContainsFunc(g.prefixes, func(p string) bool { return strings.HasPrefix(rest, p) })
		})
		groups[at].Rows = append(groups[at].Rows, row)
	}
	return func(r *http.Request) (string, any, error) {
		l := lang.Of(r)
		d := &struct {
			frame
			Base   string
			Groups []apiGroup
		}{frame: frame{Page: "api"}, Base: x.base(r)}
		d.Title, d.Description = l.T("api.title"), l.T("api.lede")
		for i, g := range groups {
			if len(g.Rows) > 0 {
				g.Name, g.Title = apiGroups[i].name, l.T("api."+apiGroups[i].name)
				d.Groups = append(d.Groups, g)
			}
		}
		return "api", d, nil
	}
}
