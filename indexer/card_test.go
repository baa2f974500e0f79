package indexer

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
)

// TestCard: a page of every origin may show the card, whose style is the one that its policy
// names, and whose texts of strangers are inert.
func TestCard(t *testing.T) {
	RanksForTest = func(pubkey string) (mostro.ReputationSummary, bool) {
		return mostro.ReputationSummary{Rank: 61, Lo: 61.4, Hi: 70.2}, pubkey == pubkeyOf(1)
	}
	defer func() { RanksForTest = nil }()
	o := smallMarket(t, nil)
	o.log.add(infoEvent(3, t0-500, "</style><script>alert(1)</script>\u202E"+strings.Repeat("x", 5000)), o.clock.now(), mostro.OriginLive, false)
	o.catchUp(t)
	h := o.Handler()
	w := fetch(t, h, "/card/"+pubkeyOf(1))
	body := w.Body.String()
	if w.Code != http.StatusOK || !strings.Contains(body, "<b>61</b>") || !strings.Contains(body, "between 61 and 71") || !strings.Contains(body, `target="_blank" rel="noopener noreferrer"`) {
		t.Errorf("%d %s", w.Code, body)
	}
	policy, style := w.Header().Get("Content-Security-Policy"), regexp.MustCompile(`<style>([^<]*)</style>`).FindStringSubmatch(body)
	if style == nil {
		t.Fatalf("no style in %s", body)
	}
	sum := sha256.Sum256([]byte(style[1]))
	if !strings.Contains(policy, "style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") || !strings.Contains(policy, "frame-ancestors *") || strings.Contains(policy, "script-src") {
		t.Errorf("the policy is %q", policy)
	}
	if again := fetch(t, h, "/card/"+pubkeyOf(1), "If-None-Match", w.Header().Get("ETag")); again.Code != http.StatusNotModified {
		t.Errorf("the same card again: %d", again.Code)
	}
	for path, want := range map[string]struct {
		code int
		text string
	}{
		"/card/" + pubkeyOf(2):             {http.StatusOK, "no rank"},
		"/card/" + pubkeyOf(9):             {http.StatusNotFound, "No Mostro with this key is known here."},
		"/card/hello":                      {http.StatusBadRequest, "no public key"},
		"/card/" + strings.Repeat("f", 65): {http.StatusBadRequest, "no public key"},
		"/card/%3Cscript%3E":               {http.StatusBadRequest, "no public key"},
	} {
		w := fetch(t, h, path)
		if w.Code != want.code || !strings.Contains(html.UnescapeString(w.Body.String()), want.text) || strings.Contains(w.Body.String(), "<script") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := fetch(t, h, "/card/"+pubkeyOf(3)); w.Code != http.StatusOK || strings.Contains(w.Body.String(), "<script") || strings.Count(w.Body.String(), "</style>") != 1 {
		t.Errorf("a hostile name: %d %s", w.Code, w.Body)
	}
	// No other page may be shown in a frame.
	if csp := fetch(t, h, "/market").Header().Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("the policy of a page is %q", csp)
	}
}
