package main

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// TestRateOverSockets measures whole trades per second from outside. Each trade uses two new
// keys and two new websockets. Every message is sealed, sent, answered and opened, and the
// sats are held and paid out on the simulated network. The clients run in the same process
// and use a part of the machine.
func TestRateOverSockets(t *testing.T) {
	if os.Getenv("MOSTRODEX_RATE") == "" {
		t.Skip("MOSTRODEX_RATE=1 measures whole trades over the demo's sockets")
	}
	m, stop := runDemo(t, t.TempDir(), nil)
	defer stop()
	const trades = 200
	var before, after purse
	getJSON(t, "http://"+m.PrivateAddr()+"/lnsim/balance", &before)
	done := 0
	for _, traders := range []int{1, 4, 16} {
		began := time.Now()
		cpu := processorTime(t)
		t.Run(fmt.Sprint(traders, " at a time"), func(t *testing.T) {
			for range traders {
				t.Run("trader", func(t *testing.T) {
					t.Parallel()
					for range trades / traders {
						x := newDemoTrade(t, m, envelope.TransportV2)
						x.toTaken()
						x.toFiatSent()
						x.seller.send(message.ActionRelease, &x.id, nil)
						x.buyer.expect(message.ActionPurchaseCompleted)
					}
				})
			}
		})
		n := trades / traders * traders
		done += n
		took := time.Since(began)
		t.Logf("%d at a time: %d trades in %v: %.1f per second; %.1f ms of processor time each, clients included",
			traders, n, took.Round(time.Millisecond), float64(n)/took.Seconds(), (processorTime(t)-cpu).Seconds()*1000/float64(n))
	}
	getJSON(t, "http://"+m.PrivateAddr()+"/lnsim/balance", &after)
	fees := int64(done) * 2 * demoFeeSats
	if want := (purse{WalletSats: before.WalletSats - fees, NodeSats: before.NodeSats + fees}); after != want {
		t.Errorf("after %d trades %+v, want %+v", done, after, want)
	}
}
