package envelope

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// These benchmarks compare the cost of a v2 message with the cost of its bare
// cryptography: Diffie-Hellman, the same signatures and checks, NIP-44. The difference
// is the cost of this package.

type benchMode struct {
	name     string
	identity *Keys
	unsigned bool
}

func benchModes(t testing.TB) (trade, node *Keys, modes []benchMode) {
	identity, trade := keysA(t)
	return trade, smallKeys(t, 3), []benchMode{{"reputation", identity, false}, {"privacy", nil, false}, {"node", nil, true}}
}

func benchMessage() message.Message {
	return message.Message{Wrapper: message.WrapperOrder, Version: 2, RequestID: new(uint64(1)), TradeIndex: new(int64(4)), Action: message.ActionNewOrder, Payload: &message.SmallOrder{
		Kind: mostro.SideSell, Status: message.TradePending, AmountSats: 52000, FiatCode: "EUR", FiatAmount: 50, PaymentMethod: "SEPA,Revolut"}}
}

// bareOpen does only the cryptography of Open.
func bareOpen(t testing.TB, evt *nostr.Event, node *Keys, body []byte, env Envelope, sigs [2]string) {
	if ok, err := evt.CheckSignature(); !ok || err != nil {
		t.Fatal("signature")
	}
	key, err := node.Conversation(evt.PubKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := key.Decrypt(evt.Content); err != nil {
		t.Fatal(err)
	}
	if sigs[0] != "" {
		p, err := message.ParsePoint(env.Sender)
		if err != nil || !verifyText(p, body, sigs[0]) {
			t.Fatal("trade signature")
		}
	}
	if sigs[1] != "" {
		p, err := message.ParsePoint(env.Identity)
		if err != nil || !verifyText(p, append(proofPrefix(env.Sender), body...), sigs[1]) {
			t.Fatal("identity signature")
		}
	}
}

// bareSeal does only the cryptography of Seal.
func bareSeal(t testing.TB, evt *nostr.Event, trade *Keys, mode benchMode, body, plain []byte, to string) {
	if !mode.unsigned {
		if _, err := trade.signText(body, rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	if mode.identity != nil {
		if _, err := mode.identity.signText(append(proofPrefix(trade.pubkey), body...), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	key, err := trade.Conversation(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := key.Encrypt(plain, rand.Reader); err != nil {
		t.Fatal(err)
	}
	if err := signEvent(evt, trade, rand.Reader); err != nil {
		t.Fatal(err)
	}
}

// prepared returns an event and all inputs of the bare cryptography.
func prepared(t testing.TB, trade, node *Keys, mode benchMode) (evt *nostr.Event, env Envelope, plain []byte, sigs [2]string, o SealOptions) {
	o = SealOptions{Transport: TransportV2, To: node.Pubkey(), Trade: trade, Identity: mode.identity, Unsigned: mode.unsigned, Now: testNow, Expiration: 1784592000}
	evt, err := Seal(context.Background(), benchMessage(), o)
	if err != nil {
		t.Fatal(err)
	}
	if env, err = Open(evt, node); err != nil {
		t.Fatal(err)
	}
	key, err := node.Conversation(evt.PubKey)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err = key.Decrypt(evt.Content); err != nil {
		t.Fatal(err)
	}
	tup, err := message.ParseTuple(plain, 3)
	if err != nil {
		t.Fatal(err)
	}
	if tup.Sig != nil {
		sigs[0] = *tup.Sig
	}
	sigs[1] = tup.IdentitySig
	return evt, env, plain, sigs, o
}

func BenchmarkOpenV2(b *testing.B) {
	trade, node, modes := benchModes(b)
	for _, mode := range modes {
		evt, env, _, sigs, _ := prepared(b, trade, node, mode)
		b.Run(mode.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Open(evt, node); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(mode.name+"/bare", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bareOpen(b, evt, node, env.RawMessage, env, sigs)
			}
		})
		b.Run(mode.name+"/remembering", func(b *testing.B) {
			node := node.Remembering(16)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Open(evt, node); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSealV2(b *testing.B) {
	trade, node, modes := benchModes(b)
	for _, mode := range modes {
		evt, env, plain, _, o := prepared(b, trade, node, mode)
		b.Run(mode.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Seal(context.Background(), env.Message, o); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(mode.name+"/bare", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bareSeal(b, evt, trade, mode, env.RawMessage, plain, o.To)
			}
		})
	}
}

// BenchmarkCostOverCryptography reports the cost of a message as a ratio to the bare
// cryptography. Both are timed in turns, and the best of many rounds counts, so that a
// busy machine slows both equally.
func BenchmarkCostOverCryptography(b *testing.B) {
	trade, node, modes := benchModes(b)
	best := func(f func()) time.Duration {
		start := time.Now()
		for range 4 {
			f()
		}
		return time.Since(start) / 4
	}
	for _, mode := range modes {
		evt, env, plain, sigs, o := prepared(b, trade, node, mode)
		signed := *evt
		b.Run(mode.name, func(b *testing.B) {
			open := [2]time.Duration{time.Hour, time.Hour}
			seal := open
			for b.Loop() {
				open[0] = min(open[0], best(func() {
					if _, err := Open(evt, node); err != nil {
						b.Fatal(err)
					}
				}))
				open[1] = min(open[1], best(func() { bareOpen(b, evt, node, env.RawMessage, env, sigs) }))
				seal[0] = min(seal[0], best(func() {
					if _, err := Seal(context.Background(), env.Message, o); err != nil {
						b.Fatal(err)
					}
				}))
				seal[1] = min(seal[1], best(func() { bareSeal(b, &signed, trade, mode, env.RawMessage, plain, o.To) }))
			}
			b.ReportMetric(float64(open[0])/float64(open[1]), "open/bare")
			b.ReportMetric(float64(seal[0])/float64(seal[1]), "seal/bare")
		})
	}
}

// TestAllocations bounds the allocations of this package, beyond the allocations of the
// bare cryptography.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	trade, node, modes := benchModes(t)
	for _, mode := range modes {
		evt, env, plain, sigs, o := prepared(t, trade, node, mode)
		signed := *evt
		open := testing.AllocsPerRun(50, func() {
			if _, err := Open(evt, node); err != nil {
				t.Fatal(err)
			}
		}) - testing.AllocsPerRun(50, func() { bareOpen(t, evt, node, env.RawMessage, env, sigs) })
		seal := testing.AllocsPerRun(50, func() {
			if _, err := Seal(context.Background(), env.Message, o); err != nil {
				t.Fatal(err)
			}
		}) - testing.AllocsPerRun(50, func() { bareSeal(t, &signed, trade, mode, env.RawMessage, plain, o.To) })
		t.Logf("%s: open %+.0f, seal %+.0f", mode.name, open, seal)
		if open > 20 || seal > 18 {
			t.Errorf("%s: open allocates %.0f times and seal %.0f times more than the cryptography", mode.name, open, seal)
		}
	}
}
