// Package opalert tells the operator of a program about states that need a person. A state is a
// Condition. A Book decides when a message is sent: once when the condition begins, again at an
// interval while it lasts, at once if it becomes worse, and once when it is over. A Service looks
// at the conditions, and delivers the messages through channels that do not wait for each other.
//
// A message is delivered at least once. It is kept in a file until its channel has taken it, so a
// restart neither loses a message nor begins a known condition anew. A program that has ended
// sends nothing: that is for another machine to watch.
package opalert

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/mostrodex/mostrodex/internal/clip"
)

// Level says how urgent a condition is.
type Level int

// The levels.
const (
	Warning  Level = 1
	Critical Level = 2
)

func (l Level) String() string {
	if l == Critical {
		return "critical"
	}
	return "warning"
}

// Condition is a state that needs a person. Kind and Subject identify a condition.
type Condition struct {
	Kind    string // from a closed set, for example "lightning"
	Subject string // for example the id of a trade; "" if there is one condition of the kind
	Level   Level
	Text    string // without secrets; cut to maxText bytes and to one line
	// Delay is the time for which the condition has to last before a message is sent.
	Delay time.Duration
}

// Look is the result of one look at a program.
type Look struct {
	Conditions []Condition
	// Unknown lists the kinds that could not be looked at. Their conditions neither begin nor end.
	Unknown []string
}

// State is the reason of a message.
type State string

// The states.
const (
	Begins State = "begins"
	Worse  State = "worse" // the level has risen
	Lasts  State = "lasts" // told again
	Over   State = "over"
	Test   State = "test"
)

// Message is told to the operator.
type Message struct {
	ID      uint64 `json:"id"` // increases; the same if a delivery is repeated
	State   State  `json:"state"`
	Level   Level  `json:"level"`
	Kind    string `json:"kind"`
	Subject string `json:"subject,omitempty"`
	Text    string `json:"text"`
	Since   int64  `json:"since"` // begin of the condition, in unix seconds
	At      int64  `json:"at"`    // time of the message, in unix seconds
	// Waiting is the number of conditions of which nothing is told before the hour ends,
	// because the hour has enough messages.
	Waiting int `json:"waiting,omitempty"`
}

// Title returns one line about a message.
func (m Message) Title(program string) string {
	if m.State == Test {
		return program + ": test of an alert"
	}
	title := fmt.Sprintf("%s: %s %s", program, m.Kind, m.State)
	if m.State != Over {
		title = fmt.Sprintf("%s: %s: %s %s", program, m.Level, m.Kind, m.State)
	}
	return title
}

// Body returns the text of a message for a person.
func (m Message) Body() string {
	var b strings.Builder
	if m.State == Over {
		fmt.Fprintf(&b, "Over, after %s: ", span(m.At-m.Since))
	}
	b.WriteString(m.Text)
	if m.Subject != "" {
		fmt.Fprintf(&b, " (%s)", m.Subject)
	}
	if m.State == Lasts || m.State == Worse {
		fmt.Fprintf(&b, " For %s.", span(m.At-m.Since))
	}
	if m.Waiting > 0 {
		fmt.Fprintf(&b, " %d more conditions are not told before the hour ends: see /metrics and /readyz.", m.Waiting)
	}
	return b.String()
}

// span returns a time in words.
func span(seconds int64) string {
	switch seconds = max(0, seconds); {
	case seconds < 120:
		return fmt.Sprintf("%d s", seconds)
	case seconds < 2*3600:
		return fmt.Sprintf("%d min", seconds/60)
	case seconds < 3*24*3600:
		return fmt.Sprintf("%d h", seconds/3600)
	}
	return fmt.Sprintf("%d days", seconds/(24*3600))
}

// Rules are the operator's choices. A zero field means the default.
type Rules struct {
	// Repeat is the time after which a critical condition that lasts is told again; 0: 4 hours.
	// A warning is told again after six times that.
	Repeat time.Duration
	// Rest is the time for which a condition has to be absent before it is over, so that a
	// condition that comes and goes is one condition; 0: 3 minutes.
	Rest time.Duration
	// PerHour bounds the messages in an hour; 0: 30. A third of them is kept for critical
	// conditions. A condition of which nothing could be told is told in a later hour.
	PerHour int
}

const (
	maxText = 400 // bytes of a text
	// maxOpen bounds the conditions that are kept. A flood of disputes must not fill the file.
	maxOpen = 1000
)

// occurrence is a condition from its begin to its end.
type occurrence struct {
	Kind    string `json:"kind"`
	Subject string `json:"subject,omitempty"`
	Level   Level  `json:"level"`
	Text    string `json:"text"`
	Since   int64  `json:"since"`
	Seen    int64  `json:"seen"`                // last look at which the condition was there
	Told    int64  `json:"told,omitzero"`       // time of the last message; 0: none
	ToldAs  Level  `json:"told_level,omitzero"` // level of the last message
}

// Book holds the conditions that were seen. The zero value is an empty book. A Book is not safe
// for concurrent use.
type Book struct {
	Next  uint64                 `json:"next"` // id of the next message
	Open  map[string]*occurrence `json:"open"` // by kind and subject
	Hour  int64                  `json:"hour"` // begin of the hour of Count
	Count int                    `json:"count"`
}

// Restart forgets the conditions that began before a restart and of which nothing was told: the
// time of their begin says nothing after the program was off. The others get the usual time until
// they are over, because a program that has just started does not see everything at once.
func (b *Book) Restart(now time.Time) {
	maps.DeleteFunc(b.Open, func(_ string, o *occurrence) bool { return o == nil || o.Told == 0 })
	for _, o := range b.Open {
		o.Seen = now.Unix()
	}
}

// Look takes the result of a look at a time, and returns the messages that are due, the critical
// ones first.
func (b *Book) Look(now time.Time, l Look, r Rules) (due []Message) {
	r.Repeat, r.Rest, r.PerHour = cmp.Or(r.Repeat, 4*time.Hour), cmp.Or(r.Rest, 3*time.Minute), cmp.Or(r.PerHour, 30)
	at := now.Unix()
	if b.Open == nil {
		b.Open = make(map[string]*occurrence)
	}
	if at < b.Hour || at >= b.Hour+3600 {
		b.Hour, b.Count = at, 0
	}
	delays := make(map[string]time.Duration, len(l.Conditions))
	for _, c := range l.Conditions {
		key := c.Kind + "\x00" + c.Subject
		o := b.Open[key]
		if o == nil {
			if c.Subject != "" && len(b.Open) >= maxOpen {
				continue // conditions without a subject are few, and always have a place
			}
			o = &occurrence{Kind: c.Kind, Subject: c.Subject, Since: at}
			b.Open[key] = o
		}
		o.Seen, o.Level, o.Text = at, c.Level, oneLine(c.Text)
		delays[key] = c.Delay
	}
	keys := slices.SortedFunc(maps.Keys(b.Open), func(x, y string) int {
		return cmp.Or(cmp.Compare(b.Open[y].Level, b.Open[x].Level), cmp.Compare(b.Open[x].Since, b.Open[y].Since), cmp.Compare(x, y))
	})
	waiting := 0
	for _, key := range keys {
		o := b.Open[key]
		o.Since, o.Seen, o.Told = min(o.Since, at), min(o.Seen, at), min(o.Told, at) // the clock was set back
		delay, there := delays[key]
		state := o.state(at, there, delay, r, slices.Contains(l.Unknown, o.Kind))
		switch {
		case state == ended:
			delete(b.Open, key)
			continue
		case state == "":
			continue
		}
		limit := r.PerHour
		if o.Level != Critical {
			limit -= r.PerHour / 3
		}
		if b.Count >= limit {
			waiting++
			continue
		}
		b.Count++
		b.Next++
		due = append(due, Message{ID: b.Next, State: state, Level: o.Level, Kind: o.Kind, Subject: o.Subject, Text: o.Text, Since: o.Since, At: at})
		o.Told, o.ToldAs = at, o.Level
		if state == Over {
			delete(b.Open, key)
		}
	}
	if len(due) > 0 {
		due[len(due)-1].Waiting = waiting
	}
	return due
}

// ended is the state of a condition that has ended before anything was told.
const ended State = "ended"

// state returns the state of the message that is due, ended, or "" if nothing is due.
func (o *occurrence) state(at int64, there bool, delay time.Duration, r Rules, unknown bool) State {
	switch {
	case !there && unknown:
		return ""
	case !there && o.Told == 0:
		return ended
	case !there && at-o.Seen >= int64(r.Rest.Seconds()):
		return Over
	case !there:
		return ""
	case o.Told == 0 && at-o.Since >= int64(delay.Seconds()):
		return Begins
	case o.Told == 0:
		return ""
	case o.Level > o.ToldAs:
		return Worse
	}
	repeat := r.Repeat
	if o.Level != Critical {
		repeat *= 6
	}
	if at-o.Told >= int64(repeat.Seconds()) {
		return Lasts
	}
	return ""
}

// Numbers returns the number of conditions of which was told, by level.
func (b *Book) Numbers() (warnings, critical int) {
	for _, o := range b.Open {
		switch {
		case o.Told == 0:
		case o.Level == Critical:
			critical++
		default:
			warnings++
		}
	}
	return warnings, critical
}

// secret matches what a text of another program must not bring into a message: an invoice, a
// secret key of Nostr, and 32 bytes in hex, which may be a preimage. Ids of trades and public keys
// of Lightning nodes have other lengths.
var secret = regexp.MustCompile(`(?i)\b(ln[a-z0-9]{40,}|nsec1[a-z0-9]{20,}|[0-9a-f]{64})\b`)

// oneLine returns a text without secrets, control characters and characters that change the
// direction of text, and cut. An error of another program may be in a text.
func oneLine(s string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, clip.Text(strings.ToValidUTF8(s, ""), 16*maxText))
	return clip.Text(strings.Join(strings.Fields(secret.ReplaceAllString(clean, "…")), " "), maxText)
}
