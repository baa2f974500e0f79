package indexer

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

var seedFlag = flag.Uint64("seed", 0, "seed of random tests; 0 takes the time")

func newRand(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// model computes all results from the readable log, using only the parsers of package
// mostro and the documented rules.
type model struct {
	heads   map[string]*mversion
	history map[string][]*mversion
	infos   map[string]mostro.Info
}

type mversion struct {
	mostro.Order
	seq      uint64
	at       time.Time
	archived bool
	isOrder  bool
	info     string // name in the author's newest info
}

func modelOf(l *memLog) *model {
	m := &model{map[string]*mversion{}, map[string][]*mversion{}, map[string]mostro.Info{}}
	err := l.Read(context.Background(), 0, func(e mostro.Entry) error {
		if e.Event.Kind == mostro.KindInfo {
			info, err := mostro.ParseInfo(e.Event)
			held, ok := m.infos[info.Pubkey]
			if err == nil && (!ok || info.CreatedAt > held.CreatedAt || info.CreatedAt == held.CreatedAt && info.EventID < held.EventID) {
				m.infos[info.Pubkey] = info
			}
		}
		if e.Event.Kind != mostro.KindOrder {
			return nil
		}
		d := e.Event.Tags.GetD()
		address := "38383:" + e.Event.PubKey + ":" + d
		o, err := mostro.ParseOrder(e.Event)
		if err != nil {
			if len(m.history[address]) == 0 {
				return nil
			}
			o = mostro.Order{EventID: e.Event.ID, Pubkey: e.Event.PubKey, D: d, CreatedAt: e.Event.CreatedAt}
		}
		m.history[address] = append(m.history[address], &mversion{o, e.Seq, e.ReceivedAt, e.Archived, err == nil, ""})
		return nil
	})
	if err != nil {
		panic(err)
	}
	for address, all := range m.history {
		slices.SortFunc(all, func(a, b *mversion) int {
			return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), cmp.Compare(b.EventID, a.EventID))
		})
		for _, v := range all {
			v.info = m.infos[v.Pubkey].Name
		}
		m.heads[address] = all[len(all)-1]
	}
	return m
}

func (v *mversion) live(now int64) bool {
	if v.archived || !v.isOrder {
		return false
	}
	if v.Expiration > 0 && int64(v.Expiration) <= now {
		return false
	}
	return v.Status != "pending" || v.ExpiresAt <= 0 || int64(v.ExpiresAt) > now
}

// known is the state of authors in an index that read the log in steps. Unlike model,
// known remembers events that were deleted later.
type known struct {
	infos map[string]bool
	uses  map[string]map[string]use // by name, then author
}

type use struct {
	seq       uint64
	witnessed bool
}

func (k *known) read(l *memLog) {
	if k.infos == nil {
		k.infos, k.uses = map[string]bool{}, map[string]map[string]use{}
	}
	err := l.Read(context.Background(), 0, func(e mostro.Entry) error {
		name := ""
		if o, err := mostro.ParseOrder(e.Event); err == nil {
			name = o.InstanceName
		} else if info, err := mostro.ParseInfo(e.Event); err == nil {
			name, k.infos[e.Event.PubKey] = info.Name, true
		}
		if name == "" {
			return nil
		}
		if k.uses[name] == nil {
			k.uses[name] = map[string]use{}
		}
		if _, held := k.uses[name][e.Event.PubKey]; !held {
			k.uses[name][e.Event.PubKey] = use{e.Seq, !e.Archived}
		}
		return nil
	})
	if err != nil {
		panic(err)
	}
}

// class returns the class of an order if all authors are new, and two names are either
// equal or have no common part.
func (k *known) class(v *mversion) int {
	for _, by := range k.uses {
		mine, uses := by[v.Pubkey]
		for other, theirs := range by {
			if uses && other != v.Pubkey && theirs.witnessed && theirs.seq < mine.seq {
				return 2
			}
		}
	}
	if v.Platform == "mostro" && !k.infos[v.Pubkey] {
		return 2
	}
	return 1
}

// wants is a second implementation of Query.matches, written from the documentation.
func wants(q *orders.Query, v *mversion, now int64) bool {
	if !v.isOrder {
		return false
	}
	open := v.live(now) && v.Status == "pending"
	if q.Open == orders.OpenTrue && (!v.live(now) || len(q.Status) == 0 && v.Status != "pending") || q.Open == orders.OpenFalse && open {
		return false
	}
	in := func(all []string, s string) bool { return len(all) == 0 || slices.Contains(all, s) }
	if !in(stringsOf(q.Side), string(v.Side)) || !in(stringsOf(q.Status), string(v.Status)) || !in(q.Fiat, v.Fiat) || !in(q.Platform, v.Platform) ||
		!in(q.Network, v.Network) || !in(q.Instance, v.Pubkey) {
		return false
	}
	if a := q.Amount; a.Min != nil || a.Max != nil {
		if v.AmountSats == nil || *v.AmountSats == 0 || a.Min != nil && float64(*v.AmountSats) < *a.Min || a.Max != nil && float64(*v.AmountSats) > *a.Max {
			return false
		}
	}
	if p := q.Premium; p.Min != nil || p.Max != nil {
		if v.PremiumPct == nil || p.Min != nil && v.PremiumPct.Float() < *p.Min || p.Max != nil && v.PremiumPct.Float() > *p.Max {
			return false
		}
	}
	if least := q.Rating.Min; least != nil {
		// Mostro rates from 0 to 5, Peach from 0 to 1. Other scales are unknown.
		scale := map[string]float64{"mostro": 5, "peach": 1}[v.Platform]
		if v.MakerRating == nil || v.MakerRating.Mean == nil || scale == 0 || *v.MakerRating.Mean*5 < *least*scale {
			return false
		}
	}
	if f := q.FiatAmount; f.Min != nil || f.Max != nil {
		if v.FiatAmount.Min == nil || f.Min != nil && v.FiatAmount.Max.Float() < *f.Min || f.Max != nil && v.FiatAmount.Min.Float() > *f.Max {
			return false
		}
	}
	if len(q.Method) > 0 && !slices.ContainsFunc(q.Method, func(ask string) bool {
		return slices.ContainsFunc(v.Methods, func(m string) bool { return naiveWords(m, ask) })
	}) {
		return false
	}
	return q.Text == "" || naiveWords(strings.Join(v.Methods, " ")+" "+v.Description+" "+v.InstanceName+" "+v.info+" "+naiveCountry[v.Fiat], q.Text)
}

var naiveCountry = map[string]string{
	"USD": "usd united states estados unidos dolar dollar ecuador english ingles spanish espanol",
	"VES": "ves venezuela bolivares bolivar spanish espanol", "EUR": "eur euro espana germany spanish espanol", "ARS": "ars argentina peso spanish espanol",
}

var plain = strings.NewReplacer("ó", "o", "ñ", "n", "é", "e", "í", "i")

// naiveWords reports whether each asked word is a prefix of a word of the text.
func naiveWords(text, ask string) bool {
	have := strings.Fields(plain.Replace(strings.ToLower(text)))
	for _, w := range strings.Fields(plain.Replace(strings.ToLower(ask))) {
		if w != "de" && !slices.ContainsFunc(have, func(h string) bool { return strings.HasPrefix(h, w) }) {
			return false
		}
	}
	return true
}

func naiveKey(q *orders.Query, v *mversion) float64 {
	unknown := math.Inf(1)
	if _, descending := q.Order(); descending {
		unknown = math.Inf(-1)
	}
	switch strings.TrimPrefix(string(q.Sort), "-") {
	case "premium":
		if v.PremiumPct == nil {
			return unknown
		}
		return v.PremiumPct.Float()
	case "amount":
		if v.AmountSats == nil || *v.AmountSats == 0 {
			return unknown
		}
		return float64(*v.AmountSats)
	case "expiry":
		end := int64(v.Expiration)
		if v.Status == "pending" && v.ExpiresAt > 0 && (end == 0 || int64(v.ExpiresAt) < end) {
			end = int64(v.ExpiresAt)
		}
		if end == 0 {
			return unknown
		}
		return float64(end)
	}
	return float64(v.CreatedAt)
}

func stringsOf[T ~string](all []T) (out []string) {
	for _, v := range all {
		out = append(out, string(v))
	}
	return out
}

// tally counts one value, if it is stated.
func tally(to map[string]int, value string) {
	if value != "" {
		to[value]++
	}
}

// answer returns the event ids of a query in order, and its facets.
func (m *model) answer(q *orders.Query, k *known, now int64) ([]string, orders.Facets) {
	type row struct {
		class   int
		key     float64
		id      orders.Key
		eventID string
	}
	var rows []row
	f := orders.NewFacets()
	for address, head := range m.heads {
		v := head
		if !q.At.IsZero() {
			now = q.At.Unix()
			v = nil
			for _, h := range m.history[address] {
				if int64(h.CreatedAt) <= now {
					c := *h
					c.archived = false
					v = &c
				}
			}
		}
		if v == nil || !wants(q, v, now) {
			continue
		}
		class := 0
		if q.Open == orders.OpenTrue && q.At.IsZero() && q.Sort != orders.SortNewest && q.Sort != orders.SortOldest {
			class = k.class(v)
		}
		rows = append(rows, row{class, naiveKey(q, v), orders.KeyOf(address), v.EventID})
		tally(f.Fiat, v.Fiat)
		tally(f.Side, string(v.Side))
		tally(f.Status, string(v.Status))
		tally(f.Platform, v.Platform)
		distinct := map[string]bool{}
		for _, pm := range v.Methods {
			distinct[plain.Replace(strings.ToLower(pm))] = true
		}
		for pm := range distinct {
			tally(f.Method, pm)
		}
	}
	slices.SortFunc(rows, func(a, b row) int {
		c := cmp.Or(cmp.Compare(a.key, b.key), strings.Compare(string(a.id[:]), string(b.id[:])))
		if _, descending := q.Order(); descending {
			c = -c
		}
		return cmp.Or(cmp.Compare(a.class, b.class), c)
	})
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = r.eventID
	}
	return out, f
}

func randomQuery(r *rand.Rand) orders.Query {
	some := func(n int) bool { return r.IntN(n) == 0 }
	num := func(all ...float64) *float64 { v := all[r.IntN(len(all))]; return &v }
	q := orders.Query{Limit: 1 + r.IntN(20), Open: orders.Openness(r.IntN(3))}
	if some(4) {
		q.Fiat = []string{[]string{"USD", "EUR", "XXX"}[r.IntN(3)], "VES"}[:1+r.IntN(2)]
	}
	if some(4) {
		q.Side = []mostro.Side{mostro.SideBuy, mostro.SideSell}[r.IntN(2):]
	}
	if some(4) {
		q.Status = []mostro.Status{"pending", "success", "in-progress", "canceled"}[r.IntN(4):]
	}
	if some(5) {
		q.Method = []string{[]string{"pago", "PAGO MÓVIL", "sepa", "transf banc", "nada"}[r.IntN(5)], "zelle"}[:1+r.IntN(2)]
	}
	if some(6) {
		q.Platform = []string{"robosats"}
	}
	if some(6) {
		q.Instance = []string{pubkeyOf(r.IntN(5))}
	}
	if some(6) {
		q.Network = []string{"testnet"}
	}
	if some(6) {
		q.Amount = orders.Span{Min: num(0, 500, 7500)}
		if some(2) {
			q.Amount.Max = num(1000, 50000)
		}
	}
	if some(6) {
		q.Premium = orders.Span{Min: num(-2, 0, 1), Max: num(1.5, 3, 10)}
	}
	if some(6) {
		q.Rating = orders.Span{Min: num(0, 0.5, 1, 4.5, 4.6)}
	}
	if some(6) {
		q.FiatAmount = orders.Span{Min: num(5, 60, 100), Max: num(100, 300)}
	}
	if some(3) {
		q.Text = []string{"transf", "pago movil", "Venezuela", "banco de venezuela", "mostro 2", "efectivo", "zelle bolívares", "español", "nothing", "mos"}[r.IntN(10)]
	}
	q.Sort = []orders.Sort{orders.SortAmountDesc, orders.SortExpiryDesc, orders.SortPremiumDesc, orders.SortAmount, orders.SortExpiry, orders.SortNewest, orders.SortOldest, orders.SortPremium, "", orders.SortTrusted}[r.IntN(10)]
	return q
}

// pages reads all pages of a query.
func pages(t *testing.T, x *Index, q orders.Query) (ids []string, first *Answer) {
	t.Helper()
	for n := 0; ; n++ {
		a, err := x.Orders(t.Context(), q)
		if err != nil {
			t.Fatalf("%+v: %v", q, err)
		}
		if first == nil {
			first = a
		}
		for _, r := range a.Orders {
			ids = append(ids, r.Order.EventID)
		}
		if a.Next == "" {
			return ids, first
		}
		if n > 10_000 {
			t.Fatalf("%+v: the pages do not end", q)
		}
		q.Cursor = a.Next
	}
}

func sameFacets(a, b orders.Facets) bool {
	return maps.Equal(a.Fiat, b.Fiat) && maps.Equal(a.Side, b.Side) && maps.Equal(a.Status, b.Status) && maps.Equal(a.Platform, b.Platform) && maps.Equal(a.Method, b.Method)
}

func TestEveryQueryEqualsTheNaiveFilter(t *testing.T) {
	r := newRand(t)
	queries := 100
	if testing.Short() {
		queries = 20
	}
	for round := range 2 {
		l, clk := newMemLog(), newClock()
		o := openTest(t, l, clk, "")
		seen := &known{}
		for step := range 3 {
			o.book.live.Load().DenseAbove = []int{1 << 14, 0, 30}[step]
			fillRandom(r, l, 300, 60)
			clk.set(t0 + int64(step*60))
			o.catchUp(t)
			m := modelOf(l)
			seen.read(l)
			for range queries {
				q := randomQuery(r)
				if r.IntN(4) == 0 {
					q.At = time.Unix(t0-400+r.Int64N(400), 0)
				}
				now := clk.now().Unix()
				want, facets := m.answer(&q, seen, now)
				got, a := pages(t, o.Index, q)
				if !slices.Equal(got, want) {
					t.Fatalf("round %d step %d: %+v\ngot  %d %v\nwant %d %v", round, step, q, len(got), got, len(want), want)
				}
				if a.Total != len(want) || !sameFacets(a.Facets, facets) {
					t.Fatalf("%+v: total %d, want %d; facets %+v, want %+v", q, a.Total, len(want), a.Facets, facets)
				}
			}
			checkHistories(t, o.Index, m)
		}
	}
}

func checkHistories(t *testing.T, x *Index, m *model) {
	t.Helper()
	for address, all := range m.history {
		pubkey, d, err := splitAddress(address)
		if err != nil {
			t.Fatal(err)
		}
		record, versions, err := x.Order(pubkey, d)
		if !m.heads[address].isOrder {
			if !errors.Is(err, mostro.ErrNotFound) {
				t.Fatalf("%s was withdrawn, got %v", address, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		line := func(id string, at time.Time, seq uint64, status mostro.Status) string {
			return fmt.Sprint(id, at.UnixMilli(), seq, status)
		}
		var got, want []string
		first := all[0].at
		for _, v := range versions {
			got = append(got, line(v.Order.EventID, v.ReceivedAt, v.Seq, v.Order.Status))
		}
		for _, v := range all {
			want = append(want, line(v.EventID, v.at, v.seq, v.Status))
			if v.at.Before(first) {
				first = v.at
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s: history\n%v, want\n%v", address, got, want)
		}
		if !record.FirstSeenAt.Equal(first) || record.Versions != len(all) {
			t.Fatalf("%s: first seen %v with %d versions, want %v with %d", address, record.FirstSeenAt, record.Versions, first, len(all))
		}
	}
}

func TestRestartAnywhereEqualsRebuild(t *testing.T) {
	r := newRand(t)
	for round := range 3 {
		l, clk, dir := newMemLog(), newClock(), t.TempDir()
		for range 6 {
			fillRandom(r, l, 120, 40)
			clk.set(clk.now().Unix() + r.Int64N(40))
			// The follower is interrupted at random points: the log fails before or after
			// an entry, and sometimes only the book has reached that entry.
			x, err := Open(Config{Dir: dir, Log: l, Events: l, Now: clk.now})
			if err != nil {
				t.Fatal(err)
			}
			l.failAt, l.persist = x.book.cursor.Load()+1+r.Uint64N(120), r.IntN(2) == 0
			if err := x.CatchUp(t.Context()); err != nil && !errors.Is(err, errLog) {
				t.Fatal(err)
			}
			l.failAt = 0
			if r.IntN(2) == 0 {
				if err := x.books.pass(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if err := x.Check(); err != nil {
				t.Fatal(err)
			}
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
		}
		grown := openTest(t, l, clk, dir)
		grown.catchUp(t)
		fresh := openTest(t, l, clk, "")
		fresh.catchUp(t)
		built := openTest(t, l, clk, "")
		if err := built.Rebuild(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		a, b, c := grown.digest(t), fresh.digest(t), built.digest(t)
		if a != b || b != c {
			t.Fatalf("round %d: digests differ:\ngrown %s\nfresh %s\nbuilt %s", round, a, b, c)
		}
		// Another entry must change the digest.
		l.add(draft{author: 1, d: "one more"}.event(), clk.now(), mostro.OriginClient, false)
		grown.catchUp(t)
		if grown.digest(t) == a {
			t.Fatal("the digest is equal after another order")
		}
	}
}

func TestSearchAnswersNIP50Filters(t *testing.T) {
	r := newRand(t)
	l, clk := newMemLog(), newClock()
	o := openTest(t, l, clk, "")
	fillRandom(r, l, 900, 200)
	o.catchUp(t)
	m := modelOf(l)
	now := clk.now().Unix()
	for range 200 {
		f := nostr.Filter{Limit: 1 + r.IntN(400)}
		q := orders.Query{Open: orders.OpenAny}
		words := []string{"", "transf", "pago movil", "venezuela", "zelle"}[r.IntN(5)]
		q.Text = words
		f.Search = words
		if r.IntN(2) == 0 {
			f.Search += " fiat:usd,ves unknown:thing language:es"
			q.Fiat = []string{"USD", "VES"}
		}
		if r.IntN(3) == 0 {
			f.Search += ` method:"pago móvil"`
			q.Method = []string{"pago movil"}
		}
		if r.IntN(3) == 0 {
			f.Search += " amount:>1000"
			lo := 1001.0
			q.Amount.Min = &lo
		}
		f.Kinds = []int{mostro.KindOrder}
		if r.IntN(3) == 0 {
			f.Authors = []string{pubkeyOf(1), pubkeyOf(2)}
		}
		if r.IntN(3) == 0 {
			f.Tags = nostr.TagMap{"s": {"pending"}, "y": {"mostro"}}
		}
		if r.IntN(3) == 0 {
			since := nostr.Timestamp(t0 - 300)
			f.Since = &since
		}
		if r.IntN(3) == 0 {
			until := nostr.Timestamp(t0 - 50)
			f.Until = &until
		}
		want := map[string]bool{}
		for _, head := range m.heads {
			if !head.live(now) || !wants(&q, head, now) {
				continue
			}
			evt, err := l.Event(t.Context(), head.EventID)
			if err != nil {
				t.Fatal(err)
			}
			if f.Matches(evt) {
				want[head.EventID] = true
			}
		}
		ids, err := o.Search(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, id := range ids {
			if got[id] || !want[id] {
				t.Fatalf("%+v: %s is twice in the answer or does not belong to it", f, id)
			}
			got[id] = true
		}
		if len(got) != min(len(want), f.Limit) {
			t.Fatalf("%+v: %d results, want %d of %d", f, len(got), f.Limit, len(want))
		}
	}
}

func TestExpiryIsToTheSecond(t *testing.T) {
	l, clk := newMemLog(), newClock()
	o := openTest(t, l, clk, "")
	l.add(draft{d: "a", expiry: t0 + 100, methods: []string{"Zelle"}}.event(), clk.now(), mostro.OriginClient, false)
	l.add(draft{d: "b", expiresAt: t0 + 50, expiry: t0 + 1000, methods: []string{"Zelle"}}.event(), clk.now(), mostro.OriginClient, false)
	l.add(draft{d: "c", methods: []string{"Zelle"}}.event(), clk.now(), mostro.OriginClient, false)
	o.catchUp(t)
	for _, at := range []struct{ second, live int64 }{{t0 + 49, 3}, {t0 + 50, 2}, {t0 + 99, 2}, {t0 + 100, 1}, {t0 + 5000, 1}} {
		clk.set(at.second)
		for _, text := range []string{"", "zel"} {
			a, err := o.Orders(t.Context(), orders.Query{Text: text})
			if err != nil {
				t.Fatal(err)
			}
			if int64(a.Total) != at.live || int64(len(a.Orders)) != at.live || int64(a.Facets.Fiat["USD"]) != at.live {
				t.Errorf("at +%d %q: %d orders of %d, want %d", at.second-t0, text, len(a.Orders), a.Total, at.live)
			}
		}
		ids, err := o.Search(t.Context(), nostr.Filter{Search: "zelle"})
		if err != nil || int64(len(ids)) != at.live {
			t.Errorf("at +%d: search gives %d (%v), want %d", at.second-t0, len(ids), err, at.live)
		}
		o.catchUp(t)
		a, err := o.Orders(t.Context(), orders.Query{Open: orders.OpenAny})
		if err != nil || a.Total != 3 {
			t.Errorf("at +%d: %d orders in all (%v), want 3", at.second-t0, a.Total, err)
		}
	}
}

func TestCursorIsStableUnderInserts(t *testing.T) {
	l, clk := newMemLog(), newClock()
	o := openTest(t, l, clk, "")
	for i := range 100 {
		l.add(draft{d: strconv.Itoa(i), at: t0 + int64(i/10), methods: []string{"Zelle"}}.event(), clk.now(), mostro.OriginClient, false)
	}
	o.catchUp(t)
	for _, sort := range []orders.Sort{orders.SortNewest, orders.SortPremium, orders.SortExpiry} {
		q := orders.Query{Limit: 7, Sort: sort}
		seen := map[string]bool{}
		for n := 0; ; n++ {
			a, err := o.Orders(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range a.Orders {
				if seen[r.Order.D] {
					t.Fatalf("%s: order %s twice", sort, r.Order.D)
				}
				seen[r.Order.D] = true
			}
			l.add(draft{d: fmt.Sprint(sort, "new", n), at: t0 + 50 - int64(n*4)}.event(), clk.now(), mostro.OriginClient, false)
			o.catchUp(t)
			if q.Cursor = a.Next; q.Cursor == "" {
				break
			}
		}
		for i := range 100 {
			if !seen[strconv.Itoa(i)] {
				t.Fatalf("%s: order %d is missing", sort, i)
			}
		}
	}
}
