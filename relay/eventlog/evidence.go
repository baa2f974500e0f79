package eventlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
)

// evidenceLine is one line of an operator's own backup: an event with the time and the
// source of its arrival at this relay.
type evidenceLine struct {
	Event      json.RawMessage `json:"event"`
	ReceivedAt int64           `json:"received_at"` // Unix time in milliseconds
	Origin     string          `json:"road"`        // client, import, self, live or backfill
	Relay      string          `json:"relay,omitempty"`
	Archived   bool            `json:"archived,omitempty"`
}

// writeEvidence writes one entry as a line of a backup.
func writeEvidence(w io.Writer, e *mostro.Entry, body []byte) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // the event's text must not change
	return enc.Encode(evidenceLine{body, e.ReceivedAt.UnixMilli(), e.Source.Origin.String(), e.Source.Relay, e.Archived})
}

// Witnessed holds the time and the source of an event's first arrival, from a line of a
// backup.
type Witnessed struct {
	at       time.Time
	source   mostro.Source
	archived bool
}

var origins = [...]mostro.Origin{mostro.OriginClient, mostro.OriginImport, mostro.OriginSelf, mostro.OriginLive, mostro.OriginBackfill}

const ReasonEvidence = "invalid: the line has a time of receipt, which is trusted only in your own backup: use import --evidence with a data directory"

// ReadEvidence parses a line of a backup and returns the event's text. If the line is a
// plain event, ReadEvidence returns the line unchanged and a nil Witnessed.
func ReadEvidence(text string, now time.Time) (event string, a *Witnessed, err error) {
	var line evidenceLine
	if json.Unmarshal([]byte(text), &line) != nil || line.Event == nil {
		return text, nil, nil // a plain event or malformed; the caller parses it
	}
	a = &Witnessed{at: time.UnixMilli(line.ReceivedAt).UTC(), source: mostro.Source{Relay: line.Relay}, archived: line.Archived}
	for _, origin := range origins {
		if origin.String() == line.Origin {
			a.source.Origin = origin
		}
	}
	switch {
	case a.source.Origin == 0:
		return "", nil, fmt.Errorf("road %q is not client, import, self, live or backfill", line.Origin)
	case line.ReceivedAt <= 0 || a.at.After(now.Add(time.Minute)):
		return "", nil, errors.New("received_at is not a past time in Unix milliseconds")
	}
	return string(line.Event), a, nil
}

// Restore sets the fields of an arrival to those of the event's first arrival.
func (a *Witnessed) Restore(to *Arrival) {
	to.ReceivedAt, to.Source, to.Restored, to.Archived = a.at, a.source, true, a.archived
}
