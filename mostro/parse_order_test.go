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

// orderCase is an order event and the order that ParseOrder returns for it.
type orderCase struct {
	name, tags, content string
	want                Order
}

func checkOrders(t *testing.T, cases []orderCase) {
	for _, c := range cases {
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

func TestParseOrderOfNoDialect(t *testing.T) {
	checkOrders(t, []orderCase{
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
	})
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
			if got := statusOf(&mostroDialect, kebab(name)); got != bucket {
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
			if got := makerRating(c.values, dialectOf(c.platform).ratingMax); !reflect.DeepEqual(got, c.want) {
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
