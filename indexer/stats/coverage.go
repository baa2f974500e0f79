package stats

import (
	"cmp"
	"maps"
	"slices"

	"github.com/mostrodex/mostrodex/internal/clip"
	"github.com/mostrodex/mostrodex/mostro"
)

// Coverage says on which observations figures rest.
type Coverage struct {
	WitnessedFrom int64 `json:"witnessed_from"` // receipt of the first witnessed event; 0 none
	ReceivedUntil int64 `json:"received_until"` // receipt of the last event; 0 none
	SignedFrom    int64 `json:"signed_from"`    // least created_at; 0 none
	Witnessed     int64 `json:"witnessed"`      // events received when they were published
	History       int64 `json:"history"`        // events from imports and from catching up
	// Complete is true if this relay witnessed the whole window of the query, or of the
	// last answer, as far as it was up.
	Complete bool           `json:"complete"`
	Sources  []SourceCounts `json:"sources"` // sorted by origin and relay
}

// SourceCounts counts the events that came by one origin.
type SourceCounts struct {
	Origin string `json:"road"`
	Relay  string `json:"relay"`
	Events int64  `json:"events"`
	First  int64  `json:"first"` // time of receipt of the first event
	Last   int64  `json:"last"`
}

// maxSources bounds the sources that are counted apart.
const maxSources = 1000

type coverage struct {
	total   Coverage
	sources map[mostro.Source]*SourceCounts
}

func newCoverage() coverage { return coverage{sources: map[mostro.Source]*SourceCounts{}} }

func (c *coverage) add(e *mostro.Entry) {
	received, created := e.ReceivedAt.Unix(), int64(e.Event.CreatedAt)
	t := &c.total
	if e.Source.Origin.Witnessed() {
		t.Witnessed++
		if t.WitnessedFrom == 0 || received < t.WitnessedFrom {
			t.WitnessedFrom = received
		}
	} else {
		t.History++
	}
	t.ReceivedUntil = max(t.ReceivedUntil, received)
	if t.SignedFrom == 0 || created < t.SignedFrom {
		t.SignedFrom = created
	}
	s := c.sources[e.Source]
	if s == nil {
		key := mostro.Source{Origin: e.Source.Origin, Relay: clip.Text(e.Source.Relay, maxText)}
		if len(c.sources) >= maxSources {
			key.Relay = "other"
		}
		if s = c.sources[key]; s == nil {
			s = &SourceCounts{Origin: key.Origin.String(), Relay: key.Relay, First: received}
			c.sources[key] = s
		}
	}
	s.Events++
	s.First, s.Last = min(s.First, received), max(s.Last, received)
}

// window returns the coverage of the window that begins at from.
func (c *coverage) window(from int64) Coverage {
	out := c.total
	out.Complete = out.WitnessedFrom > 0 && from >= out.WitnessedFrom
	for _, s := range slices.Collect(maps.Values(c.sources)) {
		out.Sources = append(out.Sources, *s)
	}
	slices.SortFunc(out.Sources, func(a, b SourceCounts) int {
		return cmp.Or(cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Relay, b.Relay))
	})
	return out
}
