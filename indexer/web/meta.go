package web

import (
	"crypto/sha256"
	_ "embed" // the pictures of the site
	"encoding/hex"
	"encoding/xml"
	"net/http"
	"net/url"
	"strings"

	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/mostrodex/mostrodex/internal/lang"
	"github.com/mostrodex/mostrodex/internal/route"
)

// The pictures of the site: the icon of a browser's tab, and the picture of a link that is shared
// in a messenger (1200 by 630 pixels).
var (
	//go:embed icon.svg
	iconSVG []byte
	//go:embed icon.png
	iconPNG []byte
	//go:embed share.png
	sharePNG []byte
)

// asset is a file that the program serves. Its path has a hash of its content, so clients may
// cache the file without limit.
type asset struct {
	path, media string
	content     []byte
}

func newAsset(name, media string, content []byte) asset {
	sum := sha256.Sum256(content)
	base, ending, _ := strings.Cut(name, ".")
	return asset{"/assets/" + base + "-" + hex.EncodeToString(sum[:6]) + "." + ending, media, content}
}

func (a asset) route() route.Route {
	return route.Route{Method: http.MethodGet, Path: a.path, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		a.serve(w, r)
	})}
}

func (a asset) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", a.media)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cross-Origin-Resource-Policy", "cross-origin") // messengers and other pages show the pictures
	if r.Method != http.MethodHead {
		w.Write(a.content) // a write error means that the client is gone
	}
}

var (
	icon  = newAsset("icon.svg", "image/svg+xml; charset=utf-8", iconSVG)
	icon2 = newAsset("icon.png", "image/png", iconPNG)
	share = newAsset("share.png", "image/png", sharePNG)
)

// crawled makes what programs read: pictures, robots.txt and the map of the site.
type crawled struct{ marketPages }

func (x crawled) routes() []route.Route {
	return []route.Route{
		icon.route(), icon2.route(), share.route(),
		{Method: http.MethodGet, Path: "/favicon.ico", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "public, max-age=86400")
			icon2.serve(w, r)
		})},
		{Method: http.MethodGet, Path: "/robots.txt", Name: "robots", Summary: "paths for search engines, and the address of the site map", Handler: http.HandlerFunc(x.serveRobots)},
		{Method: http.MethodGet, Path: "/sitemap.xml", Name: "sitemap", Summary: "map of the site: pages, markets and instances", Media: "application/xml", Handler: http.HandlerFunc(x.serveSitemap)},
	}
}

// serveRobots answers GET /robots.txt. Searches and single orders are left out, because there are
// more of these than of any other page.
func (x crawled) serveRobots(w http.ResponseWriter, r *http.Request) {
	text := "User-agent: *\nDisallow: /api/\nDisallow: /orders/\nDisallow: /*/orders/\nDisallow: /card/\nDisallow: /*/card/\nDisallow: /*?\nAllow: /\n"
	if base := x.base(r); base != "" {
		text += "\nSitemap: " + base + "/sitemap.xml\n"
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=3600")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Write([]byte(text)) // a write error means that the client is gone
}

// maxMapped bounds the instances and the markets of the site map.
const maxMapped = 2000

func (x crawled) serveSitemap(w http.ResponseWriter, r *http.Request) {
	base := x.base(r)
	if base == "" {
		refuse(http.StatusBadRequest, "The header Host of this request names no host.").write(w)
		return
	}
	paths := []string{"/", "/market", "/instances", "/disputes", "/relays", "/downloads", "/api"}
	if x.summaries != nil {
		paths = append(paths, "/choose", "/method")
	}
	v, _, err := x.minuteOf(r.Context(), "/market", func(c *stats.Collector, q stats.Query) (any, error) { return x.figures.marketsOf(r, c, q) })
	if err == nil { // else the figures are not ready, and the other pages are listed alone
		for _, m := range v.(*marketList).Items[:min(len(v.(*marketList).Items), maxMapped)] {
			paths = append(paths, "/market/"+url.PathEscape(m.Fiat))
		}
	}
	infos := x.index.Infos()
	for _, info := range infos[:min(len(infos), maxMapped)] {
		paths = append(paths, "/instances/"+info.Pubkey)
	}
	type entry struct {
		Loc string `xml:"loc"`
	}
	set := struct {
		XMLName xml.Name `xml:"http://www.sitemaps.org/schemas/sitemap/0.9 urlset"`
		URLs    []entry  `xml:"url"`
	}{}
	for _, p := range paths {
		for _, l := range append([]*lang.Lang{lang.Default}, lang.All...) {
			if l != lang.English { // its pages are those without a language
				set.URLs = append(set.URLs, entry{base + l.Link(p)})
			}
		}
	}
	body, err := xml.Marshal(set)
	if err != nil {
		problemOf(err).write(w)
		return
	}
	body = append([]byte(xml.Header), body...)
	w.Header().Set("Content-Type", "application/xml; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	serveTagged(w, r, body, tagOf(body))
}

// origin is the address of the site.
type origin struct {
	url   string // public address without a path; "": that of each request
	onion string // address in the Tor network without a path; "": none
}

// base returns the address under which the visitor reaches this program, "" if it is unknown.
func (x origin) base(r *http.Request) string {
	if x.url != "" {
		return x.url
	}
	if !plainHost.MatchString(r.Host) {
		return ""
	}
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// setOnion names the page's address in the Tor network to Tor Browser, if the operator has one.
func (x origin) setOnion(h http.Header, r *http.Request) {
	if x.onion == "" || strings.HasSuffix(strings.ToLower(hostOf(r.Host)), ".onion") {
		return
	}
	h.Set("Onion-Location", x.onion+lang.Of(r).Link(r.URL.EscapedPath())+queryText(r.URL))
}

func hostOf(host string) string {
	name, _, _ := strings.Cut(host, ":")
	return name
}

// queryText returns the query of an address in a form that is safe in a header.
func queryText(u *url.URL) string {
	if u.RawQuery == "" {
		return ""
	}
	return "?" + u.Query().Encode()
}
