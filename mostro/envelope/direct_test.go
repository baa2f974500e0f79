package envelope

import (
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// TestDirect seals and opens a private message, and refuses a stranger's and a forged one.
func TestDirect(t *testing.T) {
	from, to, other, now := smallKeys(t, 5), smallKeys(t, 3), smallKeys(t, 7), time.Unix(1_790_000_000, 0)
	wrap, err := SealDirect(from, to.Pubkey(), "list", now, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckEvent(wrap); err != nil || wrap.PubKey == from.Pubkey() || wrap.CreatedAt.Time().After(now) {
		t.Errorf("%+v, %v", wrap, err)
	}
	d, err := OpenDirect(wrap, to)
	if err != nil || d.Sender != from.Pubkey() || d.Text != "list" || d.CreatedAt.Time() != now {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := OpenDirect(wrap, other); err == nil {
		t.Error("a stranger opened the message")
	}
	// The author of the rumor must be the author of the seal.
	rumor := &nostr.Event{PubKey: other.Pubkey(), Kind: nostr.KindDirectMessage, Tags: nostr.Tags{}, Content: "delete all"}
	rumor.ID = rumor.GetID()
	forged, err := wrapRumor(rumor, from, to.Pubkey(), now, newRandom())
	if err != nil {
		t.Fatal(err)
	}
	if d, err := OpenDirect(forged, to); err == nil {
		t.Errorf("a message in the name of another: %+v", d)
	}
	rumor.PubKey, rumor.Kind = from.Pubkey(), nostr.KindTextNote
	if forged, err = wrapRumor(rumor, from, to.Pubkey(), now, newRandom()); err != nil {
		t.Fatal(err)
	}
	if d, err := OpenDirect(forged, to); err == nil {
		t.Errorf("a rumor of kind 1: %+v", d)
	}
	if _, err := OpenDirect(&nostr.Event{Kind: mostro.KindMessage}, to); err == nil {
		t.Error("kind 14 was opened as a wrap")
	}
	if _, err := SealDirect(from, to.Pubkey(), strings.Repeat("x", 70_000), now, nil); err == nil {
		t.Error("a text that is too long was sealed")
	}
}
