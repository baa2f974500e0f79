// Package route holds the HTTP routes of the program in one table. Packages
// return rows, cmd/mostrodex puts the table together, and the mux of each
// listener, the list of README.md and the text of a 404 are made from it.
//
// The mux of the public listener also keeps the rules that hold for every route:
// who may read an answer from a page of another origin (CORS), what is answered
// to a method that a path does not have, and the count of requests by route.
package route

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Listener is an address that routes are served at.
type Listener string

const (
	Public  Listener = "public"
	Private Listener = "private" // of the operator: metrics and profiles
)

// Route is one row of the table.
type Route struct {
	Method   string // GET includes HEAD; "" is any method
	Path     string // pattern of http.ServeMux, without method and host
	Handler  http.Handler
	Name     string   // value of the label "route" in metrics; "": requests are not counted
	Summary  string   // in the list of routes, may have several lines; "": the route is not listed
	Listener Listener // "" is Public
}

func (r *Route) listener() Listener { return cmp.Or(r.Listener, Public) }

// doc is the path as people write it.
func (r *Route) doc() string {
	return strings.NewReplacer("{$}", "", "...}", "}").Replace(r.Path)
}

// Table is all routes of the program.
type Table []Route

// Paths returns the paths of the listed public routes that begin with prefix, in
// the order of the table.
func (t Table) Paths(prefix string) (paths []string) {
	for _, r := range t {
		if p := r.doc(); r.Summary != "" && r.listener() == Public && strings.HasPrefix(p, prefix) && !slices.Contains(paths, p) {
			paths = append(paths, p)
		}
	}
	return paths
}

// String returns the list of routes for README.md: a line for each, with the
// summary behind it.
func (t Table) String() string {
	const column = 44
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
			for i, line := range strings.Split(r.Summary, "\n") {
				if i > 0 {
					head = ""
				}
				fmt.Fprintf(&b, "%-*s %s\n", column, head, line)
			}
		}
	}
	return b.String()
}

// Mux makes the handlers of the listeners. Both functions may be nil.
type Mux struct {
	// Refuse answers a request with a status and a sentence. nil: http.Error.
	Refuse func(w http.ResponseWriter, status int, detail string)
	// Count is called after each request of a route that has a name.
	Count func(name string, status int)
}

// Public returns the handler of the table's public routes. GET and HEAD are
// open to pages of every origin. A preflight is answered for the methods that
// the path has. Any other method of a path that has GET is refused with 405.
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
	return mux
}

// path is one path of the public listener. The methods are not left to
// http.ServeMux, which cannot hold GET of all paths beside all methods of one.
type path struct {
	mux      Mux
	byMethod map[string]http.Handler
	methods  []string     // in the order of the table, HEAD behind GET
	name     string       // of its GET
	api      bool         // below /api/
	beyond   http.Handler // the routes of whole subtrees
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
	default: // to other methods the path does not exist
		h = p.beyond
	}
	h.ServeHTTP(w, r)
}

// refuse answers a request whose method the path does not have: a preflight for
// one that it has, and OPTIONS, say which these are.
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

// Private returns the handler of the table's private routes. No page of another
// origin may read them.
func (Mux) Private(t Table) http.Handler {
	mux := http.NewServeMux()
	for _, r := range t {
		if r.listener() == Private {
			mux.Handle(strings.TrimSpace(r.Method+" "+r.Path), r.Handler)
		}
	}
	return mux
}

// readable lets pages of every origin read an answer.
func readable(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		h.ServeHTTP(w, r)
	})
}

// counted calls Count with the status of each answer of a named route.
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

// recorder notes the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the status and passes it on.
func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the writer behind.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
