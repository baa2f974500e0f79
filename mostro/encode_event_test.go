package mostro_test

import (
	"bytes"
	"strings"
	"testing"
	"unsafe"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
	"pgregory.net/rapid"
)

// TestEncodeCheckedEqualsCheckID compares EncodeChecked with go-nostr's own hash. The
// texts look like the separators at which EncodeChecked splits the JSON.
func TestEncodeCheckedEqualsCheckID(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", `],"content":`, `,"tags":`, `"],"content":"`, "\x00\x1f\x7f", "é\u2028", `\`}))
	rapid.Check(t, func(t *rapid.T) {
		evt := &nostr.Event{PubKey: rapid.SampledFrom([]string{"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798", `,"tags":`, ""}).Draw(t, "pubkey"),
			CreatedAt: nostr.Timestamp(rapid.Int64().Draw(t, "created_at")), Kind: rapid.IntRange(0, 65535).Draw(t, "kind"),
			Content: text.Draw(t, "content"), Sig: rapid.SampledFrom([]string{"", "00ff"}).Draw(t, "sig")}
		for _, tag := range rapid.SliceOfN(rapid.SliceOfN(text, 0, 3), 0, 4).Draw(t, "tags") {
			evt.Tags = append(evt.Tags, nostr.Tag(tag))
		}
		evt.ID = evt.GetID()
		if rapid.Bool().Draw(t, "forged") {
			evt.ID = evt.ID[1:] + "0"
		}
		body, ok := mostro.EncodeChecked(evt)
		if !bytes.Equal(body, mostro.EncodeEvent(evt)) {
			t.Fatalf("encoded %s, want %s", body, mostro.EncodeEvent(evt))
		}
		if want := evt.CheckID(); ok != want {
			t.Fatalf("%s: %t, want %t", body, ok, want)
		}
	})
}

// TestCheckedText checks that CheckedText returns the same body and the same result as
// EncodeChecked for any spelling of an event.
func TestCheckedText(t *testing.T) {
	word := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "d", `],"content":`, `,"tags":`, `","sig":"`, `\`, `"`, "a\tb", "é", "aaa"}))
	rapid.Check(t, func(t *rapid.T) {
		evt := &nostr.Event{PubKey: strings.Repeat("7", 64), CreatedAt: nostr.Timestamp(rapid.Int64Range(-10, 1<<40).Draw(t, "created_at")),
			Kind: rapid.IntRange(0, 65535).Draw(t, "kind"), Content: word.Draw(t, "content"), Sig: strings.Repeat("0f", 64), Tags: nostr.Tags{}}
		for _, tag := range rapid.SliceOfN(rapid.SliceOfN(word, 0, 3), 0, 4).Draw(t, "tags") {
			evt.Tags = append(evt.Tags, nostr.Tag(tag))
		}
		evt.ID = evt.GetID()
		if rapid.Bool().Draw(t, "forged") {
			evt.ID = strings.Repeat("1", 64)
		}
		plain := string(mostro.EncodeEvent(evt))
		fields := []string{`"sig":"` + evt.Sig + `"`, `"id":"` + evt.ID + `"`, `"pubkey":"` + evt.PubKey + `"`}
		rest := plain[strings.Index(plain, `"created_at"`):strings.LastIndex(plain, `,"sig"`)]
		texts := []string{
			plain,
			"{" + fields[0] + "," + fields[1] + "," + fields[2] + "," + rest + "}",
			"{" + fields[1] + "," + fields[2] + "," + fields[0] + "," + rest + "}",
			"{" + fields[2] + "," + fields[1] + "," + rest + "," + fields[0] + "}",
			strings.Replace(plain, `,"tags":`, `,"tags": `, 1),
			strings.Replace(plain, `],"content":`, `] ,"content":`, 1),
			strings.Replace(plain, `,"sig":"0`, `,"x":1,"sig":"0`, 1),
			strings.ReplaceAll(plain, "aaa", `\u0061aa`),
		}
		for _, text := range texts {
			parsed, err := message.DecodeEvent([]byte(text))
			if err != nil {
				continue // a word looked like the rewritten place
			}
			body, ok := mostro.CheckedText(parsed, text)
			wantBody, want := mostro.EncodeChecked(parsed)
			if ok != want || !bytes.Equal(body, wantBody) {
				t.Fatalf("%s: %t %s, want %t %s", text, ok, body, want, wantBody)
			}
		}
	})
	// A text in our own encoding is not encoded again.
	evt := &nostr.Event{PubKey: strings.Repeat("7", 64), Kind: mostro.KindOrder, CreatedAt: 1_790_000_000, Content: "a", Sig: strings.Repeat("0f", 64), Tags: nostr.Tags{{"d", "x"}}}
	evt.ID = evt.GetID()
	text := string(mostro.EncodeEvent(evt))
	parsed, err := message.DecodeEvent([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	body, ok := mostro.CheckedText(parsed, text)
	if !ok || len(body) == 0 || unsafe.StringData(text) != &body[0] {
		t.Error("a text is encoded again")
	}
}
