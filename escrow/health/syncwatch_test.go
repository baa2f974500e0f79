package health

import (
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
)

// watchDay plays answers of the node to a SyncWatch: s synced, u unsynced, x no answer, one
// every 15 seconds, and - for no observation at all.
func watchDay(answers string) (*SyncWatch, time.Time) {
	w, now := new(SyncWatch), time.Unix(1_790_000_000, 0)
	for _, a := range answers {
		if now = now.Add(15 * time.Second); a != '-' {
			w.Observe(now, a != 'x', a == 's')
		}
	}
	return w, now
}

func TestSyncWatch(t *testing.T) {
	for _, c := range []struct {
		answers        string
		defers, spares bool
		unsynced       int // seconds
		synced         int
	}{
		{"", false, false, 0, 0},
		{"s", false, false, 0, 0},
		{"ss", false, false, 0, 15},
		{"u", true, true, 0, 0}, // at the start
		{"x", true, true, 0, 0},
		{"su", false, false, 0, 0},
		{"suuuu", false, false, 45, 0},
		{"suuuuu", true, true, 60, 0},
		{"suxuxu", true, true, 60, 0}, // in any mix
		{"sxxxxx", true, true, 0, 0},
		{"suuuuus", false, true, 0, 0}, // one synced answer ends the deferral
		{"suuuuussssssss", false, true, 0, 105},
		{"suuuuusssssssss", false, false, 0, 120},
		{"suuus", false, false, 0, 0}, // a short time spares nothing
		{"suuuuu---", true, true, 105, 0},
		{"suuuuu----", false, false, 0, 0}, // too old
		{"suuuuux", true, true, 0, 0},      // an outage is no answer
		{"suuuuuxu", true, true, 90, 0},    // and does not cure the node
		{"ssxss", false, false, 0, 15},
	} {
		w, now := watchDay(c.answers)
		if w.Defers(now) != c.defers || w.Spares(now) != c.spares || w.UnsyncedFor(now) != time.Duration(c.unsynced)*time.Second || w.SyncedFor(now) != time.Duration(c.synced)*time.Second {
			t.Errorf("%q: defers %v, spares %v, unsynced for %s, synced for %s", c.answers, w.Defers(now), w.Spares(now), w.UnsyncedFor(now), w.SyncedFor(now))
		}
	}
}

func TestMaintenanceByItself(t *testing.T) {
	own := Maintenance{On: true, Reason: ReasonLNDUnsynced, Automatic: true}
	operators := Maintenance{On: true, Reason: ReasonLNDUnsynced} // the text decides nothing
	many := func(answer string, seconds int) string { return strings.Repeat(answer, seconds/15+1) }
	const ten, never = 10 * time.Minute, 0
	for name, c := range map[string]struct {
		was     Maintenance
		answers string
		after   time.Duration
		on      bool
	}{
		"synced":                       {Maintenance{}, many("s", 900), ten, false},
		"unsynced for a while":         {Maintenance{}, "s" + many("u", 585), ten, false},
		"unsynced for ten minutes":     {Maintenance{}, "s" + many("u", 600), ten, true},
		"unreachable for an hour":      {Maintenance{}, "s" + many("x", 3600), ten, false},
		"unsynced around an outage":    {Maintenance{}, "su" + many("x", 600) + "u", ten, true},
		"unsynced, and automation off": {Maintenance{}, "s" + many("u", 900), never, false},
		"synced again for a while":     {own, "u" + many("s", 285), ten, true},
		"synced again":                 {own, "u" + many("s", 300), ten, false},
		"unreachable in between":       {own, "u" + many("s", 285) + "x" + many("s", 285), ten, true},
		"no answer since the start":    {own, "", ten, true},
		"an operator's stays":          {operators, "u" + many("s", 3600), ten, true},
		"automation off lifts its own": {own, "u", never, false},
		"automation off, operator's":   {operators, "u", never, true},
	} {
		w, now := watchDay(c.answers)
		got := c.was.Next(w, c.after, 5*time.Minute, now)
		if got.On != c.on {
			t.Errorf("%s: %+v", name, got)
		}
		if got.On && !c.was.On && (!got.Automatic || got.Reason != ReasonLNDUnsynced) {
			t.Errorf("%s: %+v", name, got)
		}
		if got.On && c.was.On && got != c.was {
			t.Errorf("%s: %+v became %+v", name, c.was, got)
		}
	}
}

func TestSyncIsHealth(t *testing.T) {
	for answers, want := range map[string]mostro.CheckState{
		"": mostro.CheckUnknown, "s": mostro.CheckOK, "x": mostro.CheckUnknown, "sx": mostro.CheckUnknown, "su": mostro.CheckOK, "suuuuu": mostro.CheckWarn,
		"s" + strings.Repeat("u", 41): mostro.CheckFail, "s----": mostro.CheckUnknown, "suuuuus": mostro.CheckOK, "u": mostro.CheckWarn,
	} {
		if w, now := watchDay(answers); w.Check(now, 0) != want {
			t.Errorf("%q: %s, want %s", answers, w.Check(now, 0), want)
		}
	}
}
