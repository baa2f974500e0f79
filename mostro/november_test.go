package mostro

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestCashuInfo parses the info of a Cashu node and builds it again.
func TestCashuInfo(t *testing.T) {
	head := `[["d","` + testNode + `"],["mostro_version","0.20.2"],["fiat_currencies_accepted",""],["protocol_version","2"],["y","mostro"],["z","info"],["escrow_mode","cashu"],`
	tail := `["cashu_escrow_locktime_days","15"],["bond_enabled","false"],["reputation_import_issuers"],["maintenance_mode","true"]]`
	for name, c := range map[string]struct {
		tag   string
		mints []string
	}{
		"two mints":   {`["cashu_mint_url","https://a.example","https://b.example/x"],`, []string{"https://a.example", "https://b.example/x"}},
		"any mint":    {``, nil},
		"a mint each": {`["cashu_mint_url","https://a.example"],`, []string{"https://a.example"}},
	} {
		evt := event(t, KindInfo, head+c.tag+tail)
		info, err := ParseInfo(evt)
		if err != nil || !reflect.DeepEqual(info.CashuMints, c.mints) || info.ReputationImport == nil || info.ReputationImport.Keys != nil || !*info.Maintenance || info.LND != nil {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
		if got := info.Event(); !reflect.DeepEqual(got.Tags, evt.Tags) {
			t.Errorf("%s: got  %v\nwant %v", name, got.Tags, evt.Tags)
		}
	}
	info, err := ParseInfo(event(t, KindInfo, `[["d","`+testNode+`"],["z","info"],["serbero","npub1x"],["reputation_issuer","`+strings.ToUpper(testNode)+`"],["reputation_import_issuers","x","`+testNode+`","`+testNode+`"],["escrow_deadline_margin_blocks","-1"],["maintenance_mode","yes"]]`))
	if err != nil || info.Serbero != "" || info.ReputationIssuer != "" || len(info.ReputationImport.Keys) != 1 || info.EscrowDeadlineMarginBlocks != nil || info.Maintenance != nil {
		t.Errorf("nonsense: %+v, %v", info, err)
	}
	if info, err := ParseInfo(event(t, KindInfo, `[["d","`+testNode+`"],["z","info"]]`)); err != nil || info.ReputationImport != nil {
		t.Errorf("no import: %+v, %v", info, err)
	}
}

// TestPublishedAt checks the times of an order and a dispute: published_at, else the
// created_at tag, else the event's own time.
func TestPublishedAt(t *testing.T) {
	for _, c := range []struct {
		tags         string
		stated, want nostr.Timestamp
	}{
		{`["published_at","1780000000"],["created_at","5"]`, 1780000000, 1780000000},
		{`["created_at","1780000005"]`, 1780000005, 1780000005},
		{``, 0, 1782000000},
		{`["published_at","0"],["created_at","0"]`, 0, 1782000000},
		{`["published_at","1782000001"]`, 1782000001, 1782000000}, // later than its event
		{`["published_at","-5"]`, 0, 1782000000},
		{`["published_at","99999999999999"]`, 0, 1782000000},
	} {
		more := ""
		if c.tags != "" {
			more = "," + c.tags
		}
		evt := event(t, KindOrder, `[["d","a"],["k","sell"],["f","EUR"],["s","pending"],["fa","1"],["pm","x"],["y","mostro"],["z","order"]`+more+`]`)
		evt.CreatedAt = 1782000000
		if o, err := ParseOrder(evt); err != nil || o.PublishedAt != c.stated || o.ListedAt() != c.want {
			t.Errorf("order %s: %d, %d, %v", c.tags, o.PublishedAt, o.ListedAt(), err)
		}
		evt = event(t, KindDispute, `[["d","a"],["s","released"],["initiator","buyer"],["y","mostro"],["z","dispute"]`+more+`]`)
		evt.CreatedAt = 1782000000
		if d, err := ParseDispute(evt); err != nil || d.OpenedAt != c.stated || d.Opened() != c.want {
			t.Errorf("dispute %s: %d, %d, %v", c.tags, d.OpenedAt, d.Opened(), err)
		}
	}
}

// TestOrderOfNovember builds a pending order of a Cashu node.
func TestOrderOfNovember(t *testing.T) {
	one := *dec(t, "100")
	o := Order{
		Pubkey: testNode, D: "a", Platform: PlatformMostro, Side: SideSell, Status: StatusPending, Fiat: "EUR", FiatAmount: Range{Min: &one, Max: &one}, Methods: []string{"SEPA"},
		MakerRating: &MakerRating{Mean: new(4.5), Max: 5, Reviews: new(int64(7)), Days: new(int64(41)), Since: 1778457600 + 3601}, Link: "mostro:a",
		PublishedAt: 1782000000, ExpiresAt: 1782086400, Expiration: 1782086400, CashuMintURL: "https://mint.example.com",
	}
	evt := o.Event()
	want := event(t, KindOrder, `[["d","a"],["k","sell"],["f","EUR"],["s","pending"],["amt","0"],["fa","100"],["pm","SEPA"],["premium","0"],["rating","[\"rating\",{\"days\":41,\"since\":1778457600,\"total_rating\":4.5,\"total_reviews\":7}]"],["source","mostro:a"],["network","unknown"],["layer","lightning"],["published_at","1782000000"],["expires_at","1782086400"],["expiration","1782086400"],["y","mostro"],["z","order"],["cashu_mint_url","https://mint.example.com"]]`)
	if !reflect.DeepEqual(evt.Tags, want.Tags) {
		t.Errorf("got  %v\nwant %v", evt.Tags, want.Tags)
	}
	back, err := ParseOrder(want)
	if err != nil || back.CashuMintURL != o.CashuMintURL || back.MakerRating.Since != 1778457600 {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestRatingWithSince(t *testing.T) {
	for text, want := range map[string]struct {
		since nostr.Timestamp
		age   int64
	}{
		`["rating",{"days":41,"since":1778457600,"total_rating":4.5,"total_reviews":7}]`: {1778457600, 40},
		`["rating",{"total_reviews":7,"total_rating":4.5,"since":1778457600,"days":3}]`:  {1778457600, 40},
		`["rating",{"since":1778457600}]`:                                                {1778457600, 40},
		`["rating",{"days":41,"total_rating":4.5,"total_reviews":7}]`:                    {0, 41},
		`["rating",{"days":41,"since":0}]`:                                               {0, 41},
		`["rating",{"days":41,"since":-86400}]`:                                          {0, 41},
		`["rating",{"days":41,"since":253402300800}]`:                                    {0, 41},
		`["rating",{"days":41,"since":1e400}]`:                                           {0, 41},
		`["rating",{"days":41,"since":{"a":[1]}}]`:                                       {0, 41},
		`["rating",{"days":41,"since":1800000000}]`:                                      {1800000000, 0}, // in the future
		`["rating",{"days":41,"since":"1778457600"}]`:                                    {1778457600, 40},
	} {
		r := makerRating([]string{text}, 5)
		if r == nil || r.Since != want.since {
			t.Errorf("%s: %+v", text, r)
			continue
		}
		if age := r.AgeDays(1778457600 + 40*86400 + 5); age == nil || *age != want.age {
			t.Errorf("%s: %v days, want %d", text, *age, want.age)
		}
	}
	if r := (MakerRating{}); r.AgeDays(5) != nil {
		t.Error("an unknown age is stated")
	}
}

func TestHealth(t *testing.T) {
	tags := `[["d","` + testNode + `"],["y","mostro","Node"],["z","health"],["status","down"],["check","lnd_sync","fail","1781996400"],["check","payouts","warn","1782000000"],["check","relays","ok","1781900000"],["check","database","unknown","0"],["escrow_mode","lightning"],["lnd_block_height","971349"],["lnd_synced_to_chain","false"],["lnd_network","mainnet"],["maintenance_mode","true"],["mostro_version","0.20.2"],["interval","60"],["seq","17"],["p","` + strings.Repeat("ab", 32) + `"],["expiration","1782000180"]]`
	evt := event(t, KindHealth, tags)
	evt.CreatedAt, evt.Content = 1782000000, "AkZ"
	h, err := ParseHealth(evt)
	if err != nil {
		t.Fatal(err)
	}
	want := Health{
		EventID: evt.ID, Pubkey: testNode, CreatedAt: 1782000000, Name: "Node", Status: HealthDown, Checks: []HealthCheck{{CheckLNDSync, CheckFail, 1781996400},
			{CheckPayouts, CheckWarn, 1782000000}, {CheckRelays, CheckOK, 1781900000}, {CheckDatabase, CheckUnknown, 0}},
		EscrowMode: "lightning", LND: &HealthLND{971349, false, "mainnet"}, Maintenance: new(true), Version: "0.20.2", IntervalSeconds: new(int64(60)), Seq: new(int64(17)),
		Watchdog: strings.Repeat("ab", 32), Content: "AkZ", Expiration: 1782000180,
	}
	if !reflect.DeepEqual(h, want) {
		t.Errorf("have %+v\nwant %+v", h, want)
	}
	if got := h.Event(); !reflect.DeepEqual(got.Tags, evt.Tags) || got.Content != evt.Content || got.Kind != KindHealth || got.CreatedAt != evt.CreatedAt {
		t.Errorf("built %v\nof    %v", got, evt)
	}
	// A state cannot begin after its event.
	h.Checks[0].Since = 1782000001
	later := h.Event()
	if later.Tags[4][3] != "1782000000" {
		t.Errorf("%v", later.Tags[4])
	}
	replace := func(from, to string) *nostr.Event {
		t.Helper()
		if !strings.Contains(tags, from) {
			t.Fatalf("no %s", from)
		}
		evt := event(t, KindHealth, strings.Replace(tags, from, to, 1))
		evt.CreatedAt = 1782000000
		return evt
	}
	for name, c := range map[string]struct {
		evt  *nostr.Event
		want error
	}{
		"two states":             {replace(`["status","down"]`, `["status","down"],["status","ok"]`), ErrMalformedEvent},
		"two states of a check":  {replace(`["check","relays"`, `["check","payouts"`), ErrMalformedEvent},
		"two numbers":            {replace(`["seq","17"]`, `["seq","17"],["seq","18"]`), ErrMalformedEvent},
		"a watchdog by npub":     {replace(`["p","`, `["p","npub`), ErrMalformedEvent},
		"33 checks":              {replace(`["check","relays","ok","1781900000"]`, strings.Repeat(`["check","c%d","ok","0"],`, 30)+`["check","x","ok","0"]`), ErrMalformedEvent},
		"of another node":        {replace(`["d","`+testNode, `["d","`+strings.Repeat("ab", 32)), ErrForeign},
		"valid for a day":        {replace(`["expiration","1782000180"]`, `["expiration","1782086400"]`), ErrForeign},
		"without an end":         {replace(`["expiration","1782000180"]`, `["x","1"]`), ErrForeign},
		"of another application": {replace(`["y","mostro","Node"]`, `["y","bondtrade"]`), ErrForeign},
		"of another document":    {replace(`["z","health"]`, `["z","info"]`), ErrForeign},
	} {
		if name == "33 checks" {
			for i := range c.evt.Tags {
				if c.evt.Tags[i][0] == "check" && c.evt.Tags[i][1] == "c%d" {
					c.evt.Tags[i][1] = fmt.Sprint("c", i)
				}
			}
		}
		if h, err := ParseHealth(c.evt); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v, want %v", name, h, err, c.want)
		}
	}
	evt.Content = strings.Repeat("x", maxHealthContent+1)
	if _, err := ParseHealth(evt); !errors.Is(err, ErrMalformedEvent) {
		t.Errorf("a large content: %v", err)
	}
	for name, evt := range map[string]*nostr.Event{
		"a status of the future": replace(`["status","down"]`, `["status","sleeping"]`),
		"a state of the future":  replace(`"warn"`, `"dozing"`),
		"half of the LND tags":   replace(`["lnd_network","mainnet"],`, ``),
		"a check without a time": replace(`,"1781996400"]`, `]`),
		"a check of a later day": replace(`"1781996400"`, `"1790000000"`),
	} {
		h, err := ParseHealth(evt)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if name == "a status of the future" && h.Status != HealthUnknown || name == "a state of the future" && h.Checks[1].State != CheckUnknown ||
			name == "half of the LND tags" && h.LND != nil || strings.HasPrefix(name, "a check") && h.Checks[0].Since != 0 {
			t.Errorf("%s: %+v", name, h)
		}
	}
}

func TestStatusOf(t *testing.T) {
	for _, c := range []struct {
		check       string
		state       CheckState
		maintenance bool
		want        HealthStatus
	}{
		{CheckLNDSync, CheckOK, false, HealthOK}, {CheckLNDSync, CheckOK, true, HealthDegraded},
		{CheckLNDSync, CheckWarn, false, HealthDegraded}, {CheckLNDSync, CheckFail, false, HealthDown}, {CheckLNDSync, CheckUnknown, false, HealthDown},
		{CheckPayouts, CheckFail, false, HealthDegraded}, {CheckPayouts, CheckUnknown, true, HealthDegraded},
		{CheckRelays, CheckWarn, false, HealthDegraded}, {CheckRelays, CheckFail, false, HealthDown}, {CheckRelays, CheckUnknown, false, HealthDegraded},
		{CheckDatabase, CheckFail, false, HealthDown}, {CheckCashuMint, CheckFail, true, HealthDown}, {CheckCashuMint, CheckUnknown, false, HealthDegraded},
		{"of the future", CheckFail, false, HealthDegraded},
	} {
		if got := StatusOf([]HealthCheck{{Name: "x", State: CheckOK}, {Name: c.check, State: c.state}}, c.maintenance); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	if got := StatusOf(nil, false); got != HealthOK {
		t.Errorf("no checks: %s", got)
	}
}

func TestHealthDetail(t *testing.T) {
	detail := HealthDetail{GeneratedAt: 1782000000, Relays: RelayDetail{Configured: 2, Connected: 1}}
	const cashu = `{"v":1,"generated_at":1782000000,"lnd":null,"payouts":null,"dev_fee":null,"relays":{"configured":2,"connected":1,"last_outage_started_at":null,"last_outage_ended_at":null},"maintenance":{"enabled":false,"reason":null}}`
	if got, err := detail.JSON(); err != nil || string(got) != cashu {
		t.Errorf("have %s, %v\nwant %s", got, err, cashu)
	}
	detail.LND = &LNDDetail{Reachable: true, Synced: new(false), UnsyncedSince: new(int64(1781999000))}
	detail.Payouts = &PayoutDetail{WindowSeconds: 3600, Failed: 3, FailureReasons: map[string]int64{"no_route": 2, "insufficient_balance": 1}}
	detail.DevFee = &DevFeeDetail{Failed: 1}
	detail.Maintenance = MaintenanceDetail{Enabled: true, Reason: new("lnd_unsynced <&>")}
	const lightning = `{"v":1,"generated_at":1782000000,"lnd":{"reachable":true,"synced_to_chain":false,"unsynced_since":1781999000,"block_height":null,"best_header_timestamp":null,"peers":null,"channels_active":null,"channels_inactive":null,"channels_pending":null,"outbound_liquidity_sats":null,"inbound_liquidity_sats":null,"pending_htlcs":null,"nearest_htlc_expiry_blocks":null},"payouts":{"window_secs":3600,"payouts_succeeded_1h":0,"payouts_failed_1h":3,"payouts_failed_orders_1h":0,"failure_reasons_1h":{"insufficient_balance":1,"no_route":2},"last_payout_success_at":null,"settled_unpaid_orders":null,"stale_settled_unpaid_orders":null,"oldest_settled_unpaid_order_age_secs":null,"awaiting_buyer_invoice_orders":null},"dev_fee":{"pending":null,"failed_1h":1},"relays":{"configured":2,"connected":1,"last_outage_started_at":null,"last_outage_ended_at":null},"maintenance":{"enabled":true,"reason":"lnd_unsynced <&>"}}`
	got, err := detail.JSON()
	if err != nil || string(got) != lightning {
		t.Errorf("have %s, %v\nwant %s", got, err, lightning)
	}
	back, err := ParseHealthDetail(got)
	detail.Version = 1
	if err != nil || !reflect.DeepEqual(back, detail) {
		t.Errorf("have %+v, %v\nwant %+v", back, err, detail)
	}
	detail.Payouts.FailureReasons = nil
	if got, err := detail.JSON(); err != nil || !strings.Contains(string(got), `"failure_reasons_1h":{}`) || detail.Payouts.FailureReasons != nil {
		t.Errorf("%s, %v", got, err)
	}
	detail.Maintenance.Reason = new(strings.Repeat("x", maxHealthDetail))
	if _, err := detail.JSON(); err == nil {
		t.Error("a detail above the limit is written")
	}
	for _, text := range []string{"", "null", "[]", `{"v":2}`, `{}`, `{"v":1,"lnd":{"peers":1.5}}`, cashu + "x", strings.Repeat("[", 30000), strings.Repeat(" ", maxHealthDetail) + cashu} {
		if d, err := ParseHealthDetail([]byte(text)); err == nil {
			t.Errorf("%.40s: %+v", text, d)
		}
	}
}

// FuzzHealthDetail checks that an accepted detail is written and parsed without a change.
func FuzzHealthDetail(f *testing.F) {
	f.Add([]byte(`{"v":1,"generated_at":1,"lnd":null,"payouts":{"failure_reasons_1h":{"a":1}},"relays":{},"maintenance":{"reason":"x"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := ParseHealthDetail(text)
		if err != nil {
			return
		}
		out, err := d.JSON()
		if err != nil {
			return // above the limit, because some members are written although absent
		}
		back, err := ParseHealthDetail(out)
		if err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if again, err := back.JSON(); err != nil || string(again) != string(out) {
			t.Fatalf("%s became %s, %v", out, again, err)
		}
	})
}

// TestStrangers checks the events of other applications that were seen on Mostro's kinds
// in October 2026.
func TestStrangers(t *testing.T) {
	other := strings.Repeat("ab", 32)
	for name, c := range map[string]struct {
		kind int
		tags string
	}{
		"paygress offer":                   {KindOrder, `[["d","paygress:offer:v1:vps-1"],["t","paygress"],["k","sell"],["f","USD"],["s","pending"],["amt","1000"]]`},
		"paygress offer as an order":       {KindOrder, `[["d","paygress:offer:v1:vps-1"],["t","paygress"],["k","sell"],["f","USD"],["s","pending"],["fa","1"],["pm","cashu"],["z","order"]]`},
		"paygress offer by its d":          {KindOrder, `[["d","paygress:offer:v1:vps-1"],["k","sell"],["f","USD"],["s","pending"],["z","order"]]`},
		"paygress heartbeat":               {KindUserRating, `[["d","` + other + `"],["t","paygress"],["status","online"]]`},
		"paygress heartbeat with a status": {KindUserRating, `[["d","` + other + `"],["t","paygress"],["z","heartbeat"],["total_reviews","1"],["total_rating","5"]]`},
		"paygress revocation":              {KindInfo, `[["d","lease-1"],["t","paygress"],["reason","expired"]]`},
		"paygress promotion":               {KindDispute, `[["d","promo-1"],["t","paygress"],["s","active"]]`},
		"bondtrade assignment":             {KindInfo, `[["d","` + testNode + `"],["y","bondtrade"],["z","assignment"]]`},
		"bondtrade settlement":             {KindDispute, `[["d","a"],["y","bondtrade"],["z","settlement"],["s","settled"]]`},
		"bondtrade dispute":                {KindDispute, `[["d","a"],["y","bondtrade"],["z","dispute"],["s","settled"],["initiator","buyer"]]`},
		"hall of fame":                     {KindInfo, `[["d","hall-of-fame"],["score","9000"],["player","x"]]`},
		"paygress dispute":                 {KindDispute, `[["d","promo-1"],["t","paygress"],["z","dispute"],["s","settled"],["initiator","buyer"]]`},
		"paygress info":                    {KindInfo, `[["d","` + testNode + `"],["t","paygress"],["z","info"],["mostro_version","1"]]`},
	} {
		evt := event(t, c.kind, c.tags)
		if got := Classify(evt); got != ClassForeign {
			t.Errorf("%s is %v", name, got)
		}
		if noun, err := parse(evt); noun != nil || err != nil {
			t.Errorf("%s: %+v, %v", name, noun, err)
		}
		if tags, ok := FactTags(evt); ok {
			t.Errorf("%s is evidence: %v", name, tags)
		}
	}
	// A node cannot hide an event with a tag of another application.
	if got := Classify(event(t, KindDispute, `[["d","a"],["t","paygress"],["s","initiated"],["initiator","buyer"],["y","mostro"],["z","dispute"]]`)); got != ClassDispute {
		t.Errorf("a dispute with one more tag is %v", got)
	}
	// The bridge of RoboSats publishes orders.
	if got := Classify(event(t, KindOrder, `[["d","robosats:http://x.onion:17"],["name","Fox"],["k","buy"],["f","EUR"],["s","pending"],["amt","0"],["fa","10"],["pm","SEPA"],["y","robosats","lake"],["z","order"]]`)); got != ClassOrder {
		t.Errorf("an order of RoboSats is %v", got)
	}
	var evt nostr.Event
	if err := json.Unmarshal([]byte(fuzzSeeds()[0]), &evt); err != nil || Classify(&evt) != ClassOrder {
		t.Errorf("an order is %v, %v", Classify(&evt), err)
	}
}
