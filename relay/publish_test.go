package relay

import (
	"errors"
	"testing"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/relaytest"
	"github.com/nbd-wtf/go-nostr"
)

// The program's own events are taken for any created_at. If its own relay refused an
// event, the event would be published on no relay, and the events queued behind it would
// wait. A final refusal is distinguished from a temporary error.
func TestOwnEventsAndTime(t *testing.T) {
	clock := testkit.NewClock()
	s, err := New(Config{Store: relaytest.OpenStore(t, t.TempDir(), clock.Now), Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	sk := nostr.GeneratePrivateKey()
	now := clock.Now().Unix()
	for name, evt := range map[string]*nostr.Event{
		"ahead":   {Kind: mostro.KindOrder, CreatedAt: nostr.Timestamp(now + 7200), Tags: nostr.Tags{{"d", "a"}}},
		"expired": {Kind: mostro.KindOrder, CreatedAt: nostr.Timestamp(now - 10), Tags: nostr.Tags{{"d", "b"}, {"expiration", "1"}}},
	} {
		if err := evt.Sign(sk); err != nil {
			t.Fatal(err)
		}
		if err := s.Publish(t.Context(), evt); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	evt := &nostr.Event{Kind: 9999, CreatedAt: nostr.Timestamp(now)}
	if err := evt.Sign(sk); err != nil {
		t.Fatal(err)
	}
	if err := s.Publish(t.Context(), evt); !errors.Is(err, ErrRefused) {
		t.Errorf("a kind that is not kept: %v, want %v", err, ErrRefused)
	}
}
