package simulate

import (
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/mostrodex/mostrodex/reputation/score"
)

// view holds the results of four rating methods for every host at one moment.
type view struct {
	score  map[string]score.Score
	mean   map[string]float64 // RoboSats: the arithmetic mean, 0 to 100
	wilson map[string]float64 // Wilson's lower bound, 0 to 100
	trust  map[string]float64 // mostro-score's former trust score
}

// look computes all four ratings from the same facts.
func look(l *score.Ledger, at time.Time) view {
	v := view{map[string]score.Score{}, map[string]float64{}, map[string]float64{}, map[string]float64{}}
	for _, s := range l.Compute(at) {
		v.score[s.Pubkey] = s
		n, sum := 0.0, 0.0
		for _, r := range l.Ratings(s.Pubkey, s.Mu, at.Unix()) {
			if r.Proof != "" { // RoboSats' clients verify the token and nothing else
				n++
				sum += r.Rating.Float()
			}
		}
		if n > 0 {
			v.mean[s.Pubkey] = 100 * sum / n
		}
		v.wilson[s.Pubkey] = 100 * wilson(sum, n)
		e := s.Evidence
		days := 0.0
		if !e.FirstClaimed.IsZero() {
			days = at.Sub(e.FirstClaimed).Hours() / 24
		}
		v.trust[s.Pubkey] = math.Floor(30*math.Min(1, days/365) + 40*math.Min(1, float64(e.VolumeSats.Claimed)/1e8) + 30*math.Min(1, float64(e.Successes.Claimed)/100))
	}
	return v
}

// wilson returns the lower bound of the 95 percent confidence interval of a share.
func wilson(sum, n float64) float64 {
	if n == 0 {
		return 0
	}
	const z = 1.96
	p := sum / n
	return (p + z*z/(2*n) - z*math.Sqrt(p*(1-p)/n+z*z/(4*n*n))) / (1 + z*z/n)
}

// by returns one rating method as a function from public key to number. If the name is
// not one of comparators, by returns the rank.
func (v view) by(name string) func(pubkey string) float64 {
	switch name {
	case "mean":
		return func(k string) float64 { return v.mean[k] }
	case "wilson":
		return func(k string) float64 { return v.wilson[k] }
	case "mostro_score":
		return func(k string) float64 { return v.trust[k] }
	}
	return func(k string) float64 { return float64(v.score[k].Rank) }
}

// comparators are the three methods that the score is compared with.
var comparators = []string{"mean", "wilson", "mostro_score"}

// compare applies measure to the score and to each comparator.
func (v view) compare(measure func(by func(string) float64) float64) (own float64, others map[string]float64) {
	others = map[string]float64{}
	for _, name := range comparators {
		others[name] = round(measure(v.by(name)))
	}
	return round(measure(v.by("rank"))), others
}

func round(x float64) float64 { return math.Round(x*1000) / 1000 }

// spearman returns Spearman's rank correlation. If values are equal, they share the
// mean of their ranks.
func spearman(x, y []float64) float64 {
	a, b := ranks(x), ranks(y)
	ma, mb := average(a), average(b)
	var ab, aa, bb float64
	for i := range a {
		ab += (a[i] - ma) * (b[i] - mb)
		aa += (a[i] - ma) * (a[i] - ma)
		bb += (b[i] - mb) * (b[i] - mb)
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa*bb)
}

func ranks(x []float64) []float64 {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		switch {
		case x[i] < x[j]:
			return -1
		case x[i] > x[j]:
			return 1
		}
		return 0
	})
	out := make([]float64, len(x))
	for i := 0; i < len(order); {
		j := i
		for j < len(order) && x[order[j]] == x[order[i]] {
			j++
		}
		for _, k := range order[i:j] {
			out[k] = float64(i+j-1) / 2
		}
		i = j
	}
	return out
}

func average(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	if len(x) == 0 {
		return 0
	}
	return sum / float64(len(x))
}

// rho returns a measure: the rank correlation of a rating with the hidden quality of
// hosts.
func rho(hosts []*host) func(func(string) float64) float64 {
	return func(by func(string) float64) float64 {
		var x, y []float64
		for _, h := range hosts {
			x, y = append(x, by(h.pubkey)), append(y, h.Quality)
		}
		return spearman(x, y)
	}
}

// onTop returns a measure: the fraction of cheaters in the top quarter of hosts.
func onTop(hosts []*host, cheats func(*host) bool) func(func(string) float64) float64 {
	return func(by func(string) float64) float64 {
		list := slices.Clone(hosts)
		slices.SortStableFunc(list, func(a, b *host) int {
			switch x, y := by(a.pubkey), by(b.pubkey); {
			case x > y:
				return -1
			case x < y:
				return 1
			}
			return 0
		})
		n := len(list) / 4
		bad := 0.0
		for _, h := range list[:n] {
			if cheats(h) {
				bad++
			}
		}
		return bad / float64(n)
	}
}

func decode(text string, v any) error { return json.Unmarshal([]byte(text), v) }
