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
	"slices"
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
		if d, ok := m.Payload.(RestoreData); ok && len(d.Orders) > 0 {
			// The reference is older than the member, which is always written now.
			line = strings.Replace(line, `"}],"disputes"`, `","counterparty_trade_pubkey":null}],"disputes"`, 1)
		}
		if got := string(m.JSON()); got != line {
			t.Errorf("not byte for byte:\n have %s\n want %s", got, line)
		}
	}
}

// TestEveryActionAndPayload checks that every action with every payload is encoded and
// parsed back without a changed byte.
func TestEveryActionAndPayload(t *testing.T) {
	if len(Actions()) != 59 || len(Reasons()) != 48 || len(TradeStatuses()) != 17 || len(DisputeStatuses()) != 6 {
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
	if n != 6*59*len(samplePayloads()) {
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
		CreatedAt: new(int64(1782000000)), ExpiresAt: new(int64(0)), CashuMintURL: new("https://mint.example.com/\"x\""),
	}
	info := &UserInfo{Rating: 5, Reviews: -1, OperatingDays: math.MaxUint64, Since: new(uint64(math.MaxUint64))}
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
			Orders:   []RestoredOrder{{OrderID: sampleID, TradeIndex: 3, Status: "active", CounterpartyTradePubkey: &key}, {OrderID: sampleID}},
			Disputes: []RestoredDispute{{DisputeID: sampleID, OrderID: sampleID, TradeIndex: 4, Status: "initiated", Initiator: InitiatorSeller, SolverPubkey: &key}, {}}},
		IDs{}, IDs{sampleID, {}}, OrderList{}, OrderList{*bare, *full},
		BondResolution{}, BondResolution{SlashSeller: true, SlashBuyer: true}, BondPayoutRequest{Order: *full, SlashedAt: 1},
		CashuLockProof{Token: "t"}, CashuLockProof{Token: "t", MintURL: "u", BuyerPubkey: "b", SellerPubkey: "s", MostroPubkey: "m", FeeToken: new("f")},
		PayerDeclaration{}, PayerDeclaration{PaymentHash: key},
		PaymentHistory{BuyerMode: BuyerModeFullPrivacy}, PaymentHistory{BuyerMode: BuyerModeUnknown},
		PaymentHistory{PaymentHash: key, BuyerMode: BuyerModeReputation, SuccessfulTrades: math.MaxUint32, DistinctCounterparties: 2, ExperiencedCounterparties: 1,
			FirstSuccessAt: new(int64(math.MinInt64)), LastSuccessAt: new(int64(math.MaxInt64))},
		ReputationExportRequest{Destination: key}, ReputationExportRequest{Rebind: new(`{"id":"a","tags":[["p"]]}`)},
		ReputationAttestation(""), ReputationAttestation(`{"id":"a52c…","tags":[["p",""]]}`),
		UserInfo{}, UserInfo{Rating: 4.8, Reviews: 23, OperatingDays: 142, Since: new(uint64(1700784000))},
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
		"reason as a number":        {body(`{"cant_do":7}`), RuleType, "order.payload.cant_do"},
		"reason as an object":       {body(`{"cant_do":{"not_found":null}}`), RuleType, "order.payload.cant_do"},
		"since negative":            {body(`{"user_info":{"rating":1,"reviews":2,"operating_days":1,"since":-1}}`), RuleRange, "order.payload.user_info.since"},
		"since beyond u64":          {body(`{"user_info":{"rating":1,"reviews":2,"operating_days":1,"since":18446744073709551616}}`), RuleRange, "order.payload.user_info.since"},
		"since with a fraction":     {body(`{"user_info":{"rating":1,"reviews":2,"operating_days":1,"since":86400.0}}`), RuleType, "order.payload.user_info.since"},
		"since twice":               {body(`{"user_info":{"rating":1,"reviews":2,"operating_days":1,"since":1,"since":1}}`), RuleDuplicate, "order.payload.user_info.since"},
		"user info null":            {body(`{"user_info":null}`), RuleType, "order.payload.user_info"},
		"user info without reviews": {body(`{"user_info":{"rating":1,"operating_days":1}}`), RuleMissing, "order.payload.user_info.reviews"},
		"no payment hash":           {body(`{"payer_declaration":{}}`), RuleMissing, "order.payload.payer_declaration.payment_hash"},
		"payment hash null":         {body(`{"payer_declaration":{"payment_hash":null}}`), RuleType, "order.payload.payer_declaration.payment_hash"},
		"payment hash twice":        {body(`{"payer_declaration":{"payment_hash":"a","\u0070ayment_hash":"b"}}`), RuleDuplicate, "order.payload.payer_declaration.payment_hash"},
		"declaration a text":        {body(`{"payer_declaration":"a"}`), RuleType, "order.payload.payer_declaration"},
		"history without mode":      {body(`{"payment_history":{"payment_hash":"","successful_trades":0,"distinct_counterparties":0,"experienced_counterparties":0}}`), RuleMissing, "order.payload.payment_history.buyer_mode"},
		"history without a counter": {body(`{"payment_history":{"payment_hash":"","buyer_mode":"x","successful_trades":0,"distinct_counterparties":0}}`), RuleMissing, "order.payload.payment_history.experienced_counterparties"},
		"history beyond u32":        {body(`{"payment_history":{"successful_trades":4294967296}}`), RuleRange, "order.payload.payment_history.successful_trades"},
		"history negative":          {body(`{"payment_history":{"distinct_counterparties":-1}}`), RuleRange, "order.payload.payment_history.distinct_counterparties"},
		"history mode null":         {body(`{"payment_history":{"buyer_mode":null}}`), RuleType, "order.payload.payment_history.buyer_mode"},
		"history time beyond i64":   {body(`{"payment_history":{"first_success_at":9223372036854775808}}`), RuleRange, "order.payload.payment_history.first_success_at"},
		"export without identity":   {body(`{"reputation_export_request":{"rebind":null}}`), RuleMissing, "order.payload.reputation_export_request.destination"},
		"rebind an object":          {body(`{"reputation_export_request":{"destination":"","rebind":{}}}`), RuleType, "order.payload.reputation_export_request.rebind"},
		"attestation an object":     {body(`{"reputation_attestation":{"id":""}}`), RuleType, "order.payload.reputation_attestation"},
		"attestation null":          {body(`{"reputation_attestation":null}`), RuleType, "order.payload.reputation_attestation"},
		"mint a number":             {order(`,"cashu_mint_url":1`), RuleType, "order.payload.order.cashu_mint_url"},
		"mint twice":                {order(`,"cashu_mint_url":null,"cashu_mint_url":"x"`), RuleDuplicate, "order.payload.order.cashu_mint_url"},
		"counterparty a number":     {body(`{"restore_data":{"orders":[{"order_id":"308e1272-d5f4-47e6-bd97-3504baea9c23","trade_index":1,"status":"","counterparty_trade_pubkey":1}],"disputes":[]}}`), RuleType, "order.payload.restore_data.orders[0].counterparty_trade_pubkey"},
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
		ActionUserInfo: {false, "- user_info"}, ActionDeclarePayer: {true, "payer_declaration"}, ActionPayerDeclared: {true, "payer_declaration"},
		ActionPaymentHistory: {true, "- payment_history"}, ActionExportReputation: {false, "reputation_export_request"},
		ActionReputationExported: {false, "reputation_attestation"}, ActionImportReputation: {false, "reputation_attestation"}, ActionReputationImported: {false, "-"},
		ActionPaymentFailed: {true, "payment_failed"}, ActionRateUser: {false, "rating_user"}, ActionCantDo: {false, "cant_do"}, ActionOrders: {false, "ids orders"},
	}
	const others = "- order payment_request text_message peer rating_user amount dispute cant_do next_trade payment_failed restore_data ids orders cashu_lock_proof cashu_signatures reputation_export_request reputation_attestation"
	withoutID := []Action{ActionUserInfo, ActionExportReputation, ActionReputationExported, ActionImportReputation, ActionReputationImported}
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
			if a == ActionUserInfo {
				with.Wrapper = WrapperRestore
			}
			if err := with.Check(); (err == nil) != (fits && !slices.Contains(withoutID, a)) || (err != nil && !errors.Is(err, RuleStructure)) {
				t.Errorf("%s with %s: %v", a, key, err)
			}
			with.ID = nil
			if err := with.Check(); (err == nil) != (fits && !rule.id) {
				t.Errorf("%s with %s and no id: %v", a, key, err)
			}
		}
	}
	if special != 23 {
		t.Fatalf("%d special actions, want 23", special)
	}
	if err := (Message{Action: "sale-completed"}).Check(); !errors.Is(err, RuleAction) {
		t.Errorf("unknown action: %v", err)
	}
}

// TestUserInfoNeedsItsWrapper checks the one rule that depends on the wrapper.
func TestUserInfoNeedsItsWrapper(t *testing.T) {
	for _, w := range allWrappers {
		err := Message{Wrapper: w, Version: 2, Action: ActionUserInfo}.Check()
		if (err == nil) != (w == WrapperRestore) || err != nil && !errors.Is(err, RuleStructure) {
			t.Errorf("%s: %v", w, err)
		}
	}
}

// TestReplies checks the request ids and refusals of replies.
func TestReplies(t *testing.T) {
	five, six := uint64(5), uint64(6)
	optional := 0
	for _, a := range Actions() {
		m := Message{Wrapper: WrapperOrder, Version: 2, Action: a}
		if m.CheckReply(nil) != nil {
			t.Errorf("%s: refused without a request", a)
		}
		if err := m.CheckReply(&five); err == nil {
			optional++
		} else if !errors.Is(err, RuleStructure) {
			t.Errorf("%s: %v", a, err)
		}
		m.RequestID = &five
		if m.CheckReply(&five) != nil || !errors.Is(m.CheckReply(&six), RuleStructure) {
			t.Errorf("%s: %v, %v", a, m.CheckReply(&five), m.CheckReply(&six))
		}
		m.Payload = CantDo{ReasonNotFound}
		for _, id := range []*uint64{nil, &five, &six} {
			if err := m.CheckReply(id); err != (CantDo{ReasonNotFound}) {
				t.Errorf("%s: a refusal is %v", a, err)
			}
		}
	}
	if optional != 27 {
		t.Errorf("%d actions may omit the request id, want 27", optional)
	}
	for a, may := range map[Action]bool{ActionPayerDeclared: true, ActionPaymentHistory: true, ActionDeclarePayer: false, ActionUserInfo: false,
		ActionReputationExported: false, ActionReputationImported: false, ActionNewOrder: false} {
		if a.mayOmitRequestID() != may {
			t.Errorf("%s: %v", a, !may)
		}
	}
}

// TestCanonicalTexts compares the bytes of the actions of November 2026 with the texts of
// the protocol. The sender's signature covers these bytes.
func TestCanonicalTexts(t *testing.T) {
	const attested = `{"id":"a52ccf54","tags":[["rating","4.87"]],"content":""}`
	order, err := ParseUUID("ede61c96-4c13-4519-bf3a-dcf7f1e9d842")
	if err != nil {
		t.Fatal(err)
	}
	hash := PayerHash("EU|SEPA|DE89370400440532013000|ALICE SMITH")
	key := strings.Repeat("a7", 32)
	id := func(n uint64) *uint64 { return &n }
	for _, c := range []struct {
		m    Message
		want string
	}{
		{Message{Wrapper: WrapperRestore, RequestID: id(123456), Action: ActionUserInfo},
			`{"restore":{"version":2,"request_id":123456,"trade_index":null,"action":"user-info","payload":null}}`},
		{Message{Wrapper: WrapperRestore, RequestID: id(123456), Action: ActionUserInfo, Payload: UserInfo{Rating: 4.8, Reviews: 23, OperatingDays: 142, Since: id(1700784000 + 86399)}},
			`{"restore":{"version":2,"request_id":123456,"trade_index":null,"action":"user-info","payload":{"user_info":{"rating":4.8,"reviews":23,"operating_days":142,"since":1700784000}}}}`},
		{Message{Wrapper: WrapperRestore, Action: ActionUserInfo, Payload: UserInfo{}},
			`{"restore":{"version":2,"request_id":null,"trade_index":null,"action":"user-info","payload":{"user_info":{"rating":0.0,"reviews":0,"operating_days":0}}}}`},
		{Message{Wrapper: WrapperOrder, RequestID: id(981231), ID: &order, Action: ActionDeclarePayer, Payload: PayerDeclaration{PaymentHash: hash}},
			`{"order":{"version":2,"request_id":981231,"trade_index":null,"id":"ede61c96-4c13-4519-bf3a-dcf7f1e9d842","action":"declare-payer","payload":{"payer_declaration":{"payment_hash":"ee06af92c95429e7cb0cf8428636199a71a01e32bab7a8526d226161f0de9903"}}}}`},
		{Message{Wrapper: WrapperOrder, ID: &order, Action: ActionPaymentHistory, Payload: PaymentHistory{PaymentHash: hash, BuyerMode: BuyerModeFullPrivacy}},
			`{"order":{"version":2,"request_id":null,"trade_index":null,"id":"ede61c96-4c13-4519-bf3a-dcf7f1e9d842","action":"payment-history","payload":{"payment_history":{"payment_hash":"ee06af92c95429e7cb0cf8428636199a71a01e32bab7a8526d226161f0de9903","buyer_mode":"full_privacy","successful_trades":0,"distinct_counterparties":0,"experienced_counterparties":0,"first_success_at":null,"last_success_at":null}}}}`},
		{Message{Wrapper: WrapperOrder, RequestID: id(4126), Action: ActionExportReputation, Payload: ReputationExportRequest{Destination: key}},
			`{"order":{"version":2,"request_id":4126,"trade_index":null,"action":"export-reputation","payload":{"reputation_export_request":{"destination":"` + key + `","rebind":null}}}}`},
		{Message{Wrapper: WrapperOrder, RequestID: id(4126), Action: ActionReputationExported, Payload: ReputationAttestation(attested)},
			`{"order":{"version":2,"request_id":4126,"trade_index":null,"action":"reputation-exported","payload":{"reputation_attestation":"{\"id\":\"a52ccf54\",\"tags\":[[\"rating\",\"4.87\"]],\"content\":\"\"}"}}}`},
		{Message{Wrapper: WrapperOrder, RequestID: id(7), Action: ActionReputationImported},
			`{"order":{"version":2,"request_id":7,"trade_index":null,"action":"reputation-imported","payload":null}}`},
		{Message{Wrapper: WrapperRestore, RequestID: id(7), Action: ActionRestoreSession, Payload: RestoreData{Orders: []RestoredOrder{{OrderID: order, TradeIndex: 5, Status: "active", CounterpartyTradePubkey: &key}}}},
			`{"restore":{"version":2,"request_id":7,"trade_index":null,"action":"restore-session","payload":{"restore_data":{"orders":[{"order_id":"ede61c96-4c13-4519-bf3a-dcf7f1e9d842","trade_index":5,"status":"active","counterparty_trade_pubkey":"` + key + `"}],"disputes":[]}}}}`},
		{Message{Wrapper: WrapperOrder, Action: ActionNewOrder, Payload: &SmallOrder{ID: &order, Kind: mostro.SideSell, Status: TradePending, FiatCode: "EUR", FiatAmount: 100, PaymentMethod: "SEPA", Premium: 1,
			CreatedAt: new(int64(1700000000)), ExpiresAt: new(int64(1700086400)), CashuMintURL: new("https://mint.example.com")}},
			`{"order":{"version":2,"request_id":null,"trade_index":null,"action":"new-order","payload":{"order":{"id":"ede61c96-4c13-4519-bf3a-dcf7f1e9d842","kind":"sell","status":"pending","amount":0,"fiat_code":"EUR","min_amount":null,"max_amount":null,"fiat_amount":100,"payment_method":"SEPA","premium":1,"created_at":1700000000,"expires_at":1700086400,"cashu_mint_url":"https://mint.example.com"}}}}`},
	} {
		c.m.Version = 2
		if got := string(c.m.JSON()); got != c.want {
			t.Errorf("have %s\nwant %s", got, c.want)
		}
		if back, err := ParseMessage([]byte(c.want)); err != nil || string(back.JSON()) != c.want {
			t.Errorf("%s became %s, %v", c.want, back.JSON(), err)
		}
	}
}

// TestParseOfOtherVersions checks texts of nodes that are older or newer than this
// program.
func TestParseOfOtherVersions(t *testing.T) {
	for name, c := range map[string][2]string{
		"a reason of the future":     {`{"cant_do":"out_of_coffee"}`, `{"cant_do":"unknown"}`},
		"a reason in another case":   {`{"cant_do":"Not_Found"}`, `{"cant_do":"unknown"}`},
		"an empty reason":            {`{"cant_do":""}`, `{"cant_do":"unknown"}`},
		"no reason":                  {`{"cant_do":null}`, `{"cant_do":null}`},
		"a mode of the future":       {`{"payment_history":{"payment_hash":"","buyer_mode":"pseudonym","successful_trades":0,"distinct_counterparties":0,"experienced_counterparties":0}}`, `{"payment_history":{"payment_hash":"","buyer_mode":"unknown","successful_trades":0,"distinct_counterparties":0,"experienced_counterparties":0,"first_success_at":null,"last_success_at":null}}`},
		"no counterparty":            {`{"restore_data":{"orders":[{"order_id":"308e1272-d5f4-47e6-bd97-3504baea9c23","trade_index":1,"status":"active"}],"disputes":[]}}`, `{"restore_data":{"orders":[{"order_id":"308e1272-d5f4-47e6-bd97-3504baea9c23","trade_index":1,"status":"active","counterparty_trade_pubkey":null}],"disputes":[]}}`},
		"no rebind":                  {`{"reputation_export_request":{"destination":"a"}}`, `{"reputation_export_request":{"destination":"a","rebind":null}}`},
		"since null":                 {`{"user_info":{"rating":1,"reviews":2,"operating_days":1,"since":null}}`, `{"user_info":{"rating":1.0,"reviews":2,"operating_days":1}}`},
		"since zero":                 {`{"user_info":{"rating":1,"reviews":2,"operating_days":1,"since":0}}`, `{"user_info":{"rating":1.0,"reviews":2,"operating_days":1,"since":0}}`},
		"since to the second":        {`{"peer":{"pubkey":"","reputation":{"rating":1,"reviews":2,"operating_days":1,"since":1700870399}}}`, `{"peer":{"pubkey":"","reputation":{"rating":1.0,"reviews":2,"operating_days":1,"since":1700784000}}}`},
		"an order without a mint":    {`{"order":{"amount":0,"fiat_code":"EUR","fiat_amount":1,"payment_method":"","premium":0,"cashu_mint_url":null}}`, `{"order":{"kind":null,"status":null,"amount":0,"fiat_code":"EUR","min_amount":null,"max_amount":null,"fiat_amount":1,"payment_method":"","premium":0,"created_at":null,"expires_at":null}}`},
		"unknown members of history": {`{"payment_history":{"x":[{}],"payment_hash":"","buyer_mode":"reputation","successful_trades":1,"distinct_counterparties":1,"experienced_counterparties":1,"first_success_at":-5,"last_success_at":null}}`, `{"payment_history":{"payment_hash":"","buyer_mode":"reputation","successful_trades":1,"distinct_counterparties":1,"experienced_counterparties":1,"first_success_at":-5,"last_success_at":null}}`},
	} {
		m, err := ParseMessage([]byte(strings.Replace(wellFormed, `"payload":null`, `"payload":`+c[0], 1)))
		want := strings.Replace(wellFormed, `"payload":null`, `"payload":`+c[1], 1)
		if got := string(m.JSON()); err != nil || got != want {
			t.Errorf("%s: %s, %v\nwant %s", name, got, err, want)
		}
	}
}

// TestUserInfoInJournals checks that a UserInfo that encoding/json wrote before Since
// existed parses, and that a UserInfo without Since is still written as before.
func TestUserInfoInJournals(t *testing.T) {
	const old = `{"Rating":4.5,"Reviews":3,"OperatingDays":9}`
	var info UserInfo
	if err := json.Unmarshal([]byte(old), &info); err != nil || info != (UserInfo{Rating: 4.5, Reviews: 3, OperatingDays: 9}) {
		t.Fatalf("%+v, %v", info, err)
	}
	if b, err := json.Marshal(info); err != nil || string(b) != old {
		t.Fatalf("%s, %v", b, err)
	}
	info.Since = new(uint64(0))
	var back UserInfo
	b, err := json.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &back); err != nil || back.Since == nil || *back.Since != 0 {
		t.Fatalf("%s: %+v, %v", b, back, err)
	}
}

func TestPayerHashes(t *testing.T) {
	const account = "EU|SEPA|DE89370400440532013000|ALICE SMITH"
	order, err := ParseUUID("EDE61C96-4C13-4519-BF3A-DCF7F1E9D842")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := PayerHash(account), "ee06af92c95429e7cb0cf8428636199a71a01e32bab7a8526d226161f0de9903"; got != want {
		t.Errorf("have %s, want %s", got, want)
	}
	if got, want := OrderPayerHash(order, account), "1f0616c3f355282b7fb73b54f172be84d023f1f63a8a7d7822c4d51f83528628"; got != want {
		t.Errorf("have %s, want %s", got, want)
	}
	good := PayerHash("")
	for s, want := range map[string]bool{good: true, strings.ToUpper(good): false, good[1:]: false, good + "0": false, "": false,
		strings.Replace(good, good[:1], "g", 1): false, " " + good[1:]: false} {
		if ValidPayerHash(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
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
