package web

import (
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/mostrodex/mostrodex/indexer/alerts"
	"github.com/mostrodex/mostrodex/internal/clip"
	"github.com/mostrodex/mostrodex/internal/route"
)

// savedAlerts answers the routes of saved alerts.
type savedAlerts struct {
	*Site
	saved *alerts.Service
	prove func(r *http.Request, body []byte) (pubkey string, err error)
}

// Alerts returns the rows of saved alerts for a site. prove returns the key that signed a request
// (NIP-98).
func Alerts(x *Site, saved *alerts.Service, prove func(*http.Request, []byte) (string, error)) []route.Route {
	a := savedAlerts{x, saved, prove}
	row := func(method, path, name, summary string, answer any, get func(r *http.Request, pubkey string, body []byte) (any, error)) route.Route {
		return route.Route{Method: method, Path: path, Name: name, Summary: summary, Answer: answer, Handler: a.signed(name, get)}
	}
	post := row(http.MethodPost, "/api/v1/alerts", "save_alert", "save an alert; NIP-98, with the hash of the body", alertView{}, a.post)
	post.Body = alerts.Request{}
	remove := row(http.MethodDelete, "/api/v1/alerts/{id}", "delete_alert", "delete an alert of the signing key; NIP-98", alertDeleted{}, a.delete)
	remove.Params = []route.Param{{Name: "id", InPath: true, Doc: "id of the alert"}}
	return []route.Route{post, row(http.MethodGet, "/api/v1/alerts", "alerts", "the alerts of the signing key; NIP-98", alertList{}, a.list), remove}
}

// alertView is the JSON of an alert, which only its owner receives.
type alertView struct {
	ID           string  `json:"id"`
	Filter       string  `json:"filter"`
	Message      bool    `json:"message" doc:"delivered by private message (NIP-17)"`
	Webhook      *string `json:"webhook" null:"none"`
	WebhookState *string `json:"webhook_state" doc:"unconfirmed, active or off" null:"no webhook"`
	Secret       *string `json:"secret" doc:"key of the webhook's signatures" null:"no webhook"`
	CreatedAt    int64   `json:"created_at"`
	CreatedAtRFC string  `json:"created_at_rfc3339"`
	ExpiresAt    int64   `json:"expires_at" doc:"saving the same alert again begins its life again"`
	ExpiresAtRFC string  `json:"expires_at_rfc3339"`
}

type alertList struct {
	Items []alertView `json:"items"`
}

type alertDeleted struct {
	Deleted string `json:"deleted" doc:"id of the alert"`
}

func viewOfAlert(a *alerts.Alert) alertView {
	hook := textOrNull(a.Hook)
	return alertView{ID: a.ID, Filter: a.Filter, Message: a.Message, Webhook: textOrNull(a.Webhook), WebhookState: hook, Secret: textOrNull(a.Secret),
		CreatedAt: a.Created, CreatedAtRFC: rfc(time.Unix(a.Created, 0)), ExpiresAt: a.Expires, ExpiresAtRFC: rfc(time.Unix(a.Expires, 0))}
}

const maxAlertBody = 4 << 10

// signed answers a request that a key has signed. Pages of every origin may send such a
// request, because the proof names the method, the address and the body.
func (x savedAlerts) signed(name string, get func(r *http.Request, pubkey string, body []byte) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAlertBody))
		var value any
		if err != nil {
			err = refuse(http.StatusRequestEntityTooLarge, "The body is longer than 4 KiB, or ended early.")
		}
		if err == nil {
			var pubkey string
			if pubkey, err = x.prove(r, body); err != nil {
				h.Set("WWW-Authenticate", "Nostr")
				err = refuse(http.StatusUnauthorized, err.Error())
			} else {
				value, err = get(r, pubkey, body)
			}
		}
		if err != nil {
			p := problemOf(err)
			if p.Status == http.StatusInternalServerError {
				x.log.Error("request failed", "route", name, "error", err)
			}
			p.write(w)
			return
		}
		h.Set("Content-Type", "application/json; charset=utf-8")
		json.NewEncoder(w).Encode(value) //nolint:errcheck // a write error means that the client is gone
	})
}

func (x savedAlerts) post(r *http.Request, pubkey string, body []byte) (any, error) {
	var request alerts.Request
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	if err := d.Decode(&request); err != nil || d.More() {
		return nil, refuse(http.StatusBadRequest, `The body is not JSON such as {"filter":"fiat:VES side:sell"}, with message and webhook as further fields.`)
	}
	a, err := x.saved.Save(pubkey, networkOf(x.stream.address(r)), request)
	if err != nil {
		return nil, err
	}
	return viewOfAlert(&a), nil
}

// networkOf returns the network of an address that counts as one client: for IPv6 its /64.
func networkOf(address string) string {
	if a, err := netip.ParseAddr(address); err == nil && a.Is6() && !a.Is4In6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.String()
		}
	}
	return address
}

func (x savedAlerts) list(_ *http.Request, pubkey string, _ []byte) (any, error) {
	out := alertList{Items: []alertView{}}
	for _, a := range x.saved.List(pubkey) {
		out.Items = append(out.Items, viewOfAlert(&a))
	}
	return out, nil
}

func (x savedAlerts) delete(r *http.Request, pubkey string, _ []byte) (any, error) {
	id := strings.ToLower(r.PathValue("id"))
	if err := x.saved.Delete(pubkey, id); err != nil {
		return nil, err
	}
	return alertDeleted{id}, nil
}

// alertText returns an order as plain text for a private message. Texts of the publisher are
// short, in quotation marks and on one line, because the reader sees the relay's name beside
// the message. The description and the link are left out.
func alertText(v *orderView) string {
	quote := func(s string, n int) string { return `"` + oneLine(strings.ReplaceAll(s, `"`, "'"), n) + `"` }
	lines := []string{oneLine(feedTitle(v), 160)}
	if p := v.Price; p != nil && p.Sats != nil {
		lines = append(lines, *p.FiatAmount+" "+oneLine(firstText(v.Fiat, ""), 8)+" are "+strconv.FormatInt(*p.Sats, 10)+" sats after premium and fee")
	} else if v.AmountSats != nil && *v.AmountSats > 0 {
		lines = append(lines, strconv.FormatInt(*v.AmountSats, 10)+" sats")
	}
	lines = append(lines, "Payment: "+quote(strings.Join(v.Methods, ", "), 120))
	by := "Publisher: " + v.Pubkey
	if v.Instance.Name != nil {
		by += " " + quote(*v.Instance.Name, 40)
	}
	switch {
	case v.Instance.UsesNameOf != nil:
		by += " (uses the name of another key that was here first)"
	case v.Instance.Unknown:
		by += " (unknown: it has published no description of itself)"
	case v.Instance.New:
		by += " (new: first seen less than seven days ago)"
	}
	lines = append(lines, by, "Order: "+quote(v.D, 64))
	return strings.Join(lines, "\n")
}

// oneLine returns the beginning of a text, at most n bytes, with a space in the place of each
// character that ends a line or changes the direction of the text.
func oneLine(s string, n int) string {
	return clip.Text(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return ' '
		}
		return r
	}, s), n)
}
