package escrow

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/prometheus/client_golang/prometheus"
)

// secrets are texts that must not appear in a log, an error, a metric or an answer to the
// operator. Each is stored with its name.
type secrets struct {
	mu sync.Mutex
	of map[string]string // guarded by mu
}

func newSecrets() *secrets { return &secrets{of: make(map[string]string)} }

func (s *secrets) add(name, text string) {
	if text == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[text] == "" {
		s.of[text] = name
	}
}

func (s *secrets) addKeys(name string, k *envelope.Keys) {
	if k == nil {
		return
	}
	raw := k.Secret()
	s.add(name+"'s key", hexOf(raw[:]))
	s.add(name+"'s nsec", k.Nsec())
}

func (s *secrets) addPreimage(p trade.Preimage) {
	if (p != trade.Preimage{}) {
		s.add("a preimage", p.Hex())
		s.add("a preimage's bytes", strings.Trim(fmt.Sprint(p[:]), "[]"))
	}
}

// addStore adds the secrets of a store: every preimage that was ever generated, and every
// invoice and address, used or not.
func (s *secrets) addStore(db *DB) error {
	return db.Trades(func(t trade.Trade) error {
		s.addPreimage(t.Preimage)
		s.add("a hold invoice", t.HoldInvoice)
		s.add("a payout's invoice", t.Payout.Bolt11)
		s.add("a buyer's invoice", t.BuyerInvoice.Text)
		s.add("a maker's invoice", t.MakerInvoice.Text)
		return db.Journal(t.ID, func(_ uint32, in trade.Input) error {
			s.addPreimage(in.Preimage)
			s.add("an invoice in the journal", in.Bolt11)
			if in.Invoice != nil {
				s.add("an invoice in the journal", in.Invoice.Text)
			}
			if in.Request == nil {
				return nil
			}
			switch p := in.Request.Message.Payload.(type) {
			case message.PaymentRequest:
				s.add("an invoice in a message", p.Invoice)
			case *message.SmallOrder:
				if p.BuyerInvoice != nil {
					s.add("an invoice in an order", *p.BuyerInvoice)
				}
			}
			return nil
		})
	})
}

// check fails if a text contains a secret, and names the secret.
func (s *secrets) check(tb testing.TB, where, text string) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for secret, name := range s.of {
		if at := strings.Index(text, secret); at >= 0 {
			tb.Errorf("%s: %s is in it: %.200q", where, name, text[max(0, at-80):])
		}
	}
}

// shown returns all answers of a store that an operator can get over the control socket.
func shown(db *DB) (string, error) {
	var b strings.Builder
	out := json.NewEncoder(&b)
	err := db.Trades(func(t trade.Trade) error {
		if err := out.Encode(t.Redacted()); err != nil {
			return err
		}
		fmt.Fprintf(&b, "%+v %v\n", t.Redacted(), t.Redacted())
		return db.Journal(t.ID, func(_ uint32, in trade.Input) error { return out.Encode(in.Redacted()) })
	})
	return b.String(), err
}

// gathered returns the text of /metrics.
func gathered(reg *prometheus.Registry) (string, error) {
	families, err := reg.Gather()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, f := range families {
		fmt.Fprintln(&b, f)
	}
	return b.String(), nil
}

// keepSecrets is called whenever the escrow of a world has stopped, in every test. The output
// of the escrow must not contain a secret of the escrow.
func (w *world) keepSecrets(stopped error) {
	w.tb.Helper()
	if stopped != nil {
		fmt.Fprintln(w.output, stopped)
	}
	if err := w.secrets.addStore(w.db); err != nil {
		w.tb.Error(err)
		return
	}
	metrics, err := gathered(w.registry)
	if err != nil {
		w.tb.Error(err)
	}
	answers, err := shown(w.db)
	if err != nil {
		w.tb.Error(err)
	}
	w.secrets.check(w.tb, "log and errors", w.output.String())
	w.secrets.check(w.tb, "metrics", metrics)
	w.secrets.check(w.tb, "control socket", answers)
}

// TestSecretsAreKept runs trades of all kinds, with refusals, a failing node and restarts in
// between, and logs at every level. The same check runs at the end of every other test that
// runs an escrow.
func TestSecretsAreKept(t *testing.T) {
	w := newWorld(t)
	w.sellOrder(w.user(envelope.TransportV2), w.user(envelope.TransportV1), func(string) { w.restart() })
	w.sellOrder(w.user(envelope.TransportLegacy), w.user(envelope.TransportLegacy), func(string) {})
	stranger := w.user(envelope.TransportV2)
	stranger.send(message.Message{RequestID: number(1), TradeIndex: stranger.tradeIndex(), Action: message.ActionNewOrder, Payload: &message.SmallOrder{
		Kind: mostro.SideBuy, AmountSats: 50_000, FiatCode: "EUR", FiatAmount: 50, PaymentMethod: "SEPA", BuyerInvoice: text("lnsim:no such invoice"),
	}})
	stranger.wait(message.ActionCantDo)
	w.secrets.add("a refused invoice", "lnsim:no such invoice")
	_ = w.stop()
	found := map[string]bool{}
	for _, name := range w.secrets.of {
		found[name] = true
	}
	for _, name := range []string{"a preimage", "a hold invoice", "a buyer's invoice", "the node's key", "a user's key"} {
		if !found[name] {
			t.Errorf("the test produced no %s", name)
		}
	}
	if w.output.String() == "" {
		t.Error("the log is empty")
	}
}

// The check finds a secret if the output contains one.
func TestSecretsAreFound(t *testing.T) {
	s := newSecrets()
	var p trade.Preimage
	p[0], p[31] = 7, 9
	s.addPreimage(p)
	s.addKeys("somebody", newKeys(t))
	for name, said := range map[string]string{
		"hex": "preimage=" + p.Hex(), "bytes": fmt.Sprintf("%v", p[:]), "json": string(must(json.Marshal(p))),
	} {
		probe := &failing{TB: t}
		s.check(probe, name, said)
		if probe.failures != 1 {
			t.Errorf("%s: %d found", name, probe.failures)
		}
	}
	probe := &failing{TB: t}
	s.check(probe, "format", fmt.Sprintf("%v %+v %x", p, p, p)) // the format methods of Preimage print no byte of the preimage
	if probe.failures != 0 {
		t.Error("a preimage was printed")
	}
}

// failing counts failures instead of failing.
type failing struct {
	testing.TB
	failures int
}

func (f *failing) Errorf(string, ...any) { f.failures++ }
func (f *failing) Helper()               {}

func text(s string) *string { return &s }

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}
