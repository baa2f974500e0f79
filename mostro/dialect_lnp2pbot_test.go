package mostro

import "testing"

func TestLnp2pBotOrders(t *testing.T) {
	checkOrders(t, []orderCase{
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
	})
}

func TestLnp2pBotTakeLinks(t *testing.T) {
	checkTakeLinks(t, []linkCase{
		{PlatformLnp2pBot, "https://t.me/p2plightning/139", true},
		{PlatformTelegram, "https://t.me/novaruzchannel/139", true},
		{PlatformLnp2pBot, "https://t.me.example/p2plightning/139", false},
		{PlatformLnp2pBot, "https://t.me@evil.example/139", false},
		{PlatformLnp2pBot, "http://t.me/p2plightning/139", false},
		{PlatformLnp2pBot, "mostro:id-1?mostro=" + linkAuthor, false},
	})
}
