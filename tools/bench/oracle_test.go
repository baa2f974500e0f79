package main

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro/corpus"
	"github.com/nbd-wtf/go-nostr"
)

func smallOracle(t *testing.T) *oracle {
	t.Helper()
	c, err := corpus.New(corpus.Config{Seed: 9, Instances: 5, Events: 800, Unexpired: true})
	if err != nil {
		t.Fatal(err)
	}
	events, err := c.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	raw := make([][]byte, len(events))
	for i, evt := range events {
		raw[i] = []byte(evt.String())
	}
	return newOracle(events, raw)
}

// TestOracle checks the oracle against the text of NIP-01: every event has a live
// version, and no event is newer than its live version.
func TestOracle(t *testing.T) {
	o := smallOracle(t)
	live := make(map[string]*nostr.Event)
	for _, i := range o.live {
		live[addressOf(o.events[i])] = o.events[i]
	}
	if len(live) != len(o.live) || len(live) == len(o.events) {
		t.Fatalf("%d live addresses of %d live events of %d", len(live), len(o.live), len(o.events))
	}
	for _, evt := range o.events {
		l := live[addressOf(evt)]
		if l == nil || l.CreatedAt < evt.CreatedAt || l.CreatedAt == evt.CreatedAt && l.ID > evt.ID {
			t.Fatalf("%v is live instead of %v", l, evt)
		}
	}
	for n := 1; n < len(o.live); n++ {
		a, b := o.events[o.live[n-1]], o.events[o.live[n]]
		if a.CreatedAt < b.CreatedAt || a.CreatedAt == b.CreatedAt && a.ID >= b.ID {
			t.Fatalf("%v comes before %v", a, b)
		}
	}
}

// TestJudge checks that judge detects each kind of wrong answer. If judge accepted
// every answer, the benchmark would hide every bug.
func TestJudge(t *testing.T) {
	o := smallOracle(t)
	f := nostr.Filter{Kinds: []int{kindOrder}, Tags: nostr.TagMap{"s": {"success"}}, Limit: 20}
	want := o.answer(f)
	if len(want) != 20 {
		t.Fatalf("%d events", len(want))
	}
	good := func() [][]byte {
		var got [][]byte
		for _, i := range want {
			got = append(got, slices.Clone(o.raw[i]))
		}
		return got
	}
	stale := -1
	for i, evt := range o.events {
		if o.newest[addressOf(evt)] != i && evt.Kind == kindOrder {
			stale = i
		}
	}
	for _, c := range []struct {
		name  string
		spoil func(got [][]byte) [][]byte
		want  verdict
	}{
		{"the same", func(got [][]byte) [][]byte { return got }, verdictRight},
		{"one missing", func(got [][]byte) [][]byte { return got[1:] }, verdictWrong},
		{"one more", func(got [][]byte) [][]byte { return append(got, got[0]) }, verdictWrong},
		{"one twice", func(got [][]byte) [][]byte { got[1] = got[0]; return got }, verdictWrong},
		{"turned round", func(got [][]byte) [][]byte { slices.Reverse(got); return got }, verdictWrong},
		{"one stale", func(got [][]byte) [][]byte { got[5] = o.raw[stale]; return got }, verdictWrong},
		{"one altered", func(got [][]byte) [][]byte {
			got[3] = []byte(strings.Replace(string(got[3]), `"premium"`, `"premiun"`, 1))
			return got
		}, verdictWrong},
		{"one that does not match", func(got [][]byte) [][]byte {
			other := o.answer(nostr.Filter{Kinds: []int{kindOrder}, Tags: nostr.TagMap{"s": {"pending"}}, Limit: 1})
			got[0] = o.raw[other[0]]
			return got
		}, verdictWrong},
		{"not JSON", func(got [][]byte) [][]byte { got[0] = []byte("{"); return got }, verdictWrong},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, why := o.judge(f, want, c.spoil(good())); got != c.want {
				t.Errorf("verdict %d (%s), want %d", got, why, c.want)
			}
		})
	}
	// Two events of the same second in reverse order are a correct answer.
	a, b := *o.events[o.live[0]], *o.events[o.live[0]]
	a.ID, b.ID = strings.Repeat("a", 64), strings.Repeat("b", 64)
	a.Tags, b.Tags = nostr.Tags{{"d", "1"}}, nostr.Tags{{"d", "2"}}
	a.Kind, b.Kind = kindOrder, kindOrder
	ties := newOracle([]*nostr.Event{&b, &a}, [][]byte{[]byte(b.String()), []byte(a.String())})
	answer := ties.answer(nostr.Filter{})
	if got, why := ties.judge(nostr.Filter{}, answer, [][]byte{ties.raw[answer[1]], ties.raw[answer[0]]}); got != verdictTies {
		t.Errorf("verdict %d (%s) for a tie", got, why)
	}
}

// TestRows checks that the rows are the eighteen queries of real clients, and that each
// filter has answers, except in the row without matches.
func TestRows(t *testing.T) {
	o := smallOracle(t)
	rows := rowsOf(o)
	var names []string
	for _, r := range rows {
		names = append(names, r.name)
		found := 0
		for _, f := range r.filters {
			if f.Limit == 0 || len(o.answer(f)) > f.Limit {
				t.Errorf("%s: limit of %s", r.name, f)
			}
			found += len(o.answer(f))
		}
		if empty := r.name == "nothing matches (#s+#f)"; empty != (found == 0) {
			t.Errorf("%s finds %d events", r.name, found)
		}
		if _, ok := peers[r.name]; !ok {
			t.Errorf("%s has no peer", r.name)
		}
	}
	if !slices.Equal(names, rowNames) {
		t.Errorf("rows %q, report %q", names, rowNames)
	}
	if n := len(countsOf(o)); n != 4 {
		t.Errorf("%d kinds of COUNT", n)
	}
}

// TestSocket checks that a socket reads fragments, pings and long messages.
func TestSocket(t *testing.T) {
	client, far := net.Pipe()
	defer client.Close()
	s := &socket{nc: client}
	s.br = newReader(client)
	long := `["EVENT","q0",` + strings.Repeat(" ", 70_000) + `{}]`
	go func() {
		defer far.Close()
		far.SetDeadline(time.Now().Add(10 * time.Second))
		out := appendServerFrame(nil, []byte(`["AUTH","x"]`))
		out = append(out, 0x01, 6)
		out = append(out, `["EVEN`...)
		out = append(out, 0x89, 1, 'p') // a ping between fragments
		out = append(out, 0x80, 11)
		out = append(out, `T","q0",{}]`...)
		out = appendServerFrame(out, []byte(long))
		out = appendServerFrame(out, []byte(`["EOSE","q0"]`))
		for range 2 {
			if _, err := far.Write(out[:30]); err != nil {
				return
			}
			rest := make(chan error, 1)
			go func() { _, err := far.Write(out[30:]); rest <- err }()
			pong := make([]byte, 7)
			if _, err := far.Read(pong); err != nil || pong[0] != 0x80|opPong {
				t.Errorf("pong % x, %v", pong, err)
			}
			if err := <-rest; err != nil {
				return
			}
		}
	}()
	got, err := s.readAnswer("q0")
	if err != nil || len(got) != 2 || string(got[0]) != "{}" || len(got[1]) < 70_000 {
		t.Fatalf("%d events, %.60q, %v", len(got), got, err)
	}
	if n, err := s.skimAnswer(); n != 2 || err != nil {
		t.Fatalf("%d events, %v", n, err)
	}
}
