package relay

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// BenchmarkFill fills an empty relay from a full one by negentropy, over a real
// socket: every event verified and durable. Both relays share the machine.
func BenchmarkFill(b *testing.B) {
	const n = 20_000
	full := startRelay(b, func(c *Config) { c.Limits.LiveAddressesPerKey = -1 })
	var body string
	for i := range n {
		evt := signedBy(b, fmt.Sprintf("%064x", 0x100+i%40), mostro.KindOrder, now()-int64(i), "", nostr.Tag{"d", fmt.Sprint(i)},
			nostr.Tag{"s", "pending"}, nostr.Tag{"f", "VES"}, nostr.Tag{"k", "sell"}, nostr.Tag{"y", "mostro"}, nostr.Tag{"z", "order"},
			nostr.Tag{"pm", "Pago Móvil", "Transferencia bancaria"}, nostr.Tag{"expiration", fmt.Sprint(now() + 86400)}, nostr.Tag{"amt", "0"}, nostr.Tag{"fa", "1000"})
		body += string(mostro.EncodeEvent(evt)) + "\n"
		if i%1000 == 999 {
			full.importAll(b, body)
			body = ""
		}
	}
	for b.Loop() {
		empty := startRelay(b, func(c *Config) { c.Limits.LiveAddressesPerKey = -1 })
		began := time.Now()
		us, _, stop := empty.follow(UpstreamsConfig{}, full.url())
		for healthOf(b, us, full.url()).Events.Kept < n {
			time.Sleep(time.Millisecond)
			if time.Since(began) > 2*time.Minute {
				b.Fatalf("%+v", healthOf(b, us, full.url()))
			}
		}
		took := time.Since(began).Seconds()
		b.ReportMetric(n/took, "events/s")
		b.ReportMetric(float64(healthOf(b, us, full.url()).Events.Bytes)/n, "bytes/event")
		stop()
	}
}

// BenchmarkSnapshot takes the set of a million live events for reconciliation.
func BenchmarkSnapshot(b *testing.B) {
	st, err := OpenStore(StoreConfig{Dir: b.TempDir(), BodyCache: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	r := rand.New(rand.NewPCG(1, 1))
	bulk := newBulk(st.live)
	for i := range 1_000_000 {
		rec := record{seq: uint64(i + 1), kind: mostro.KindOrder, createdAt: 1_780_000_000 + r.Int64N(40*86400), terms: []string{fmt.Sprint("d", i), "spending", "fVES"}}
		for j := range 4 {
			binary.LittleEndian.PutUint64(rec.id[8*j:], r.Uint64())
		}
		rec.pubkey[0] = byte(i % 40)
		bulk.add(rec)
	}
	bulk.finish()
	b.ResetTimer()
	for b.Loop() {
		items, _, err := st.LiveItems(b.Context(), nostr.Filter{Kinds: []int{mostro.KindOrder}})
		if err != nil || len(items) != 1_000_000 {
			b.Fatal(len(items), err)
		}
		(&negSet{items: items}).seal()
	}
}
