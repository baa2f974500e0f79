package reputation

import (
	"slices"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score"
)

// TestChooseSaysASharedWarningOnce: a warning stays at a candidate only if it tells this
// candidate from another.
func TestChooseSaysASharedWarningOnce(t *testing.T) {
	flagged := func(names ...string) func(*mostro.Info, *mostro.Order, *score.Score) {
		return func(_ *mostro.Info, _ *mostro.Order, s *score.Score) {
			for _, n := range names {
				s.Flags = append(s.Flags, score.Flag{Name: n, Text: n + " with the numbers of " + s.Name})
			}
		}
	}
	b := newBazaar(t)
	b.mostro("one", 50, 0, "0.006", flagged(score.FlagOmission, score.FlagExposure))
	b.mostro("two", 40, 0, "0.006", flagged(score.FlagOmission, score.FlagExposure))
	b.mostro("three", 30, 0, "0.006", flagged(score.FlagOmission, score.FlagErased, score.FlagExposure))
	b.own = says{"VES": 1_000_000}
	c := choose(wish(t, "fiat=VES&side=buy&amount=100"), b.facts)
	if len(c.Candidates) != 3 {
		t.Fatalf("candidates %v", names(c.Candidates))
	}
	for i, want := range []int{0, 0, 1} {
		if got := c.Candidates[i].Warnings; len(got) != want {
			t.Errorf("%s has the warnings %q, want %d", *c.Candidates[i].Name, got, want)
		}
	}
	if !slices.Equal(c.SharedFlags, []string{score.FlagOmission, score.FlagExposure}) {
		t.Errorf("shared flags %q", c.SharedFlags)
	}
	notes := strings.Join(c.Notes, "\n")
	if strings.Count(notes, "have no published end") != 1 || strings.Count(notes, "a smaller trade is the safer one") != 1 {
		t.Errorf("notes:\n%s", notes)
	}
	b.mostro("four", 20, 5, "0.006", nil)
	c = choose(wish(t, "fiat=VES&side=buy&amount=100"), b.facts)
	if got := c.Candidates[0].Warnings; len(got) != 2 || len(c.SharedFlags) != 0 {
		t.Errorf("candidates that differ: warnings %q, shared %q", got, c.SharedFlags)
	}
}

// TestNoNumberWhereItSaysNothing: the page of a node without a rank shows facts, the watch
// progress and no value of the method.
func TestNoNumberWhereItSaysNothing(t *testing.T) {
	for name, s := range map[string]score.Score{
		"unwitnessed": {Provisional: true, Unranked: score.UnrankedUnwitnessed, WatchDays: 30, Claim: 77_700_000, Value: 66_600_000},
		"watching":    {Unranked: score.UnrankedWatching, WatchDays: 30, Rank: 55, Value: 66_600_000, Lo: 55_500_000, Evidence: score.Evidence{WitnessedDays: 12}},
	} {
		s.Facts.DisputesPer100Claimed, s.Facts.DisputesPer100Witnessed, s.Facts.InfoUp, s.Facts.HealthUp = -1, -1, -1, -1
		s.Facts.Trades30.Claimed = 31
		for j := range s.Sub {
			s.Sub[j] = score.SubScore{Name: score.SubNames[j], Mean: 880_000, Lo: 870_000, Hi: 890_000, Weight: score.One / 6, Why: "evidence"}
		}
		html, err := section(scoreAPI{known: oneKnown{s}, rated: &(&Handler{}).rated}, "https://relay.example", s.Pubkey)
		if err != nil {
			t.Fatal(err)
		}
		text := string(html)
		if want := s.WatchProgress(); !strings.Contains(text, want) || !strings.Contains(text, "Trades of 30 days") || !strings.Contains(text, ">31<") {
			t.Errorf("%s: %q or the facts are missing", name, want)
		}
		for _, number := range []string{"77.7", "66.6", "55.5", "of 100</span>", ">88<", "class=\"bar\"", "Costs points"} {
			if strings.Contains(text, number) {
				t.Errorf("%s: the page shows %q", name, number)
			}
		}
		view := scoreAPI{known: oneKnown{s}}.view(&s)
		if view.Rank != nil || view.Value != nil || view.Lo != nil || view.Hi != nil || view.ReasonText == nil || *view.ReasonText != s.WatchProgress() {
			t.Errorf("%s: JSON %+v", name, view)
		}
	}
}

// oneKnown knows one score.
type oneKnown struct{ s score.Score }

func (k oneKnown) Score(string) (score.Score, bool) { return k.s, true }
func (k oneKnown) Scores() []score.Score            { return []score.Score{k.s} }
func (k oneKnown) Ratings(string) []score.RatedBy   { return nil }
func (k oneKnown) Ready() bool                      { return true }
func (k oneKnown) Params() score.Params             { return score.DefaultParams() }
func (k oneKnown) Pubkey() string                   { return "" }
