package mostro

import (
	"encoding/json"
	"maps"
	"testing"
)

// FuzzFlatFields checks that flatFields returns the same fields as encoding/json.
func FuzzFlatFields(f *testing.F) {
	for _, text := range []string{
		`{"days":21,"total_rating":4.5,"total_reviews":7}`, `{"total_rating":0.0}`, `{"a":1,"a":2}`, `{"":1}`, `{}`, `{"a":}`, `{"a":1,}`, `{,"a":1}`,
		`{"a":01}`, `{"a":1.}`, `{"a":.5}`, `{"a":-1}`, `{"a":1e3}`, `{"a":"1"}`, `{"a":1}}`, `{{"a":1}`, `{"a":{"b":1}}`, `{"a":[1,2]}`, `{ "a":1}`, `{"a" :1}`,
		`{"a":1"b":2}`, `{"A":1}`, `{a":1}`, `{"a:1}`, `{"a"":1}`, `{"a":1,"b"}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := flatFields(text)
		if !ok {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatalf("%q was read as %q: %v", text, got, err)
		}
		if !maps.EqualFunc(got, want, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
			t.Fatalf("%q was read as %q, want %q", text, got, want)
		}
	})
}

func TestFlatFieldsReadsWhatMostroWrites(t *testing.T) {
	for _, text := range []string{`{"days":21,"total_rating":4.5,"total_reviews":7}`, `{"days":0,"total_rating":0.0,"total_reviews":0}`} {
		if got, ok := flatFields(text); !ok || len(got) != 3 {
			t.Errorf("%s: %q, %v", text, got, ok)
		}
	}
}

// FuzzRatingFields checks that the fast path for Mostro's form does not change the
// result.
func FuzzRatingFields(f *testing.F) {
	for _, text := range []string{
		`["rating",{"days":21,"total_rating":4.5,"total_reviews":7}]`, `["rating",{"days":1}`, `["rating",{"days":1}]]`, `["rating",{"days":1},2]`, `["rating",{}]`,
		`["other",{"days":1}]`, ` ["rating",{"days":1}] `, `["rating", {"days":1}]`, `["rating",{"days":"1"}]`, `["rating"]`, `{"days":1}`, `{"days":1}]`, "{\"days\":1}\f",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var want map[string]json.RawMessage
		var pair []json.RawMessage
		raw := []byte(text)
		if json.Unmarshal(raw, &pair) == nil && len(pair) >= 2 && jsonText(pair[0]) == "rating" {
			raw = pair[1]
		} else if len(pair) > 0 {
			raw = nil
		}
		if json.Unmarshal(raw, &want) != nil {
			want = nil
		}
		got := ratingFields(text)
		if len(got) != len(want) || !maps.EqualFunc(got, want, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
			t.Fatalf("%q was read as %q, want %q", text, got, want)
		}
	})
}
