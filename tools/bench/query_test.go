package main

import (
	"encoding/json"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestFilterJSON checks that the encoded filter is the filter that the oracle answers,
// and that the bytes are the same each time.
func TestFilterJSON(t *testing.T) {
	at := nostr.Timestamp(1_700_000_000)
	for _, f := range []nostr.Filter{
		{},
		{Tags: nostr.TagMap{"s": {"pending"}}},
		{Kinds: []int{kindOrder}, Tags: nostr.TagMap{"s": {"pending"}, "f": {"VES", "A\"B"}, "k": {"buy"}}, Limit: 100},
		{IDs: []string{"ab"}, Authors: []string{"cd"}, Since: &at, Until: &at, Search: "pago móvil", Limit: 5},
	} {
		first := filterJSON(f)
		var back nostr.Filter
		if err := json.Unmarshal(first, &back); err != nil {
			t.Fatalf("%s: %v", first, err)
		}
		if !nostr.FilterEqual(f, back) || f.Limit != back.Limit || f.Search != back.Search {
			t.Errorf("%s is not %s", first, f)
		}
		for range 20 {
			if again := filterJSON(f); string(again) != string(first) {
				t.Fatalf("%s, then %s", first, again)
			}
		}
	}
}
