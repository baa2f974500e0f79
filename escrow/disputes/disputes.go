// Package disputes serves the dispute inbox: pages on the private listener where the operator
// and the solvers of a Mostro see the open disputes, read their history, and decide. Pages are
// made on the server and need no script.
//
// A page shows no preimage, no invoice and no secret key. Texts of users are escaped, and
// characters that are invisible or change the direction of text are replaced. A decision is
// made by a form whose token is bound to the session, the dispute, the verb and the state that
// the page showed; the decision itself takes the path of the verbs of the command line.
package disputes

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/internal/room"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/internal/webpage"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

//go:embed pages.html login.js
var files embed.FS

// Escrow is the part of the escrow that the inbox needs. Errors that the person at the page can
// do something about have a method Advice.
type Escrow interface {
	// Disputes returns the trades in dispute.
	Disputes(ctx context.Context) ([]trade.Trade, error)
	// Dispute returns a trade that is or was in dispute, by the id of the order or of the
	// dispute, or mostro.ErrNotFound.
	Dispute(ctx context.Context, id trade.OrderID) (trade.Trade, error)
	// Journal calls fn for every step of a trade, in order. If fn returns an error, Journal
	// returns it.
	Journal(ctx context.Context, id trade.OrderID, fn func(trade.Input) error) error
	// DecideAs takes or decides a dispute under the role of a key. id is that of the dispute.
	DecideAs(ctx context.Context, by string, id trade.OrderID, action message.Action, reason string) error
	// RoleOf returns the present role of a key, or "".
	RoleOf(ctx context.Context, key string) (trade.Role, error)
	// Record returns the node's record of an identity.
	Record(ctx context.Context, identity string) (Record, error)
	// Chat returns the newest events of each filter, at most limit of each.
	Chat(ctx context.Context, filters []nostr.Filter, limit int) ([]*nostr.Event, error)
	// Publish publishes an event on the relay of the Mostro. If Publish returns nil, the event
	// is stored.
	Publish(ctx context.Context, evt *nostr.Event) error
	// Closed returns the disputes that are over, or false if they are not collected in time.
	Closed(ctx context.Context) (Closed, bool)
}

// Closed are the disputes that are over, as far as the inbox lists them.
type Closed struct {
	Trades []trade.Trade // the newest MaxClosed, newest first
	More   int           // older ones
	At     time.Time     // at which they were collected
}

// MaxClosed is the number of disputes in the list of those that are over.
const MaxClosed = 200

// ClosedAt returns the time at which a dispute ended, in unix seconds.
func ClosedAt(t *trade.Trade) int64 {
	if v := t.Dispute.Verdict; v != nil {
		return v.At
	}
	return t.Dispute.StampedAt
}

// Over reports whether a trade had a dispute that is over.
func Over(t *trade.Trade) bool {
	return t.Dispute.Status != "" && t.Status != message.TradeDispute
}

// Record is the history of an identity at a node.
type Record struct {
	Since    int64 // unix seconds of the first trade; 0: unknown
	Rating   float64
	Reviews  int64
	Counted  bool // the trades are counted; if false, the following numbers are unknown
	Finished int  // trades that ended well
	Opened   int  // disputes that the identity has opened
	Lost     int  // disputes decided against the identity by a solver or the operator
	Overdue  int  // disputes decided against the identity by the rule for overdue disputes
}

// Config is the configuration of an Inbox. Escrow, Keys and Now are required.
type Config struct {
	Escrow Escrow
	Keys   *envelope.Keys // the node's keys, which decrypt messages of parties to the node
	Name   string         // of the Mostro; "" for none
	Notice string         // shown at the top of every page; "" for none
	// Notes returns what is wrong with the escrow. The operator sees the notes above the list of
	// disputes; a solver does not. nil: none.
	Notes func() []string

	Logger *slog.Logger     // nil: log lines are discarded
	Now    func() time.Time // nil: time.Now
}

// Inbox serves the pages.
type Inbox struct {
	cfg       Config
	chat      chatRoom
	sessions  *sessions
	letters   letters
	templates *template.Template
	script    []byte
}

// New returns an inbox.
func New(cfg Config) *Inbox {
	cfg.Logger, cfg.Now = room.Logger(cfg.Logger), room.Clock(cfg.Now)
	script, err := files.ReadFile("login.js")
	if err != nil {
		panic(err) // the file is compiled in
	}
	return &Inbox{cfg: cfg, chat: chatRoom{cfg.Escrow, cfg.Keys, cfg.Now}, sessions: newSessions(cfg.Keys.Pubkey(), cfg.Now),
		letters: letters{now: cfg.Now}, script: script,
		templates: template.Must(template.New("").Funcs(template.FuncMap{"plain": Plain}).ParseFS(files, "pages.html"))}
}

// Path is the address of the inbox on the private listener.
const Path = "/disputes"

const (
	// maxForm is the largest form, in bytes. A reason has at most 500.
	maxForm = 16 << 10
	// patience is the time that a page waits for the escrow.
	patience = 10 * time.Second
)

// Routes returns the rows of the inbox.
func (x *Inbox) Routes() []route.Route {
	row := func(method, path, summary string, h http.HandlerFunc) route.Route {
		return route.Route{Listener: route.Private, Method: method, Path: path, Summary: summary, Handler: h}
	}
	return []route.Route{
		row(http.MethodGet, Path, "the dispute inbox of operator and solvers (HTML)", x.page(x.list)),
		row(http.MethodGet, Path+"/closed", "", x.page(x.closed)),
		row(http.MethodGet, Path+"/{id}", "", x.page(x.show)),
		row(http.MethodPost, Path+"/{id}/{verb}", "", x.page(x.act)),
		row(http.MethodGet, Path+"/login", "", x.loginPage),
		row(http.MethodPost, Path+"/login", "", x.guarded(x.login)),
		row(http.MethodPost, Path+"/logout", "", x.page(x.logout)),
		row(http.MethodGet, Path+"/login.js", "", func(w http.ResponseWriter, _ *http.Request) {
			x.headers(w)
			w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
			w.Write(x.script) // a write error means that the client is gone
		}),
		row(http.MethodGet, webpage.StylePath(), "", webpage.ServeStyle),
	}
}

// visitor is the person behind a request.
type visitor struct {
	session *session
	key     string // identity, hex
	role    trade.Role
}

// concerned reports whether the visitor is a party of a trade, by the identity or a trade key.
func (v visitor) concerned(t *trade.Trade) bool {
	return v.role != trade.RoleNode && (v.key == t.Buyer.Key || v.key == t.Buyer.Identity || v.key == t.Seller.Key || v.key == t.Seller.Identity)
}

// problem is an error that the person at the page is told.
type problem struct {
	status      int
	title, text string
}

func (p *problem) Error() string { return p.title + ": " + p.text }

// Advice is implemented by errors of an Escrow that name the next step for the visitor of the page.
type Advice interface{ Advice() string }

func problemOf(err error) *problem {
	var p *problem
	var advice interface {
		error
		Advice
	}
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &advice):
		return &problem{http.StatusConflict, "This cannot be done", advice.Advice()}
	case errors.Is(err, mostro.ErrNotFound):
		return &problem{http.StatusNotFound, "No such dispute", "This Mostro has no dispute with this id."}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &problem{http.StatusServiceUnavailable, "The escrow does not answer", "Nothing was decided. Try again in a moment."}
	}
	return nil
}

const policy = "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// headers sets the headers of every answer. The policy for referrers is not no-referrer,
// because a browser would send the Origin null with a form then.
func (x *Inbox) headers(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// frame is the data that every page has.
type frame struct {
	Title, Mostro, Style string
	Notice               string // "": none
	Who, Role            string // the visitor; "" without a session
	Logout               string // token of the form that ends the session
	Now                  webpage.Moment
	Refresh, Script      bool
	Data                 any
}

// render answers with a page.
func (x *Inbox) render(w http.ResponseWriter, status int, name string, f frame) {
	now := x.cfg.Now()
	f.Mostro, f.Style, f.Notice = x.cfg.Name, webpage.StylePath(), x.cfg.Notice
	f.Now = webpage.Moment{RFC: now.UTC().Format(time.RFC3339), Text: now.UTC().Format("2 January 2006, 15:04:05") + " UTC"}
	var body bytes.Buffer
	if err := x.templates.ExecuteTemplate(&body, name, f); err != nil {
		x.cfg.Logger.Error("a page of the dispute inbox failed", "page", name, "error", err)
		http.Error(w, "The page could not be made. The log of the program has the reason.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(body.Bytes()) // a write error means that the client is gone
}

// refuse answers with the page of an error.
func (x *Inbox) refuse(w http.ResponseWriter, v visitor, err error) {
	p := problemOf(err)
	if p == nil {
		x.cfg.Logger.Error("a request to the dispute inbox failed", "error", err)
		p = &problem{http.StatusServiceUnavailable, "The escrow does not work", "Nothing was decided. The operator finds the reason in the log of the program."}
	}
	x.render(w, p.status, "problem", x.frame(v, p.title, struct{ Title, Text string }{p.title, p.text}))
}

func (x *Inbox) frame(v visitor, title string, data any) frame {
	f := frame{Title: title, Data: data}
	if v.session != nil {
		f.Who, f.Role, f.Logout = short(v.key), roleText(v.role), v.session.token("logout")
	}
	return f
}

func roleText(r trade.Role) string {
	switch r {
	case trade.RoleNode:
		return "operator: takes and decides every dispute"
	case trade.RoleWrite:
		return "solver: takes and decides"
	}
	return "solver: reads and takes, decides nothing"
}

// enter returns the visitor of a request, or a problem.
func (x *Inbox) enter(r *http.Request) (v visitor, err error) {
	cookie, err := r.Cookie(cookieName)
	if err == nil {
		v.session = x.sessions.find(cookie.Value)
	}
	if v.session == nil {
		return visitor{}, errLogin
	}
	v.key = v.session.key
	if v.role, err = x.cfg.Escrow.RoleOf(r.Context(), v.key); err != nil {
		return visitor{}, err
	}
	if v.role == "" {
		x.sessions.end(cookie.Value)
		return visitor{}, &problem{http.StatusForbidden, "Not a solver", "This key is no solver of this Mostro, or not any more. The operator adds one with 'mostrodex solver add KEY'."}
	}
	return v, nil
}

// errLogin reports a request without a session.
var errLogin = &problem{http.StatusUnauthorized, "Log in first", "The session has ended, or there was none."}

// errBusy reports a key that has too many requests.
var errBusy = &problem{http.StatusTooManyRequests, "Too many requests at a time", "Earlier requests of this key are being answered. Nothing was decided. Load the page again in a moment."}

// page returns the handler of a page or a form for visitors with a session.
func (x *Inbox) page(show func(http.ResponseWriter, *http.Request, visitor) error) http.HandlerFunc {
	return x.guarded(func(w http.ResponseWriter, r *http.Request) {
		v, err := x.enter(r)
		if errors.Is(err, errLogin) && r.Method != http.MethodPost {
			http.Redirect(w, r, Path+"/login", http.StatusSeeOther)
			return
		}
		if err == nil {
			if leave := x.sessions.visit(v.key); leave != nil {
				defer leave()
				err = show(w, r, v)
			} else {
				err = errBusy
			}
		}
		if err != nil {
			x.refuse(w, v, err)
		}
	})
}

// guarded sets the headers and the time limit of a request, and refuses a form that comes from
// another origin, or from a program without one. The listener has checked the host.
func (x *Inbox) guarded(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		x.headers(w)
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		r = r.WithContext(ctx)
		if r.Method != http.MethodPost {
			h(w, r)
			return
		}
		if err := x.checkForm(w, r); err != nil {
			x.refuse(w, visitor{}, err)
			return
		}
		h(w, r)
	}
}

// checkForm parses a form after the check of its origin.
func (x *Inbox) checkForm(w http.ResponseWriter, r *http.Request) error {
	scheme, host, _ := strings.Cut(r.Header.Get("Origin"), "://")
	site := r.Header.Get("Sec-Fetch-Site")
	if scheme != "http" && scheme != "https" || host != r.Host || site != "" && site != "same-origin" {
		return &problem{http.StatusForbidden, "Refused", "A form must come from a page of this inbox. Nothing was decided. Programs use the command line: see 'mostrodex dispute --help'."}
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return &problem{http.StatusRequestEntityTooLarge, "The text is too long", "A reason has at most 500 bytes. Nothing was decided."}
		}
		return &problem{http.StatusBadRequest, "Not understood", "The form cannot be read. Nothing was decided."}
	}
	return nil
}

const (
	kindHTTPAuth = 27235 // NIP-98
	// loginSkew is the largest distance between the date of a signature and the clock.
	loginSkew = 2 * time.Minute
)

// Invite returns the path of a link that logs the operator in, under the node's own key. The
// link can be used once, within five minutes. Only a caller that has proved to be the operator
// may be told the path.
func (x *Inbox) Invite() string {
	return Path + "/login?" + url.Values{"link": {x.sessions.link()}}.Encode()
}

// loginData is the data of the page for the login.
type loginData struct {
	Link      string // token of a link of the operator; "" without one
	Challenge string
	URL       string // that a signature has to name
	Unsigned  string // event to be signed, JSON
}

// loginPage shows how to log in. Opening a link is not a login yet: a program that looks
// at links ahead of the person would use it up.
func (x *Inbox) loginPage(w http.ResponseWriter, r *http.Request) {
	x.headers(w)
	d := loginData{Link: r.URL.Query().Get("link")}
	f := frame{Title: "Log in", Data: &d}
	if d.Link == "" {
		scheme := "http"
		if r.Header.Get("X-Forwarded-Proto") == "https" {
			scheme = "https"
		}
		d.Challenge, d.URL = x.sessions.challenge(), scheme+"://"+r.Host+Path+"/login"
		unsigned, err := json.Marshal(map[string]any{"kind": kindHTTPAuth, "created_at": x.cfg.Now().Unix(), "content": "",
			"tags": [][]string{{"u", d.URL}, {"method", http.MethodPost}, {"challenge", d.Challenge}}})
		if err != nil {
			x.refuse(w, visitor{}, err)
			return
		}
		d.Unsigned = string(unsigned)
		f.Script = true
		w.Header().Set("Content-Security-Policy", policy+"; script-src 'self'")
	}
	x.render(w, http.StatusOK, "login", f)
}

// login begins a session by a link of the operator, or by the signature of a solver.
func (x *Inbox) login(w http.ResponseWriter, r *http.Request) {
	key, err := x.loginKey(r)
	if err != nil {
		x.refuse(w, visitor{}, err)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: x.sessions.begin(key), Path: Path, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.Header.Get("X-Forwarded-Proto") == "https"})
	x.cfg.Logger.Info("a person has logged in to the dispute inbox", "key", key)
	http.Redirect(w, r, Path, http.StatusSeeOther)
}

func noLogin(text string) error {
	return &problem{http.StatusForbidden, "The login has failed", text}
}

// loginKey returns the key that a login has proved, and that has a role here.
func (x *Inbox) loginKey(r *http.Request) (string, error) {
	if link := r.PostForm.Get("link"); link != "" {
		if x.sessions.redeem(link) {
			return x.cfg.Keys.Pubkey(), nil
		}
		return "", noLogin("This link was used, or is older than five minutes. Make another one with 'mostrodex dispute inbox'.")
	}
	evt, err := x.signedLogin(r)
	if err != nil {
		return "", err
	}
	role, err := x.cfg.Escrow.RoleOf(r.Context(), evt.PubKey)
	if err != nil {
		return "", err
	}
	if role == "" {
		return "", &problem{http.StatusForbidden, "Not a solver", "The signature is right, and its key is no solver of this Mostro. The operator adds one with 'mostrodex solver add KEY'."}
	}
	// The challenge is used up last, so a stranger's signature leaves nothing in memory.
	switch err := x.sessions.answer(tagOf(evt, "challenge"), evt.PubKey); {
	case errors.Is(err, errLogins):
		return "", &problem{http.StatusTooManyRequests, "Too many logins", "This key has logged in " + strconv.Itoa(maxLogins) + " times in five minutes. Try again in five minutes."}
	case err != nil:
		return "", noLogin("The challenge in the event was used, or is older than five minutes. Load the page again.")
	}
	return evt.PubKey, nil
}

// signedLogin returns the event of a login by signature, after the checks of NIP-98.
func (x *Inbox) signedLogin(r *http.Request) (*nostr.Event, error) {
	evt := &nostr.Event{}
	if err := json.Unmarshal([]byte(r.PostForm.Get("event")), evt); err != nil {
		return nil, noLogin("The signed event is not JSON.")
	}
	if evt.Kind != kindHTTPAuth || envelope.CheckEvent(evt) != nil {
		return nil, noLogin("The event is not of kind 27235, or its signature is wrong.")
	}
	if skew := x.cfg.Now().Unix() - int64(evt.CreatedAt); skew > int64(loginSkew/time.Second) || -skew > int64(loginSkew/time.Second) {
		return nil, noLogin("The date of the signature differs by " + strconv.FormatInt(skew, 10) + " s from the clock of this Mostro. Load the page again, and sign within two minutes.")
	}
	u, err := url.Parse(tagOf(evt, "u"))
	if err != nil || u.Host != r.Host || u.Path != Path+"/login" || tagOf(evt, "method") != http.MethodPost {
		return nil, noLogin("The event was signed for another page.")
	}
	return evt, nil
}

// tagOf returns the value of a tag that occurs once, or "".
func tagOf(evt *nostr.Event, name string) (value string) {
	n := 0
	for _, tag := range evt.Tags {
		if len(tag) > 1 && tag[0] == name {
			value = tag[1]
			n++
		}
	}
	if n != 1 {
		return ""
	}
	return value
}

func (x *Inbox) logout(w http.ResponseWriter, r *http.Request, v visitor) error {
	if !v.session.holds(r.PostForm.Get("token"), "logout") {
		return errToken
	}
	if cookie, err := r.Cookie(cookieName); err == nil {
		x.sessions.end(cookie.Value)
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: Path, MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	http.Redirect(w, r, Path+"/login", http.StatusSeeOther)
	return nil
}

// errToken reports a form without the token of this session and page.
var errToken = &problem{http.StatusForbidden, "Refused", "The form is not of this session. Nothing was decided. Load the page again."}
