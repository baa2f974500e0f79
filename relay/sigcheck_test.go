package relay

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/nbd-wtf/go-nostr"
)

// TestSignatureHolds compares the result with go-nostr's CheckSignature, for a key that is
// new and for a key that is cached.
func TestSignatureHolds(t *testing.T) {
	flip := func(s string, at int) string {
		b, _ := hex.DecodeString(s)
		b[at] ^= 1
		return hex.EncodeToString(b)
	}
	other, stranger := *testkit.Order(t, "other", testkit.Now(), "pending"), nostr.Event{Kind: 1, CreatedAt: nostr.Now()}
	if err := stranger.Sign(nostr.GeneratePrivateKey()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		evt := testkit.Order(t, "d", testkit.Now(), "pending")
		if !signatureHolds(evt) || !signatureHolds(&other) || !signatureHolds(&stranger) {
			t.Fatal("a right signature is refused")
		}
		for name, change := range map[string]func(e *nostr.Event){
			"another's signature": func(e *nostr.Event) { e.Sig = other.Sig },
			"another's key":       func(e *nostr.Event) { e.PubKey = stranger.PubKey },
			"first byte":          func(e *nostr.Event) { e.Sig = flip(e.Sig, 0) },
			"last byte":           func(e *nostr.Event) { e.Sig = flip(e.Sig, 63) },
			"short":               func(e *nostr.Event) { e.Sig = e.Sig[:126] },
			"long":                func(e *nostr.Event) { e.Sig += "00" },
			"none":                func(e *nostr.Event) { e.Sig = "" },
			"no hex":              func(e *nostr.Event) { e.Sig = strings.Repeat("z", 128) },
			"zeros":               func(e *nostr.Event) { e.Sig = strings.Repeat("0", 128) },
			"no point":            func(e *nostr.Event) { e.PubKey = strings.Repeat("f", 64) },
			"not on the curve":    func(e *nostr.Event) { e.PubKey = strings.Repeat("0", 63) + "5" },
			"short key":           func(e *nostr.Event) { e.PubKey = e.PubKey[:62] },
		} {
			bad := *evt
			change(&bad)
			if signatureHolds(&bad) {
				t.Errorf("%s: taken as signed", name)
			}
		}
	}
}

func BenchmarkSignature(b *testing.B) {
	evt := testkit.Order(b, "d", testkit.Now(), "pending")
	b.Run("signatureHolds", func(b *testing.B) {
		for b.Loop() {
			if !signatureHolds(evt) {
				b.Fatal("refused")
			}
		}
	})
	b.Run("CheckSignature", func(b *testing.B) {
		for b.Loop() {
			if ok, _ := evt.CheckSignature(); !ok {
				b.Fatal("refused")
			}
		}
	})
}
