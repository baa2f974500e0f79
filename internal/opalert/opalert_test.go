package opalert

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var start = time.Unix(1_800_000_000, 0)

// heard returns the messages as "STATE KIND SUBJECT".
func heard(list []Message) (out []string) {
	for _, m := range list {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s", m.State, m.Kind, m.Subject)))
	}
	return out
}

func look(list ...Condition) Look { return Look{Conditions: list} }

func TestConditionIsToldOncePerOccurrence(t *testing.T) {
	slow := Condition{Kind: "lightning", Level: Critical, Text: "no answer", Delay: 3 * time.Minute}
	due := Condition{Kind: "dispute", Subject: "7", Level: Warning, Text: "open"}
	worse := due
	worse.Level = Critical
	var b Book
	for _, step := range []struct {
		after time.Duration // since the start
		look  Look
		want  []string
	}{
		{0, look(slow, due), []string{"begins dispute 7"}},
		{15 * time.Second, look(slow, due), nil},
		{2 * time.Minute, look(due), nil},       // the node answers before its delay has passed
		{3 * time.Minute, look(slow, due), nil}, // a new occurrence
		{5 * time.Minute, look(slow, due), nil},
		{6 * time.Minute, look(slow, due), []string{"begins lightning"}},
		{7 * time.Minute, look(slow, worse), []string{"worse dispute 7"}},
		{8 * time.Minute, look(slow, due), nil}, // better, and again worse: told as critical already
		{9 * time.Minute, look(slow, worse), nil},
		{10 * time.Minute, Look{Unknown: []string{"dispute", "lightning"}}, nil},
		{60 * time.Minute, Look{Unknown: []string{"dispute", "lightning"}}, nil},
		{61 * time.Minute, look(worse, slow), nil},
		{62 * time.Minute, look(worse), nil}, // absent for less than the rest
		{63 * time.Minute, look(worse, slow), nil},
		{65 * time.Minute, look(worse), nil},
		{66 * time.Minute, look(worse), []string{"over lightning"}},
		{67 * time.Minute, look(worse), nil},
		{68 * time.Minute, look(worse, slow), nil},
		{71 * time.Minute, look(worse, slow), []string{"begins lightning"}},
		{5 * time.Hour, look(worse, slow), []string{"lasts dispute 7"}},
		{5*time.Hour + 11*time.Minute, look(worse, slow), []string{"lasts lightning"}},
		{5*time.Hour + 12*time.Minute, look(), nil},
		{5*time.Hour + 15*time.Minute, look(), []string{"over dispute 7", "over lightning"}},
		{9 * time.Hour, look(), nil},
	} {
		got := heard(b.Look(start.Add(step.after), step.look, Rules{}))
		slices.Sort(got)
		slices.Sort(step.want)
		if !slices.Equal(got, step.want) {
			t.Errorf("after %s: %q, want %q", step.after, got, step.want)
		}
	}
	if len(b.Open) != 0 {
		t.Errorf("%d conditions are left", len(b.Open))
	}
}

func TestRestartRepeatsNothing(t *testing.T) {
	told := Condition{Kind: "disk", Level: Critical, Text: "full"}
	slow := Condition{Kind: "relays", Level: Warning, Text: "none", Delay: 10 * time.Minute}
	var b Book
	b.Look(start, look(told, slow), Rules{})
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	var after Book
	if err := json.Unmarshal(text, &after); err != nil {
		t.Fatal(err)
	}
	now := start.Add(time.Hour)
	after.Restart(now)
	if got := heard(after.Look(now, look(told, slow), Rules{})); got != nil {
		t.Errorf("after the restart: %q", got)
	}
	if got := heard(after.Look(now.Add(time.Minute), look(slow), Rules{})); got != nil {
		t.Errorf("the first looks after a restart end a condition: %q", got)
	}
	if got := heard(after.Look(now.Add(3*time.Minute), look(slow), Rules{})); !slices.Equal(got, []string{"over disk"}) {
		t.Errorf("got %q", got)
	}
	if got := heard(after.Look(now.Add(10*time.Minute), look(slow), Rules{})); !slices.Equal(got, []string{"begins relays"}) {
		t.Errorf("got %q", got)
	}
}

func TestHourIsBounded(t *testing.T) {
	var flood []Condition
	for i := range 3000 { // a flood of disputes
		flood = append(flood, Condition{Kind: "dispute", Subject: fmt.Sprintf("%04d", i), Level: Warning, Text: "open"})
	}
	wallet := Condition{Kind: "wallet", Level: Critical, Text: "another wallet"}
	var b Book
	first := b.Look(start, look(flood...), Rules{})
	if len(first) != 20 || len(b.Open) != maxOpen {
		t.Fatalf("%d messages, %d conditions", len(first), len(b.Open))
	}
	if last := first[19]; last.Waiting != maxOpen-20 || !strings.Contains(last.Body(), "980 more conditions") {
		t.Errorf("the last message says %q", last.Body())
	}
	// The flood keeps out neither a condition without a subject nor a critical message.
	if got := heard(b.Look(start.Add(time.Minute), look(append(slices.Clone(flood), wallet)...), Rules{})); !slices.Equal(got, []string{"begins wallet"}) {
		t.Errorf("got %q", got)
	}
	got := heard(b.Look(start.Add(61*time.Minute), look(flood...), Rules{}))
	if len(got) != 20 || got[0] != "over wallet" || got[1] != "begins dispute 0020" {
		t.Errorf("in the next hour: %q", got)
	}
}

func TestClockSetBack(t *testing.T) {
	c := Condition{Kind: "disk", Level: Critical, Text: "full"}
	var b Book
	b.Look(start, look(c), Rules{})
	back := start.Add(-30 * 24 * time.Hour)
	b.Look(back, look(c), Rules{})
	if got := heard(b.Look(back.Add(4*time.Hour), look(c), Rules{})); !slices.Equal(got, []string{"lasts disk"}) {
		t.Errorf("got %q", got)
	}
	if got := heard(b.Look(back.Add(5*time.Hour), look(), Rules{})); !slices.Equal(got, []string{"over disk"}) {
		t.Errorf("got %q", got)
	}
}

func TestTextIsOneBoundedLine(t *testing.T) {
	nasty := "LND says:\r\nX-Priority: 1\u202e\x1b[31m \xff" + strings.Repeat("é", 5000)
	var b Book
	m := b.Look(start, look(Condition{Kind: "lightning", Level: Critical, Text: nasty}), Rules{})[0]
	if len(m.Text) > maxText || strings.ContainsAny(m.Body()+m.Title("node"), "\r\n\x1b\u202e") || !utf8.ValidString(m.Text) || !strings.HasPrefix(m.Text, "LND says: X-Priority: 1") {
		t.Errorf("%q", m.Text)
	}
}

// TestSecretsAreCutOut: an error of another program may quote what it was asked.
func TestSecretsAreCutOut(t *testing.T) {
	node := "02" + strings.Repeat("ab", 32)
	for text, want := range map[string]string{
		"invoice LNBC100N1" + strings.Repeat("p3x", 50) + " is unknown": "invoice … is unknown",
		"preimage=" + strings.Repeat("0f", 32) + ",":                    "preimage=…,",
		"key nsec1" + strings.Repeat("q", 58):                           "key …",
		"the node is " + node + ": put it back":                         "the node is " + node + ": put it back",
		"trade 308e1272-d5f4-47e6-bd97-3504baea9c23":                    "trade 308e1272-d5f4-47e6-bd97-3504baea9c23",
		"lnd: line 7": "lnd: line 7",
		strings.Repeat("x ", 150) + strings.Repeat("0f", 32): strings.TrimSpace(strings.Repeat("x ", 150)) + " …",
	} {
		if got := oneLine(text); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestWarningsAreRepeatedRarely(t *testing.T) {
	c := Condition{Kind: "dispute", Subject: "1", Level: Warning, Text: "open"}
	var b Book
	n := 0
	for h := range 49 {
		n += len(b.Look(start.Add(time.Duration(h)*time.Hour), look(c), Rules{}))
	}
	if n != 3 {
		t.Errorf("%d messages in two days", n)
	}
}

func TestBodies(t *testing.T) {
	m := Message{State: Over, Kind: "payout", Subject: "ab", Level: Warning, Text: "A buyer waits.", Since: 1000, At: 1000 + 3*3600}
	if got := m.Title("My Mostro") + "|" + m.Body(); got != "My Mostro: payout over|Over, after 3 h: A buyer waits. (ab)" {
		t.Error(got)
	}
	m.State, m.Level = Lasts, Critical
	if got := m.Title("My Mostro") + "|" + m.Body(); got != "My Mostro: critical: payout lasts|A buyer waits. (ab) For 3 h." {
		t.Error(got)
	}
}
