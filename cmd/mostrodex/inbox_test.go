package main

import (
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/disputes"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// TestInboxInABrowser runs the program with a disputed trade and works in the inbox with a real
// browser: the operator logs in by the link of the verb, reads and decides. A page of another
// origin, which has even got the token of the form, and a page whose name is resolved to this
// listener (DNS rebinding) are refused.
func TestInboxInABrowser(t *testing.T) {
	b := testkit.NewBrowser(t)
	dir := t.TempDir()
	m, stop := runDemo(t, dir, slog.New(slog.DiscardHandler))
	defer stop()
	x := newDemoTrade(t, m, envelope.TransportV2)
	dispute := x.toDispute()
	base := "http://" + m.PrivateAddr()
	text := `document.body ? document.body.innerText : ""`

	link := strings.TrimSpace(mustProgram(t, "", "dispute", "inbox", "--data", dir))
	if !strings.HasPrefix(link, base+disputes.Path+"/login?link=") {
		t.Fatalf("the verb printed %q", link)
	}
	b.Open(link)
	b.Eval(`document.querySelector("main form").requestSubmit()`)
	b.Until(`document.readyState === "complete" ? document.title : ""`, "Disputes · Mostrodex")
	if list := b.Eval(text); !strings.Contains(list, "1 open dispute") || !strings.Contains(list, "100 VES") || !strings.Contains(list, "Pago Móvil") {
		t.Errorf("the list says\n%s", list)
	}
	b.Eval(`document.querySelector("a.button").click()`)
	b.Until(`document.readyState === "complete" ? document.title : ""`, "Dispute about 100 VES · Mostrodex")
	page := b.Eval(text)
	for _, want := range []string{dispute, x.id.String(), "The buyer says that the 100 VES are sent.", "The buyer opened the dispute.", "nobody has taken the dispute", "returns the sats to the seller", "full privacy"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q:\n%s", want, page)
		}
	}
	stored, err := m.escrow.engine.Trade(t.Context(), x.id)
	if err != nil {
		t.Fatal(err)
	}
	source := b.Eval(`document.documentElement.outerHTML`)
	for name, secret := range map[string]string{"preimage": stored.Preimage.Hex(), "hold invoice": stored.HoldInvoice, "payout invoice": stored.BuyerInvoice.Text, "key of the buyer": stored.Buyer.Key} {
		if secret == "" || strings.Contains(source, secret) {
			t.Errorf("the page contains the %s", name)
		}
	}

	// A page of another origin sends the form of the operator's own page.
	form := b.Eval(`new URLSearchParams(new FormData(document.querySelector("form.settle"))).toString()`)
	values, err := url.ParseQuery(form)
	if err != nil || values.Get("token") == "" {
		t.Fatalf("the form is %q: %v", form, err)
	}
	var fields strings.Builder
	values.Set("reason", "forged")
	values.Set("sure", "yes")
	for name := range values {
		fmt.Fprintf(&fields, `<input name="%s" value="%s">`, name, html.EscapeString(values.Get(name)))
	}
	action := base + disputes.Path + "/" + x.id.String() + "/settle"
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fetch" {
			fmt.Fprintf(w, `<title>evil</title><script>fetch(%q, {method: "POST", credentials: "include", mode: "no-cors", headers: {"Content-Type": "application/x-www-form-urlencoded"}, body: %q}).then(() => document.title = "sent", () => document.title = "sent")</script>`, action, values.Encode())
			return
		}
		if r.URL.Path == "/frame" {
			fmt.Fprintf(w, `<title>evil</title><iframe src="%s" onload="document.title = 'loaded'"></iframe>`, base+disputes.Path+"/"+x.id.String())
			return
		}
		fmt.Fprintf(w, `<title>evil</title><form method="post" action="%s">%s</form>`, action, fields.String())
	}))
	defer evil.Close()
	b.Open(evil.URL + "/form")
	b.Eval(`document.forms[0].submit()`)
	b.Until(`document.title !== "evil" || !document.forms.length ? "left" : ""`, "left")
	b.Loaded()
	if says := b.Eval(text); !strings.Contains(says, "answers no pages but its own") {
		t.Errorf("the form of another origin: %s", says)
	}
	b.Open(evil.URL + "/fetch")
	b.Until(`document.readyState === "complete" ? document.title : ""`, "sent")
	b.Open(evil.URL + "/frame")
	b.Until(`document.readyState === "complete" ? document.title : ""`, "loaded")
	if inside := b.Eval(`(() => { try { return document.querySelector("iframe").contentDocument ? "readable" : "" } catch (e) { return "" } })()`); inside != "" {
		t.Error("a page of another origin reads the inbox in a frame")
	}
	_, port, _ := strings.Cut(m.PrivateAddr(), ":")
	b.Open("http://rebound.evil.example:" + port + disputes.Path)
	if says := b.Eval(text); !strings.Contains(says, "answers no pages but its own") {
		t.Errorf("DNS rebinding: %s", says)
	}
	if says := b.Eval(`fetch("/disputes", {method: "POST"}).then((r) => r.status)`); says != "403" {
		t.Errorf("a form after DNS rebinding: %s", says)
	}
	stored, err = m.escrow.engine.Trade(t.Context(), x.id)
	if err != nil || stored.Settling || stored.Dispute.Verdict != nil || stored.Status != message.TradeDispute {
		t.Fatalf("%v: a forged form has decided: %+v", err, stored.Dispute)
	}

	// The operator decides. The box has to be ticked and the reason filled in.
	b.Open(base + disputes.Path + "/" + x.id.String())
	b.Eval(`document.querySelector("form.settle button").click()`)
	if title := b.Eval(`document.title`); !strings.HasPrefix(title, "Dispute about") || b.Eval(`document.querySelector("form.settle").checkValidity()`) != "false" {
		t.Errorf("an empty form is sent: %s", title)
	}
	b.Eval(`document.querySelector("form.settle textarea").value = "the statement <b>shows</b> it"`)
	b.Eval(`document.querySelector("form.settle [name=sure]").click()`)
	b.Eval(`document.querySelector("form.settle button").click()`)
	b.Until(`document.querySelector("[role=status]") ? "decided" : ""`, "decided")
	if says := b.Eval(text); !strings.Contains(says, "Decided for the buyer") || !strings.Contains(says, "the statement <b>shows</b> it") {
		t.Errorf("after the verdict: %s", says)
	}
	x.buyer.expect(message.ActionAdminSettled)
	x.seller.expect(message.ActionAdminSettled)
	x.buyer.expect(message.ActionPurchaseCompleted)
	x.shownDispute(dispute, "settled")
	if out := mustProgram(t, "", "trade", "journal", x.id.String(), "--data", dir); !strings.Contains(out, `"the statement <b>shows</b> it"`) {
		t.Errorf("the journal: %s", out)
	}
}

// TestInboxOfASolver logs a solver in with a browser's signer (NIP-07). The solver takes and
// decides under its own role, and its client is answered as to a message.
func TestInboxOfASolver(t *testing.T) {
	b := testkit.NewBrowser(t)
	dir := t.TempDir()
	m, stop := runDemo(t, dir, slog.New(slog.DiscardHandler))
	defer stop()
	x := newDemoTrade(t, m, envelope.TransportV2)
	dispute := x.toDispute()
	solver := newDemoUser(t, m, envelope.TransportV2)
	key := solver.keys.Pubkey()
	mustProgram(t, "", "solver", "add", key, "--data", dir)
	base := "http://" + m.PrivateAddr()
	b.Open(base + disputes.Path)
	// The tab signs like a browser with an extension: the test holds the key.
	b.Eval(`window.nostr = {signEvent: (evt) => new Promise((resolve) => { window.unsigned = JSON.stringify(evt); window.signed = resolve; })}`)
	b.Until(`document.getElementById("nip07").hidden ? "" : "shown"`, "shown")
	b.Eval(`document.getElementById("nip07").click()`)
	b.Until(`window.unsigned ? "asked" : ""`, "asked")
	b.Eval(`window.signed(` + string(signedText(t, solver.keys, b.Eval(`window.unsigned`))) + `)`)
	b.Until(`document.readyState === "complete" ? document.title : ""`, "Disputes · Mostrodex")
	b.Open(base + disputes.Path + "/" + x.id.String())
	b.Eval(`document.querySelector("form[action$=take]").requestSubmit()`)
	b.Until(`document.querySelector("form.cancel") ? "mine" : ""`, "mine")
	if p := x.seller.expect(message.ActionAdminTookDispute).Payload.(message.Peer); p.Pubkey != key {
		t.Errorf("the seller is told the solver %s", p.Pubkey)
	}
	solver.expect(message.ActionAdminTookDispute)
	b.Eval(`document.querySelector("form.cancel textarea").value = "no fiat"; document.querySelector("form.cancel [name=sure]").click(); document.querySelector("form.cancel button").click()`)
	b.Until(`document.querySelector("[role=status]") ? document.querySelector(".status").innerText : ""`, "seller-refunded")
	solver.expect(message.ActionAdminCanceled)
	x.seller.expect(message.ActionAdminCanceled)
	x.shownDispute(dispute, "seller-refunded")
	stored, err := m.escrow.engine.Trade(t.Context(), x.id)
	if v := stored.Dispute.Verdict; err != nil || v == nil || v.By != key || v.Role != trade.RoleWrite || v.Reason != "no fiat" {
		t.Errorf("%v: the verdict is %+v", err, v)
	}
}

func TestInboxNeedsAPrivateListener(t *testing.T) {
	dir := t.TempDir()
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen, cfg.Relay.Private = dir, "127.0.0.1:0", ""
	m, err := demoMain(cfg, 1, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	m.Logger = slog.New(slog.DiscardHandler)
	defer startMainUntil(t, m)()
	if m.PrivateAddr() != "" {
		t.Skip("the demo has a private listener of its own")
	}
	if _, errs, code := runProgram(t, "", "dispute", "inbox", "--data", dir); code != exitError || !strings.Contains(errs, "--private") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// signedText signs an event that a page has asked for.
func signedText(t *testing.T, keys *envelope.Keys, unsigned string) []byte {
	t.Helper()
	var evt nostr.Event
	if err := json.Unmarshal([]byte(unsigned), &evt); err != nil {
		t.Fatalf("the page asks to sign %q: %v", unsigned, err)
	}
	return mostro.EncodeEvent(signAs(t, keys, evt))
}

// TestCountTrade holds what the record of a party counts.
func TestCountTrade(t *testing.T) {
	verdict := func(action message.Action, overdue bool) *trade.Verdict {
		return &trade.Verdict{Action: action, Overdue: overdue}
	}
	var buyer, seller disputes.Record
	for _, one := range []trade.Trade{
		{Status: message.TradeSuccess},
		{Status: message.TradeCanceled},
		{Status: message.TradeSuccess, Dispute: trade.Dispute{Status: "released", By: message.InitiatorBuyer}},
		{Status: message.TradeSuccess, Dispute: trade.Dispute{Status: "settled", By: message.InitiatorBuyer, Verdict: verdict(message.ActionAdminSettle, false)}},
		{Status: message.TradeCanceledByAdmin, Dispute: trade.Dispute{Status: "seller-refunded", By: message.InitiatorSeller, Verdict: verdict(message.ActionAdminCancel, false)}},
		{Status: message.TradeCanceledByAdmin, Dispute: trade.Dispute{Status: "seller-refunded", By: message.InitiatorSeller, Verdict: verdict(message.ActionAdminCancel, true)}},
	} {
		countTrade(&buyer, &one, true)
		countTrade(&seller, &one, false)
	}
	if want := (disputes.Record{Finished: 3, Opened: 2, Lost: 1, Overdue: 1}); buyer != want {
		t.Errorf("the buyer: %+v, want %+v", buyer, want)
	}
	if want := (disputes.Record{Finished: 3, Opened: 2, Lost: 1}); seller != want {
		t.Errorf("the seller: %+v, want %+v", seller, want)
	}
}

// TestClosedList holds that the list of closed disputes is bounded, whatever the order of the store.
func TestClosedList(t *testing.T) {
	const many = 5*disputes.MaxClosed + 7
	var l closedList
	for i := range many {
		at := int64((i * 7919) % many) // each time once
		one := trade.Trade{ID: trade.OrderID{byte(at >> 8), byte(at)}, Status: message.TradeSuccess, Lock: trade.Lock{Preimage: trade.Preimage{1}, HoldInvoice: "secret"},
			Dispute: trade.Dispute{Status: message.DisputeStatusReleased, StampedAt: at}}
		if i%2 == 0 {
			one.Dispute.StampedAt, one.Dispute.Verdict = 0, &trade.Verdict{At: at}
		}
		l.add(&one)
		l.add(&trade.Trade{Status: message.TradeSuccess})
		l.add(&trade.Trade{Status: message.TradeDispute, Dispute: trade.Dispute{Status: message.DisputeStatusInitiated, StampedAt: 1 << 40}})
		if len(l.trades) > 2*disputes.MaxClosed {
			t.Fatalf("%d trades are kept", len(l.trades))
		}
	}
	got := l.newest()
	if len(got.Trades) != disputes.MaxClosed || got.More != many-disputes.MaxClosed {
		t.Fatalf("%d listed, %d more", len(got.Trades), got.More)
	}
	for i := range got.Trades {
		if one := &got.Trades[i]; disputes.ClosedAt(one) != int64(many-1-i) || one.Preimage != (trade.Preimage{}) || one.HoldInvoice != "" {
			t.Fatalf("place %d: %+v", i, one)
		}
	}
}
