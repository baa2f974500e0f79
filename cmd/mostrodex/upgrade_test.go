package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// oldData is a data directory that an earlier version wrote and closed, and the facts that the
// version knew about it. testdata/upgrade/README.md says how one is made.
type oldData struct {
	dir string

	At     int64 // time of the last write
	Head   uint64
	Orders int        // orders in any state
	Mostro string     // key of the escrow
	Found  int        `json:"pago_movil"` // orders that a search for "pago movil" finds
	Wallet purse      // of the simulated network
	IDs    []string   // public events
	Trades []struct { // of the escrow
		Name, ID, Seller, Buyer, Transport, HoldInvoice, Status string
	}
}

// unpack returns the data directory of an archive.
func unpack(t *testing.T, archive string) (old oldData) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || !filepath.IsLocal(h.Name) {
			t.Fatal(h, err)
		}
		path := filepath.Join(root, h.Name)
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o700)
		} else {
			var raw []byte
			if raw, err = io.ReadAll(tr); err == nil {
				err = os.WriteFile(path, raw, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(filepath.Join(root, "facts.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &old); err != nil {
		t.Fatal(err)
	}
	old.dir = filepath.Join(root, "data")
	return old
}

// open starts today's program on the directory. Its clock goes on from the last write, so that no
// deadline of a trade has passed.
func (old *oldData) open(t *testing.T) (m *Main, stop func()) {
	t.Helper()
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen, cfg.Relay.Private = old.dir, "127.0.0.1:0", "127.0.0.1:0"
	m, err := demoMain(cfg, 1, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	m.Now = func() time.Time { return time.Unix(old.At, 0).Add(time.Since(begin)) }
	stop = startMainUntil(t, m)
	ready(t, m)
	return m, stop
}

// TestUpgrade opens the data directories of earlier versions. Every event, every order, the search
// and every open trade are found, the open trades go on to their ends in the transport in which
// they began, and no sat is lost.
func TestUpgrade(t *testing.T) {
	archives, err := filepath.Glob("testdata/upgrade/*.tar.gz")
	if err != nil || len(archives) == 0 {
		t.Fatal(archives, err)
	}
	for _, archive := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(archive), ".tar.gz"), func(t *testing.T) {
			old := unpack(t, archive)
			m, stop := old.open(t)
			defer stop()
			old.check(t, m)
			old.goOn(t, m)
			stop()
			if out := mustProgram(t, "", "log", "verify", "--data", old.dir, "--signatures"); !strings.Contains(out, " 0 problems") {
				t.Errorf("log verify: %s", out)
			}
			// Today's program opens the data again after its own changes of the format.
			m, stop = old.open(t)
			defer stop()
			if m.store.Head() < old.Head {
				t.Errorf("the log ends at %d after the second start", m.store.Head())
			}
		})
	}
}

// check compares what is found with the facts.
func (old *oldData) check(t *testing.T, m *Main) {
	t.Helper()
	if head := m.store.Head(); head < old.Head {
		t.Errorf("the log ends at %d, the earlier version wrote %d", head, old.Head)
	}
	var found []string
	for some := range slices.Chunk(old.IDs, 100) {
		found = append(found, eventIDs(mustREQ(t, m, nostr.Filter{IDs: some}))...)
	}
	slices.Sort(found)
	replaced := 0
	for _, id := range old.IDs {
		if _, live := slices.BinarySearch(found, id); live {
			continue
		}
		// The Mostro replaces its own description at the start. The log keeps the earlier one.
		replaced++
		var evt nostr.Event
		getJSON(t, "http://"+m.Addr()+"/api/v1/events/"+id, &evt)
		if evt.ID != id || evt.PubKey != old.Mostro || evt.Kind == mostro.KindOrder {
			t.Errorf("the event %s is not found any more: %v", id, evt)
		}
	}
	if replaced > 3 || len(old.IDs) < 100 {
		t.Errorf("%d of %d events were replaced", replaced, len(old.IDs))
	}
	for query, want := range map[string]int{"": old.Orders, "&q=" + url.QueryEscape("pago movil"): old.Found} {
		var got struct{ Total int }
		getJSON(t, "http://"+m.Addr()+"/api/v1/orders?limit=1&open=any"+query, &got)
		if got.Total != want || want == 0 {
			t.Errorf("orders%s: %d, the earlier version found %d", query, got.Total, want)
		}
	}
	if code, _, body := getBody(t, "http://"+m.Addr()+"/readyz"); code != http.StatusOK || strings.Contains(body, "older copy") {
		t.Errorf("readyz: %d %s", code, body)
	}
	var wallet purse
	getJSON(t, "http://"+m.PrivateAddr()+"/lnsim/balance", &wallet)
	if wallet != old.Wallet {
		t.Errorf("the simulated network has %+v, the earlier version left %+v", wallet, old.Wallet)
	}
	list := mustProgram(t, "", "trade", "list", "--all", "--data", old.dir)
	for _, x := range old.Trades {
		line := ""
		for _, l := range strings.Split(list, "\n") {
			if strings.Contains(l, x.ID) {
				line = l
			}
		}
		if !strings.Contains(line, x.Status) || strings.Contains(line, "FROZEN") {
			t.Errorf("the trade %s (%s) is listed as %q", x.ID, x.Name, line)
		}
	}
}

// goOn brings every open trade to its end.
func (old *oldData) goOn(t *testing.T, m *Main) {
	t.Helper()
	for _, o := range old.Trades {
		var id message.UUID
		if err := id.UnmarshalText([]byte(o.ID)); err != nil {
			t.Fatal(err)
		}
		transport := map[string]envelope.Transport{}
		for _, tr := range []envelope.Transport{envelope.TransportV2, envelope.TransportV1, envelope.TransportLegacy} {
			transport[tr.String()] = tr
		}
		user := func(secret string) *demoUser {
			keys, err := envelope.ParseSecret(secret)
			if err != nil {
				t.Fatal(err)
			}
			tr, known := transport[o.Transport]
			if !known {
				t.Fatalf("no transport %q", o.Transport)
			}
			return demoUserOf(t, m, tr, keys)
		}
		x := &demoTrade{t: t, m: m, seller: user(o.Seller), buyer: user(o.Buyer), id: id, holdInvoice: o.HoldInvoice}
		switch o.Name {
		case "success":
			x.shown("success")
		case "fiat-sent":
			x.finish()
		case "waiting-payment":
			var paid struct{ State string }
			postJSON(t, x.wallet()+"pay", map[string]any{"bolt11": x.holdInvoice}, &paid)
			if paid.State != "accepted" {
				t.Errorf("the hold invoice of the earlier version is %s", paid.State)
			}
			x.buyer.expect(message.ActionHoldInvoicePaymentAccepted)
			x.buyer.send(message.ActionFiatSent, &x.id, nil)
			x.seller.expect(message.ActionFiatSentOk)
			x.finish()
		case "dispute":
			mustProgram(t, "", "dispute", "settle", o.ID, "--reason", "upgrade", "--yes", "--data", old.dir)
			x.buyer.expect(message.ActionPurchaseCompleted)
		case "pending":
			x.buyer = newDemoUser(t, m, envelope.TransportV2)
			var invoice struct{ Bolt11 string }
			postJSON(t, x.wallet()+"invoice", map[string]any{"amount_sats": x.payout(), "memo": "payout"}, &invoice)
			x.buyer.send(message.ActionTakeSell, &x.id, message.PaymentRequest{Invoice: invoice.Bolt11})
			x.toFiatSent()
			x.finish()
		default:
			t.Errorf("no step for a trade %q", o.Name)
		}
	}
	// Each of the six trades that went on left the fees of both sides with the node.
	var wallet purse
	getJSON(t, "http://"+m.PrivateAddr()+"/lnsim/balance", &wallet)
	if fees := int64(len(old.Trades)-1) * 2 * demoFeeSats; wallet.HeldSats != 0 || wallet.NodeSats+wallet.WalletSats != demoNodeSats+demoWalletSats || wallet.NodeSats != demoNodeSats+fees+2*demoFeeSats {
		t.Errorf("the simulated network has %+v after %d sats of fees", wallet, fees)
	}
}
