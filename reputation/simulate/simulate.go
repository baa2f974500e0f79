package simulate

import (
	"context"
	"fmt"
	"slices"
)

// Result is one measurement and its target.
type Result struct {
	Row         int                `json:"row"` // row in the list of benchmarks in docs/reputation.md
	Scenario    string             `json:"scenario"`
	Seed        uint64             `json:"seed"`
	Metric      string             `json:"metric"`
	Value       float64            `json:"value"`
	Target      string             `json:"target"` // "": the figure has no target
	Met         *bool              `json:"met"`    // null if there is no target
	Comparators map[string]float64 `json:"comparators,omitempty"`
}

// Options selects the scenarios. The zero value plays every scenario once with seed 0.
type Options struct {
	Scenario string // "": all scenarios
	Seed     uint64
	Small    bool                  // a quarter of the hosts and half of the days, for tests of the simulator itself
	Progress func(scenario string) // called before each scenario; nil: not called
	Scenes   func(done, of int)    // called after each scenario; nil: not called
}

// scenario plays one attack and measures the effect.
type scenario struct {
	row  int
	name string
	play func(ctx context.Context, g *game) error
}

// game is one run of a scenario.
type game struct {
	Options
	scenario scenario
	results  []Result
}

var scenarios = []scenario{
	{1, "stuffing", func(_ context.Context, g *game) error { return stuffing(g, true, false) }},
	{1, "stuffing-unfunded", func(_ context.Context, g *game) error { return stuffing(g, false, false) }},
	{1, "fabricated", func(_ context.Context, g *game) error { return stuffing(g, true, true) }},
	{1, "fabricated-unfunded", func(_ context.Context, g *game) error { return stuffing(g, false, true) }},
	{2, "forged", forged},
	{3, "self-trade", selfTrade},
	{4, "bad-mouthing", badMouthing},
	{5, "whitewash", whitewash},
	{6, "equivocation", equivocation},
	{7, "honest", honest},
	{8, "newcomer", newcomer},
	{11, "bad-input", badInput},
	{12, "free-bad-mouthing", freeBadMouthing},
	{0, "omission", omission},
	{0, "exit-scam", exitScam},
	{0, "over-issue", overIssue},
	{13, "poisoned-prior", poisonedPrior},
	{14, "lightning-claimed-first", claimedFirst},
	{15, "two-keys", twoKeys},
	{16, "penny-fees", pennyFees},
	{17, "late-endings", lateEndings},
	{18, "fee-hash-named-first", hashNamedFirst},
	{19, "one-second", oneSecond},
	{20, "large-offer", largeOffer},
	{21, "clock-off", clockOff},
	{22, "own-outage", ownOutage},
	{23, "borrowed-witness", borrowedWitness},
	{24, "lying-witness", lyingWitness},
	{25, "fee-proofs", feeProofs},
	{26, "hidden-disputes", hiddenDisputes},
	{27, "seeds", seedOrder},
}

// Names returns the names of all scenarios.
func Names() (names []string) {
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	return names
}

// Run plays the selected scenarios and returns the measurements. If the scenario is
// unknown, a scenario fails or ctx ends, Run returns an error and the measurements so
// far.
func Run(ctx context.Context, o Options) ([]Result, error) {
	if o.Scenario != "" && !slices.Contains(Names(), o.Scenario) {
		return nil, fmt.Errorf("unknown scenario %q, want one of %v", o.Scenario, Names())
	}
	var out []Result
	for i, s := range scenarios {
		if o.Scenario != "" && s.name != o.Scenario {
			continue
		}
		if err := ctx.Err(); err != nil {
			return out, err
		}
		if o.Progress != nil {
			o.Progress(s.name)
		}
		g := &game{Options: o, scenario: s}
		if err := s.play(ctx, g); err != nil {
			return out, fmt.Errorf("%s: %w", s.name, err)
		}
		out = append(out, g.results...)
		if o.Scenes != nil {
			o.Scenes(i+1, len(scenarios))
		}
	}
	return out, nil
}

// target is a bound for a figure. The functions most, least, exactly and between return
// targets.
type target struct {
	text string
	met  func(float64) bool
}

func most(limit float64) target {
	return target{fmt.Sprintf("<= %g", limit), func(v float64) bool { return v <= limit }}
}
func least(limit float64) target {
	return target{fmt.Sprintf(">= %g", limit), func(v float64) bool { return v >= limit }}
}
func exactly(want float64) target {
	return target{fmt.Sprintf("= %g", want), func(v float64) bool { return v == want }}
}
func between(lo, hi float64) target {
	return target{fmt.Sprintf("%g to %g", lo, hi), func(v float64) bool { return lo <= v && v <= hi }}
}

// note is the target of a figure without a bound.
var note = target{}

func (g *game) measure(metric string, value float64, t target, comparators map[string]float64) {
	r := Result{Row: g.scenario.row, Scenario: g.scenario.name, Seed: g.Seed, Metric: metric, Value: round(value), Target: t.text, Comparators: comparators}
	if t.met != nil {
		r.Met = new(t.met(r.Value))
	}
	g.results = append(g.results, r)
}

// size returns the number of hosts and days of a market.
func (g *game) size() (hosts, days int) {
	if g.Small {
		return 12, 60
	}
	return 40, 120
}
