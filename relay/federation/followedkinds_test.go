package federation

import (
	"fmt"
	"slices"
	"testing"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// TestFollowedKinds follows a relay that has all kinds. Stored events arrive by pages,
// later events live. Health and attestations do not arrive.
func TestFollowedKinds(t *testing.T) {
	at := testkit.Now()
	held := []*nostr.Event{testkit.Announcement(t, at-7200), testkit.Keyset(t, mostro.KindReceiptKeys, at-7200), testkit.Keyset(t, 38387, at-7200)}
	other := startOther(t, 100, append(slices.Clone(held), testkit.Health(t, at), testkit.Attestation(t, at))...)
	r := startRelay(t, nil)
	us, _, _ := r.follow(Config{}, other.url())
	testkit.Eventually(t, "live", func() bool { return healthOf(t, us, other.url()).State == "live" })
	r.awaitIDs("stored events", sortedIDs(held))
	fresh := testkit.SignedBy(t, testkit.Secret, mostro.KindAnnouncement, at, "{}", nostr.Tag{"d", "another"}, nostr.Tag{"expiration", fmt.Sprint(at + 86400)}, nostr.Tag{"z", "announcement"})
	for _, evt := range []*nostr.Event{testkit.Health(t, at+1), testkit.Attestation(t, at+1), fresh} {
		other.publish(evt)
	}
	// The last event has arrived, so any earlier event would have arrived too.
	r.awaitIDs("live events", sortedIDs(append(held, fresh)))
}
