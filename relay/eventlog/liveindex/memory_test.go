package liveindex

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
)

// book makes the index entries of an order book: version v of order i. Ids are random,
// not hashed from events.
type book struct{ now int64 }

func (b book) record(i, v int, seq uint64) Entry {
	r := rand.New(rand.NewPCG(uint64(i), 9))
	ie := Entry{Seq: seq, Chain: seq, Kind: mostro.KindOrder, CreatedAt: b.now - 250_000 + int64(i/5) + int64(v*1800), Expiration: b.now + 86400*30 + int64(i/5)}
	binary.BigEndian.PutUint64(ie.PubKey[:], uint64(min(r.IntN(40), r.IntN(40), r.IntN(40))))
	ie.ID = sha256.Sum256([]byte(fmt.Sprint(i, " ", v)))
	fiat := []string{"VES", "ARS", "EUR", "USD", "CUP", "BRL", "COP", "MXN", "CRC", "XAF"}[min(r.IntN(10), r.IntN(10))]
	status := "pending"
	if v > 0 && r.IntN(10) < 6 {
		status = []string{"in-progress", "success", "canceled"}[r.IntN(3)]
	}
	ie.Tags = []string{fmt.Sprintf("d%08x-%04x-4000-8000-%012x", r.Uint32(), r.IntN(1<<16), i), "k" + []string{"buy", "sell"}[r.IntN(2)], "f" + fiat, "s" + status, "ymostro", "zorder"}
	return ie
}

// TestMemoryOfLiveOrders measures the memory of the live index without payloads.
// MOSTRODEX_MEMORY is the number of orders; each order has five versions.
func TestMemoryOfLiveOrders(t *testing.T) {
	orders, err := strconv.Atoi(os.Getenv("MOSTRODEX_MEMORY"))
	if err != nil {
		t.Skip("MOSTRODEX_MEMORY=1000000 measures the memory of so many live orders")
	}
	const versions = 5
	b := book{time.Now().Unix()}
	alive := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	t.Run("Appended", func(t *testing.T) {
		before := alive()
		l, changes := New(Config{Now: time.Now}), []Change(nil)
		started := time.Now()
		seq, slowest := uint64(0), time.Duration(0)
		for v := range versions {
			for i := range orders {
				seq++
				ie := b.record(i, v, seq)
				c := Change{Add: &ie}
				if v > 0 {
					c.Remove = b.record(i, v-1, 0).ID
				}
				changes = append(changes[:0], c)
				at := time.Now()
				l.Apply(changes, func(uint64) int64 { return 0 })
				slowest = max(slowest, time.Since(at))
			}
		}
		took := time.Since(started)
		t.Logf("%.0f bytes per order, %.2f µs per version with its making, the slowest %v", (alive()-before)/float64(orders), took.Seconds()*1e6/float64(orders*versions), slowest)
		if n := l.n; n != orders {
			t.Errorf("%d live, want %d", n, orders)
		}
		runtime.KeepAlive(l)
	})
	t.Run("Loaded", func(t *testing.T) {
		before := alive()
		l := New(Config{Now: time.Now})
		started := time.Now()
		bulk := NewLoader(l)
		for i := range orders {
			bulk.Add(b.record(i, versions-1, uint64(orders*(versions-1)+i+1)), 0)
		}
		bulk.Finish()
		bulk = nil
		took := time.Since(started)
		t.Logf("%.0f bytes per order, %v", (alive()-before)/float64(orders), took)
		if l.n != orders {
			t.Errorf("%d live, want %d", l.n, orders)
		}
		runtime.KeepAlive(l)
	})
}
