package mostro

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/internal/reference"
	"github.com/nbd-wtf/go-nostr"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// parse passes an event to the parser of its class. For a class without a parser in
// this package it returns nil.
func parse(evt *nostr.Event) (any, error) {
	switch Classify(evt) {
	case ClassOrder:
		return ParseOrder(evt)
	case ClassInfo:
		return ParseInfo(evt)
	case ClassDispute:
		return ParseDispute(evt)
	case ClassUserRating:
		return ParseUserRating(evt)
	case ClassDevFee:
		return ParseDevFee(evt)
	case ClassHostRating:
		return ParseHostRating(evt)
	case ClassProfile:
		return ParseProfile(evt)
	case ClassRelayList:
		return ParseRelayList(evt)
	case ClassRates:
		return ParseRates(evt)
	case ClassHealth:
		return ParseHealth(evt)
	}
	return nil, nil
}

// TestRealEvents compares the class and every parsed field of the captured events with
// the reviewed golden file.
func TestRealEvents(t *testing.T) {
	type row struct {
		ID    string
		Kind  int
		Class string
		Noun  any `json:",omitempty"`
	}
	var rows []row
	foreign := 0
	for _, evt := range reference.RealEvents(t) {
		noun, err := parse(evt)
		if err != nil {
			t.Errorf("%s: %v", evt.ID, err)
		}
		class := Classify(evt)
		if class == ClassForeign {
			foreign++
		}
		rows = append(rows, row{evt.ID, evt.Kind, class.String(), noun})
	}
	if foreign != 3 {
		t.Errorf("%d foreign events, want 3", foreign)
	}
	var got bytes.Buffer
	enc := json.NewEncoder(&got)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "\t")
	if err := enc.Encode(rows); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "real-events.json")
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		g, w := strings.Split(got.String(), "\n"), strings.Split(string(want), "\n")
		for i := range min(len(g), len(w)) {
			if g[i] != w[i] {
				t.Fatalf("line %d: got %q, want %q (run with -update and review the diff)", i+1, g[i], w[i])
			}
		}
		t.Fatalf("%d lines, want %d (run with -update and review the diff)", len(g), len(w))
	}
}

// TestRealEventsAgainstTags compares parsed fields with the raw tags, without the
// parsers' tolerance. On real events both agree.
func TestRealEventsAgainstTags(t *testing.T) {
	events := reference.RealEvents(t)
	counts := make(map[Class]int)
	for _, evt := range events {
		class := Classify(evt)
		counts[class]++
		noun, err := parse(evt)
		if err != nil {
			t.Errorf("%s: %v", evt.ID, err)
			continue
		}
		tags := make(map[string]nostr.Tag)
		for _, tag := range evt.Tags {
			tags[tag[0]] = tag[1:]
		}
		check := func(name, got string) {
			t.Helper()
			if len(tags[name]) == 0 {
				if got != "" {
					t.Errorf("%s: %s is %q without a tag", evt.ID, name, got)
				}
			} else if want := tags[name][0]; got != want {
				t.Errorf("%s: %s is %q, want %q", evt.ID, name, got, want)
			}
		}
		second := ""
		if len(tags["y"]) > 1 {
			second = tags["y"][1]
		}
		switch n := noun.(type) {
		case Order:
			check("d", n.D)
			check("k", string(n.Side))
			check("f", n.Fiat)
			check("s", n.RawStatus)
			check("s", string(n.Status)) // no RoboSats success is in the sample
			check("amt", wholeText(n.AmountSats))
			check("network", n.Network)
			check("layer", strings.Join(n.Layers, "|"))
			check("source", n.Link)
			check("expiration", wholeText(positive(n.Expiration)))
			check("y", strings.Replace(n.Platform, "bitway", "Bitway", 1))
			if n.InstanceName != second {
				t.Errorf("%s: instance %q, want %q", evt.ID, n.InstanceName, second)
			}
			if !slices.Equal(n.Methods, []string(tags["pm"])) {
				t.Errorf("%s: methods %q, want %q", evt.ID, n.Methods, tags["pm"])
			}
			fa := []string(tags["fa"])
			if low, _ := strconv.ParseFloat(fa[0], 64); n.FiatAmount.Min == nil && low != 0 || n.FiatAmount.Min != nil && n.FiatAmount.Min.Float() != low {
				t.Errorf("%s: fa %v, want %v", evt.ID, n.FiatAmount.Min, fa)
			}
			if high, _ := strconv.ParseFloat(fa[len(fa)-1], 64); n.FiatAmount.Max != nil && n.FiatAmount.Max.Float() != high {
				t.Errorf("%s: fa %v, want %v", evt.ID, n.FiatAmount.Max, fa)
			}
			if premium, _ := strconv.ParseFloat(tags["premium"][0], 64); n.PremiumPct.Float() != premium {
				t.Errorf("%s: premium %v, want %v", evt.ID, n.PremiumPct, premium)
			}
			if want := tags["expires_at"]; len(want) > 0 && wholeText(positive(n.ExpiresAt)) != want[0] {
				t.Errorf("%s: expires_at %v, want %v", evt.ID, n.ExpiresAt, want)
			}
		case Info:
			check("d", n.Pubkey)
			check("mostro_version", n.Version)
			check("mostro_commit_hash", n.Commit)
			check("max_order_amount", wholeText(n.MaxOrderSats))
			check("min_order_amount", wholeText(n.MinOrderSats))
			check("expiration_hours", wholeText(n.ExpirationHours))
			check("expiration_seconds", wholeText(n.ExpirationSeconds))
			check("fiat_currencies_accepted", strings.Join(n.Currencies, ","))
			check("max_orders_per_response", wholeText(n.MaxOrdersPerResponse))
			check("fee", n.Fee.String())
			check("pow", wholeText(n.Pow))
			check("pow_first_contact", wholeText(n.PowFirstContact))
			check("protocol_version", strconv.Itoa(n.ProtocolVersion))
			check("hold_invoice_expiration_window", wholeText(n.HoldInvoiceWindowSeconds))
			check("hold_invoice_cltv_delta", wholeText(n.HoldInvoiceCLTVDelta))
			check("invoice_expiration_window", wholeText(n.InvoiceWindowSeconds))
			check("escrow_mode", n.EscrowMode)
			check("cashu_mint_url", strings.Join(n.CashuMints, "|"))
			check("cashu_escrow_locktime_days", wholeText(n.CashuLocktimeDays))
			if n.Name != second {
				t.Errorf("%s: name %q, want %q", evt.ID, n.Name, second)
			}
			if (n.LND == nil) != (n.EscrowMode == "cashu") {
				t.Errorf("%s: Lightning node %+v with escrow mode %q", evt.ID, n.LND, n.EscrowMode)
			}
			if n.LND != nil {
				check("lnd_version", n.LND.Version)
				check("lnd_node_pubkey", n.LND.Pubkey)
				check("lnd_commit_hash", n.LND.Commit)
				check("lnd_node_alias", n.LND.Alias)
				check("lnd_chains", strings.Join(n.LND.Chains, ","))
				check("lnd_networks", strings.Join(n.LND.Networks, ","))
				check("lnd_uris", strings.Join(n.LND.URIs, ","))
			}
			check("bond_enabled", strconv.FormatBool(n.Bond.Enabled))
			check("bond_apply_to", n.Bond.ApplyTo)
			check("bond_base_amount_sats", wholeText(n.Bond.BaseSats))
			check("bond_payout_claim_window_days", wholeText(n.Bond.PayoutClaimDays))
			if n.Bond.Enabled {
				check("bond_amount_pct", n.Bond.AmountPct.String())
				check("bond_slash_node_share_pct", n.Bond.SlashNodeShare.String())
				check("bond_slash_on_waiting_timeout", strconv.FormatBool(*n.Bond.SlashOnTimeout))
			}
		case Dispute:
			check("d", n.D)
			check("s", string(n.State))
			check("initiator", n.Initiator)
			check("expiration", wholeText(positive(n.Expiration)))
			opened := tags["created_at"]
			if len(opened) == 0 {
				opened = tags["published_at"]
			}
			if wholeText(positive(n.OpenedAt)) != opened[0] || n.InstanceName != second {
				t.Errorf("%s: opened %v at %q, want %v at %q", evt.ID, n.OpenedAt, n.InstanceName, opened, second)
			}
		case UserRating:
			check("d", n.D)
			check("total_reviews", wholeText(n.TotalReviews))
			check("total_rating", strconv.FormatFloat(*n.TotalRating, 'f', -1, 64))
			check("last_rating", wholeText(n.LastRating))
			check("max_rate", wholeText(n.MaxRate))
			check("min_rate", wholeText(n.MinRate))
			check("days", wholeText(n.Days))
			check("since", wholeText(positive(n.Since)))
		case DevFee:
			check("order-id", n.OrderID)
			check("amount", strconv.FormatInt(n.AmountSats, 10))
			check("hash", n.Hash)
			check("destination", n.Destination)
			check("network", n.Network)
			check("expiration", wholeText(positive(n.Expiration)))
		case HostRating:
			check("d", n.Alias+":"+n.OrderID)
			check("p", n.Host)
			check("sig", n.Token)
			check("rating", n.Rating.String())
			if n.Platform != PlatformRoboSats {
				t.Errorf("%s: platform %q", evt.ID, n.Platform)
			}
		case RelayList:
			if len(n.Relays) != len(evt.Tags) {
				t.Errorf("%s: %d relays of %d", evt.ID, len(n.Relays), len(evt.Tags))
			}
			for i, use := range n.Relays {
				if use != (RelayUse{evt.Tags[i][1], true, true}) {
					t.Errorf("%s: %+v of %v", evt.ID, use, evt.Tags[i])
				}
			}
		}
	}
	for class, want := range map[Class]int{
		ClassOrder: 12, ClassInfo: 5, ClassDispute: 6, ClassUserRating: 1, ClassDevFee: 11,
		ClassHostRating: 1, ClassRelayList: 2, ClassForeign: 3,
	} {
		if counts[class] != want {
			t.Errorf("%d events are %v, want %d", counts[class], class, want)
		}
	}
}

func wholeText(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}

func positive(t nostr.Timestamp) *int64 {
	if t == 0 {
		return nil
	}
	return new(int64(t))
}

// TestRealEventsRebuilt checks that an event of a current Mostro is rebuilt with
// exactly the same tags, so that our own events cannot be distinguished from a
// Mostro's.
func TestRealEventsRebuilt(t *testing.T) {
	rebuilt, today := 0, make(map[string]int)
	for _, evt := range reference.RealEvents(t) {
		noun, err := parse(evt)
		if err != nil {
			t.Errorf("%s: %v", evt.ID, err)
			continue
		}
		tags := TagReader(evt.Tags)
		var got nostr.Event
		older := false
		switch n := noun.(type) {
		case Order:
			if n.Platform != PlatformMostro {
				continue
			}
			got = n.Event()
		case Info:
			got = n.Event()
			older = !tags.has("maintenance_mode") // the order of the tags was another before 0.19
		case Dispute:
			got = n.Event()
			older = tags.has("created_at") // published_at since 0.19
		case UserRating:
			got = n.Event()
		case DevFee:
			got = n.Event()
		case HostRating:
			got = n.Event()
		case RelayList:
			got = n.Event()
		default:
			continue
		}
		rebuilt++
		if older {
			if have, want := sortedTags(got.Tags), sortedTags(evt.Tags); have != want {
				t.Errorf("%s was rebuilt as\n%v\nfrom\n%v", evt.ID, have, want)
			}
			continue
		}
		today[fmt.Sprintf("%T", noun)]++
		if got.GetID() != evt.ID {
			t.Errorf("%s was rebuilt as\n%v\nfrom\n%v", evt.ID, got.Tags, evt.Tags)
		}
	}
	if rebuilt < 30 || today["mostro.Info"] == 0 || today["mostro.Dispute"] == 0 {
		t.Errorf("only %d events were rebuilt, in the form of today %v", rebuilt, today)
	}
}

// sortedTags returns the tags of an event in the order of their text, with the name that
// a dispute's time has today.
func sortedTags(tags nostr.Tags) string {
	var lines []string
	for _, tag := range tags {
		if tag[0] == "created_at" {
			tag = append(nostr.Tag{"published_at"}, tag[1:]...)
		}
		lines = append(lines, fmt.Sprintf("%q", tag))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
