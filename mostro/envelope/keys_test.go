package envelope

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip13"
	"github.com/nbd-wtf/go-nostr/nip44"
)

func TestParseSecret(t *testing.T) {
	k := smallKeys(t, 3)
	for _, s := range []string{hexSecret(k), hexSecret(k) + "\n", "  " + k.Nsec() + "\r\n", strings.ToUpper(hexSecret(k))} {
		got, err := ParseSecret(s)
		if err != nil || got.Pubkey() != k.Pubkey() {
			t.Errorf("%q: %v", s, err)
		}
	}
	for name, s := range map[string]string{
		"empty": "", "short": "00", "zero": strings.Repeat("0", 64), "order of the curve": "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
		"beyond": strings.Repeat("f", 64), "no hex": strings.Repeat("g", 64), "npub": k.Npub(), "nsec cut": k.Nsec()[:40], "nsec off": k.Nsec()[:62] + "q",
	} {
		if _, err := ParseSecret(s); !errors.Is(err, message.RuleKey) {
			t.Errorf("%s: %v", name, err)
		} else if s != "" && strings.Contains(err.Error(), s) {
			t.Errorf("%s: the error repeats the input", name)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	k := smallKeys(t, 3)
	w, err := ParseWords(wordsA)
	if err != nil {
		t.Fatal(err)
	}
	secret := hexSecret(k)
	for _, s := range []string{fmt.Sprint(k), fmt.Sprintf("%+v", k), fmt.Sprintf("%#v", k), fmt.Sprintf("%x", k), fmt.Sprintf("%v", struct{ K *Keys }{k})} {
		if strings.Contains(s, secret) || strings.Contains(s, "btcec") {
			t.Errorf("printed %s", s)
		}
	}
	for _, s := range []string{fmt.Sprintf("%v", w), fmt.Sprintf("%+v", w), fmt.Sprintf("%x", w)} {
		if s != "mostro.Words" {
			t.Errorf("printed %s", s)
		}
	}
}

func TestWords(t *testing.T) {
	s, err := NewWords()
	if err != nil || len(strings.Fields(s)) != 24 {
		t.Fatalf("%d words, %v", len(strings.Fields(s)), err)
	}
	w, err := ParseWords(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Trade(0); !errors.Is(err, message.RuleRange) {
		t.Errorf("trade 0: %v", err)
	}
	if _, err := w.Trade(1 << 31); !errors.Is(err, message.RuleRange) {
		t.Errorf("trade 2^31: %v", err)
	}
	if _, err := w.Trade(1<<31 - 1); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "abandon", strings.Replace(wordsA, "about", "abandon", 1), strings.Replace(wordsA, "about", "mostro", 1)} {
		if _, err := ParseWords(bad); !errors.Is(err, message.RuleKey) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestNewKeys(t *testing.T) {
	a, err := NewKeys(nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewKeys(nil)
	if err != nil || a.Pubkey() == b.Pubkey() {
		t.Fatalf("two alike, %v", err)
	}
	if _, err := NewKeys(bytes.NewReader(nil)); err == nil {
		t.Error("a key from no randomness")
	}
	if _, err := NewKeys(bytes.NewReader(make([]byte, 512))); err == nil {
		t.Error("a key from zeros")
	}
}

// TestNIP44AgainstAnother compares our NIP-44 with go-nostr's in both directions, at
// every length at which the padding changes.
func TestNIP44AgainstAnother(t *testing.T) {
	a, b := smallKeys(t, 3), smallKeys(t, 4)
	theirs, err := nip44.GenerateConversationKey(a.Pubkey(), hexSecret(b))
	if err != nil {
		t.Fatal(err)
	}
	ours, err := a.Conversation(b.Pubkey())
	if err != nil || ours != ConversationKey(theirs) {
		t.Fatalf("conversation keys differ: %x %x, %v", ours, theirs, err)
	}
	sizes := []int{1, 2, 31, 32, 33, 63, 64, 65, 96, 97, 255, 256, 257, 320, 321, 1024, 1025, 5000, 32768, 32769, 57344, 57345, 65534, 65535}
	for _, n := range sizes {
		plain := strings.Repeat("é", n/2) + strings.Repeat("x", n%2)
		payload, err := ours.Encrypt([]byte(plain), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := nip44.Decrypt(payload, theirs); err != nil || got != plain {
			t.Errorf("%d bytes: theirs cannot read ours: %v", n, err)
		}
		if payload, err = nip44.Encrypt(plain, theirs); err != nil {
			t.Fatal(err)
		}
		if got, err := ours.Decrypt(payload); err != nil || string(got) != plain {
			t.Errorf("%d bytes: ours cannot read theirs: %v", n, err)
		}
	}
	for _, n := range []int{0, 65536} {
		if _, err := ours.Encrypt(make([]byte, n), rand.Reader); !errors.Is(err, message.RuleSize) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	payload, err := ours.Encrypt([]byte("\xff\xfe"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ours.Decrypt(payload); !errors.Is(err, message.RuleEncryption) {
		t.Errorf("not UTF-8: %v", err)
	}
}

func TestRemembering(t *testing.T) {
	node := smallKeys(t, 3).Remembering(2)
	m := message.Message{Wrapper: message.WrapperOrder, Action: message.ActionCancel, ID: &tradeID}
	for round := range 2 {
		for i := byte(10); i < 14; i++ {
			trade := smallKeys(t, i)
			evt, err := Seal(context.Background(), m, SealOptions{Transport: TransportV2, To: node.Pubkey(), Trade: trade, Now: testNow})
			if err != nil {
				t.Fatal(err)
			}
			if env, err := Open(evt, node); err != nil || env.Sender != trade.Pubkey() {
				t.Fatalf("round %d, key %d: %v", round, i, err)
			}
			if have := node.conversations.Len(); have > 2 {
				t.Fatalf("remembers %d conversations, may 2", have)
			}
			if key, ok := node.conversations.Get(trade.Pubkey()); !ok {
				t.Fatal("the latest peer is forgotten")
			} else if want, err := smallKeys(t, 3).Conversation(trade.Pubkey()); err != nil || key != want {
				t.Fatal("remembers another key")
			}
		}
	}
	// A gift wrap's ephemeral key does not evict a trade key from the cache.
	evt, err := Seal(context.Background(), m, SealOptions{Transport: TransportV1, To: node.Pubkey(), Trade: smallKeys(t, 20), Now: testNow})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(evt, node); err != nil {
		t.Fatal(err)
	}
	if _, ok := node.conversations.Get(evt.PubKey); ok {
		t.Error("a throw-away key is remembered")
	}
}

// TestRememberingConcurrently uses one key pair and its cache from many goroutines.
func TestRememberingConcurrently(t *testing.T) {
	node := smallKeys(t, 3).Remembering(3)
	var events []*nostr.Event
	for i := byte(10); i < 18; i++ {
		evt, err := Seal(context.Background(), message.Message{Wrapper: message.WrapperOrder, Action: message.ActionCancel, ID: &tradeID},
			SealOptions{Transport: TransportV2, To: node.Pubkey(), Trade: smallKeys(t, i), Now: testNow})
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, evt)
	}
	var wait sync.WaitGroup
	for worker := range 4 {
		wait.Go(func() {
			for i := range events {
				evt := events[(i+worker)%len(events)]
				if env, err := Open(evt, node); err != nil || env.Sender != evt.PubKey {
					t.Errorf("%v", err)
				}
			}
		})
	}
	wait.Wait()
}

func TestDifficulty(t *testing.T) {
	for _, c := range []struct {
		id   string
		want int
	}{
		{strings.Repeat("0", 64), 256}, {strings.Repeat("f", 64), 0}, {"", 0}, {"00", 0}, {strings.Repeat("0", 63) + "g", 0}, {strings.Repeat("0", 66), 0},
		{"000006d8c378af1779d2feebc7603a125d99eca0ccf1085959b307f64e5dd358", 21}, {"6bf5b4f434813c64b523d2b0e6efe18f3bd0cbbd0a5effd8ece9e00fd2531996", 1},
		{"00003479309ecdb46b1c04ce129d2709378518588bed6776e60474ebde3159ae", 18}, {"01" + strings.Repeat("0", 62), 7},
	} {
		if got := Difficulty(c.id); got != c.want {
			t.Errorf("%s: %d, want %d", c.id, got, c.want)
		}
		if len(c.id) == 64 && !strings.HasSuffix(c.id, "g") && nip13.Difficulty(c.id) != c.want {
			t.Errorf("%s: go-nostr returns %d", c.id, nip13.Difficulty(c.id))
		}
	}
}

func TestMine(t *testing.T) {
	evt := &nostr.Event{PubKey: smallKeys(t, 3).Pubkey(), CreatedAt: 1, Kind: 14, Tags: nostr.Tags{{"p", "x"}}, Content: "y"}
	if err := Mine(context.Background(), evt, 10); err != nil {
		t.Fatal(err)
	}
	evt.ID = evt.GetID()
	if err := CheckWork(evt, 10); err != nil || nip13.CommittedDifficulty(evt) != 10 {
		t.Errorf("%v, committed %d", err, nip13.CommittedDifficulty(evt))
	}
	if err := CheckWork(evt, Difficulty(evt.ID)+1); !errors.Is(err, message.RuleWork) {
		t.Errorf("one bit more: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	tags := len(evt.Tags)
	if err := Mine(ctx, evt, 200); !errors.Is(err, context.Canceled) || len(evt.Tags) != tags {
		t.Errorf("cancelled: %v, %d tags", err, len(evt.Tags))
	}
}

func TestFreshness(t *testing.T) {
	at := func(s float64) time.Time {
		return time.Unix(1782000000, 0).Add(time.Duration(s * float64(time.Second)))
	}
	f := DefaultFreshness
	for _, c := range []struct {
		name          string
		created       nostr.Timestamp
		received, now time.Time
		rule          message.Rule
	}{
		{"now", 1782000000, at(0), at(0), ""},
		{"ten seconds and a bit", 1782000000, at(10.999), at(11), ""},
		{"eleven seconds", 1782000000, at(11), at(11), message.RuleStale},
		{"waited a day for the daemon", 1782000000, at(1), at(86400), ""},
		{"a minute ahead", 1782000060, at(0), at(0), ""},
		{"more than a minute ahead", 1782000061, at(0), at(0), message.RuleFuture},
		{"ahead when it came, due by now", 1782000061, at(0), at(100), message.RuleFuture},
		{"the end of time", math.MaxInt64, at(0), at(0), message.RuleFuture},
		{"the beginning", math.MinInt64, at(0), at(0), message.RuleStale},
		{"zero", 0, at(0), at(0), message.RuleStale},
	} {
		err := f.Check(c.created, c.received, c.now)
		if (c.rule == "") != (err == nil) || (c.rule != "" && !errors.Is(err, c.rule)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.rule)
		}
	}
	f.MaxWait = time.Hour
	if err := f.Check(1782000000, at(0), at(3601)); !errors.Is(err, message.RuleStale) {
		t.Errorf("waited too long: %v", err)
	}
	if err := f.Check(1782000000, at(0), at(3599)); err != nil {
		t.Errorf("waited: %v", err)
	}
	// At the time of Forget no arrival is fresh; just before it one is.
	forget := f.Forget(1782000000)
	if f.Check(1782000000, forget, forget) == nil || f.Check(1782000000, forget.Add(-time.Millisecond), forget) != nil {
		t.Error("Forget and Check disagree")
	}
	for _, c := range []struct {
		name    string
		created nostr.Timestamp
		now     time.Time
		rule    message.Rule
	}{
		{"within", 1782000500, at(900), ""}, {"at the opening", 1782000000, at(900), ""}, {"before it", 1781999999, at(900), message.RuleStale},
		{"after the deadline", 1782001001, at(1001), message.RuleStale}, {"fetched too late", 1782000500, at(1001), message.RuleStale},
		{"dated ahead", 1782000900, at(100), message.RuleFuture}, {"the end of time", math.MaxInt64, at(900), message.RuleFuture}, {"the beginning", math.MinInt64, at(900), message.RuleStale},
	} {
		err := f.CheckLate(c.created, at(0.5), at(1000), c.now)
		if (c.rule == "") != (err == nil) || (c.rule != "" && !errors.Is(err, c.rule)) {
			t.Errorf("late, %s: %v, want %q", c.name, err, c.rule)
		}
	}
}

// TestConversationKeyIsNotPrinted prints a conversation key with several verbs.
func TestConversationKeyIsNotPrinted(t *testing.T) {
	key := ConversationKey{1, 2, 3}
	for _, verb := range []string{"%v", "%x", "%+v", "%s", "%d"} {
		if got := fmt.Sprintf(verb, key); got != "[redacted]" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}
