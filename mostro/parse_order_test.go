package mostro

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

const testNode = "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9"

// event returns an unsigned event of a kind with tags in JSON.
func event(t testing.TB, kind int, tags string) *nostr.Event {
	t.Helper()
	evt := &nostr.Event{PubKey: testNode, CreatedAt: 1782000000, Kind: kind}
	if err := json.Unmarshal([]byte(tags), &evt.Tags); err != nil {
		t.Fatalf("%s: %v", tags, err)
	}
	return evt
}

func dec(t testing.TB, s string) *Decimal {
	t.Helper()
	d, err := ParseDecimal(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return &d
}

func TestParseOrderDialects(t *testing.T) {
	for _, c := range []struct {
		name, tags, content string
		want                Order
	}{
		{
			name: "Mostro today",
			tags: `[["d","308e1272-d5f4-47e6-bd97-3504baea9c23"],["k","sell"],["f","EUR"],["s","pending"],["amt","0"],["fa","20","100"],["pm","SEPA"," Revolut"],["premium","-2"],["rating","[\"rating\",{\"days\":41,\"total_rating\":4.5,\"total_reviews\":7}]"],["source","mostro:308e"],["network","mainnet"],["layer","lightning"],["expires_at","1782086400"],["expiration","1782086400"],["y","mostro"," Example Node "],["z","order"]]`,
			want: Order{
				D: "308e1272-d5f4-47e6-bd97-3504baea9c23", Platform: "mostro", InstanceName: "Example Node",
				Side: SideSell, Status: StatusPending, RawStatus: "pending", Fiat: "EUR",
				FiatAmount: Range{dec(t, "20"), dec(t, "100")}, AmountSats: new(int64(0)), PremiumPct: dec(t, "-2"),
				Methods: []string{"SEPA", "Revolut"}, Network: "mainnet", Layers: []string{"lightning"},
				MakerRating: &MakerRating{Mean: new(4.5), Max: 5, Reviews: new(int64(7)), Days: new(int64(41))},
				ExpiresAt:   1782086400, Expiration: 1782086400, Link: "mostro:308e",
			},
		},
		{
			name: "Mostro 0.19 with published_at",
			tags: `[["d","a"],["k","buy"],["f","cup"],["s","canceled"],["amt","0"],["fa","0"],["pm"],["premium","0"],["network","mainnet"],["layer","lightning"],["published_at","1782000001"],["expires_at","1782086400"],["expiration","1784592200"],["y","mostro"],["z","order"]]`,
			want: Order{
				D: "a", Platform: "mostro", Side: SideBuy, Status: StatusCanceled, RawStatus: "canceled", Fiat: "CUP",
				AmountSats: new(int64(0)), PremiumPct: &Decimal{}, Network: "mainnet", Layers: []string{"lightning"},
				PublishedAt: 1782000001, ExpiresAt: 1782086400, Expiration: 1784592200,
			},
		},
		{
			name: "Mostro 2023, CamelCase",
			tags: `[["d","ede61c96-4c13-4519-bf3a-dcf7f1e9d842"],["k","Sell"],["f","VES"],["s","WaitingPayment"],["amt","7851"],["fa","100"],["pm","face to face"],["premium","1"],["y","mostrop2p"],["z","order"]]`,
			want: Order{
				D: "ede61c96-4c13-4519-bf3a-dcf7f1e9d842", Platform: "mostro", Side: SideSell, Status: StatusInProgress,
				RawStatus: "waiting-payment", Fiat: "VES", FiatAmount: Range{dec(t, "100"), dec(t, "100")},
				AmountSats: new(int64(7851)), PremiumPct: dec(t, "1"), Methods: []string{"face to face"},
			},
		},
		{
			name: "Mostro 2024, range and methods in one value, Rust debug rating",
			tags: `[["d","a"],["k","buy"],["f","ars"],["s","settled-hold-invoice"],["amt","10"],["fa","10-20"],["pm","MODO, CVU,,Belo "],["premium","0"],["Rating","Rating { total_reviews: 1 }"],["y","mostro"],["z","order"],["expiration","1718000000"]]`,
			want: Order{
				D: "a", Platform: "mostro", Side: SideBuy, Status: StatusInProgress, RawStatus: "settled-hold-invoice", Fiat: "ARS",
				FiatAmount: Range{dec(t, "10"), dec(t, "20")}, AmountSats: new(int64(10)), PremiumPct: &Decimal{},
				Methods: []string{"MODO", "CVU", "Belo"}, ExpiresAt: 1718000000, Expiration: 1718000000,
			},
		},
		{
			name:    "RoboSats public",
			tags:    `[["d","0cc175b9-c0f1-b6a8-31c3-99e269772661"],["name","QuickFox12","9f86d081884c7d65"],["k","sell"],["f","USD"],["s","pending"],["amt","0"],["fa","50.00000000","200.00000000"],["pm","Zelle","Cash","App"],["premium","1.50"],["source","http://coordinator.onion/order/temple/4821"],["expiration","1782086400","10799"],["y","robosats","temple"],["network","mainnet"],["layer","lightning"],["bond","3.00"],["z","order"],["g","u09tv"]]`,
			content: "cash by mail possible",
			want: Order{
				D: "0cc175b9-c0f1-b6a8-31c3-99e269772661", Platform: "robosats", InstanceName: "temple", Side: SideSell,
				Status: StatusPending, RawStatus: "pending", Fiat: "USD", FiatAmount: Range{dec(t, "50"), dec(t, "200")},
				AmountSats: new(int64(0)), PremiumPct: dec(t, "1.5"), Methods: []string{"Zelle Cash App"}, Network: "mainnet",
				Layers: []string{"lightning"}, MakerName: "QuickFox12", Bond: &Bond{Percent: dec(t, "3")}, Geohash: "u09tv",
				ExpiresAt: 1782086400, Expiration: 1782086400, Link: "http://coordinator.onion/order/temple/4821",
				Description: "cash by mail possible",
			},
		},
		{
			name: "RoboSats success is any end, explicit sats are not told",
			tags: `[["d","a"],["k","buy"],["f","BTC"],["s","success"],["amt","0"],["fa","None"],["pm","Lightning"],["premium","None"],["n","testnet"],["y","RoboSats","temple"],["z","order"]]`,
			want: Order{
				D: "a", Platform: "robosats", InstanceName: "temple", Side: SideBuy, Status: StatusGone, RawStatus: "success",
				Fiat: "BTC", Methods: []string{"Lightning"}, Network: "testnet",
			},
		},
		{
			name: "lnp2pBot",
			tags: `[["d","64b0c8f2a1b2c3d4e5f60718"],["k","buy"],["f","VES"],["s","fiat-sent"],["amt","15000"],["fa","350"],["pm","Pago movil Banesco"],["premium","0"],["rating","4.75","120","37"],["source","https://t.me/p2plightning/12345"],["network","mainnet"],["layer","lightning"],["expiration","1782082800"],["y","lnp2pbot"],["z","order"]]`,
			want: Order{
				D: "64b0c8f2a1b2c3d4e5f60718", Platform: "lnp2pbot", Side: SideBuy, Status: StatusInProgress, RawStatus: "fiat-sent",
				Fiat: "VES", FiatAmount: Range{dec(t, "350"), dec(t, "350")}, AmountSats: new(int64(15000)), PremiumPct: &Decimal{},
				Methods: []string{"Pago movil Banesco"}, Network: "mainnet", Layers: []string{"lightning"},
				MakerRating: &MakerRating{Mean: new(4.75), Max: 5, Reviews: new(int64(37)), Days: new(int64(120))},
				ExpiresAt:   1782082800, Expiration: 1782082800, Link: "https://t.me/p2plightning/12345",
			},
		},
		{
			name: "Peach",
			tags: `[["d","1234_EUR"],["k","sell"],["s","pending"],["amt","250000.0"],["fa","112.4"],["premium","4.5"],["rating","{\"total_reviews\": 12, \"total_rating\": 0.98}"],["source",""],["network","mainnet"],["layer","onchain"],["name","02abc"],["bond","0"],["expiration","1782054000"],["y","peach"],["z","order"],["f","EUR"],["pm","sepa","revolut"]]`,
			want: Order{
				D: "1234_EUR", Platform: "peach", Side: SideSell, Status: StatusPending, RawStatus: "pending", Fiat: "EUR",
				FiatAmount: Range{dec(t, "112.4"), dec(t, "112.4")}, AmountSats: new(int64(250000)), PremiumPct: dec(t, "4.5"),
				Methods: []string{"sepa", "revolut"}, Network: "mainnet", Layers: []string{"onchain"}, MakerName: "02abc",
				MakerRating: &MakerRating{Mean: new(0.98), Max: 1, Reviews: new(int64(12))}, Bond: &Bond{Sats: new(int64(0))},
				ExpiresAt: 1782054000, Expiration: 1782054000,
			},
		},
		{
			name: "an older Peach bridge: the first d, pm and f belong together",
			tags: `[["k","sell"],["s","pending"],["y","peach"],["z","order"],["d","77EUR"],["pm","sepa"],["f","EUR"],["d","77CHF"],["pm","twint"],["f","CHF"]]`,
			want: Order{D: "77EUR", Platform: "peach", Side: SideSell, Status: StatusPending, RawStatus: "pending", Fiat: "EUR", Methods: []string{"sepa"}},
		},
		{
			name: "HodlHodl",
			tags: `[["d","abc123xyz"],["name","trader9"],["k","buy"],["f","GBP"],["s","pending"],["amt","None"],["fa","100.00","2500.00"],["pm","Faster Payments"],["source","https://hodlhodl.com/offers/abc123xyz"],["rating","{\"total_reviews\": 5, \"total_rating\": null}"],["network","mainnet"],["layer","onchain"],["expiration","1782003600"],["y","hodlhodl"],["z","order"]]`,
			want: Order{
				D: "abc123xyz", Platform: "hodlhodl", Side: SideBuy, Status: StatusPending, RawStatus: "pending", Fiat: "GBP",
				FiatAmount: Range{dec(t, "100"), dec(t, "2500")}, Methods: []string{"Faster Payments"}, Network: "mainnet",
				Layers: []string{"onchain"}, MakerName: "trader9", MakerRating: &MakerRating{Max: 1, Reviews: new(int64(5))},
				ExpiresAt: 1782003600, Expiration: 1782003600, Link: "https://hodlhodl.com/offers/abc123xyz",
			},
		},
		{
			name: "a platform nobody knows, in capitals and snakes",
			tags: `[["d","x"],["k","BUY"],["f","usd"],["s","WAITING_BUYER_INVOICE"],["amt","5","6"],["fa","9","3"],["layer","onchain","liquid,lightning"],["network","bitcoin, mainnet"],["bond","5000"],["y","Bitway","shop"],["z","order"],["created_at","1781000000"]]`,
			want: Order{
				D: "x", Platform: "bitway", Side: SideBuy, Status: StatusInProgress, RawStatus: "waiting-buyer-invoice", Fiat: "USD",
				FiatAmount: Range{dec(t, "3"), dec(t, "9")}, Network: "mainnet", Layers: []string{"onchain", "liquid", "lightning"},
				Bond: &Bond{Sats: new(int64(5000))}, PublishedAt: 1781000000,
			},
		},
		{
			name: "no z, several y, an unexplained status",
			tags: `[["d","x"],["k","sell"],["f","USD"],["s","teleported"],["amt","-5"],["fa","-1"],["premium","NaN"],["pm","a, b","c"],["y","mostro","Trusted"],["y","robosats"],["expiration","1782003600000"]]`,
			want: Order{
				D: "x", Side: SideSell, RawStatus: "teleported", Fiat: "USD", Methods: []string{"a, b", "c"},
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			evt := event(t, KindOrder, c.tags)
			evt.Content = c.content
			got, err := ParseOrder(evt)
			if err != nil {
				t.Fatal(err)
			}
			c.want.Pubkey, c.want.CreatedAt = evt.PubKey, evt.CreatedAt
			if !reflect.DeepEqual(got, c.want) {
				g, _ := json.MarshalIndent(got, "", " ")
				w, _ := json.MarshalIndent(c.want, "", " ")
				t.Fatalf("got %s\nwant %s", g, w)
			}
			// The order of tags must not matter, except for repeated tags.
			slices.Reverse(evt.Tags)
			if back, err := ParseOrder(evt); !strings.Contains(c.name, "together") && (err != nil || !reflect.DeepEqual(back, got)) {
				t.Fatalf("with reversed tags: %+v, %v", back, err)
			}
		})
	}
}

func TestParseOrderRefuses(t *testing.T) {
	for _, c := range []struct {
		name, tags string
		want       error
	}{
		{"no d", `[["k","sell"],["f","USD"],["s","pending"],["z","order"]]`, ErrMalformedEvent},
		{"bare d", `[["d"],["k","sell"],["f","USD"],["s","pending"],["z","order"]]`, ErrMalformedEvent},
		{"no side", `[["d","a"],["k","swap"],["f","USD"],["s","pending"],["z","order"]]`, ErrMalformedEvent},
		{"no currency", `[["d","a"],["k","buy"],["s","pending"],["z","order"]]`, ErrMalformedEvent},
		{"currency of words", `[["d","a"],["k","buy"],["f","US dollars"],["s","pending"],["z","order"]]`, ErrMalformedEvent},
		{"no status", `[["d","a"],["k","buy"],["f","USD"],["s",""],["z","order"]]`, ErrMalformedEvent},
		{"compute offer", `[["d","offer-1"],["t","compute"]]`, ErrForeign},
		{"old dispute", `[["d","efc75871-2568-40b9-a6ee-c382d4d6de01"],["s","Pending"],["y","mostrop2p"],["z","dispute"]]`, ErrForeign},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := ParseOrder(event(t, KindOrder, c.tags))
			if !errors.Is(err, c.want) {
				t.Fatalf("%+v, %v; want %v", o, err, c.want)
			}
			var rule *EventError
			if !errors.As(err, &rule) || rule.Rule == "" || rule.Kind != KindOrder {
				t.Fatalf("%v does not name its rule", err)
			}
		})
	}
	if _, err := ParseOrder(nil); !errors.Is(err, ErrForeign) {
		t.Fatalf("nil event: %v", err)
	}
}

func TestStatusBuckets(t *testing.T) {
	for bucket, names := range map[Status]string{
		StatusPending:    "pending Pending PENDING",
		StatusInProgress: "waiting-payment WaitingPayment waiting-buyer-invoice WaitingBuyerInvoice in-progress InProgress IN_PROGRESS active fiat-sent FiatSent settled-hold-invoice SettledHoldInvoice dispute paid-hold-invoice PAID_HOLD_INVOICE frozen",
		StatusCanceled:   "canceled Canceled canceled-by-admin CanceledByAdmin cooperatively-canceled CooperativelyCanceled hold-invoice-expired error closed",
		StatusSuccess:    "success Success completed-by-admin CompletedByAdmin settled-by-admin",
		StatusExpired:    "expired Expired",
		StatusUnknown:    "sold gone",
	} {
		for _, name := range strings.Fields(names) {
			if got := statusOf("mostro", kebab(name)); got != bucket {
				t.Errorf("%s is %q, want %q", name, got, bucket)
			}
		}
	}
	for _, s := range []Status{StatusSuccess, StatusCanceled, StatusExpired, StatusGone} {
		if !s.Final() {
			t.Errorf("%q is not final", s)
		}
	}
	for _, s := range []Status{StatusUnknown, StatusPending, StatusInProgress} {
		if s.Final() {
			t.Errorf("%q is final", s)
		}
	}
}

func TestMakerRatingShapes(t *testing.T) {
	i := func(n int64) *int64 { return &n }
	for _, c := range []struct {
		name, platform string
		values         []string
		want           *MakerRating
	}{
		{"Mostro's array", "mostro", []string{`["rating",{"days":41,"total_rating":4.5,"total_reviews":7}]`}, &MakerRating{Mean: new(4.5), Max: 5, Reviews: i(7), Days: i(41)}},
		{"a new user has no mean", "mostro", []string{`["rating",{"days":0,"total_rating":0.0,"total_reviews":0}]`}, &MakerRating{Max: 5, Reviews: i(0), Days: i(0)}},
		{"Mostro's object of 2024", "mostro", []string{`{"total_reviews":1,"total_rating":3.0,"last_rating":3,"max_rate":5,"min_rate":1}`}, &MakerRating{Mean: new(3.0), Max: 5, Reviews: i(1)}},
		{"numbers as strings and floats", "mostro", []string{`{"total_reviews":"12.0","total_rating":"3","days":4.0}`}, &MakerRating{Mean: new(3.0), Max: 5, Reviews: i(12), Days: i(4)}},
		{"HodlHodl without trades", "hodlhodl", []string{`{"trades_count":0,"rating":null}`}, &MakerRating{Max: 1, Reviews: i(0)}},
		{"HodlHodl with trades", "hodlhodl", []string{`{"trades_count":12,"rating":0.95}`}, &MakerRating{Mean: new(0.95), Max: 1, Reviews: i(12)}},
		{"lnp2pBot's three values", "telegram", []string{"4.75", "120", "37"}, &MakerRating{Mean: new(4.75), Max: 5, Reviews: i(37), Days: i(120)}},
		{"lnp2pBot without reviews", "telegram", []string{"0", "0", "0"}, &MakerRating{Max: 5, Reviews: i(0), Days: i(0)}},
		{"lnp2pBot's NaN", "lnp2pbot", []string{"NaN", "NaN", "NaN"}, nil},
		{"unknown scale", "bitway", []string{`{"total_rating":97,"total_reviews":3}`}, &MakerRating{Mean: new(97.0), Reviews: i(3)}},
		{"a mean above the scale", "mostro", []string{`{"total_rating":97,"total_reviews":3}`}, &MakerRating{Max: 5, Reviews: i(3)}},
		{"negative", "mostro", []string{`{"total_rating":-1,"total_reviews":-3}`}, nil},
		{"infinite", "mostro", []string{`{"total_rating":"Inf","total_reviews":1e400}`}, nil},
		{"placeholder object", "mostro", []string{`{}`}, nil},
		{"placeholder word", "mostro", []string{`none`}, nil},
		{"array of another name", "mostro", []string{`["stars",{"total_rating":1}]`}, nil},
		{"nested wrongly", "mostro", []string{`["rating",["rating",{}]]`}, nil},
		{"absent", "mostro", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := makerRating(c.values, c.platform); !reflect.DeepEqual(got, c.want) {
				g, _ := json.Marshal(got)
				w, _ := json.Marshal(c.want)
				t.Fatalf("got %s, want %s", g, w)
			}
		})
	}
}

// TestOrderVector builds the signed order of the protocol's test vectors.
func TestOrderVector(t *testing.T) {
	link := OrderLink("308e1272-d5f4-47e6-bd97-3504baea9c23", []string{"wss://relay.example.org"}, testNode)
	o := Order{
		Pubkey: testNode, D: "308e1272-d5f4-47e6-bd97-3504baea9c23", CreatedAt: 1782000000, InstanceName: "Example Node",
		Side: SideSell, Status: StatusPending, Fiat: "EUR", FiatAmount: Range{dec(t, "20"), dec(t, "100")}, AmountSats: new(int64(0)),
		PremiumPct: dec(t, "2"), Methods: []string{"SEPA", "Revolut"}, Network: "mainnet", Link: link, ExpiresAt: 1782086400, Expiration: 1782086400,
		MakerRating: &MakerRating{Mean: new(4.5), Reviews: new(int64(7)), Days: new(int64(41))},
	}
	evt := o.Event()
	if got, want := evt.GetID(), "35aa52175ee49c812138547ba9bd7082d0d173428b95339dcfee7827636c25b6"; got != want {
		t.Fatalf("id %s, want %s\n%s", got, want, evt)
	}
	evt.Sig = "3a5c1530bb004e021bdeb43ec029af2dece10f2ee386451a8b1afde2f5c568dabd89c432da3a2f1f43ef038efa6ac750e3f0a581a9d41e50779dee02a374e9db"
	if ok, err := evt.CheckSignature(); !ok || err != nil {
		t.Fatalf("signature: %v, %v", ok, err)
	}
}

// TestOrderEventByStatus checks that a range, the rating and the link are written only
// if the order is pending.
func TestOrderEventByStatus(t *testing.T) {
	o := Order{
		Pubkey: testNode, D: "a", InstanceName: "Example Node", Side: SideSell, Status: StatusInProgress, Fiat: "EUR", Link: "mostro:a",
		FiatAmount: Range{dec(t, "50"), dec(t, "50")}, AmountSats: new(int64(52000)), Methods: []string{"SEPA", "Revolut"}, Network: "mainnet",
		MakerRating: &MakerRating{Reviews: new(int64(1))}, ExpiresAt: 1782086400, Expiration: 1784592200,
	}
	want := event(t, KindOrder, `[["d","a"],["k","sell"],["f","EUR"],["s","in-progress"],["amt","52000"],["fa","50"],["pm","SEPA","Revolut"],["premium","0"],["network","mainnet"],["layer","lightning"],["expires_at","1782086400"],["expiration","1784592200"],["y","mostro","Example Node"],["z","order"]]`)
	if got := o.Event(); !reflect.DeepEqual(got.Tags, want.Tags) {
		t.Fatalf("got %v\nwant %v", got.Tags, want.Tags)
	}
	o.Status, o.FiatAmount = StatusCanceled, Range{dec(t, "20"), dec(t, "100")}
	if got := o.Event(); !slices.Equal(got.Tags[5], nostr.Tag{"fa", "0"}) {
		t.Fatalf("a range that is over is written %v", got.Tags[5])
	}
	for want, rating := range map[string]*MakerRating{
		`["rating",{"days":0,"total_rating":0.0,"total_reviews":0}]`: {Days: new(int64(0)), Reviews: new(int64(0))}, // full privacy
		`["rating",{"days":3,"total_rating":5.0,"total_reviews":1}]`: {Days: new(int64(3)), Reviews: new(int64(1)), Mean: new(5.0)},
		`["rating",{"total_rating":3.3333333333333335}]`:             {Mean: new(3.3333333333333335)},
		`["rating",{"total_reviews":12}]`:                            {Mean: new(0.98), Max: 1, Reviews: new(int64(12))}, // Peach's scale
		`{}`:                                                         {Max: 5},
	} {
		if got := mostroRating(rating); got != want {
			t.Errorf("rating %s, want %s", got, want)
		}
	}
	o.Status, o.MakerRating, o.Methods = StatusPending, nil, nil
	got := o.Event()
	if !slices.Equal(got.Tags[6], nostr.Tag{"pm"}) || !slices.Equal(got.Tags[8], nostr.Tag{"rating", "{}"}) {
		t.Fatalf("unknown methods and rating are written %v, %v", got.Tags[6], got.Tags[8])
	}
}
