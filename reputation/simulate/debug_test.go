package simulate

import (
	"context"
	"flag"
	"strings"
	"testing"
)

var names = flag.String("sim.names", "", "")
var from = flag.Uint64("sim.from", 1, "")
var to = flag.Uint64("sim.to", 1, "")

func TestSome(t *testing.T) {
	for _, name := range strings.Split(*names, ",") {
		for seed := *from; seed <= *to; seed++ {
			results, err := Run(context.Background(), Options{Scenario: name, Seed: seed})
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
		}
	}
}
