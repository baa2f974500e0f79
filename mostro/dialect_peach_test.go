package mostro

import "testing"

func TestPeachOrders(t *testing.T) {
	checkOrders(t, []orderCase{
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
	})
}

func TestPeachTakeLinks(t *testing.T) {
	checkTakeLinks(t, []linkCase{
		{PlatformPeach, "https://peachbitcoin.com/offer/1", true},
		{PlatformPeach, "https://peachbitcoin.com.example/offer/1", false},
		{PlatformPeach, "", false},
	})
}
