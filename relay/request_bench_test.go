package relay

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/relay/eventlog"
)

// BenchmarkRequest measures a REQ over a socket, from the frame to EOSE, with 20,000
// orders stored.
func BenchmarkRequest(b *testing.B) {
	st, err := eventlog.Open(eventlog.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	events := testkit.Market(20_000, time.Now().Unix())
	for _, evt := range events {
		if _, err := st.Enqueue(context.Background(), eventlog.Arrival{Event: evt, ReceivedAt: time.Now()}); err != nil {
			b.Fatal(err)
		}
	}
	if err := st.Wait(context.Background(), uint64(len(events)-1)); err != nil {
		b.Fatal(err)
	}
	r := startRelayOn(b, st, nil)
	c := dialRaw(b, r, "")
	for name, filters := range map[string]string{
		"one":   `{"kinds":[38383],"#d":["` + events[19_000].Tags.GetD() + `"]}`,
		"book":  `{"kinds":[38383],"#s":["pending"],"#f":["EUR"],"limit":100}`,
		"all":   `{"kinds":[38383],"limit":500}`,
		"three": `{"kinds":[38383],"#s":["pending"],"limit":50},{"kinds":[38383],"#f":["USD"],"limit":50},{"kinds":[38386],"limit":50}`,
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				c.text(`["REQ","bench",` + filters + `]`)
				for {
					if _, got := c.next(); strings.HasPrefix(got, `["EOSE"`) {
						break
					}
				}
			}
		})
	}
}
