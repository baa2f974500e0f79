package eventlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// evidenceLine is one line of an operator's own backup: an event with what this
// relay witnessed of its arrival.
type evidenceLine struct {
	Event      json.RawMessage `json:"event"`
	ReceivedAt int64           `json:"received_at"` // unix milliseconds
	Road       string          `json:"road"`        // client, import, self, live or backfill
	Relay      string          `json:"relay,omitempty"`
	Archived   bool            `json:"archived,omitempty"`
}

// writeEvidence writes one entry as a line of a backup.
func writeEvidence(w io.Writer, e *mostro.Entry, body []byte) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // the event's text stays as it is
	return enc.Encode(evidenceLine{body, e.ReceivedAt.UnixMilli(), e.Source.Road.String(), e.Source.Relay, e.Archived})
}

// Witnessed is what a line of a backup says of an event's arrival.
type Witnessed struct {
	at       time.Time
	source   mostro.Source
	archived bool
}

var roads = [...]mostro.Road{mostro.RoadClient, mostro.RoadImport, mostro.RoadSelf, mostro.RoadLive, mostro.RoadBackfill}

const ReasonEvidence = "invalid: the line says when the event was received, which is believed of your own backup alone: import --evidence into a data directory takes it back"

// ReadEvidence takes a line of a backup apart. For a plain event it returns the
// text unchanged, and nil.
func ReadEvidence(text string, now time.Time) (event string, a *Witnessed, err error) {
	var line evidenceLine
	if json.Unmarshal([]byte(text), &line) != nil || line.Event == nil {
		return text, nil, nil // an event, or nothing: who reads it says which
	}
	a = &Witnessed{at: time.UnixMilli(line.ReceivedAt).UTC(), source: mostro.Source{Relay: line.Relay}, archived: line.Archived}
	for _, road := range roads {
		if road.String() == line.Road {
			a.source.Road = road
		}
	}
	switch {
	case a.source.Road == 0:
		return "", nil, fmt.Errorf("road %q is not client, import, self, live or backfill", line.Road)
	case line.ReceivedAt <= 0 || a.at.After(now.Add(time.Minute)):
		return "", nil, errors.New("received_at is not a time in unix milliseconds that has been")
	}
	return string(line.Event), a, nil
}

// Restore makes an arrival what it was when it was received first.
func (a *Witnessed) Restore(to *Arrival) {
	to.ReceivedAt, to.Source, to.Restored, to.Archived = a.at, a.source, true, a.archived
}

// hides reports whether the rules keep an event from the public.
func (st *Store) hides(evt *nostr.Event) bool {
	s := st.live.shun.Load()
	if s == nil || len(s.keys)+len(s.ids) == 0 {
		return false
	}
	_, key := s.keys[hex32.OrZero(evt.PubKey)]
	_, id := s.ids[hex32.OrZero(evt.ID)]
	return key || id
}
