package message

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/internal/reference"
	"github.com/mostrodex/mostrodex/mostro"
)

var update = flag.Bool("update", false, "rewrite the golden file of the codec")

// examples returns the message lines of one section of the wire reference. Placeholders
// for keys are replaced by keys.
func examples(t testing.TB, from, to, prefix string) []string {
	t.Helper()
	f, err := os.Open(reference.File(t, "reference", "wire.md"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []string
	in := false
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		line := s.Text()
		if strings.HasPrefix(line, from) {
			in = true
		} else if strings.HasPrefix(line, to) {
			in = false
		}
		if !in || !strings.HasPrefix(line, prefix) {
			continue
		}
		for _, p := range []string{"<node>", "<buyer>", "<seller>", "<maker>", "<solver>", "<maker next trade key>", "<real key>", "<64 hex>"} {
			line = strings.ReplaceAll(line, p, "faa27ea81c85e00798598b46d1f36c1700221a1242b563861fa536dc2314f1df")
		}
		out = append(out, line)
	}
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
	return out
}

func TestExamplesRoundTrip(t *testing.T) {
	lines := examples(t, "### 8.1", "### 8.7", `{"`)
	if len(lines) != 38 {
		t.Fatalf("found %d example messages, the reference has 38", len(lines))
	}
	for _, line := range lines {
		m, err := ParseMessage([]byte(line))
		if err != nil {
			t.Errorf("%s\n%v", line, err)
			continue
		}
		if got := string(m.JSON()); got != line {
			t.Errorf("not byte for byte:\n have %s\n want %s", got, line)
		}
	}
}

// TestEveryActionAndPayload checks that every action with every payload is encoded and
// parsed back without a changed byte.
func TestEveryActionAndPayload(t *testing.T) {
	if len(Actions()) != 51 || len(Reasons()) != 35 || len(TradeStatuses()) != 17 || len(DisputeStatuses()) != 5 {
		t.Fatalf("vocabulary: %d actions, %d reasons, %d statuses, %d dispute statuses",
			len(Actions()), len(Reasons()), len(TradeStatuses()), len(DisputeStatuses()))
	}
	n := 0
	for _, w := range allWrappers {
		for _, a := range Actions() {
			for _, p := range samplePayloads() {
				m := Message{Wrapper: w, Version: 2, RequestID: new(uint64(math.MaxUint64)), TradeIndex: new(int64(math.MinInt64)), ID: &sampleID, Action: a, Payload: p}
				j := m.JSON()
				back, err := ParseMessage(j)
				if err != nil {
					t.Fatalf("%s: %v", j, err)
				}
				if again := back.JSON(); !bytes.Equal(j, again) {
					t.Fatalf("have %s\nwant %s", again, j)
				}
				n++
			}
		}
	}
	if n != 6*51*len(samplePayloads()) {
		t.Fatal("loop did not run")
	}
}

var sampleID = UUID{0x30, 0x8e, 0x12, 0x72, 0xd5, 0xf4, 0x47, 0xe6, 0xbd, 0x97, 0x35, 0x04, 0xba, 0xea, 0x9c, 0x23}

// samplePayloads returns each payload type with all fields and with as few fields as
// possible.
func samplePayloads() []Payload {
	key := strings.Repeat("a7", 32)
	bare := &SmallOrder{FiatCode: "EUR", PaymentMethod: ""}
	full := &SmallOrder{
		ID: &sampleID, Kind: mostro.SideSell, Status: TradeWaitingMakerBond, AmountSats: math.MaxInt64, FiatCode: "VES",
		MinAmount: new(int64(0)), MaxAmount: new(int64(-1)), FiatAmount: 100, PaymentMethod: "Pago Móvil, \"face\\to/face\" <&>\u2028\u2029\x00\x1f\x7f\b\f\n\r\t🙂",
		Premium: -3, BuyerTradePubkey: &key, SellerTradePubkey: &key, BuyerInvoice: new("user@ln.example"),
		CreatedAt: new(int64(1782000000)), ExpiresAt: new(int64(0)),
	}
	info := &UserInfo{Rating: 5, Reviews: -1, OperatingDays: math.MaxUint64}
	list := []Payload{
		nil, bare, full,
		PaymentRequest{Invoice: "lnbc1"}, PaymentRequest{Order: full, Invoice: "", Amount: new(int64(15000))},
		TextMessage(""), TextMessage("hello"),
		Peer{}, Peer{Pubkey: key, Reputation: info},
		RatingUser(0), RatingUser(255), Amount(-5),
		DisputeRef{ID: sampleID}, DisputeRef{ID: sampleID, Info: &SolverDisputeInfo{ID: sampleID}},
		DisputeRef{ID: sampleID, Info: &SolverDisputeInfo{
			ID: sampleID, Kind: "buy", Status: "dispute", Hash: &key, Preimage: &key, OrderPreviousStatus: "active", InitiatorPubkey: key,
			BuyerPubkey: &key, SellerPubkey: &key, InitiatorFullPrivacy: true, CounterpartFullPrivacy: true,
			InitiatorInfo: info, CounterpartInfo: &UserInfo{Rating: 10.0 / 3}, Premium: 1, PaymentMethod: "x", AmountSats: 2, FiatAmount: 3,
			FeeSats: 4, RoutingFeeSats: 5, BuyerInvoice: &key, InvoiceHeldAt: 6, TakenAt: 7, CreatedAt: 8}},
		CantDo{}, NextTrade{Pubkey: key, Index: math.MaxUint32}, PaymentFailed{Attempts: 2, IntervalSeconds: 60},
		RestoreData{}, RestoreData{
			Orders:   []RestoredOrder{{OrderID: sampleID, TradeIndex: 3, Status: "active"}, {OrderID: sampleID}},
			Disputes: []RestoredDispute{{DisputeID: sampleID, OrderID: sampleID, TradeIndex: 4, Status: "initiated", Initiator: InitiatorSeller, SolverPubkey: &key}, {}}},
		IDs{}, IDs{sampleID, {}}, OrderList{}, OrderList{*bare, *full},
		BondResolution{}, BondResolution{SlashSeller: true, SlashBuyer: true}, BondPayoutRequest{Order: *full, SlashedAt: 1},
		CashuLockProof{Token: "t"}, CashuLockProof{Token: "t", MintURL: "u", BuyerPubkey: "b", SellerPubkey: "s", MostroPubkey: "m", FeeToken: new("f")},
		CashuSignatures{}, CashuSignatures{{Secret: `["P2PK",{}]`, Signature: "aa"}, {}},
	}
	for _, r := range Reasons() {
		list = append(list, CantDo{Reason: r})
	}
	for _, s := range TradeStatuses() {
		list = append(list, &SmallOrder{Kind: mostro.SideBuy, Status: s})
	}
	return list
}

func TestFloatAsSerdeWritesIt(t *testing.T) {
	for _, c := range []struct {
		in   float64
		want string
	}{
		{0, "0.0"}, {math.Copysign(0, -1), "-0.0"}, {5, "5.0"}, {4.5, "4.5"}, {10.0 / 3, "3.3333333333333335"},
		{1e15, "1000000000000000.0"}, {1e16, "1e16"}, {1.5e16, "1.5e16"}, {123456789012345680, "1.2345678901234568e17"}, {1e300, "1e300"},
		{1e-5, "0.00001"}, {1e-6, "1e-6"}, {1.25e-7, "1.25e-7"}, {-2, "-2.0"}, {math.MaxFloat64, "1.7976931348623157e308"}, {5e-324, "5e-324"},
		{math.NaN(), "null"}, {math.Inf(1), "null"},
	} {
		if got := string(appendFloatRust(nil, c.in)); got != c.want {
			t.Errorf("%g: have %s, want %s", c.in, got, c.want)
		}
	}
}

// TestSamplesAreGolden compares the JSON of each sample payload with testdata. The tests
// of other packages read the file.
func TestSamplesAreGolden(t *testing.T) {
	var got []byte
	for _, p := range samplePayloads() {
		got = append(Message{Wrapper: WrapperOrder, Version: 2, ID: &sampleID, Action: ActionFiatSent, Payload: p}.AppendJSON(got), '\n')
	}
	golden := filepath.Join("testdata", "payloads.ndjson")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("have\n%s\nwant\n%s", got, want)
	}
}

func TestUUIDSpellings(t *testing.T) {
	const want = "308e1272-d5f4-47e6-bd97-3504baea9c23"
	for _, s := range []string{want, strings.ToUpper(want), strings.ReplaceAll(want, "-", ""), "{" + want + "}", "urn:uuid:" + want} {
		u, err := ParseUUID(s)
		if err != nil || u.String() != want {
			t.Errorf("%s: %v, %v", s, u, err)
		}
	}
	for _, s := range []string{"", "x", want + "0", want[:35], "{" + want, strings.Replace(want, "-", "g", 1), "308e1272d5-f4-47e6-bd97-3504baea9c23", strings.Repeat("g", 32), "{308e1272d5f447e6bd973504baea9c23}", "urn:uuid:308e1272d5f447e6bd973504baea9c23"} {
		if _, err := ParseUUID(s); !errors.Is(err, RuleUUID) {
			t.Errorf("%q: %v, want a refusal", s, err)
		}
	}
}

const wellFormed = `{"order":{"version":2,"request_id":1,"trade_index":null,"id":"308e1272-d5f4-47e6-bd97-3504baea9c23","action":"cancel","payload":null}}`

func TestParseRefuses(t *testing.T) {
	body := func(payload string) string {
		return strings.Replace(wellFormed, `"payload":null`, `"payload":`+payload, 1)
	}
	order := func(rest string) string {
		return body(`{"order":{"amount":0,"fiat_code":"EUR","fiat_amount":1,"payment_method":"","premium":0` + rest + `}}`)
	}
	for name, c := range map[string]struct {
		in   string
		rule Rule
		path string
	}{
		"empty":                     {``, RuleJSON, ""},
		"text after":                {wellFormed + "x", RuleJSON, ""},
		"two values":                {wellFormed + wellFormed, RuleJSON, ""},
		"array":                     {`[]`, RuleType, ""},
		"no wrapper":                {`{}`, RuleArity, ""},
		"two wrappers":              {`{"order":{"version":1,"action":"cancel"},"rate":{}}`, RuleArity, "rate"},
		"wrapper twice":             {`{"order":{"version":1,"action":"cancel"},"order":{}}`, RuleDuplicate, "order"},
		"unknown wrapper":           {`{"Order":{}}`, RuleWrapper, "Order"},
		"no version":                {`{"order":{"action":"cancel"}}`, RuleMissing, "order.version"},
		"no action":                 {`{"order":{"version":1}}`, RuleMissing, "order.action"},
		"version 256":               {`{"order":{"version":256,"action":"cancel"}}`, RuleRange, "order.version"},
		"version -0":                {`{"order":{"version":-0,"action":"cancel"}}`, RuleType, "order.version"},
		"version 1.0":               {`{"order":{"version":1.0,"action":"cancel"}}`, RuleType, "order.version"},
		"version null":              {`{"order":{"version":null,"action":"cancel"}}`, RuleType, "order.version"},
		"request id negative":       {`{"order":{"version":1,"request_id":-1,"action":"cancel"}}`, RuleRange, "order.request_id"},
		"request id too large":      {`{"order":{"version":1,"request_id":18446744073709551616,"action":"cancel"}}`, RuleRange, "order.request_id"},
		"leading zero":              {`{"order":{"version":01,"action":"cancel"}}`, RuleJSON, "order.version"},
		"unknown action":            {`{"order":{"version":1,"action":"sale-completed"}}`, RuleAction, "order.action"},
		"action in camel case":      {`{"order":{"version":1,"action":"FiatSent"}}`, RuleAction, "order.action"},
		"action twice":              {`{"order":{"version":1,"action":"cancel","action":"release"}}`, RuleDuplicate, "order.action"},
		"unknown field twice":       {`{"order":{"version":1,"action":"cancel","x":1,"x":2}}`, RuleDuplicate, "order.x"},
		"escaped key twice":         {`{"order":{"version":1,"action":"cancel","\u0061ction":"release"}}`, RuleDuplicate, "order.action"},
		"bad id":                    {`{"order":{"version":1,"id":"x","action":"cancel"}}`, RuleUUID, "order.id"},
		"unknown payload":           {body(`{"Order":1}`), RulePayload, "order.payload.Order"},
		"payload empty":             {body(`{}`), RuleArity, "order.payload"},
		"payload twice":             {body(`{"amount":1,"rating_user":2}`), RuleArity, "order.payload.rating_user"},
		"payload a word":            {body(`"amount"`), RuleType, "order.payload"},
		"payment request of two":    {body(`{"payment_request":[null,"x"]}`), RuleArity, "order.payload.payment_request"},
		"payment request of four":   {body(`{"payment_request":[null,"x",null,null]}`), RuleArity, "order.payload.payment_request"},
		"dispute bare":              {body(`{"dispute":"308e1272-d5f4-47e6-bd97-3504baea9c23"}`), RuleType, "order.payload.dispute"},
		"dispute of one":            {body(`{"dispute":["308e1272-d5f4-47e6-bd97-3504baea9c23"]}`), RuleArity, "order.payload.dispute"},
		"next trade of three":       {body(`{"next_trade":["a",1,2]}`), RuleArity, "order.payload.next_trade"},
		"next trade too large":      {body(`{"next_trade":["a",4294967296]}`), RuleRange, "order.payload.next_trade[1]"},
		"rating 256":                {body(`{"rating_user":256}`), RuleRange, "order.payload.rating_user"},
		"unknown reason":            {body(`{"cant_do":"invalid-amount"}`), RuleValue, "order.payload.cant_do"},
		"order unknown field":       {order(`,"master_buyer_pubkey":null`), RuleUnknownField, "order.payload.order.master_buyer_pubkey"},
		"order without premium":     {body(`{"order":{"amount":0,"fiat_code":"EUR","fiat_amount":1,"payment_method":""}}`), RuleMissing, "order.payload.order.premium"},
		"order amount with decimal": {body(`{"order":{"amount":0.5}}`), RuleType, "order.payload.order.amount"},
		"order kind capital":        {order(`,"kind":"Buy"`), RuleValue, "order.payload.order.kind"},
		"order status unknown":      {order(`,"status":"Pending"`), RuleValue, "order.payload.order.status"},
		"order null":                {body(`{"order":null}`), RuleType, "order.payload.order"},
		"orders holds null":         {body(`{"orders":[null]}`), RuleType, "order.payload.orders[0]"},
		"bond without buyer":        {body(`{"bond_resolution":{"slash_seller":true}}`), RuleMissing, "order.payload.bond_resolution.slash_buyer"},
		"bond bool as number":       {body(`{"bond_resolution":{"slash_seller":1,"slash_buyer":true}}`), RuleType, "order.payload.bond_resolution.slash_seller"},
		"peer without key":          {body(`{"peer":{}}`), RuleMissing, "order.payload.peer.pubkey"},
		"reputation incomplete":     {body(`{"peer":{"pubkey":"","reputation":{"rating":1,"reviews":2}}}`), RuleMissing, "order.payload.peer.reputation.operating_days"},
		"rating beyond a double":    {body(`{"peer":{"pubkey":"","reputation":{"rating":1e999,"reviews":2,"operating_days":1}}}`), RuleRange, "order.payload.peer.reputation.rating"},
		"initiator unknown":         {body(`{"restore_data":{"orders":[],"disputes":[{"dispute_id":"308e1272-d5f4-47e6-bd97-3504baea9c23","order_id":"308e1272-d5f4-47e6-bd97-3504baea9c23","trade_index":1,"status":"","initiator":"Buyer"}]}}`), RuleValue, "order.payload.restore_data.disputes[0].initiator"},
		"lone surrogate":            {body(`{"text_message":"\ud800"}`), RuleJSON, "order.payload.text_message"},
		"surrogates swapped":        {body(`{"text_message":"\udc00\ud800"}`), RuleJSON, "order.payload.text_message"},
		"raw control character":     {body("{\"text_message\":\"a\nb\"}"), RuleJSON, "order.payload.text_message"},
		"not UTF-8":                 {body("{\"text_message\":\"\xff\"}"), RuleJSON, "order.payload.text_message"},
		"unknown escape":            {body(`{"text_message":"\x41"}`), RuleJSON, "order.payload.text_message"},
		"trailing comma":            {`{"order":{"version":1,"action":"cancel",}}`, RuleJSON, "order"},
		"nested deep":               {`{"order":{"x":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}}`, RuleJSON, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseMessage([]byte(c.in))
			if !errors.Is(err, c.rule) {
				t.Fatalf("have %v, want rule %s", err, c.rule)
			}
			var w *WireError
			if !errors.As(err, &w) || (name != "nested deep" && w.Path != c.path) {
				t.Fatalf("path of %v, want %q", err, c.path)
			}
		})
	}
}

func TestParseTolerates(t *testing.T) {
	for name, in := range map[string]string{
		"white space":         " {\n\"order\" : {\"version\":2, \"request_id\":1, \"action\":\"cancel\" ,\t\"id\":\"308E1272D5F447E6BD973504BAEA9C23\"} } ",
		"other order, extras": `{"order":{"payload":null,"x":{"y":[1,-2.5e3,true,"\ud83d\ude42"]},"action":"cancel","id":"{308e1272-d5f4-47e6-bd97-3504baea9c23}","request_id":1,"version":2}}`,
	} {
		m, err := ParseMessage([]byte(in))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := string(m.JSON()); got != wellFormed {
			t.Errorf("%s: %s", name, got)
		}
	}
	m, err := ParseMessage([]byte(strings.Replace(wellFormed, "null}}", `{"peer":{"pubkey":"","reputation":{"rating":5,"reviews":2,"operating_days":3}}}}}`, 1)))
	if err != nil || !strings.Contains(string(m.JSON()), `"rating":5.0,`) {
		t.Errorf("an integer rating: %s, %v", m.JSON(), err)
	}
}

// TestCheckPerAction compares the structural rules with an independent table: the
// accepted payload keys of each action, and whether an id is required.
func TestCheckPerAction(t *testing.T) {
	rules := map[Action]struct {
		id   bool
		keys string
	}{
		ActionNewOrder: {false, "order"}, ActionPayInvoice: {true, "payment_request"}, ActionPayBondInvoice: {true, "payment_request"},
		ActionAddInvoice: {true, "payment_request"}, ActionAddBondInvoice: {true, "bond_payout_request payment_request"},
		ActionAdminSettle: {true, "- bond_resolution"}, ActionAdminCancel: {true, "- bond_resolution"}, ActionAddCashuEscrow: {true, "cashu_lock_proof"},
		ActionCashuPmSignature: {true, "cashu_signatures"}, ActionLastTradeIndex: {false, "-"}, ActionRestoreSession: {false, "-"},
		ActionPaymentFailed: {true, "payment_failed"}, ActionRateUser: {false, "rating_user"}, ActionCantDo: {false, "cant_do"}, ActionOrders: {false, "ids orders"},
	}
	const others = "- order payment_request text_message peer rating_user amount dispute cant_do next_trade payment_failed restore_data ids orders cashu_lock_proof cashu_signatures"
	special := 0
	for _, a := range Actions() {
		rule, ok := rules[a]
		if ok {
			special++
		} else {
			rule.id, rule.keys = true, others
		}
		for _, p := range samplePayloads() {
			key := "-"
			if p != nil {
				key = p.PayloadKey()
			}
			fits := strings.Contains(" "+rule.keys+" ", " "+key+" ")
			if sigs, ok := p.(CashuSignatures); ok && a == ActionCashuPmSignature && len(sigs) == 0 {
				fits = false
			}
			with := Message{Wrapper: WrapperOrder, Version: 2, ID: &sampleID, Action: a, Payload: p}
			if err := with.Check(); (err == nil) != fits || (err != nil && !errors.Is(err, RuleStructure)) {
				t.Errorf("%s with %s: %v", a, key, err)
			}
			with.ID = nil
			if err := with.Check(); (err == nil) != (fits && !rule.id) {
				t.Errorf("%s with %s and no id: %v", a, key, err)
			}
		}
	}
	if special != 15 {
		t.Fatalf("%d special actions, want 15", special)
	}
	if err := (Message{Action: "sale-completed"}).Check(); !errors.Is(err, RuleAction) {
		t.Errorf("unknown action: %v", err)
	}
}

func TestRefuse(t *testing.T) {
	m, err := ParseMessage([]byte(wellFormed))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"cant-do":{"version":2,"request_id":1,"trade_index":null,"id":"308e1272-d5f4-47e6-bd97-3504baea9c23","action":"cant-do","payload":{"cant_do":"not_found"}}}`
	if got := string(m.Refuse(ReasonNotFound).JSON()); got != want {
		t.Errorf("have %s", got)
	}
	var err2 error = CantDo{ReasonNotFound}
	if err2.Error() != "cant do: not_found" || (CantDo{}).Error() != "cant do" {
		t.Errorf("as an error: %v", err2)
	}
}

func TestUUIDAsText(t *testing.T) {
	b, err := json.Marshal(map[UUID]UUID{sampleID: sampleID})
	if err != nil || string(b) != `{"308e1272-d5f4-47e6-bd97-3504baea9c23":"308e1272-d5f4-47e6-bd97-3504baea9c23"}` {
		t.Errorf("%s, %v", b, err)
	}
	var back map[UUID]UUID
	if err := json.Unmarshal(b, &back); err != nil || back[sampleID] != sampleID {
		t.Errorf("%v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"x":"y"}`), &back); !errors.Is(err, RuleUUID) {
		t.Errorf("%v", err)
	}
}

func TestWireErrorText(t *testing.T) {
	_, err := ParseMessage([]byte(`{"order":{"version":2,"action":"take-sell","payload":{"payment_request":[null,"x"]}}}`))
	if err == nil || err.Error() != "arity: order.payload.payment_request: want 3 elements, have 2" {
		t.Errorf("%v", err)
	}
	if RuleArity.Error() != "arity" {
		t.Error(RuleArity.Error())
	}
}
