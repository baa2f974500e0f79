package liveindex

import (
	"fmt"
	"testing"
	"time"
)

// TestExpiriesOfEqualTimes replaces orders with equal expirations repeatedly. The
// entries are reused, and the heap must not keep an expiration per replacement.
func TestExpiriesOfEqualTimes(t *testing.T) {
	l := New(Config{Now: time.Now})
	id := func(i, v int) (id [32]byte) { copy(id[:], fmt.Sprint(i, " ", v)); return id }
	const orders = 100
	for v := range 200 {
		for i := range orders {
			if v > 0 {
				n, _ := l.entries.find(id(i, v-1))
				l.remove(n)
			}
			l.add(Entry{ID: id(i, v), Seq: 1, Chain: 1, Kind: 38383, CreatedAt: int64(v), Expiration: 5000, Tags: []string{fmt.Sprint("d", i), "spending"}}, nil)
		}
	}
	if most := 2*orders + 1025; len(l.expiries.heap) > most {
		t.Errorf("%d expiries of %d events, want at most %d", len(l.expiries.heap), orders, most)
	}
	l.Expire(5000)
	if l.n != 0 || len(l.expiries.hidden) != orders {
		t.Errorf("%d events are served and %d hidden, want 0 and %d", l.n, len(l.expiries.hidden), orders)
	}
}
