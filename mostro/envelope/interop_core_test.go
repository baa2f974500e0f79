package envelope

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
)

func core(t *testing.T) *bridge {
	t.Helper()
	return startBridge(t, testkit.PreparedBridge(t, "MOSTRODEX_INTEROP_CORE", "interop-core"))
}

// TestInteropCoreTransports checks that mostro-core opens messages of every action that
// we sealed, and that we open messages of mostro-core: with a reputation and in full
// privacy, signed and unsigned. mostro-core has no gift wraps since 0.16.0.
func TestInteropCoreTransports(t *testing.T) {
	b := core(t)
	identity, trade := keysA(t)
	node := smallKeys(t, 3)
	cases := crossCases(t, identity, trade, TransportV2)
	now := time.Now()
	for i, c := range cases {
		want := string(c.message.JSON())
		evt, err := Seal(context.Background(), c.message, SealOptions{Transport: c.transport, To: node.Pubkey(), Trade: trade, Identity: c.identity, Unsigned: !c.signed, Now: now, Expiration: 2000000000})
		if err != nil {
			t.Fatal(err)
		}
		a := b.must(map[string]any{"op": "open", "event": json.RawMessage(mostro.EncodeEvent(evt)), "key": hexSecret(node)})
		if a.Message != want || a.Sender != trade.Pubkey() || a.Identity != c.identity.Pubkey() || a.Signed != c.signed || a.CreatedAt != now.Unix() {
			t.Fatalf("core opened %+v\nwant %s", a, want)
		}
		a = b.must(map[string]any{"op": "seal", "message": want, "trade": hexSecret(trade), "identity": hexSecret(c.identity),
			"to": node.Pubkey(), "signed": c.signed, "pow": i % 3, "expiration": 2000000000})
		evt = b.event(a)
		env, err := Open(evt, node)
		if err != nil {
			t.Fatalf("core sealed %s: %v", want, err)
		}
		if string(env.RawMessage) != want || string(env.Message.JSON()) != want || env.Transport != c.transport || env.Sender != trade.Pubkey() ||
			env.Identity != c.identity.Pubkey() || env.Signed != c.signed || env.FullPrivacy != (c.identity == trade) || CheckWork(evt, i%3) != nil {
			t.Fatalf("opened %+v\nwant %s", env, want)
		}
		if skew := int64(env.CreatedAt) - now.Unix(); skew < -600 || skew > 600 {
			t.Fatalf("dated %d s off", skew)
		}
	}
	if len(cases) != 59*3 {
		t.Fatalf("%d cases", len(cases))
	}
}

// TestInteropCoreRefusals checks that mostro-core and this package refuse the same
// manipulations inside a v2 event.
func TestInteropCoreRefusals(t *testing.T) {
	b := core(t)
	identity, trade := keysA(t)
	node := smallKeys(t, 3)
	sig := func(k *Keys, text string) string {
		s, err := k.signText([]byte(text), newRandom())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	signed := sig(trade, vectorBody)
	proof := sig(identity, "mostro-transport-v2-identity:"+trade.Pubkey()+":"+vectorBody)
	for name, c := range map[string]struct {
		plain string
		ok    bool
	}{
		"good":            {fmt.Sprintf(`[%s,"%s",["%s","%s"]]`, vectorBody, signed, identity.Pubkey(), proof), true},
		"npub":            {fmt.Sprintf(`[%s,"%s",["%s","%s"]]`, vectorBody, signed, identity.Npub(), proof), true},
		"nothing signed":  {fmt.Sprintf(`[%s,null,null]`, vectorBody), true},
		"two elements":    {fmt.Sprintf(`[%s,null]`, vectorBody), false},
		"four elements":   {fmt.Sprintf(`[%s,null,null,null]`, vectorBody), false},
		"another's proof": {fmt.Sprintf(`[%s,"%s",["%s","%s"]]`, vectorBody, signed, node.Pubkey(), proof), false},
		"proof grafted":   {fmt.Sprintf(`[%s,"%s",["%s","%s"]]`, vectorBody, signed, identity.Pubkey(), sig(identity, vectorBody)), false},
		"signed by other": {fmt.Sprintf(`[%s,"%s",null]`, vectorBody, sig(identity, vectorBody)), false},
		"no message":      {`[null,null,null]`, false},
	} {
		evt := crafted(t, trade, node.Pubkey(), mostro.KindMessage, c.plain)
		a := b.ask(map[string]any{"op": "open", "event": json.RawMessage(mostro.EncodeEvent(evt)), "key": hexSecret(node)})
		_, err := Open(evt, node)
		if (a.Error == "") != c.ok || (err == nil) != c.ok {
			t.Errorf("%s: core returns %q, this package %v", name, a.Error, err)
		}
	}
}

// TestInteropCoreParser checks that this package parses a text to the same bytes as
// mostro-core, or refuses it too.
func TestInteropCoreParser(t *testing.T) {
	b := core(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	compare := func(text string) (accepted bool) {
		t.Helper()
		a := b.ask(map[string]any{"op": "echo", "message": text})
		m, err := message.ParseMessage([]byte(text))
		switch {
		case (a.Error == "") != (err == nil):
			if a.Error == "" && knownStrictness(text) {
				return false
			}
			t.Fatalf("%s\ncore: %q %s\nours: %v", text, a.Error, a.Message, err)
		case err == nil:
			if got := string(m.JSON()); got != a.Message && !sameButFloats(a.Message, got) {
				t.Fatalf("%s\ncore %s\nours %s", text, a.Message, got)
			}
			if (m.Check() == nil) != a.Verify {
				t.Fatalf("%s: verify %v, Check %v", text, a.Verify, m.Check())
			}
		}
		return err == nil
	}
	// verify() of every action with every payload, with and without an id.
	for _, a := range message.Actions() {
		for _, p := range payloadSamples(t) {
			m := message.Message{Wrapper: message.WrapperOrder, Version: 2, ID: &tradeID, Action: a, Payload: p}
			if !compare(string(m.JSON())) {
				t.Fatalf("refused %s", m.JSON())
			}
			m.ID = nil
			compare(string(m.JSON()))
			m.Wrapper = message.WrapperRestore
			compare(string(m.JSON()))
		}
	}
	// Replies of every action to requests with and without an id.
	for _, a := range message.Actions() {
		for _, p := range []message.Payload{nil, message.CantDo{}, message.CantDo{Reason: message.ReasonMaintenanceMode}} {
			for _, got := range []*uint64{nil, new(uint64(5)), new(uint64(6))} {
				for _, want := range []*uint64{nil, new(uint64(5))} {
					m := message.Message{Wrapper: message.WrapperOrder, Version: 2, RequestID: got, Action: a, Payload: p}
					valid := b.must(map[string]any{"op": "validate", "message": string(m.JSON()), "request_id": want}).Verify
					if err := m.CheckReply(want); (err == nil) != valid {
						t.Fatalf("%s: core %v, ours %v", m.JSON(), valid, err)
					}
				}
			}
		}
	}
	// Reasons and modes that only a later version knows.
	for _, payload := range []string{`{"cant_do":"x"}`, `{"cant_do":""}`, `{"cant_do":7}`, `{"cant_do":null}`,
		`{"payment_history":{"payment_hash":"","buyer_mode":"x","successful_trades":0,"distinct_counterparties":0,"experienced_counterparties":4294967295}}`,
		`{"payment_history":{"payment_hash":"","buyer_mode":"","successful_trades":0,"distinct_counterparties":0,"experienced_counterparties":4294967296}}`,
		`{"user_info":{"rating":1,"reviews":2,"operating_days":1,"since":1700870399}}`, `{"user_info":{"rating":1,"reviews":2,"operating_days":1,"since":18446744073709551615}}`,
		`{"user_info":{"rating":1e309,"reviews":2,"operating_days":1}}`, `{"user_info":{"rating":1,"reviews":2,"operating_days":1,"since":-1}}`,
		`{"reputation_export_request":{"destination":"x"}}`, `{"reputation_export_request":{"rebind":"x"}}`} {
		compare(`{"order":{"version":2,"action":"cancel","payload":` + payload + `}}`)
	}
	// Floats of every size.
	for i := range 3000 {
		f := math.Float64frombits(rnd.Uint64())
		switch i % 4 {
		case 1: // with up to 15 digits core parses exactly, so both must agree exactly
			f = math.Trunc(rnd.Float64()*5e3) / 1e3
			text := string(message.Message{Wrapper: message.WrapperOrder, Action: message.ActionRate, Payload: message.Peer{Reputation: &message.UserInfo{Rating: f}}}.JSON())
			if a := b.must(map[string]any{"op": "echo", "message": text}); a.Message != text {
				t.Fatalf("core writes %s\nours %s", a.Message, text)
			}
		case 2:
			f = math.Pow(10, float64(rnd.IntN(40)-20)) * float64(rnd.IntN(100))
		case 3:
			f = float64(rnd.IntN(1000)) / float64(1+rnd.IntN(300))
		}
		if math.IsNaN(f) || math.IsInf(f, 0) {
			continue
		}
		m := message.Message{Wrapper: message.WrapperOrder, Action: message.ActionRate, Payload: message.Peer{Reputation: &message.UserInfo{Rating: f}}}
		if !compare(string(m.JSON())) {
			t.Fatalf("refused %s", m.JSON())
		}
	}
	// Messages with one fault, or with an unusual form.
	var texts []string
	for _, p := range payloadSamples(t) {
		texts = append(texts, string(message.Message{Wrapper: message.WrapperOrder, Version: 2, RequestID: new(uint64(5)), ID: &tradeID, Action: message.ActionFiatSent, Payload: p}.JSON()))
	}
	pieces := []string{`null`, `0`, `-1`, `-0`, `1.0`, `1e2`, `true`, `""`, `"x"`, `[]`, `{}`, `"buy"`, `18446744073709551616`, `9223372036854775808`, `,`, ` `, `"\ud83d\ude42"`, `"\u0000"`, `"\/"`, `01`, `:`, `}`, `"id":null,`, `"x":[1,{"y":null}],`}
	accepted := 0
	const rounds = 20000
	for range rounds {
		text := texts[rnd.IntN(len(texts))]
		switch rnd.IntN(5) {
		case 0: // drop a byte
			i := rnd.IntN(len(text))
			text = text[:i] + text[i+1:]
		case 1: // replace a value
			i := strings.IndexByte(text[rnd.IntN(len(text)):], ':')
			if i < 0 {
				continue
			}
			at := rnd.IntN(len(text))
			if j := strings.IndexByte(text[at:], ':'); j >= 0 {
				at += j + 1
				end := at + strings.IndexAny(text[at:]+",", ",}]")
				text = text[:at] + pieces[rnd.IntN(len(pieces))] + text[end:]
			}
		case 2: // insert a text after a bracket, comma or quote
			at := rnd.IntN(len(text))
			if j := strings.IndexAny(text[at:], `{[,"`); j >= 0 {
				at += j + 1
			}
			text = text[:at] + pieces[rnd.IntN(len(pieces))] + text[at:]
		case 3: // swap two characters
			if i := rnd.IntN(len(text) - 1); text[i] < 0x80 && text[i+1] < 0x80 {
				text = text[:i] + text[i+1:i+2] + text[i:i+1] + text[i+2:]
			}
		case 4: // insert a piece of another message
			other := texts[rnd.IntN(len(texts))]
			i, j := rnd.IntN(len(other)), rnd.IntN(len(text))
			text = text[:j] + other[i:min(len(other), i+1+rnd.IntN(20))] + text[j:]
		}
		text = strings.ToValidUTF8(text, "?")
		if compare(text) {
			accepted++
		}
	}
	t.Logf("%d unusual messages, both accepted %d", rounds, accepted)
	if accepted == 0 || accepted == rounds {
		t.Error("the odd messages are all alike")
	}
}

var ratingFloat = regexp.MustCompile(`("rating":)[^,}]*`)

// sameButFloats reports whether two texts are equal except for two habits of core's
// JSON library. core may parse a float of 16 or 17 digits as its neighbour. Its current
// version writes a plus sign into exponents, and the version of older daemons does not.
// For the same float both implementations write the same text.
func sameButFloats(core, ours string) bool {
	if ratingFloat.ReplaceAllString(core, "$1") != ratingFloat.ReplaceAllString(ours, "$1") {
		return false
	}
	m, err := message.ParseMessage([]byte(core))
	return err == nil && string(m.JSON()) == strings.ReplaceAll(core, "e+", "e")
}

// knownStrictness reports whether a text is one that core accepts and this package
// refuses on purpose: a struct as an array of its fields, a word as an object, or an
// unknown key that occurs twice.
func knownStrictness(text string) bool {
	_, err := message.ParseMessage([]byte(text))
	w, ok := err.(*message.WireError)
	if !ok {
		return false
	}
	switch w.Rule {
	case message.RuleDuplicate:
		return true
	case message.RuleType:
		return strings.Contains(w.Detail, "want an object, have array") || strings.Contains(w.Detail, "want a string, have object")
	}
	return false
}

func TestInteropCoreChat(t *testing.T) {
	b := core(t)
	alice, bob := smallKeys(t, 7), smallKeys(t, 8)
	chat, err := NewChat(alice, bob.Pubkey())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"hello bob", "¿\"ya\"?\n🙂", strings.Repeat("x", 10000)} {
		evt, err := chat.Seal(alice, text, time.Now(), nil)
		if err != nil {
			t.Fatal(err)
		}
		a := b.must(map[string]any{"op": "chat-open", "event": json.RawMessage(mostro.EncodeEvent(evt)), "key": hexSecret(bob), "peer": alice.Pubkey()})
		if a.Text != text || a.Sender != alice.Pubkey() {
			t.Fatalf("core read %+v", a)
		}
		evt = b.event(b.must(map[string]any{"op": "chat-seal", "key": hexSecret(bob), "peer": alice.Pubkey(), "text": text}))
		msg, err := chat.Open(evt, time.Now())
		if err != nil || msg.Text != text || msg.Sender != bob.Pubkey() {
			t.Fatalf("%+v, %v", msg, err)
		}
	}
}
