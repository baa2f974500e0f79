package partitions

import (
	"bufio"
	"bytes"
	"context"
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
	"github.com/mostrodex/mostrodex/indexer/stats"
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

// packedVersions returns a thousand versions of orders as they lie in the book.
func packedVersions() (packed [][]byte) {
	for i := range 1000 {
		sats, days := int64(i*1000), int64(i)
		amount, mean := mostro.DecimalOf(int64(i+1)), 4.5
		v := orders.Version{Seq: uint64(i + 1), ReceivedAt: time.UnixMilli(1_790_000_000_000 + int64(i)), Source: mostro.Source{Origin: mostro.OriginLive, Relay: "wss://relay.example"},
			Order: mostro.Order{EventID: fmt.Sprintf("%064x", i*7919), Pubkey: fmt.Sprintf("%064x", i%100), D: fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i), CreatedAt: nostr.Timestamp(1_790_000_000 + i), Platform: "mostro", InstanceName: "Some Node",
				Side: "sell", Status: "pending", RawStatus: "pending", Fiat: "VES", FiatAmount: mostro.Range{Min: &amount, Max: &amount}, AmountSats: &sats, PremiumPct: &amount, Methods: []string{"Pago Móvil", "Transferencia bancaria"},
				Network: "mainnet", Layers: []string{"lightning"}, MakerRating: &mostro.MakerRating{Mean: &mean, Max: 5, Reviews: &days, Days: &days}, ExpiresAt: 1_790_086_400, Expiration: 1_790_086_400, Link: "mostro:" + fmt.Sprintf("%036x", i) + "?relays=wss://relay.example"}}
		packed = append(packed, v.Pack(nil))
	}
	return packed
}

// BenchmarkRows writes a million versions of orders, as they lie in the book, in each format. It
// prints rows per second and the greatest memory of the process. The versions are made anew from
// their packed form, as the book does.
func BenchmarkRows(b *testing.B) {
	const rows = 1_000_000
	packed := packedVersions()
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

// synthetic is a source with versions of orders in one month, and the same number of entries.
type synthetic struct {
	packed [][]byte
	n      int
}

func (s *synthetic) Now() time.Time                                 { return time.UnixMilli(1_792_000_000_000) }
func (s *synthetic) Covered() (uint64, bool)                        { return uint64(s.n), true }
func (s *synthetic) Head() uint64                                   { return uint64(s.n) }
func (s *synthetic) Hidden(context.Context) (*orders.Hidden, error) { return nil, nil }

func (s *synthetic) Stats(fn func(*stats.Collector, []map[[32]byte]struct{}) error) error {
	return fn(stats.New(), nil)
}

func (s *synthetic) Entries(_ context.Context, after, upTo uint64, fn func(*mostro.Entry) error) error {
	content := strings.Repeat("x", 300)
	for i := after; i < upTo; i++ {
		evt := &nostr.Event{ID: fmt.Sprintf("%064x", i*7919), PubKey: fmt.Sprintf("%064x", i%100), Kind: mostro.KindOrder, CreatedAt: 1_790_000_000, Sig: fmt.Sprintf("%0128x", i), Content: content,
			Tags: nostr.Tags{{"d", strconv.FormatUint(i/5, 10)}, {"k", "sell"}, {"f", "VES"}, {"s", "pending"}, {"amt", "0"}, {"fa", "100"}, {"pm", "Pago Móvil", "Transferencia bancaria"}, {"premium", "2"}}}
		if err := fn(&mostro.Entry{Seq: i + 1, Event: evt, ReceivedAt: time.UnixMilli(1_790_000_000_000), Source: mostro.Source{Origin: mostro.OriginClient}}); err != nil {
			return err
		}
	}
	return nil
}

func (s *synthetic) Versions(_ context.Context, upTo uint64, fn func(*orders.Version) error) error {
	for i := range int(upTo) {
		v, err := orders.UnpackVersion(s.packed[i%len(s.packed)])
		if err != nil {
			return err
		}
		v.Seq, v.ReceivedAt, v.Order.D, v.Order.EventID, v.Order.Pubkey = uint64(i+1), time.UnixMilli(1_790_000_000_000), strconv.Itoa(i/5), fmt.Sprintf("%064x", i*7919), fmt.Sprintf("%064x", i/5%100)
		if v.Order.Status = mostro.StatusPending; i%5 == 4 {
			v.Order.Status = mostro.StatusSuccess
		}
		if err := fn(v); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkMonth writes all files of a month of 500,000 versions. It prints events per second and
// the greatest memory of the process.
func BenchmarkMonth(b *testing.B) {
	source := &synthetic{packedVersions(), 500_000}
	for b.Loop() {
		runtime.GC()
		if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
			b.Skip(err)
		}
		s, err := Open(Config{Dir: b.TempDir(), Source: source, Now: source.Now})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Pass(b.Context()); err != nil {
			b.Fatal(err)
		}
		size := int64(0)
		for _, f := range s.Files() {
			size += f.Bytes
		}
		if size == 0 {
			b.Fatal("no file")
		}
		b.ReportMetric(float64(size)/1e6, "MB")
	}
	b.ReportMetric(float64(source.n*b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(peak(b), "peak-MB")
}
