package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/nbd-wtf/go-nostr"
)

// visitor simulates a browser's signer and a user who fills in the form, first wrongly and
// then correctly. The messages of the page are posted to /said.
const visitor = `"use strict";
const told = (text) => fetch("/said", {method: "POST", body: text});
window.nostr = {
	getPublicKey: async () => PUBKEY,
	signEvent: async (evt) => (await fetch("/sign", {method: "POST", body: JSON.stringify(evt)})).json(),
};
const until = async (cond) => { while (!cond()) await new Promise((r) => setTimeout(r, 20)); };
addEventListener("load", async () => {
	const form = document.getElementById("rateform"), state = document.getElementById("ratestate");
	const button = form.querySelector("button");
	await until(() => !button.disabled);
	form.elements.stars.value = "4";
	form.elements.order.value = ORDER;
	form.elements.role.value = "buyer";
	form.elements.text.value = "Quick <b>and</b> fair";
	form.elements.receipt.value = "{nonsense";
	form.requestSubmit();
	await until(() => state.className === "failed");
	await told(state.textContent);
	form.elements.receipt.value = TOKEN;
	form.requestSubmit();
	await until(() => state.className === "done" || state.className === "failed" && !state.textContent.includes("JSON"));
	await told(state.textContent);
});
`

// TestVisitorRatesWithABrowserSigner runs the page's script in a browser, under the page's
// own policy, until the rating counts.
func TestVisitorRatesWithABrowserSigner(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("there is no chromium on this machine")
	}
	if testing.Short() {
		t.Skip("this test starts a browser")
	}
	f := newFair(t, nil)
	alfa, trader := f.nodes["alfa"].Pubkey(), testKeys(t, "visitor")
	token, err := receipt.SignToken(f.nodes["alfa"], trader.Pubkey(), fairOrderID(1), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	quote := func(s string) string { return strconv.Quote(s) }
	script := strings.NewReplacer("PUBKEY", quote(trader.Pubkey()), "ORDER", quote(fairOrderID(1)), "TOKEN", quote(token)).Replace(visitor)
	said := make(chan string, 8) // larger than the number of messages of the page

	backend, err := url.Parse("http://" + f.m.Addr())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(backend)
	proxy.ModifyResponse = func(r *http.Response) error {
		if !strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") {
			return nil
		}
		page, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		page = bytes.Replace(page, []byte("</head>"), []byte(`<script src="/visitor.js"></script></head>`), 1)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(page)), int64(len(page))
		r.Header.Set("Content-Length", strconv.Itoa(len(page)))
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Accept-Encoding") // the proxy changes the page
		proxy.ServeHTTP(w, r)
	})
	mux.HandleFunc("/visitor.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		io.WriteString(w, script)
	})
	mux.HandleFunc("/said", func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		said <- string(text)
	})
	mux.HandleFunc("/sign", func(w http.ResponseWriter, r *http.Request) {
		var evt nostr.Event
		if err := json.NewDecoder(r.Body).Decode(&evt); err != nil {
			t.Errorf("the event that the page signed: %v", err)
		}
		json.NewEncoder(w).Encode(signAs(t, trader, evt))
	})
	front := httptest.NewServer(mux)
	defer front.Close()

	cmd := exec.Command(browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-port=0", "--user-data-dir="+t.TempDir(), front.URL+"/instances/"+alfa)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	for _, want := range []string{"The receipt is neither JSON nor a token", "Published."} {
		select {
		case got := <-said:
			if !strings.HasPrefix(got, want) {
				t.Fatalf("the message of the page is %q, want %q", got, want)
			}
		case <-time.After(90 * time.Second):
			t.Fatalf("the page did not show %q within 90 s", want)
		}
	}
	var list struct {
		Items []struct {
			Rater, Text, Receipt, Role string
			Stars                      float64
			Counted                    bool
		}
	}
	eventually(t, "the rating counts", func() bool {
		getJSON(t, "http://"+f.m.Addr()+"/api/v1/instances/"+alfa+"/ratings?limit=1", &list)
		return len(list.Items) == 1 && list.Items[0].Rater == trader.Pubkey()
	})
	if r := list.Items[0]; r.Stars != 4 || r.Text != "Quick <b>and</b> fair" || r.Receipt != "r1" || r.Role != "buyer" || !r.Counted {
		t.Errorf("the rating is %+v", r)
	}
}
