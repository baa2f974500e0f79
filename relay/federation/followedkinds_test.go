package federation

import (
	"fmt"
	"slices"
	"testing"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// TestFollowedKinds follows a relay that has all kinds: stored events come by
// pages, later ones live. Health does not come, nor does an attestation.
func TestFollowedKinds(t *testing.T) {
	at := testkit.Now()
	held := []*nostr.Event{testkit.Announcement(t, at-7200), testkit.Keyset(t, mostro.KindReceiptKeys, at-7200), testkit.Keyset(t, 38387, at-7200)}
	other := startOther(t, 100, append(slices.Clone(held), testkit.Health(t, at), testkit.Attestation(t, at))...)
	r := startRelay(t, nil)
	us, _, _ := r.follow(UpstreamsConfig{}, other.url())
	testkit.Eventually(t, "live", func() bool { return healthOf(t, us, other.url()).State == "live" })
	r.awaitIDs("stored events", sortedIDs(held))
	fresh := testkit.SignedBy(t, testkit.Secret, mostro.KindAnnouncement, at, "{}", nostr.Tag{"d", "another"}, nostr.Tag{"expiration", fmt.Sprint(at + 86400)}, nostr.Tag{"z", "announcement"})
	for _, evt := range []*nostr.Event{testkit.Health(t, at+1), testkit.Attestation(t, at+1), fresh} {
		other.publish(evt)
	}
	// The last of them has come, so the others before it would have.
	r.awaitIDs("live events", sortedIDs(append(held, fresh)))
}
