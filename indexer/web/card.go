package web

import (
	"crypto/sha256"
	_ "embed" // the style of the card
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/internal/lang"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/mostro"
)

// cards makes the card of an instance: a small page without scripts, which the pages of clients
// show in an iframe.
type cards struct{ *explorer }

//go:embed card.css
var cardStyle string

// cardPolicy allows every page to show the card, and the card to do nothing but open a link in a
// new window. The style stands in the card, and its hash here, because the origin of a page in a
// sandbox is not 'self'.
var cardPolicy = func() string {
	sum := sha256.Sum256([]byte(cardStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors *; sandbox allow-popups allow-popups-to-escape-sandbox"
}()

func (x cards) routes() []route.Route {
	return []route.Route{{Method: http.MethodGet, Path: "/card/{pubkey}", Name: "card", Media: "text/html",
		Summary: "one instance as a small page for an iframe, without scripts (HTML)", Handler: http.HandlerFunc(x.serve)}}
}

type cardData struct {
	frame
	Style              template.CSS // of the program, and safe
	Row                instanceRow
	Known, Down, IsOwn bool
	State              string
	Base, Pubkey       string
}

func (x cards) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", cardPolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin") // a page with COEP may show the card
	l := lang.Of(r)
	h.Set("Content-Language", l.Code)
	d, status := &cardData{frame: frame{Lang: l.Code, Notice: x.notice}, Style: template.CSS(cardStyle), Base: x.base(r)}, http.StatusOK
	pubkey, err := orders.ParsePubkey(r.PathValue("pubkey"))
	if err != nil {
		d.State, status = l.T("card.badkey"), http.StatusBadRequest
	} else if v, err := x.instance(r.Context(), pubkey, false); err == nil {
		d.Known, d.Row, d.Pubkey, d.IsOwn = true, x.instanceRowOf(l, v, x.index.Now()), pubkey, pubkey == x.own
		if v.Health != nil {
			d.State, d.Down = l.T("instances.health")+": "+l.T("health."+v.Health.Status), v.Health.Status != string(mostro.HealthOK)
		}
		if v.Maintenance != nil && *v.Maintenance {
			d.State, d.Down = l.T("card.maintenance"), true
		}
	} else if p := problemOf(err); p.Status == http.StatusNotFound || errors.Is(err, mostro.ErrNotFound) {
		d.State, d.Pubkey, status = l.T("card.unknown"), pubkey, http.StatusNotFound
	} else {
		d.State, status = l.T("card.later"), p.Status
		if status == http.StatusInternalServerError {
			x.log.Error("request failed", "route", "card", "error", err)
		}
	}
	body := takeBuffer()
	defer body.release()
	if err := x.pages[l].ExecuteTemplate(body, "card", d); err != nil {
		x.log.Error("page failed", "route", "card", "error", err)
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
		w.Write(body.Bytes()) // a write error means that the client is gone
	}
}
