package reputation

import (
	"math"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
	"github.com/nbd-wtf/go-nostr"
)

// bazaar is a market of Mostros, each with one fitting offer and a rank.
type bazaar struct {
	t testing.TB
	facts
}

func newBazaar(t testing.TB) *bazaar {
	return &bazaar{t, facts{scores: map[string]score.Score{}, whole: true, now: time.Unix(1_000_000, 0)}}
}

func (b *bazaar) mostro(name string, rank int, exposure int64, fee string, change func(*mostro.Info, *mostro.Order, *score.Score)) {
	key := scoretest.KeyOf(name)
	least, most := int64(1000), int64(100_000)
	i := mostro.Info{Pubkey: key, Name: name, Fee: scoretest.Decimal(b.t, fee), MinOrderSats: &least, MaxOrderSats: &most, AnyCurrency: true}
	o := mostro.Order{Pubkey: key, D: "offer of " + name, Fiat: "VES", Side: mostro.SideSell, FiatAmount: mostro.Range{Min: scoretest.Decimal(b.t, "10"), Max: scoretest.Decimal(b.t, "200")},
		PremiumPct: scoretest.Decimal(b.t, "1"), Network: "mainnet", ExpiresAt: nostr.Timestamp(b.now.Unix() + 60)}
	s := score.Score{Pubkey: key, Name: name, Rank: rank, Lo: score.Micro(rank) * score.One, Value: score.Micro(rank+5) * score.One, Hi: score.Micro(rank+10) * score.One, ExposureSats: exposure}
	if change != nil {
		change(&i, &o, &s)
	}
	b.infos, b.scores[key] = append(b.infos, i), s
	if o.D != "" {
		b.offers = append(b.offers, o)
	}
}

// says is a fake of the operator's own source of prices.
type says map[string]float64

func (s says) Price(fiat string, _ time.Time) (float64, bool) { return s[fiat], s[fiat] > 0 }

func (b *bazaar) price(name string, price float64) {
	b.rates = append(b.rates, Rate{scoretest.KeyOf(name), price, b.now.Add(-time.Minute)})
}

func wish(t testing.TB, query string) Wish {
	t.Helper()
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	w, err := ParseWish(values)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func names(list []Candidate) (out []string) {
	for _, c := range list {
		out = append(out, *c.Name)
	}
	return out
}

func TestChooseRanksByRankThenExposureThenFee(t *testing.T) {
	b := newBazaar(t)
	b.mostro("cheap", 40, 50_000, "0.002", nil)
	b.mostro("dear", 40, 50_000, "0.010", nil)
	b.mostro("rich", 40, 90_000, "0.020", nil)
	b.mostro("best", 60, 20_000, "0.020", nil)
	b.mostro("claims little", 0, 0, "0.001", func(_ *mostro.Info, _ *mostro.Order, s *score.Score) { s.Provisional, s.Claim = true, 30*score.One })
	b.mostro("claims much", 0, 0, "0.001", func(_ *mostro.Info, _ *mostro.Order, s *score.Score) { s.Provisional, s.Claim = true, 99*score.One })
	b.mostro("watched", 95, 0, "0.001", func(_ *mostro.Info, _ *mostro.Order, s *score.Score) {
		s.Unranked, s.WatchDays, s.Evidence.WitnessedDays = score.UnrankedWatching, 30, 12
	})
	b.own = says{"VES": 1_000_000}
	c := choose(wish(t, "fiat=ves&side=buy&amount=100&exposure=ignore"), b.facts)
	if got, want := names(c.Candidates), []string{"best", "rich", "cheap", "dear", "watched", "claims much", "claims little"}; !slices.Equal(got, want) {
		t.Errorf("order is %v, want %v", got, want)
	}
	if c.AmountSats == nil || *c.AmountSats != 10_000 {
		t.Fatalf("amount %v, want 10000 sats", c.AmountSats)
	}
	if w := c.Candidates[4]; w.Rank != nil || w.Lo != nil || w.Reason == nil || *w.Reason != "watching" || *w.WatchedDays != 12 || !strings.Contains(strings.Join(w.Reasons, ";"), "watched 12 of 30 days") {
		t.Errorf("a watched one: %+v", w)
	}
	best, last := c.Candidates[0], c.Candidates[6]
	if best.FeeSats == nil || *best.FeeSats != 100 || best.Secured == nil || !*best.Secured {
		t.Errorf("best: fee %v, secured %v; want half of 2%% of 10000 and true", best.FeeSats, best.Secured)
	}
	if last.Rank != nil || last.Lo != nil || last.ClaimedValue == nil || !strings.Contains(strings.Join(last.Reasons, ";"), "no rank: watched 0 of ") {
		t.Errorf("a provisional one: %+v", last)
	}
}

func TestChooseExcludesWithReasons(t *testing.T) {
	closed := true
	b := newBazaar(t)
	b.mostro("fits", 50, 20_000, "0.006", nil)
	b.mostro("euros", 90, 90_000, "0.006", func(i *mostro.Info, o *mostro.Order, _ *score.Score) {
		i.AnyCurrency, i.Currencies, o.D = false, []string{"EUR"}, ""
	})
	b.mostro("large", 90, 90_000, "0.006", func(i *mostro.Info, _ *mostro.Order, _ *score.Score) { *i.MinOrderSats = 20_000 })
	b.mostro("small", 90, 90_000, "0.006", func(i *mostro.Info, _ *mostro.Order, _ *score.Score) { *i.MaxOrderSats = 9_999 })
	b.mostro("empty", 90, 90_000, "0.006", func(_ *mostro.Info, o *mostro.Order, _ *score.Score) { o.D = "" })
	b.mostro("dust", 90, 90_000, "0.006", func(_ *mostro.Info, o *mostro.Order, _ *score.Score) { o.FiatAmount.Max = scoretest.Decimal(t, "99") })
	b.mostro("late", 90, 90_000, "0.006", func(_ *mostro.Info, o *mostro.Order, _ *score.Score) { o.ExpiresAt = nostr.Timestamp(b.now.Unix()) })
	b.mostro("toy", 90, 90_000, "0.006", func(_ *mostro.Info, o *mostro.Order, _ *score.Score) { o.Network = "regtest" })
	b.mostro("closed", 90, 90_000, "0.006", func(i *mostro.Info, _ *mostro.Order, _ *score.Score) { i.Maintenance = &closed })
	b.mostro("thin", 90, 9_999, "0.006", nil)
	b.own = says{"VES": 1_000_000}
	c := choose(wish(t, "fiat=VES&side=buy&amount=100"), b.facts)
	if got := names(c.Candidates); !slices.Equal(got, []string{"fits"}) {
		t.Errorf("candidates %v", got)
	}
	want := map[string]string{"euros": "does not take VES, only EUR", "large": "below its least order of 20\u202f000", "small": "above its largest order of 9\u202f999",
		"empty": "nobody there sells bitcoin for VES", "dust": "none of its 1 offer in VES fits 100 VES", "late": "none of its 1 offer", "toy": "its offers are on regtest",
		"closed": "under maintenance", "thin": "its record secures 9\u202f999 sats, this trade is about 10\u202f000"}
	if c.ExcludedTotal != len(want) || len(c.Excluded) != len(want) {
		t.Errorf("%d excluded, want %d", c.ExcludedTotal, len(want))
	}
	for _, x := range c.Excluded {
		if len(x.Reasons) != 1 || !strings.Contains(x.Reasons[0], want[*x.Name]) {
			t.Errorf("%s: %q, want %q alone", *x.Name, x.Reasons, want[*x.Name])
		}
	}
}

// TestChooseWhereNoRecordSecures: if no Mostro secures the amount, all Mostros stay, and
// the answer says so.
func TestChooseWhereNoRecordSecures(t *testing.T) {
	b := newBazaar(t)
	b.mostro("thin", 50, 5, "0.006", nil)
	b.own = says{"VES": 1_000_000}
	for exposure, candidates := range map[string]int{"auto": 1, "require": 0, "ignore": 1} {
		c := choose(wish(t, "fiat=VES&side=buy&amount=100&exposure="+exposure), b.facts)
		if len(c.Candidates) != candidates || len(c.Excluded) != 1-candidates {
			t.Errorf("%s: %v, excluded %v", exposure, names(c.Candidates), names(c.Excluded))
		}
		if candidates == 1 && len(c.Candidates[0].Warnings) != 0 {
			t.Errorf("%s: the only candidate repeats the note: %q", exposure, c.Candidates[0].Warnings)
		}
		if said := strings.Contains(strings.Join(c.Notes, ""), "No Mostro that fits has a record"); said != (candidates == 1) {
			t.Errorf("%s: notes %q", exposure, c.Notes)
		}
	}
}

func TestChoosePrices(t *testing.T) {
	b := newBazaar(t)
	b.mostro("node", 50, 90_000, "0.006", nil)
	b.mostro("other", 50, 90_000, "0.006", func(_ *mostro.Info, o *mostro.Order, _ *score.Score) { *o = mostro.Order{} })
	t.Run("none is said to be none", func(t *testing.T) {
		c := choose(wish(t, "fiat=VES&side=buy&amount=100"), b.facts)
		if c.Price != nil || c.AmountSats != nil || c.Candidates[0].Secured != nil || !strings.Contains(c.Notes[0], "There is no price") {
			t.Errorf("%+v", c)
		}
	})
	t.Run("an offer's own sats", func(t *testing.T) {
		with := *b
		with.offers = slices.Clone(b.offers)
		sats := int64(100_001)
		with.offers[0].AmountSats = &sats
		c := choose(wish(t, "fiat=VES&side=buy&amount=100"), with.facts)
		if len(c.Candidates) != 0 || !strings.Contains(c.Excluded[0].Reasons[0]+c.Excluded[1].Reasons[0], "above its largest order") {
			t.Errorf("%+v", c.Excluded)
		}
	})
	t.Run("no number is no amount", func(t *testing.T) {
		if n := (&Price{BTC: "0.00"}).sats(scoretest.Decimal(t, "1")); n != 0 {
			t.Errorf("at price 0: %d", n)
		}
		if n := (&Price{BTC: "0.01"}).sats(scoretest.Decimal(t, "999999999999")); n != 0 {
			t.Errorf("more than there is: %d", n)
		}
	})
}

// Ten honest Mostros sign one price, and nodes of an attacker sign another price. Only
// nodes with a rank verify a price. An unverified price excludes no Mostro.
func TestSybilsDoNotSetThePrice(t *testing.T) {
	const honest = 10_000_000
	for name, c := range map[string]struct {
		sybils, rank int // number and rank of the attacker's nodes; rank 0 if watched for too few days
		ranked       int // number of honest nodes with a rank
		price        float64
		verified     bool
	}{
		"nobody attacks":                 {0, 0, 10, honest, true},
		"11 that were witnessed once":    {11, 0, 10, honest, true},
		"21 that were witnessed once":    {21, 0, 10, honest, true},
		"one with a rank":                {1, 100, 10, honest, true},
		"one with a rank beside three":   {1, 60, 3, honest, true},
		"11 with a low rank":             {11, 40, 10, honest, false},
		"11 beside ten without a rank":   {11, 0, 0, 0, false},
		"one with a rank beside one":     {1, 60, 1, 0, false},
		"two honest nodes with a rank":   {0, 0, 2, honest, false},
		"three honest nodes with a rank": {0, 0, 3, honest, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBazaar(t)
			for i := range 10 {
				who := "honest " + strconv.Itoa(i)
				b.mostro(who, 60+i/4, 0, "0.006", func(_ *mostro.Info, o *mostro.Order, s *score.Score) {
					o.FiatAmount.Min, o.FiatAmount.Max = scoretest.Decimal(t, "1000"), scoretest.Decimal(t, "100000")
					if i >= c.ranked {
						s.Unranked = score.UnrankedWatching
					}
				})
				b.price(who, honest*(1+float64(i)/1000))
			}
			for i := range c.sybils {
				who := "sybil " + strconv.Itoa(i)
				b.mostro(who, c.rank, 0, "0.001", func(_ *mostro.Info, _ *mostro.Order, s *score.Score) {
					if c.rank == 0 {
						s.Unranked = score.UnrankedWatching
					}
				})
				b.price(who, honest/5)
			}
			got := choose(wish(t, "fiat=VES&side=buy&amount=9000"), b.facts) // 90,000 sats; 450,000 by the attacker's price
			p := got.Price
			if p == nil || p.Verified != c.verified || c.verified != (p.Source == PriceOfMostros) || !c.verified && p.Source != PriceUnverified {
				t.Fatalf("price %+v", p)
			}
			per := p.BTC
			if c.price > 0 && c.verified {
				if x := scoretest.Decimal(t, per).Float(); math.Abs(x-c.price) > .01*c.price {
					t.Errorf("price %s, want %.0f to the hundredth", per, c.price)
				}
			}
			kept := 0
			for _, x := range got.Candidates {
				if strings.HasPrefix(*x.Name, "honest") {
					kept++
				}
			}
			if kept != 10 {
				t.Errorf("%d of 10 honest nodes are left, by a price of %s: %q", kept, per, got.Excluded[0].Reasons)
			}
			if noted := strings.Contains(strings.Join(got.Notes, ";"), "unverified"); noted == c.verified {
				t.Errorf("notes %q", got.Notes)
			}
		})
	}
}

// The operator's own sources have priority over all prices that Mostros sign.
func TestOwnPricesComeFirst(t *testing.T) {
	b := newBazaar(t)
	for _, name := range []string{"a", "b", "c"} {
		b.mostro(name, 60, 0, "0.006", nil)
		b.price(name, 5_000_000)
	}
	b.own = says{"VES": 1_000_000}
	if p := choose(wish(t, "fiat=VES&side=buy&amount=100"), b.facts).Price; p == nil || p.Source != PriceOfOperator || !p.Verified || p.BTC != "1000000.00" || p.Mostros != 0 {
		t.Errorf("%+v", p)
	}
	if p := choose(wish(t, "fiat=EUR&side=buy&amount=100"), b.facts).Price; p == nil || p.Source != PriceOfMostros {
		t.Errorf("of a currency that they lack: %+v", p)
	}
}

// One wrong table moves a verified price by a hundredth at most, for any rank of its node
// and in both directions.
func TestOutlierMovesThePriceLittle(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	verified := 0
	for range 2000 {
		scores, rates := map[string]score.Score{}, []Rate{}
		for i := range 3 + r.IntN(8) {
			key := scoretest.KeyOf(strconv.Itoa(i))
			scores[key] = score.Score{Pubkey: key, Rank: 1 + r.IntN(100)}
			rates = append(rates, Rate{key, 1000 * (1 + .01*r.NormFloat64()), time.Unix(1, 0)})
		}
		before := price("VES", rates[1:], scores, nil, time.Unix(2, 0))
		rates[0].Price = []float64{.01, 500, 990, 1010, 1030, 2000, 1e9}[r.IntN(7)]
		after := price("VES", rates, scores, nil, time.Unix(2, 0))
		if !after.Verified {
			continue
		}
		verified++
		a, b := scoretest.Decimal(t, before.BTC).Float(), scoretest.Decimal(t, after.BTC).Float()
		if math.Abs(a-b) > .0101*b {
			t.Fatalf("%v of ranks %v: %s becomes %s", rates, scores, before.BTC, after.BTC)
		}
	}
	if verified < 200 {
		t.Errorf("only %d prices were verified", verified)
	}
}

// An unverified price only warns, even if the visitor requires exposure.
func TestUnverifiedPriceExcludesNothing(t *testing.T) {
	b := newBazaar(t)
	b.mostro("small", 50, 5, "0.006", func(i *mostro.Info, _ *mostro.Order, _ *score.Score) { *i.MaxOrderSats = 9_999 })
	b.price("small", 1_000_000)
	for _, exposure := range []string{"auto", "require"} {
		c := choose(wish(t, "fiat=VES&side=buy&amount=100&exposure="+exposure), b.facts)
		if len(c.Candidates) != 1 || !strings.Contains(strings.Join(c.Candidates[0].Warnings, ";"), "by an unverified price about 10\u202f000 sats are above") {
			t.Errorf("%s: %+v, excluded %+v", exposure, names(c.Candidates), c.Excluded)
		}
	}
	if c := choose(wish(t, "fiat=VES&side=buy&amount=100&sats=10000"), b.facts); len(c.Candidates) != 0 {
		t.Error("sats that the visitor names exclude nothing")
	}
}

func TestChooseOffersBestForTheVisitor(t *testing.T) {
	b := newBazaar(t)
	b.mostro("node", 50, 90_000, "0.006", nil)
	for _, premium := range []string{"-3", "7"} {
		o := b.offers[0]
		o.D, o.PremiumPct = premium, scoretest.Decimal(t, premium)
		b.offers = append(b.offers, o)
	}
	b.offers = append(b.offers, mostro.Order{Pubkey: scoretest.KeyOf("node"), D: "unstated", Fiat: "VES", FiatAmount: b.offers[0].FiatAmount})
	for side, want := range map[string]string{"buy": "-3", "sell": "7"} {
		c := choose(wish(t, "fiat=VES&side="+side+"&amount=100"), b.facts)
		if got := c.Candidates[0]; got.Best.D != want || got.Offers != 4 {
			t.Errorf("to %s: %q of %d, want %q", side, got.Best.D, got.Offers, want)
		}
	}
}

func TestWishIsRefusedBySentence(t *testing.T) {
	for query, param := range map[string]string{
		"": "fiat", "fiat=VES": "side", "fiat=V%3C&side=buy": "fiat", "fiat=VES&side=both": "side", "fiat=VES&side=buy&amount=-1": "amount",
		"fiat=VES&side=buy&amount=NaN": "amount", "fiat=VES&side=buy&amount=0": "amount", "fiat=VES&side=buy&sats=1.5": "sats", "fiat=VES&side=buy&sats=99999999999999999": "sats",
		"fiat=VES&side=buy&network=moon": "network", "fiat=VES&side=buy&exposure=maybe": "exposure", "fiat=VES&side=buy&limit=501": "limit", "fiat=VES&side=buy&x=1": "x",
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ParseWish(values)
		p, ok := err.(*refusal)
		if !ok || p.status != 400 || p.param != param {
			t.Errorf("%q: %v, want a refusal of %s", query, err, param)
		}
	}
}

func TestRateOf(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	table := func(age time.Duration, expires time.Duration) *nostr.Event {
		r := mostro.Rates{Pubkey: scoretest.KeyOf("node"), CreatedAt: nostr.Timestamp(now.Add(-age).Unix()), BTC: map[string]float64{"VES": 5}, Sources: []string{"x"}}
		if expires != 0 {
			r.Expiration = nostr.Timestamp(now.Add(expires).Unix())
		}
		evt := r.Event()
		evt.ID = evt.GetID()
		return &evt
	}
	for name, c := range map[string]struct {
		evt  *nostr.Event
		fiat string
		ok   bool
	}{
		"fresh": {table(time.Minute, time.Minute), "VES", true}, "another currency": {table(time.Minute, 0), "EUR", false}, "expired": {table(time.Minute, -time.Second), "VES", false},
		"old": {table(2*time.Hour, 0), "VES", false}, "of tomorrow": {table(-24*time.Hour, 0), "VES", false},
	} {
		if r, ok := RateOf(c.evt, c.fiat, now); ok != c.ok || ok && (r.Price != 5 || r.Pubkey != scoretest.KeyOf("node")) {
			t.Errorf("%s: %+v %v", name, r, ok)
		}
	}
}

func TestTidy(t *testing.T) {
	for in, want := range map[string]string{"2800000 sats": "2\u202f800\u202f000 sats", "worth 1.111097 of 0.750000": "worth 1.11 of 0.75", "13.000000 days": "13 days", "4567 of 12": "4567 of 12"} {
		if got := tidy(in); got != want {
			t.Errorf("tidy(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestCostsOfAPerfectPartAreNothing(t *testing.T) {
	s := score.Score{Value: 50 * score.One}
	if got := costs(&s, score.SubScore{Mean: score.One, Weight: 300_000}); got != 0 {
		t.Errorf("perfect: %s", got)
	}
	if got, want := costs(&s, score.SubScore{Mean: score.One / 2, Weight: score.One}), 50*score.One; got != want {
		t.Errorf("half at weight 1: %s, want %s", got, want)
	}
	if got := costs(&s, score.SubScore{Mean: 0, Weight: 100_000}).Float(); math.IsInf(got, 0) || got <= 0 {
		t.Errorf("nothing: %v", got)
	}
}

func TestBadgeStates(t *testing.T) {
	for name, c := range map[string]struct {
		score score.Score
		ok    bool
		says  string
	}{
		"unknown": {score.Score{}, false, "mostro rank: unknown"}, "unwitnessed": {score.Score{Provisional: true, Rank: 77, Unranked: score.UnrankedUnwitnessed, WatchDays: 30}, true, "mostro rank: watched 0 of 30 days"},
		"watched": {score.Score{Rank: 52, Lo: 52 * score.One, Hi: 63 * score.One, Unranked: score.UnrankedWatching, WatchDays: 30, Evidence: score.Evidence{WitnessedDays: 12}}, true, "mostro rank: watched 12 of 30 days"},
		"rated":   {score.Score{Rank: 52, Lo: 52*score.One + 5, Hi: 63*score.One + 1}, true, "mostro rank: 52 (52–64)"},
	} {
		if got := string(badgeOf(&c.score, c.ok)); !strings.Contains(got, "<title>"+c.says+"</title>") {
			t.Errorf("%s: %s", name, got)
		}
	}
}
