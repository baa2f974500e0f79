// Package downloads serves the exports of package indexer/partitions over HTTP: streams of any
// window as NDJSON, CSV or Parquet, the Parquet files of closed months with Range and ETag, and
// their descriptions.
package downloads

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/indexer/export"
	"github.com/mostrodex/mostrodex/indexer/partitions"
	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/mostrodex/mostrodex/internal/room"
	"github.com/mostrodex/mostrodex/internal/route"
)

// Config is the configuration of Downloads. All fields but Store, Bundles, Address, Base, Notice
// and Logger are required.
type Config struct {
	Source partitions.Source
	Store  *partitions.Store // nil: no files of closed months
	// API makes a row that answers with JSON.
	API func(path, name, summary string, get func(*http.Request) (any, error)) route.Route
	// Compress wraps the handlers whose answers may be compressed.
	Compress func(http.Handler) http.Handler
	// Address returns the address of the client of a request. nil: the address of the
	// connection.
	Address func(*http.Request) string
	Bundles *Bundles // nil: no scores
	Base    string   // public address without a path; "": the address of each request
	// Notice says that the data is invented, as in a demo. It stands in all descriptions, and the
	// names of files begin with "simulated-". "": the data is real.
	Notice string

	Logger *slog.Logger // nil: log lines are discarded
}

// Downloads makes the rows of the route table.
type Downloads struct {
	cfg            Config
	log            *slog.Logger
	streams, files *gate
	figures        *gate // streams of stats
}

// Bounds of requests at the same time: of all clients, and of one address.
const (
	maxStreams, maxStreamsOf = 2, 1 // each reads the whole book, on one core
	maxFigures               = 1    // of these: each period costs as much as a document of statistics
	maxFiles, maxFilesOf     = 64, 16
)

// New returns downloads.
func New(cfg Config) *Downloads {
	if cfg.Address == nil {
		cfg.Address = func(r *http.Request) string { return r.RemoteAddr }
	}
	return &Downloads{cfg: cfg, log: room.Logger(cfg.Logger).With("room", "indexer"), streams: newGate(maxStreams, maxStreamsOf), files: newGate(maxFiles, maxFilesOf), figures: newGate(maxFigures, maxFigures)}
}

const prefix = "/api/v1/export/"

var (
	paramFrom   = route.Param{Name: "from", Doc: "begin of the window, by the time of receipt, in unix seconds or RFC 3339; default: the begin of the log (stats: 30 days before until)"}
	paramUntil  = route.Param{Name: "until", Doc: "end of the window, not included; default: now"}
	paramMonth  = route.Param{Name: "month", Doc: "a month such as 2026-09 instead of from and until"}
	paramBy     = route.Param{Name: "by", Enum: []string{"hour", "day", "week", "month"}, Default: "day", Doc: "width of a period of stats, in UTC; at most 400 periods"}
	paramFormat = route.Param{Name: "format", Enum: []string{"ndjson", "csv", "parquet"}, Default: "ndjson", Doc: "format of the rows"}
)

// Routes returns the rows, without that of the data set events, which has a format of its own.
func (d *Downloads) Routes() []route.Route {
	index := d.cfg.API("/api/v1/export", "export", "data sets with their columns, files of closed months, licence", d.index)
	index.Answer, index.Handler = exportIndex{}, d.cfg.Compress(index.Handler)
	rows := []route.Route{index}
	for _, set := range export.Sets() {
		if set.Name == "events" {
			continue
		}
		params := []route.Param{paramFormat, paramFrom, paramUntil, paramMonth}
		if set.Name == "stats" {
			params = append(params, paramBy)
		}
		rows = append(rows, route.Route{Method: http.MethodGet, Path: prefix + set.Name, Name: "export_" + set.Name, Summary: set.Name + " as NDJSON, CSV or Parquet: format from until month, by the time of receipt", Params: params,
			Media: "application/x-ndjson", Handler: d.Stream(set)})
	}
	if d.cfg.Bundles != nil {
		rows = append(rows, d.bundleRow())
	}
	return append(rows,
		route.Route{Method: http.MethodGet, Path: prefix + "{set}/{year}/{month}/{file}", Name: "export_file", Summary: "file of a closed month, such as history/year=2026/month=09/history.parquet, or .csv.gz; Range, ETag, Content-Length",
			Media: parquetType, Handler: http.HandlerFunc(d.serveFile)},
		d.document("datapackage.json", "export_datapackage", "Frictionless data package of the files", "application/json", func(*http.Request) ([]byte, error) { return export.DataPackage(d.list(), d.cfg.Notice) }),
		d.document("croissant.json", "export_croissant", "Croissant 1.0 metadata of the files", "application/ld+json", func(r *http.Request) ([]byte, error) {
			return export.Croissant(d.list(), d.base(r)+prefix, d.cfg.Notice)
		}),
		d.document("SHA256SUMS", "export_checksums", "hashes of the files, for sha256sum -c", "text/plain", func(*http.Request) ([]byte, error) { return export.Checksums(d.list()), nil }),
	)
}

// mark returns the begin of the names of files.
func (d *Downloads) mark() string {
	if d.cfg.Notice != "" {
		return "simulated-"
	}
	return ""
}

func (d *Downloads) list() []export.File {
	if d.cfg.Store == nil {
		return []export.File{}
	}
	return d.cfg.Store.Files()
}

func (d *Downloads) base(r *http.Request) string {
	if d.cfg.Base != "" {
		return d.cfg.Base
	}
	u := url.URL{Scheme: "http", Host: r.Host}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	return u.String()
}

// exportIndex is the answer of GET /api/v1/export.
type exportIndex struct {
	Notice       string       `json:"notice,omitempty" doc:"says that the data is invented; absent: the data is real"`
	Licence      string       `json:"licence" doc:"licence of the compilation"`
	LicenceID    string       `json:"licence_id" doc:"SPDX identifier"`
	LicenceURL   string       `json:"licence_url" doc:"text of the licence"`
	WitnessedAt  *int64       `json:"witnessed_from" unit:"unix seconds" null:"none was witnessed" doc:"receipt of the first event that this relay witnessed"`
	CurrentMonth export.Month `json:"current_month" doc:"this month has no file: it is only streamed"`
	Sets         []exportSet  `json:"sets" doc:"data sets"`
	Files        []exportFile `json:"files" doc:"files of closed months"`
}

type exportSet struct {
	Name    string         `json:"name" doc:"name of the data set"`
	Doc     string         `json:"doc" doc:"one row for each of these"`
	Key     []string       `json:"key" doc:"columns that identify a row of one file"`
	Stream  string         `json:"stream" doc:"path of the stream"`
	Columns []exportColumn `json:"columns" doc:"columns of a row"`
}

type exportColumn struct {
	Name string `json:"name" doc:"name of the column"`
	Type string `json:"type" doc:"string, integer, number, boolean, datetime or array"`
	Unit string `json:"unit,omitempty" doc:"unit of the column"`
	Null string `json:"null,omitempty" doc:"when the column is null; absent: never"`
	Doc  string `json:"doc" doc:"meaning of the column"`
}

type exportFile struct {
	export.File
	URL string `json:"url" doc:"address of the file"`
}

func (d *Downloads) index(r *http.Request) (any, error) {
	if len(r.URL.Query()) > 0 {
		return nil, &partitions.QueryError{Param: first(r.URL.Query()), Reason: "unknown parameter; this resource has none"}
	}
	out := exportIndex{Notice: d.cfg.Notice, Licence: export.LicenceLine, LicenceID: export.LicenceName, LicenceURL: export.LicenceURL, CurrentMonth: export.MonthOf(d.cfg.Source.Now()), Files: []exportFile{}}
	if err := d.cfg.Source.Stats(func(c *stats.Collector, _ []map[[32]byte]struct{}) error {
		if from := c.Coverage(0).WitnessedFrom; from != 0 {
			out.WitnessedAt = &from
		}
		return nil
	}); err != nil {
		return nil, err
	}
	for _, set := range export.Sets() {
		one := exportSet{Name: set.Name, Doc: set.Doc, Key: set.Key, Stream: prefix + set.Name}
		for _, c := range set.Columns {
			one.Columns = append(one.Columns, exportColumn{c.Name, string(c.Type), c.Unit, c.Null, c.Doc})
		}
		out.Sets = append(out.Sets, one)
	}
	for _, f := range d.list() {
		out.Files = append(out.Files, exportFile{f, d.base(r) + prefix + f.Path})
	}
	return out, nil
}

func first(q url.Values) string {
	names := make([]string, 0, len(q))
	for name := range q {
		names = append(names, name[:min(len(name), 64)])
	}
	slices.Sort(names)
	return names[0]
}

// document returns the row of a description of the files.
func (d *Downloads) document(name, label, summary, media string, get func(*http.Request) ([]byte, error)) route.Route {
	var answer any // JSON of another standard
	if strings.HasSuffix(media, "json") {
		answer = map[string]any{}
	}
	return route.Route{Answer: answer, Method: http.MethodGet, Path: prefix + name, Name: label, Summary: summary, Media: media, Handler: d.cfg.Compress(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.URL.Query()) > 0 {
			refuse(w, http.StatusBadRequest, first(r.URL.Query()), "unknown parameter; this resource has none")
			return
		}
		if answer != nil && len(d.list()) == 0 { // a package without resources is none
			refuse(w, http.StatusNotFound, "", "There is no file yet: no month with events is closed. "+prefix[:len(prefix)-1]+" describes the columns.")
			return
		}
		body, err := get(r)
		if err != nil {
			d.log.Error("request failed", "route", label, "error", err)
			refuse(w, http.StatusInternalServerError, "", "The description could not be made.")
			return
		}
		sum := sha256.Sum256(body)
		head(w, `W/"`+hex.EncodeToString(sum[:16])+`"`, media)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(body)))
	}))}
}

// head sets the headers of an answer with a tag.
func head(w http.ResponseWriter, tag, media string) {
	h := w.Header()
	h.Set("ETag", tag)
	h.Set("Content-Type", media)
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Access-Control-Expose-Headers", "ETag, Content-Length, Content-Range, Accept-Ranges")
}

// refuse answers with a problem document (RFC 9457).
func refuse(w http.ResponseWriter, status int, param, detail string) {
	p := map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail}
	if param != "" {
		p["param"], p["title"], p["detail"] = param, "Parameter not understood", param+": "+detail
	}
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // impossible: only strings and a number are encoded
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	for _, name := range []string{"ETag", "Content-Disposition", "Last-Modified"} {
		h.Del(name)
	}
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "60")
	}
	w.WriteHeader(status)
	w.Write(append(body, '\n')) // a client that is gone needs no answer
}

const parquetType = "application/vnd.apache.parquet"

// maxRanges bounds the ranges of one request.
const maxRanges = 32

// serveFile serves the file of a closed month.
func (d *Downloads) serveFile(w http.ResponseWriter, r *http.Request) {
	set, year, month, file := r.PathValue("set"), r.PathValue("year"), r.PathValue("month"), r.PathValue("file")
	y, okY := strings.CutPrefix(year, "year=")
	m, okM := strings.CutPrefix(month, "month=")
	which, err := export.ParseMonth(y + "-" + m)
	ending, okF := strings.CutPrefix(file, set+".")
	format := export.Format(ending)
	if _, ok := export.SetOf(set); !ok || !okY || !okM || err != nil || !okF || format != export.Parquet && format != export.CSV || d.cfg.Store == nil {
		refuse(w, http.StatusNotFound, "", "There is no such file. "+prefix[:len(prefix)-1]+" lists the files.")
		return
	}
	if len(r.URL.Query()) > 0 {
		refuse(w, http.StatusBadRequest, first(r.URL.Query()), "unknown parameter; a file has none")
		return
	}
	if strings.Count(r.Header.Get("Range"), ",") >= maxRanges {
		refuse(w, http.StatusBadRequest, "", "At most "+strconv.Itoa(maxRanges)+" ranges in one request.")
		return
	}
	leave, status, detail := d.files.enter(d.cfg.Address(r))
	if leave == nil {
		refuse(w, status, "", detail)
		return
	}
	defer leave()
	f, about, err := d.cfg.Store.File(set, which, format)
	switch {
	case errors.Is(err, partitions.ErrWithheld):
		refuse(w, http.StatusServiceUnavailable, "", "The file is being written again without events that the operator hid. Try again in a minute.")
		return
	case errors.Is(err, partitions.ErrNoFile):
		refuse(w, http.StatusNotFound, "", "This month has no file: it is not closed, or there were no such rows. "+prefix+set+" streams any month.")
		return
	case err != nil:
		d.log.Error("file of an export cannot be opened", "path", about.Path, "error", err)
		refuse(w, http.StatusInternalServerError, "", "The file could not be read.")
		return
	}
	defer f.Close()
	media := parquetType
	if format == export.CSV {
		media = "application/gzip"
	}
	head(w, `"`+about.SHA256+`"`, media)
	if raw, err := hex.DecodeString(about.SHA256); err == nil {
		w.Header().Set("Repr-Digest", "sha-256=:"+base64Of(raw)+":")
	}
	w.Header().Set("Content-Disposition", `attachment; filename="`+d.mark()+set+"-"+string(which)+"."+ending+`"`)
	http.ServeContent(newPatient(w), r, "", about.MadeAt, f)
}

// Wants reports whether a request for events asks for rows and not for the signed events alone.
func Wants(r *http.Request) bool {
	f := r.URL.Query().Get("format")
	return f == "csv" || f == "parquet" || f == "rows"
}

// Stream returns the handler of the stream of a data set.
func (d *Downloads) Stream(set *export.Set) http.Handler {
	plain := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.stream(w, r, set) })
	compressed := d.cfg.Compress(plain)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("format") == "parquet" { // compressed already
			plain(w, r)
			return
		}
		compressed.ServeHTTP(w, r)
	})
}

func (d *Downloads) stream(w http.ResponseWriter, r *http.Request, set *export.Set) {
	q, format, err := d.parse(r.URL.Query(), set)
	if err == nil {
		err = q.Check()
	}
	var bad *partitions.QueryError
	if errors.As(err, &bad) {
		refuse(w, http.StatusBadRequest, bad.Param, bad.Reason)
		return
	}
	h := w.Header()
	name := set.Name
	if q.Window.From.Unix() > 0 {
		name += "-" + q.Window.From.Format("20060102")
	}
	kind, ending := map[string][2]string{"csv": {"text/csv; charset=utf-8", "csv"}, "parquet": {parquetType, "parquet"}}[format], ""
	if kind[0] == "" {
		kind = [2]string{"application/x-ndjson", "ndjson"}
	}
	ending = kind[1]
	if _, ok := d.cfg.Source.Covered(); !ok {
		refuse(w, http.StatusServiceUnavailable, "", "The index has not caught up with the log yet. Try again in a moment.")
		return
	}
	leave, status, detail := d.streams.enter(d.cfg.Address(r))
	if leave == nil {
		refuse(w, status, "", detail)
		return
	}
	defer leave()
	if set.Name == "stats" {
		if leave, _, _ = d.figures.enter(""); leave == nil {
			refuse(w, http.StatusServiceUnavailable, "", "This server makes one export of statistics at a time. Try again in a minute.")
			return
		}
		defer leave()
	}
	h.Set("Content-Type", kind[0])
	h.Set("Content-Disposition", `attachment; filename="`+d.mark()+name+"."+ending+`"`)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Link", "<"+export.LicenceURL+`>; rel="license"`)
	if r.Method == http.MethodHead {
		return
	}
	sent := newPatient(w)
	out, err := WriterOf(sent, set, format)
	if err == nil {
		err = partitions.Write(r.Context(), d.cfg.Source, q, out, nil)
	}
	if err == nil || r.Context().Err() != nil {
		return
	}
	d.log.Warn("export ended early", "set", set.Name, "format", format, "error", err)
	if !sent.began {
		refuse(w, http.StatusServiceUnavailable, "", "The export could not be made. Try again in a moment.")
		return
	}
	panic(http.ErrAbortHandler) // the client must not take the export for complete
}

// WriterOf returns a writer of rows in a format.
func WriterOf(w interface{ Write([]byte) (int, error) }, set *export.Set, format string) (export.Writer, error) {
	switch format {
	case "csv":
		return export.NewCSV(w, set), nil
	case "parquet":
		return partitions.NewParquet(w, set)
	}
	return export.NewNDJSON(w, set), nil
}

// parse parses the parameters of a stream.
func (d *Downloads) parse(values url.Values, set *export.Set) (q partitions.Query, format string, err error) {
	return ParseQuery(values, set, d.cfg.Source.Now())
}

// ParseQuery parses the parameters of a stream. The error is a partitions.QueryError.
func ParseQuery(values url.Values, set *export.Set, now time.Time) (q partitions.Query, format string, err error) {
	bad := func(param, format string, args ...any) error {
		return &partitions.QueryError{Param: param, Reason: fmt.Sprintf(format, args...)}
	}
	q = partitions.Query{Set: set, Window: export.Window{From: time.Unix(0, 0).UTC(), Until: now.UTC()}}
	if format = values.Get("format"); format == "" {
		format = "ndjson"
	}
	formats := []string{"ndjson", "csv", "parquet"}
	if set.Name == "events" {
		formats = append(formats, "rows")
	}
	known := []string{"format", "from", "until", "month"}
	if set.Name == "stats" {
		known = append(known, "by")
	}
	for name, all := range values {
		switch {
		case !slices.Contains(known, name):
			return q, "", bad(name[:min(len(name), 64)], "unknown parameter; known are %s", strings.Join(known, ", "))
		case len(all) > 1:
			return q, "", bad(name, "is given more than once")
		case len(all[0]) > 64:
			return q, "", bad(name, "is too long")
		}
	}
	if !slices.Contains(formats, format) {
		return q, "", bad("format", "%q is not %s", format, strings.Join(formats, ", "))
	}
	if until := values.Get("until"); until != "" {
		if q.Window.Until, err = parseTime(until); err != nil {
			return q, "", bad("until", "%v", err)
		}
	}
	switch from := values.Get("from"); {
	case from != "":
		if q.Window.From, err = parseTime(from); err != nil {
			return q, "", bad("from", "%v", err)
		}
	case set.Name == "stats":
		q.Window.From = q.Window.Until.AddDate(0, 0, -30).Truncate(24 * time.Hour)
	}
	if month := values.Get("month"); month != "" {
		if values.Get("from")+values.Get("until") != "" {
			return q, "", bad("month", "stands for from and until; give one or the other")
		}
		m, err := export.ParseMonth(month)
		if err != nil {
			return q, "", bad("month", "%v", err)
		}
		q.Window = m.Window()
	}
	if set.Name == "stats" && q.Window.Until.After(now) {
		q.Window.Until = now.UTC() // a figure of the future is none
	}
	switch by := stats.Every(values.Get("by")); by {
	case "", stats.Hour, stats.Day, stats.Week, stats.Month:
		q.By = by
	default:
		return q, "", bad("by", "%q is not hour, day, week or month", string(by))
	}
	return q, format, nil
}

// parseTime parses unix seconds or RFC 3339, from 1970 to 9999.
func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if n, e := strconv.ParseInt(s, 10, 64); e == nil {
		t, err = time.Unix(n, 0), nil
	}
	if err != nil || t.Unix() < 0 || t.Unix() > 253402300799 {
		return time.Time{}, fmt.Errorf("%q is neither unix seconds nor RFC 3339", s)
	}
	return t.UTC(), nil
}

var _ partitions.Source = (*indexer.Archive)(nil)
