package mostro

import (
	"reflect"
	"testing"

	"github.com/nbd-wtf/go-nostr"
	"pgregory.net/rapid"
)

// The generators draw values that our own programs would publish: trimmed texts,
// normalised codes and plausible numbers, and also absent values.

var (
	drawWord   = rapid.StringMatching(`[\pL0-9][\pL0-9 ñé🦫'"&<-]{0,10}[\pL0-9🇨🇺]`)
	drawHex    = rapid.StringMatching(`[0-9a-f]{64}`)
	drawID     = rapid.StringMatching(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}`)
	drawURL    = rapid.StringMatching(`https?://[a-z]{1,9}\.example(:[0-9]{1,5})?(/[a-z]{0,5})?`)
	drawFiat   = rapid.StringMatching(`[A-Z]{3}`)
	drawSats   = rapid.Int64Range(0, maxSats)
	drawSmall  = rapid.Int64Range(0, 100000)
	drawTime   = rapid.Custom(func(t *rapid.T) nostr.Timestamp { return nostr.Timestamp(rapid.Int64Range(0, 4e9).Draw(t, "time")) })
	drawMean   = rapid.Float64Range(0, 5)
	drawPrice  = rapid.Float64Range(1e-9, 1e18)
	drawNet    = rapid.SampledFrom([]string{"mainnet", "testnet", "signet", "regtest", "mainnet,signet", ""})
	drawAmount = rapid.Custom(func(t *rapid.T) *Decimal {
		return decimalOrNil(rapid.StringMatching(`[1-9][0-9]{0,8}(\.[0-9]{1,4})?`).Draw(t, "amount"))
	})
	drawShare = rapid.Custom(func(t *rapid.T) *Decimal {
		return decimalOrNil(rapid.StringMatching(`0(\.[0-9]{1,6})?|1`).Draw(t, "share"))
	})
)

// maybe draws a pointer that is nil in half of the cases.
func maybe[T any](t *rapid.T, name string, g *rapid.Generator[T]) *T {
	if rapid.Bool().Draw(t, "no "+name) {
		return nil
	}
	return new(g.Draw(t, name))
}

func some[T any](t *rapid.T, name string, g *rapid.Generator[T]) []T {
	list := rapid.SliceOfN(g, 0, 4).Draw(t, name)
	if len(list) == 0 {
		return nil
	}
	return list
}

func optional(t *rapid.T, name string, g *rapid.Generator[string]) string {
	if rapid.Bool().Draw(t, "no "+name) {
		return ""
	}
	return g.Draw(t, name)
}

// sameAfter builds an event, parses it and builds it again. Noun and tags must not
// change.
func sameAfter[T interface{ Event() nostr.Event }](t *rapid.T, noun T, parse func(*nostr.Event) (T, error)) {
	first := noun.Event()
	first.ID = "" // unsigned: no id to compare
	back, err := parse(&first)
	if err != nil {
		t.Fatalf("%v\nof %v", err, first)
	}
	if !reflect.DeepEqual(back, noun) {
		t.Fatalf("built  %+v\nparsed %+v\nfrom %v", noun, back, first)
	}
	if second := back.Event(); !reflect.DeepEqual(second, first) {
		t.Fatalf("built %v\nagain %v", first, second)
	}
}

func TestOrderRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Order{
			Pubkey: drawHex.Draw(t, "pubkey"), D: drawID.Draw(t, "d"), CreatedAt: drawTime.Draw(t, "created_at"),
			Platform: PlatformMostro, InstanceName: optional(t, "instance", drawWord),
			Side:   rapid.SampledFrom([]Side{SideBuy, SideSell}).Draw(t, "side"),
			Status: rapid.SampledFrom([]Status{StatusPending, StatusInProgress, StatusSuccess, StatusCanceled, StatusExpired}).Draw(t, "status"),
			Fiat:   drawFiat.Draw(t, "fiat"), AmountSats: new(drawSats.Draw(t, "sats")),
			PremiumPct: decimalOrNil(rapid.StringMatching(`-?[0-9]{1,3}(\.[0-9]{1,2})?`).Draw(t, "premium")),
			Network:    drawNet.Draw(t, "network"), Layers: []string{"lightning"},
			MakerName: optional(t, "name", drawWord), Geohash: optional(t, "geohash", rapid.StringMatching(`[0-9a-z]{1,9}`)),
			PublishedAt: drawTime.Draw(t, "published_at"),
			Expiration:  drawTime.Draw(t, "expiration"), CashuMintURL: optional(t, "mint", drawURL),
		}
		o.Methods = append(o.Methods, some(t, "methods", drawWord)...)
		// The parser normalises spaces inside a method.
		o.Methods = methods(TagReader{append(nostr.Tag{"pm"}, o.Methods...)}, &plainDialect)
		if len(o.Methods) == 0 {
			o.Methods = nil
		}
		if o.RawStatus = string(o.Status); o.Status == StatusPending {
			o.Link = OrderLink(o.D, []string{"wss://relay.example"}, o.Pubkey)
			if rapid.Bool().Draw(t, "rated") {
				o.MakerRating = &MakerRating{Max: 5, Reviews: new(drawSmall.Draw(t, "reviews")), Days: new(drawSmall.Draw(t, "days")), Since: startOfDay(drawTime.Draw(t, "since"))}
				if *o.MakerRating.Reviews > 0 {
					o.MakerRating.Mean = new(drawMean.Draw(t, "mean"))
				}
			}
		}
		if sats := maybe(t, "bond", drawSats); sats != nil {
			o.Bond = &Bond{Sats: sats}
		}
		if low := maybe(t, "fiat amount", drawAmount); low != nil {
			o.FiatAmount = Range{Min: *low, Max: *low}
			if high := drawAmount.Draw(t, "high"); o.Status == StatusPending && high.Cmp(**low) > 0 {
				o.FiatAmount.Max = high
			}
		}
		if o.ExpiresAt = drawTime.Draw(t, "expires_at"); o.ExpiresAt == 0 {
			o.ExpiresAt = o.Expiration
		}
		sameAfter(t, o, ParseOrder)
	})
}

func TestInfoRoundTrip(t *testing.T) {
	whole := func(t *rapid.T, name string) *int64 { return maybe(t, name, drawSmall) }
	share := func(t *rapid.T, name string) *Decimal {
		if d := maybe(t, name, drawShare); d != nil {
			return *d
		}
		return nil
	}
	rapid.Check(t, func(t *rapid.T) {
		i := Info{
			Pubkey: drawHex.Draw(t, "pubkey"), CreatedAt: drawTime.Draw(t, "created_at"),
			Name: optional(t, "name", drawWord), Version: optional(t, "version", drawWord), Commit: optional(t, "commit", drawHex),
			MinOrderSats: maybe(t, "min", drawSats), MaxOrderSats: maybe(t, "max", drawSats),
			ExpirationHours: whole(t, "hours"), ExpirationSeconds: whole(t, "seconds"),
			AnyCurrency: rapid.Bool().Draw(t, "any currency"), MaxOrdersPerResponse: whole(t, "per response"),
			Fee: share(t, "fee"), Pow: whole(t, "pow"), PowFirstContact: whole(t, "first contact"),
			ProtocolVersion:          rapid.IntRange(1, 3).Draw(t, "protocol"),
			HoldInvoiceWindowSeconds: whole(t, "hold window"), HoldInvoiceCLTVDelta: whole(t, "cltv"), InvoiceWindowSeconds: whole(t, "window"),
			Maintenance: maybe(t, "maintenance", rapid.Bool()),
			Serbero:     optional(t, "serbero", drawHex), ReputationIssuer: optional(t, "issuer", drawHex),
		}
		if rapid.Bool().Draw(t, "imports") {
			i.ReputationImport = new(ReputationIssuers)
			for _, key := range some(t, "trusted", drawHex) {
				i.ReputationImport.Keys = appendNew(i.ReputationImport.Keys, key)
			}
		}
		if !i.AnyCurrency {
			for _, code := range some(t, "currencies", drawFiat) {
				i.Currencies = appendNew(i.Currencies, code)
			}
		}
		if rapid.Bool().Draw(t, "cashu") {
			i.EscrowMode, i.CashuLocktimeDays = "cashu", whole(t, "locktime")
			for _, url := range some(t, "mints", drawURL) {
				i.CashuMints = appendNew(i.CashuMints, url)
			}
		} else {
			i.EscrowMode, i.EscrowDeadlineMarginBlocks = rapid.SampledFrom([]string{"lightning", ""}).Draw(t, "mode"), whole(t, "margin")
			i.LND = &LightningNode{
				Version: optional(t, "lnd", drawWord), Pubkey: optional(t, "lnd pubkey", drawHex), Alias: optional(t, "alias", drawWord),
				Networks: networkList(drawNet.Draw(t, "networks")), URIs: some(t, "uris", rapid.StringMatching(`[0-9a-f]{66}@[a-z]{1,9}\.onion:9735`)),
			}
		}
		if rapid.Bool().Draw(t, "bonds known") {
			i.Bond = &BondPolicy{Enabled: rapid.Bool().Draw(t, "bonds")}
			if i.Bond.Enabled {
				i.Bond.AmountPct, i.Bond.BaseSats, i.Bond.ApplyTo = share(t, "bond share"), maybe(t, "base", drawSats), "both"
				i.Bond.SlashOnTimeout, i.Bond.SlashNodeShare, i.Bond.PayoutClaimDays = maybe(t, "slash", rapid.Bool()), share(t, "node share"), whole(t, "days")
			}
		}
		sameAfter(t, i, ParseInfo)
	})
}

func TestDisputeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Dispute{
			Pubkey: drawHex.Draw(t, "pubkey"), D: drawID.Draw(t, "d"), CreatedAt: drawTime.Draw(t, "created_at"),
			State: rapid.SampledFrom([]DisputeState{
				DisputeStateInitiated, DisputeStateInProgress, DisputeStateSellerRefunded, DisputeStateSettled, DisputeStateReleased, DisputeStateCooperativelyCanceled,
			}).Draw(t, "state"),
			Initiator: rapid.SampledFrom([]string{"buyer", "seller", ""}).Draw(t, "initiator"), OpenedAt: drawTime.Draw(t, "opened"),
			InstanceName: optional(t, "instance", drawWord), Expiration: drawTime.Draw(t, "expiration"),
		}
		d.RawState = string(d.State)
		sameAfter(t, d, ParseDispute)

		old := d.LegacyEvent()
		back, err := ParseDispute(&old)
		want := d.State
		if want == DisputeStateCooperativelyCanceled {
			want = DisputeStateSellerRefunded // 2023 has no other word
		}
		if err != nil || back.State != want || back.D != d.D {
			t.Fatalf("the form of 2023 gave %+v, %v", back, err)
		}
	})
}

func TestUserRatingRoundTrip(t *testing.T) {
	vote := rapid.Int64Range(0, 5)
	rapid.Check(t, func(t *rapid.T) {
		sameAfter(t, UserRating{
			Pubkey: drawHex.Draw(t, "pubkey"), D: drawHex.Draw(t, "d"), CreatedAt: drawTime.Draw(t, "created_at"),
			TotalReviews: new(drawSmall.Draw(t, "reviews")), TotalRating: new(drawMean.Draw(t, "mean")), LastRating: maybe(t, "last", vote),
			MaxRate: maybe(t, "max", vote), MinRate: maybe(t, "min", vote), Days: maybe(t, "days", drawSmall),
			Since: startOfDay(drawTime.Draw(t, "since")), Expiration: drawTime.Draw(t, "expiration"),
		}, ParseUserRating)
	})
}

func TestDevFeeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sameAfter(t, DevFee{
			Pubkey: drawHex.Draw(t, "pubkey"), CreatedAt: drawTime.Draw(t, "created_at"),
			OrderID: drawID.Draw(t, "order"), AmountSats: drawSats.Draw(t, "amount"), Hash: drawHex.Draw(t, "hash"),
			Destination: optional(t, "destination", drawWord), Network: drawNet.Draw(t, "network"),
			InstanceName: optional(t, "instance", drawWord), Expiration: drawTime.Draw(t, "expiration"),
		}, ParseDevFee)
	})
}

func TestProfileRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := func(name string) string { return optional(t, name, drawWord) }
		sameAfter(t, Profile{
			Pubkey: drawHex.Draw(t, "pubkey"), CreatedAt: drawTime.Draw(t, "created_at"),
			Name: text("name"), DisplayName: text("display"), About: text("about"), Website: text("website"), Picture: text("picture"),
			Banner: text("banner"), NIP05: text("nip05"), LUD06: text("lud06"), LUD16: text("lud16"),
		}, ParseProfile)
	})
}

func TestRelayListRoundTrip(t *testing.T) {
	use := rapid.Custom(func(t *rapid.T) RelayUse {
		marker := rapid.IntRange(0, 2).Draw(t, "marker")
		return RelayUse{URL: rapid.StringMatching(`wss?://[a-z]{1,9}\.example(:[1-9][0-9]{0,3})?(/[a-z]{0,5})?`).Draw(t, "url"), Read: marker != 1, Write: marker != 2}
	})
	rapid.Check(t, func(t *rapid.T) {
		l := RelayList{Pubkey: drawHex.Draw(t, "pubkey"), CreatedAt: drawTime.Draw(t, "created_at")}
		if uses := rapid.SliceOfNDistinct(use, 0, 5, func(u RelayUse) string { return u.URL }).Draw(t, "relays"); len(uses) > 0 {
			l.Relays = uses
		}
		sameAfter(t, l, ParseRelayList)
	})
}

func TestRatesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rates{
			Pubkey: drawHex.Draw(t, "pubkey"), CreatedAt: drawTime.Draw(t, "created_at"),
			BTC:         rapid.MapOfN(drawFiat, drawPrice, 1, 5).Draw(t, "btc"),
			PublishedAt: drawTime.Draw(t, "published_at"), Expiration: drawTime.Draw(t, "expiration"),
		}
		if rapid.Bool().Draw(t, "sources") {
			r.Sources = []string{"coingecko", "yadio"}
		}
		sameAfter(t, r, ParseRates)
	})
}

func TestHostRatingRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := HostRating{
			Pubkey: drawHex.Draw(t, "pubkey"), CreatedAt: drawTime.Draw(t, "created_at"),
			Host: drawHex.Draw(t, "host"), Rating: *drawShare.Draw(t, "rating"), Text: optional(t, "text", drawWord),
			Expiration: drawTime.Draw(t, "expiration"), Role: rapid.SampledFrom([]string{"buyer", "seller", ""}).Draw(t, "role"),
		}
		for _, aspect := range some(t, "aspects", rapid.StringMatching(`[a-z]{1,8}`)) {
			if r.Aspects == nil {
				r.Aspects = make(map[string]Decimal)
			}
			r.Aspects[aspect] = *drawShare.Draw(t, aspect)
		}
		if rapid.Bool().Draw(t, "robosats") {
			r.Platform, r.Alias, r.OrderID = PlatformRoboSats, "lake", "138621"
			r.Token = drawHex.Draw(t, "token") + drawHex.Draw(t, "token 2")
		} else {
			r.Platform, r.Alias, r.OrderID = PlatformMostro, PlatformMostro, drawID.Draw(t, "order")
			r.Order = "38383:" + r.Host + ":" + r.OrderID
			r.Receipt = some(t, "receipt", drawHex)
		}
		r.D = r.Alias + ":" + r.OrderID
		sameAfter(t, r, ParseHostRating)
	})
}
