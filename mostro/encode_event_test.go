package mostro

import (
	"bytes"
	"testing"

	"github.com/nbd-wtf/go-nostr"
	"pgregory.net/rapid"
)

// TestEncodeCheckedEqualsCheckID compares with go-nostr's own hash, over texts
// that look like the parts the encoding is cut at.
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
		body, ok := EncodeChecked(evt)
		if !bytes.Equal(body, EncodeEvent(evt)) {
			t.Fatalf("encoded %s, want %s", body, EncodeEvent(evt))
		}
		if want := evt.CheckID(); ok != want {
			t.Fatalf("%s: %t, want %t", body, ok, want)
		}
	})
}
