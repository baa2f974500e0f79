package simulate

import (
	"context"
	"flag"
	"testing"
	"time"
)

var seeds = flag.Int("sim.seeds", 0, "play every scenario in full with this many seeds")

func TestFull(t *testing.T) {
	for seed := range *seeds {
		for _, name := range Names() {
			start := time.Now()
			results, err := Run(context.Background(), Options{Scenario: name, Seed: uint64(seed + 1)})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range results {
				met := "   "
				if r.Met != nil && *r.Met {
					met = "ok "
				} else if r.Met != nil {
					met = "BAD"
				}
				t.Logf("%s %2d %-20s seed %d %-50s %10.3f %s %v", met, r.Row, r.Scenario, r.Seed, r.Metric, r.Value, r.Target, r.Comparators)
			}
			t.Log(name, time.Since(start).Round(time.Millisecond))
		}
	}
}
