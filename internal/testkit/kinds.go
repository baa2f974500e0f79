package testkit

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Events of the kinds next to 38383, as their publishers write them.
func Announcement(tb testing.TB, at int64) *nostr.Event {
	tb.Helper()
	return SignedBy(tb, Secret, mostro.KindAnnouncement, at, `{"v":1,"severity":"info","locales":{"en":{"title":"T","body":"B"}}}`,
		nostr.Tag{"d", "2026-11-update"}, nostr.Tag{"expiration", fmt.Sprint(at + 86400)}, nostr.Tag{"min_version", "2.0.0"}, nostr.Tag{"z", "announcement"}, nostr.Tag{"y", "mostro"})
}

func Health(tb testing.TB, at int64) *nostr.Event {
	tb.Helper()
	since := fmt.Sprint(at - 3600)
	return Signed(tb, mostro.KindHealth, at, nostr.Tag{"d", PubkeyOf(tb, Secret)}, nostr.Tag{"y", "mostro", "Node"}, nostr.Tag{"z", "health"}, nostr.Tag{"status", "ok"},
		nostr.Tag{"check", "lnd_sync", "ok", since}, nostr.Tag{"check", "payouts", "ok", since}, nostr.Tag{"check", "relays", "ok", since}, nostr.Tag{"check", "database", "ok", since},
		nostr.Tag{"escrow_mode", "lightning"}, nostr.Tag{"lnd_block_height", "975000"}, nostr.Tag{"lnd_synced_to_chain", "true"}, nostr.Tag{"lnd_network", "mainnet"},
		nostr.Tag{"maintenance_mode", "false"}, nostr.Tag{"mostro_version", "0.20.2"}, nostr.Tag{"interval", "60"}, nostr.Tag{"seq", "17"}, nostr.Tag{"expiration", fmt.Sprint(at + 180)})
}

func Keyset(tb testing.TB, kind int, at int64) *nostr.Event {
	tb.Helper()
	return Signed(tb, kind, at, nostr.Tag{"d", "2026-11"}, nostr.Tag{"z", "receipt-keys"}, nostr.Tag{"y", "mostro"})
}

func Attestation(tb testing.TB, at int64) *nostr.Event {
	tb.Helper()
	return Signed(tb, mostro.KindAttestation, at, nostr.Tag{"p", strings.Repeat("ab", 32)}, nostr.Tag{"subject", "s"}, nostr.Tag{"reviews", "5"},
		nostr.Tag{"rating", "4.90"}, nostr.Tag{"z", "reputation-attestation"}, nostr.Tag{"expiration", fmt.Sprint(at + 86400)})
}

func PubkeyOf(tb testing.TB, secret string) string {
	tb.Helper()
	key, err := nostr.GetPublicKey(secret)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}
