package stats

import (
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
)

// someToBan returns the ids of some orders, fees and disputes that no deletion names.
func someToBan(rng *rand.Rand, entries []mostro.Entry) (ids map[[32]byte]struct{}, names []string) {
	deleted := map[string]bool{}
	for i := range entries {
		if evt := entries[i].Event; evt.Kind == mostro.KindDeletion {
			for _, tag := range evt.Tags {
				deleted[tag[1]] = true
			}
		}
	}
	ids = map[[32]byte]struct{}{}
	for i := range entries {
		evt := entries[i].Event
		if rng.Intn(6) == 0 && (evt.Kind == mostro.KindOrder || evt.Kind == mostro.KindDevFee || evt.Kind == mostro.KindDispute) &&
			!deleted[evt.ID] && !deleted["38383:"+evt.PubKey+":"+evt.Tags.GetD()] {
			ids[keyOf(evt.ID)] = struct{}{}
			names = append(names, evt.ID)
		}
	}
	return ids, names
}

// TestBannedEventsDoNotCount compares all metrics after a ban with a naive recomputation without the
// banned events, before and after a restart, and after the ban has been lifted.
func TestBannedEventsDoNotCount(t *testing.T) {
	checked, nonNull := map[string]int{}, map[string]int{}
	for seed := range int64(6) {
		entries := randomMarket(900+seed, 160, 6)
		rng := rand.New(rand.NewSource(seed))
		ids, names := someToBan(rng, entries)
		if len(names) < 20 {
			t.Fatalf("only %d events are banned", len(names))
		}
		compare := func(label string, c *Collector, o *oracle) {
			t.Helper()
			for range 6 {
				q := randomQuery(rng, entries)
				doc, err := c.Document(q)
				if err != nil {
					t.Fatal(err)
				}
				compareDocument(t, label, doc, o.figures(q), checked, nonNull)
				book, err := c.BookAt(q)
				if err != nil {
					t.Fatal(err)
				}
				want := 0
				for _, versions := range o.orders {
					if v, ok := bookAt(versions, q.Until, q.Clock); ok && v.Status == mostro.StatusPending && (v.ExpiresAt == 0 || int64(v.ExpiresAt) > q.Until) && o.matches(v, q.Filter) {
						want++
					}
				}
				if len(book.Offers) != want {
					t.Fatalf("%s: %d offers, want %d", label, len(book.Offers), want)
				}
			}
		}
		idAt := func(seq uint64) (string, bool) {
			i := slices.IndexFunc(entries, func(e mostro.Entry) bool { return e.Seq == seq })
			return entries[i].Event.ID, true
		}
		without := newOracle(entries, names...)
		late, early := collect(entries), New()
		if early.orders.quiet = 20; len(late.Ban(ids, idAt)) > 0 {
			t.Fatal("a first ban lifts events")
		}
		early.Ban(ids, idAt) // before the events arrive
		for i := range entries {
			early.Apply(&entries[i])
		}
		compare("banned later", late, without)
		compare("banned before", early, without)
		restarted, err := Decode(late.Encode(nil))
		if err != nil {
			t.Fatal(err)
		}
		compare("after a restart", restarted, without)
		for _, c := range []*Collector{late, early, restarted} {
			lifted := c.Ban(nil, idAt)
			if len(lifted) < len(ids)/2 || !slices.IsSorted(lifted) {
				t.Fatalf("%d events are lifted, %d were banned", len(lifted), len(ids))
			}
			for i := range entries {
				if _, ok := slices.BinarySearch(lifted, entries[i].Seq); ok {
					c.Restore(&entries[i])
				}
			}
			compare("lifted", c, newOracle(entries))
		}
	}
	for _, name := range []string{"orders.created", "volume.sats", "dev_fees.sats", "dev_fees.duplicates", "disputes.closed", "dev_fees.coverage"} {
		if nonNull[name] == 0 {
			t.Errorf("%s was never compared", name)
		}
	}
}

// TestBanNamesOneAuthor: an event of another author whose id begins like a banned one still counts.
func TestBanNamesOneAuthor(t *testing.T) {
	s := &script{t: t}
	id := s.order("a", "pending", 1000)
	copied := s.entries[0]
	evt := *copied.Event
	evt.PubKey, evt.ID = strings.Repeat("ee", 32), id[:2*idBytes]+strings.Repeat("f", 64-2*idBytes)
	copied.Event, copied.Seq = &evt, 2
	c := collect(append(s.entries, copied))
	c.Ban(map[[32]byte]struct{}{keyOf(evt.ID): {}}, func(seq uint64) (string, bool) { return []string{"", id, evt.ID}[seq], true })
	f, err := c.Metric("orders.created", Query{From: 0, Until: 2000})
	if err != nil || f.Value.String() != "1" {
		t.Errorf("%s orders count after the ban of one of two (%v), want 1", f.Value, err)
	}
	if g, err := c.Groups("orders.created", Query{From: 0, Until: 2000}, ByInstance); err != nil || len(g) != 1 || g[0].Group != s.entries[0].Event.PubKey {
		t.Errorf("the wrong order is gone: %+v, %v", g, err)
	}
}
