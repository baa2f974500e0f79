package main

import (
	"net/http"
	"strings"
	"testing"
)

// TestOnionAddress: a relay.onion that is no onion address is refused, because the header would
// lead the visitors of Tor Browser elsewhere.
func TestOnionAddress(t *testing.T) {
	name := strings.Repeat("a", 56) + ".onion"
	for onion, good := range map[string]bool{
		"http://" + name: true, "https://" + name: true, "http://" + name + "/": true, "http://www." + name: true, "http://" + name + ":8080": true,
		"http://example.org": false, "http://short.onion": false, name: false, "ftp://" + name: false, "http://" + name + "/page": false, "http://user@" + name: false,
		"http://" + name + "?q": false, "http://example.org/" + name: false, "http://" + strings.ToUpper(name[:56]) + ".onion": false,
		"http://" + strings.Repeat("a", 56) + ".onion.example.org": false, "http://a b" + name: false,
	} {
		if err := checkOnion(onion); (err == nil) != good {
			t.Errorf("%q: %v", onion, err)
		}
	}
}

// TestPagesOfTheProgram asks the running program for each page of the route table that takes no
// parameter.
func TestPagesOfTheProgram(t *testing.T) {
	onion := "http://" + strings.Repeat("b", 56) + ".onion"
	m := mustRunConfig(t, t.TempDir(), func(c *Config) { c.Relay.Onion, c.Relay.URL = onion, "wss://relay.example.org" })
	ready(t, m)
	for _, path := range []string{"/", "/market", "/instances", "/disputes", "/relays", "/downloads", "/api", "/robots.txt", "/sitemap.xml", "/favicon.ico"} {
		code, h, body := getBody(t, "http://"+m.Addr()+path)
		if code != http.StatusOK || len(body) < 100 {
			t.Errorf("%s: %d, %d bytes", path, code, len(body))
		}
		if strings.HasPrefix(h.Get("Content-Type"), "text/html") {
			if got := h.Get("Onion-Location"); got != onion+path {
				t.Errorf("%s: Onion-Location %q", path, got)
			}
			for _, want := range []string{`<meta property="og:url" content="https://relay.example.org` + path + `">`, `<meta property="og:image" content="https://relay.example.org/assets/share-`, `<meta name="description" content="`} {
				if !strings.Contains(body, want) {
					t.Errorf("%s has no %s", path, want)
				}
			}
		}
	}
	_, _, robots := getBody(t, "http://"+m.Addr()+"/robots.txt")
	_, _, sitemap := getBody(t, "http://"+m.Addr()+"/sitemap.xml")
	if !strings.Contains(robots, "Sitemap: https://relay.example.org/sitemap.xml\n") || !strings.Contains(sitemap, "<loc>https://relay.example.org/disputes</loc>") {
		t.Errorf("robots.txt:\n%s\nsitemap.xml:\n%s", robots, sitemap)
	}
	_, _, api := getBody(t, "http://"+m.Addr()+"/api")
	for _, path := range m.routes.Paths("/api/v1/") {
		if !strings.Contains(api, "<code>"+strings.ReplaceAll(path, "...}", "}")+"</code>") {
			t.Errorf("the page of the API has no %s", path)
		}
	}
}
