package main

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/nbd-wtf/go-nostr"
)

// TestKeysetOf looks for a keyset under the present kind, the former kind and both, together
// with an announcement of the same host.
func TestKeysetOf(t *testing.T) {
	m := MustRunMain(t, t.TempDir())
	ctx := t.Context()
	w, err := dialRelay(ctx, "ws://"+m.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	now := time.Now()
	epoch := receipt.EpochOf(now)
	sets := make([]receipt.Keyset, 2)
	for i := range sets {
		key, err := receipt.NewBlindKey()
		if err != nil {
			t.Fatal(err)
		}
		if sets[i], err = receipt.NewKeyset("", epoch, &key.PublicKey); err != nil {
			t.Fatal(err)
		}
	}
	const present, former = mostro.KindReceiptKeys, mostro.KindAnnouncement
	for name, c := range map[string]struct {
		events map[int]receipt.Keyset
		fault  string
	}{
		"none":               {nil, "has published no key"},
		"present kind":       {map[int]receipt.Keyset{present: sets[0]}, ""},
		"former kind":        {map[int]receipt.Keyset{former: sets[0]}, ""},
		"the same in both":   {map[int]receipt.Keyset{present: sets[0], former: sets[0]}, ""},
		"another key in one": {map[int]receipt.Keyset{present: sets[0], former: sets[1]}, "has published two keys"},
	} {
		t.Run(name, func(t *testing.T) {
			node, err := envelope.NewKeys(nil)
			if err != nil {
				t.Fatal(err)
			}
			secret := node.Secret()
			publish := func(evt nostr.Event) {
				evt.CreatedAt = nostr.Timestamp(now.Unix())
				if err := evt.Sign(hex.EncodeToString(secret[:])); err != nil {
					t.Fatal(err)
				}
				if err := w.publish(ctx, &evt); err != nil {
					t.Fatal(err)
				}
			}
			for kind, set := range c.events {
				evt := set.Event()
				evt.Kind = kind
				publish(evt)
			}
			if _, ok := c.events[former]; !ok {
				expiration := nostr.Tag{"expiration", "32503680000"}
				publish(nostr.Event{Kind: former, Tags: nostr.Tags{{"d", epoch}, {"z", "announcement"}, expiration}})
			}
			got, err := w.keysetOf(ctx, node.Pubkey(), epoch)
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Fatalf("%v, want %q", err, c.fault)
				}
				return
			}
			if err != nil || got.ID != sets[0].ID {
				t.Fatalf("key %q, %v", got.ID, err)
			}
			known, err := w.keysets(ctx, node.Pubkey())
			if err != nil || known(node.Pubkey(), got.ID) == nil {
				t.Errorf("the keyset is not found by its id: %v", err)
			}
		})
	}
}

// TestListOfKindsFromBefore uses a list of kinds that an operator wrote when keysets had kind
// 38387, and checks that the list admits the present kind of keysets.
func TestListOfKindsFromBefore(t *testing.T) {
	for name, c := range map[string]struct{ kinds, want []int }{
		"default":         {nil, nil},
		"without keysets": {[]int{38383, 38385}, []int{38383, 38385}},
		"former kind":     {[]int{38383, 38387}, []int{38383, 38387, 38377}},
		"both kinds":      {[]int{38377, 38387}, []int{38377, 38387}},
	} {
		t.Run(name, func(t *testing.T) {
			r := RelayConfig{Kinds: c.kinds}
			if got := r.admitted(); !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}
