package receipt

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/reference"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

func TestToken(t *testing.T) {
	host, rater := keyPair(t, 3), keyPair(t, 9)
	token, err := SignToken(host, rater.Pubkey(), testOrder, repeatable())
	if err != nil {
		t.Fatal(err)
	}
	s := showing{host: host, rater: rater, order: testOrder, token: token}
	r := s.mustHold(t)
	if want := (Receipt{Kind: R1, Node: host.Pubkey(), Rater: rater.Pubkey(), Order: testOrder, Nullifier: r.Nullifier}); r != want || r.Nullifier == "" {
		t.Errorf("have %+v, want %+v", r, want)
	}
	other := s
	other.order = "308e1272-d5f4-47e6-bd97-3504baea9c24"
	other.refused(t, RuleToken)
	other = s
	other.rater = host
	other.refused(t, RuleToken)
	none := showing{host: host, rater: rater, order: testOrder}
	if r, want := none.mustHold(t), (Receipt{Node: host.Pubkey(), Rater: rater.Pubkey(), Order: testOrder}); r != want {
		t.Errorf("a rating that shows nothing is %+v, want %+v", r, want)
	}
}

// TestRealToken checks the one captured rating of RoboSats, and a captured event of
// another application with the same kind.
func TestRealToken(t *testing.T) {
	rated, foreign := 0, 0
	for _, evt := range reference.RealEvents(t) {
		if evt.Kind != mostro.KindHostRating {
			continue
		}
		r, err := mostro.ParseHostRating(evt)
		if err != nil {
			if !errors.Is(err, mostro.ErrForeign) {
				t.Error(err)
			}
			foreign++
			continue
		}
		rated++
		got, err := Check(evt, r, nil)
		if err != nil || got.Kind != R1 || got.Order != "138621" {
			t.Errorf("have %+v, %v", got, err)
		}
		r.Token = flip(r.Token, 20)
		if _, err := Check(evt, r, nil); !errors.Is(err, RuleToken) {
			t.Errorf("another token: %v", err)
		}
	}
	if rated != 1 || foreign != 1 {
		t.Errorf("%d ratings and %d foreign events, want one of each", rated, foreign)
	}
}

func statement(host, rater *envelope.Keys) Statement {
	return Statement{Node: host.Pubkey(), Rater: rater.Pubkey(), Order: testOrder, Role: RoleBuyer, BandSats: 20000, Day: "2026-11-22"}
}

func TestStatement(t *testing.T) {
	host, rater := keyPair(t, 3), keyPair(t, 9)
	st := statement(host, rater)
	values, err := st.Sign(host, repeatable())
	if err != nil {
		t.Fatal(err)
	}
	s := showing{host: host, rater: rater, order: testOrder, receipt: values}
	r := s.mustHold(t)
	want := Receipt{Kind: R1, Node: host.Pubkey(), Rater: rater.Pubkey(), Order: testOrder, Role: RoleBuyer, BandSats: 20000, Day: "2026-11-22", Nullifier: r.Nullifier}
	if r != want {
		t.Errorf("have %+v, want %+v", r, want)
	}
	// One receipt per order and role counts: the buyer's R0 has the same nullifier.
	r0 := showing{host: host, rater: rater, order: testOrder}
	r0.receipt = disclosed(t, said(t, host, rater.Pubkey(), envelope.TransportV2, message.Message{ID: orderID(t, testOrder), Action: message.ActionPurchaseCompleted}), rater)
	if got := r0.mustHold(t).Nullifier; got != r.Nullifier {
		t.Errorf("nullifier of r0 %s, of r1 %s", got, r.Nullifier)
	}
	for _, c := range []struct {
		name    string
		receipt []string
		want    Rule
	}{
		{"a value missing", values[:5], RuleFields},
		{"another role", swap(values, 1, RoleSeller), RuleSignature},
		{"no role", swap(values, 1, "maker"), RuleRole},
		{"another band", swap(values, 2, "50000"), RuleSignature},
		{"an amount", swap(values, 2, "21000"), RuleBand},
		{"a band with a zero before", swap(values, 2, "020000"), RuleBand},
		{"another day", swap(values, 3, "2026-11-23"), RuleSignature},
		{"no day", swap(values, 3, "2026-02-30"), RuleDay},
		{"another hash", swap(values, 4, strings.Repeat("a", 64)), RuleSignature},
		{"no hash", swap(values, 4, ""), RuleHash},
		{"half a hash", swap(values, 4, strings.Repeat("a", 32)), RuleHash},
		{"another signature", swap(values, 5, flip(values[5], 3)), RuleSignature},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s
			s.receipt = c.receipt
			s.refused(t, c.want)
		})
	}
	other := s
	other.order = "308e1272-d5f4-47e6-bd97-3504baea9c24"
	other.refused(t, RuleSignature)
	other = s
	other.rater = host
	other.refused(t, RuleSignature)
	if _, err := st.Sign(rater, nil); err == nil {
		t.Error("signed for another host")
	}
}

func TestAmountBand(t *testing.T) {
	for sats, want := range map[int64]int64{0: 1, 1: 1, 2: 2, 4: 2, 5: 5, 9: 5, 10: 10, 19: 10, 20: 20, 49: 20, 50: 50, 99: 50, 21000: 20000, 1_000_000: 1_000_000, 1<<63 - 1: 5_000_000_000_000_000_000} {
		if got := AmountBand(sats); got != want {
			t.Errorf("band of %d: %d, want %d", sats, got, want)
		}
	}
}

func TestBlindReceipt(t *testing.T) {
	host, rater := keyPair(t, 3), keyPair(t, 9)
	private, err := NewBlindKey()
	if err != nil {
		t.Fatal(err)
	}
	set, err := NewKeyset(host.Pubkey(), EpochOf(ratedAt), &private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	set.Issued = new(int64(3))
	evt := set.Event()
	if err := signAs(&evt, host); err != nil {
		t.Fatal(err)
	}
	published, err := ParseKeyset(&evt)
	if err != nil {
		t.Fatal(err)
	}
	if published.ID != set.ID || published.Epoch != EpochOf(ratedAt) || *published.Issued != 3 {
		t.Errorf("published as %+v", published)
	}
	q, err := published.Blind(rater.Pubkey(), nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := SignBlinded(private, q.Blinded)
	if err != nil {
		t.Fatal(err)
	}
	values, err := q.Unblind(signed)
	if err != nil {
		t.Fatal(err)
	}
	known := func(node, id string) *nostr.Event {
		if node == host.Pubkey() && id == set.ID {
			return &evt
		}
		return nil
	}
	nullifier := BlindNullifier(values[2])
	s := showing{host: host, rater: rater, order: nullifier, receipt: values, keysets: known}
	r := s.mustHold(t)
	if want := (Receipt{Kind: R2, Node: host.Pubkey(), Rater: rater.Pubkey(), Nullifier: nullifier, Keyset: set.ID, Epoch: EpochOf(ratedAt)}); r != want {
		t.Errorf("have %+v, want %+v", r, want)
	}
	// The receipt stays valid if the reader finds the keyset under its former kind.
	s.keysets = func(string, string) *nostr.Event {
		former := evt
		former.Kind = mostro.KindAnnouncement
		if err := signAs(&former, host); err != nil {
			t.Fatal(err)
		}
		return &former
	}
	if again := s.mustHold(t); again != r {
		t.Errorf("under the former kind: %+v, want %+v", again, r)
	}
	s.keysets = known
	// The published values share no bytes with the values that the host saw.
	if sig, _ := hex.DecodeString(values[3]); slices.Equal(sig, signed) || slices.Equal(sig, q.Blinded) {
		t.Error("the host has seen the signature")
	}

	otherPrivate, err := NewBlindKey()
	if err != nil {
		t.Fatal(err)
	}
	otherSet, err := NewKeyset(host.Pubkey(), EpochOf(ratedAt), &otherPrivate.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	otherEvt := otherSet.Event()
	foreign := func(string, string) *nostr.Event { return &otherEvt }
	for _, c := range []struct {
		name   string
		change func(*showing)
		want   Rule
	}{
		{"a value missing", func(s *showing) { s.receipt = values[:3] }, RuleFields},
		{"no keysets", func(s *showing) { s.keysets = nil }, RuleKeyset},
		{"another keyset", func(s *showing) { s.receipt = swap(values, 1, otherSet.ID) }, RuleKeyset},
		{"a keyset of another id", func(s *showing) { s.keysets = foreign }, RuleKeysetBad},
		{"another author", func(s *showing) { s.rater = host }, RuleBlind},
		{"another order", func(s *showing) { s.order = testOrder }, RuleOrder},
		{"another secret", func(s *showing) {
			s.receipt = swap(values, 2, flip(values[2], 0))
			s.order = BlindNullifier(s.receipt[2])
		}, RuleBlind},
		{"half a secret", func(s *showing) { s.receipt = swap(values, 2, values[2][:32]) }, RuleSecret},
		{"another signature", func(s *showing) { s.receipt = swap(values, 3, flip(values[3], 500)) }, RuleBlind},
		{"the blinded signature", func(s *showing) { s.receipt = swap(values, 3, hex.EncodeToString(signed)) }, RuleBlind},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s
			c.change(&s)
			s.refused(t, c.want)
		})
	}
	// A request that is derived from the rater's key can be repeated.
	one, err := published.BlindFor(rater, testOrder)
	if err != nil {
		t.Fatal(err)
	}
	if signed, err = SignBlinded(private, one.Blinded); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		rater *envelope.Keys
		order string
		set   Keyset
		same  bool
	}{
		"the same": {rater, testOrder, published, true}, "another rater": {host, testOrder, published, false},
		"another order": {rater, "x", published, false}, "another keyset": {rater, testOrder, otherSet, false},
	} {
		again, err := c.set.BlindFor(c.rater, c.order)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Equal(again.Blinded, one.Blinded) != c.same {
			t.Errorf("%s: blinded the same is %v, want %v", name, !c.same, c.same)
		}
		if values, err := again.Unblind(signed); (err == nil) != c.same {
			t.Errorf("%s: unblinds to %q, %v", name, values, err)
		}
	}
	// Answers of a dishonest host.
	if wrong, err := SignBlinded(otherPrivate, q.Blinded); err == nil {
		if _, err := q.Unblind(wrong); !errors.Is(err, RuleBlind) {
			t.Errorf("signed by another key: %v", err)
		}
	}
	if _, err := one.Unblind(signed[1:]); !errors.Is(err, RuleBlind) {
		t.Errorf("a short answer: %v", err)
	}
	for name, blinded := range map[string][]byte{"short": q.Blinded[1:], "above the modulus": slices.Repeat([]byte{0xff}, 256)} {
		if _, err := SignBlinded(private, blinded); !errors.Is(err, RuleBlind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseKeysetRefuses(t *testing.T) {
	key := strings.Repeat("ab", 270)
	for name, tags := range map[string]string{
		"no month":      `[["d","2026"],["z","receipt-keys"],["y","mostro"],["scheme","` + blindScheme + `"],["key","` + key + `"]]`,
		"other scheme":  `[["d","2026-11"],["z","receipt-keys"],["y","mostro"],["scheme","bdhke"],["key","` + key + `"]]`,
		"no key":        `[["d","2026-11"],["z","receipt-keys"],["y","mostro"],["scheme","` + blindScheme + `"]]`,
		"not DER":       `[["d","2026-11"],["z","receipt-keys"],["y","mostro"],["scheme","` + blindScheme + `"],["key","` + key + `"]]`,
		"two keys":      `[["d","2026-11"],["z","receipt-keys"],["y","mostro"],["scheme","` + blindScheme + `"],["key","a"],["key","b"]]`,
		"another thing": `[["d","2026-11"],["z","offer"],["y","mostro"]]`,
	} {
		if k, err := ParseKeyset(tagged(t, mostro.KindReceiptKeys, tags)); err == nil {
			t.Errorf("%s: parsed as %+v", name, k)
		}
	}
}

func TestSettleDay(t *testing.T) {
	at := time.Date(2026, 11, 22, 23, 59, 59, 0, time.FixedZone("west", -3600))
	if SettleDay(at) != "2026-11-23" || EpochOf(at) != "2026-11" {
		t.Errorf("%s, %s", SettleDay(at), EpochOf(at))
	}
}
