package message

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestLegacyExamplesRoundTrip(t *testing.T) {
	lines := examples(t, "### 8.9", "## 9", `{"`)
	if len(lines) != 4 {
		t.Fatalf("%d examples, the reference has 4", len(lines))
	}
	for _, line := range lines {
		m, contact, err := ParseLegacy([]byte(line))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		back, err := AppendLegacy(nil, m, contact)
		if err != nil || string(back) != line {
			t.Errorf("have %s, %v\nwant %s", back, err, line)
		}
		if today, err := ParseMessage(m.JSON()); err != nil || string(today.JSON()) != string(m.JSON()) {
			t.Errorf("%s: today's form: %v", line, err)
		}
	}
}

// TestSeedDocumentMessages parses the messages of the 2023 document as printed there
// (except for white space), and checks their current meaning.
func TestSeedDocumentMessages(t *testing.T) {
	const buyer = "0000147e939bef2b81c27af4c1b702c90c3843f7212a34934bff1e049b7f1427"
	const seller = "00000ba40c5795451705bb9c165b3af93c846894d3062a9cd7fcba090eb3bf78"
	const id = "ede61c96-4c13-4519-bf3a-dcf7f1e9d842"
	for _, c := range []struct{ legacy, today, contact string }{
		{`{"Order":{"version":1,"pubkey":"` + buyer + `","action":"NewOrder","content":{"Order":{"kind":"Buy","status":"Pending","amount":0,"fiat_code":"VES","fiat_amount":100,"payment_method":"face to face","premium":1,"buyer_invoice":"mostro_p2p@ln.tips","created_at":0}}}}`,
			`{"order":{"version":1,"request_id":null,"trade_index":null,"action":"new-order","payload":{"order":{"kind":"buy","status":"pending","amount":0,"fiat_code":"VES","min_amount":null,"max_amount":null,"fiat_amount":100,"payment_method":"face to face","premium":1,"buyer_invoice":"mostro_p2p@ln.tips","created_at":null,"expires_at":null}}}}`, buyer},
		{`{"Order":{"version":1,"id":"` + id + `","pubkey":"` + buyer + `","action":"TakeSell","content":{"PaymentRequest":[null,"mostro_p2p@ln.tips"]}}}`,
			`{"order":{"version":1,"request_id":null,"trade_index":null,"id":"` + id + `","action":"take-sell","payload":{"payment_request":[null,"mostro_p2p@ln.tips",null]}}}`, buyer},
		{`{"Order":{"version":1,"id":"` + id + `","pubkey":null,"action":"WaitingSellerToPay","content":null}}`,
			`{"order":{"version":1,"request_id":null,"trade_index":null,"id":"` + id + `","action":"waiting-seller-to-pay","payload":null}}`, ""},
		{`{"Order":{"version":1,"id":"` + id + `","pubkey":"` + seller + `","action":"Dispute","content":null}}`,
			`{"order":{"version":1,"request_id":null,"trade_index":null,"id":"` + id + `","action":"dispute","payload":null}}`, seller},
		{`{"Order":{"version":1,"id":"` + id + `","pubkey":null,"action":"DisputeInitiatedByYou","content":null}}`,
			`{"order":{"version":1,"request_id":null,"trade_index":null,"id":"` + id + `","action":"dispute-initiated-by-you","payload":null}}`, ""},
		{`{"Dispute":{"version":1,"id":"efc75871-2568-40b9-a6ee-c382d4d6de01","pubkey":null,"action":"AdminTakeDispute","content":null}}`,
			`{"dispute":{"version":1,"request_id":null,"trade_index":null,"id":"efc75871-2568-40b9-a6ee-c382d4d6de01","action":"admin-take-dispute","payload":null}}`, ""},
		{`{"Dispute":{"version":1,"id":"` + id + `","pubkey":null,"action":"AdminTakeDispute","content":{"Order":{"id":"` + id + `","kind":"Sell","status":"Active","amount":0,"fiat_code":"VES","fiat_amount":100,"payment_method":"face to face","premium":1,"master_buyer_pubkey":"` + buyer + `","master_seller_pubkey":"` + seller + `","buyer_invoice":"lnbcrt11020n1","created_at":1698870173}}}}`,
			`{"dispute":{"version":1,"request_id":null,"trade_index":null,"id":"` + id + `","action":"admin-took-dispute","payload":{"order":{"id":"` + id + `","kind":"sell","status":"active","amount":0,"fiat_code":"VES","min_amount":null,"max_amount":null,"fiat_amount":100,"payment_method":"face to face","premium":1,"buyer_trade_pubkey":"` + buyer + `","seller_trade_pubkey":"` + seller + `","buyer_invoice":"lnbcrt11020n1","created_at":1698870173,"expires_at":null}}}}`, ""},
		{`{"Order":{"version":1,"id":"` + id + `","pubkey":null,"action":"NewOrder","content":{"Order":{"id":"` + id + `","kind":"Sell","status":"Pending","amount":0,"fiat_code":"VES","fiat_amount":100,"payment_method":"face to face","premium":1,"master_buyer_pubkey":null,"master_seller_pubkey":null,"buyer_invoice":"mostro_p2p@ln.tips","created_at":1698870173}}}}`,
			`{"order":{"version":1,"request_id":null,"trade_index":null,"id":"` + id + `","action":"new-order","payload":{"order":{"id":"` + id + `","kind":"sell","status":"pending","amount":0,"fiat_code":"VES","min_amount":null,"max_amount":null,"fiat_amount":100,"payment_method":"face to face","premium":1,"buyer_invoice":"mostro_p2p@ln.tips","created_at":1698870173,"expires_at":null}}}}`, ""},
	} {
		m, contact, err := ParseLegacy([]byte(c.legacy))
		if err != nil {
			t.Errorf("%s: %v", c.legacy, err)
			continue
		}
		if got := string(m.JSON()); got != c.today || contact != c.contact {
			t.Errorf("today:\nhave %s (%s)\nwant %s (%s)", got, contact, c.today, c.contact)
		}
		today, err := ParseMessage([]byte(c.today))
		if err != nil {
			t.Fatal(err)
		}
		if back, err := AppendLegacy(nil, today, c.contact); err != nil || string(back) != c.legacy {
			t.Errorf("legacy:\nhave %s, %v\nwant %s", back, err, c.legacy)
		}
	}
}

// TestLegacyVerbs checks every row of the table of verbs, and the verbs without a row.
func TestLegacyVerbs(t *testing.T) {
	peer := Peer{Pubkey: strings.Repeat("5a", 32)}
	type row struct {
		action  Action
		payload Payload
		legacy  string // verb and content; "" for no 2023 form
		back    Action // "" for the same action
	}
	null := ` null`
	rows := []row{
		{ActionTakeBuy, nil, "TakeBuy" + null, ""}, {ActionPayInvoice, PaymentRequest{Invoice: "ln"}, `PayInvoice {"PaymentRequest":[null,"ln"]}`, ""},
		{ActionFiatSent, nil, "FiatSent" + null, ""}, {ActionFiatSentOk, peer, `FiatSent {"Peer":{"pubkey":"` + peer.Pubkey + `"}}`, ""},
		{ActionFiatSentOk, nil, "FiatSent" + null, ActionFiatSent},
		{ActionRelease, nil, "Release" + null, ""}, {ActionReleased, nil, "Release" + null, ActionRelease},
		{ActionCancel, nil, "Cancel" + null, ""}, {ActionCanceled, nil, "Cancel" + null, ActionCancel},
		{ActionAddInvoice, PaymentRequest{Invoice: "a@b", Amount: new(int64(5))}, `AddInvoice {"PaymentRequest":[null,"a@b",5]}`, ""},
		{ActionCooperativeCancelInitiatedByYou, nil, "CooperativeCancelInitiatedByYou" + null, ""},
		{ActionCooperativeCancelInitiatedByPeer, nil, "CooperativeCancelInitiatedByPeer" + null, ""},
		{ActionCooperativeCancelAccepted, nil, "CooperativeCancelAccepted" + null, ""},
		{ActionDisputeInitiatedByYou, DisputeRef{ID: sampleID}, `DisputeInitiatedByYou {"Dispute":"` + sampleID.String() + `"}`, ""},
		{ActionDisputeInitiatedByPeer, nil, "DisputeInitiatedByPeer" + null, ""},
		{ActionBuyerInvoiceAccepted, nil, "BuyerInvoiceAccepted" + null, ""}, {ActionInvoiceUpdated, nil, "BuyerInvoiceAccepted" + null, ActionBuyerInvoiceAccepted},
		{ActionPurchaseCompleted, nil, "PurchaseCompleted" + null, ""}, {ActionHoldInvoicePaymentAccepted, nil, "HoldInvoicePaymentAccepted" + null, ""},
		{ActionHoldInvoicePaymentSettled, nil, "HoldInvoicePaymentSettled" + null, ""}, {ActionHoldInvoicePaymentCanceled, nil, "HoldInvoicePaymentCanceled" + null, ""},
		{ActionWaitingBuyerInvoice, nil, "WaitingBuyerInvoice" + null, ""}, {ActionBuyerTookOrder, nil, "BuyerTookOrder" + null, ""},
		{ActionRate, nil, "RateUser" + null, ""}, {ActionRateUser, RatingUser(5), `RateUser {"RatingUser":5}`, ""}, {ActionRateReceived, RatingUser(5), `RateReceived {"RatingUser":5}`, ""},
		{ActionCantDo, CantDo{ReasonInvalidAmount}, `CantDo {"TextMessage":"invalid_amount"}`, ""}, {ActionCantDo, TextMessage("no"), `CantDo {"TextMessage":"no"}`, ""},
		{ActionAdminCancel, nil, "AdminCancel" + null, ""}, {ActionAdminCanceled, nil, "AdminCancel" + null, ActionAdminCancel},
		{ActionAdminSettle, nil, "AdminSettle" + null, ""}, {ActionAdminSettled, nil, "AdminSettle" + null, ActionAdminSettle},
		{ActionAdminAddSolver, TextMessage("npub"), `AdminAddSolver {"TextMessage":"npub"}`, ""},
		{ActionAdminTookDispute, peer, `AdminTakeDispute {"Peer":{"pubkey":"` + peer.Pubkey + `"}}`, ""},
		{ActionPayInvoice, peer, "", ""}, {ActionAddInvoice, peer, "", ""}, {ActionTakeBuy, Amount(1), "", ""}, {ActionRelease, NextTrade{}, "", ""},
		{ActionAdminTookDispute, DisputeRef{ID: sampleID, Info: &SolverDisputeInfo{}}, "", ""},
	}
	for _, a := range []Action{ActionPayBondInvoice, ActionBondInvoiceAccepted, ActionBondPayoutCompleted, ActionBondSlashed, ActionAddBondInvoice, ActionPaymentFailed,
		ActionSendDM, ActionTradePubkey, ActionRestoreSession, ActionLastTradeIndex, ActionOrders, ActionAddCashuEscrow, ActionCashuEscrowLocked, ActionCashuPmSignature} {
		rows = append(rows, row{a, nil, "", ""})
	}
	for _, r := range rows {
		m := Message{Wrapper: WrapperOrder, Version: 1, ID: &sampleID, Action: r.action, Payload: r.payload}
		got, err := AppendLegacy(nil, m, "")
		if r.legacy == "" {
			if !errors.Is(err, RuleNoLegacyForm) {
				t.Errorf("%s: %s, %v, want no 2023 form", r.action, got, err)
			}
			continue
		}
		verb, content, _ := strings.Cut(r.legacy, " ")
		want := fmt.Sprintf(`{"Order":{"version":1,"id":"%s","pubkey":null,"action":"%s","content":%s}}`, sampleID, verb, content)
		if err != nil || string(got) != want {
			t.Errorf("%s: have %s, %v\nwant %s", r.action, got, err, want)
			continue
		}
		back, _, err := ParseLegacy(got)
		if r.back == "" {
			r.back = r.action
		}
		if err != nil || back.Action != r.back {
			t.Errorf("%s comes back as %s, %v", r.action, back.Action, err)
		}
	}
	for _, s := range TradeStatuses() {
		name := legacyStatus(s)
		back, ok := form2023.statuses[name]
		later := s == TradeWaitingTakerBond || s == TradeWaitingMakerBond || s == TradeInProgress
		if !ok || (back == s) == later {
			t.Errorf("status %s: %s, back %s", s, name, back)
		}
	}
	for name, want := range map[string]Action{"SaleCompleted": ActionHoldInvoicePaymentSettled, "VoteReceived": ActionRateReceived, "fiat-sent": ActionFiatSent} {
		m, _, err := ParseLegacy([]byte(`{"Order":{"version":1,"action":"` + name + `"}}`))
		if err != nil || m.Action != want {
			t.Errorf("%s: %s, %v", name, m.Action, err)
		}
	}
	m, _, err := ParseLegacy([]byte(`{"Order":{"version":1,"content":{"Order":{"amount":0,"fiat_code":"","fiat_amount":0,"payment_method":"","premium":0}}}}`))
	if err != nil || m.Action != ActionNewOrder {
		t.Errorf("an acknowledgement without a verb: %s, %v", m.Action, err)
	}
}

func TestLegacyRefuses(t *testing.T) {
	for in, rule := range map[string]Rule{
		`{"Order":{"version":1,"action":"FiatSent"},"Rate":{}}`: RuleArity,
		`{}`: RuleArity,
		`{"Dm":{"version":1,"action":"FiatSent"}}`:                                                  RuleWrapper,
		`{"Order":{"version":1,"action":"SendDm"}}`:                                                 RuleAction,
		`{"Order":{"version":1}}`:                                                                   RuleMissing,
		`{"Order":{"action":"FiatSent"}}`:                                                           RuleMissing,
		`{"Order":{"version":1,"action":"FiatSent","payload":{"amount":1}}}`:                        RuleUnknownField,
		`{"Order":{"version":1,"action":"FiatSent","pubkey":"x"}}`:                                  RuleKey,
		`{"Order":{"version":1,"action":"TakeSell","content":{"PaymentRequest":[null]}}}`:           RuleArity,
		`{"Order":{"version":1,"action":"TakeSell","content":{"PaymentRequest":[null,"",null,1]}}}`: RuleArity,
		`{"Order":{"version":1,"action":"TakeSell","content":{"Amount":1}}}`:                        RulePayload,
		`{"Order":{"version":1,"action":"TakeSell","content":{}}}`:                                  RuleArity,
		`{"Order":{"version":1,"action":"NewOrder","content":{"Order":{"kind":"Swap"}}}}`:           RuleValue,
		`{"Order":{"version":1,"action":"FiatSent","action":"Cancel"}}`:                             RuleDuplicate,
		`{"Order":{"version":1,"action":"FiatSent"}} x`:                                             RuleJSON,
	} {
		if _, _, err := ParseLegacy([]byte(in)); !errors.Is(err, rule) {
			t.Errorf("%s: %v, want %s", in, err, rule)
		}
	}
}
