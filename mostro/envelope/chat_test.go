package envelope

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

func TestChat(t *testing.T) {
	alice, bob, eve := smallKeys(t, 7), smallKeys(t, 8), smallKeys(t, 9)
	chat, err := NewChat(alice, bob.Pubkey())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := NewChat(bob, alice.Pubkey())
	if err != nil {
		t.Fatal(err)
	}
	sealed := func() *nostr.Event {
		evt, err := chat.Seal(alice, "¿listo?", testNow, nil)
		if err != nil {
			t.Fatal(err)
		}
		return evt
	}
	msg, err := theirs.Open(sealed(), testNow)
	if err != nil || msg.Text != "¿listo?" || msg.Sender != alice.Pubkey() || int64(msg.CreatedAt) != testNow.Unix() {
		t.Fatalf("%+v, %v", msg, err)
	}
	if _, err := chat.Seal(eve, "x", testNow, nil); !errors.Is(err, message.RuleParty) {
		t.Errorf("a third party seals: %v", err)
	}
	if _, err := chat.Seal(alice, strings.Repeat("x", 60000), testNow, nil); !errors.Is(err, message.RuleSize) {
		t.Errorf("too long: %v", err)
	}
	resigned := func(change func(*nostr.Event)) *nostr.Event {
		evt := sealed()
		change(evt)
		if err := signEvent(evt, chat.Sign, newRandom()); err != nil {
			t.Fatal(err)
		}
		return evt
	}
	// holding wraps any inner event, as a holder of both conversation keys can.
	holding := func(inner string) *nostr.Event {
		return resigned(func(e *nostr.Event) {
			key, err := chat.Conv.Conversation(chat.Conv.Pubkey())
			if err != nil {
				t.Fatal(err)
			}
			if e.Content, err = key.Encrypt([]byte(inner), newRandom()); err != nil {
				t.Fatal(err)
			}
		})
	}
	words := func(from *Keys, kind int, at time.Time) string {
		evt := &nostr.Event{PubKey: from.Pubkey(), CreatedAt: nostr.Timestamp(at.Unix()), Kind: kind, Tags: nostr.Tags{}, Content: "hi"}
		if err := signEvent(evt, from, newRandom()); err != nil {
			t.Fatal(err)
		}
		return string(mostro.EncodeEvent(evt))
	}
	for name, c := range map[string]struct {
		evt  *nostr.Event
		rule message.Rule
	}{
		"kind 4":              {&nostr.Event{Kind: 4}, message.RuleKind},
		"another author":      {crafted(t, eve, chat.Conv.Pubkey(), 14, "x"), message.RuleParty},
		"no p":                {resigned(func(e *nostr.Event) { e.Tags = nostr.Tags{{}, {"x"}} }), message.RuleStructure},
		"two p":               {resigned(func(e *nostr.Event) { e.Tags = append(e.Tags, e.Tags[0]) }), message.RuleStructure},
		"another p":           {resigned(func(e *nostr.Event) { e.Tags = nostr.Tags{{"p", eve.Pubkey()}} }), message.RuleStructure},
		"bare p":              {resigned(func(e *nostr.Event) { e.Tags = nostr.Tags{{"p"}} }), message.RuleStructure},
		"dated ahead":         {resigned(func(e *nostr.Event) { e.CreatedAt += 61 }), message.RuleFuture},
		"huge":                {resigned(func(e *nostr.Event) { e.Content = strings.Repeat("A", 65537) }), message.RuleSize},
		"signature":           {func() *nostr.Event { e := sealed(); e.Sig = strings.Repeat("0", 128); return e }(), message.RuleSignature},
		"not ours":            {resigned(func(e *nostr.Event) { e.Content = crafted(t, eve, alice.Pubkey(), 14, "x").Content }), message.RuleEncryption},
		"no JSON":             {holding("hello"), message.RuleJSON},
		"said by eve":         {holding(words(eve, 1, testNow)), message.RuleParty},
		"words of kind 14":    {holding(words(bob, 14, testNow)), message.RuleRumorKind},
		"words off by a byte": {holding(strings.Replace(words(bob, 1, testNow), `"hi"`, `"ho"`, 1)), message.RuleEventID},
		"words of yesterday":  {holding(words(bob, 1, testNow.Add(-61*time.Second))), message.RuleStale},
		"words of tomorrow":   {holding(words(bob, 1, testNow.Add(61*time.Second))), message.RuleStale},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := theirs.Open(c.evt, testNow); !errors.Is(err, c.rule) {
				t.Fatalf("have %v, want rule %s", err, c.rule)
			}
		})
	}
	if msg, err := theirs.Open(holding(words(bob, 1, testNow.Add(-60*time.Second))), testNow); err != nil || msg.Sender != bob.Pubkey() {
		t.Errorf("a minute apart: %+v, %v", msg, err)
	}

	// In the older form any key may wrap, to the key of the shared secret.
	old := func(inner string) *nostr.Event { return crafted(t, eve, chat.OldAddress(), mostro.KindGiftWrap, inner) }
	msg, err = theirs.Open(old(words(bob, 1, testNow.Add(-24*time.Hour))), testNow)
	if err != nil || msg.Text != "hi" || msg.Sender != bob.Pubkey() {
		t.Errorf("older form: %+v, %v", msg, err)
	}
	if _, err := theirs.Open(old(words(eve, 1, testNow)), testNow); !errors.Is(err, message.RuleParty) {
		t.Errorf("older form, signed by eve: %v", err)
	}
	if _, err := theirs.Open(old(strings.Replace(words(bob, 1, testNow), `"sig"`, `"gis"`, 1)), testNow); !errors.Is(err, message.RuleMissing) {
		t.Errorf("older form, unsigned: %v", err)
	}
	if _, err := NewChat(alice, "x"); !errors.Is(err, message.RuleKey) {
		t.Errorf("a peer that is no key: %v", err)
	}
}
