package disputes

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/nbd-wtf/go-nostr"
)

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

// loginPage shows how to log in. Opening a link logs nobody in by itself: a program that looks
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
