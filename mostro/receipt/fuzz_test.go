package receipt

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// FuzzCheckReceipt passes arbitrary receipts to Check. Each is refused with a
// rule, or is one of the receipts that the host really issued.
func FuzzCheckReceipt(f *testing.F) {
	host, payee := keyPair(f, 3), keyPair(f, 11)
	trade := tradeKeys(f)
	given := map[string]bool{}
	seed := func(values []string) {
		given[strings.Join(values, "\n")] = true
		f.Add(strings.Join(values, "\n"), "", testOrder)
	}
	id := orderID(f, testOrder)
	for _, transport := range []envelope.Transport{envelope.TransportV2, envelope.TransportV1} {
		seed(disclosed(f, said(f, host, trade.Pubkey(), transport, message.Message{ID: id, Action: message.ActionPurchaseCompleted}), trade))
	}
	preimage := strings.Repeat("42", 32)
	raw, _ := hex.DecodeString(preimage)
	hash := sha256.Sum256(raw)
	st := statement(host, trade)
	st.Hash = hex.EncodeToString(hash[:])
	r1, err := st.Sign(host, repeatable())
	if err != nil {
		f.Fatal(err)
	}
	seed(r1)
	invoice := madeInvoice(f, payee, "lnbc2500u", field{1, hash[:]})
	r3, err := Opened(r1, invoice, preimage)
	if err != nil {
		f.Fatal(err)
	}
	seed(r3)
	token, err := SignToken(host, trade.Pubkey(), testOrder, repeatable())
	if err != nil {
		f.Fatal(err)
	}
	f.Add("", token, testOrder)
	f.Add("r2\n00\n"+preimage+"\n"+strings.Repeat("0", 512), "", BlindNullifier(preimage))
	set := tagged(f, mostro.KindReceiptKeys, `[["d","2026-11"],["z","receipt-keys"],["y","mostro"],["scheme","`+blindScheme+`"],["key","`+keysetKey+`"]]`)
	keysets := func(string, string) *nostr.Event { return set }
	f.Fuzz(func(t *testing.T, receipt, token, order string) {
		r := mostro.HostRating{
			EventID: "x", Pubkey: trade.Pubkey(), Platform: mostro.PlatformMostro, Alias: mostro.PlatformMostro, OrderID: order, Host: host.Pubkey(), Token: token,
		}
		if receipt != "" {
			r.Receipt = strings.Split(receipt, "\n")
		}
		got, err := Check(&nostr.Event{ID: "x", PubKey: trade.Pubkey()}, r, keysets)
		if err != nil {
			var rule Rule
			if !errors.As(err, &rule) || rule == "" || got != (Receipt{}) {
				t.Fatalf("error %v with receipt %+v", err, got)
			}
			return
		}
		if receipt != "" && (got.Kind == None || got.Nullifier == "" || order != testOrder) {
			t.Fatalf("order %q: %+v", order, got)
		}
		if receipt != "" && !given[receipt] && !(got.Kind == R3 && r.Receipt[2] == preimage) {
			// A payee can sign many invoices for one hash. Every other receipt has only
			// one form.
			t.Fatalf("%q was never given", receipt)
		}
	})
}

// FuzzReceiptMessage passes arbitrary texts to the parsers of receipt requests and
// answers. An accepted text is the same if it is written and parsed again.
func FuzzReceiptMessage(f *testing.F) {
	id := *orderID(f, testOrder)
	for _, m := range []message.Message{
		Request{}.Message(id),
		Request{Payment: true}.Message(id),
		Request{Keyset: strings.Repeat("0", 32), Blinded: make([]byte, blindLen)}.Message(id),
		Answer{Token: "a", Receipt: []string{"r1", "b"}}.Message(message.Message{ID: &id}),
		Answer{Keyset: strings.Repeat("0", 32), Signed: make([]byte, blindLen)}.Message(message.Message{ID: &id}),
	} {
		f.Add(string(m.Payload.(message.TextMessage)))
	}
	f.Fuzz(func(t *testing.T, text string) {
		m := message.Message{Wrapper: message.WrapperDM, ID: &id, Action: message.ActionSendDM, Payload: message.TextMessage(text)}
		if q, err := ParseRequest(m); err == nil {
			again, err := ParseRequest(q.Message(id))
			if err != nil || again.Keyset != q.Keyset || string(again.Blinded) != string(q.Blinded) || again.Payment != q.Payment {
				t.Fatalf("%+v reads again as %+v, %v", q, again, err)
			}
		}
		if a, err := ParseAnswer(m); err == nil {
			again, err := ParseAnswer(a.Message(m))
			if err != nil || string(again.Signed) != string(a.Signed) || len(again.Receipt) != len(a.Receipt) {
				t.Fatalf("%+v reads again as %+v, %v", a, again, err)
			}
		}
	})
}

// FuzzParseKeyset passes arbitrary tags to ParseKeyset. An accepted keyset that is
// written and parsed again is the same.
func FuzzParseKeyset(f *testing.F) {
	good := `[["d","2026-11"],["z","receipt-keys"],["y","mostro","N"],["scheme","` + blindScheme + `"],["key","` + keysetKey + `"],["issued","3"]]`
	f.Add(mostro.KindReceiptKeys, good)
	f.Add(mostro.KindAnnouncement, good)
	for old, changed := range map[string]string{
		`["y","mostro","N"],`: ``, `2026-11`: `2026-1`, `["issued","3"]`: `["issued","-1"]`, `"N"`: `" N "`, `["issued","3"]]`: `["issued","3.0"],["issued"]]`,
		`["d","2026-11"]`: `["d","2026-11"],["d","2026-12"]`, blindScheme: `bdhke`, `0203010001`: `0203010003`, `3082010a`: `3082010b`,
	} {
		text := strings.Replace(good, old, changed, 1)
		if text == good {
			f.Fatalf("%s is not in the seed", old)
		}
		f.Add(mostro.KindReceiptKeys, text)
	}
	f.Fuzz(func(t *testing.T, kind int, tags string) {
		evt := &nostr.Event{PubKey: strings.Repeat("7", 64), CreatedAt: 1782000000, Kind: kind}
		if json.Unmarshal([]byte(tags), &evt.Tags) != nil {
			return
		}
		k, err := ParseKeyset(evt)
		if err != nil {
			if !errors.Is(err, mostro.ErrForeign) && !errors.Is(err, mostro.ErrMalformedEvent) {
				t.Fatalf("%v is neither foreign nor malformed", err)
			}
			return
		}
		one := k.Event()
		again, err := ParseKeyset(&one)
		if err != nil {
			t.Fatalf("%v\nrebuilt as\n%v\nis refused: %v", evt, one, err)
		}
		if two := again.Event(); !reflect.DeepEqual(one, two) {
			t.Fatalf("%v\nbuilt as\n%v\nand again as\n%v", evt, one, two)
		}
	})
}
