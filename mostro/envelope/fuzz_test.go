package envelope

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// FuzzOpenEvent passes arbitrary events to Open.
func FuzzOpenEvent(f *testing.F) {
	for _, id := range []string{"4588fdf14a236f1d", "8acac7d09df66457", "ebfe79aba53509ef"} {
		line, _ := vectorEvent(f, id)
		f.Add([]byte(line))
	}
	keys := smallKeys(f, 3)
	f.Fuzz(func(t *testing.T, b []byte) {
		evt, err := message.DecodeRumor(b)
		if err != nil {
			return
		}
		if _, err := Open(evt, keys); err != nil {
			wantRule(t, err)
		}
		if _, err := OpenVerified(evt, keys); err != nil {
			wantRule(t, err)
		}
	})
}

// FuzzOpen fuzzes the plaintext: the seal of v1, the rumor inside the seal, the tuple
// of v2, and the bare message of legacy.
func FuzzOpen(f *testing.F) {
	identity, trade := keysA(f)
	node := smallKeys(f, 3)
	sig, err := trade.signText([]byte(vectorBody), newRandom())
	if err != nil {
		f.Fatal(err)
	}
	proof, err := identity.signText(append(proofPrefix(trade.Pubkey()), vectorBody...), newRandom())
	if err != nil {
		f.Fatal(err)
	}
	seal, _ := vectorEvent(f, "8acac7d09df66457")
	rumor, _ := vectorEvent(f, "5b81e14a44087404")
	f.Add(byte(0), `[`+vectorBody+`,"`+sig+`",["`+identity.Pubkey()+`","`+proof+`"]]`)
	f.Add(byte(0), `[`+vectorBody+`,null,null]`)
	f.Add(byte(1), seal)
	f.Add(byte(2), rumor)
	f.Add(byte(2), strings.Replace(rumor, trade.Pubkey(), identity.Pubkey(), 1))
	f.Add(byte(3), `{"Order":{"version":1,"id":"ede61c96-4c13-4519-bf3a-dcf7f1e9d842","pubkey":null,"action":"FiatSent","content":null}}`)
	peer, err := message.ParsePoint(node.Pubkey())
	if err != nil {
		f.Fatal(err)
	}
	x := trade.sharedX(peer)
	conversations := map[string]ConversationKey{}
	for _, k := range []*Keys{identity, trade, smallKeys(f, 5)} {
		key, err := k.Conversation(node.Pubkey())
		if err != nil {
			f.Fatal(err)
		}
		conversations[k.Pubkey()] = key
	}
	node = node.Remembering(8)
	for peer, key := range conversations {
		node.remember(peer, key)
	}
	// unsigned saves the time of signing, because OpenVerified does not check the outer
	// signature.
	unsigned := func(t *testing.T, from *Keys, kind int, plain string) *nostr.Event {
		content, err := conversations[from.Pubkey()].Encrypt([]byte(plain), newRandom())
		if err != nil {
			t.Fatal(err)
		}
		return &nostr.Event{ID: "id", PubKey: from.Pubkey(), CreatedAt: nostr.Timestamp(testNow.Unix()), Kind: kind, Tags: nostr.Tags{}, Content: content}
	}
	f.Fuzz(func(t *testing.T, layer byte, plain string) {
		if len(plain) == 0 || len(plain) > 20000 {
			return
		}
		var evt *nostr.Event
		switch layer % 4 {
		case 0:
			evt = unsigned(t, trade, mostro.KindMessage, plain)
		case 1:
			evt = unsigned(t, smallKeys(t, 5), mostro.KindGiftWrap, plain)
		case 2:
			seal := unsigned(t, identity, nostr.KindSeal, plain)
			if err := signEvent(seal, identity, newRandom()); err != nil {
				t.Fatal(err)
			}
			evt = unsigned(t, smallKeys(t, 5), mostro.KindGiftWrap, string(mostro.EncodeEvent(seal)))
		case 3:
			content, err := encryptNIP04([]byte(plain), x, newRandom())
			if err != nil {
				t.Fatal(err)
			}
			evt = &nostr.Event{ID: "id", PubKey: trade.Pubkey(), CreatedAt: 1, Kind: mostro.KindLegacyDM, Tags: nostr.Tags{}, Content: content}
		}
		env, err := OpenVerified(evt, node)
		if err != nil {
			wantRule(t, err)
			return
		}
		for _, k := range []string{env.Sender, env.Identity} {
			if _, err := message.ParsePoint(k); err != nil {
				t.Fatalf("%q is given as a proven key", k)
			}
		}
		if env.ReplayID == "" || env.Transport != TransportOf(evt.Kind) {
			t.Fatalf("opened as %+v", env)
		}
		if env.Transport != TransportLegacy && env.Identity != env.Sender && !env.Signed {
			t.Fatalf("an identity for another key's unsigned message: %+v", env)
		}
		// The test has only these three secrets.
		known := map[string]bool{trade.Pubkey(): true, identity.Pubkey(): true, smallKeys(t, 5).Pubkey(): true}
		if env.Signed && !known[env.Sender] || !known[env.Identity] {
			t.Fatalf("a forgery: %+v", env)
		}
		if _, err := sendable(env.Message); err != nil {
			t.Fatalf("%s: %v", env.RawMessage, err)
		}
	})
}

func FuzzDecryptNIP44(f *testing.F) {
	key, err := smallKeys(f, 3).Conversation(smallKeys(f, 4).Pubkey())
	if err != nil {
		f.Fatal(err)
	}
	for _, plain := range []string{"x", strings.Repeat("y", 100)} {
		payload, err := key.Encrypt([]byte(plain), newRandom())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload, byte(0))
		f.Add(payload[:len(payload)-4], byte(1))
	}
	f.Add(strings.Repeat("\r\n", 70), byte(0))
	f.Fuzz(func(t *testing.T, payload string, flip byte) {
		plain, err := key.Decrypt(payload)
		if err != nil {
			wantRule(t, err)
			return
		}
		// The payload is genuine, so any other text under the same nonce must be
		// refused.
		damaged := []byte(payload)
		damaged[int(flip)%len(damaged)] ^= 1
		if other, err := key.Decrypt(string(damaged)); err == nil && !bytes.Equal(plain, other) {
			t.Fatalf("damage at %d goes unseen", int(flip)%len(damaged))
		}
	})
}

func FuzzDecryptNIP04(f *testing.F) {
	peer, err := message.ParsePoint(smallKeys(f, 4).Pubkey())
	if err != nil {
		f.Fatal(err)
	}
	x := smallKeys(f, 3).sharedX(peer)
	for _, plain := range []string{"", "x", strings.Repeat("y", 16)} {
		content, err := encryptNIP04([]byte(plain), x, newRandom())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Add("AAAAAAAAAAAAAAAAAAAAAA==?iv=AAAAAAAAAAAAAAAAAAAAAA==")
	f.Fuzz(func(t *testing.T, content string) {
		plain, ok := decryptNIP04(content, x)
		if !ok || len(plain) > maxPlaintext {
			return
		}
		again, err := encryptNIP04(plain, x, newRandom())
		if err != nil {
			t.Fatal(err)
		}
		if back, ok := decryptNIP04(again, x); !ok || !bytes.Equal(back, plain) {
			t.Fatalf("%q became %q", plain, back)
		}
	})
}

func FuzzKeys(f *testing.F) {
	k := smallKeys(f, 3)
	for _, s := range []string{hexSecret(k), k.Nsec(), k.Pubkey(), k.Npub(), wordsA, wordsB, "nsec1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := ParseSecret(s); err != nil {
			wantRule(t, err)
		} else if back, err := ParseSecret(k.Nsec()); err != nil || back.Pubkey() != k.Pubkey() {
			t.Fatalf("%v, %v", back, err)
		}
		if _, err := ParseWords(s); err != nil {
			wantRule(t, err)
		}
		Difficulty(s)
	})
}

// FuzzChat fuzzes the text inside a chat message, the same in both forms.
func FuzzChat(f *testing.F) {
	alice, bob := smallKeys(f, 7), smallKeys(f, 8)
	chat, err := NewChat(alice, bob.Pubkey())
	if err != nil {
		f.Fatal(err)
	}
	inner := &nostr.Event{PubKey: bob.Pubkey(), CreatedAt: nostr.Timestamp(testNow.Unix()), Kind: 1, Tags: nostr.Tags{}, Content: "hi"}
	if err := signEvent(inner, bob, newRandom()); err != nil {
		f.Fatal(err)
	}
	f.Add(string(mostro.EncodeEvent(inner)))
	f.Add(strings.Replace(string(mostro.EncodeEvent(inner)), `"kind":1`, `"kind":14`, 1))
	f.Add("hello")
	key, err := chat.Conv.Conversation(chat.Conv.Pubkey())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, words string) {
		if len(words) == 0 || len(words) > 20000 {
			return
		}
		content, err := key.Encrypt([]byte(words), newRandom())
		if err != nil {
			t.Fatal(err)
		}
		msg, err := chat.inner(&nostr.Event{ID: "id", Content: content}, key)
		if err != nil {
			wantRule(t, err)
			return
		}
		if msg.Sender != bob.Pubkey() || msg.InnerID != inner.ID || msg.Text != "hi" {
			t.Fatalf("unsigned text was accepted: %+v", msg)
		}
	})
}

// FuzzOpenDirect fuzzes the seal and the rumor of a private message. The keys of the wrap and
// the seal are right, so that all of the text is reached.
func FuzzOpenDirect(f *testing.F) {
	from, to := smallKeys(f, 5), smallKeys(f, 3)
	f.Add(false, `{"pubkey":"`+from.Pubkey()+`","created_at":1,"kind":14,"tags":[["p","x"]],"content":"list"}`)
	f.Add(false, `{"pubkey":"`+to.Pubkey()+`","created_at":1,"kind":14,"tags":[],"content":"list"}`)
	f.Add(true, `{"id":"","pubkey":"","created_at":1,"kind":13,"tags":[],"content":"","sig":""}`)
	f.Fuzz(func(t *testing.T, whole bool, text string) {
		if len(text) == 0 || len(text) > 20_000 {
			return
		}
		key, err := from.Conversation(to.Pubkey())
		if err != nil {
			t.Fatal(err)
		}
		content, err := key.Encrypt([]byte(text), newRandom())
		if err != nil {
			t.Fatal(err)
		}
		if !whole {
			seal := &nostr.Event{PubKey: from.Pubkey(), Kind: nostr.KindSeal, Tags: nostr.Tags{}, Content: content}
			if err := signEvent(seal, from, newRandom()); err != nil {
				t.Fatal(err)
			}
			if content, err = key.Encrypt(mostro.EncodeEvent(seal), newRandom()); err != nil {
				return // too long
			}
		}
		d, err := OpenDirect(&nostr.Event{PubKey: from.Pubkey(), Kind: mostro.KindGiftWrap, Content: content}, to)
		if err != nil {
			wantRule(t, err)
		} else if whole || d.Sender != from.Pubkey() {
			t.Fatalf("opened %+v", d)
		}
	})
}
