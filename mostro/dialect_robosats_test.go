package mostro

import "testing"

func TestRoboSatsOrders(t *testing.T) {
	checkOrders(t, []orderCase{
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
	})
}

func TestRoboSatsTakeLinks(t *testing.T) {
	checkTakeLinks(t, []linkCase{
		{PlatformRoboSats, "http://2enoseg66hme76khjjn2qvrhipnzwgwa44mewgrdphrxbhzcxd2vdiqd.onion/order/204", true},
		{PlatformRoboSats, "https://unsafe.robosats.org/order/temple/1", true},
		{PlatformRoboSats, "https://robosats.org.example/order/1", false},
	})
}
