package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestAgo(t *testing.T) {
	now := time.Now()
	for back, want := range map[time.Duration]string{5 * time.Second: "5 s", 90 * time.Second: "1 min", 47 * time.Hour: "47 h", 1277 * time.Hour: "53 d", -time.Hour: "0 s"} {
		if got := ago(now.Add(-back).Unix()); got != want && !strings.HasSuffix(got, want[1:]) {
			t.Errorf("%v: %q, want %q", back, got, want)
		}
	}
	if got := ago(0); got != "-" {
		t.Errorf("never: %q", got)
	}
}

// TestRowsNameKeyAndLink checks that a row contains the key of the order's Mostro and the
// link that takes the order.
func TestRowsNameKeyAndLink(t *testing.T) {
	key := strings.Repeat("ab", 32)
	link := "mostro:id-1?relays=wss://a.example,wss://b.example&mostro=" + key
	item := func(take any, instance map[string]any) map[string]any {
		instance["pubkey"], instance["name"] = key, "Kmbalache"
		return map[string]any{"side": "sell", "fiat": "VES", "status": "pending", "d": "id-1", "take_link": take, "instance": instance}
	}
	raw, err := json.Marshal(map[string]any{"total": 4, "items": []any{
		item(link, map[string]any{}), item(nil, map[string]any{"uses_name_of": map[string]any{"name": "Kmbalache"}}), item(nil, map[string]any{"unknown": true}), item(link, map[string]any{"new": true})}})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := printOrders(&out, raw); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	for i, want := range [][]string{{"NOTE", "PUBKEY", "LINK"}, {key, link}, {key, "uses the name of Kmbalache", "-"}, {key, "unknown"}, {key, "new", link}} {
		for _, w := range want {
			if !strings.Contains(lines[i], w) {
				t.Errorf("line %d lacks %q: %s", i, w, lines[i])
			}
		}
	}
	if strings.Contains(lines[2], "mostro:") {
		t.Errorf("a row without a link shows one: %s", lines[2])
	}
}

// TestChoiceNamesKeyAndLink checks that choose prints the key of each Mostro that fits, and
// the link of its best offer if it has one.
func TestChoiceNamesKeyAndLink(t *testing.T) {
	key := strings.Repeat("ab", 32)
	link := "mostro:id-1?relays=wss://a.example,wss://b.example&mostro=" + key
	for name, c := range map[string]struct {
		link any
		want bool
	}{"link": {link, true}, "no link": {nil, false}} {
		t.Run(name, func(t *testing.T) {
			raw, err := json.Marshal(map[string]any{"total": 1, "candidates": []any{
				map[string]any{"pubkey": key, "best_offer": map[string]any{"d": "id-1", "take_link": c.link}}}})
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := printChoice(&out, raw); err != nil {
				t.Fatal(err)
			}
			if text := out.String(); !strings.Contains(text, key) || !strings.Contains(text, "best offer: id-1\n") || strings.Contains(text, "take it: "+link+"\n") != c.want {
				t.Errorf("the verb printed\n%s", text)
			}
		})
	}
}
