package reputation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
	"github.com/nbd-wtf/go-nostr"
)

// service is a payment service. It answers with its texts in turn, the last one for ever.
type service struct {
	texts []string
	asked []string
}

func (s *service) Get(_ context.Context, url string, _ int64) (int, []byte, error) {
	s.asked = append(s.asked, url)
	text := s.texts[min(len(s.asked), len(s.texts))-1]
	if text == "" {
		return 0, nil, errors.New("no answer")
	}
	return 200, []byte(text), nil
}

func feeEntry(t *testing.T, node string, n int, verify, destination string, origin mostro.Origin) mostro.Entry {
	w := &scoretest.World{T: t}
	fee := mostro.DevFee{Pubkey: scoretest.KeyOf(node), OrderID: scoretest.OrderID(n), AmountSats: 9, Hash: scoretest.KeyOf(fmt.Sprint(node, n)), Destination: destination, Verify: verify, Network: "mainnet"}
	w.Event(fee.Event(), scoretest.At(1), origin)
	return w.Entries[0]
}

// TestAskerAsksOnlyTheAddress: a fee that was received live is asked about at the host of a
// configured address, and nowhere else.
func TestAskerAsksOnlyTheAddress(t *testing.T) {
	p := score.DefaultParams()
	p.FeeAddresses = []string{"dev@fund.example"}
	now := scoretest.At(1)
	from := &service{texts: []string{"", `{"settled":false}`, `{"status":"OK","settled":true,"pr":"lnbc"}`}}
	a := newAsker(p, scoretest.KeyOf("own"), from, func() time.Time { return now })
	good := "https://fund.example/verify/1"
	var batch []mostro.Entry
	for i, url := range []string{"http://fund.example/verify/1", "https://fund.example.evil.example/", "https://fund.example@evil.example/", "https://fund.example:81/", "https://evil.example/https://fund.example/",
		"https://fund.example", "https://fund.example/ x", "https://fund.example\\@evil.example/", "https://fund.example/" + strings.Repeat("a", 600), ""} {
		batch = append(batch, feeEntry(t, "cheat", i, url, "dev@fund.example", mostro.OriginLive))
	}
	batch = append(batch, feeEntry(t, "cheat", 20, good, "dev@other.example", mostro.OriginLive), feeEntry(t, "late", 21, good, "dev@fund.example", mostro.OriginBackfill),
		feeEntry(t, "node", 22, good, "dev@fund.example", mostro.OriginClient))
	a.read(batch)
	ask := func(after time.Duration) {
		now = now.Add(after)
		a.ask(context.Background())
	}
	ask(0)
	if len(from.asked) != 0 {
		t.Fatalf("asked %v before the fee can be settled", from.asked)
	}
	ask(askFirst)
	ask(askAgain[0])
	if len(a.take()) != 0 {
		t.Error("an answer without a settled payment is recorded before the last try")
	}
	ask(askAgain[1])
	got := a.take()
	if len(from.asked) != 3 || len(got) != 1 || got[0].hash != scoretest.KeyOf("node22") || got[0].answer.URL != good || !strings.Contains(got[0].answer.Body, "true") {
		t.Errorf("asked %v, recorded %+v", from.asked, got)
	}
	ask(100 * time.Hour)
	if len(from.asked) != 3 || len(a.waiting) != 0 || len(a.ofNode) != 0 {
		t.Errorf("asked %d times, %d wait, %v", len(from.asked), len(a.waiting), a.ofNode)
	}
}

// TestAskerIsBounded: a node that names many fees has 100 waiting questions at most, and the
// last answer about a fee that is never settled is recorded once.
func TestAskerIsBounded(t *testing.T) {
	p := score.DefaultParams()
	p.FeeAddresses = []string{"dev@fund.example"}
	now := scoretest.At(1)
	from := &service{texts: []string{`{"settled":false}`}}
	a := newAsker(p, scoretest.KeyOf("own"), from, func() time.Time { return now })
	var batch []mostro.Entry
	for n := range 300 {
		batch = append(batch, feeEntry(t, "cheat", n, "https://fund.example/v", "dev@fund.example", mostro.OriginLive))
	}
	a.read(batch)
	a.read(batch)
	if len(a.waiting) != maxOfNode || a.dropped == 0 {
		t.Fatalf("%d wait, %d dropped", len(a.waiting), a.dropped)
	}
	// An answer that the log holds already is not asked for again, and an old fee is not asked
	// about: the log is read from its first entry after a lost checkpoint.
	done := mostro.Entry{ReceivedAt: now, Event: &nostr.Event{PubKey: scoretest.KeyOf("own"), Kind: mostro.KindAppData, Tags: nostr.Tags{{"d", score.FeeAnswerD + scoretest.KeyOf("node500")}}}}
	a.read([]mostro.Entry{feeEntry(t, "node", 500, "https://fund.example/v", "dev@fund.example", mostro.OriginLive), done})
	now = now.Add(forgetAfter + time.Hour)
	a.read([]mostro.Entry{feeEntry(t, "node", 501, "https://fund.example/v", "dev@fund.example", mostro.OriginLive)})
	if len(a.waiting) != maxOfNode || len(a.ofNode) != 1 {
		t.Fatalf("%d wait, of %v", len(a.waiting), a.ofNode)
	}
	for range (len(askAgain) + 1) * maxOfNode {
		now = now.Add(20 * time.Hour)
		a.ask(context.Background())
	}
	if got := a.take(); len(got) != maxOfNode || len(a.waiting) != 0 || len(from.asked) != (len(askAgain)+1)*maxOfNode {
		t.Errorf("%d recorded, %d wait, %d asked", len(got), len(a.waiting), len(from.asked))
	}
}

// TestAnswersArePublished: an answer is an event of the relay's own key, from which the
// ledger learns the payment.
func TestAnswersArePublished(t *testing.T) {
	log, out := &scoretest.MemLog{}, &kept{}
	p := score.DefaultParams()
	p.FeeAddresses = []string{"dev@fund.example"}
	now := scoretest.At(1)
	s := open(t, Config{Log: log, Params: p, Publisher: out, Signer: byName("relay"), Getter: &service{texts: []string{`{"settled":true}`}}, Now: func() time.Time { return now }})
	log.Add(feeEntry(t, "node", 1, "https://fund.example/v", "dev@fund.example", mostro.OriginLive))
	round(t, s)
	now = now.Add(askFirst)
	s.asker.ask(context.Background())
	round(t, s)
	if len(out.events) != 1 || out.events[0].Tags.GetD() != score.FeeAnswerD+scoretest.KeyOf("node1") || out.events[0].PubKey != byName("relay").Pubkey() || !strings.Contains(out.events[0].Content, "settled") {
		t.Errorf("published %v", out.events)
	}
}

// kept is a publisher that keeps all events.
type kept struct{ events []*nostr.Event }

func (k *kept) Publish(_ context.Context, evt *nostr.Event) error {
	k.events = append(k.events, evt)
	return nil
}
