//go:build unix

package escrow_test

import (
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/lncontract"
	"github.com/mostrodex/mostrodex/escrow/lndtest"
)

// BenchmarkTradesOnLND compares whole trades with the bare calls of such trades, on the same
// nodes in the same run, one and ten trades at a time. Both take many short turns, so that both
// see the same machine. The processor time is that of this process and of the nodes.
func BenchmarkTradesOnLND(b *testing.B) {
	nodes := lndtest.Start(b)
	n := flowNet(nodes)
	bare := &lncontract.Network{Mostro: wallet{nodes.Mostro.Lightning, nodes.Mostro}, Seller: wallet{nodes.Seller.Lightning, nodes.Seller}, Buyer: wallet{nodes.Buyer.Lightning, nodes.Buyer}}
	for _, c := range []struct{ turns, trades, parallel int }{{4, 10, 1}, {8, 50, 10}} {
		b.Run(strconv.Itoa(c.parallel), func(b *testing.B) {
			runBare := func() time.Duration {
				result, err := lncontract.RunBare(b.Context(), bare, c.trades, c.parallel)
				if err != nil {
					b.Fatal(err)
				}
				return result.Elapsed
			}
			rate := escrow.StartRate(b, n, c.turns*c.trades)
			runTrades := func() time.Duration { return rate.Run(c.trades, c.parallel) }
			type usage struct{ wall, cpu, nodes time.Duration }
			use := func(u *usage, run func() time.Duration) {
				cpu, nodesCPU := processorTime(b), nodesTime(b, nodes)
				u.wall += run()
				u.cpu += processorTime(b) - cpu
				u.nodes += nodesTime(b, nodes) - nodesCPU
			}
			for b.Loop() {
				var calls, trades usage
				for turn := range c.turns {
					if turn%2 == 0 {
						use(&calls, runBare)
						use(&trades, runTrades)
					} else {
						use(&trades, runTrades)
						use(&calls, runBare)
					}
				}
				all := float64(c.turns * c.trades)
				b.ReportMetric(all/calls.wall.Seconds(), "bare/s")
				b.ReportMetric(all/trades.wall.Seconds(), "trades/s")
				b.ReportMetric(100*calls.wall.Seconds()/trades.wall.Seconds(), "percent")
				b.ReportMetric(calls.cpu.Seconds()*1000/all, "bare-cpu-ms")
				b.ReportMetric(calls.nodes.Seconds()*1000/all, "bare-nodes-cpu-ms")
				b.ReportMetric(trades.cpu.Seconds()*1000/all, "trades-cpu-ms")
				b.ReportMetric(trades.nodes.Seconds()*1000/all, "trades-nodes-cpu-ms")
			}
		})
	}
}

func nodesTime(tb testing.TB, n *lndtest.Network) time.Duration {
	tb.Helper()
	used, err := n.ProcessorTime()
	if err != nil {
		tb.Fatal(err)
	}
	return used
}

// processorTime returns the processor time that this process has used so far, without the
// nodes.
func processorTime(tb testing.TB) time.Duration {
	tb.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
