package envelope

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

var testNow = time.Unix(1782000000, 0)

func TestSealOpenEveryModeAndAction(t *testing.T) {
	payloads := payloadSamples(t)
	identity, trade := keysA(t)
	node := smallKeys(t, 3).Remembering(4)
	n := 0
	for _, transport := range []Transport{TransportV2, TransportV1} {
		for _, mode := range []struct {
			name     string
			identity *Keys
			unsigned bool
		}{{"reputation", identity, false}, {"privacy signed", nil, false}, {"privacy unsigned", nil, true}, {"identity is trade", trade, false}} {
			for i, a := range message.Actions() {
				p := payloads[i%len(payloads)]
				m := message.Message{Wrapper: message.WrapperOrder, Version: 9, RequestID: new(uint64(7)), ID: &tradeID, Action: a, Payload: p}
				evt, err := Seal(context.Background(), m, SealOptions{Transport: transport, To: node.Pubkey(), Trade: trade, Identity: mode.identity, Unsigned: mode.unsigned, Now: testNow})
				if err != nil {
					t.Fatalf("%s %s %s: %v", transport, mode.name, a, err)
				}
				if evt.Kind != transport.Kind() {
					t.Fatalf("%s: kind %d", transport, evt.Kind)
				}
				env, err := Open(evt, node)
				if err != nil {
					t.Fatalf("%s %s %s: %v", transport, mode.name, a, err)
				}
				m.Version = transport.Version()
				if !bytes.Equal(env.RawMessage, m.JSON()) || !bytes.Equal(env.Message.JSON(), m.JSON()) {
					t.Fatalf("%s %s: have %s, want %s", transport, a, env.RawMessage, m.JSON())
				}
				wantIdentity := trade.Pubkey()
				if mode.identity != nil {
					wantIdentity = mode.identity.Pubkey()
				}
				if env.Sender != trade.Pubkey() || env.Identity != wantIdentity || env.FullPrivacy != (wantIdentity == trade.Pubkey()) ||
					env.Signed == mode.unsigned || env.CreatedAt != nostr.Timestamp(testNow.Unix()) || env.Transport != transport {
					t.Fatalf("%s %s: %+v", transport, mode.name, env)
				}
				n++
			}
		}
	}
	if n != 2*4*59 {
		t.Fatalf("%d rounds", n)
	}
}

func TestOpenForTheNodeOnly(t *testing.T) {
	_, trade := keysA(t)
	m := message.Message{Wrapper: message.WrapperOrder, Action: message.ActionCancel, ID: &tradeID}
	for _, transport := range []Transport{TransportV2, TransportV1, TransportLegacy} {
		evt, err := Seal(context.Background(), m, SealOptions{Transport: transport, To: smallKeys(t, 3).Pubkey(), Trade: trade, Now: testNow})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(evt, smallKeys(t, 4)); !errors.Is(err, message.RuleEncryption) && transport != TransportLegacy {
			t.Errorf("%s: another key: %v", transport, err)
		} else if err == nil {
			t.Errorf("%s: another key opened it", transport)
		}
	}
}

// crafted seals an arbitrary plaintext as a transport would.
func crafted(t testing.TB, from *Keys, to string, kind int, plain string) *nostr.Event {
	t.Helper()
	key, err := from.Conversation(to)
	if err != nil {
		t.Fatal(err)
	}
	content, err := key.Encrypt([]byte(plain), newRandom())
	if err != nil {
		t.Fatal(err)
	}
	evt := &nostr.Event{PubKey: from.Pubkey(), CreatedAt: nostr.Timestamp(testNow.Unix()), Kind: kind, Tags: nostr.Tags{{"p", to}}, Content: content}
	if err := signEvent(evt, from, newRandom()); err != nil {
		t.Fatal(err)
	}
	return evt
}

// newRandom returns a repeatable source for tests: a plain counter.
func newRandom() *countingReader { return new(countingReader) }

type countingReader struct{ n byte }

func (r *countingReader) Read(p []byte) (int, error) {
	for i := range p {
		r.n++
		p[i] = r.n
	}
	return len(p), nil
}

func TestOpenV2Refuses(t *testing.T) {
	identity, trade := keysA(t)
	node := smallKeys(t, 3)
	sign := func(k *Keys, text string) string {
		s, err := k.signText([]byte(text), newRandom())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	body := vectorBody
	sig := sign(trade, body)
	proof := func(k *Keys, tradeKey, body string) string {
		return fmt.Sprintf(`["%s","%s"]`, k.Pubkey(), sign(k, "mostro-transport-v2-identity:"+tradeKey+":"+body))
	}
	good := proof(identity, trade.Pubkey(), body)
	other := strings.Replace(body, "take-sell", "release", 1)
	for name, c := range map[string]struct {
		plain string
		rule  message.Rule
	}{
		"two elements":                          {`[` + body + `,"` + sig + `"]`, message.RuleArity},
		"four elements":                         {`[` + body + `,"` + sig + `",null,null]`, message.RuleArity},
		"bare message":                          {body, message.RuleType},
		"empty array":                           {`[]`, message.RuleArity},
		"text after":                            {`[` + body + `,null,null] ` + "\x00", message.RuleJSON},
		"signature of another message":          {`[` + other + `,"` + sig + `",null]`, message.RuleInnerSig},
		"signature of another key":              {`[` + body + `,"` + sign(identity, body) + `",null]`, message.RuleInnerSig},
		"signature cut":                         {`[` + body + `,"` + sig[:126] + `",null]`, message.RuleInnerSig},
		"signature too long":                    {`[` + body + `,"` + sig + `00",null]`, message.RuleInnerSig},
		"signature very long":                   {`[` + body + `,"` + strings.Repeat(sig, 300) + `",null]`, message.RuleInnerSig},
		"proof too long":                        {`[` + body + `,"` + sig + `",["` + identity.Pubkey() + `","` + sig + sig + `"]]`, message.RuleIdentity},
		"proof of a long key":                   {`[` + body + `,"` + sig + `",["` + identity.Pubkey() + identity.Pubkey() + `","` + sig + `"]]`, message.RuleKey},
		"signature no hex":                      {`[` + body + `,"` + strings.Repeat("z", 128) + `",null]`, message.RuleInnerSig},
		"signature a number":                    {`[` + body + `,5,null]`, message.RuleType},
		"proof without signature":               {`[` + body + `,null,` + good + `]`, message.RuleUnsigned},
		"proof for another trade key":           {`[` + body + `,"` + sig + `",` + proof(identity, node.Pubkey(), body) + `]`, message.RuleIdentity},
		"proof grafted from another message":    {`[` + other + `,"` + sign(trade, other) + `",` + good + `]`, message.RuleIdentity},
		"proof names another identity":          {`[` + body + `,"` + sig + `",["` + node.Pubkey() + `"` + good[67:] + `]`, message.RuleIdentity},
		"proof without its domain":              {fmt.Sprintf(`[%s,"%s",["%s","%s"]]`, body, sig, identity.Pubkey(), sign(identity, body)), message.RuleIdentity},
		"proof of one element":                  {`[` + body + `,"` + sig + `",["` + identity.Pubkey() + `"]]`, message.RuleArity},
		"proof of no key":                       {`[` + body + `,"` + sig + `",["x","` + sig + `"]]`, message.RuleKey},
		"proof of a key not on the curve":       {`[` + body + `,"` + sig + `",["` + strings.Repeat("ff", 32) + `","` + sig + `"]]`, message.RuleKey},
		"unknown action":                        {`[` + strings.Replace(body, "take-sell", "take-all", 1) + `,null,null]`, message.RuleAction},
		"action twice, each signed differently": {`[{"order":{"version":2,"action":"cancel","action":"release"}},null,null]`, message.RuleDuplicate},
		"not JSON":                              {`hello`, message.RuleJSON},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(crafted(t, trade, node.Pubkey(), mostro.KindMessage, c.plain), node)
			if !errors.Is(err, c.rule) {
				t.Fatalf("have %v, want rule %s", err, c.rule)
			}
		})
	}
	// The same parts in the right combination open, so the refusals above have no other
	// cause.
	env, err := Open(crafted(t, trade, node.Pubkey(), mostro.KindMessage, `[`+body+`,"`+sig+`",`+good+`]`), node)
	if err != nil || env.Identity != identity.Pubkey() {
		t.Fatalf("%v, %+v", err, env)
	}
	// npub and upper-case hex name the same identity.
	for _, spelled := range []string{identity.Npub(), strings.ToUpper(identity.Pubkey())} {
		env, err := Open(crafted(t, trade, node.Pubkey(), mostro.KindMessage, `[`+body+`,"`+sig+`",`+strings.Replace(good, identity.Pubkey(), spelled, 1)+`]`), node)
		if err != nil || env.Identity != identity.Pubkey() {
			t.Fatalf("%s: %v, %+v", spelled, err, env)
		}
	}
}

// TestSignatureOverWhichBytes checks that a signature is accepted over the canonical
// bytes, over the received bytes, and over the received bytes without white space.
func TestSignatureOverWhichBytes(t *testing.T) {
	_, trade := keysA(t)
	node := smallKeys(t, 3)
	const odd = `{"order": {"payload":null,"action":"cancel","x":1, "version":2,"id":"308E1272-d5f4-47e6-bd97-3504baea9c23"}}`
	m, err := message.ParseMessage([]byte(odd))
	if err != nil {
		t.Fatal(err)
	}
	compact := strings.ReplaceAll(odd, " ", "")
	for name, signed := range map[string]string{"canonical": string(m.JSON()), "raw": odd, "compact": compact} {
		sig, err := trade.signText([]byte(signed), newRandom())
		if err != nil {
			t.Fatal(err)
		}
		env, err := Open(crafted(t, trade, node.Pubkey(), mostro.KindMessage, `[`+odd+` , "`+sig+`",null]`), node)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if string(env.RawMessage) != odd || env.Message.Action != message.ActionCancel {
			t.Errorf("%s: %+v", name, env)
		}
	}
	sig, err := trade.signText([]byte(compact+" "), newRandom())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(crafted(t, trade, node.Pubkey(), mostro.KindMessage, `[`+odd+` , "`+sig+`",null]`), node); !errors.Is(err, message.RuleInnerSig) {
		t.Errorf("other bytes: %v", err)
	}
}

func TestOpenV1Refuses(t *testing.T) {
	identity, trade := keysA(t)
	node := smallKeys(t, 3)
	ephemeral := smallKeys(t, 5)
	body := strings.Replace(vectorBody, `"version":2`, `"version":1`, 1)
	sig, err := trade.signText([]byte(body), newRandom())
	if err != nil {
		t.Fatal(err)
	}
	signed := `[` + body + `, "` + sig + `"]`
	rumor := func(from *Keys, kind int, content string) string {
		return string(mostro.EncodeEvent(&nostr.Event{PubKey: from.Pubkey(), CreatedAt: 1, Kind: kind, Tags: nostr.Tags{{"p", node.Pubkey()}}, Content: content}))
	}
	wrap := func(seal string) *nostr.Event { return crafted(t, ephemeral, node.Pubkey(), mostro.KindGiftWrap, seal) }
	sealOf := func(rumor string) *nostr.Event { return crafted(t, identity, node.Pubkey(), nostr.KindSeal, rumor) }
	sealed := func(rumor string) *nostr.Event { return wrap(string(mostro.EncodeEvent(sealOf(rumor)))) }
	forged := func(change func(*nostr.Event)) *nostr.Event {
		s := sealOf(rumor(trade, 1, signed))
		change(s)
		return wrap(string(mostro.EncodeEvent(s)))
	}
	for name, c := range map[string]struct {
		evt  *nostr.Event
		rule message.Rule
	}{
		"seal of another kind":       {wrap(string(mostro.EncodeEvent(crafted(t, identity, node.Pubkey(), 14, rumor(trade, 1, signed))))), message.RuleSealKind},
		"seal of no JSON":            {wrap("seal"), message.RuleJSON},
		"seal without signature":     {wrap(strings.Replace(string(mostro.EncodeEvent(sealOf(rumor(trade, 1, signed)))), `"sig"`, `"gis"`, 1)), message.RuleMissing},
		"seal with a key twice":      {wrap(strings.Replace(string(mostro.EncodeEvent(sealOf(rumor(trade, 1, signed)))), `"kind"`, `"kind":13,"kind"`, 1)), message.RuleDuplicate},
		"seal of another author":     {forged(func(s *nostr.Event) { s.PubKey = trade.Pubkey() }), message.RuleSeal},
		"seal dated otherwise":       {forged(func(s *nostr.Event) { s.CreatedAt++ }), message.RuleSeal},
		"seal with another id":       {forged(func(s *nostr.Event) { s.ID = strings.Repeat("0", 64) }), message.RuleSeal},
		"seal with a short sig":      {forged(func(s *nostr.Event) { s.Sig = s.Sig[:10] }), message.RuleSeal},
		"seal with a long key":       {forged(func(s *nostr.Event) { s.PubKey += s.PubKey }), message.RuleSeal},
		"rumor for someone else":     {wrap(string(mostro.EncodeEvent(crafted(t, identity, trade.Pubkey(), nostr.KindSeal, rumor(trade, 1, signed))))), message.RuleEncryption},
		"rumor of kind 14":           {sealed(rumor(trade, 14, signed)), message.RuleRumorKind},
		"rumor of no JSON":           {sealed("rumor"), message.RuleJSON},
		"rumor by no key":            {sealed(strings.Replace(rumor(trade, 1, signed), trade.Pubkey(), strings.Repeat("f", 64), 1)), message.RuleKey},
		"three elements":             {sealed(rumor(trade, 1, `[`+body+`,"`+sig+`",null]`)), message.RuleArity},
		"one element":                {sealed(rumor(trade, 1, `[`+body+`]`)), message.RuleArity},
		"unsigned, another identity": {sealed(rumor(trade, 1, `[`+body+`,null]`)), message.RuleUnsigned},
		"signed by the identity": {sealed(rumor(trade, 1, func() string {
			s, err := identity.signText([]byte(body), newRandom())
			if err != nil {
				t.Fatal(err)
			}
			return `[` + body + `,"` + s + `"]`
		}())), message.RuleInnerSig},
		"another trade key's signature": {sealed(rumor(ephemeral, 1, signed)), message.RuleInnerSig},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Open(c.evt, node); !errors.Is(err, c.rule) {
				t.Fatalf("have %v, want rule %s", err, c.rule)
			}
		})
	}
	for name, r := range map[string]string{
		"as core writes it": rumor(trade, 1, signed),
		"id and sig null":   strings.Replace(rumor(trade, 1, signed), `"id":""`, `"sig":null,"id":null`, 1),
		"no id":             strings.Replace(rumor(trade, 1, signed), `"id":"",`, ``, 1),
	} {
		env, err := Open(sealed(r), node)
		if err != nil || env.Sender != trade.Pubkey() || env.Identity != identity.Pubkey() || env.CreatedAt != 1 {
			t.Errorf("%s: %v, %+v", name, err, env)
		}
	}
	// The same seal in a second gift wrap has the same ReplayID.
	seal := sealOf(rumor(trade, 1, signed))
	one, err1 := Open(wrap(string(mostro.EncodeEvent(seal))), node)
	two, err2 := Open(crafted(t, smallKeys(t, 6), node.Pubkey(), mostro.KindGiftWrap, string(mostro.EncodeEvent(seal))), node)
	if err1 != nil || err2 != nil || one.EventID == two.EventID || one.ReplayID != two.ReplayID {
		t.Errorf("replay ids %s and %s, %v %v", one.ReplayID, two.ReplayID, err1, err2)
	}
}

func TestOpenOuterEvent(t *testing.T) {
	_, trade := keysA(t)
	node := smallKeys(t, 3)
	m := message.Message{Wrapper: message.WrapperOrder, Action: message.ActionCancel, ID: &tradeID}
	fresh := func() *nostr.Event {
		evt, err := Seal(context.Background(), m, SealOptions{Transport: TransportV2, To: node.Pubkey(), Trade: trade, Now: testNow})
		if err != nil {
			t.Fatal(err)
		}
		return evt
	}
	reencoded := func(evt *nostr.Event, raw []byte) *nostr.Event {
		evt.Content = base64.StdEncoding.EncodeToString(raw)
		if err := signEvent(evt, trade, newRandom()); err != nil {
			t.Fatal(err)
		}
		return evt
	}
	rawOf := func(evt *nostr.Event) []byte {
		b, err := base64.StdEncoding.DecodeString(evt.Content)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	resigned := func(content string) func() *nostr.Event {
		return func() *nostr.Event {
			evt := fresh()
			evt.Content = content
			if err := signEvent(evt, trade, newRandom()); err != nil {
				t.Fatal(err)
			}
			return evt
		}
	}
	for name, c := range map[string]struct {
		evt  func() *nostr.Event
		rule message.Rule
	}{
		"kind 1":             {func() *nostr.Event { e := fresh(); e.Kind = 1; return e }, message.RuleKind},
		"empty event":        {func() *nostr.Event { return &nostr.Event{Kind: 14} }, message.RuleEventID},
		"id of another":      {func() *nostr.Event { e := fresh(); e.ID = strings.Repeat("a", 64); return e }, message.RuleEventID},
		"id in capitals":     {func() *nostr.Event { e := fresh(); e.ID = strings.ToUpper(e.ID); return e }, message.RuleEventID},
		"date changed":       {func() *nostr.Event { e := fresh(); e.CreatedAt++; return e }, message.RuleEventID},
		"date and id":        {func() *nostr.Event { e := fresh(); e.CreatedAt++; e.ID = e.GetID(); return e }, message.RuleSignature},
		"sig zero":           {func() *nostr.Event { e := fresh(); e.Sig = strings.Repeat("0", 128); return e }, message.RuleSignature},
		"sig too long":       {func() *nostr.Event { e := fresh(); e.Sig += "00"; return e }, message.RuleSignature},
		"key too long":       {func() *nostr.Event { e := fresh(); e.PubKey += e.PubKey; return e }, message.RuleKey},
		"content empty":      {resigned(""), message.RuleSize},
		"content huge":       {resigned(strings.Repeat("A", maxPayload+4)), message.RuleSize},
		"line breaks alone":  {resigned(strings.Repeat("\n", 200)), message.RuleEncryption},
		"line breaks mostly": {resigned("Ag==" + strings.Repeat("\n", 200)), message.RuleEncryption},
		"broken base64":      {resigned(strings.Repeat("!", 200)), message.RuleEncryption},
		"base64 url style":   {resigned(strings.Repeat("-_-_", 50)), message.RuleEncryption},
		"unknown version":    {func() *nostr.Event { e := fresh(); b := rawOf(e); b[0] = 1; return reencoded(e, b) }, message.RuleEncryption},
		"version future":     {resigned("#" + strings.Repeat("A", 200)), message.RuleEncryption},
		"MAC off by a bit":   {func() *nostr.Event { e := fresh(); b := rawOf(e); b[len(b)-1] ^= 1; return reencoded(e, b) }, message.RuleEncryption},
		"text off by a bit":  {func() *nostr.Event { e := fresh(); b := rawOf(e); b[40] ^= 1; return reencoded(e, b) }, message.RuleEncryption},
		"cut":                {func() *nostr.Event { e := fresh(); b := rawOf(e); return reencoded(e, b[:len(b)-32]) }, message.RuleEncryption},
		"nonce and MAC only": {func() *nostr.Event {
			e := fresh()
			return reencoded(e, append([]byte{2}, make([]byte, 97)...))
		}, message.RuleEncryption},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Open(c.evt(), node); !errors.Is(err, c.rule) {
				t.Fatalf("have %v, want rule %s", err, c.rule)
			}
		})
	}
	if _, err := OpenVerified(&nostr.Event{Kind: 1}, node); !errors.Is(err, message.RuleKind) {
		t.Errorf("kind 1: %v", err)
	}
	evt := fresh()
	evt.Sig = ""
	if _, err := OpenVerified(evt, node); err != nil {
		t.Errorf("an event verified before: %v", err)
	}
}

// TestPlaintextLimit checks that a message that fills NIP-44 to its last byte is
// accepted, and that one byte more is refused with its own rule.
func TestPlaintextLimit(t *testing.T) {
	_, trade := keysA(t)
	node := smallKeys(t, 3)
	send := func(n int) (*nostr.Event, error) {
		m := message.Message{Wrapper: message.WrapperOrder, Action: message.ActionSendDM, ID: &tradeID, Payload: message.TextMessage(strings.Repeat("x", n))}
		return Seal(context.Background(), m, SealOptions{Transport: TransportV2, To: node.Pubkey(), Trade: trade, Unsigned: true, Now: testNow})
	}
	m := message.Message{Wrapper: message.WrapperOrder, Version: 2, Action: message.ActionSendDM, ID: &tradeID, Payload: message.TextMessage("")}
	room := 65535 - len(m.JSON()) - len("[,null,null]")
	evt, err := send(room)
	if err != nil {
		t.Fatal(err)
	}
	env, err := Open(evt, node)
	if err != nil || len(env.Message.Payload.(message.TextMessage)) != room {
		t.Fatalf("65,535 bytes: %v", err)
	}
	if _, err := send(room + 1); !errors.Is(err, message.RuleSize) {
		t.Fatalf("65,536 bytes: %v", err)
	}
}

func TestSealRefuses(t *testing.T) {
	identity, trade := keysA(t)
	node := smallKeys(t, 3)
	ok := message.Message{Wrapper: message.WrapperOrder, Action: message.ActionCancel, ID: &tradeID}
	with := func(change func(*SealOptions)) SealOptions {
		o := SealOptions{Transport: TransportV2, To: node.Pubkey(), Trade: trade, Now: testNow}
		change(&o)
		return o
	}
	for name, c := range map[string]struct {
		m    message.Message
		o    SealOptions
		rule message.Rule
	}{
		"no transport":       {ok, with(func(o *SealOptions) { o.Transport = 0 }), message.RuleKind},
		"no receiver":        {ok, with(func(o *SealOptions) { o.To = "" }), message.RuleKey},
		"receiver as npub":   {ok, with(func(o *SealOptions) { o.To = node.Npub() }), message.RuleKey},
		"receiver off curve": {ok, with(func(o *SealOptions) { o.To = strings.Repeat("f", 64) }), message.RuleKey},
		"identity unsigned":  {ok, with(func(o *SealOptions) { o.Identity, o.Unsigned = identity, true }), message.RuleUnsigned},
		"unknown action":     {message.Message{Wrapper: message.WrapperOrder, Action: "take-all"}, with(func(o *SealOptions) {}), message.RuleAction},
		"unknown wrapper":    {message.Message{Wrapper: "x", Action: message.ActionCancel}, with(func(o *SealOptions) {}), message.RuleWrapper},
		"unknown reason":     {message.Message{Wrapper: message.WrapperCantDo, Action: message.ActionCantDo, Payload: message.CantDo{Reason: "because"}}, with(func(o *SealOptions) {}), message.RuleCanonical},
		"unknown status":     {message.Message{Wrapper: message.WrapperOrder, Action: message.ActionNewOrder, Payload: &message.SmallOrder{Status: "new"}}, with(func(o *SealOptions) {}), message.RuleValue},
		"order that is nil":  {message.Message{Wrapper: message.WrapperOrder, Action: message.ActionNewOrder, Payload: (*message.SmallOrder)(nil)}, with(func(o *SealOptions) {}), message.RuleType},
		"too much work":      {ok, with(func(o *SealOptions) { o.Work = 257 }), message.RuleWork},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Seal(context.Background(), c.m, c.o); !errors.Is(err, c.rule) {
				t.Fatalf("have %v, want rule %s", err, c.rule)
			}
		})
	}
	if _, err := Seal(context.Background(), ok, SealOptions{Transport: TransportV2}); err == nil {
		t.Error("sealed without a key")
	}
}

func TestTransportNames(t *testing.T) {
	for _, tr := range []Transport{TransportLegacy, TransportV1, TransportV2} {
		back, err := ParseTransport(tr.String())
		if err != nil || back != tr || TransportOf(tr.Kind()) != tr {
			t.Errorf("%s: %v %v", tr, back, err)
		}
	}
	if _, err := ParseTransport("v3"); err == nil || Transport(0).String() != "none" || Transport(0).Kind() != -1 {
		t.Error("an unknown transport has a name")
	}
}

func TestWrapIsDatedBackAndTagged(t *testing.T) {
	identity, trade := keysA(t)
	node := smallKeys(t, 3)
	m := message.Message{Wrapper: message.WrapperOrder, Action: message.ActionCancel, ID: &tradeID}
	seen := map[string]bool{}
	for range 20 {
		evt, err := Seal(context.Background(), m, SealOptions{Transport: TransportV1, To: node.Pubkey(), Trade: trade, Identity: identity, Now: testNow, Expiration: 1782000100, Work: 4})
		if err != nil {
			t.Fatal(err)
		}
		if age := testNow.Unix() - int64(evt.CreatedAt); age < 0 || age >= 172800 {
			t.Errorf("dated back %d s", age)
		}
		if seen[evt.PubKey] || evt.PubKey == trade.Pubkey() || evt.PubKey == identity.Pubkey() {
			t.Error("the wrap's key is not a fresh one")
		}
		seen[evt.PubKey] = true
		if len(evt.Tags) != 3 || evt.Tags[0][0] != "expiration" || evt.Tags[1][0] != "p" || evt.Tags[2][0] != "nonce" || CheckWork(evt, 4) != nil {
			t.Errorf("tags %v, difficulty %d", evt.Tags, Difficulty(evt.ID))
		}
		if _, err := Open(evt, node); err != nil {
			t.Error(err)
		}
	}
}

// TestHealthForAWatchdog encrypts the detail of a node's health and decrypts it with the
// watchdog's key.
func TestHealthForAWatchdog(t *testing.T) {
	node, watchdog := smallKeys(t, 3), smallKeys(t, 4)
	text, err := mostro.HealthDetail{GeneratedAt: 1782000000, Relays: mostro.RelayDetail{Configured: 1}}.JSON()
	if err != nil {
		t.Fatal(err)
	}
	key, err := node.Conversation(watchdog.Pubkey())
	if err != nil {
		t.Fatal(err)
	}
	h := mostro.Health{Pubkey: node.Pubkey(), CreatedAt: 1782000000, Status: mostro.HealthOK, Watchdog: watchdog.Pubkey(), Expiration: 1782000180}
	if h.Content, err = key.Encrypt(text, newRandom()); err != nil {
		t.Fatal(err)
	}
	evt := h.Event()
	if err := signEvent(&evt, node, newRandom()); err != nil {
		t.Fatal(err)
	}
	back, err := mostro.ParseHealth(&evt)
	if err != nil {
		t.Fatal(err)
	}
	for name, reader := range map[string]*Keys{"watchdog": watchdog, "stranger": smallKeys(t, 5)} {
		key, err := reader.Conversation(back.Pubkey)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := key.Decrypt(back.Content)
		if name == "stranger" {
			if !errors.Is(err, message.RuleEncryption) {
				t.Errorf("a stranger reads %q, %v", plain, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if d, err := mostro.ParseHealthDetail(plain); err != nil || d.GeneratedAt != 1782000000 {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}
