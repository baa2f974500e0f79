package orders

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
)

// TestRecordKeepsEveryField packs and unpacks an order in which every field is set. A
// field that the record does not hold would be lost without an error.
func TestRecordKeepsEveryField(t *testing.T) {
	one, two := mostro.DecimalOf(1), mostro.DecimalOf(2)
	v := &Version{Seq: 7, ReceivedAt: time.UnixMilli(1782000000123).UTC(), Source: mostro.Source{Origin: mostro.OriginLive, Relay: "wss://a.example"}, Archived: true, Withdrawn: true,
		Order: mostro.Order{
			EventID: strings.Repeat("a1", 32), Pubkey: strings.Repeat("b2", 32), D: "d", CreatedAt: 1, Platform: "mostro", InstanceName: "n",
			Side: mostro.SideSell, Status: mostro.StatusPending, RawStatus: "pending", Fiat: "EUR", FiatAmount: mostro.Range{Min: &one, Max: &two}, AmountSats: new(int64(3)), PremiumPct: &one,
			Methods: []string{"a", "b"}, Network: "mainnet", Layers: []string{"lightning"},
			MakerRating: &mostro.MakerRating{Mean: new(4.5), Max: 5, Reviews: new(int64(6)), Days: new(int64(7)), Since: 1778457600},
			MakerName:   "m", Bond: &mostro.Bond{Sats: new(int64(8)), Percent: &two}, Geohash: "g", PublishedAt: 9, ExpiresAt: 10, Expiration: 11, Link: "l", Description: "t",
			CashuMintURL: "https://mint.example",
		}}
	for _, part := range []any{v.Order, *v.Order.MakerRating, *v.Order.Bond, v.Order.FiatAmount} {
		for i, value := 0, reflect.ValueOf(part); i < value.NumField(); i++ {
			if value.Field(i).IsZero() {
				t.Errorf("%s.%s is not set: add the field here and to the record", value.Type(), value.Type().Field(i).Name)
			}
		}
	}
	back, err := UnpackVersion(v.Pack(nil))
	if err != nil || !reflect.DeepEqual(back, v) {
		t.Fatalf("have %+v, %v\nwant %+v", back, err, v)
	}
	// A record of the earlier format is damaged, so a book of it is built again.
	if _, err := UnpackVersion(v.Pack(nil)[:len(v.Pack(nil))-1-len(v.Order.CashuMintURL)]); err == nil {
		t.Error("a shorter record was read")
	}
}
