package receipt

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// showing describes a rating before it is signed. A test changes single fields.
type showing struct {
	host, rater *envelope.Keys
	order       string
	receipt     []string
	token, role string
	platform    string
	keysets     Keysets
}

// check signs the rating, parses it as a reader does, and checks its receipt.
func (s showing) check(t testing.TB) (Receipt, error) {
	t.Helper()
	if s.platform == "" {
		s.platform = mostro.PlatformMostro
	}
	r := mostro.HostRating{
		Pubkey: s.rater.Pubkey(), D: s.platform + ":" + s.order, CreatedAt: nostr.Timestamp(ratedAt.Unix()), Platform: s.platform,
		Host: s.host.Pubkey(), Rating: mostro.DecimalOf(1), Token: s.token, Receipt: s.receipt, Role: s.role,
	}
	evt := r.Event()
	if err := signAs(&evt, s.rater); err != nil {
		t.Fatal(err)
	}
	parsed, err := mostro.ParseHostRating(&evt)
	if err != nil {
		t.Fatal(err)
	}
	return Check(&evt, parsed, s.keysets)
}

// mustHold returns the receipt of a showing, and fails the test if the receipt does not
// verify.
func (s showing) mustHold(t testing.TB) Receipt {
	t.Helper()
	r, err := s.check(t)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// refused checks that a showing is refused, and that the error has exactly the wanted
// rule.
func (s showing) refused(t testing.TB, want Rule) {
	t.Helper()
	r, err := s.check(t)
	var e *Error
	if !errors.As(err, &e) || e.Rule != want || !errors.Is(err, want) {
		t.Errorf("refused as %v, want %v", err, want)
	}
	if r != (Receipt{}) {
		t.Errorf("a refused receipt is %+v, want the zero value", r)
	}
}

const testOrder = "308e1272-d5f4-47e6-bd97-3504baea9c23"

func orderID(t testing.TB, s string) *message.UUID {
	t.Helper()
	id, err := message.ParseUUID(s)
	if err != nil {
		t.Fatal(err)
	}
	return &id
}

// said returns a host's message to a trade key, sealed as our escrow seals messages.
func said(t testing.TB, host *envelope.Keys, to string, transport envelope.Transport, m message.Message) *nostr.Event {
	t.Helper()
	if m.Wrapper == "" {
		m.Wrapper = message.WrapperOrder
	}
	evt, err := envelope.Seal(context.Background(), m, envelope.SealOptions{
		Transport: transport, To: to, Trade: host, Unsigned: true, Now: ratedAt, Expiration: nostr.Timestamp(ratedAt.Unix() + 86400), Rand: repeatable(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return evt
}

func disclosed(t testing.TB, evt *nostr.Event, trade *envelope.Keys) []string {
	t.Helper()
	values, err := Disclose(evt, trade, repeatable())
	if err != nil {
		t.Fatal(err)
	}
	return values
}

func TestDisclosed(t *testing.T) {
	host := keyPair(t, 3)
	trade := tradeKeys(t)
	odd := keyPair(t, 6) // its public key has an odd y
	if privateKey(odd).PubKey().SerializeCompressed()[0] != 3 {
		t.Fatal("want a key with odd y")
	}
	id := orderID(t, testOrder)
	dispute := message.DisputeRef{ID: *orderID(t, "6f1c2f0e-0000-4000-8000-000000000001")}
	for _, transport := range []envelope.Transport{envelope.TransportV2, envelope.TransportV1} {
		for _, rater := range []*envelope.Keys{trade, odd} {
			nullifiers := map[string]string{}
			for action, role := range provingActions {
				m := message.Message{ID: id, Action: action, RequestID: new(uint64(1<<64 - 1)), TradeIndex: new(int64(7))}
				if action == message.ActionDisputeInitiatedByYou {
					m.Payload = dispute
				}
				evt := said(t, host, rater.Pubkey(), transport, m)
				r := showing{host: host, rater: rater, order: testOrder, receipt: disclosed(t, evt, rater)}.mustHold(t)
				want := Receipt{Kind: R0, Node: host.Pubkey(), Rater: rater.Pubkey(), Order: testOrder, Role: role, Action: action, Nullifier: r.Nullifier}
				if m.Payload != nil {
					want.Dispute = dispute.ID.String()
				}
				if r != want || len(r.Nullifier) != 64 {
					t.Errorf("%s %s: have %+v, want %+v", transport, action, r, want)
				}
				nullifiers[role] = r.Nullifier
			}
			if nullifiers["buyer"] == nullifiers["seller"] || nullifiers["buyer"] == nullifiers[""] {
				t.Errorf("%s: roles share a nullifier: %v", transport, nullifiers)
			}
		}
	}
}

// TestDiscloseShowsOneMessage tries to open another message of the same conversation
// with the values of a receipt.
func TestDiscloseShowsOneMessage(t *testing.T) {
	host := keyPair(t, 3)
	trade := tradeKeys(t)
	m := message.Message{Wrapper: message.WrapperOrder, ID: orderID(t, testOrder), Action: message.ActionRate}
	random := repeatable()
	seal := func() *nostr.Event {
		evt, err := envelope.Seal(context.Background(), m, envelope.SealOptions{Transport: envelope.TransportV2, To: trade.Pubkey(), Trade: host, Unsigned: true, Now: ratedAt, Rand: random})
		if err != nil {
			t.Fatal(err)
		}
		return evt
	}
	first, second := seal(), seal()
	s := showing{host: host, rater: trade, order: testOrder, receipt: disclosed(t, first, trade)}
	s.mustHold(t)
	s.receipt[2] = string(mostro.EncodeEvent(second))
	s.refused(t, RuleMAC)
}

func TestDiscloseRefuses(t *testing.T) {
	host := keyPair(t, 3)
	trade := tradeKeys(t)
	id := orderID(t, testOrder)
	for name, m := range map[string]message.Message{
		"an action that proves nothing": {ID: id, Action: message.ActionNewOrder, Payload: &message.SmallOrder{Kind: mostro.SideBuy, FiatCode: "EUR"}},
		"a message about no order":      {Action: message.ActionRate},
		"an invoice":                    {ID: id, Action: message.ActionRate, Payload: message.PaymentRequest{Invoice: "lnbc1"}},
	} {
		for _, transport := range []envelope.Transport{envelope.TransportV2, envelope.TransportV1} {
			if values, err := Disclose(said(t, host, trade.Pubkey(), transport, m), trade, repeatable()); err == nil {
				t.Errorf("%s, %s: disclosed as %q", name, transport, values)
			}
		}
	}
	if _, err := Disclose(said(t, host, keyPair(t, 9).Pubkey(), envelope.TransportV2, message.Message{ID: id, Action: message.ActionRate}), trade, nil); err == nil {
		t.Error("a message to another key was disclosed")
	}
}

// swap returns a copy of a receipt's values with one value changed.
func swap(values []string, at int, with string) []string {
	c := slices.Clone(values)
	c[at] = with
	return c
}

// flip changes one hexadecimal digit.
func flip(s string, at int) string {
	b := []byte(s)
	if b[at] == '0' {
		b[at] = '1'
	} else {
		b[at] = '0'
	}
	return string(b)
}

// resealed returns an event of the host with any plaintext and any padding.
func resealed(t testing.TB, host *envelope.Keys, to string, kind int, padded []byte, tags nostr.Tags) *nostr.Event {
	t.Helper()
	key, err := host.Conversation(to)
	if err != nil {
		t.Fatal(err)
	}
	evt := &nostr.Event{PubKey: host.Pubkey(), CreatedAt: nostr.Timestamp(ratedAt.Unix()), Kind: kind, Tags: tags, Content: encryptPadded(t, key, padded)}
	if err := signAs(evt, host); err != nil {
		t.Fatal(err)
	}
	return evt
}

// shownV2 returns the receipt of such an event, as a cheating author with the keys of
// the conversation would make it.
func shownV2(t testing.TB, evt *nostr.Event, rater *envelope.Keys) []string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(evt.Content)
	if err != nil {
		t.Fatal(err)
	}
	key, err := rater.Conversation(evt.PubKey)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := key.MessageKeys(raw[1:33])
	if err != nil {
		t.Fatal(err)
	}
	return []string{"r0", "v2", string(mostro.EncodeEvent(evt)), hex.EncodeToString(keys)}
}

func TestDisclosedV2Tampered(t *testing.T) {
	host := keyPair(t, 3)
	trade := tradeKeys(t)
	stranger := keyPair(t, 9)
	id := orderID(t, testOrder)
	good := said(t, host, trade.Pubkey(), envelope.TransportV2, message.Message{ID: id, Action: message.ActionPurchaseCompleted})
	values := disclosed(t, good, trade)
	s := showing{host: host, rater: trade, order: testOrder, receipt: values}
	s.mustHold(t)

	event := func(change func(*nostr.Event), by *envelope.Keys) []string {
		evt := bare(good)
		evt.Tags = slices.Clone(evt.Tags)
		change(evt)
		if by != nil {
			evt.PubKey = by.Pubkey()
			if err := signAs(evt, by); err != nil {
				t.Fatal(err)
			}
		}
		return swap(values, 2, string(mostro.EncodeEvent(evt)))
	}
	raw, _ := base64.StdEncoding.DecodeString(good.Content)
	content := func(change func(b []byte) []byte) []string {
		return event(func(e *nostr.Event) { e.Content = base64.StdEncoding.EncodeToString(change(slices.Clone(raw))) }, host)
	}
	to := nostr.Tags{{"p", trade.Pubkey()}}
	text := func(plain string) []string {
		return shownV2(t, resealed(t, host, trade.Pubkey(), mostro.KindMessage, pad([]byte(plain)), to), trade)
	}
	canonical := string(message.Message{Wrapper: message.WrapperOrder, Version: 2, ID: id, Action: message.ActionPurchaseCompleted}.JSON())
	tuple := "[" + canonical + ",null,null]"
	s2 := s
	s2.receipt = text(tuple) // the crafted receipt itself is sound
	s2.mustHold(t)
	saying := func(m message.Message) []string {
		m.Version = 2
		if m.Wrapper == "" {
			m.Wrapper = message.WrapperOrder
		}
		return text("[" + string(m.JSON()) + ",null,null]")
	}
	padded := pad([]byte(tuple))
	longer := append(slices.Clone(padded), make([]byte, 32)...)
	dirty := slices.Clone(padded)
	dirty[len(dirty)-1] = 1

	cases := []struct {
		name    string
		receipt []string
		want    Rule
	}{
		{"of an unknown kind", swap(values, 0, "r9"), RuleForm},
		{"with a value too many", append(slices.Clone(values), "x"), RuleFields},
		{"with a space in its event", swap(values, 2, strings.Replace(values[2], ",", ", ", 1)), RuleJSON},
		{"of another kind of event", event(func(e *nostr.Event) { e.Kind = 1 }, host), RuleEventKind},
		{"by a stranger", event(func(*nostr.Event) {}, stranger), RuleNode},
		{"dated otherwise", event(func(e *nostr.Event) { e.CreatedAt++ }, nil), RuleEventID},
		{"with another signature", event(func(e *nostr.Event) { e.Sig = flip(e.Sig, 5) }, nil), RuleEventSig},
		{"to two keys", event(func(e *nostr.Event) { e.Tags = append(e.Tags, nostr.Tag{"p", stranger.Pubkey()}) }, host), RuleRecipients},
		{"to a stranger", event(func(e *nostr.Event) { e.Tags = nostr.Tags{{"p", stranger.Pubkey()}} }, host), RuleRecipient},
		{"with keys too short", swap(values, 3, values[3][2:]), RuleKeys},
		{"not base64", event(func(e *nostr.Event) { e.Content = "#" + e.Content[1:] }, host), RuleCiphertext},
		{"of version 1", content(func(b []byte) []byte { b[0] = 1; return b }), RuleVersion},
		{"with another MAC key", swap(values, 3, flip(values[3], 151)), RuleMAC},
		{"with another cipher key", swap(values, 3, flip(values[3], 0)), RuleLength},
		{"padded too far", shownV2(t, resealed(t, host, trade.Pubkey(), mostro.KindMessage, longer, to), trade), RuleLength},
		{"padded with ones", shownV2(t, resealed(t, host, trade.Pubkey(), mostro.KindMessage, dirty, to), trade), RulePadding},
		{"signed inside", text("[" + canonical + `,"` + strings.Repeat("0", 128) + `",null]`), RuleTuple},
		{"with two elements", text("[" + canonical + ",null]"), RuleTuple},
		{"not canonical", text("[" + strings.Replace(canonical, ",", ", ", 1) + ",null,null]"), RuleCanonical},
		{"with an unknown field", text("[" + strings.Replace(canonical, `{"version"`, `{"x":1,"version"`, 1) + ",null,null]"), RuleCanonical},
		{"wrapped as a rating", saying(message.Message{Wrapper: message.WrapperRate, ID: id, Action: message.ActionRate}), RuleWrapper},
		{"of version 1 inside", text("[" + strings.Replace(canonical, `"version":2`, `"version":1`, 1) + ",null,null]"), RuleMessageVersion},
		{"of another action", saying(message.Message{ID: id, Action: message.ActionWaitingSellerToPay}), RuleAction},
		{"about another order", saying(message.Message{ID: orderID(t, "6f1c2f0e-0000-4000-8000-000000000001"), Action: message.ActionRate}), RuleOrder},
		{"about no order", saying(message.Message{Action: message.ActionRate}), RuleOrder},
		{"with a payload", saying(message.Message{ID: id, Action: message.ActionRate, Payload: message.Amount(5)}), RulePayload},
		{"with a solver's view of a dispute", saying(message.Message{ID: id, Action: message.ActionDisputeInitiatedByYou, Payload: message.DisputeRef{ID: *id, Info: &message.SolverDisputeInfo{}}}), RulePayload},
		{"with a dispute at the wrong action", saying(message.Message{ID: id, Action: message.ActionRate, Payload: message.DisputeRef{ID: *id}}), RulePayload},
	}
	rules := map[Rule]bool{}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := s
			s.receipt = c.receipt
			s.refused(t, c.want)
		})
		rules[c.want] = true
	}
	if len(rules) < 20 {
		t.Errorf("%d ways of being refused, want 20", len(rules))
	}

	s2 = s
	s2.role = RoleSeller
	s2.refused(t, RuleRole)
	s2 = s
	s2.rater = stranger
	s2.refused(t, RuleRecipient)
	s2 = s
	s2.host = stranger
	s2.refused(t, RuleNode)
	s2 = s
	s2.platform = "lake"
	s2.refused(t, RulePlatform)
	s2 = s
	s2.token = strings.Repeat("0", 128) // a good receipt does not excuse a bad token
	s2.refused(t, RuleToken)
}

func TestDisclosedV1Tampered(t *testing.T) {
	host := keyPair(t, 3)
	trade := tradeKeys(t)
	stranger := keyPair(t, 9)
	m := message.Message{ID: orderID(t, testOrder), Action: message.ActionHoldInvoicePaymentSettled}
	values := disclosed(t, said(t, host, trade.Pubkey(), envelope.TransportV1, m), trade)
	s := showing{host: host, rater: trade, order: testOrder, receipt: values}
	s.mustHold(t)
	foreign := disclosed(t, said(t, host, stranger.Pubkey(), envelope.TransportV1, m), stranger)
	seal, err := message.DecodeEvent([]byte(values[2]))
	if err != nil {
		t.Fatal(err)
	}
	crafted := func(rumor string) []string {
		evt := resealed(t, host, trade.Pubkey(), nostr.KindSeal, pad([]byte(rumor)), nostr.Tags{})
		p, _ := message.ParsePoint(host.Pubkey())
		point, proof, err := sharedPoint(trade, p, []byte(evt.ID), repeatable())
		if err != nil {
			t.Fatal(err)
		}
		return []string{"r0", "v1", string(mostro.EncodeEvent(evt)), hex.EncodeToString(point.SerializeCompressed()), hex.EncodeToString(proof[:])}
	}
	rumor := func(author *envelope.Keys, kind int, content string) string {
		return string(mostro.EncodeEvent(&nostr.Event{PubKey: author.Pubkey(), CreatedAt: 1, Kind: kind, Tags: nostr.Tags{}, Content: content}))
	}
	m.Wrapper, m.Version = message.WrapperOrder, 1
	tuple := "[" + string(m.JSON()) + ",null]"
	s.receipt = crafted(rumor(host, 1, tuple)) // the crafted receipt itself is sound
	s.mustHold(t)
	for _, c := range []struct {
		name    string
		receipt []string
		want    Rule
	}{
		{"with a value missing", values[:4], RuleFields},
		{"of an unknown transport", swap(values, 1, "legacy"), RuleForm},
		{"with keys of one message instead", []string{"r0", "v2", values[2], strings.Repeat("0", 152)}, RuleEventKind},
		{"with a stranger's point", swap(swap(values, 3, foreign[3]), 4, foreign[4]), RuleProof},
		{"with a stranger's seal, point and proof", foreign, RuleProof},
		{"with a stranger's seal", swap(values, 2, foreign[2]), RuleProof},
		{"with the other point of the same x", swap(values, 3, map[byte]string{'2': "03", '3': "02"}[values[3][1]]+values[3][2:]), RuleProof},
		{"with a point off the curve", swap(values, 3, "02"+strings.Repeat("f", 64)), RulePoint},
		{"with another proof", swap(values, 4, flip(values[4], 9)), RuleProof},
		{"with a short proof", swap(values, 4, values[4][1:]), RuleProof},
		{"by a rumor of another author", crafted(rumor(stranger, 1, tuple)), RuleRumor},
		{"by a rumor of another kind", crafted(rumor(host, 14, tuple)), RuleRumor},
		{"by something else than a rumor", crafted("x"), RuleRumor},
		{"with three elements", crafted(rumor(host, 1, "["+string(m.JSON())+",null,null]")), RuleCanonical},
		{"of version 2 inside", crafted(rumor(host, 1, strings.Replace(tuple, `"version":1`, `"version":2`, 1))), RuleMessageVersion},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s
			s.receipt = c.receipt
			s.refused(t, c.want)
		})
	}
	// The published values open no gift wrap, because the author of a gift wrap is
	// another key.
	if slices.Contains(values, seal.Content) {
		t.Error("the seal's content is one of the values")
	}
}

// TestDisclosedCounting compares two numbers for every action: the bits of the strict
// plaintext that a cheat cannot choose, and the bits of key that a cheat can choose.
// docs/receipts.md explains the argument.
func TestDisclosedCounting(t *testing.T) {
	const freeKey = 8 * (32 + 12)
	least := 1 << 30
	for action := range provingActions {
		m := message.Message{Wrapper: message.WrapperOrder, Version: 2, ID: orderID(t, testOrder), Action: action}
		free := 128 + 65 + 65 + 4 // order id; request id and trade index or null; which of nine actions
		for _, payload := range []message.Payload{nil, message.DisputeRef{ID: *m.ID}} {
			if payload != nil {
				if action != message.ActionDisputeInitiatedByYou && action != message.ActionDisputeInitiatedByPeer {
					continue
				}
				free += 128
			}
			m.Payload = payload
			padded := 8 * (2 + envelope.PaddedLen(len("["+string(m.JSON())+",null,null]")))
			least = min(least, padded-free)
		}
	}
	t.Logf("%d bits of the plaintext are fixed, %d bits of key are free", least, freeKey)
	if least < freeKey+500 {
		t.Errorf("%d bits of the plaintext are fixed, %d bits of key are free", least, freeKey)
	}
}
