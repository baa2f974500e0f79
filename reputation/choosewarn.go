package reputation

import (
	"fmt"
	"slices"

	"github.com/mostrodex/mostrodex/reputation/score"
)

// warn sets the warnings of the candidates. A warning that all fitting candidates share
// tells no candidate from another. Such a warning is said once, in the notes, so that the
// warnings of a candidate are those that should change a choice.
func (out *Choice) warn(all []*Candidate) {
	var fitting []*Candidate
	for _, c := range all {
		if len(c.against) == 0 {
			fitting = append(fitting, c)
		}
	}
	shared := map[string]bool{}
	if len(fitting) > 1 {
		for _, name := range fitting[0].Flags {
			shared[name] = !slices.ContainsFunc(fitting, func(c *Candidate) bool { return !slices.Contains(c.Flags, name) })
		}
	}
	same := len(fitting) > 0 && !slices.ContainsFunc(fitting, func(c *Candidate) bool {
		return c.unsecured == "" || c.exposure() != fitting[0].exposure()
	})
	for _, c := range all {
		fits := len(c.against) == 0
		if c.unsecured != "" && !(fits && same) {
			c.Warnings = append(c.Warnings, c.unsecured)
		}
		if c.score == nil {
			continue
		}
		for _, f := range c.score.Flags {
			if f.Name != score.FlagExposure && !(fits && shared[f.Name]) {
				c.Warnings = append(c.Warnings, f.Text)
			}
		}
	}
	for _, name := range slices.Compact(slices.Clone(firstFlags(fitting))) {
		if !shared[name] {
			continue
		}
		out.SharedFlags = append(out.SharedFlags, name)
		if name != score.FlagExposure {
			out.Notes = append(out.Notes, fmt.Sprintf("All %s that fit have this warning, so it tells none from another: %s.", counted(len(fitting), "Mostro", "Mostros"), flagWords(name)))
		}
	}
}

func firstFlags(fitting []*Candidate) []string {
	if len(fitting) == 0 {
		return nil
	}
	return fitting[0].Flags
}

// flagWords returns a short text for the name of a flag.
func flagWords(name string) string {
	switch name {
	case score.FlagEquivocation:
		return "signed two versions of one order for one second"
	case score.FlagOverIssue:
		return "more receipts than trades"
	case score.FlagWhitewash:
		return "an older key names the same Lightning node"
	case score.FlagOrderSize:
		return "an order far above the usual is under way"
	case score.FlagOpenVolume:
		return "far more than the usual amount is under way"
	case score.FlagRatingShift:
		return "the newest ratings differ from all before"
	case score.FlagOmission:
		return "taken orders have no published end"
	case score.FlagErased:
		return "asked to delete evidence"
	case score.FlagTestNetwork:
		return "trades on a test network"
	case score.FlagSlotSparse:
		return "announces itself less than twice a day"
	case score.FlagClock:
		return "its clock is off"
	}
	return name
}
