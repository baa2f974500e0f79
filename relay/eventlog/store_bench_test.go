package eventlog

import (
	"context"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// BenchmarkAppend measures durable appends with 256 in flight, like eight connections
// with 32 each.
func BenchmarkAppend(b *testing.B) {
	clock := testkit.NewClock()
	events := testkit.Market(b.N, clock.Now().Unix())
	st, err := Open(Config{Dir: b.TempDir(), Now: clock.Now})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	b.ResetTimer()
	var flight []Pending
	for _, evt := range events {
		p, err := st.Enqueue(context.Background(), Arrival{Event: evt, ReceivedAt: time.Now(), Source: mostro.Source{Origin: mostro.OriginClient}})
		if err != nil {
			b.Fatal(err)
		}
		if flight = append(flight, p); len(flight) == 256 {
			if _, _, err := flight[0].Wait(context.Background()); err != nil {
				b.Fatal(err)
			}
			flight = flight[1:]
		}
	}
	for _, p := range flight {
		p.Wait(context.Background())
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkQuery measures typical filters of clients over 42,000 live orders.
func BenchmarkQuery(b *testing.B) {
	clock := testkit.NewClock()
	events := testkit.Market(100_000, clock.Now().Unix())
	st, err := Open(Config{Dir: b.TempDir(), Now: clock.Now})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	for _, evt := range events {
		if _, err := st.Enqueue(context.Background(), Arrival{Event: evt, ReceivedAt: time.Now()}); err != nil {
			b.Fatal(err)
		}
	}
	if err := st.Wait(context.Background(), uint64(len(events)-1)); err != nil {
		b.Fatal(err)
	}
	kinds := []int{38383}
	var authors []string
	for i := range 40 {
		authors = append(authors, testkit.Unsigned(byte(i+1), 1, 1, "").PubKey)
	}
	var ids []string
	for i := range 20 {
		ids = append(ids, events[99_990-1000*i].ID)
	}
	since := nostr.Timestamp(clock.Now().Unix() - 30*3600)
	window := nostr.Timestamp(clock.Now().Unix() - 72*3600 + 60*3600)
	for name, f := range map[string]nostr.Filter{
		"ids20":     {IDs: ids},
		"window":    {Kinds: kinds, Since: &window},
		"d":         {Kinds: kinds, Tags: nostr.TagMap{"d": {firstD(events[99_000].Tags)}}},
		"author":    {Kinds: kinds, Authors: authors[3:4]},
		"authors40": {Kinds: kinds, Authors: authors, Since: &since},
		"s":         {Kinds: kinds, Tags: nostr.TagMap{"s": {"pending"}}},
		"s+f":       {Kinds: kinds, Tags: nostr.TagMap{"s": {"pending"}, "f": {"EUR"}}},
		"s+f+k":     {Kinds: kinds, Tags: nostr.TagMap{"s": {"pending"}, "f": {"EUR"}, "k": {"buy"}}},
		"s+rare":    {Kinds: kinds, Tags: nostr.TagMap{"s": {"pending"}, "f": {"XAF"}}},
		"s+8f":      {Kinds: kinds, Tags: nostr.TagMap{"s": {"pending"}, "f": {"VES", "ARS", "EUR", "USD", "CUP", "BRL", "COP", "MXN"}}},
		"y+z+s":     {Kinds: kinds, Tags: nostr.TagMap{"y": {"mostro"}, "z": {"order"}, "s": {"pending"}}},
		"newest":    {Kinds: kinds},
		"none":      {Kinds: kinds, Tags: nostr.TagMap{"s": {"pending"}, "f": {"ZZZ"}}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			dst := make([]Found, 0, 128)
			for range b.N {
				var err error
				if dst, err = st.Query(context.Background(), dst[:0], f, 100, 0); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(dst)), "events")
		})
	}
}
