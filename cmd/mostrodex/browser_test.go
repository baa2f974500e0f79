package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

var (
	allPages  = flag.Bool("pages.all", false, "show every page in all languages, widths and colour schemes, with and without scripts")
	pageShots = flag.String("pages.shots", "", "directory for pictures of the pages of TestPagesInBrowser")
)

// look is one way to see a page.
type look struct {
	language, scheme string
	width            int
	scripts          bool
}

func (l look) String() string {
	scripts := "scripts"
	if !l.scripts {
		scripts = "no-scripts"
	}
	return fmt.Sprintf("%s-%d-%s-%s", l.language, l.width, l.scheme, scripts)
}

// looks returns all ways to see a page.
func looks(languages []string) (all []look) {
	for _, language := range languages {
		for _, width := range []int{360, 768, 1280} {
			for _, scheme := range []string{"light", "dark"} {
				for _, scripts := range []bool{true, false} {
					all = append(all, look{language, scheme, width, scripts})
				}
			}
		}
	}
	return all
}

// TestPagesInBrowser shows the pages of a demo with a market in a real browser. No page scrolls
// sideways, breaks its own policy, or has a violation of accessibility that axe-core finds. With
// -pages.all each page is shown in each way; else each page is shown in a few ways in turn. Without
// make interop-clients-prepare there is no axe-core, and accessibility is not checked.
func TestPagesInBrowser(t *testing.T) {
	b := testkit.NewBrowser(t)
	axe := ""
	if dir := os.Getenv("MOSTRODEX_INTEROP_CLIENTS"); dir != "" {
		raw, err := os.ReadFile(filepath.Join(dir, "node_modules", "axe-core", "axe.min.js"))
		if err != nil {
			t.Fatal(err)
		}
		axe = string(raw)
	} else {
		t.Log("SKIPPED: accessibility, because MOSTRODEX_INTEROP_CLIENTS names no directory with axe-core")
	}
	m := openDemo(t, t.TempDir(), 40, 1)
	stop := startMainUntil(t, m)
	defer stop()
	waitServing(t, m)
	b.Before(`window.refusedByPolicy = [];
document.addEventListener("securitypolicyviolation", (e) => window.refusedByPolicy.push(e.violatedDirective + " " + e.blockedURI));`)

	languages := languagesOf(t, m)
	every := looks(languages)
	began, shown := time.Now(), 0
	for n, page := range htmlPages(t, m) {
		ways := every
		if !*allPages { // a small one with scripts, and another one
			ways = []look{{languages[n%len(languages)], []string{"light", "dark"}[n%2], 360, true}, every[(7*n+3)%len(every)]}
		}
		for _, l := range ways {
			url := page
			if strings.HasPrefix(page, "http://"+m.Addr()+"/") && l.language != "en" {
				url = "http://" + m.Addr() + "/" + l.language + strings.TrimPrefix(page, "http://"+m.Addr())
			}
			b.Size(l.width, 800)
			b.Emulate(l.scheme, l.scripts)
			b.Open(url)
			shown++
			if over := b.Eval(`document.documentElement.scrollWidth - document.documentElement.clientWidth`); over != "0" {
				t.Errorf("%s (%s) scrolls sideways by %s px; the widest elements: %s", url, l, over, b.Eval(`[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).slice(0, 4).map((e) => e.tagName + "." + e.className).join(", ")`))
			}
			if text := b.Eval(`document.body.innerText`); len(text) < 150 {
				t.Errorf("%s (%s) says only %q", url, l, text)
			}
			if *pageShots != "" {
				name := strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.TrimPrefix(page, "http://"), "-"), "-")
				b.Shot(filepath.Join(*pageShots, name[:min(len(name), 60)]+"-"+l.String()+".png"))
			}
			if !l.scripts {
				continue
			}
			if refused := b.Eval(`(window.refusedByPolicy || ["not watched"]).join(", ")`); refused != "" {
				t.Errorf("%s (%s) breaks its policy: %s", url, l, refused)
			}
			if axe == "" {
				continue
			}
			b.Eval(axe + ";0")
			if found := b.Eval(`axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations.map((v) => v.id + " (" + v.impact + "): " + v.nodes.slice(0, 3).map((n) => n.target.join(" ")).join(" | ")).join("; "))`); found != "" {
				t.Errorf("%s (%s) has violations of accessibility: %s", url, l, found)
			}
		}
	}
	t.Logf("%d views of pages in %s", shown, time.Since(began).Round(time.Second))
}

// languagesOf returns the languages of the explorer.
func languagesOf(t *testing.T, m *Main) []string {
	languages := []string{"en"}
	for _, language := range []string{"es", "pt"} {
		if code, _, body := getBody(t, "http://"+m.Addr()+"/"+language+"/"); code == http.StatusOK && strings.Contains(body, `lang="`+language) {
			languages = append(languages, language)
		}
	}
	return languages
}

// htmlPages returns the addresses of all pages of both listeners.
func htmlPages(t *testing.T, m *Main) (pages []string) {
	order := mustREQ(t, m, nostr.Filter{Kinds: []int{mostro.KindOrder}, Limit: 1})[0]
	good := m.Demo.Market.script.Hosts()["good"]
	fill := strings.NewReplacer("{$}", "", "{pubkey}", order.PubKey, "{id}", order.Tags.GetD(), "{d}", order.Tags.GetD(), "{fiat}", "VES", "{address}", "38383:"+order.PubKey+":"+order.Tags.GetD(), "{d...}", order.Tags.GetD(), "{file}", good+".svg", "{currency}", "VES")
	for _, r := range m.routes {
		if r.Method != http.MethodGet && r.Method != "" || r.Media == "text/event-stream" || strings.HasPrefix(r.Path, "/debug/") {
			continue
		}
		at := "http://" + m.Addr()
		if r.Listener == route.Private {
			at = "http://" + m.PrivateAddr()
		}
		path := fill.Replace(r.Path)
		if strings.Contains(path, "{") {
			continue
		}
		_, header, _ := getBody(t, at+path)
		if strings.HasPrefix(header.Get("Content-Type"), "text/html") && !slices.Contains(pages, at+path) {
			pages = append(pages, at+path)
		}
	}
	pages = append(pages, "http://"+m.Addr()+"/no/such/page", "http://"+m.Addr()+"/choose?fiat=VES&amount=500&side=buy", "http://"+m.Addr()+"/?fiat=VES&side=sell")
	if len(pages) < 8 {
		t.Errorf("only %d pages: %v", len(pages), pages)
	}
	return pages
}
