// Package route holds the HTTP routes of the program in one table. Packages return rows,
// and cmd/mostrodex joins the rows to the table. The muxes of the listeners, the list in
// README.md and the text of a 404 are made from the table.
//
// The mux of the public listener also applies the rules for all routes: the pages of
// other origins that may read an answer (CORS), the answer if a path does not have the
// method of a request, and the count of requests by route.
package route

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// Listener is the address at which a route is served.
type Listener string

const (
	Public  Listener = "public"
	Private Listener = "private" // for the operator: metrics and profiles
)

// Route is one row of the table.
type Route struct {
	Method   string // GET includes HEAD; "" is any method
	Path     string // pattern of http.ServeMux, without method and host
	Handler  http.Handler
	Name     string   // value of the label "route" in metrics; "": requests are not counted
	Summary  string   // text in the list of routes, one or more lines; "": the route is not listed
	Listener Listener // "": Public

	// The OpenAPI document is made from the fields below.
	Params []Param
	Body   any    // a value of the type of the JSON that a request must have; nil: none
	Answer any    // a value of the type of the JSON answer; nil: the answer is not described
	Media  string // media type of the answer; "": application/json
}

// Param is a parameter of a route.
type Param struct {
	Name    string
	InPath  bool   // in the path; false: in the query
	Needed  bool   // always true in a path
	Many    bool   // may be repeated
	Type    string // "string", "integer", "number" or "boolean"; "": string
	Enum    []string
	Default string
	Doc     string
}

func (r *Route) listener() Listener { return cmp.Or(r.Listener, Public) }

// doc returns the path as documentation shows it.
func (r *Route) doc() string {
	return strings.NewReplacer("{$}", "", "...}", "}").Replace(r.Path)
}

// Table holds all routes of the program.
type Table []Route

// Paths returns the listed public paths that begin with prefix, in the order of the
// table.
func (t Table) Paths(prefix string) (paths []string) {
	for _, r := range t {
		if p := r.doc(); r.Summary != "" && r.listener() == Public && strings.HasPrefix(p, prefix) && !slices.Contains(paths, p) {
			paths = append(paths, p)
		}
	}
	return paths
}

// String returns the list of routes for README.md. A line has the method and path, and
// the summary behind them. A summary is wrapped, so a line has at most 100 columns.
func (t Table) String() string {
	const column, width = 44, 100
	var b strings.Builder
	for _, l := range []Listener{Public, Private} {
		if l == Private {
			b.WriteString("private listener:\n")
		}
		for _, r := range t {
			if r.Summary == "" || r.listener() != l {
				continue
			}
			head := strings.TrimSpace(r.Method + " " + r.doc())
			for line := range strings.SplitSeq(r.Summary, "\n") {
				for _, part := range Wrap(line, width-column-1) {
					fmt.Fprintf(&b, "%-*s %s\n", column, head, part)
					head = ""
				}
			}
		}
	}
	return b.String()
}

// Wrap splits a text at spaces into lines of at most width characters. A longer word has a
// line of its own.
func Wrap(text string, width int) []string {
	lines := []string{""}
	for word := range strings.SplitSeq(text, " ") {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case utf8.RuneCountInString(*last)+1+utf8.RuneCountInString(word) <= width:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}

// Mux makes the handlers of the listeners. Each field may be nil.
type Mux struct {
	// Refuse answers a request with a status and a sentence. nil: http.Error is used.
	Refuse func(w http.ResponseWriter, status int, detail string)
	// Count is called after each request to a route with a name. nil: requests are not
	// counted.
	Count func(name string, status int)
	// Front wraps the handler of all public routes, and may change the path of a request
	// before the mux sees the path. nil: the mux is the handler.
	Front func(http.Handler) http.Handler
}

// Public returns the handler of the table's public routes. Pages of every origin may read
// the answers to GET and HEAD. A preflight request is answered for the methods of the
// path. If a path has GET, a request with a method that the path does not have is refused
// with 405.
func (m Mux) Public(t Table) http.Handler {
	byPath := map[string]*path{}
	for _, r := range t {
		if r.listener() != Public {
			continue
		}
		p := byPath[r.Path]
		if p == nil {
			p = &path{mux: m, byMethod: map[string]http.Handler{}}
			byPath[r.Path] = p
		}
		p.add(r)
	}
	mux, trees := http.NewServeMux(), http.NewServeMux()
	for pattern, p := range byPath {
		p.api, p.beyond = strings.HasPrefix(pattern, "/api/"), trees
		mux.Handle(pattern, p)
		if strings.HasSuffix(pattern, "/") {
			trees.Handle(pattern, p)
		}
	}
	if m.Front != nil {
		return m.Front(mux)
	}
	return mux
}

// path is one path of the public listener. http.ServeMux cannot register GET of all paths
// together with all methods of one path, so path chooses the handler by method.
type path struct {
	mux      Mux
	byMethod map[string]http.Handler
	methods  []string     // in the order of the table, HEAD after GET
	name     string       // name of the GET route
	api      bool         // below /api/
	beyond   http.Handler // handler of the routes of whole subtrees
}

func (p *path) add(r Route) {
	h := p.mux.counted(r.Name, r.Handler)
	p.methods = append(p.methods, r.Method)
	if r.Method == http.MethodGet {
		h = readable(h)
		p.name, p.methods = r.Name, append(p.methods, http.MethodHead)
		p.byMethod[http.MethodHead] = h
	}
	p.byMethod[r.Method] = h
}

func (p *path) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := p.byMethod[r.Method]
	switch {
	case h != nil:
	case p.byMethod[""] != nil:
		h = p.byMethod[""]
	case p.byMethod[http.MethodGet] != nil || r.Method == http.MethodOptions:
		h = p.mux.counted(p.name, http.HandlerFunc(p.refuse))
	default: // for other methods, the path does not exist
		h = p.beyond
	}
	h.ServeHTTP(w, r)
}

// refuse answers a request if the path does not have its method. A preflight for a method
// of the path, and OPTIONS, are answered with the list of methods.
func (p *path) refuse(w http.ResponseWriter, r *http.Request) {
	h, has := w.Header(), strings.Join(p.methods, ", ")
	h.Set("Allow", has+", OPTIONS")
	asked := r.Header.Get("Access-Control-Request-Method")
	if r.Method == http.MethodOptions && (asked == "" || p.byMethod[asked] != nil) {
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Allow-Methods", has)
		h.Set("Access-Control-Allow-Headers", "Authorization, *") // * does not include Authorization
		h.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	h.Set("X-Content-Type-Options", "nosniff")
	noun := "page"
	if p.api {
		noun = "resource"
		h.Set("Access-Control-Allow-Origin", "*")
	}
	detail := "This " + noun + " is only read: use GET."
	if p.byMethod[http.MethodGet] == nil {
		detail = "This " + noun + " takes " + has + " alone."
	}
	if p.mux.Refuse == nil {
		http.Error(w, detail, http.StatusMethodNotAllowed)
		return
	}
	p.mux.Refuse(w, http.StatusMethodNotAllowed, detail)
}

// Private returns the handler of the table's private routes. Pages of other origins
// cannot read the answers.
func (Mux) Private(t Table) http.Handler {
	mux := http.NewServeMux()
	for _, r := range t {
		if r.listener() == Private {
			mux.Handle(strings.TrimSpace(r.Method+" "+r.Path), r.Handler)
		}
	}
	return mux
}

// readable allows pages of every origin to read the answer (CORS).
func readable(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		h.ServeHTTP(w, r)
	})
}

// counted calls Count with the status of each answer of a route with a name.
func (m Mux) counted(name string, h http.Handler) http.Handler {
	if m.Count == nil || name == "" {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w, status: http.StatusOK}
		defer func() { m.Count(name, rec.status) }()
		h.ServeHTTP(rec, r)
	})
}

// recorder records the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader records the status and passes it on.
func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap returns the wrapped writer for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
