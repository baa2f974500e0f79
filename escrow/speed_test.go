//go:build unix

package escrow

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// BenchmarkTrades runs whole sell orders from the opened message to the sealed and committed
// outbox row. It uses v2 with cached conversation keys, computes the clients' own
// cryptography in advance, and syncs commits in groups. A decision is one input of a trade (a
// message or an answer of the node) that was decided, and whose journal row, trade and effects
// were sealed, signed and committed with a sync. Eleven decisions are a trade.
func BenchmarkTrades(b *testing.B) {
	w := newWorld(b)
	_ = w.stop()
	db, err := OpenDB(w.dir + "/speed")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	e, err := Open(Config{
		Policy: w.policy, Store: db, Node: w.node, Publisher: w.log, Prefilter: &Prefilter{},
		Sealer: KeysSealer{Keys: w.keys, MailDays: 30}, Signer: KeysSealer{Keys: w.keys}, Decode: simDecode,
		Quote:  func(string, int64) trade.Quote { return trade.Quote{Price: 100_000} },
		Events: EventBuilder{Pubkey: w.keys.Pubkey(), Relays: []string{"wss://relay.example"}}, Now: w.clock.Now, Secret: trade.NodeSecretOf(w.keys),
	})
	if err != nil {
		b.Fatal(err)
	}
	e.watches = newWatches(nil, nil)
	// The clients' keys and their conversation keys are computed in advance.
	parties := make([]trade.Party, 2*b.N)
	for i := range parties {
		parties[i] = trade.Party{Key: newKeys(b).Pubkey(), Identity: simKey(uint64(i)), Index: 1, Transport: envelope.TransportV2}
		if _, err := e.Sealer.Seal(b.Context(), parties[i], message.Message{Wrapper: message.WrapperOrder, Action: message.ActionRate, ID: &trade.OrderID{}}, w.clock.Now()); err != nil {
			b.Fatal(err)
		}
	}
	run := &speedRun{b: b, e: e, w: w, at: w.clock.Now().Unix()}
	var before syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	const group = 64 // concurrent trades
	for from := 0; from < b.N; from += group {
		run.group(parties[2*from : 2*min(from+group, b.N)])
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "trades/s")
	var after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err == nil {
		cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
		b.ReportMetric(cpu.Seconds()*1000/float64(b.N), "cpu-ms/trade")
	}
	b.ReportMetric(float64(run.steps)/b.Elapsed().Seconds(), "decisions/s")
	b.ReportMetric(float64(run.commits)/float64(b.N), "commits/trade")
}

type speedRun struct {
	b              *testing.B
	e              *Engine
	w              *world
	at             int64
	messages       int
	steps, commits int
}

// group runs some trades concurrently as the engine does, with up to maxBatch inputs per
// commit.
func (r *speedRun) group(parties []trade.Party) {
	n := len(parties) / 2
	ids := make([]trade.OrderID, n)
	rows := make(map[trade.OrderID]*trade.Effect)
	collect := func() {
		c := &r.e.book.batch.commit
		for i := range c.Outbox {
			if row := c.Outbox[i]; lane(row) == laneNode {
				e := row.Effect
				rows[row.Trade] = &e
			}
			r.e.book.Done(c.Outbox[i].ID)
		}
		r.commit()
	}
	say := func(i int, p trade.Party, action message.Action, id *trade.OrderID, payload message.Payload) {
		r.messages++
		request := uint64(r.messages)
		index := int64(1)
		outcome, err := r.e.book.Receive(InboundMessage{
			Transport: p.Transport, Sender: p.Key, Identity: p.Identity, Signed: true, CreatedAt: r.at, Received: r.at,
			ReplayID: fmt.Sprintf("%064x", r.messages),
			Message:  trade.Outgoing{Message: message.Message{Wrapper: message.WrapperOrder, RequestID: &request, TradeIndex: &index, ID: id, Action: action, Payload: payload}},
		}, r.at)
		if err != nil || outcome != "" {
			r.b.Fatalf("%s: %s %v", action, outcome, err)
		}
		r.steps++
	}
	hear := func(i int, in trade.Input) {
		in.At = r.at
		if err := r.e.book.ApplyInput(ids[i], in); err != nil {
			r.b.Fatal(err)
		}
		r.steps++
	}
	for i := range n {
		say(i, parties[2*i], message.ActionNewOrder, nil, &message.SmallOrder{Kind: mostro.SideSell, AmountSats: 50_000, FiatCode: "EUR", FiatAmount: 50, PaymentMethod: "SEPA"})
	}
	for i, t := range r.e.book.batch.commit.Trades {
		ids[i] = t.ID
	}
	collect()
	for i := range n {
		say(i, parties[2*i+1], message.ActionTakeSell, &ids[i], nil)
	}
	collect()
	for i := range n {
		var h trade.Hash
		copy(h[:], ids[i][:])
		say(i, parties[2*i+1], message.ActionAddInvoice, &ids[i], message.PaymentRequest{Invoice: simInvoice(h, 49_850_000, r.at+7200, ids[i].String())})
	}
	collect()
	for i := range n {
		h := rows[ids[i]].Hash
		hear(i, trade.Input{Kind: trade.InHoldMade, Hash: h, Bolt11: simInvoice(h, 50_150_000, r.at+7200, "hold")})
	}
	collect()
	for i := range n {
		hear(i, trade.Input{Kind: trade.InHold, Hash: r.e.book.open[ids[i]].Hash, Hold: trade.Hold{Phase: trade.HoldAccepted}})
	}
	collect()
	for i := range n {
		say(i, parties[2*i+1], message.ActionFiatSent, &ids[i], nil)
	}
	collect()
	for i := range n {
		say(i, parties[2*i], message.ActionRelease, &ids[i], nil)
	}
	collect()
	for i := range n {
		hear(i, trade.Input{Kind: trade.InSettled, Hash: r.e.book.open[ids[i]].Hash})
	}
	collect()
	for i := range n {
		p := r.e.book.open[ids[i]].Payout
		hear(i, trade.Input{Kind: trade.InPaySent, Hash: p.Hash, Attempt: p.Attempt})
	}
	collect()
	for i := range n {
		p := r.e.book.open[ids[i]].Payout
		hear(i, trade.Input{Kind: trade.InPayment, Hash: p.Hash, Attempt: p.Attempt, Payment: trade.Result{Status: trade.PaymentSucceeded}})
	}
	collect()
	for i := range n {
		if r.e.book.open[ids[i]] != nil {
			r.b.Fatal("a trade did not end")
		}
	}
}

// commit is the commit of the engine, without the execution of effects.
func (r *speedRun) commit() {
	c := r.e.book.Take()
	if err := seal(r.b.Context(), r.e, c, r.w.clock.Now()); err != nil {
		r.b.Fatal(err)
	}
	if err := r.e.Store.Commit(c); err != nil {
		r.b.Fatal(err)
	}
	r.commits++
}

// TestMemoryOfOpenTrades holds ten thousand trades open and measures the memory. It runs only
// if MOSTRODEX_MEMORY=1 is set, because a shared process distorts the measurement.
func TestMemoryOfOpenTrades(t *testing.T) {
	if os.Getenv("MOSTRODEX_MEMORY") == "" {
		t.Skip("MOSTRODEX_MEMORY=1 measures the memory of 10,000 open trades")
	}
	w := newWorld(t)
	const trades = 10_000
	for n := 0; n < trades; n += 100 {
		err := w.engine.Ask(context.Background(), func(b *TradeBook, at int64) error {
			for i := n; i < n+100; i++ {
				p := trade.Party{Key: hexKeyOf(i + 1), Identity: simKey(uint64(i)), Index: 1, Transport: envelope.TransportV2}
				request := uint64(i)
				index := int64(1)
				_, err := b.Receive(InboundMessage{
					Transport: p.Transport, Sender: p.Key, Identity: p.Identity, Signed: true, CreatedAt: at, Received: at, ReplayID: fmt.Sprintf("%064x", i+1),
					Message: trade.Outgoing{Message: message.Message{Wrapper: message.WrapperOrder, RequestID: &request, TradeIndex: &index, Action: message.ActionNewOrder,
						Payload: &message.SmallOrder{Kind: mostro.SideSell, AmountSats: 50_000, FiatCode: "EUR", FiatAmount: 50, PaymentMethod: "SEPA"}}},
				}, at)
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	open := 0
	if err := w.engine.Ask(context.Background(), func(b *TradeBook, _ int64) error { open = len(b.open); return nil }); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		if w.engine.outbox.depth()[laneMail] == 0 || time.Now().After(deadline) {
			break
		}
	}
	runtime.GC()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc: ", err)
	}
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "RssAnon") {
			t.Logf("%d open trades: %s (the log of this test included)", open, strings.Join(strings.Fields(line)[1:], " "))
		}
	}
	if open != trades {
		t.Errorf("%d open trades", open)
	}
}

// TestSizeOfATrade measures the stored size of one trade, from which an operator can
// calculate the size of a store.
func TestSizeOfATrade(t *testing.T) {
	r := newRig(t)
	id, _, _ := r.toSettled()
	r.resolves(id, true)
	b, err := json.Marshal(r.trade(id))
	if err != nil {
		t.Fatal(err)
	}
	journal := 0
	for _, in := range r.store.journal[id] {
		row, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		journal += len(row)
	}
	t.Logf("trade %d bytes, journal %d bytes in %d rows", len(b), journal, len(r.store.journal[id]))
	if len(b) > 8192 || journal > 16384 {
		t.Error("the stored trade is too large")
	}
}
