package interopcli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Environment variables. `make interop-cli` sets the first two to the paths of both
// programs. If the third is set, the test writes a transcript to that path.
const (
	envClient     = "MOSTRODEX_INTEROP_CLI"
	envProgram    = "MOSTRODEX_INTEROP_CLI_SERVER"
	envTranscript = "MOSTRODEX_INTEROP_CLI_TRANSCRIPT"
)

var (
	uuidText    = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)
	invoiceText = regexp.MustCompile(`lnbc[a-z0-9]+`)
)

// The amount of each trade, and the fee of each side: 0.3 %.
const (
	tradeSats = 10_000
	sideFee   = 30
)

// TestInteropCLI has two users of the unmodified client trade with the demo: a sell
// order and a buy order, on the client's default transport (v2) and on its fallback
// (v1). The test compares all balances while sats are held and after each trade.
func TestInteropCLI(t *testing.T) {
	client, program := os.Getenv(envClient), os.Getenv(envProgram)
	if client == "" || program == "" {
		t.Skipf("SKIP: %s and %s name no programs; run make interop-cli", envClient, envProgram)
	}
	var transcript io.Writer = io.Discard
	if path := os.Getenv(envTranscript); path != "" {
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		transcript = f
	}
	for _, transport := range []struct {
		name string
		env  []string
	}{
		{"v2", nil}, // from the node's info event
		{"v1", []string{"TRANSPORT=gift-wrap"}},
	} {
		t.Run(transport.name, func(t *testing.T) {
			d := startDemo(t, program)
			buyer := d.user("buyer", client, transcript, transport.env...)
			seller := d.user("seller", client, transcript, transport.env...)
			before := d.balance()
			t.Run("sell", func(t *testing.T) { d.t = t; trade{d, buyer, seller, transport.name, transcript}.sell() })
			t.Run("buy", func(t *testing.T) { d.t = t; trade{d, buyer, seller, transport.name, transcript}.buy() })
			t.Run("cancel", func(t *testing.T) { d.t = t; trade{d, buyer, seller, transport.name, transcript}.cancel() })
			t.Run("restore", func(t *testing.T) { d.t = t; trade{d, buyer, seller, transport.name, transcript}.ask() })
			d.t = t
			after := d.balance()
			want := purse{WalletSats: before.WalletSats - 4*sideFee, NodeSats: before.NodeSats + 4*sideFee}
			if after != want {
				t.Errorf("after all trades: %+v, want %+v", after, want)
			}
			if sum(before) != sum(after) {
				t.Errorf("%d sats before, %d after", sum(before), sum(after))
			}
		})
	}
}

// TestInteropCLIChangesTransport has the client fall back to gift wraps for single
// commands. A real client does so if it cannot read the node's info event.
func TestInteropCLIChangesTransport(t *testing.T) {
	client, program := os.Getenv(envClient), os.Getenv(envProgram)
	if client == "" || program == "" {
		t.Skipf("SKIP: %s and %s name no programs; run make interop-cli", envClient, envProgram)
	}
	d := startDemo(t, program)
	buyer, seller := d.user("buyer", client, io.Discard), d.user("seller", client, io.Discard)
	x := trade{d, buyer, seller, "v1", io.Discard}
	v1, v2 := []string{"TRANSPORT=gift-wrap"}, []string{"TRANSPORT=nip44"}
	before := d.balance()
	seller.extra = v2
	id := x.order("sell", seller)
	buyer.extra = v1
	mustSay(t, buyer.run("takesell", "-o", id), "Add Lightning Invoice")
	buyer.extra = v2
	mustSay(t, buyer.run("addinvoice", "-o", id, "-i", x.invoice()), "Waiting for Seller Payment")
	x.pay(x.mailWith(seller, invoiceText), before)
	buyer.extra = v1
	mustSay(t, buyer.run("fiatsent", "-o", id), "Fiat Payment Confirmed")
	seller.extra = v1
	mustSay(t, seller.run("release", "-o", id), "Payment Settled & Released")
	x.mail(buyer, "Released", "PurchaseCompleted")
	eventually(t, "the order is over", func() bool { return d.status(id) == "success" })
	d.spoken(id, x.transport)
}

func sum(p purse) int64 { return p.WalletSats + p.NodeSats + p.HeldSats }

// trade is one trade between two users.
type trade struct {
	d             *demo
	buyer, seller *user
	transport     string // transport of the last messages to both parties
	transcript    io.Writer
}

// begin records the mail and the balances before the trade.
func (x trade) begin() (*testing.T, purse) {
	for _, u := range []*user{x.buyer, x.seller} {
		transcript := u.out
		u.out = io.Discard
		u.old = u.run("getdm")
		u.out = transcript
	}
	return x.d.t, x.d.balance()
}

// sell runs a trade in which the seller makes the order and the buyer takes it.
func (x trade) sell() {
	t, before := x.begin()
	t.Helper()
	id := x.order("sell", x.seller)
	x.inBook(x.buyer, id, "sell")
	out := x.buyer.run("takesell", "-o", id)
	mustSay(t, out, "Add Lightning Invoice", fmt.Sprint(tradeSats-sideFee))
	mustSay(t, x.buyer.run("addinvoice", "-o", id, "-i", x.invoice()), "Waiting for Seller Payment")
	x.pay(x.mailWith(x.seller, invoiceText), before)
	x.mail(x.buyer, "HoldInvoicePaymentAccepted")
	x.mail(x.seller, "BuyerTookOrder")
	x.finish(id, before)
}

// buy runs a trade in which the buyer makes the order and the seller takes it.
func (x trade) buy() {
	t, before := x.begin()
	t.Helper()
	id := x.order("buy", x.buyer)
	x.inBook(x.seller, id, "buy")
	out := x.seller.run("takebuy", "-o", id)
	mustSay(t, out, "LIGHTNING INVOICE TO PAY", "Order saved successfully")
	x.pay(invoiceText.FindString(out), before)
	x.mail(x.buyer, "AddInvoice")
	mustSay(t, x.buyer.run("addinvoice", "-o", id, "-i", x.invoice()), "Hold Invoice Payment Accepted")
	x.finish(id, before)
}

// finish runs the part of a trade that is the same for both kinds of orders.
func (x trade) finish(id string, before purse) {
	t := x.d.t
	t.Helper()
	mustSay(t, x.buyer.run("fiatsent", "-o", id), "Fiat Payment Confirmed")
	x.mail(x.seller, "FiatSentOk")
	mustSay(t, x.seller.run("release", "-o", id), "Payment Settled & Released")
	x.mail(x.buyer, "Released", "PurchaseCompleted")
	eventually(t, "the order is over", func() bool { return x.d.status(id) == "success" })
	x.d.spoken(id, x.transport)
	after := x.d.balance()
	want := purse{WalletSats: before.WalletSats - 2*sideFee, NodeSats: before.NodeSats + 2*sideFee}
	if after != want {
		t.Errorf("after the trade: %+v, want %+v: the payout is missing or has a wrong amount", after, want)
	}
	mustSay(t, x.buyer.run("listorders", "-s", "success"), id)
	x.mail(x.buyer, "Rate")
	x.mail(x.seller, "Rate")
	mustSay(t, x.buyer.run("rate", "-o", id, "-r", "5"), "Rating Received")
	mustSay(t, x.seller.run("rate", "-o", id, "-r", "4"), "Rating Received")
}

// cancel makes an order and has the maker cancel it before it is taken.
func (x trade) cancel() {
	t := x.d.t
	t.Helper()
	id := x.order("sell", x.seller)
	mustSay(t, x.seller.run("cancel", "-o", id), "canceled successfully")
	eventually(t, "the order is out of the book", func() bool { return x.d.status(id) == "canceled" })
}

// ask runs the requests of a client that restores its session.
func (x trade) ask() {
	t := x.d.t
	t.Helper()
	id := x.order("sell", x.seller)
	mustSay(t, x.seller.run("restore"), "Session restore completed", id)
	mustSay(t, x.seller.run("getlasttradeindex"), "Trade index synchronized")
	mustSay(t, x.seller.run("ordersinfo", "-o", id), id)
	mustSay(t, x.seller.run("cancel", "-o", id), "canceled successfully")
}

// order makes an order and returns its id.
func (x trade) order(kind string, maker *user) string {
	t := x.d.t
	t.Helper()
	out := maker.run("neworder", "-k", kind, "-c", "ves", "-f", "100", "-m", "Pago Móvil", "-a", fmt.Sprint(tradeSats))
	mustSay(t, out, "New Order Created", "Order saved successfully")
	_, made, _ := strings.Cut(out, "New Order Created")
	id := uuidText.FindString(made)
	if id == "" {
		t.Fatalf("the order has no id:\n%s", out)
	}
	return id
}

// inBook checks that the order is public and that the user finds the order.
func (x trade) inBook(who *user, id, kind string) {
	t := x.d.t
	t.Helper()
	eventually(t, "the order is public", func() bool { return x.d.status(id) == "pending" })
	mustSay(t, who.run("listorders", "-k", kind, "-c", "ves"), id)
}

func (x trade) invoice() string {
	x.d.t.Helper()
	bolt11 := x.d.invoice(tradeSats - sideFee)
	fmt.Fprintf(x.transcript, "buyer$ curl -d '{\"amount_sats\":%d,\"memo\":\"payout\"}' http://127.0.0.1:7779/lnsim/invoice\n{\"bolt11\":%q}\n\n", tradeSats-sideFee, bolt11)
	return bolt11
}

// pay pays the hold invoice, and checks that the sats are held.
func (x trade) pay(bolt11 string, before purse) {
	t := x.d.t
	t.Helper()
	state := x.d.pay(bolt11)
	fmt.Fprintf(x.transcript, "seller$ curl -d '{\"bolt11\":\"…\"}' http://127.0.0.1:7779/lnsim/pay\n{\"state\":%q}\n\n", state)
	if state != "accepted" {
		t.Fatalf("the hold invoice is %s, want accepted", state)
	}
	const locked = tradeSats + sideFee
	if held, want := x.d.balance(), (purse{before.WalletSats - locked, before.NodeSats, locked}); held != want {
		t.Errorf("while the sats are held: %+v, want %+v", held, want)
	}
}

// mail has a user read their mail until each of the actions occurs more often than
// before the trade.
func (x trade) mail(who *user, actions ...string) {
	x.d.t.Helper()
	x.read(who, func(out string) bool {
		for _, a := range actions {
			if strings.Count(out, " "+a+"\n") == strings.Count(who.old, " "+a+"\n") {
				return false
			}
		}
		return true
	}, strings.Join(actions, " and "))
}

// mailWith has a user read their mail until a new part of it matches the pattern, and
// returns the match.
func (x trade) mailWith(who *user, what *regexp.Regexp) (found string) {
	x.d.t.Helper()
	seen := make(map[string]bool)
	for _, m := range what.FindAllString(who.old, -1) {
		seen[m] = true
	}
	x.read(who, func(out string) bool {
		for _, m := range what.FindAllString(out, -1) {
			if !seen[m] {
				found = m
			}
		}
		return found != ""
	}, "a match of "+what.String())
	return found
}

// read runs getdm until right returns true for the output. If right returns false ten
// times, read fails the test. Each try starts the client again, so no pause is needed.
func (x trade) read(who *user, right func(out string) bool, what string) {
	x.d.t.Helper()
	transcript := who.out
	defer func() { who.out = transcript }()
	var out string
	for range 10 {
		var said bytes.Buffer
		who.out = &said
		out = who.run("getdm")
		if right(out) {
			_, _ = said.WriteTo(transcript)
			return
		}
	}
	x.d.t.Fatalf("%s did not receive %s; the last mail was:\n%s", who.name, what, out)
}

func mustSay(t *testing.T, out string, wanted ...string) {
	t.Helper()
	for _, w := range wanted {
		if !strings.Contains(out, w) {
			t.Fatalf("the client's output does not contain %q:\n%s", w, out)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timeout while waiting for: %s", what)
		}
	}
}
