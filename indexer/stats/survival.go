package stats

import "slices"

// SurvivalStep is the share of orders that are not taken after some time.
type SurvivalStep struct {
	Seconds  int64   `json:"seconds"` // since the first version
	AtRisk   int64   `json:"at_risk"` // orders open just before
	Taken    int64   `json:"taken"`   // orders taken at this age
	Survival float64 `json:"survival"`
}

// Survival is the Kaplan-Meier estimate of the time from the first version to the first
// version in progress.
type Survival struct {
	Steps    []SurvivalStep `json:"steps"`
	Orders   int64          `json:"orders"`
	Taken    int64          `json:"taken"`
	Censored int64          `json:"censored"` // left untaken: canceled, ended, or still open
	Median   Value          `json:"median"`   // seconds until half are taken; null if more than half never were
}

// maxSteps bounds the steps of one answer. Steps in between are left out, and the others
// stay exact.
const maxSteps = 500

// kaplanMeier computes the estimate. An order that is censored at some age was at risk at
// this age. It sorts its arguments.
func kaplanMeier(taken, censored []uint32) Survival {
	slices.Sort(taken)
	slices.Sort(censored)
	out := Survival{Orders: int64(len(taken) + len(censored)), Taken: int64(len(taken)), Censored: int64(len(censored))}
	alive, survival, left := out.Orders, 1.0, 0
	var steps []SurvivalStep
	for i := 0; i < len(taken); {
		t := taken[i]
		for left < len(censored) && censored[left] < t {
			left++
			alive--
		}
		n := int64(0)
		for i < len(taken) && taken[i] == t {
			i++
			n++
		}
		survival *= 1 - float64(n)/float64(alive)
		steps = append(steps, SurvivalStep{Seconds: int64(t), AtRisk: alive, Taken: n, Survival: survival})
		if out.Median.IsNull() && survival <= 0.5 {
			out.Median = intValue(int64(t))
		}
		alive -= n
	}
	if len(steps) <= maxSteps {
		out.Steps = steps
		return out
	}
	for i := range maxSteps {
		out.Steps = append(out.Steps, steps[i*(len(steps)-1)/(maxSteps-1)])
	}
	return out
}
