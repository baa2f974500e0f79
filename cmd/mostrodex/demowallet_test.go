package main

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/demowallet"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// walletInBrowser drives the demo's wallet with a browser.
type walletInBrowser struct {
	*testkit.Browser
	base string
}

// await opens the page of a person until the newest trade has a state.
func (w walletInBrowser) await(t *testing.T, who, state string) {
	t.Helper()
	last := ""
	eventually(t, who+" sees: "+state, func() bool {
		w.Open(w.base + "/wallet/" + who)
		last = w.Eval(`document.querySelector(".statetext")?.innerText ?? document.body.innerText`)
		return strings.Contains(last, state)
	})
}

// press presses a button of the newest trade.
func (w walletInBrowser) press(t *testing.T, who, verb string) {
	t.Helper()
	w.Open(w.base + "/wallet/" + who)
	w.click(t, `button[data-verb="`+verb+`"]`)
}

// click clicks a button, and waits for the next page.
func (w walletInBrowser) click(t *testing.T, button string) {
	t.Helper()
	w.Eval(`document.documentElement.dataset.old = "yes"; document.querySelector('` + button + `').click()`)
	w.Until(`document.readyState === "complete" && document.body && !document.documentElement.dataset.old ? "next" : ""`, "next")
	if at := w.Eval(`document.title`); strings.HasPrefix(at, "Not done") {
		t.Fatalf("%s: %s", button, w.Eval(`document.body.innerText`))
	}
}

// order has Ana publish the order of the form, and Beto take it.
func (w walletInBrowser) order(t *testing.T) {
	t.Helper()
	w.Open(w.base + "/wallet/ana/new")
	w.click(t, "form.filters button")
	w.await(t, "ana", "In the book")
	eventually(t, "the book has the order", func() bool {
		w.Open(w.base + "/wallet/beto")
		return w.Eval(`document.querySelectorAll("[data-offer] button").length`) == "1"
	})
	w.click(t, "[data-offer] button")
	w.await(t, "beto", "asks where your sats should go")
	w.press(t, "beto", "invoice")
	w.await(t, "ana", "asks for your sats")
	w.press(t, "ana", "pay")
	w.await(t, "beto", "Send the fiat now")
}

// TestTradeInABrowser plays a trade of the demo from the order to the payout in a real browser,
// and another to a dispute.
func TestTradeInABrowser(t *testing.T) {
	b := testkit.NewBrowser(t)
	dir := t.TempDir()
	m, stop := runDemo(t, dir, nil)
	defer stop()
	w := walletInBrowser{b, "http://" + m.PrivateAddr()}
	before := demoPurse{m.escrow.world}.Sats()
	b.Open(w.base + "/wallet")
	if title := b.Eval(`document.title`); title != "Ana · Demo wallet" {
		t.Fatalf("the wallet begins with %q: %s", title, b.Eval(`document.body.innerText`))
	}
	w.order(t)
	w.press(t, "beto", "fiat-sent")
	w.await(t, "beto", "Waiting for the seller to release")
	w.await(t, "ana", "The buyer says that the fiat is sent")
	w.press(t, "ana", "release")
	w.await(t, "ana", "Done: the sats were released")
	w.await(t, "beto", "Done: the sats have arrived")
	if fees := before - (demoPurse{m.escrow.world}).Sats(); fees != 2*demoFeeSats {
		t.Errorf("the trade cost the wallet %d sats, want the fees of both sides", fees)
	}
	if shots := os.Getenv("MOSTRODEX_INTEROP_SHOTS"); shots != "" {
		b.Size(1280, 900)
		b.Shot(filepath.Join(shots, "wallet.png"))
	}
	w.press(t, "beto", "rate")

	w.order(t)
	w.press(t, "beto", "dispute")
	w.await(t, "beto", "In dispute")
	w.await(t, "ana", "In dispute")
	trades, err := m.escrow.engine.Trades(t.Context())
	if err != nil || len(trades) != 1 || trades[0].Status != message.TradeDispute {
		t.Fatalf("%v: %+v", err, trades)
	}
	stored := trades[0]
	source := b.Eval(`document.documentElement.outerHTML`)
	words, err := os.ReadFile(filepath.Join(dir, "keys", "demo-wallet.json"))
	if err != nil {
		t.Fatal(err)
	}
	phrase := regexp.MustCompile(`"words": "([^"]+)"`).FindSubmatch(words)
	for name, secret := range map[string]string{"preimage": stored.Preimage.Hex(), "hold invoice": stored.HoldInvoice, "payout invoice": stored.BuyerInvoice.Text, "seed phrase": string(phrase[1])} {
		if secret == "" || strings.Contains(source, secret) {
			t.Errorf("the page has the %s", name)
		}
	}
}

// TestWalletRefusesStrangers: a form without the page's token, of another origin or without one,
// with the token of another form, and requests under another name do nothing.
func TestWalletRefusesStrangers(t *testing.T) {
	m, stop := runDemo(t, t.TempDir(), nil)
	defer stop()
	base := "http://" + m.PrivateAddr()
	post := func(path string, form url.Values, header map[string]string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, base+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", base)
		for k, v := range header {
			if req.Header.Set(k, v); v == "" {
				req.Header.Del(k)
			}
			if k == "Host" {
				req.Host = v
			}
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	_, _, page := getBody(t, base+"/wallet/ana/new")
	token := regexp.MustCompile(`name="token" value="([0-9a-f]{64})"`).FindStringSubmatch(page)
	if token == nil {
		t.Fatalf("the page has no token:\n%s", page)
	}
	order := func(token string) url.Values {
		return url.Values{"token": {token}, "side": {"sell"}, "fiat": {"VES"}, "amount": {"100"}, "sats": {"10000"}, "method": {"cash"}}
	}
	for name, c := range map[string]struct {
		path   string
		form   url.Values
		header map[string]string
		status int
	}{
		"another origin":      {"/wallet/ana/new", order(token[1]), map[string]string{"Origin": "http://evil.example"}, 403},
		"no origin":           {"/wallet/ana/new", order(token[1]), map[string]string{"Origin": ""}, 403},
		"null origin":         {"/wallet/ana/new", order(token[1]), map[string]string{"Origin": "null"}, 403},
		"another site":        {"/wallet/ana/new", order(token[1]), map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		"rebound name":        {"/wallet/ana/new", order(token[1]), map[string]string{"Host": "evil.example", "Origin": "http://evil.example"}, 403},
		"no token":            {"/wallet/ana/new", order(""), nil, 409},
		"the token of others": {"/wallet/beto/new", order(token[1]), nil, 409},
		"the token elsewhere": {"/wallet/ana/trade", url.Values{"token": {token[1]}, "index": {"new"}, "verb": {""}}, nil, 409},
		"nobody":              {"/wallet/eva/new", order(token[1]), nil, 404},
		"a large form":        {"/wallet/ana/new", url.Values{"token": {token[1]}, "method": {strings.Repeat("x", 10_000)}}, nil, 400},
		"no amount":           {"/wallet/ana/new", url.Values{"token": {token[1]}, "side": {"sell"}, "fiat": {"VES"}, "method": {"x"}}, nil, 409},
		"no side":             {"/wallet/ana/new", url.Values{"token": {token[1]}, "fiat": {"VES"}, "amount": {"1"}, "method": {"x"}}, nil, 409},
	} {
		if status, body := post(c.path, c.form, c.header); status != c.status {
			t.Errorf("%s: %d, want %d: %s", name, status, c.status, body)
		}
	}
	trades, err := m.escrow.engine.Trades(t.Context())
	if err != nil || len(trades) != 0 {
		t.Fatalf("%v: %d trades", err, len(trades))
	}
	// A person who leaves at once does not interrupt the message.
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/wallet/ana/new", strings.NewReader(order(token[1]).Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", base)
	time.AfterFunc(5*time.Millisecond, leave)
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
	}
	eventually(t, "the order is in the book", func() bool {
		return len(mustREQ(t, m, nostr.Filter{Kinds: []int{mostro.KindOrder}, Tags: nostr.TagMap{"s": {"pending"}}})) == 1
	})
	if status, body := post("/wallet/ana/new", order(token[1]), nil); status != http.StatusOK || !strings.Contains(body, "In the book") {
		t.Errorf("the form of the page itself: %d: %s", status, body)
	}
}

// person is a visitor of the wallet without a browser: forms are read from the pages.
type person struct {
	t         *testing.T
	base, who string
}

// page returns the page of the person.
func (p person) page() string {
	p.t.Helper()
	_, _, body := getBody(p.t, p.base+"/wallet/"+p.who)
	return body
}

// send sends the first form of a page whose action and content match.
func (p person) send(path, action, content string, change url.Values) {
	p.t.Helper()
	var form string
	eventually(p.t, p.who+" has the form "+action+" "+content, func() bool {
		_, _, body := getBody(p.t, p.base+path)
		for _, one := range regexp.MustCompile(`(?s)<form [^>]*action="`+action+`".*?</form>`).FindAllString(body, -1) {
			if strings.Contains(one, content) {
				form = one
				return true
			}
		}
		return false
	})
	values := url.Values{}
	for _, field := range regexp.MustCompile(`<input type="hidden" name="(\w+)" value="([^"]*)">`).FindAllStringSubmatch(form, -1) {
		values.Set(field[1], field[2])
	}
	for name, value := range change {
		values[name] = value
	}
	req, err := http.NewRequest(http.MethodPost, p.base+action, strings.NewReader(values.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", p.base)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		p.t.Fatalf("%s %s: %d: %s", action, content, resp.StatusCode, body)
	}
}

// act presses the button of a verb, once the trade offers it.
func (p person) act(verb string) {
	p.t.Helper()
	p.send("/wallet/"+p.who, "/wallet/"+p.who+"/trade", `data-verb="`+verb+`"`, nil)
}

// TestBuyOrderInTheWallet: Ana wants to buy, at the market price, and Beto sells; then both agree
// to cancel another trade. A restart in between keeps the keys.
func TestBuyOrderInTheWallet(t *testing.T) {
	dir := t.TempDir()
	m, stop := runDemo(t, dir, nil)
	people := func() (ana, beto person) {
		base := "http://" + m.PrivateAddr()
		return person{t, base, "ana"}, person{t, base, "beto"}
	}
	ana, beto := people()
	ana.send("/wallet/ana/new", "/wallet/ana/new", "side", url.Values{"side": {"buy"}, "fiat": {"usd"}, "amount": {"10"}, "sats": {""}, "method": {"<b>Zelle</b>"}})
	beto.send("/wallet/beto", "/wallet/beto/take", "Sell my sats", nil)
	beto.act("pay")
	stop()
	m, stop = runDemo(t, dir, nil)
	defer stop()
	ana, beto = people()
	ana.act("invoice")
	ana.act("fiat-sent")
	beto.act("release")
	eventually(t, "Ana has the sats", func() bool { return strings.Contains(ana.page(), "Done: the sats have arrived.") })
	ana.act("rate")

	ana.send("/wallet/ana/new", "/wallet/ana/new", "side", url.Values{"side": {"sell"}, "fiat": {"USD"}, "amount": {"10"}, "sats": {"10000"}, "method": {"<b>Zelle</b>"}})
	if page := beto.page(); strings.Contains(page, "<b>Zelle") {
		t.Error("a payment method is not escaped")
	}
	beto.send("/wallet/beto", "/wallet/beto/take", "Buy these sats", nil)
	beto.act("invoice")
	ana.act("pay")
	beto.act("cancel")
	ana.act("cancel")
	eventually(t, "both see the end", func() bool {
		return strings.Contains(ana.page(), "Canceled by both") && strings.Contains(beto.page(), "Canceled by both")
	})
	if held := m.escrow.world.Purse(visitorNode).HeldSats; held != 0 {
		t.Errorf("%d sats are held", held)
	}
}

// TestOnlyADemoHasAWallet: the pages of the wallet hold keys, so no other program has them.
func TestOnlyADemoHasAWallet(t *testing.T) {
	m := MustRunMain(t, t.TempDir())
	ready(t, m)
	if status, _, _ := getBody(t, "http://"+m.PrivateAddr()+demowallet.Path); status != http.StatusNotFound {
		t.Errorf("the wallet of a server answers with %d", status)
	}
}
