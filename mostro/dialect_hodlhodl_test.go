package mostro

import "testing"

func TestHodlHodlOrders(t *testing.T) {
	checkOrders(t, []orderCase{
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
	})
}

func TestHodlHodlTakeLinks(t *testing.T) {
	checkTakeLinks(t, []linkCase{
		{PlatformHodlHodl, "https://hodlhodl.com/offers/e6GfuXPbUjWdKUGt?utm_source=nostr", true},
		{PlatformHodlHodl, "https://hodlhodl.com/login", false},
	})
}
