package stats

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// script builds entries one by one. Every event is received live when it is created.
type script struct {
	t       *testing.T
	entries []mostro.Entry
}

const scriptAuthor = "abababababababababababababababababababababababababababababababab"

func (s *script) event(kind int, created int64, tags nostr.Tags) string {
	id := strings.Repeat("0", 60) + strconv.Itoa(1000+len(s.entries))
	id = id[60:] + id[:60]
	s.entries = append(s.entries, mostro.Entry{
		Seq: uint64(len(s.entries) + 1), ReceivedAt: time.Unix(created, 0).UTC(), Source: mostro.Source{Origin: mostro.OriginClient},
		Event: &nostr.Event{ID: id, PubKey: scriptAuthor, Kind: kind, CreatedAt: nostr.Timestamp(created), Tags: tags},
	})
	return id
}

// order adds a version of an order to sell 100 EUR for 200,000 sats. more replaces tags.
func (s *script) order(d, state string, created int64, more ...nostr.Tag) string {
	tags := nostr.Tags{{"d", d}, {"k", "sell"}, {"f", "EUR"}, {"s", state}, {"amt", "200000"}, {"fa", "100"}, {"pm", "SEPA"}, {"premium", "0"},
		{"network", "mainnet"}, {"y", "mostro"}, {"z", "order"}}
	for _, tag := range more {
		tags = slices.DeleteFunc(tags, func(t nostr.Tag) bool { return t[0] == tag[0] })
		tags = append(tags, tag)
	}
	return s.event(mostro.KindOrder, created, tags)
}

func (s *script) offers(q Query) int {
	s.t.Helper()
	book, err := collect(s.entries).BookAt(q)
	if err != nil {
		s.t.Fatal(err)
	}
	return len(book.Offers)
}

func TestBookDetails(t *testing.T) {
	t.Run("the earlier of two deletions ends the offer", func(t *testing.T) {
		s := &script{t: t}
		id := s.order("a", "pending", 1000)
		s.event(mostro.KindDeletion, 3000, nostr.Tags{{"e", id}})
		s.event(mostro.KindDeletion, 2000, nostr.Tags{{"e", id}})
		if before, after := s.offers(Query{Until: 1999}), s.offers(Query{Until: 2000}); before != 1 || after != 0 {
			t.Errorf("%d offers before the deletion and %d after, want 1 and 0", before, after)
		}
	})
	t.Run("a filter looks at the version in force", func(t *testing.T) {
		s := &script{t: t}
		s.order("a", "pending", 1000, nostr.Tag{"pm", "Cash"})
		s.order("a", "pending", 2000)
		for method, want := range map[string][2]int{"Cash": {1, 0}, "SEPA": {0, 1}} {
			f := Filter{ByMethod: {method}}
			if got := [2]int{s.offers(Query{Until: 1500, Filter: f}), s.offers(Query{Until: 2500, Filter: f})}; got != want {
				t.Errorf("offers by %s before and after the change: %v, want %v", method, got, want)
			}
		}
	})
	t.Run("coverage begins with the first witnessed event", func(t *testing.T) {
		s := &script{t: t}
		s.order("a", "pending", 1000)
		for at, want := range map[int64]bool{999: true, 1000: false} {
			if book, _ := collect(s.entries).BookAt(Query{Until: at}); book.BeforeCoverage != want {
				t.Errorf("before coverage at %d: %v, want %v", at, book.BeforeCoverage, want)
			}
		}
	})
	t.Run("an old offer is no sample of a rate", func(t *testing.T) {
		s := &script{t: t}
		s.order("a", "pending", 86400)
		points, err := collect(s.entries).ImpliedRates("EUR", Query{From: 0, Until: 12 * 86400}, Day, 0)
		if err != nil {
			t.Fatal(err)
		}
		var open []int
		for _, p := range points {
			open = append(open, p.Open)
		}
		// The offer is open at the ends of the days 1 to 7 (its age is then 1 to 7 days, and 7 is too old).
		if want := []int{1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0}; !slices.Equal(open, want) {
			t.Errorf("open samples are %v, want %v", open, want)
		}
		if points[0].Rate.String() != "50000" || !points[0].Parallel {
			t.Errorf("the rate is %s, parallel %v", points[0].Rate, points[0].Parallel)
		}
	})
	t.Run("a late info splits a time of one policy", func(t *testing.T) {
		s := &script{t: t}
		for _, info := range []struct {
			at  int64
			fee string
		}{{1000, "0.01"}, {2000, "0.01"}, {3000, "0.01"}, {1500, "0.02"}} {
			s.event(mostro.KindInfo, info.at, nostr.Tags{{"d", scriptAuthor}, {"fee", info.fee}, {"mostro_version", "1"}, {"y", "mostro"}, {"z", "info"}})
		}
		a := &collect(s.entries).authors[1]
		for at, want := range map[uint32]float64{1: 0.01, 1499: 0.01, 1500: 0.02, 2999: 0.02, 3000: 0.01, 9000: 0.01} {
			if got := *a.policyAt(at).Fee; got != want {
				t.Errorf("the fee at %d is %v, want %v", at, got, want)
			}
		}
	})
}

// TestPoliciesAreBounded: a node that changes its info with every event costs bounded memory.
func TestPoliciesAreBounded(t *testing.T) {
	s := &script{t: t}
	for i := range 2 * maxPolicies {
		s.event(mostro.KindInfo, int64(1000+i), nostr.Tags{{"d", scriptAuthor}, {"mostro_version", strings.Repeat("9", 10_000) + strconv.Itoa(i)},
			{"fee", []string{"0.01", "0.02"}[i%2]}, {"y", "mostro"}, {"z", "info"}})
	}
	a := &collect(s.entries).authors[1]
	if n, size := len(a.policies), len(a.policies[0].policy.Version); n > maxPolicies+2 || size > maxText {
		t.Errorf("%d policies with versions of %d bytes are kept", n, size)
	}
}

// TestManyVersionsOfOneOrder: an order keeps at most maxVersions versions, and its facts.
func TestManyVersionsOfOneOrder(t *testing.T) {
	s := &script{t: t}
	s.order("a", "pending", 1000)
	s.order("a", "in-progress", 1001)
	for i := range 3 * maxVersions {
		s.order("a", []string{"pending", "in-progress"}[i/7%2], int64(1002+i))
	}
	s.order("a", "success", 90_000)
	c := collect(s.entries)
	if n := len(c.versionsOf(0)); n != maxVersions {
		t.Errorf("%d versions are kept, want %d", n, maxVersions)
	}
	for name, want := range map[string]string{"orders.created": "1", "orders.completed": "1", "timing.cycle_p50": "89000", "timing.fill_p50": "1", "timing.complete_p50": "88999"} {
		if f, err := c.Metric(name, Query{From: 0, Until: 100_000}); err != nil || f.Value.String() != want {
			t.Errorf("%s is %s (%v), want %s", name, f.Value, err, want)
		}
	}
}

// TestReplayedEntriesCountOnce: an entry whose seq was applied before changes nothing.
func TestReplayedEntriesCountOnce(t *testing.T) {
	entries := randomMarket(3, 50, 4)
	c := collect(entries)
	want := c.Coverage(0)
	for i := range entries {
		c.Apply(&entries[i])
	}
	if got := c.Coverage(0); got.Witnessed != want.Witnessed || got.History != want.History || c.Applied() != uint64(len(entries)) {
		t.Errorf("the coverage is %+v after a replay, want %+v", got, want)
	}
}

// TestShortWindowsOfManyChunks: a scan that skips chunks by their times counts all orders of
// windows at the bounds of chunks.
func TestShortWindowsOfManyChunks(t *testing.T) {
	s := &script{t: t}
	const n = 2*rows + 100
	for i := range n {
		d, at := strconv.Itoa(i), int64(100_000+100*i)
		s.order(d, "pending", at)
		s.order(d, "success", at+50)
	}
	c := collect(s.entries)
	for _, i := range []int64{0, 1, rows - 1, rows, rows + 1, 2*rows - 1, 2 * rows, n - 1} {
		for _, name := range []string{"orders.created", "orders.completed"} {
			f, err := c.Metric(name, Query{From: 100_000 + 100*i, Until: 100_000 + 100*i + 100})
			if err != nil || f.Value.String() != "1" {
				t.Errorf("%s of order %d is %s (%v), want 1", name, i, f.Value, err)
			}
		}
	}
}
