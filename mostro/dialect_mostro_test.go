package mostro

import (
	"strings"
	"testing"
)

func TestMostroOrders(t *testing.T) {
	checkOrders(t, []orderCase{
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
	})
}

func TestMostroTakeLinks(t *testing.T) {
	checkTakeLinks(t, []linkCase{
		{PlatformMostro, "mostro:id-1?relays=wss://a,wss://b&mostro=" + linkAuthor, true},
		{PlatformMostro, "mostro:id-1?mostro=" + strings.ToUpper(linkAuthor), true},
		{PlatformMostro, "mostro:id-1?relays=wss://a&mostro=" + linkOther, false}, // another node
		{PlatformMostro, "mostro:id-1?mostro=" + linkAuthor + "&mostro=" + linkOther, false},
		{PlatformMostro, "mostro:id-1?mostro=" + linkOther + "&mostro=" + linkAuthor, false},
		{PlatformMostro, "mostro:id-2?mostro=" + linkAuthor, false}, // another order
		{PlatformMostro, "mostro:id-1?relays=wss://a", false},       // no node named
		{PlatformMostro, "mostro://id-1?mostro=" + linkAuthor, false},
		{PlatformMostro, "mostro:id-1?mostro=" + linkAuthor + "#" + linkOther, false},
		{PlatformMostro, "mostro:id-1?mostro=" + linkAuthor + "&x=%zz", false},
		{PlatformMostro, "https://mostro.example/order?mostro=" + linkAuthor, false},
		{PlatformMostro, "javascript:alert(1)", false},
	})
}
