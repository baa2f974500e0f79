package indexer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
)

// TestArchiveReadsAllVersions: batches of any size return each version of each order once, those
// of one order together and the oldest first. Versions that arrive between two batches are left
// out, whichever side of the place they sort on.
func TestArchiveReadsAllVersions(t *testing.T) {
	l, clk := newMemLog(), newClock()
	r := rand.New(rand.NewPCG(16, 16))
	fillRandom(r, l, 900, 40)
	x := openTest(t, l, clk, "")
	x.catchUp(t)
	position := x.book.cursor.Load()
	line := func(v *orders.Version) string { return fmt.Sprint(v.Seq, " ", v.Order.EventID, " ", v.Withdrawn) }
	want := map[orders.Key][]string{}
	for _, e := range l.entries {
		if e.Event.Kind != mostro.KindOrder {
			continue
		}
		k := orders.KeyOf(orders.Address(e.Event.PubKey, e.Event.Tags.GetD()))
		if want[k] != nil {
			continue
		}
		versions, err := x.book.history(k)
		if err != nil {
			continue // its author deleted the order
		}
		for _, v := range versions {
			want[k] = append(want[k], line(v))
		}
	}
	check := func(name string, all []*orders.Version) {
		t.Helper()
		got, before := map[orders.Key][]string{}, orders.Key{}
		for _, v := range all {
			k := orders.KeyOf(orders.Address(v.Order.Pubkey, v.Order.D))
			if k != before && got[k] != nil {
				t.Errorf("%s: the versions of an order do not come together", name)
			}
			got[k], before = append(got[k], line(v)), k
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d orders, want %d", name, len(got), len(want))
		}
		for k, lines := range want {
			if !slices.Equal(got[k], lines) {
				t.Errorf("%s: order %x has %v, want %v", name, k, got[k], lines)
			}
		}
	}
	for _, n := range []int{1, 2, 7, 100_000} {
		var all []*orders.Version
		for at := (place{}); !at.done; {
			batch, next, err := x.book.versionsFrom(at, n)
			if err != nil {
				t.Fatal(err)
			}
			if len(batch) > n {
				t.Fatalf("a batch of %d has %d versions", n, len(batch))
			}
			all, at = append(all, batch...), next
		}
		check(fmt.Sprint("batches of ", n), all)
	}
	var all []*orders.Version
	for at := (place{}); !at.done; {
		batch, next, err := x.book.versionsFrom(at, 50)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range batch {
			if v.Seq <= position {
				all = append(all, v)
			}
		}
		at = next
		d := random(r, 40) // a newer version of some order
		d.at = t0 + int64(len(l.entries))
		l.add(d.event(), clk.now(), mostro.OriginClient, false)
		x.catchUp(t)
	}
	check("with new versions between", all)
}
