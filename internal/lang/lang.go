// Package lang holds the languages of the public pages: the texts, the forms of numbers, times
// and plurals, and the choice of a language for a request.
//
// A text is a table in a file of the folder text, with the key as its name and one entry for
// each language. All languages stand side by side, and a test fails if one is missing, if verbs
// differ between languages, if a key is used that does not exist, or if no code uses a key:
//
//	[book.orders]
//	en = { one = "%d order", other = "%d orders" }
//	es = { one = "%d orden", other = "%d órdenes" }
//	pt = { one = "%d ordem", other = "%d ordens" }
//
// A text is a format of package fmt: a percent sign is written %%, and if a language needs
// another order of the arguments the verb is %[2]s. If the entry is a table of plural forms,
// the first argument is the number that selects the form. Integers are grouped as the language
// writes numbers.
//
// Code asks the language of the request:
//
//	l := lang.Of(r)
//	l.T("book.orders", 12) // "12 órdenes"
//	l.Number("1234.5")     // "1.234,5"; also exact decimals
//	l.Ago(3 * time.Hour)   // "hace 3 h"
//	l.Link("/instances")   // "/es/instances": every link to a page passes Link
//
// Templates are parsed once for each language with the functions of Funcs:
//
//	{{t "book.orders" .Total}} {{number .Sats}} <a href="{{link "/instances"}}">
//	{{th "order.by" .Link}}    the text is HTML, the arguments are escaped
//
// Front must wrap the handler of all public routes. A page is at /es/PATH, /en/PATH and
// /pt/PATH. At PATH without a language the page is English, and Redirect sends a browser that
// prefers another of the languages to it. The API is at one path, and Asked returns the
// language of its errors.
package lang

import (
	"context"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/internal/webpage"
	"github.com/pelletier/go-toml/v2"
	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/text/message/catalog"
)

//go:embed text/*.toml
var files embed.FS

// Lang is one language of the pages. A Lang is safe for concurrent use.
type Lang struct {
	Code   string // of <html lang>
	Name   string // the name of the language in itself
	Prefix string // of the paths of its pages; "" for the pages at a path without a language

	texts              *texts
	printer            *message.Printer
	thousands, decimal string
}

// Default is English at paths without a language. English, Spanish and Portuguese are the
// languages with a path, in the order of the choice on a page.
var (
	Spanish    = &Lang{Code: "es", Name: "Español", Prefix: "/es"}
	English    = &Lang{Code: "en", Name: "English", Prefix: "/en"}
	Portuguese = &Lang{Code: "pt", Name: "Português", Prefix: "/pt"}
	Default    = &Lang{Code: "en", Name: "English"}
	All        = []*Lang{Spanish, English, Portuguese}
)

// texts is the catalogue of all languages.
type texts struct {
	catalog *catalog.Builder
	keys    map[string]map[string][]string // forms of each key by language
}

// load reads the catalogue once.
var load = sync.OnceValue(func() *texts {
	all, err := parse(files)
	if err != nil {
		panic(err) // impossible: a test reads the same files
	}
	return all
})

// parse reads all texts of a file system.
func parse(from fs.FS) (*texts, error) {
	x := &texts{catalog.NewBuilder(catalog.Fallback(language.English)), map[string]map[string][]string{}}
	names, err := fs.Glob(from, "text/*.toml")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		b, err := fs.ReadFile(from, name)
		if err != nil {
			return nil, err
		}
		var tree map[string]any
		if err := toml.Unmarshal(b, &tree); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if err := x.add("", tree); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return x, nil
}

// add adds the texts of a table. A table with the entry "en" is one text.
func (x *texts) add(key string, tree map[string]any) error {
	if _, leaf := tree[English.Code]; !leaf {
		for name, value := range tree {
			inner, ok := value.(map[string]any)
			if !ok {
				return fmt.Errorf("%s.%s is no text: the language en is missing", key, name)
			}
			if err := x.add(strings.TrimPrefix(key+"."+name, "."), inner); err != nil {
				return err
			}
		}
		return nil
	}
	if x.keys[key] != nil {
		return fmt.Errorf("%s is given twice", key)
	}
	x.keys[key] = map[string][]string{}
	for code, value := range tree {
		if !slices.ContainsFunc(All, func(l *Lang) bool { return l.Code == code }) {
			return fmt.Errorf("%s: %s is no language of the pages", key, code)
		}
		var err error
		switch v := value.(type) {
		case string:
			x.keys[key][code] = []string{v}
			err = x.catalog.SetString(language.Make(code), key, v)
		case map[string]any:
			var cases []any
			for _, form := range []string{"=0", "one", "other"} {
				if text, ok := v[form].(string); ok {
					cases = append(cases, form, text)
					x.keys[key][code] = append(x.keys[key][code], text)
				}
			}
			if len(cases) != 2*len(v) || v["other"] == nil {
				return fmt.Errorf("%s: the forms of %s are %v, known are =0, one and other", key, code, slices.Sorted(maps.Keys(v)))
			}
			err = x.catalog.Set(language.Make(code), key, plural.Selectf(1, "%d", cases...))
		default:
			return fmt.Errorf("%s: the entry %s is neither a text nor plural forms", key, code)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

var prepare = sync.OnceFunc(func() {
	x := load()
	for _, l := range append([]*Lang{Default}, All...) {
		l.texts, l.printer = x, message.NewPrinter(language.Make(l.Code), message.Catalog(x.catalog))
		sample := l.printer.Sprintf("%.1f", 1234567.5) // 1.234.567,5
		l.thousands, l.decimal = sample[1:2], sample[len(sample)-2:len(sample)-1]
	}
})

// T returns the text of a key with its arguments. If there is no such text, T returns the key in
// brackets.
func (l *Lang) T(key string, args ...any) string {
	prepare()
	if l.texts.keys[key] == nil {
		return "⟦" + key + "⟧"
	}
	return l.printer.Sprintf(key, args...)
}

// Has reports whether there is a text.
func (l *Lang) Has(key string) bool {
	prepare()
	return l.texts.keys[key] != nil
}

// HTML returns the text of a key, which is HTML, with its arguments escaped. An argument of type
// template.HTML is not escaped again.
func (l *Lang) HTML(key string, args ...any) template.HTML {
	escaped := make([]any, len(args))
	for i, a := range args {
		switch v := a.(type) {
		case template.HTML:
			escaped[i] = string(v)
		case string:
			escaped[i] = template.HTMLEscapeString(v)
		case fmt.Stringer:
			escaped[i] = template.HTMLEscapeString(v.String())
		default:
			escaped[i] = a
		}
	}
	return template.HTML(l.T(key, escaped...))
}

// Number returns a decimal number, such as -1234.50, as the language writes it. A text that is
// not a number is returned as it is.
func (l *Lang) Number(decimal string) string {
	prepare()
	digits, minus := strings.CutPrefix(decimal, "-")
	whole, fraction, dot := strings.Cut(digits, ".")
	if strings.Trim(whole+fraction, "0123456789") != "" || whole == "" {
		return decimal
	}
	var b strings.Builder
	if minus {
		b.WriteString("−")
	}
	for i := range len(whole) {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteString(l.thousands)
		}
		b.WriteByte(whole[i])
	}
	if dot {
		b.WriteString(l.decimal + fraction)
	}
	return b.String()
}

// Int returns a whole number as the language writes it.
func (l *Lang) Int(n int64) string { return l.Number(strconv.FormatInt(n, 10)) }

// Float returns a number with a fixed number of decimals.
func (l *Lang) Float(f float64, decimals int) string {
	return l.Number(strconv.FormatFloat(f, 'f', decimals, 64))
}

// Span returns a duration, without its sign, in its largest unit.
func (l *Lang) Span(d time.Duration) string {
	d = d.Abs()
	switch {
	case d < time.Minute:
		return l.T("time.seconds", int(d.Seconds()))
	case d < time.Hour:
		return l.T("time.minutes", int(d.Minutes()))
	case d < 48*time.Hour:
		return l.T("time.hours", int(d.Hours()))
	}
	return l.T("time.days", int(d.Hours()/24))
}

// Ago returns the distance of a time that lies d before now, or after now if d is negative.
func (l *Lang) Ago(d time.Duration) string {
	if d < 0 {
		return l.T("time.ahead", l.Span(d))
	}
	return l.T("time.ago", l.Span(d))
}

// Moment returns a time with its distance to now. The texts are empty if the time is unknown.
func (l *Lang) Moment(t, now time.Time) webpage.Moment {
	if t.IsZero() || t.Unix() <= 0 {
		return webpage.Moment{}
	}
	return webpage.Moment{RFC: t.UTC().Format(time.RFC3339), Text: t.UTC().Format("2006-01-02 15:04 UTC") + " (" + l.Ago(now.Sub(t)) + ")"}
}

// Date returns a day, such as 2 January 2026.
func (l *Lang) Date(t time.Time) string {
	t = t.UTC()
	return l.T("time.date", strconv.Itoa(t.Day()), l.T("time.month."+strconv.Itoa(int(t.Month()))), strconv.Itoa(t.Year()))
}

// Link returns the path of a page, which begins with a slash, in this language.
func (l *Lang) Link(path string) string { return l.Prefix + path }

// Funcs returns the functions of templates: t, th, number, int, link, ago and date.
func (l *Lang) Funcs() template.FuncMap {
	return template.FuncMap{"t": l.T, "th": l.HTML, "number": l.Number, "int": func(n any) string { return l.Number(fmt.Sprint(n)) }, "link": l.Link, "ago": l.Ago, "date": l.Date}
}

type contextKey struct{}

// Of returns the language of a request that passed Front, and Default for others.
func Of(r *http.Request) *Lang {
	if l, ok := r.Context().Value(contextKey{}).(*Lang); ok {
		return l
	}
	return Default
}

// With returns a request in a language. Front and tests call With.
func With(r *http.Request, l *Lang) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), contextKey{}, l))
}

// Trim returns a path without its language. The language is nil if the path has none. A path of
// the API has none.
func Trim(path string) (rest string, l *Lang) {
	for _, l := range All {
		rest, ok := strings.CutPrefix(path, l.Prefix)
		if ok && strings.HasPrefix(rest, "/") && !strings.HasPrefix(rest, "/api/") {
			return rest, l
		}
	}
	return path, nil
}

// Front takes the language from the path of a request, and passes the request on with the rest
// of the path.
func Front(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, l := range All {
			if r.URL.Path == l.Prefix {
				http.Redirect(w, r, l.Prefix+"/", http.StatusPermanentRedirect)
				return
			}
		}
		escaped, l := Trim(r.URL.EscapedPath())
		path, err := url.PathUnescape(escaped)
		if l == nil || err != nil {
			next.ServeHTTP(w, r)
			return
		}
		r = With(r, l)
		u := *r.URL
		u.Path, u.RawPath = path, escaped
		r.URL = &u
		next.ServeHTTP(w, r)
	})
}

// maxAccept bounds the bytes of Accept-Language that are parsed. Browsers send less than 100.
const maxAccept = 200

var matcher = language.NewMatcher([]language.Tag{language.English, language.Spanish, language.Portuguese})

// Asked returns the language that the header Accept-Language of a request prefers. If the
// header is missing, broken or names none of the languages, Asked returns Default.
func Asked(r *http.Request) *Lang {
	header := r.Header.Get("Accept-Language")
	if header == "" || len(header) > maxAccept {
		return Default
	}
	tags, _, err := language.ParseAcceptLanguage(header)
	if err != nil || len(tags) == 0 {
		return Default
	}
	_, at, confidence := matcher.Match(tags...)
	if confidence == language.No {
		return Default
	}
	return []*Lang{Default, Spanish, Portuguese}[at]
}

// Redirect sends a browser that asked for a page without a language to the page in the language
// that it prefers, and reports whether it did. English stays at the path without a language.
func Redirect(w http.ResponseWriter, r *http.Request) bool {
	if Of(r) != Default {
		return false
	}
	w.Header().Add("Vary", "Accept-Language")
	l := Asked(r)
	if l == Default {
		return false
	}
	to := l.Prefix + r.URL.EscapedPath()
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", to)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusFound)
	return true
}
