package mostro

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

func TestClassify(t *testing.T) {
	const health = `[["d","` + testNode + `"],["y","mostro","N"],["z","health"],["status","ok"]`
	for _, c := range []struct {
		name string
		kind int
		tags string
		want Class
	}{
		{"order", 38383, `[["z","order"]]`, ClassOrder},
		{"order without z", 38383, `[["d","a"],["k","buy"],["f","EUR"],["s","pending"]]`, ClassOrder},
		{"order with two platforms", 38383, `[["z","order"],["y","mostro"],["y","x"]]`, ClassOrder},
		{"old dispute", 38383, `[["d","a"],["s","Pending"],["y","mostrop2p"],["z","dispute"]]`, ClassDispute},
		{"old dispute without z", 38383, `[["d","a"],["s","Pending"]]`, ClassDispute},
		{"old info", 38383, `[["d","info-x"],["mostro_version","0.12"],["y","mostrop2p"],["z","info"]]`, ClassInfo},
		{"old rating", 38383, `[["total_reviews","2"],["y","mostrop2p"],["z","rating"]]`, ClassUserRating},
		{"info of another platform", 38383, `[["y","bondtrade"],["z","info"]]`, ClassForeign},
		{"compute offer", 38383, `[["d","offer"],["s","active"],["t","paygress"]]`, ClassForeign},
		{"offer of unknown z", 38383, `[["k","buy"],["f","EUR"],["s","pending"],["z","listing"]]`, ClassForeign},
		{"rating", 38384, `[["z","rating"]]`, ClassUserRating},
		{"rating without z", 38384, `[["total_reviews","2"]]`, ClassUserRating},
		{"heartbeat", 38384, `[["t","paygress-heartbeat"],["d","x"]]`, ClassForeign},
		{"info", 38385, `[["y","mostro"],["z","info"]]`, ClassInfo},
		{"info without z", 38385, `[["mostro_version","0.18"]]`, ClassInfo},
		{"info with two platforms", 38385, `[["y","mostro"],["y","mostro"],["z","info"]]`, ClassForeign},
		{"assignment", 38385, `[["d","x"],["y","bondtrade"],["z","assignment"]]`, ClassForeign},
		{"dispute", 38386, `[["y","mostro"],["z","dispute"]]`, ClassDispute},
		{"dispute without z", 38386, `[["d","a"],["s","initiated"]]`, ClassDispute},
		{"revocation", 38386, `[["d","a"],["s","revoked"]]`, ClassForeign},
		{"fee", 8383, `[["y","mostro"],["z","dev-fee-payment"]]`, ClassDevFee},
		{"other 8383", 8383, `[["z","invoice"]]`, ClassForeign},
		{"rates", 30078, `[["d","mostro-rates"]]`, ClassRates},
		{"app data", 30078, `[["d","my-app"]]`, ClassForeign},
		{"host rating", 31986, `[["sig","x"],["d","a:b"],["p","x"],["rating","1"]]`, ClassHostRating},
		{"unproven host rating", 31986, `[["d","a:b"],["p","x"],["rating","1"],["k","38383"]]`, ClassHostRating},
		{"rating of an app", 31986, `[["d","a:b"],["p","x"],["rating","1"],["k","31990"]]`, ClassForeign},
		{"profile", 0, `[]`, ClassProfile},
		{"relay list", 10002, `[]`, ClassRelayList},
		{"deletion", 5, `[]`, ClassDeletion},
		{"keyset", 38377, `[["d","2026-11"],["y","mostro"],["z","receipt-keys"]]`, ClassKeyset},
		{"another thing of the keysets' kind", 38377, `[["d","2026-11"]]`, ClassForeign},
		{"announcement of the keysets' kind", 38377, `[["d","a"],["expiration","9"],["y","mostro"],["z","announcement"]]`, ClassForeign},
		{"keyset of an older program", 38387, `[["d","2026-11"],["y","mostro"],["z","receipt-keys"]]`, ClassKeyset},
		{"keyset of another platform", 38387, `[["d","2026-11"],["y","x"],["z","receipt-keys"]]`, ClassForeign},
		{"announcement", 38387, `[["d","a"],["expiration","9"],["min_version","2.0.0"],["z","announcement"],["y","mostro"]]`, ClassAnnouncement},
		{"announcement without an end", 38387, `[["d","a"],["z","announcement"],["y","mostro"]]`, ClassForeign},
		{"38387 without z", 38387, `[["d","2026-11"],["expiration","9"]]`, ClassForeign},
		{"health", 38389, health + `,["expiration","1782000180"]]`, ClassHealth},
		{"health at the longest interval", 38389, health + `,["expiration","1782010800"]]`, ClassHealth},
		{"health for longer", 38389, health + `,["expiration","1782010801"]]`, ClassForeign},
		{"health that ended before", 38389, health + `,["expiration","1782000000"]]`, ClassForeign},
		{"health without an end", 38389, health + `]`, ClassForeign},
		{"health of another node", 38389, `[["d","x"],["z","health"],["expiration","1782000180"]]`, ClassForeign},
		{"attestation", 38388, `[["p","x"],["z","reputation-attestation"]]`, ClassForeign},
		{"message", 14, `[]`, ClassMail},
		{"gift wrap", 1059, `[]`, ClassMail},
		{"legacy message", 4, `[]`, ClassMail},
		{"note", 1, `[["z","order"]]`, ClassForeign},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Classify(event(t, c.kind, c.tags)); got != c.want {
				t.Fatalf("%v, want %v", got, c.want)
			}
		})
	}
	if Classify(nil) != ClassForeign {
		t.Fatal("no event is not foreign")
	}
}

func TestParseInfo(t *testing.T) {
	d := `["d","` + testNode + `"]`
	t.Run("unknown is nil", func(t *testing.T) {
		got, err := ParseInfo(event(t, KindInfo, `[`+d+`,["z","info"],["fee","free"],["max_order_amount","-1"],["pow","many"]]`))
		if err != nil {
			t.Fatal(err)
		}
		if want := (Info{Pubkey: testNode, CreatedAt: 1782000000, ProtocolVersion: 1}); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		if _, ok := got.Accepts("USD"); ok {
			t.Fatal("currencies are unknown and answered for")
		}
	})
	t.Run("empty currencies are all", func(t *testing.T) {
		got, err := ParseInfo(event(t, KindInfo, `[`+d+`,["z","info"],["fiat_currencies_accepted",""]]`))
		if accepted, ok := got.Accepts("XAF"); err != nil || !got.AnyCurrency || !accepted || !ok {
			t.Fatalf("%+v, %v", got, err)
		}
	})
	t.Run("unreadable currencies are not all", func(t *testing.T) {
		got, err := ParseInfo(event(t, KindInfo, `[`+d+`,["z","info"],["fiat_currencies_accepted","US dollars"]]`))
		if _, ok := got.Accepts("USD"); err != nil || got.AnyCurrency || ok {
			t.Fatalf("%+v, %v", got, err)
		}
	})
	t.Run("listed currencies", func(t *testing.T) {
		got, err := ParseInfo(event(t, KindInfo, `[`+d+`,["z","info"],["fiat_currencies_accepted","usd, EUR,,EUR"]]`))
		if err != nil || strings.Join(got.Currencies, " ") != "USD EUR" {
			t.Fatalf("%+v, %v", got.Currencies, err)
		}
		if accepted, ok := got.Accepts("CUP"); accepted || !ok {
			t.Fatal("accepts a currency that is not in the list")
		}
	})
	t.Run("2024 in kind 38383", func(t *testing.T) {
		got, err := ParseInfo(event(t, KindOrder, `[["d","info-`+testNode+`"],["mostro_pubkey","x"],["mostro_version","0.12.8"],["mostro_commit_id","abc"],["fee","0.006"],["y","mostrop2p"],["z","info"]]`))
		if err != nil || got.Version != "0.12.8" || got.Commit != "abc" || got.Fee.String() != "0.006" || got.Bond != nil {
			t.Fatalf("%+v, %v", got, err)
		}
	})
	t.Run("transport", func(t *testing.T) {
		for tag, want := range map[string]int{`["protocol_version","0"]`: 0, `["a","b"]`: 1, `["protocol_version","2"]`: 2, `["protocol_versions","2"]`: 2, `["protocol_version","two"]`: 0, `["protocol_version","999"]`: 0} {
			if got, err := ParseInfo(event(t, KindInfo, `[`+d+`,["z","info"],`+tag+`]`)); err != nil || got.ProtocolVersion != want {
				t.Errorf("%s: %d, %v; want %d", tag, got.ProtocolVersion, err, want)
			}
		}
	})
	t.Run("of another key", func(t *testing.T) {
		for _, d := range []string{`["d","` + strings.Repeat("0", 64) + `"]`, `["d","info-"]`, `["x"]`} {
			if _, err := ParseInfo(event(t, KindInfo, `[`+d+`,["z","info"]]`)); !errors.Is(err, ErrMalformedEvent) {
				t.Errorf("%s: %v", d, err)
			}
		}
	})
}

func TestInfoFresh(t *testing.T) {
	info := Info{CreatedAt: 1782000000}
	at := time.Unix(1782000000, 0)
	for _, c := range []struct {
		now  time.Time
		want bool
	}{
		{at, true}, {at.Add(48 * time.Hour), true}, {at.Add(48*time.Hour + time.Second), false},
		{at.Add(-10 * time.Minute), true}, {at.Add(-10*time.Minute - time.Second), false},
	} {
		if got := info.Fresh(c.now, 48*time.Hour); got != c.want {
			t.Errorf("at %v: %v, want %v", c.now.Sub(at), got, c.want)
		}
	}
}

// TestExampleEvents builds the public events of the protocol reference.
func TestExampleEvents(t *testing.T) {
	const trade, hash = "f5afa0b09d50fc78d3b3836122b43105a018a30e5ab3eccb36480a525271f3f1", "d43dc3243a6d20682b1934cb6be9179f84a9c69db564326ae42819815be2e7db"
	for _, c := range []struct {
		name  string
		got   nostr.Event
		class Class
		tags  string
		text  string
	}{
		{"user rating", UserRating{
			D: trade, TotalReviews: new(int64(2)), TotalRating: new(3.75), LastRating: new(int64(5)), MaxRate: new(int64(5)), MinRate: new(int64(5)), Days: new(int64(41)), Expiration: 1789776000,
		}.Event(), ClassUserRating, `[["d","` + trade + `"],["expiration","1789776000"],["total_reviews","2"],["total_rating","3.75"],["last_rating","5"],["max_rate","5"],["min_rate","5"],["z","rating"],["days","41"]]`, ""},
		{"dispute", Dispute{
			D: "b7a4d1de-1f6e-4d0a-9d4e-7f2f0c1e6a33", State: DisputeStateInitiated, Initiator: "buyer", OpenedAt: 1782000900, InstanceName: " Example Node ", Expiration: 1789776000,
		}.Event(), ClassDispute, `[["d","b7a4d1de-1f6e-4d0a-9d4e-7f2f0c1e6a33"],["expiration","1789776000"],["s","initiated"],["initiator","buyer"],["published_at","1782000900"],["y","mostro","Example Node"],["z","dispute"]]`, ""},
		{"legacy dispute", Dispute{D: "efc75871", State: DisputeStateInitiated}.LegacyEvent(), ClassDispute, `[["d","efc75871"],["s","Pending"],["y","mostrop2p"],["z","dispute"]]`, ""},
		{"dev fee", DevFee{
			OrderID: "6f1c2f0e", AmountSats: 93, Hash: hash, Destination: "fund@wallet.example", Network: "mainnet", InstanceName: "Example Node", Expiration: 1813536000,
		}.Event(), ClassDevFee, `[["order-id","6f1c2f0e"],["amount","93"],["hash","` + hash + `"],["destination","fund@wallet.example"],["network","mainnet"],["y","mostro","Example Node"],["z","dev-fee-payment"],["expiration","1813536000"]]`, ""},
		{"rates", Rates{
			BTC: map[string]float64{"USD": 50000, "EUR": 45000}, Sources: []string{"yadio", "coingecko"}, PublishedAt: 1782000000, Expiration: 1782000600,
		}.Event(), ClassRates, `[["d","mostro-rates"],["published_at","1782000000"],["source","coingecko,yadio"],["expiration","1782000600"]]`, `{"BTC":{"EUR":45000.0,"USD":50000.0}}`},
		{"relay list", RelayList{Relays: []RelayUse{{"wss://relay.example.org", true, true}, {"wss://relay2.example.org", true, true}}}.Event(),
			ClassRelayList, `[["r","wss://relay.example.org"],["r","wss://relay2.example.org"]]`, ""},
		{"profile", Profile{Name: "Example Node", About: "Demo <&>", Website: "https://node.example/"}.Event(),
			ClassProfile, `[]`, `{"name":"Example Node","about":"Demo <&>","website":"https://node.example/"}`},
		{"host rating", HostRating{
			D: "mostro:6f1c2f0e", Platform: "mostro", Alias: "mostro", OrderID: "6f1c2f0e", Host: testNode, Rating: *dec(t, "0.8"), Aspects: map[string]Decimal{"dispute": DecimalOf(1)},
			Token: hash + hash, Receipt: []string{"r0", "x"}, Role: "buyer", Order: "38383:" + testNode + ":6f1c2f0e", Expiration: 1782000600, Text: "fine",
		}.Event(), ClassHostRating, `[["sig","` + hash + hash + `"],["d","mostro:6f1c2f0e"],["p","` + testNode + `"],["rating","0.8"],["rating","1","dispute"],["y","mostro"],["k","38383"],["a","38383:` + testNode + `:6f1c2f0e"],["receipt","r0","x"],["role","buyer"],["expiration","1782000600"],["alt","Rating of a Mostro after a trade"]]`, "fine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if want := event(t, c.got.Kind, c.tags); !reflect.DeepEqual(c.got.Tags, want.Tags) || c.got.Content != c.text {
				t.Fatalf("got  %v %s\nwant %v %s", c.got.Tags, c.got.Content, want.Tags, c.text)
			}
			if got := Classify(&c.got); got != c.class {
				t.Fatalf("is %v, want %v", got, c.class)
			}
		})
	}
}

// TestInfoExample parses the info of a node of November 2026 and builds it again.
func TestInfoExample(t *testing.T) {
	evt := event(t, KindInfo, `[["d","`+testNode+`"],["mostro_version","0.18.5"],["mostro_commit_hash","848ee3b0"],["max_order_amount","1000000"],["min_order_amount","100"],["expiration_hours","24"],["expiration_seconds","900"],["fiat_currencies_accepted","USD,EUR,ARS,CUP"],["max_orders_per_response","10"],["fee","0.006"],["pow","0"],["pow_first_contact","0"],["protocol_version","2"],["y","mostro","Example Node"],["z","info"],["escrow_mode","lightning"],["hold_invoice_cltv_delta","144"],["escrow_deadline_margin_blocks","24"],["lnd_version","0.18.4-beta"],["lnd_node_pubkey","02"],["lnd_commit_hash","ddeb"],["lnd_node_alias","example"],["lnd_chains","bitcoin"],["lnd_networks","mainnet"],["lnd_uris","02@203.0.113.5:9735"],["invoice_expiration_window","3600"],["hold_invoice_expiration_window","300"],["bond_enabled","true"],["bond_amount_pct","0.01"],["bond_base_amount_sats","1000"],["bond_apply_to","take"],["bond_slash_on_waiting_timeout","true"],["bond_slash_node_share_pct","0.5"],["bond_payout_claim_window_days","15"],["serbero","`+testNode+`"],["reputation_import_issuers","`+testNode+`"],["reputation_issuer","`+testNode+`"],["maintenance_mode","false"]]`)
	info, err := ParseInfo(evt)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Event(); !reflect.DeepEqual(got.Tags, evt.Tags) {
		t.Fatalf("got  %v\nwant %v", got.Tags, evt.Tags)
	}
}

// refusals runs a parser on events that differ from a good event in one tag.
func refusals[T any](t *testing.T, kind int, good map[string]string, parse func(*nostr.Event) (T, error), bad map[string]map[string]string) {
	t.Helper()
	build := func(change map[string]string) *nostr.Event {
		var tags []string
		for name, tag := range good {
			if changed, ok := change[name]; ok {
				tag = changed
			}
			if tag != "" {
				tags = append(tags, tag)
			}
		}
		return event(t, kind, "["+strings.Join(tags, ",")+"]")
	}
	if noun, err := parse(build(nil)); err != nil {
		t.Fatalf("the good one: %+v, %v", noun, err)
	}
	for name, change := range bad {
		if noun, err := parse(build(change)); !errors.Is(err, ErrMalformedEvent) {
			t.Errorf("%s: %+v, %v", name, noun, err)
		}
	}
}

func TestParseHostRatingRefuses(t *testing.T) {
	zeros := strings.Repeat("0", 64)
	refusals(t, KindHostRating, map[string]string{
		"d": `["d","mostro:6f1c"]`, "p": `["p","` + testNode + `"]`, "rating": `["rating","0.8"]`, "sig": `["sig","` + zeros + zeros + `"]`,
		"y": `["y","mostro"]`, "a": `["a","38383:` + testNode + `:6f1c"]`, "role": `["role","seller"]`,
	}, ParseHostRating, map[string]map[string]string{
		"above one":         {"rating": `["rating","1.0000001"]`},
		"a billion":         {"rating": `["rating","1e9"]`},
		"a thousand":        {"rating": `["rating","1000"]`},
		"NaN":               {"rating": `["rating","NaN"]`},
		"infinite":          {"rating": `["rating","Infinity"]`},
		"negative":          {"rating": `["rating","-0.1"]`},
		"empty":             {"rating": `["rating",""]`},
		"two ratings":       {"rating": `["rating","0.8"],["rating","0.9"]`},
		"two of one aspect": {"rating": `["rating","0.8"],["rating","0.9","speed"],["rating","0.1","speed"]`},
		"aspects alone":     {"rating": `["rating","0.9","speed"]`},
		"two hosts":         {"p": `["p","` + testNode + `"],["p","` + zeros + `"]`},
		"host not a key":    {"p": `["p","npub1"]`},
		"host in capitals":  {"p": `["p","` + strings.ToUpper(testNode) + `"]`},
		"wrong alias":       {"d": `["d","lake:6f1c"]`},
		"no order":          {"d": `["d","mostro:"]`},
		"no alias":          {"d": `["d","6f1c"]`},
		"two addresses":     {"d": `["d","mostro:6f1c"],["d","mostro:7"]`},
		"order of another":  {"a": `["a","38383:` + zeros + `:6f1c"]`},
		"other order":       {"a": `["a","38383:` + testNode + `:7777"]`},
		"short signature":   {"sig": `["sig","` + zeros + `"]`},
		"two signatures":    {"sig": `["sig","` + zeros + zeros + `"],["sig","` + zeros + zeros + `"]`},
		"role of a judge":   {"role": `["role","judge"]`},
	})
	evt := event(t, KindHostRating, `[["d","mostro:6f1c"],["p","`+testNode+`"],["rating","1"],["k","38383"]]`)
	evt.Content = strings.Repeat("ñ", MaxRatingText)
	if _, err := ParseHostRating(evt); err != nil {
		t.Errorf("500 characters: %v", err)
	}
	evt.Content += "x"
	if _, err := ParseHostRating(evt); !errors.Is(err, ErrMalformedEvent) {
		t.Errorf("501 characters: %v", err)
	}
}

func TestParseDevFeeRefuses(t *testing.T) {
	refusals(t, KindDevFee, map[string]string{
		"order-id": `["order-id","a"]`, "amount": `["amount","93"]`, "hash": `["hash","` + testNode + `"]`, "z": `["z","dev-fee-payment"]`,
	}, ParseDevFee, map[string]map[string]string{
		"no order":         {"order-id": ""},
		"two orders":       {"order-id": `["order-id","a"],["order-id","b"]`},
		"no amount":        {"amount": ""},
		"negative":         {"amount": `["amount","-93"]`},
		"part of a sat":    {"amount": `["amount","0.5"]`},
		"more than exists": {"amount": `["amount","2100000000000001"]`},
		"two amounts":      {"amount": `["amount","93"],["amount","9"]`},
		"no hash":          {"hash": `["hash","abcd"]`},
	})
}

func TestParseUserRatingRefuses(t *testing.T) {
	refusals(t, KindUserRating, map[string]string{
		"d": `["d","` + testNode + `"]`, "n": `["total_reviews","2"]`, "mean": `["total_rating","4.5"]`, "max": `["max_rate","5"]`, "z": `["z","rating"]`,
	}, ParseUserRating, map[string]map[string]string{
		"of nobody":    {"d": `["d","someone"]`},
		"no count":     {"n": `["total_reviews","some"]`},
		"no mean":      {"mean": ""},
		"mean above 5": {"mean": `["total_rating","5.1"]`},
		"NaN":          {"mean": `["total_rating","NaN"]`},
		"six stars":    {"max": `["max_rate","6"]`},
	})
}

func TestParseDisputeRefuses(t *testing.T) {
	refusals(t, KindDispute, map[string]string{"d": `["d","a"]`, "s": `["s","initiated"]`, "z": `["z","dispute"]`}, ParseDispute,
		map[string]map[string]string{"no id": {"d": `["d"]`}, "no state": {"s": ""}})
	d, err := ParseDispute(event(t, KindDispute, `[["d","a"],["s","Frozen"],["z","dispute"],["initiator","solver"]]`))
	if err != nil || d.State != DisputeStateUnknown || d.RawState != "frozen" || d.Initiator != "" {
		t.Fatalf("a state from the future: %+v, %v", d, err)
	}
	for state, final := range map[DisputeState]bool{
		DisputeStateInitiated: false, DisputeStateInProgress: false, DisputeStateUnknown: false,
		DisputeStateSettled: true, DisputeStateSellerRefunded: true, DisputeStateReleased: true, DisputeStateCooperativelyCanceled: true,
	} {
		if state.Final() != final {
			t.Errorf("%q: Final is %v", state, !final)
		}
	}
}

func TestParseProfileAndRates(t *testing.T) {
	p, err := ParseProfile(&nostr.Event{Kind: KindProfile, Content: `{"name":" N ","about":7,"lud16":null,"website":{"a":1},"x":[]}`})
	if err != nil || !reflect.DeepEqual(p, Profile{Name: "N"}) {
		t.Errorf("%+v, %v", p, err)
	}
	for _, content := range []string{``, `null`, `[]`, `"name"`, `{"name":`} {
		if _, err := ParseProfile(&nostr.Event{Kind: KindProfile, Content: content}); !errors.Is(err, ErrMalformedEvent) {
			t.Errorf("profile %s: %v", content, err)
		}
	}
	rates := event(t, KindAppData, `[["d","mostro-rates"]]`)
	rates.Content = `{"BTC":{"usd":5e4,"EUR":"45000","ARS":null,"XAF":0,"CUP":-1,"VES":1e400,"BRL":1,"brl":2},"ETH":{"USD":3}}`
	if r, err := ParseRates(rates); err != nil || !reflect.DeepEqual(r.BTC, map[string]float64{"USD": 50000}) {
		t.Errorf("%+v, %v", r.BTC, err)
	}
	for _, content := range []string{``, `{}`, `{"BTC":{}}`, `{"BTC":[1]}`, `{"BTC":{"USD":null}}`} {
		rates.Content = content
		if _, err := ParseRates(rates); !errors.Is(err, ErrMalformedEvent) {
			t.Errorf("rates %s: %v", content, err)
		}
	}
}

func TestParseRelayList(t *testing.T) {
	l, err := ParseRelayList(event(t, KindRelayList, `[["r"," wss://a.example "],["r","wss://a.example"],["r","ws://b.example/x","READ"],["r","wss://c.example","write"],["r","https://d.example"],["r","javascript:alert(1)"],["r","wss://"],["r","wss://user:pw@e.example"],["r"],["p","wss://f.example"],["r","wss://[::1"]]`))
	want := []RelayUse{{"wss://a.example", true, true}, {"ws://b.example/x", true, false}, {"wss://c.example", false, true}}
	if err != nil || !reflect.DeepEqual(l.Relays, want) {
		t.Fatalf("%+v, %v; want %+v", l.Relays, err, want)
	}
}
