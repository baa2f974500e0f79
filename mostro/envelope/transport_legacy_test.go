package envelope

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip04"
)

// TestLegacyIdentity checks that the pubkey field of a 2023 message proves nothing. The
// sender is the author, in full privacy unless the field names the author.
func TestLegacyIdentity(t *testing.T) {
	identity, trade := keysA(t)
	node := smallKeys(t, 3)
	m := message.Message{Wrapper: message.WrapperOrder, Action: message.ActionFiatSent, ID: &tradeID}
	for _, c := range []struct {
		name     string
		identity *Keys
		contact  string
		privacy  bool
	}{{"none", nil, "", true}, {"another", identity, identity.Pubkey(), true}, {"itself", trade, trade.Pubkey(), false}} {
		evt, err := Seal(context.Background(), m, SealOptions{Transport: TransportLegacy, To: node.Pubkey(), Trade: trade, Identity: c.identity, Now: testNow, Expiration: 1})
		if err != nil {
			t.Fatal(err)
		}
		env, err := Open(evt, node)
		if err != nil {
			t.Fatal(err)
		}
		if env.Sender != trade.Pubkey() || env.Identity != trade.Pubkey() || env.FullPrivacy != c.privacy || env.Contact != c.contact || env.Signed ||
			env.ReplayID != evt.ID || env.Message.Version != 1 || env.Transport != TransportLegacy {
			t.Errorf("%s: %+v", c.name, env)
		}
		// An independent implementation can also read the event.
		x, err := nip04.ComputeSharedSecret(trade.Pubkey(), hexSecret(node))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := nip04.Decrypt(evt.Content, x)
		if err != nil || plain != string(env.RawMessage) {
			t.Errorf("%s: %q, %v", c.name, plain, err)
		}
	}
}

// TestLegacyCipherErrorsAreOne checks that every fault of the ciphertext returns the
// same error.
func TestLegacyCipherErrorsAreOne(t *testing.T) {
	_, trade := keysA(t)
	node := smallKeys(t, 3)
	want := errLegacyCipher.Error()
	const iv = "AAAAAAAAAAAAAAAAAAAAAA=="
	for _, content := range []string{
		"", "?iv=", "AAAA", "AAAA?iv=" + iv, "!!!!?iv=" + iv, "?iv=" + iv, iv + "?iv=AAAA", iv + "?iv=!!!!", iv + "?iv=" + iv, iv + "?iv=" + iv + "?iv=" + iv, strings.Repeat("A", 64) + "?iv=" + iv,
	} {
		evt := &nostr.Event{PubKey: trade.Pubkey(), CreatedAt: 1, Kind: mostro.KindLegacyDM, Tags: nostr.Tags{}, Content: content}
		if err := signEvent(evt, trade, newRandom()); err != nil {
			t.Fatal(err)
		}
		_, err := Open(evt, node)
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v", content, err)
		}
	}
}

func TestLegacyPlaintextLimit(t *testing.T) {
	_, trade := keysA(t)
	node := smallKeys(t, 3)
	peer, err := message.ParsePoint(node.Pubkey())
	if err != nil {
		t.Fatal(err)
	}
	const frame = `{"Order":{"version":1,"pubkey":null,"action":"CantDo","content":{"TextMessage":""}}}`
	for n, rule := range map[int]message.Rule{65535: "", 65536: message.RuleSize, 70000: message.RuleSize} {
		plain := strings.Replace(frame, `""`, `"`+strings.Repeat("x", n-len(frame))+`"`, 1)
		// encryptNIP04 refuses this size, so the test uses go-nostr's function.
		x := trade.sharedX(peer)
		content, err := nip04.Encrypt(plain, x[:])
		if err != nil {
			t.Fatal(err)
		}
		evt := &nostr.Event{PubKey: trade.Pubkey(), CreatedAt: 1, Kind: mostro.KindLegacyDM, Tags: nostr.Tags{}, Content: content}
		if err := signEvent(evt, trade, newRandom()); err != nil {
			t.Fatal(err)
		}
		if env, err := Open(evt, node); (rule == "") != (err == nil) || rule != "" && !errors.Is(err, rule) || rule == "" && len(env.RawMessage) != n {
			t.Errorf("%d bytes: %v", n, err)
		}
		if _, err := encryptNIP04([]byte(plain), x, newRandom()); (rule == "") != (err == nil) {
			t.Errorf("%d bytes, writing: %v", n, err)
		}
	}
}
