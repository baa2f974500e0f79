package mostro

import "testing"

func BenchmarkParseOrder(b *testing.B) {
	evt := event(b, KindOrder, `[["d","308e1272-d5f4-47e6-bd97-3504baea9c23"],["k","sell"],["f","EUR"],["s","pending"],["amt","0"],["fa","20","100"],["pm","SEPA","Revolut"],["premium","2"],["rating","[\"rating\",{\"days\":41,\"total_rating\":4.5,\"total_reviews\":7}]"],["source","mostro:308e1272?relays=wss://relay.example.org&mostro=f9308a01"],["network","mainnet"],["layer","lightning"],["expires_at","1782086400"],["expiration","1782086400"],["y","mostro","Example Node"],["z","order"]]`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseOrder(evt); err != nil {
			b.Fatal(err)
		}
	}
}
