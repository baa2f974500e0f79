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

	"github.com/mostrodex/mostrodex/mostro/envelope"
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
	// The buyer's reputation, as the client shows it to the seller. The first of two votes
	// for 4 counts half: 2, and then 2 + (4 - 2)/2.
	ratedText = regexp.MustCompile(`Rating: 3\.0/5\.0\n.*Reviews: 2\n`)
)

// The amount of each trade, and the fee of each side: 0.3 %.
const (
	tradeSats = 10_000
	sideFee   = 30
)

// The amount and the fee of each side of the range order: 20 USD at the demo's price.
const (
	rangeSats = 20_000
	rangeFee  = 60
)

// TestInteropCLI has users of the unmodified client trade with the demo: a sell order, a
// buy order, a range order, disputes that a solver settles and cancels, and the requests
// of a client that restores its session. The test compares all balances while sats are
// held and after each trade.
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
	d := startDemo(t, program)
	prices := priceService(t)
	buyer := d.user("buyer", client, transcript, prices...)
	seller := d.user("seller", client, transcript, prices...)
	before := d.balance()
	fees := int64(0)
	for _, each := range []struct {
		name string
		play func(trade)
		fees int64
	}{
		{"sell", trade.sell, 2 * sideFee},
		{"buy", trade.buy, 2 * sideFee},
		{"cancel", trade.cancel, 0},
		{"restore", trade.ask, 0},
		{"dispute settled", trade.settled, 2 * sideFee},
		{"dispute canceled", trade.refunded, 0},
		{"range", trade.ranged, 2 * rangeFee},
	} {
		if t.Run(each.name, func(t *testing.T) { d.t = t; each.play(trade{d, buyer, seller, transcript}) }) {
			fees += each.fees
		}
	}
	d.t = t
	after := d.balance()
	if want := (purse{WalletSats: before.WalletSats - fees, NodeSats: before.NodeSats + fees}); after != want {
		t.Errorf("after all trades: %+v, want %+v", after, want)
	}
	if sum(before) != sum(after) {
		t.Errorf("%d sats before, %d after", sum(before), sum(after))
	}
}

// TestInteropCLIWithoutGiftWraps: the client has no gift wraps since 0.16.3, and refuses
// the transport by itself.
func TestInteropCLIWithoutGiftWraps(t *testing.T) {
	client, program := os.Getenv(envClient), os.Getenv(envProgram)
	if client == "" || program == "" {
		t.Skipf("SKIP: %s and %s name no programs; run make interop-cli", envClient, envProgram)
	}
	d := startDemo(t, program)
	out, err := d.user("seller", client, io.Discard, "TRANSPORT=gift-wrap").try("restore")
	if err == nil || !strings.Contains(out, "no longer supported") {
		t.Errorf("%v: %s", err, out)
	}
}

func sum(p purse) int64 { return p.WalletSats + p.NodeSats + p.HeldSats }

// trade is one trade between two users.
type trade struct {
	d             *demo
	buyer, seller *user
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

// rate has both parties rate each other.
func (x trade) rate(id string) {
	t := x.d.t
	t.Helper()
	x.mail(x.buyer, "Rate")
	x.mail(x.seller, "Rate")
	mustSay(t, x.buyer.run("rate", "-o", id, "-r", "5"), "Rating Received")
	mustSay(t, x.seller.run("rate", "-o", id, "-r", "4"), "Rating Received")
}

// toHeld runs a sell order until the sats are held.
func (x trade) toHeld() (id string, before purse) {
	t, before := x.begin()
	t.Helper()
	id = x.order("sell", x.seller)
	x.inBook(x.buyer, id, "sell")
	mustSay(t, x.buyer.run("takesell", "-o", id), "Add Lightning Invoice")
	mustSay(t, x.buyer.run("addinvoice", "-o", id, "-i", x.invoice()), "Waiting for Seller Payment")
	x.pay(x.mailWith(x.seller, invoiceText), before)
	x.mail(x.buyer, "HoldInvoicePaymentAccepted")
	return id, before
}

// dispute has a party open a dispute. The other party, the list of disputes and a restored
// session show the dispute.
func (x trade) dispute(id string, by, other *user) (dispute string) {
	t := x.d.t
	t.Helper()
	out := by.run("dispute", "-o", id)
	mustSay(t, out, "Dispute Initiated", "Dispute created successfully", id)
	_, after, _ := strings.Cut(out, "Dispute ID:")
	if dispute = uuidText.FindString(after); dispute == "" {
		t.Fatalf("the dispute has no id:\n%s", out)
	}
	x.mail(other, "DisputeInitiatedByPeer")
	mustSay(t, other.run("listdisputes"), dispute)
	mustSay(t, by.run("restore"), "Session restore completed", id, dispute)
	mustSay(t, by.run("ordersinfo", "-o", id), id, "Dispute")
	return dispute
}

// solver adds a solver by the node's key and returns the solver.
func (x trade) solver() *user {
	t := x.d.t
	t.Helper()
	operator := x.d.user("operator", x.buyer.bin, x.transcript, "ADMIN_NSEC="+x.d.nodeKey().Nsec())
	keys, err := envelope.NewKeys(nil)
	if err != nil {
		t.Fatal(err)
	}
	mustSay(t, operator.run("admaddsolver", "-n", keys.Npub()), "Solver added successfully")
	eventually(t, "the solver is known", func() bool { return x.d.solver(keys.Pubkey()) })
	return x.d.user("solver", x.buyer.bin, x.transcript, "ADMIN_NSEC="+keys.Nsec())
}

// settled is a dispute of the buyer that a solver settles. The seller has rated the buyer in
// the trades sell and buy.
func (x trade) settled() {
	t := x.d.t
	t.Helper()
	id, before := x.toHeld()
	x.mailWith(x.seller, ratedText)
	mustSay(t, x.buyer.run("fiatsent", "-o", id), "Fiat Payment Confirmed")
	dispute := x.dispute(id, x.buyer, x.seller)
	solver := x.solver()
	out, err := solver.try("admsettle", "-o", id)
	if err == nil {
		t.Errorf("a dispute that was not taken was settled:\n%s", out)
	}
	mustSay(t, solver.run("admtakedispute", "-d", dispute), "Dispute Successfully Taken", id)
	x.mail(x.buyer, "AdminTookDispute")
	x.mail(x.seller, "AdminTookDispute")
	mustSay(t, solver.run("admsettle", "-o", id), "Dispute settled successfully")
	x.mail(x.seller, "AdminSettled")
	x.mail(x.buyer, "AdminSettled", "PurchaseCompleted")
	eventually(t, "the order is over", func() bool { return x.d.status(id) == "success" })
	want := purse{WalletSats: before.WalletSats - 2*sideFee, NodeSats: before.NodeSats + 2*sideFee}
	if after := x.d.balance(); after != want {
		t.Errorf("after the trade: %+v, want %+v", after, want)
	}
}

// refunded is a dispute of the seller that a solver cancels.
func (x trade) refunded() {
	t := x.d.t
	t.Helper()
	id, before := x.toHeld()
	dispute := x.dispute(id, x.seller, x.buyer)
	solver := x.solver()
	mustSay(t, solver.run("admtakedispute", "-d", dispute), "Dispute Successfully Taken", id)
	mustSay(t, solver.run("admcancel", "-o", id), "Dispute canceled successfully")
	x.mail(x.seller, "AdminCanceled")
	x.mail(x.buyer, "AdminCanceled")
	eventually(t, "the order is over", func() bool { return x.d.status(id) == "canceled" })
	eventually(t, "the seller has the sats back", func() bool { return x.d.balance() == before })
}

// ranged runs a range order at market price. The buyer takes a part, and the rest comes
// back as a new order.
func (x trade) ranged() {
	t, before := x.begin()
	t.Helper()
	out := x.seller.run("neworder", "-k", "sell", "-c", "usd", "-f", "10-50", "-m", "Zelle")
	mustSay(t, out, "New Order Created", "Order saved successfully")
	_, made, _ := strings.Cut(out, "New Order Created")
	id := uuidText.FindString(made)
	eventually(t, "the order is public", func() bool { return x.d.status(id) == "pending" })
	mustSay(t, x.buyer.run("listorders", "-k", "sell", "-c", "usd"), id)
	if out, err := x.buyer.try("takesell", "-o", id, "-a", "60"); err == nil || !strings.Contains(out, "OutOfRange") {
		t.Errorf("an amount outside of the range: %v\n%s", err, out)
	}
	mustSay(t, x.buyer.run("takesell", "-o", id, "-a", "20"), "Add Lightning Invoice", fmt.Sprint(rangeSats-rangeFee))
	mustSay(t, x.buyer.run("addinvoice", "-o", id, "-i", x.d.invoice(rangeSats-rangeFee)), "Waiting for Seller Payment")
	if state := x.d.pay(x.mailWith(x.seller, invoiceText)); state != "accepted" {
		t.Fatalf("the hold invoice is %s, want accepted", state)
	}
	x.mail(x.buyer, "HoldInvoicePaymentAccepted")
	mustSay(t, x.buyer.run("fiatsent", "-o", id), "Fiat Payment Confirmed")
	x.mail(x.seller, "FiatSentOk")
	mustSay(t, x.seller.run("release", "-o", id), "Payment Settled & Released")
	x.mail(x.buyer, "Released", "PurchaseCompleted")
	eventually(t, "the order is over", func() bool { return x.d.status(id) == "success" })
	want := purse{WalletSats: before.WalletSats - 2*rangeFee, NodeSats: before.NodeSats + 2*rangeFee}
	if after := x.d.balance(); after != want {
		t.Errorf("after the trade: %+v, want %+v", after, want)
	}
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
	x.d.spoken(id, "v2")
	after := x.d.balance()
	want := purse{WalletSats: before.WalletSats - 2*sideFee, NodeSats: before.NodeSats + 2*sideFee}
	if after != want {
		t.Errorf("after the trade: %+v, want %+v: the payout is missing or has a wrong amount", after, want)
	}
	mustSay(t, x.buyer.run("listorders", "-s", "success"), id)
	x.rate(id)
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
