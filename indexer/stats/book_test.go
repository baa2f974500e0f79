package stats

import (
	"errors"
	"fmt"
	"math"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// TestBookEqualsReplayAtRandomTimes compares the book at 100 random times, and at times of events, with
// a replay of all versions.
func TestBookEqualsReplayAtRandomTimes(t *testing.T) {
	offers := 0
	for seed := range int64(5) {
		entries := randomMarket(300+seed, 250, 7)
		c, o := collect(entries), newOracle(entries)
		rng := rand.New(rand.NewSource(seed))
		for i := range 100 {
			q := randomQuery(rng, entries)
			if i%4 > 0 {
				q.Filter = nil
			}
			q.Until = 1_780_000_000 - 86400 + rng.Int63n(45*86400)
			if e := entries[rng.Intn(len(entries))]; i%3 == 0 {
				q.Until = int64(e.Event.CreatedAt)
			} else if i%3 == 1 && e.Event.Kind == mostro.KindDeletion {
				q.Until = int64(e.Event.CreatedAt) - 1
			}
			book, err := c.BookAt(q)
			if err != nil {
				t.Fatal(err)
			}
			var got, want []uint64
			for _, offer := range book.Offers {
				got = append(got, offer.Seq)
			}
			for _, versions := range o.orders {
				v, ok := bookAt(versions, q.Until, q.Clock)
				if ok && v.Status == mostro.StatusPending && (v.ExpiresAt == 0 || int64(v.ExpiresAt) > q.Until) && o.matches(v, q.Filter) {
					want = append(want, v.seq)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if offers += len(got); !slices.Equal(got, want) {
				t.Fatalf("seed %d, %+v: the book has %v, want %v", seed, q, got, want)
			}
			if before := q.Until < c.Coverage(0).WitnessedFrom; book.BeforeCoverage != before {
				t.Fatalf("before coverage at %d: %v, want %v", q.Until, book.BeforeCoverage, before)
			}
		}
	}
	if offers < 1000 {
		t.Errorf("only %d offers were compared", offers)
	}
}

// naiveLevel returns the premium and the price of an order, NaN if unknown.
func naiveLevel(v oracleVersion, rate float64) (level, price float64) {
	level, price = math.NaN(), math.NaN()
	if v.AmountSats == nil {
		return level, price
	}
	if *v.AmountSats == 0 {
		if v.PremiumPct != nil {
			level = v.PremiumPct.Float()
			price = rate * (1 + level/100)
		}
		return level, price
	}
	if v.FiatAmount.Min != nil && v.FiatAmount.Min.Cmp(*v.FiatAmount.Max) == 0 {
		price = v.FiatAmount.Max.Float() / float64(*v.AmountSats) * 1e8
		level = (price/rate - 1) * 100
	}
	return level, price
}

func TestDepthAndCrossedPairsEqualNaiveRecomputation(t *testing.T) {
	crossed, levels := 0, 0
	for seed := range int64(4) {
		entries := randomMarket(400+seed, 400, 5)
		c, o := collect(entries), newOracle(entries)
		rng := rand.New(rand.NewSource(seed))
		for range 12 {
			q := Query{Until: 1_780_000_000 + rng.Int63n(40*86400)}
			for _, e := range entries { // a time shortly after a signed rate
				if e.Event.Kind == mostro.KindAppData && rng.Intn(80) == 0 {
					q.Until = int64(e.Event.CreatedAt) + rng.Int63n(5000)
				}
			}
			book, err := c.BookAt(q)
			if err != nil {
				t.Fatal(err)
			}
			var all []oracleVersion
			for _, versions := range o.orders {
				v, ok := bookAt(versions, q.Until, Signed)
				if ok && v.Status == mostro.StatusPending && (v.ExpiresAt == 0 || int64(v.ExpiresAt) > q.Until) {
					all = append(all, v)
				}
			}
			rateOf := func(fiat string) float64 { return o.reference(fiat, q.Until) }
			want := map[string]bool{}
			for _, buy := range all {
				for _, sell := range all {
					if buy.Side != mostro.SideBuy || sell.Side != mostro.SideSell || buy.Fiat != sell.Fiat || buy.Network != sell.Network {
						continue
					}
					if !slices.ContainsFunc(buy.Methods, func(m string) bool { return slices.Contains(sell.Methods, m) }) {
						continue
					}
					bl, bp := naiveLevel(buy, rateOf(buy.Fiat))
					sl, sp := naiveLevel(sell, rateOf(buy.Fiat))
					above := bl > sl
					if math.IsNaN(bl) || math.IsNaN(sl) {
						above = bp > sp
					}
					if above {
						want[fmt.Sprint(buy.seq, sell.seq)] = true
					}
				}
			}
			pairs, whole := book.Crossed()
			for _, p := range pairs {
				if !want[fmt.Sprint(p.Buy, p.Sell)] || p.Gap <= 0 || len(p.Methods) == 0 {
					t.Fatalf("seed %d at %d: the pair %+v is not crossed", seed, q.Until, p)
				}
			}
			if crossed += len(pairs); !whole || len(pairs) != len(want) {
				t.Fatalf("seed %d at %d: %d pairs, want %d", seed, q.Until, len(pairs), len(want))
			}
			for _, fiat := range []string{"EUR", "CUP", "ARS"} {
				depth, err := book.Depth(fiat, 1)
				if err != nil {
					t.Fatal(err)
				}
				sums, unknown := map[string]int64{}, int64(0)
				bid, ask := math.Inf(-1), math.Inf(1)
				for _, v := range all {
					level, _ := naiveLevel(v, rateOf(fiat))
					if v.Fiat != fiat {
						continue
					}
					if math.IsNaN(level) {
						unknown++
						continue
					}
					sums[fmt.Sprint(v.Side, math.Floor(level))]++
					if v.Side == mostro.SideBuy {
						bid = max(bid, level)
					} else {
						ask = min(ask, level)
					}
				}
				n := 0
				for side, list := range map[mostro.Side][]DepthLevel{mostro.SideBuy: depth.Bids, mostro.SideSell: depth.Asks} {
					for i, l := range list {
						n++
						if sums[fmt.Sprint(side, l.Level)] != l.Orders {
							t.Fatalf("%s %s at %v: %d orders, want %d", fiat, side, l.Level, l.Orders, sums[fmt.Sprint(side, l.Level)])
						}
						if i > 0 && l.Cumulative != list[i-1].Cumulative+l.Sats {
							t.Fatalf("%s: cumulative sats are wrong at %v", fiat, l.Level)
						}
					}
				}
				if levels += n; n != len(sums) || depth.Unleveled != unknown {
					t.Fatalf("%s: %d levels and %d without, want %d and %d", fiat, n, depth.Unleveled, len(sums), unknown)
				}
				if depth.Bid != nil && math.Abs(depth.Bid.Level.f-bid) > 1e-9 || depth.Ask != nil && math.Abs(depth.Ask.Level.f-ask) > 1e-9 {
					t.Fatalf("%s: best bid %v, best ask %v, want %v and %v", fiat, depth.Bid, depth.Ask, bid, ask)
				}
			}
		}
	}
	if crossed == 0 || levels == 0 {
		t.Errorf("%d crossed pairs and %d levels were compared", crossed, levels)
	}
}

func TestSurvivalEqualsNaiveProduct(t *testing.T) {
	entries := randomMarket(500, 400, 5)
	c, o := collect(entries), newOracle(entries)
	rng := rand.New(rand.NewSource(5))
	for range 30 {
		q := randomQuery(rng, entries)
		got, err := c.Survival(q)
		if err != nil {
			t.Fatal(err)
		}
		type life struct {
			age   int64
			taken bool
		}
		var lives []life
		for _, versions := range o.orders {
			seen, last := first(versions, q.Clock), newest(versions)
			if seen == 0 || seen < q.From || seen >= q.Until || !o.matches(last, q.Filter) {
				continue
			}
			if taken := first(versions, q.Clock, mostro.StatusInProgress); taken != 0 && taken <= q.Until {
				lives = append(lives, life{max(0, taken-seen), true})
				continue
			}
			end := q.Until
			for _, t := range []int64{first(versions, q.Clock, mostro.StatusCanceled), first(versions, q.Clock, mostro.StatusSuccess), int64(last.ExpiresAt)} {
				if t != 0 {
					end = min(end, t)
				}
			}
			if last.Status == mostro.StatusGone {
				end = min(end, int64(last.CreatedAt))
			}
			lives = append(lives, life{max(0, end-seen), false})
		}
		if got.Orders != int64(len(lives)) {
			t.Fatalf("%+v: %d orders, want %d", q, got.Orders, len(lives))
		}
		for _, step := range got.Steps {
			want := 1.0
			ages := map[int64]bool{}
			for _, l := range lives {
				if l.taken && l.age <= step.Seconds {
					ages[l.age] = true
				}
			}
			for age := range ages {
				risk, taken := 0.0, 0.0
				for _, l := range lives {
					if l.age >= age {
						risk++
					}
					if l.age == age && l.taken {
						taken++
					}
				}
				want *= 1 - taken/risk
			}
			if math.Abs(step.Survival-want) > 1e-9 {
				t.Fatalf("%+v: survival after %d s is %v, want %v", q, step.Seconds, step.Survival, want)
			}
		}
	}
}

// TestSurvivalOfTheTextbook computes the example of Kaplan-Meier tables: 6-MP in leukaemia
// (Freireich 1963), remissions of 21 patients.
func TestSurvivalOfTheTextbook(t *testing.T) {
	got := kaplanMeier([]uint32{6, 6, 6, 7, 10, 13, 16, 22, 23}, []uint32{6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35})
	want := map[int64]float64{6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
	for _, step := range got.Steps {
		if math.Abs(step.Survival-want[step.Seconds]) > 0.0006 {
			t.Errorf("survival at %d is %.4f, want %.3f", step.Seconds, step.Survival, want[step.Seconds])
		}
	}
	if len(got.Steps) != len(want) || got.Median.String() != "23" || got.Censored != 12 {
		t.Errorf("%d steps, median %s, %d censored", len(got.Steps), got.Median, got.Censored)
	}
}

func TestImpliedRateEqualsNaiveRecomputation(t *testing.T) {
	entries := randomMarket(600, 500, 5)
	c, o := collect(entries), newOracle(entries)
	compared, parallel := 0, 0
	for _, fiat := range []string{"EUR", "CUP"} {
		for _, by := range []Every{Hour, Day} {
			q := Query{From: 1_780_500_000, Until: 1_780_500_000 + 8*86400}
			points, err := c.ImpliedRates(fiat, q, by, 0.1)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range points {
				signed := o.reference(fiat, p.Until-1)
				if p.Parallel != math.IsNaN(signed) {
					t.Fatalf("%s at %d: parallel is %v", fiat, p.From, p.Parallel)
				}
				var prices []float64
				executed := 0
				for _, versions := range o.orders {
					last := newest(versions)
					if last.Fiat != fiat {
						continue
					}
					initial := versions[0]
					isRange := initial.FiatAmount.Min != nil && initial.FiatAmount.Min.Float() < initial.FiatAmount.Max.Float()
					fixed := last.FiatAmount.Min != nil && last.FiatAmount.Min.Cmp(*last.FiatAmount.Max) == 0
					if at := first(versions, Signed, mostro.StatusSuccess); last.Status == mostro.StatusSuccess && !isRange && fixed && last.AmountSats != nil && *last.AmountSats > 0 && at >= p.From && at < p.Until {
						prices = append(prices, last.FiatAmount.Max.Float()/float64(*last.AmountSats)*1e8)
						executed++
					}
					v, ok := bookAt(versions, p.Until, Signed)
					if !ok || v.Status != mostro.StatusPending || v.ExpiresAt != 0 && int64(v.ExpiresAt) <= p.Until || p.Until-int64(v.CreatedAt) >= 7*86400 {
						continue
					}
					if _, price := naiveLevel(v, signed); price > 0 {
						prices = append(prices, price)
					}
				}
				if p.Samples != len(prices) || p.Executed != executed {
					t.Fatalf("%s by %s at %d: %d samples, %d executed, want %d and %d", fiat, by, p.From, p.Samples, p.Executed, len(prices), executed)
				}
				if len(prices) == 0 {
					if !p.Rate.IsNull() {
						t.Fatalf("a rate without samples")
					}
					continue
				}
				slices.Sort(prices)
				cut := len(prices) / 10
				want := average(prices[cut : len(prices)-cut]).(float64)
				if math.Abs(p.Rate.Float()-want) > 1e-9*want {
					t.Fatalf("%s at %d: rate %s, want %v", fiat, p.From, p.Rate, want)
				}
				if compared++; p.Parallel {
					parallel++
				}
				if (p.Samples >= 5) != !p.Low.IsNull() || p.Low.Float() > p.Rate.Float() || p.High.Float() < p.Rate.Float() {
					t.Fatalf("%s at %d: interval %s to %s around %s of %d", fiat, p.From, p.Low, p.High, p.Rate, p.Samples)
				}
			}
		}
	}
	if compared == 0 || parallel == 0 || parallel == compared {
		t.Errorf("%d rates were compared, %d parallel", compared, parallel)
	}
}

// TestOneLiarCannotMoveTheDepth: of three signers, one signs any price. The rate stays between the
// prices of the others, and an unknown key or a distrusted one changes nothing.
func TestOneLiarCannotMoveTheDepth(t *testing.T) {
	const at = 1_780_000_000
	level := func(lie float64, q Query) (level, price float64) {
		m := &market{rng: rand.New(rand.NewSource(1))}
		var nodes []string
		for range 4 {
			nodes = append(nodes, m.hex(64))
		}
		for _, node := range nodes[:3] {
			m.event(node, mostro.KindInfo, at-9000, nostr.Tags{{"d", node}, {"y", "mostro"}, {"z", "info"}}, "")
		}
		order := func(node, d string) {
			m.event(node, mostro.KindOrder, at-8000, nostr.Tags{{"d", d}, {"k", "sell"}, {"f", "USD"}, {"s", "pending"}, {"amt", "100000"}, {"fa", "103"},
				{"pm", "cash"}, {"premium", "0"}, {"network", "mainnet"}, {"y", "mostro"}, {"z", "order"}}, "")
		}
		order(nodes[0], "one")
		order(nodes[3], "two") // a key without an info event, which signs rates too
		for i, price := range []float64{100_000, 101_000, lie, 1} {
			m.event(nodes[i], mostro.KindAppData, at-100+int64(i), nostr.Tags{{"d", "mostro-rates"}}, fmt.Sprintf(`{"BTC":{"USD":%g}}`, price))
		}
		for i := range m.entries {
			m.entries[i].Seq = uint64(i + 1)
		}
		c := collect(m.entries)
		q.Until = at
		book, err := c.BookAt(q)
		if err != nil || len(book.Offers) != 2 {
			t.Fatalf("%v, %d offers", err, len(book.Offers))
		}
		for _, s := range c.SignedRates("USD", at, 3600, q) {
			if s.Pubkey == nodes[3] {
				t.Error("the rate of a key without an info event counts")
			}
		}
		return book.Offers[0].Level.f, book.Offers[0].Price.f
	}
	for _, lie := range []float64{1, 90_000, 100_500, 110_000, 1e9, 1e300} {
		got, price := level(lie, Query{})
		low, high := (103.0/101-1)*100, (103.0/100-1)*100
		if got < low-1e-9 || got > high+1e-9 || math.Abs(price-103_000) > 1e-6 {
			t.Errorf("with the lie %g the level is %v, want one from %v to %v", lie, got, low, high)
		}
		liars := map[string]bool{}
		m := &market{rng: rand.New(rand.NewSource(1))}
		for i := range 3 {
			if key := m.hex(64); i == 2 {
				liars[key] = true
			}
		}
		if got, _ := level(lie, Query{Distrust: func(key string) bool { return liars[key] }}); math.Abs(got-(103.0/100.5-1)*100) > 1e-9 {
			t.Errorf("without the liar the level is %v", got)
		}
	}
}

// TestSourcesNameTheEvents compares the events behind a figure with its number of events, and
// checks that each event is of the right kind and status.
func TestSourcesNameTheEvents(t *testing.T) {
	entries := randomMarket(700, 300, 5)
	c := collect(entries)
	bySeq := map[uint64]mostro.Entry{}
	for _, e := range entries {
		bySeq[e.Seq] = e
	}
	status := map[string]string{"orders.completed": "success", "timing.fill_p50": "in-progress", "orders.open_now": "pending"}
	rng := rand.New(rand.NewSource(7))
	total := 0
	for range 20 {
		q := randomQuery(rng, entries)
		for _, name := range []string{"orders.created", "orders.completed", "orders.canceled", "orders.completion_rate", "timing.fill_p50", "orders.open_now",
			"orders.in_progress_now", "dev_fees.count", "disputes.opened", "disputes.closed", "volume.fiat.EUR.completed", "market.methods.SEPA.orders"} {
			figure, err := c.Metric(name, q)
			if err != nil {
				t.Fatal(err)
			}
			var seqs []uint64
			for after := uint64(0); ; {
				page, err := c.Sources(name, q, after, 7)
				if err != nil {
					t.Fatal(err)
				}
				seqs = append(seqs, page...)
				if len(page) < 7 {
					break
				}
				after = page[len(page)-1]
			}
			want := figure.Events
			if strings.Contains(name, "EUR") || strings.Contains(name, "SEPA") {
				if want = 0; !figure.Value.IsNull() {
					want = figure.Value.n
				}
			}
			if figure.Error == "" && int64(len(seqs)) != want {
				t.Fatalf("%+v: %s has %d sources, want %d", q, name, len(seqs), want)
			}
			for _, seq := range seqs {
				e, ok := bySeq[seq]
				if s := status[name]; !ok || s != "" && e.Event.Tags.Find("s")[1] != s {
					t.Fatalf("%s: source %d is %v", name, seq, e.Event)
				}
				total++
			}
		}
	}
	if total < 500 {
		t.Errorf("only %d sources were checked", total)
	}
}

func TestPolicyChanges(t *testing.T) {
	a := strings.Repeat("ab", 32)
	var entries []mostro.Entry
	m := &market{rng: rand.New(rand.NewSource(1))}
	for i, fee := range []string{"0.006", "0.006", "0.01", "0.01", "0.006"} {
		m.event(a, mostro.KindInfo, int64(1000+100*i), nostr.Tags{{"d", a}, {"fee", fee}, {"mostro_version", "1"}, {"y", "mostro"}, {"z", "info"}}, "")
	}
	entries = m.entries
	for i := range entries {
		entries[i].Seq = uint64(i + 1)
	}
	changes, err := collect(entries).Policies(a, 1050, 2000)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, ch := range changes {
		got = append(got, fmt.Sprint(ch.At, *ch.Policy.Fee, ch.Seq))
	}
	if want := []string{"1000 0.006 1", "1200 0.01 3", "1400 0.006 5"}; !slices.Equal(got, want) {
		t.Errorf("changes are %q, want %q", got, want)
	}
}

// TestBadParametersAreNamed: each bad query returns a ParamError with the parameter's name.
func TestBadParametersAreNamed(t *testing.T) {
	c := collect(randomMarket(1, 20, 3))
	good := Query{From: 1_780_000_000, Until: 1_780_100_000}
	nan := math.NaN()
	with := func(f func(*Query)) Query { q := good; f(&q); return q }
	document := func(q Query) error { _, err := c.Document(q); return err }
	for name, test := range map[string]struct {
		param string
		err   error
	}{
		"a window of a thousand years": {"until", document(with(func(q *Query) { q.Until = q.From + 1000*366*86400 }))},
		"a window of a hundred years":  {"until", document(with(func(q *Query) { q.From, q.Until = 0, 101*366*86400 }))},
		"an empty window":              {"until", document(with(func(q *Query) { q.Until = q.From }))},
		"a start before 1970":          {"from", document(with(func(q *Query) { q.From = -1 }))},
		"the greatest numbers":         {"until", document(with(func(q *Query) { q.From, q.Until = 0, math.MaxInt64 }))},
		"the least numbers":            {"from", document(with(func(q *Query) { q.From = math.MinInt64 }))},
		"an unknown clock":             {"clock", document(with(func(q *Query) { q.Clock = 7 }))},
		"a long currency":              {"in", document(with(func(q *Query) { q.In = strings.Repeat("X", 17) }))},
		"no key":                       {"instance", document(with(func(q *Query) { q.Filter = Filter{ByInstance: {"me"}} }))},
		"no side":                      {"side", document(with(func(q *Query) { q.Filter = Filter{BySide: {"both"}} }))},
		"an unknown dimension":         {"colour", document(with(func(q *Query) { q.Filter = Filter{"colour": {"red"}} }))},
		"501 currencies":               {"fiat", document(with(func(q *Query) { q.Filter = Filter{ByFiat: make([]string, 501)} }))},
		"a series of a million points": {"by", second(c.Series("orders.created", Query{From: 0, Until: 3_100_000_000}, Hour))},
		"a series by fortnight":        {"by", second(c.Series("orders.created", good, "fortnight"))},
		"a series of the silent":       {"metric", second(c.Series("instances.silent", good, Day))},
		"an unknown metric":            {"metric", second(c.Metric("orders.sold", good))},
		"a pattern":                    {"metric", second(c.Metric("volume.fiat.{code}.total", good))},
		"groups by colour":             {"split", second(c.Groups("orders.created", good, "colour"))},
		"groups of a node's figures":   {"metric", second(c.Groups("instances.median", good, ByFiat))},
		"no sources":                   {"limit", second(c.Sources("orders.created", good, 0, 0))},
		"sources of silence":           {"metric", second(c.Sources("instances.silent", good, 0, 1))},
		"a trim of NaN":                {"trim", second(c.ImpliedRates("EUR", good, Hour, nan))},
		"a trim of a half":             {"trim", second(c.ImpliedRates("EUR", good, Hour, 0.5))},
		"rates by month":               {"by", second(c.ImpliedRates("EUR", good, Month, 0))},
		"rates without a currency":     {"fiat", second(c.ImpliedRates("", good, Day, 0))},
		"a step of NaN":                {"step", second(new(Book).Depth("EUR", nan))},
		"a step of 0":                  {"step", second(new(Book).Depth("EUR", 0))},
		"a book in the year 3000":      {"at", second(c.BookAt(Query{Until: 32_503_680_000}))},
		"a book before 1970":           {"at", second(c.BookAt(Query{Until: -5}))},
		"policies of no key":           {"instance", second(c.Policies("me", 0, 1))},
	} {
		var p *ParamError
		if !errors.As(test.err, &p) || p.Param != test.param {
			t.Errorf("%s: the error is %v, want one of %s", name, test.err, test.param)
		}
	}
}

func second[T any](_ T, err error) error { return err }
