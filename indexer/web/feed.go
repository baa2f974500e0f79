package web

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/internal/route"
)

// maxFeed bounds the entries of a feed.
const maxFeed = 100

// feedRoute returns the row of the Atom feed of a filter (RFC 4287).
func (x *Site) feedRoute() route.Route {
	return route.Route{Method: http.MethodGet, Path: "/api/v1/orders.atom", Name: "feed", Media: "application/atom+xml", Params: orderParams("sort", "cursor", "at"),
		Summary: "Atom feed of the newest orders that fit; the parameters of /api/v1/orders, limit at most 100", Handler: http.HandlerFunc(x.serveFeed)}
}

type atomFeed struct {
	XMLName xml.Name    `xml:"http://www.w3.org/2005/Atom feed"`
	ID      string      `xml:"id"`
	Title   string      `xml:"title"`
	Updated string      `xml:"updated"`
	Author  atomAuthor  `xml:"author"`
	Links   []atomLink  `xml:"link"`
	Entries []atomEntry `xml:"entry"`
}

type atomAuthor struct {
	Name string `xml:"name"`
}

type atomLink struct {
	Rel  string `xml:"rel,attr"`
	Type string `xml:"type,attr,omitempty"`
	Href string `xml:"href,attr"`
}

type atomEntry struct {
	ID        string     `xml:"id"`
	Title     string     `xml:"title"`
	Updated   string     `xml:"updated"`
	Published string     `xml:"published"`
	Author    atomAuthor `xml:"author"`
	Links     []atomLink `xml:"link"`
	Summary   string     `xml:"summary"` // plain text: readers show it as it is
}

// serveFeed answers GET /api/v1/orders.atom. All texts of events are plain text in XML, which
// the encoder escapes; characters that XML does not allow are replaced.
func (x *Site) serveFeed(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Expose-Headers", "ETag")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	body, err := x.feed(r)
	if err != nil {
		p := problemOf(err)
		if p.Status == http.StatusInternalServerError {
			x.log.Error("request failed", "route", "feed", "error", err)
		}
		p.answer(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/atom+xml; charset=utf-8")
	serveTagged(w, r, body, tagOf(body))
}

func (x *Site) feed(r *http.Request) ([]byte, error) {
	values := r.URL.Query()
	for _, name := range []string{"sort", "cursor", "at"} {
		if values.Has(name) {
			return nil, &orders.QueryError{Param: name, Reason: "a feed has no such parameter: it lists the newest orders"}
		}
	}
	q, err := orders.ParseQuery(values)
	if err != nil {
		return nil, err
	}
	if q.Sort = orders.SortNewest; q.Limit > maxFeed {
		return nil, &orders.QueryError{Param: "limit", Reason: fmt.Sprintf("a feed has at most %d entries", maxFeed)}
	}
	a, err := x.views.find(r.Context(), q)
	if err != nil {
		return nil, err
	}
	self := baseOf(r) + r.URL.RequestURI()
	feed := atomFeed{ID: self, Title: "Orders", Author: atomAuthor{"mostrodex"}, Updated: rfc(time.Unix(0, 0)),
		Links: []atomLink{{Rel: "self", Type: "application/atom+xml", Href: self}, {Rel: "alternate", Type: "text/html", Href: baseOf(r) + "/?" + values.Encode()}}}
	if q := values.Encode(); q != "" {
		feed.Title = "Orders: " + strings.ReplaceAll(q, "&", ", ")
	}
	for i, o := range a.Orders {
		v := x.views.orderView(o, wantedAmount(&q))
		updated := rfc(o.Order.CreatedAt.Time())
		if i == 0 {
			feed.Updated = updated
		}
		path := orderPath(v.Pubkey, v.D)
		feed.Entries = append(feed.Entries, atomEntry{
			ID: "nostr:" + v.EventID, Title: feedTitle(&v), Updated: updated, Published: rfc(o.FirstSeenAt), Author: atomAuthor{firstText(v.Instance.Name, v.Pubkey)},
			Links:   []atomLink{{Rel: "alternate", Type: "text/html", Href: baseOf(r) + "/orders/" + path}, {Rel: "related", Type: "application/json", Href: baseOf(r) + "/api/v1/orders/" + path}},
			Summary: feedSummary(&v),
		})
	}
	body, err := xml.MarshalIndent(feed, "", " ")
	return append([]byte(xml.Header), append(body, '\n')...), err
}

// baseOf returns the origin of a request. A Host header that is not safe to copy is left out.
func baseOf(r *http.Request) string {
	if !plainHost.MatchString(r.Host) {
		return ""
	}
	scheme := "http"
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return (&url.URL{Scheme: scheme, Host: r.Host}).String()
}

func firstText(s *string, otherwise string) string {
	if s != nil {
		return *s
	}
	return otherwise
}

func feedTitle(v *orderView) string {
	does := map[string]string{"buy": "Buys", "sell": "Sells"}[firstText(v.Side, "")]
	if does == "" {
		does = "Trades"
	}
	amount := "any amount"
	if a := v.FiatAmount; a != nil {
		if amount = firstText(a.Max, "?"); a.Min != nil && *a.Min != amount {
			amount = *a.Min + " to " + amount
		}
	}
	title := does + " bitcoin for " + amount + " " + firstText(v.Fiat, "?")
	if v.PremiumPct != nil {
		title += ", premium " + *v.PremiumPct + " %"
	}
	return title
}

func feedSummary(v *orderView) string {
	lines := []string{"Status: " + firstText(v.Status, "unknown"), "Payment: " + strings.Join(v.Methods, ", "), "Platform: " + firstText(v.Platform, "unknown")}
	if p := v.Price; p != nil && p.Sats != nil {
		lines = append(lines, fmt.Sprintf("%s %s are %d sats after premium and fee", *p.FiatAmount, firstText(v.Fiat, ""), *p.Sats))
	}
	if v.Description != nil {
		lines = append(lines, *v.Description)
	}
	return strings.Join(lines, "\n")
}
