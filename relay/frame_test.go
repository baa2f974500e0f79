package relay

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mostrodex/mostrodex/internal/jsonscan"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/nbd-wtf/go-nostr"
)

// FuzzWellFormed checks that an event that WellFormed accepts is safe to hash, to encode
// and to parse again.
func FuzzWellFormed(f *testing.F) {
	for _, evt := range []*nostr.Event{
		testkit.Signed(f, 38383, 1, nostr.Tag{"d"}), testkit.Signed(f, 10002, 1), testkit.Signed(f, 1, 1, nostr.Tag{}), testkit.Signed(f, 1, 1, nostr.Tag{"-"}, nostr.Tag{"expiration", "x"}),
	} {
		body, _ := evt.MarshalJSON()
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var evt nostr.Event
		if json.Unmarshal(body, &evt) != nil || WellFormed(&evt) != "" {
			return
		}
		for _, tag := range evt.Tags {
			if len(tag) == 0 || tag[0] == "" || tag[0] == "d" && len(tag) < 2 && evt.Kind >= 30000 && evt.Kind < 40000 {
				t.Fatalf("let through: %v", evt)
			}
		}
		evt.ID = evt.GetID()
		again, err := evt.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var text jsonscan.Scanner
		text.Reset(string(again))
		back := nostr.Event{}
		if err := text.Event(&back); err != nil {
			t.Fatalf("%v in %s", err, again)
		}
		if !back.CheckID() {
			t.Fatalf("another id after %s", again)
		}
	})
}

func TestFrameSizes(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 200000} {
		h := appendHeader(nil, 1, n)
		want := 2
		if n > 125 {
			want = 4
		}
		if n > 65535 {
			want = 10
		}
		if len(h) != want {
			t.Errorf("%d bytes: header of %d", n, len(h))
		}
	}
	reason := strings.Repeat("é", 100)
	c := appendClose(nil, 1008, reason)
	if len(c) > 127 || !utf8.Valid(c[4:]) || !bytes.HasPrefix(c, []byte{0x88}) {
		t.Errorf("close frame of %d bytes: %q", len(c), c)
	}
}

func BenchmarkEventText(b *testing.B) {
	body, _ := testkit.Order(b, "d1a2c5b0-0000-4000-8000-000000000000", testkit.Now(), "pending").MarshalJSON()
	text := string(body)
	var t jsonscan.Scanner
	b.ReportAllocs()
	for b.Loop() {
		var evt nostr.Event
		t.Reset(text)
		if err := t.Event(&evt); err != nil {
			b.Fatal(err)
		}
	}
}
