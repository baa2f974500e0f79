package jsonscan

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/nbd-wtf/go-nostr"
)

// FuzzEventText checks that Event and encoding/json read the same event, if
// encoding/json is as strict.
func FuzzEventText(f *testing.F) {
	for _, seed := range []string{
		`{"id":"a","pubkey":"b","created_at":1,"kind":2,"tags":[["d","\u00e9\n"],[]],"content":"\ud83d\ude00","sig":"c"}`,
		`{"kind":-0,"kind":1}`, `{"x":{"y":[1,2.5e-3,null,true]},"id":"\\\"\/"}`, `{"tags":[[1]]}`, `{"id":null}`,
		"{\"id\":\"a\x01\"}", `{"created_at":9223372036854775808}`, `{"a":01}`, `{,}`, `{"a":1,}`, `[]`, `{"id":"\ud800"}`, `{"id":"\udc00\ud800"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return
		}
		var text1 Scanner
		text1.Reset(text)
		var ours nostr.Event
		err := text1.Event(&ours)
		if err == nil {
			err = text1.AtEnd()
		}
		if err != nil {
			return
		}
		// A message that Event accepts must have the same meaning for other parsers.
		if !json.Valid([]byte(text)) {
			t.Fatalf("accepted, but not valid JSON: %q", text)
		}
		var theirs struct {
			ID        *string     `json:"id"`
			PubKey    *string     `json:"pubkey"`
			CreatedAt *int64      `json:"created_at"`
			Kind      *int        `json:"kind"`
			Tags      *[][]string `json:"tags"`
			Content   *string     `json:"content"`
			Sig       *string     `json:"sig"`
		}
		dec := json.NewDecoder(strings.NewReader(text))
		if err := dec.Decode(&theirs); err != nil {
			t.Fatalf("accepted, but encoding/json returns %v: %q", err, text)
		}
		if strings.Contains(strings.ToLower(text), `"id":`) && strings.Count(strings.ToLower(text), "id") > 1 {
			return // encoding/json ignores the case of names, so another member may have replaced a value
		}
		if theirs.ID == nil || *theirs.ID != ours.ID || *theirs.PubKey != ours.PubKey || *theirs.CreatedAt != int64(ours.CreatedAt) ||
			*theirs.Kind != ours.Kind || *theirs.Content != ours.Content || *theirs.Sig != ours.Sig || len(*theirs.Tags) != len(ours.Tags) {
			t.Fatalf("%q read as %+v", text, ours)
		}
		for i, tag := range *theirs.Tags {
			if strings.Join(tag, "\x00") != strings.Join(ours.Tags[i], "\x00") {
				t.Fatalf("%q: tag %d read as %q", text, i, ours.Tags[i])
			}
		}
	})
}

func TestFilterText(t *testing.T) {
	for text, want := range map[string]nostr.Filter{
		`{}`:                        {},
		`{"kinds":[1,2],"limit":0}`: {Kinds: []int{1, 2}, LimitZero: true},
		`{"#d":[],"#Z":["a","b"]}`:  {Tags: nostr.TagMap{"d": {}, "Z": {"a", "b"}}},
		`{"search":"a \"b\"","limit":7,"x":[{}]}`: {Search: `a "b"`, Limit: 7},
	} {
		var ft Scanner
		ft.Reset(text)
		var got nostr.Filter
		if err := ft.Filter(&got); err != nil || ft.AtEnd() != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v %v", text, got, err)
		}
	}
}
