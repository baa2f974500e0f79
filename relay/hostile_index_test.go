package relay

import (
	"fmt"
	"testing"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/nbd-wtf/go-nostr"
)

func TestEventsOfManyStatusesAreRefused(t *testing.T) {
	r := startRelay(t, nil)
	c := r.Dial()
	tags := nostr.Tags{{"d", "x"}}
	for i := range maxSeveral {
		tags = append(tags, nostr.Tag{"s", fmt.Sprint(i)}, nostr.Tag{"f", fmt.Sprint(i)}, nostr.Tag{"f", "0"})
	}
	c.MustPublish(testkit.Signed(t, 38383, testkit.Now(), tags...))
	for _, letter := range []string{"s", "f"} {
		c.MustRefuse(testkit.Signed(t, 38383, testkit.Now(), append(tags, nostr.Tag{letter, "one more"})...), "invalid: the event has more than 8 values of "+letter)
	}
}
