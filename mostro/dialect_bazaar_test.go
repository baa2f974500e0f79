package mostro

import (
	"bufio"
	"encoding/json"
	"math"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// bazaarDialect is the dialect of a platform that does not exist. It was added by the
// recipe of CONTRIBUTING.md and is registered in this test only.
var bazaarDialect = dialect{
	platforms: []string{"bazaar"},
	formerly:  "thebazaar",
	instance:  true,
	noText:    true,
	ratingMax: 10,
	statuses: map[string]Status{
		"open": StatusPending, "reserved": StatusInProgress, "delivered": StatusSuccess, "withdrawn": StatusCanceled,
	},
	// The amount is in bitcoin. An amount below one sat is no amount.
	amount: func(t TagReader, _ *int64) *int64 {
		btc := t.decimal("amt")
		if btc == nil || btc.Sign() < 0 {
			return nil
		}
		sats := btc.Float() * 1e8
		if n := int64(math.Round(sats)); n <= maxSats && math.Abs(sats-float64(n)) < 0.01 {
			return &n
		}
		return nil
	},
	// A single value has all methods, separated by semicolons.
	methods: func(values []string) []string { return strings.Split(strings.Join(values, ";"), ";") },
	bond: func(t TagReader) *Bond {
		if d := t.decimal("bond"); d != nil && d.Sign() >= 0 {
			return &Bond{Percent: d}
		}
		return nil
	},
	promises: func(o *Order, u *url.URL, host string) bool {
		return onWeb(u) && host == "bazaar.example" && u.Path == "/listing/"+o.D
	},
}

// bazaarOrders parses the five events of the fixture with d registered. links are the
// take links of the orders.
func bazaarOrders(t *testing.T, d *dialect) (orders []Order, links []string) {
	t.Helper()
	registered := dialects
	dialects = append(dialects[:len(dialects):len(dialects)], d)
	defer func() { dialects = registered }()
	f, err := os.Open("testdata/bazaar.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var evt nostr.Event
		if err := json.Unmarshal(lines.Bytes(), &evt); err != nil {
			t.Fatal(err)
		}
		if ok, err := evt.CheckSignature(); !ok || err != nil {
			t.Fatalf("%s: signature: %v", evt.ID, err)
		}
		o, err := ParseOrder(&evt)
		if err != nil {
			t.Fatal(err)
		}
		orders, links = append(orders, o), append(links, o.TakeLink())
	}
	return orders, links
}

func TestBazaarOrders(t *testing.T) {
	got, links := bazaarOrders(t, &bazaarDialect)
	rating := &MakerRating{Mean: new(9.2), Max: 10, Reviews: new(int64(41))}
	want := []Order{
		{
			D: "b-1001", InstanceName: "north square", Side: SideSell, Status: StatusPending, RawStatus: "open", Fiat: "MXN",
			FiatAmount: Range{dec(t, "2000"), dec(t, "2600")}, AmountSats: new(int64(150_000)), PremiumPct: dec(t, "1.5"),
			Methods: []string{"OXXO", "SPEI, same day"}, Layers: []string{"lightning"}, MakerRating: rating,
			Bond: &Bond{Percent: dec(t, "2.5")}, ExpiresAt: 1782086400, Expiration: 1782086400, Link: "https://bazaar.example/listing/b-1001",
		},
		{
			D: "b-1002", InstanceName: "north square", Side: SideBuy, Status: StatusInProgress, RawStatus: "reserved", Fiat: "MXN",
			FiatAmount: Range{dec(t, "500"), dec(t, "500")}, AmountSats: new(int64(0)), PremiumPct: &Decimal{},
			Methods: []string{"SPEI, same day"}, Layers: []string{"lightning"}, ExpiresAt: 1782086400, Expiration: 1782086400,
		},
		{
			D: "b-1003", InstanceName: "south square", Side: SideSell, Status: StatusSuccess, RawStatus: "delivered", Fiat: "ARS",
			FiatAmount: Range{dec(t, "90000"), dec(t, "90000")}, AmountSats: new(int64(100_000_000)), Methods: []string{"Mercado Pago"}, Layers: []string{"onchain"},
		},
		{
			D: "b-1004", InstanceName: "south square", Side: SideSell, Status: StatusCanceled, RawStatus: "withdrawn", Fiat: "ARS",
			FiatAmount: Range{dec(t, "90000"), dec(t, "90000")}, Methods: []string{"Mercado Pago"}, Layers: []string{"onchain"},
			MakerRating: rating, Link: "https://bazaar.example/login",
		},
		{
			D: "b-77", Side: SideBuy, Status: StatusExpired, RawStatus: "expired", Fiat: "CLP",
			FiatAmount: Range{dec(t, "15000"), dec(t, "15000")}, AmountSats: new(int64(20_000)), Methods: []string{"Cash"},
			Layers: []string{"lightning"}, Link: "https://bazaar.example/listing/b-77",
		},
	}
	wantLinks := []string{"https://bazaar.example/listing/b-1001", "", "", "", "https://bazaar.example/listing/b-77"}
	for i, w := range want {
		w.EventID, w.Pubkey, w.CreatedAt = got[i].EventID, got[i].Pubkey, got[i].CreatedAt
		w.Platform, w.Network = "bazaar", "mainnet"
		if !reflect.DeepEqual(got[i], w) {
			g, _ := json.MarshalIndent(got[i], "", " ")
			w, _ := json.MarshalIndent(w, "", " ")
			t.Errorf("got %s\nwant %s", g, w)
		}
		if links[i] != wantLinks[i] {
			t.Errorf("%s: take link %q, want %q", w.D, links[i], wantLinks[i])
		}
	}
}

// TestBazaarNeedsEachDifference removes each field of the dialect: an order of the
// fixture changes.
func TestBazaarNeedsEachDifference(t *testing.T) {
	want, wantLinks := bazaarOrders(t, &bazaarDialect)
	fields := reflect.TypeFor[dialect]().NumField()
	for i := range fields {
		d := bazaarDialect
		field := reflect.ValueOf(&d).Elem().Field(i)
		reflect.NewAt(field.Type(), field.Addr().UnsafePointer()).Elem().SetZero()
		if len(d.platforms) == 0 {
			d.platforms, d.formerly = []string{"another"}, ""
		}
		if got, links := bazaarOrders(t, &d); reflect.DeepEqual(got, want) && reflect.DeepEqual(links, wantLinks) {
			t.Errorf("no event needs %s", reflect.TypeFor[dialect]().Field(i).Name)
		}
	}
}
