package disputes

import (
	"crypto/rand"
	"encoding/hex"
	"net/http/cookiejar"
	"testing"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// hostile is a text that a user may write anywhere.
const hostile = "\"><script>alert(1)</script><img src=x onerror=alert(1)>\u202eevil\u0007\x1b[31m"

func newJar(tb testing.TB) *cookiejar.Jar {
	tb.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return jar
}

// chat puts a message between two keys on the relay, in the present form.
func (r *rig) chat(a, b, from *envelope.Keys, text string) {
	r.tb.Helper()
	other := b
	if from == b {
		other = a
	}
	c, err := envelope.NewChat(from, other.Pubkey())
	if err != nil {
		r.tb.Fatal(err)
	}
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	evt, err := c.Seal(from, text, r.f.now, rand.Reader)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.f.events = append(r.f.events, evt)
	r.f.now = r.f.now.Add(time.Second) // the next message is later
}

// shared returns the shared secret of two keys, as an app shows it.
func (r *rig) shared(a, b *envelope.Keys) string {
	r.tb.Helper()
	peer, err := message.ParsePoint(b.Pubkey())
	if err != nil {
		r.tb.Fatal(err)
	}
	secret := a.Secret()
	scalar, _ := btcec.PrivKeyFromBytes(secret[:])
	return hex.EncodeToString(btcec.GenerateSharedSecret(scalar, peer))
}

func sign(tb testing.TB, k *envelope.Keys, evt nostr.Event) *nostr.Event {
	tb.Helper()
	secret := k.Secret()
	if err := evt.Sign(hex.EncodeToString(secret[:])); err != nil {
		tb.Fatal(err)
	}
	return &evt
}
