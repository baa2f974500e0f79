package partitions

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/indexer/export"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// peak returns the greatest memory that the process had since the last reset, in MB.
func peak(tb testing.TB) float64 {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Skip(err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(raw)); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			if err != nil {
				tb.Fatal(err)
			}
			return kb / 1024
		}
	}
	return 0
}

// processorTime returns the processor time of the process.
func processorTime(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRows writes a million versions of orders, as they lie in the book, in each format. It
// prints rows per second and the greatest memory of the process. The versions are made anew from
// their packed form, as the book does.
func BenchmarkRows(b *testing.B) {
	const rows = 1_000_000
	var packed [][]byte
	for i := range 1000 {
		sats, days := int64(i*1000), int64(i)
		amount, mean := mostro.DecimalOf(int64(i+1)), 4.5
		v := orders.Version{Seq: uint64(i + 1), ReceivedAt: time.UnixMilli(1_790_000_000_000 + int64(i)), Source: mostro.Source{Origin: mostro.OriginLive, Relay: "wss://relay.example"},
			Order: mostro.Order{EventID: fmt.Sprintf("%064x", i*7919), Pubkey: fmt.Sprintf("%064x", i%100), D: fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i), CreatedAt: nostr.Timestamp(1_790_000_000 + i), Platform: "mostro", InstanceName: "Some Node",
				Side: "sell", Status: "pending", RawStatus: "pending", Fiat: "VES", FiatAmount: mostro.Range{Min: &amount, Max: &amount}, AmountSats: &sats, PremiumPct: &amount, Methods: []string{"Pago Móvil", "Transferencia bancaria"},
				Network: "mainnet", Layers: []string{"lightning"}, MakerRating: &mostro.MakerRating{Mean: &mean, Max: 5, Reviews: &days, Days: &days}, ExpiresAt: 1_790_086_400, Expiration: 1_790_086_400, Link: "mostro:" + fmt.Sprintf("%036x", i) + "?relays=wss://relay.example"}}
		packed = append(packed, v.Pack(nil))
	}
	set, _ := export.SetOf("history")
	for _, format := range []string{"ndjson", "csv", "parquet"} {
		b.Run(format, func(b *testing.B) {
			began := processorTime(b)
			for b.Loop() {
				runtime.GC()
				if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
					b.Skip(err)
				}
				var out export.Writer
				var err error
				switch format {
				case "csv":
					out = export.NewCSV(io.Discard, set)
				case "parquet":
					out, err = NewParquet(io.Discard, set)
				default:
					out = export.NewNDJSON(io.Discard, set)
				}
				if err != nil {
					b.Fatal(err)
				}
				x := &export.Orders{Window: export.Window{Until: time.UnixMilli(1_790_000_010_000)}, History: func(r *export.HistoryRow) error { return out.Write(r) }}
				for i := range rows {
					v, err := orders.UnpackVersion(packed[i%len(packed)])
					if err != nil {
						b.Fatal(err)
					}
					v.Seq = uint64(i)
					v.Order.D = strconv.Itoa(i / 5)
					if err := x.Add(v); err != nil {
						b.Fatal(err)
					}
				}
				if err := x.End(); err != nil {
					b.Fatal(err)
				}
				if err := out.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(float64(rows*b.N)/(processorTime(b)-began).Seconds(), "rows/cpu-s")
			b.ReportMetric(peak(b), "peak-MB")
		})
	}
}
