package demowallet

import (
	"bytes"
	"context"
	"crypto/hmac"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/internal/webpage"
	"github.com/mostrodex/mostrodex/mostro"
)

//go:embed pages.html
var files embed.FS

// Path is the address of the wallet on the private listener.
const Path = "/wallet"

const (
	maxForm  = 8 << 10
	patience = 40 * time.Second // a payment may take half a minute to be held
)

type pages struct{ templates *template.Template }

func newPages() pages {
	return pages{template.Must(template.New("").Funcs(template.FuncMap{"plain": plain}).ParseFS(files, "pages.html"))}
}

// plain replaces characters that are invisible or change the direction of text.
func plain(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || unicode.Is(unicode.Cf, c) {
			return '\ufffd'
		}
		return c
	}, s)
}

func grouped(n int64) string { return webpage.Grouped(strconv.FormatInt(n, 10)) }

// Routes returns the rows of the wallet.
func (w *Wallet) Routes() []route.Route {
	row := func(method, path, summary string, h http.HandlerFunc) route.Route {
		return route.Route{Listener: route.Private, Method: method, Path: path, Summary: summary, Handler: w.guarded(h)}
	}
	return []route.Route{
		row(http.MethodGet, Path, "", func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, Path+"/"+people[0].id, http.StatusSeeOther)
		}),
		row(http.MethodGet, Path+"/{who}", "", w.person(w.show)),
		row(http.MethodGet, Path+"/{who}/new", "", w.person(w.form)),
		row(http.MethodPost, Path+"/{who}/new", "", w.person(w.serveMake)),
		row(http.MethodPost, Path+"/{who}/take", "", w.person(w.serveTake)),
		row(http.MethodPost, Path+"/{who}/trade", "", w.person(w.serveAct)),
	}
}

const policy = "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// guarded sets the headers and the time limit of a request, and refuses a form that comes from
// another origin, or from a program without one. The listener has checked the host.
func (w *Wallet) guarded(h http.HandlerFunc) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{"Content-Security-Policy": policy, "Referrer-Policy": "same-origin", "X-Content-Type-Options": "nosniff",
			"X-Frame-Options": "DENY", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store"} {
			rw.Header().Set(name, value)
		}
		ctx := r.Context()
		if r.Method == http.MethodPost {
			ctx = context.WithoutCancel(ctx) // a person who leaves the page does not interrupt a trade
		}
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		r = r.WithContext(ctx)
		if r.Method == http.MethodPost {
			scheme, host, _ := strings.Cut(r.Header.Get("Origin"), "://")
			site := r.Header.Get("Sec-Fetch-Site")
			if scheme != "http" && scheme != "https" || host != r.Host || site != "" && site != "same-origin" {
				w.problem(rw, http.StatusForbidden, people[0].id, "A form must come from a page of this wallet. Nothing was done. Programs use 'mostrodex send'.")
				return
			}
			r.Body = http.MaxBytesReader(rw, r.Body, maxForm)
			if err := r.ParseForm(); err != nil {
				w.problem(rw, http.StatusBadRequest, people[0].id, "The form is too large or is no form.")
				return
			}
		}
		h(rw, r)
	}
}

// person returns the handler of a page of a person.
func (w *Wallet) person(h func(rw http.ResponseWriter, r *http.Request, who string) error) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		who := r.PathValue("who")
		if w.accounts[who] == nil { // the map does not change after New
			w.problem(rw, http.StatusNotFound, people[0].id, "There is no such person.")
			return
		}
		err := h(rw, r, who)
		var no refusal
		switch {
		case err == nil:
		case errors.As(err, &no):
			w.problem(rw, http.StatusConflict, who, no.text)
		default:
			w.cfg.Logger.Warn("a request to the demo's wallet failed", "error", err)
			w.problem(rw, http.StatusServiceUnavailable, who, "The relay of the demo does not answer. Load the page again in a moment.")
		}
	}
}

// checked checks the token of a posted form.
func (w *Wallet) checked(r *http.Request, parts ...string) error {
	if !hmac.Equal([]byte(r.PostForm.Get("token")), []byte(w.token(parts...))) {
		return refused("The form is of an earlier run of the demo. Go back and load the page again.")
	}
	return nil
}

type tab struct {
	ID, Name string
	Here     bool
}

// frame is the data that every page has.
type frame struct {
	Title, Style, Notice string
	Who                  string
	Tabs                 []tab
	Refresh              bool
	Data                 any
}

func (w *Wallet) render(rw http.ResponseWriter, status int, name, who, title string, refresh bool, data any) {
	f := frame{Title: title, Style: webpage.StylePath(), Notice: w.cfg.Notice, Who: who, Refresh: refresh, Data: data}
	for _, p := range people {
		f.Tabs = append(f.Tabs, tab{p.id, p.name, p.id == who})
	}
	var body bytes.Buffer
	if err := w.pages.templates.ExecuteTemplate(&body, name, f); err != nil {
		w.cfg.Logger.Error("a page of the demo's wallet failed", "page", name, "error", err)
		http.Error(rw, "The page could not be made.", http.StatusInternalServerError)
		return
	}
	rw.Header().Set("Content-Type", "text/html; charset=utf-8")
	rw.WriteHeader(status)
	rw.Write(body.Bytes()) // a write error means that the client is gone
}

func (w *Wallet) problem(rw http.ResponseWriter, status int, who, text string) {
	w.render(rw, status, "problem", who, "Not done", false, text)
}

// offer is an order of the book as the page shows it.
type offer struct {
	ID, Side, Fiat, Sats, Methods string
	Own                           bool
	Token                         string
}

func (w *Wallet) show(rw http.ResponseWriter, r *http.Request, who string) error {
	deals, err := w.deals(r.Context(), who)
	if err != nil {
		return err
	}
	book, err := w.book(r.Context())
	if err != nil {
		return err
	}
	own := make(map[string]bool)
	for _, d := range deals {
		own[d.Order] = own[d.Order] || d.Maker
	}
	var offers []offer
	for _, o := range book {
		f := offer{ID: o.D, Side: string(o.Side), Fiat: fiatOf(o), Sats: "at the market price", Methods: strings.Join(o.Methods, ", "), Own: own[o.D], Token: w.token(who, "take", o.D)}
		if o.AmountSats != nil && *o.AmountSats > 0 {
			f.Sats = grouped(*o.AmountSats) + " sats"
		}
		if o.Side == mostro.SideSell || o.Side == mostro.SideBuy {
			offers = append(offers, f)
		}
	}
	w.render(rw, http.StatusOK, "show", who, nameOf(who), true, struct {
		Name, Sats string
		Deals      []deal
		Offers     []offer
	}{nameOf(who), grouped(w.cfg.Purse.Sats()), deals, offers})
	return nil
}

func nameOf(who string) string {
	for _, p := range people {
		if p.id == who {
			return p.name
		}
	}
	return ""
}

func fiatOf(o mostro.Order) string {
	low, high := o.FiatAmount.Min, o.FiatAmount.Max
	switch {
	case low == nil || high == nil:
		return o.Fiat
	case low.String() == high.String():
		return low.String() + " " + o.Fiat
	}
	return low.String() + "–" + high.String() + " " + o.Fiat
}

func (w *Wallet) form(rw http.ResponseWriter, _ *http.Request, who string) error {
	w.render(rw, http.StatusOK, "new", who, "New order", false, w.token(who, "new"))
	return nil
}

// amountOf returns a positive whole number of a form, or least if the field is empty and least is 0.
func amountOf(r *http.Request, name string, least int64) (int64, error) {
	text := strings.TrimSpace(r.PostForm.Get(name))
	if text == "" && least == 0 {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > 1e12 {
		return 0, refused("The %s is not a whole number from %d.", name, least)
	}
	return n, nil
}

func (w *Wallet) serveMake(rw http.ResponseWriter, r *http.Request, who string) error {
	if err := w.checked(r, who, "new"); err != nil {
		return err
	}
	o := wanted{side: mostro.Side(r.PostForm.Get("side")), fiat: strings.TrimSpace(r.PostForm.Get("fiat")), method: strings.TrimSpace(r.PostForm.Get("method"))}
	if o.side != mostro.SideSell && o.side != mostro.SideBuy {
		return refused("An order sells or buys.")
	}
	var err error
	if o.amount, err = amountOf(r, "amount", 1); err != nil {
		return err
	}
	if o.sats, err = amountOf(r, "sats", 0); err != nil {
		return err
	}
	if o.fiat == "" || o.method == "" {
		return refused("A currency and a payment method are needed.")
	}
	return w.done(rw, r, who, func() error { return w.offer(r.Context(), who, o) })
}

func (w *Wallet) serveTake(rw http.ResponseWriter, r *http.Request, who string) error {
	id := r.PostForm.Get("order")
	if err := w.checked(r, who, "take", id); err != nil {
		return err
	}
	return w.done(rw, r, who, func() error { return w.take(r.Context(), who, id) })
}

func (w *Wallet) serveAct(rw http.ResponseWriter, r *http.Request, who string) error {
	index, verb := r.PostForm.Get("index"), r.PostForm.Get("verb")
	if err := w.checked(r, who, index, verb); err != nil {
		return err
	}
	n, err := strconv.ParseUint(index, 10, 32)
	if err != nil {
		return refused("There is no such trade.")
	}
	return w.done(rw, r, who, func() error { return w.act(r.Context(), who, uint32(n), verb) })
}

// done acts, one form at a time, and leads to the page of the person.
func (w *Wallet) done(rw http.ResponseWriter, r *http.Request, who string, act func() error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := act(); err != nil {
		return err
	}
	http.Redirect(rw, r, fmt.Sprintf("%s/%s", Path, who), http.StatusSeeOther)
	return nil
}
