package federation

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/nbd-wtf/go-nostr"
)

// BenchmarkFill fills an empty relay from a full one by negentropy, over a real socket.
// Every event is verified and durable. Both relays run on the same machine.
func BenchmarkFill(b *testing.B) {
	const n = 20_000
	full := startRelay(b, func(c *relay.Config) { c.Limits.LiveAddressesPerKey = -1 })
	var body string
	for i := range n {
		evt := testkit.SignedBy(b, fmt.Sprintf("%064x", 0x100+i%40), mostro.KindOrder, testkit.Now()-int64(i), "", nostr.Tag{"d", fmt.Sprint(i)},
			nostr.Tag{"s", "pending"}, nostr.Tag{"f", "VES"}, nostr.Tag{"k", "sell"}, nostr.Tag{"y", "mostro"}, nostr.Tag{"z", "order"},
			nostr.Tag{"pm", "Pago Móvil", "Transferencia bancaria"}, nostr.Tag{"expiration", fmt.Sprint(testkit.Now() + 86400)}, nostr.Tag{"amt", "0"}, nostr.Tag{"fa", "1000"})
		body += string(mostro.EncodeEvent(evt)) + "\n"
		if i%1000 == 999 {
			if _, err := full.srv.Import(b.Context(), strings.NewReader(body), relay.ImportOptions{}, func(relay.ImportResult) error { return nil }); err != nil {
				b.Fatal(err)
			}
			body = ""
		}
	}
	for b.Loop() {
		empty := startRelay(b, func(c *relay.Config) { c.Limits.LiveAddressesPerKey = -1 })
		began := time.Now()
		us, _, stop := empty.follow(Config{}, full.URL())
		for healthOf(b, us, full.URL()).Events.Kept < n {
			time.Sleep(time.Millisecond)
			if time.Since(began) > 2*time.Minute {
				b.Fatalf("%+v", healthOf(b, us, full.URL()))
			}
		}
		took := time.Since(began).Seconds()
		b.ReportMetric(n/took, "events/s")
		b.ReportMetric(float64(healthOf(b, us, full.URL()).Events.Bytes)/n, "bytes/event")
		stop()
	}
}
