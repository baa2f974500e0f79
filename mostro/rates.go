package mostro

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// ratesD is the d tag of a node's rates. Every application may use kind 30078.
const ratesD = "mostro-rates"

// Rates is a node's table of the price of one bitcoin. Anyone can publish such a table,
// so a reader must check the author and Expiration.
type Rates struct {
	EventID   string
	Pubkey    string // the node
	CreatedAt nostr.Timestamp

	BTC         map[string]float64 // price of 1 BTC by currency code, each finite and above 0
	Sources     []string           // provider ids
	PublishedAt nostr.Timestamp    // 0 unknown
	Expiration  nostr.Timestamp    // NIP-40; 0 none
}

// ParseRates parses kind 30078 with d=mostro-rates. A price that is null, not a number
// or not above 0 is omitted. If the table has no price, ParseRates returns an error.
// The error is an EventError.
func ParseRates(evt *nostr.Event) (Rates, error) {
	if err := Expect(evt, ClassRates); err != nil {
		return Rates{}, err
	}
	t := TagReader(evt.Tags)
	r := Rates{
		EventID: evt.ID, Pubkey: evt.PubKey, CreatedAt: evt.CreatedAt, BTC: make(map[string]float64),
		Sources: t.list("source"), PublishedAt: t.time("published_at"), Expiration: t.time("expiration"),
	}
	var content struct{ BTC map[string]json.RawMessage }
	if json.Unmarshal([]byte(evt.Content), &content) != nil {
		return Rates{}, MalformedEvent(evt, "content is not a table of rates")
	}
	// If a currency has two spellings, both are omitted, because no order shows which
	// price is right.
	spelt := make(map[string]int)
	for code, raw := range content.BTC {
		code = strings.ToUpper(strings.TrimSpace(code))
		var price float64
		if !isCurrency(code) || json.Unmarshal(raw, &price) != nil || price <= 0 {
			continue
		}
		if spelt[code]++; spelt[code] > 1 {
			delete(r.BTC, code)
			continue
		}
		r.BTC[code] = price
	}
	if len(r.BTC) == 0 {
		return Rates{}, MalformedEvent(evt, "no price")
	}
	return r, nil
}

// Event returns the table as a Mostro publishes it, ready to be signed: currencies in
// alphabetical order, prices as serde writes floats.
func (r Rates) Event() nostr.Event {
	var b strings.Builder
	b.WriteString(`{"BTC":{`)
	for i, code := range slices.Sorted(maps.Keys(r.BTC)) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + code + `":` + serdeFloat(r.BTC[code]))
	}
	b.WriteString(`}}`)
	w := TagWriter{{"d", ratesD}}
	w.time("published_at", r.PublishedAt)
	w.text("source", strings.Join(slices.Sorted(slices.Values(r.Sources)), ","))
	w.time("expiration", r.Expiration)
	return nostr.Event{PubKey: r.Pubkey, CreatedAt: r.CreatedAt, Kind: KindAppData, Tags: nostr.Tags(w), Content: b.String()}
}
