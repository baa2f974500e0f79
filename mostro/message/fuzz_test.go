package message

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Every decoder of untrusted bytes has a fuzz target. No input may cause a
// panic. Every refusal is a WireError. An accepted input means the same if it is
// written and parsed again.

func wantWireError(t *testing.T, err error) {
	t.Helper()
	var w *WireError
	if !errors.As(err, &w) || w.Rule == "" {
		t.Fatalf("an error of another kind: %v", err)
	}
}

func FuzzParseMessage(f *testing.F) {
	f.Add([]byte(wellFormed))
	for i, p := range samplePayloads() {
		f.Add(Message{Wrapper: allWrappers[i%len(allWrappers)], Version: 2, ID: &sampleID, Action: allActions[i%len(allActions)], Payload: p}.JSON())
	}
	f.Add([]byte(`{"order":{"version":2,"action":"cancel","action":"release","x":{"a":[1e5,-0,"\ud83d\ude42"]}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if _, draftErr := ParseDraft(b); err == nil && draftErr != nil {
			t.Fatalf("a message that is no draft: %v", draftErr)
		}
		if err != nil {
			wantWireError(t, err)
			return
		}
		if !json.Valid(b) {
			t.Fatalf("accepted invalid JSON: %q", b)
		}
		canonical := m.JSON()
		back, err := ParseMessage(canonical)
		if err != nil {
			t.Fatalf("%s: %v", canonical, err)
		}
		if again := back.JSON(); !bytes.Equal(again, canonical) {
			t.Fatalf("%s became %s", canonical, again)
		}
		if err := m.Check(); err != nil {
			wantWireError(t, err)
		}
		if m.Payload != nil && m.Payload.PayloadKey() == "" {
			t.Fatal("a payload without a key")
		}
	})
}

func FuzzParseLegacy(f *testing.F) {
	key := "faa27ea81c85e00798598b46d1f36c1700221a1242b563861fa536dc2314f1df"
	f.Add([]byte(`{"Order":{"version":1,"id":"ede61c96-4c13-4519-bf3a-dcf7f1e9d842","pubkey":"` + key + `","action":"FiatSent","content":null}}`))
	f.Add([]byte(`{"Order":{"version":1,"content":{"Order":{"kind":"Buy","status":"Pending","amount":0,"fiat_code":"VES","fiat_amount":100,"payment_method":"x","premium":1,"master_buyer_pubkey":null,"created_at":0}}}}`))
	f.Add([]byte(`{"Dispute":{"version":1,"action":"Dispute","content":{"Dispute":["ede61c96-4c13-4519-bf3a-dcf7f1e9d842",7,null]}}}`))
	for _, p := range samplePayloads() {
		for _, a := range []Action{ActionTakeSell, ActionRate, ActionCantDo, ActionAdminTookDispute, ActionFiatSentOk} {
			if b, err := AppendLegacy(nil, Message{Wrapper: WrapperOrder, Version: 1, ID: &sampleID, Action: a, Payload: p}, key); err == nil {
				f.Add(b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, contact, err := ParseLegacy(b)
		if err != nil {
			wantWireError(t, err)
			return
		}
		if !json.Valid(b) {
			t.Fatalf("accepted invalid JSON: %q", b)
		}
		today := m.JSON()
		if back, err := ParseMessage(today); err != nil || !bytes.Equal(back.JSON(), today) {
			t.Fatalf("%s has no form of today: %s, %v", b, today, err)
		}
		legacy, err := AppendLegacy(nil, m, contact)
		if errors.Is(err, RuleNoLegacyForm) {
			return // a dispute's peer in a request to pay: parsed, but never written
		}
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		back, contactBack, err := ParseLegacy(legacy)
		if err != nil {
			t.Fatalf("%s: %v", legacy, err)
		}
		if again, err := AppendLegacy(nil, back, contactBack); err != nil || !bytes.Equal(again, legacy) {
			t.Fatalf("%s became %s, %v", legacy, again, err)
		}
	})
}

func FuzzDecodeEvent(f *testing.F) {
	key := strings.Repeat("79", 32)
	evt := &nostr.Event{ID: key, PubKey: key, CreatedAt: 1782000000, Kind: mostro.KindMessage, Tags: nostr.Tags{{"p", key}, {"expiration", "1784592000"}}, Content: "aé\"\n\\", Sig: key + key}
	f.Add(mostro.EncodeEvent(evt))
	evt.Sig = ""
	f.Add(mostro.EncodeEvent(evt))
	f.Add([]byte(`{"id":null,"pubkey":"","created_at":-1,"kind":1,"tags":[[],["p"]],"content":"\u0000"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, decode := range []func([]byte) (*nostr.Event, error){DecodeEvent, DecodeRumor} {
			evt, err := decode(b)
			if err != nil {
				wantWireError(t, err)
				continue
			}
			back, err := parseEvent(mostro.EncodeEvent(evt), evt.Sig != "")
			if err != nil {
				t.Fatalf("%s: %v", mostro.EncodeEvent(evt), err)
			}
			if !bytes.Equal(mostro.EncodeEvent(back), mostro.EncodeEvent(evt)) {
				t.Fatalf("%s became %s", mostro.EncodeEvent(evt), mostro.EncodeEvent(back))
			}
		}
	})
}
