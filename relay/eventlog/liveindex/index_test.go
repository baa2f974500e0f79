package liveindex

import (
	"fmt"
	"testing"

	"github.com/mostrodex/mostrodex/internal/testkit"
)

// TestCompositesGrowWithTheEventsOnly checks that an event with many values of s and f is
// in a bounded number of composite postings.
func TestCompositesGrowWithTheEventsOnly(t *testing.T) {
	const events = 4
	l := New(Config{Now: testkit.NewClock().Now})
	for i := range events {
		e := entryOfEvent(testkit.OfManyStatuses(fmt.Sprint(i), int64(1000+i), 990), uint64(i+1))
		l.Apply([]Change{{Add: &e}}, noBytes)
	}
	if n := len(l.composites); n > 4*events {
		t.Errorf("%d composite postings for %d events", n, events)
	}
}

// TestCheckFindsDamageOfTheIndex damages an index in one way per case and expects check to report the
// damage.
func TestCheckFindsDamageOfTheIndex(t *testing.T) {
	for name, harm := range map[string]func(*Index){
		"Sound":           func(*Index) {},
		"LostFromIndex":   func(l *Index) { l.remove(0) },
		"LostFromPosting": func(l *Index) { l.kinds[1].few, l.kinds[1].n = nil, 0 },
	} {
		t.Run(name, func(t *testing.T) {
			l := New(Config{Now: testkit.NewClock().Now})
			e := entryOfEvent(testkit.Unsigned(1, 1, 1, ""), 1)
			l.Apply([]Change{{Add: &e}}, noBytes)
			harm(l)
			problems := 0
			l.Check([]Entry{e}, noBytes, func(string, ...any) { problems++ })
			if (problems == 0) != (name == "Sound") {
				t.Errorf("%d problems", problems)
			}
		})
	}
}
