package mostro

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/nbd-wtf/go-nostr"
	"pgregory.net/rapid"
)

// fuzzSeeds returns one event of every class and dialect, and some malformed events, as
// JSON.
func fuzzSeeds() []string {
	key := testNode
	var seeds []string
	for _, s := range []struct {
		kind          int
		tags, content string
	}{
		{KindOrder, `[["d","a"],["k","sell"],["f","EUR"],["s","pending"],["amt","0"],["fa","20","100"],["pm","SEPA","Pago Móvil"],["premium","2"],["rating","[\"rating\",{\"days\":41,\"since\":1778457600,\"total_rating\":4.5,\"total_reviews\":7}]"],["source","mostro:a"],["network","mainnet"],["layer","lightning"],["published_at","1"],["expires_at","1782086400"],["expiration","1782086400"],["y","mostro","Node"],["z","order"]]`, ""},
		{KindOrder, `[["d","a"],["k","Sell"],["f","VES"],["s","WaitingPayment"],["amt","7851"],["fa","10-20"],["pm","face to face, PIX"],["premium","1"],["y","mostrop2p"],["z","order"]]`, ""},
		{KindOrder, `[["d","a"],["s","Pending"],["y","mostrop2p"],["z","dispute"]]`, ""},
		{KindOrder, `[["d","info-` + key + `"],["mostro_version","0.12.0"],["mostro_commit_id","ab"],["y","mostrop2p"],["z","info"]]`, ""},
		{KindOrder, `[["d","` + key + `"],["total_reviews","1"],["total_rating","0.5"],["y","mostrop2p"],["z","rating"]]`, ""},
		{KindOrder, `[["d","a"],["name","Fox","9f"],["k","buy"],["f","BTC"],["s","success"],["amt","0"],["fa","None"],["pm","Zelle","Cash"],["premium","None"],["expiration","1","2"],["y","robosats","temple"],["bond","3.00"],["g","u0"],["n","mainnet"],["z","order"]]`, "text"},
		{KindOrder, `[["d","a"],["k","buy"],["f","VES"],["s","fiat-sent"],["amt","1"],["fa","350"],["rating","4.75","120","37"],["y","telegram","BOT🦫"],["z","order"]]`, ""},
		{KindOrder, `[["d","a"],["d","b"],["pm"],["pm","x"],["f","EUR"],["f","CHF"],["k","sell"],["s","pending"],["y","peach"],["y","x"],["rating","{\"trades_count\":0,\"rating\":null}"]]`, ""},
		{KindUserRating, `[["d","` + key + `"],["total_reviews","11"],["total_rating","4.7727272727272725"],["last_rating","5"],["max_rate","5"],["min_rate","5"],["since","1"],["z","rating"],["days","284"]]`, ""},
		{KindInfo, `[["d","` + key + `"],["mostro_version","0.18.5"],["max_order_amount","1000000"],["fiat_currencies_accepted",""],["fee","0.006"],["protocol_version","2"],["lnd_networks","mainnet,testnet"],["y","mostro","N"],["z","info"],["escrow_mode","cashu"],["bond_enabled","true"],["bond_amount_pct","0.01"]]`, ""},
		{KindDispute, `[["d","a"],["expiration","9"],["s","initiated"],["initiator","buyer"],["created_at","3"],["y","mostro"],["z","dispute"]]`, ""},
		{KindDevFee, `[["order-id","a"],["amount","93"],["hash","` + key + `"],["destination","a@b"],["network","mainnet"],["y","mostro","N"],["z","dev-fee-payment"],["expiration","4"]]`, ""},
		{KindHostRating, `[["sig","` + key + key + `"],["d","lake:1"],["p","` + key + `"],["rating","0.8"],["rating","1","dispute"]]`, ""},
		{KindHostRating, `[["d","mostro:x"],["p","` + key + `"],["rating","1e9"],["k","38383"],["a","38383:` + key + `:x"],["receipt","a","b"]]`, "text"},
		{KindAppData, `[["d","mostro-rates"],["published_at","1"],["source","b,a"],["expiration","2"]]`, `{"BTC":{"EUR":45000.0,"usd":null,"USD":5e4}}`},
		{KindReceiptKeys, `[["d","2026-11"],["z","receipt-keys"],["y","mostro","N"],["scheme","rsabssa-sha384-pss-deterministic"],["key","ab"],["issued","3"]]`, ""},
		{KindAnnouncement, `[["d","2026-11"],["z","receipt-keys"],["y","mostro","N"],["scheme","rsabssa-sha384-pss-deterministic"],["key","ab"]]`, ""},
		{KindHealth, `[["d","` + key + `"],["y","mostro"],["z","health"],["expiration","1782000180"]]`, ""},
		{KindHealth, `[["d","` + key + `"],["y","mostro","N"],["z","health"],["status","down"],["check","lnd_sync","fail","1781999000"],["check","relays","ok","0"],["escrow_mode","lightning"],["lnd_block_height","971349"],["lnd_synced_to_chain","false"],["lnd_network","mainnet"],["maintenance_mode","true"],["mostro_version","0.20.2"],["interval","60"],["seq","17"],["p","` + key + `"],["expiration","1782000180"]]`, "AkZ"},
		{KindInfo, `[["d","` + key + `"],["protocol_version","2"],["y","mostro"],["z","info"],["escrow_mode","cashu"],["cashu_mint_url","https://a.example","https://b.example"],["cashu_escrow_locktime_days","15"],["bond_enabled","false"],["serbero","` + key + `"],["reputation_import_issuers","` + key + `","x"],["reputation_issuer","` + key + `"],["maintenance_mode","false"]]`, ""},
		{KindOrder, `[["d","paygress:offer:v1:x"],["t","paygress"],["k","sell"],["f","USD"],["s","pending"]]`, ""},
		{KindRelayList, `[["r","wss://a.example"],["r","ws://b.example","read"],["r"],["r","javascript:1"]]`, ""},
		{KindProfile, `[]`, `{"name":"N","about":7,"lud16":null}`},
		{KindMessage, `[["p","` + key + `"]]`, "x"},
		{KindDeletion, `[["a","38383:x:y"]]`, ""},
		{1, `[[],[""]]`, ""},
	} {
		content, _ := json.Marshal(s.content)
		seeds = append(seeds, fmt.Sprintf(`{"id":"","pubkey":"%s","created_at":1782000000,"kind":%d,"tags":%s,"content":%s,"sig":""}`, key, s.kind, s.tags, content))
	}
	return seeds
}

// stable parses an accepted event, builds it again and repeats both steps. From the
// second event on nothing may change.
func stable[T interface{ Event() nostr.Event }](t failer, evt *nostr.Event, parse func(*nostr.Event) (T, error)) {
	noun, err := parse(evt)
	if err != nil {
		if !errors.Is(err, ErrForeign) && !errors.Is(err, ErrMalformedEvent) {
			t.Fatalf("%v is neither foreign nor malformed", err)
		}
		return
	}
	one := noun.Event()
	again, err := parse(&one)
	if err != nil {
		t.Fatalf("%v\nrebuilt as\n%v\nis refused: %v", evt, one, err)
	}
	two := again.Event()
	if !reflect.DeepEqual(one, two) {
		t.Fatalf("%v\nbuilt as\n%v\nand again as\n%v", evt, one, two)
	}
}

// FuzzParseEvent passes arbitrary events to the classifier and to every parser, for
// every class.
func FuzzParseEvent(f *testing.F) {
	for _, s := range fuzzSeeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var evt nostr.Event
		if json.Unmarshal([]byte(text), &evt) != nil {
			return
		}
		class := Classify(&evt)
		if class.String() == "unknown" {
			t.Fatalf("class %d", class)
		}
		stableByAll(t, &evt)
	})
}

// failer is the common interface of *testing.T and *rapid.T.
type failer interface{ Fatalf(string, ...any) }

func stableByAll(t failer, evt *nostr.Event) {
	stable(t, evt, ParseOrder)
	stable(t, evt, ParseInfo)
	stable(t, evt, ParseDispute)
	stable(t, evt, ParseUserRating)
	stable(t, evt, ParseDevFee)
	stable(t, evt, ParseHostRating)
	stable(t, evt, ParseProfile)
	stable(t, evt, ParseRelayList)
	stable(t, evt, ParseRates)
	stable(t, evt, ParseHealth)
}

// TestHostileTags changes the seeds: tags are dropped, doubled, moved between kinds,
// and get the values of other tags or nonsense.
func TestHostileTags(t *testing.T) {
	var pool []nostr.Event
	var tags nostr.Tags
	values := []string{"", " ", "\x00", "-", "-0", "NaN", "1e9", "18446744073709551616", "-1", "0.0", "null", "{}", "[[[", ",,", ":", "İ", "\xff", "mostro:", "true"}
	for _, text := range fuzzSeeds() {
		var evt nostr.Event
		if err := json.Unmarshal([]byte(text), &evt); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		pool = append(pool, evt)
		for _, tag := range evt.Tags {
			tags = append(tags, tag)
			values = append(values, tag...)
		}
	}
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		evt := rapid.SampledFrom(pool).Draw(t, "event")
		evt.Tags = slices.Clone(evt.Tags)
		if rapid.Bool().Draw(t, "other kind") {
			evt.Kind = rapid.SampledFrom(pool).Draw(t, "kind of").Kind
		}
		for range rapid.IntRange(0, 4).Draw(t, "changes") {
			i := rapid.IntRange(0, len(evt.Tags)).Draw(t, "at")
			switch rapid.IntRange(0, 3).Draw(t, "change") {
			case 0:
				evt.Tags = slices.Insert(evt.Tags, i, rapid.SampledFrom(tags).Draw(t, "tag"))
			case 1:
				if i < len(evt.Tags) {
					evt.Tags = slices.Delete(evt.Tags, i, i+1)
				}
			default:
				if i < len(evt.Tags) && len(evt.Tags[i]) > 1 {
					evt.Tags[i] = slices.Clone(evt.Tags[i])
					evt.Tags[i][rapid.IntRange(1, len(evt.Tags[i])-1).Draw(t, "value at")] = rapid.SampledFrom(values).Draw(t, "value")
				}
			}
		}
		if noun, err := parse(&evt); noun != nil && err == nil {
			accepted++
		}
		stableByAll(t, &evt)
	})
	if accepted == 0 {
		t.Fatal("no changed event was accepted: the test looks at nothing")
	}
}
