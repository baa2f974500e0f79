package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/nbd-wtf/go-nostr"
)

// oracle computes the events and answers that a relay must have after a load. It scans
// all events without an index and shares no code with the relays.
type oracle struct {
	events []*nostr.Event
	raw    [][]byte // JSON of events
	live   []int    // newest version of each address, in the order of answers
	newest map[string]int
}

func newOracle(events []*nostr.Event, raw [][]byte) *oracle {
	o := &oracle{events: events, raw: raw, newest: make(map[string]int, len(events)/2)}
	for i, evt := range events {
		key := addressOf(evt)
		if was, ok := o.newest[key]; !ok || before(evt, events[was]) < 0 {
			o.newest[key] = i
		}
	}
	for _, i := range o.newest {
		o.live = append(o.live, i)
	}
	slices.SortFunc(o.live, func(a, b int) int { return before(events[a], events[b]) })
	return o
}

// before compares events in the order of answers, which is also the order of versions
// in NIP-01: the newest event first; if the times are equal, the lowest id first.
func before(a, b *nostr.Event) int {
	return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), cmp.Compare(a.ID, b.ID))
}

// answer returns the matching live events in order, at most f.Limit of them. If f.Limit
// is 0, answer returns all of them.
func (o *oracle) answer(f nostr.Filter) []int {
	limit := f.Limit
	if limit == 0 {
		limit = len(o.live)
	}
	var found []int
	for _, i := range o.live {
		if len(found) == limit {
			break
		}
		if f.Matches(o.events[i]) {
			found = append(found, i)
		}
	}
	return found
}

// count returns the number of matching live events, without a limit.
func (o *oracle) count(f nostr.Filter) int {
	f.Limit = 0
	return len(o.answer(f))
}

// verdict is the result of comparing an answer with the oracle's answer.
type verdict uint8

const (
	verdictRight   verdict = iota // the same events with identical signed bytes, in the same order
	verdictTies                   // correct except for the order of events of the same second
	verdictWrong                  // an event is missing, stale, repeated, foreign or out of order
	verdictsNumber = iota
)

// judge compares an answer with want, the oracle's answer for the same filter. It
// returns the verdict and the reason.
func (o *oracle) judge(f nostr.Filter, want []int, got [][]byte) (verdict, string) {
	if len(got) != len(want) {
		return verdictWrong, fmt.Sprintf("%d events, want %d", len(got), len(want))
	}
	same := true
	seen := make(map[string]bool, len(got))
	for n, b := range got {
		var evt nostr.Event
		if err := json.Unmarshal(b, &evt); err != nil {
			return verdictWrong, err.Error()
		}
		exp := o.events[want[n]]
		if evt.CreatedAt != exp.CreatedAt {
			return verdictWrong, fmt.Sprintf("event %d has the time %d, want %d", n, evt.CreatedAt, exp.CreatedAt)
		}
		live, ok := o.newest[addressOf(&evt)]
		if !ok || o.events[live].ID != evt.ID || seen[evt.ID] || !f.Matches(&evt) {
			return verdictWrong, fmt.Sprintf("event %d, %s, is stale, foreign or repeated", n, evt.ID)
		}
		if evt.String() != o.events[live].String() {
			return verdictWrong, fmt.Sprintf("event %d, %s, differs from the sent event", n, evt.ID)
		}
		seen[evt.ID] = true
		same = same && evt.ID == exp.ID
	}
	if !same {
		return verdictTies, "different order within a second"
	}
	return verdictRight, ""
}

// standing is the comparison of a relay's events with the oracle's.
type standing struct {
	Addresses, Orders               int
	Missing, Stale, Doubled, Others int
	WrongOrders                     int // events of kind 38383 among the wrong ones
}

// examine queries every address and compares the answers with the oracle.
func (o *oracle) examine(s *socket) (standing, error) {
	var st standing
	type group struct {
		kind int
		by   string // author of replaceable events
	}
	groups := make(map[group][]int)
	for _, i := range o.live {
		evt := o.events[i]
		switch {
		case nostr.IsAddressableKind(evt.Kind):
			groups[group{evt.Kind, ""}] = append(groups[group{evt.Kind, ""}], i)
		case nostr.IsReplaceableKind(evt.Kind):
			groups[group{evt.Kind, evt.PubKey}] = append(groups[group{evt.Kind, evt.PubKey}], i)
		default:
			groups[group{evt.Kind, ""}] = append(groups[group{evt.Kind, ""}], i)
		}
		st.Addresses++
		if evt.Kind == kindOrder {
			st.Orders++
		}
	}
	n := 0
	for g, members := range groups {
		for part := range slices.Chunk(members, 100) {
			f := nostr.Filter{Kinds: []int{g.kind}, Limit: 500}
			for _, i := range part {
				evt := o.events[i]
				switch {
				case nostr.IsAddressableKind(g.kind):
					if f.Tags == nil {
						f.Tags = make(nostr.TagMap)
					}
					f.Tags["d"] = append(f.Tags["d"], evt.Tags.GetD())
				case nostr.IsReplaceableKind(g.kind):
					f.Authors = []string{g.by}
				default:
					f.IDs = append(f.IDs, evt.ID)
				}
			}
			n++
			sub := fmt.Sprintf("examine%d", n)
			if err := s.say(`["REQ","%s",%s]`, sub, f.String()); err != nil {
				return st, err
			}
			got, err := s.readAnswer(sub)
			if err != nil {
				return st, err
			}
			if err := s.say(`["CLOSE","%s"]`, sub); err != nil {
				return st, err
			}
			byAddress := make(map[string][]string)
			for _, b := range got {
				var evt nostr.Event
				if err := json.Unmarshal(b, &evt); err != nil {
					return st, err
				}
				byAddress[addressOf(&evt)] = append(byAddress[addressOf(&evt)], evt.ID)
			}
			for _, i := range part {
				evt := o.events[i]
				key := addressOf(evt)
				held := byAddress[key]
				delete(byAddress, key)
				wrong := true
				switch {
				case len(held) == 0:
					st.Missing++
				case len(held) > 1:
					st.Doubled++
				case held[0] != evt.ID:
					st.Stale++
				default:
					wrong = false
				}
				if wrong && evt.Kind == kindOrder {
					st.WrongOrders++
				}
			}
			// The remaining addresses were not in the query.
			st.Others += len(byAddress)
		}
	}
	return st, nil
}
