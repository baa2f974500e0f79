package corpus

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"go.uber.org/goleak"

	"github.com/mostrodex/mostrodex/mostro"
)

func mustNew(t testing.TB, cfg Config) *Corpus {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustEvents(t testing.TB, c *Corpus) []*nostr.Event {
	t.Helper()
	events, err := c.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// TestLoad checks the counts of the benchmarks' loads.
func TestLoad(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
		want Summary
	}{
		{"all kinds", Config{Seed: 1, Events: 100_000, Unexpired: true}, Summary{
			Events: 100_000, OrderEvents: 97_284, Orders: 41_413, Pending: 10_846, InProgress: 250, Success: 19_305, Canceled: 11_012,
			Infos: 240, Disputes: 524, DevFees: 884, UserRatings: 988,
		}},
		{"orders only", Config{Seed: 1, Orders: 47_500, OrdersOnly: true, Unexpired: true}, Summary{
			Events: 112_045, OrderEvents: 112_045, Orders: 47_500, Pending: 12_137, InProgress: 251, Success: 22_253, Canceled: 12_859,
		}},
		{"orders that expire", Config{Seed: 1, Orders: 47_500, OrdersOnly: true}, Summary{
			Events: 119_276, OrderEvents: 119_276, Orders: 47_500, Pending: 4_906, InProgress: 251, Success: 22_253, Canceled: 20_090,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := mustNew(t, c.cfg).Summary(); got != c.want {
				t.Fatalf("%+v, want %+v", got, c.want)
			}
		})
	}
}

// TestSameBytes checks that the same config produces the same stream for any number of
// workers.
func TestSameBytes(t *testing.T) {
	write := func(cfg Config) string {
		var b bytes.Buffer
		if err := mustNew(t, cfg).WriteNDJSON(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	one := write(Config{Seed: 7, Instances: 4, Orders: 400, Workers: 1})
	if four := write(Config{Seed: 7, Instances: 4, Orders: 400, Workers: 4}); four != one {
		t.Fatal("four workers give other bytes than one")
	}
	sum := sha256.Sum256([]byte(one))
	if got, want := hex.EncodeToString(sum[:]), "2c611bd2297f5209a8b7034a538e0a2cc3a8d53f498dcc1c24a069cf89066058"; runtime.GOARCH == "amd64" && got != want {
		t.Errorf("sha256 %s, want %s: has the market changed?", got, want)
	}
	if other := write(Config{Seed: 8, Instances: 4, Orders: 400}); other == one {
		t.Error("another seed produces the same bytes")
	}
}

// TestEvents checks every event of a small market, and compares the market that its
// readers see with the summary.
func TestEvents(t *testing.T) {
	c := mustNew(t, Config{Seed: 3, Instances: 6, Orders: 500})
	known := make(map[string]Instance)
	for _, in := range c.Instances() {
		known[in.Pubkey] = in
	}
	if len(known) != 6 {
		t.Fatalf("%d instances", len(known))
	}
	var got Summary
	last := make(map[string]mostro.Order)
	ids := make(map[string]bool)
	var before nostr.Timestamp
	size := 0
	for _, evt := range mustEvents(t, c) {
		if !evt.CheckID() {
			t.Fatalf("id of %s", evt)
		}
		if ok, err := evt.CheckSignature(); !ok || err != nil {
			t.Fatalf("signature of %s: %v", evt, err)
		}
		in, ok := known[evt.PubKey]
		if !ok || ids[evt.ID] {
			t.Fatalf("stranger or repetition: %s", evt)
		}
		ids[evt.ID] = true
		if at := evt.CreatedAt.Time(); evt.CreatedAt < before || at.Before(c.Start()) || !at.Before(c.End()) {
			t.Fatalf("out of order or span: %s", evt)
		}
		before = evt.CreatedAt
		got.Events++
		var err error
		switch mostro.Classify(evt) {
		case mostro.ClassOrder:
			got.OrderEvents++
			size += len(evt.String())
			var o mostro.Order
			if o, err = mostro.ParseOrder(evt); err != nil {
				break
			}
			older, seen := last[o.Address()]
			if seen && (o.CreatedAt <= older.CreatedAt || older.Status.Final() || o.Fiat != older.Fiat || o.Side != older.Side || !slices.Equal(o.Methods, older.Methods)) {
				t.Fatalf("%+v\nfollows\n%+v", o, older)
			}
			if !seen && o.Status != mostro.StatusPending {
				t.Fatalf("starts as %+v", o)
			}
			if o.Platform != "mostro" || o.InstanceName != in.Name || o.Network != in.Network || len(o.Methods) == 0 {
				t.Fatalf("%+v", o)
			}
			if o.Status == mostro.StatusPending && (o.MakerRating == nil || !strings.Contains(o.Link, o.Pubkey) || o.FiatAmount.Min == nil) {
				t.Fatalf("%+v", o)
			}
			if taken := o.Status == mostro.StatusInProgress || o.Status == mostro.StatusSuccess; taken && (*o.AmountSats <= 0 || *o.FiatAmount.Min != *o.FiatAmount.Max) {
				t.Fatalf("%+v", o)
			}
			last[o.Address()] = o
		case mostro.ClassInfo:
			got.Infos++
			var info mostro.Info
			if info, err = mostro.ParseInfo(evt); err == nil && (info.Name != in.Name || info.Fee == nil || info.LND == nil || info.Bond == nil) {
				t.Fatalf("%+v", info)
			}
		case mostro.ClassDispute:
			got.Disputes++
			_, err = mostro.ParseDispute(evt)
		case mostro.ClassDevFee:
			got.DevFees++
			_, err = mostro.ParseDevFee(evt)
		case mostro.ClassUserRating:
			got.UserRatings++
			_, err = mostro.ParseUserRating(evt)
		case mostro.ClassProfile:
			_, err = mostro.ParseProfile(evt)
		case mostro.ClassRelayList:
			_, err = mostro.ParseRelayList(evt)
		default:
			t.Fatalf("foreign: %s", evt)
		}
		if err != nil {
			t.Fatalf("%v: %s", err, evt)
		}
	}
	got.Orders = len(last)
	for _, o := range last {
		switch o.Status {
		case mostro.StatusPending:
			got.Pending++
		case mostro.StatusInProgress:
			got.InProgress++
		case mostro.StatusSuccess:
			got.Success++
		case mostro.StatusCanceled:
			got.Canceled++
		}
	}
	if want := c.Summary(); got != want {
		t.Fatalf("readers see %+v, the summary is %+v", got, want)
	}
	if got.Disputes == 0 || got.DevFees == 0 || got.UserRatings == 0 || got.Pending == 0 {
		t.Fatalf("something is missing: %+v", got)
	}
	if mean := size / got.OrderEvents; mean < 700 || mean > 900 {
		t.Errorf("an order's event has %d bytes in the mean", mean)
	}
}

// TestDisputes checks that a dispute has three states in order, and that the last state
// comes with the end of the trade.
func TestDisputes(t *testing.T) {
	c := mustNew(t, Config{Seed: 1, Orders: 20_000})
	found := 0
	for i := range c.orders {
		l := c.life(i)
		if len(l.disputes) == 0 {
			continue
		}
		found++
		d, end := l.disputes, l.versions[len(l.versions)-1]
		if len(d) != 3 || d[0].at <= l.versions[1].at || d[1].at <= d[0].at || d[2].at <= d[1].at || d[2].at != end.at ||
			(d[2].state == mostro.DisputeStateSettled) != (end.status == mostro.StatusSuccess) {
			t.Fatalf("order %d: %+v", i, l)
		}
	}
	if found < 50 {
		t.Fatalf("%d disputes", found)
	}
}

func TestExpirations(t *testing.T) {
	now := time.Date(2026, time.November, 1, 12, 0, 0, 0, time.UTC)
	t.Run("live at Now", func(t *testing.T) {
		c := mustNew(t, Config{Seed: 5, Instances: 2, Orders: 200, Now: now, OrdersOnly: true})
		if !c.End().Equal(now) {
			t.Fatalf("ends %v", c.End())
		}
		last := make(map[string]mostro.Order)
		for _, evt := range mustEvents(t, c) {
			o, err := mostro.ParseOrder(evt)
			if err != nil {
				t.Fatal(err)
			}
			last[o.Address()] = o
		}
		pending := 0
		for _, o := range last {
			if !o.Expiration.Time().After(now) {
				t.Fatalf("expired: %+v", o)
			}
			if o.Status == mostro.StatusPending {
				pending++
				if o.Expiration != o.ExpiresAt || o.Expiration.Time().After(now.Add(24*time.Hour)) {
					t.Fatalf("%+v", o)
				}
			}
		}
		if pending == 0 {
			t.Fatal("nothing is pending at Now")
		}
	})
	t.Run("a pending order that nobody wants is canceled", func(t *testing.T) {
		for i := range 50 {
			c := mustNew(t, Config{Seed: int64(i), Instances: 1, Orders: 1, OrdersOnly: true, Span: 96 * time.Hour, PendingFor: time.Hour})
			events := mustEvents(t, c)
			final, err := mostro.ParseOrder(events[len(events)-1])
			if err != nil {
				t.Fatal(err)
			}
			first, err := mostro.ParseOrder(events[0])
			if err != nil {
				t.Fatal(err)
			}
			if first.ExpiresAt != first.CreatedAt+3600 {
				t.Fatalf("%+v", first)
			}
			if final.Status == mostro.StatusCanceled && final.CreatedAt == first.ExpiresAt {
				return
			}
		}
		t.Fatal("none of fifty orders ran out")
	})
	t.Run("Unexpired", func(t *testing.T) {
		c := mustNew(t, Config{Seed: 5, Instances: 2, Orders: 200, Now: now, Unexpired: true})
		for _, evt := range mustEvents(t, c) {
			tag := evt.Tags.Find("expiration")
			if tag == nil {
				continue
			}
			at, err := strconv.ParseInt(tag[1], 10, 64)
			if err != nil || at < int64(evt.CreatedAt)+int64(year/time.Second) {
				t.Fatalf("expires %s: %s", tag[1], evt)
			}
		}
	})
}

func TestEach(t *testing.T) {
	defer goleak.VerifyNone(t)
	var reports []int
	cfg := Config{Seed: 1, Instances: 2, Orders: 600, OrdersOnly: true, Progress: func(done, total int) { reports = append(reports, done, total) }}
	c := mustNew(t, cfg)
	if err := c.Each(t.Context(), func(*nostr.Event) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if n := len(reports); n < 4 || reports[n-2] != c.Len() || reports[n-1] != c.Len() {
		t.Errorf("progress %v of %d", reports, c.Len())
	}
	stop := errors.New("enough")
	seen := 0
	err := c.Each(t.Context(), func(*nostr.Event) error {
		if seen++; seen == 300 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || seen != 300 {
		t.Errorf("%v after %d events", err, seen)
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen = 0
	err = c.Each(ctx, func(*nostr.Event) error {
		if seen++; seen == 300 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || seen == c.Len() {
		t.Errorf("%v after %d of %d events", err, seen, c.Len())
	}
}

func TestSign(t *testing.T) {
	c := mustNew(t, Config{Instances: 2})
	evt := nostr.Event{CreatedAt: 1782000000, Kind: mostro.KindDeletion}
	if err := c.Sign(1, &evt); err != nil {
		t.Fatal(err)
	}
	if ok, err := evt.CheckSignature(); !ok || err != nil || !evt.CheckID() || evt.PubKey != c.Instances()[1].Pubkey {
		t.Fatalf("%s: %v", evt, err)
	}
	if err := c.Sign(2, &evt); err == nil {
		t.Error("an instance that is not there signs")
	}
	if _, err := New(Config{Orders: -1}); err == nil {
		t.Error("a market of -1 orders")
	}
}

// TestCurrencies checks that the weights add up, and that the rare currency occurs
// rarely.
func TestCurrencies(t *testing.T) {
	total := 0
	for _, cur := range currencies {
		total += cur.weight
	}
	if total != 1000 {
		t.Errorf("weights add up to %d", total)
	}
	c := mustNew(t, Config{Seed: 1, Orders: 47_500, OrdersOnly: true})
	count := make(map[string]int)
	for i := range c.orders {
		count[c.terms(i).currency.code]++
	}
	t.Log(count)
	if n := count["XAF"]; n < 10 || n > 100 {
		t.Errorf("%d orders in XAF", n)
	}
	if n := count["VES"]; n < 47_500/6 || n > 47_500/4 {
		t.Errorf("%d orders in VES", n)
	}
}

func BenchmarkEach(b *testing.B) {
	c := mustNew(b, Config{Seed: 1, Events: max(b.N, 100)})
	b.ResetTimer()
	n := 0
	stop := errors.New("enough")
	err := c.Each(b.Context(), func(*nostr.Event) error {
		if n++; n >= b.N {
			return stop
		}
		return nil
	})
	if err != nil && !errors.Is(err, stop) {
		b.Fatal(err)
	}
}
