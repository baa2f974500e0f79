package reputation

import (
	"slices"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
)

// TestChooseTiesByTotalCost: if the records are equal, the order is by the total cost of
// the best offer, which is fee and premium together.
func TestChooseTiesByTotalCost(t *testing.T) {
	offer := func(premium string, side mostro.Side) func(*mostro.Info, *mostro.Order, *score.Score) {
		return func(i *mostro.Info, o *mostro.Order, _ *score.Score) {
			if o.Side = side; premium == "" {
				o.PremiumPct = nil
			} else {
				o.PremiumPct = scoretest.Decimal(t, premium)
			}
		}
	}
	for query, c := range map[string]struct {
		side mostro.Side
		want []string
	}{
		// Half of the fee plus the premium: 0.1 + 5, 0.5 + 1, 1 - 1 percent. The last node
		// states no premium.
		"fiat=VES&side=buy&amount=100": {mostro.SideSell, []string{"dear fee, discount", "middle", "cheap fee, high premium", "no premium"}},
		// A seller earns the premium.
		"fiat=VES&side=sell&amount=100": {mostro.SideBuy, []string{"cheap fee, high premium", "middle", "dear fee, discount", "no premium"}},
	} {
		b := newBazaar(t)
		b.mostro("no premium", 40, 50_000, "0.0", offer("", c.side))
		b.mostro("cheap fee, high premium", 40, 50_000, "0.002", offer("5", c.side))
		b.mostro("middle", 40, 50_000, "0.010", offer("1", c.side))
		b.mostro("dear fee, discount", 40, 50_000, "0.020", offer("-1", c.side))
		if got := names(choose(wish(t, query), b.facts).Candidates); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", query, got, c.want)
		}
	}
}

// TestChooseSaysNoValueByClaims: the reasons of a node that was not witnessed say for how
// long it was watched, and no value by its claims.
func TestChooseSaysNoValueByClaims(t *testing.T) {
	b := newBazaar(t)
	b.mostro("silent", 0, 0, "0.001", func(_ *mostro.Info, _ *mostro.Order, s *score.Score) { s.Provisional, s.Claim = true, 53*score.One })
	b.mostro("claims", 0, 0, "0.001", func(_ *mostro.Info, _ *mostro.Order, s *score.Score) {
		s.Provisional, s.Claim, s.Evidence.Successes.Claimed = true, 60*score.One, 7
	})
	for _, c := range choose(wish(t, "fiat=VES&side=buy"), b.facts).Candidates {
		says := strings.Join(c.Reasons, "; ")
		if !strings.Contains(says, "no rank: watched 0 of") || strings.Contains(says, "60") || strings.Contains(says, "53") {
			t.Errorf("%s: %s", *c.Name, says)
		}
	}
}

// TestChooseListsImpostorsLast: a key that uses the name of another key comes after all
// others, whatever it claims, and has a warning.
func TestChooseListsImpostorsLast(t *testing.T) {
	b := newBazaar(t)
	b.mostro("Kmbalache", 30, 50_000, "0.010", nil)
	b.mostro("Kmba1ache", 0, 0, "0.001", func(_ *mostro.Info, _ *mostro.Order, s *score.Score) { s.Provisional, s.Claim = true, 99*score.One })
	b.mostro("nobody", 0, 0, "0.010", func(_ *mostro.Info, _ *mostro.Order, s *score.Score) { s.Provisional, s.Claim = true, 10*score.One })
	b.impostors = map[string]namesake{scoretest.KeyOf("Kmba1ache"): {scoretest.KeyOf("Kmbalache"), "Kmbalache"}}
	c := choose(wish(t, "fiat=VES&side=buy"), b.facts)
	if got := names(c.Candidates); !slices.Equal(got, []string{"Kmbalache", "nobody", "Kmba1ache"}) {
		t.Fatalf("order is %q", got)
	}
	last := c.Candidates[2]
	if last.UsesNameOf == nil || *last.UsesNameOf != scoretest.KeyOf("Kmbalache") || len(last.Warnings) == 0 || !strings.Contains(last.Warnings[0], "uses the name of Kmbalache") {
		t.Errorf("the impostor: %v, warnings %q", last.UsesNameOf, last.Warnings)
	}
	if first := c.Candidates[0]; first.UsesNameOf != nil || len(first.Warnings) > 0 {
		t.Errorf("the original: %v, warnings %q", first.UsesNameOf, first.Warnings)
	}
}

// TestChooseLinksItsBestOffer: the link must lead to the author of the offer. If the link
// leads to another node, or if the key uses the name of another key, the answer has no
// link.
func TestChooseLinksItsBestOffer(t *testing.T) {
	b := newBazaar(t)
	link := func(node string) string {
		return "mostro:" + scoretest.OrderID(1) + "?relays=wss://a.example&mostro=" + scoretest.KeyOf(node)
	}
	for i, name := range []string{"own", "elsewhere", "impostor", "none"} {
		b.mostro(name, 30-i, 50_000, "0.010", func(_ *mostro.Info, o *mostro.Order, _ *score.Score) {
			o.D, o.Platform = scoretest.OrderID(1), mostro.PlatformMostro
			switch name {
			case "own", "impostor":
				o.Link = link(name)
			case "elsewhere":
				o.Link = link("own")
			}
		})
	}
	b.impostors = map[string]namesake{scoretest.KeyOf("impostor"): {scoretest.KeyOf("own"), "own"}}
	c := choose(wish(t, "fiat=VES&side=buy"), b.facts)
	if len(c.Candidates) != 4 {
		t.Fatalf("%d candidates", len(c.Candidates))
	}
	for _, c := range c.Candidates {
		switch got := c.Best.TakeLink; {
		case *c.Name == "own" && (got == nil || *got != link("own")):
			t.Errorf("own: %v", got)
		case *c.Name != "own" && got != nil:
			t.Errorf("%s: the link %s", *c.Name, *got)
		}
	}
}
