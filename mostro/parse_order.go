package mostro

import (
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// maxSats is the greatest amount of sats that can exist. A greater number is not an
// amount of sats.
const maxSats = 21_000_000 * 100_000_000

// ParseOrder parses an order of any dialect. It returns ErrForeign if the event is of
// another class, and ErrMalformedEvent if the order has no address, side, currency or
// status. If any other tag is absent or malformed, its field is unknown.
func ParseOrder(evt *nostr.Event) (Order, error) {
	if err := Expect(evt, ClassOrder); err != nil {
		return Order{}, err
	}
	t := TagReader(evt.Tags)
	platform, second := t.Claim()
	d := dialectOf(platform)
	o := Order{
		EventID: evt.ID, Pubkey: evt.PubKey, D: evt.Tags.GetD(), CreatedAt: evt.CreatedAt,
		Platform: platform, InstanceName: instanceName(platform, second),
		RawStatus:   kebab(t.Value("s")),
		AmountSats:  amountSats(t, d),
		PremiumPct:  t.decimal("premium"),
		Methods:     methods(t, d),
		Network:     network(t),
		Layers:      layers(t),
		MakerRating: makerRating(t.values("rating"), d.ratingMax),
		MakerName:   t.Value("name"),
		Bond:        bond(t, d),
		Geohash:     t.Value("g"),
		PublishedAt: t.time("published_at"),
		ExpiresAt:   t.time("expires_at"),
		Expiration:  t.time("expiration"),
		Link:        t.Value("source"),

		CashuMintURL: t.Value("cashu_mint_url"),
	}
	if o.D == "" {
		return Order{}, MalformedEvent(evt, "no d")
	}
	switch strings.ToLower(t.Value("k")) {
	case "buy":
		o.Side = SideBuy
	case "sell":
		o.Side = SideSell
	default:
		return Order{}, MalformedEvent(evt, "k is neither buy nor sell")
	}
	if o.Fiat = strings.ToUpper(t.Value("f")); !isCurrency(o.Fiat) {
		return Order{}, MalformedEvent(evt, "f is no currency code")
	}
	if o.RawStatus == "" {
		return Order{}, MalformedEvent(evt, "no s")
	}
	o.Status = statusOf(d, o.RawStatus)
	o.FiatAmount = fiatAmount(t.values("fa"))
	if o.PublishedAt == 0 {
		o.PublishedAt = t.time("created_at") // an order's own tag, not the event's
	}
	if o.ExpiresAt == 0 {
		o.ExpiresAt = o.Expiration
	}
	if !d.noText {
		o.Description = strings.TrimSpace(evt.Content)
	}
	return o, nil
}

// isCurrency accepts ISO 4217 and the extras in use (MLC, BTC, USDT, ...).
func isCurrency(code string) bool {
	if code == "" || len(code) > 16 {
		return false
	}
	for i := 0; i < len(code); i++ {
		c := code[i]
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// statuses maps the statuses that Mostro and other platforms publish, in kebab-case, to
// their buckets.
var statuses = map[string]Status{
	"pending":            StatusPending,
	"waiting-taker-bond": StatusPending,

	"waiting-payment":       StatusInProgress,
	"waiting-buyer-invoice": StatusInProgress,
	"in-progress":           StatusInProgress,
	"active":                StatusInProgress,
	"fiat-sent":             StatusInProgress,
	"settled-hold-invoice":  StatusInProgress,
	"dispute":               StatusInProgress,
	"paid-hold-invoice":     StatusInProgress,
	"frozen":                StatusInProgress,

	"canceled":               StatusCanceled,
	"cancelled":              StatusCanceled,
	"canceled-by-admin":      StatusCanceled,
	"cooperatively-canceled": StatusCanceled,
	"hold-invoice-expired":   StatusCanceled,
	"error":                  StatusCanceled,
	"closed":                 StatusCanceled,

	"success":            StatusSuccess,
	"completed-by-admin": StatusSuccess,
	"settled-by-admin":   StatusSuccess,

	"expired": StatusExpired,
}

// statusOf returns the bucket of a status in a dialect.
func statusOf(d *dialect, raw string) Status {
	if s, ok := d.statuses[raw]; ok {
		return s
	}
	return statuses[raw]
}

// amountSats returns the amount of an order in a dialect.
func amountSats(t TagReader, d *dialect) *int64 {
	amount := statedSats(t)
	if d.amount != nil {
		return d.amount(t, amount)
	}
	return amount
}

// statedSats reads the `amt` tag: an integer, perhaps written as a float. Two different
// values are a range of sats, so there is no single amount.
func statedSats(t TagReader) *int64 {
	var amount *int64
	for i, v := range t.values("amt") {
		n := wholeNumber(strings.TrimSpace(v))
		if n == nil || *n > maxSats || i > 0 && *n != *amount {
			return nil
		}
		amount = n
	}
	return amount
}

// fiatAmount reads the `fa` tag: one value, two values, or the old "10-20" in one
// value. Mostro writes 0 for a range that is no longer pending, and no order has an
// amount of 0, so a single 0 states no amount. Two values in the wrong order still
// bound the amount.
func fiatAmount(values []string) Range {
	if len(values) == 1 {
		one := strings.TrimSpace(values[0])
		if low, high, ok := strings.Cut(one, "-"); ok && low != "" {
			values = []string{low, high}
		} else {
			values = []string{one, one}
		}
	}
	if len(values) < 2 {
		return Range{}
	}
	low, high := decimalOrNil(values[0]), decimalOrNil(values[1])
	if low == nil || high == nil {
		return Range{}
	}
	if low.Cmp(*high) > 0 {
		low, high = high, low
	}
	if low.Sign() < 0 || high.Sign() == 0 {
		return Range{}
	}
	return Range{Min: low, Max: high}
}

// methods reads the `pm` tags. If an event has several `f` tags (an old Peach bridge),
// it has one `d`, `pm` and `f` per currency, and the first of each belong together. If
// an event has one `f` tag, several `pm` tags form one list.
func methods(t TagReader, d *dialect) []string {
	var values []string
	if t.count("f") > 1 {
		values = t.values("pm")
	} else {
		for _, tag := range t {
			if len(tag) >= 2 && tag[0] == "pm" {
				values = append(values, tag[1:]...)
			}
		}
	}
	switch {
	case d.methods != nil:
		values = d.methods(values)
	case len(values) == 1:
		values = splitList(values[0])
	}
	var out []string
	for _, v := range values {
		if v = strings.Join(strings.Fields(v), " "); v != "" {
			out = append(out, v)
		}
	}
	return out
}

// networks maps each spelling of a chain to the spelling of Mostro.
var networks = map[string]string{
	"main": "mainnet", "bitcoin": "mainnet", "bc": "mainnet", "mainnet": "mainnet",
	"test": "testnet", "testnet3": "testnet", "testnet": "testnet",
	"unknown": "",
}

// network reads the `network` tag, or `n`, which RoboSats used until the end of 2024.
// If a list names the same network several times, network returns that network.
func network(t TagReader) string {
	value := t.Value("network")
	if value == "" {
		value = t.Value("n")
	}
	return strings.Join(networkList(value), ",")
}

func networkList(value string) []string {
	var out []string
	for _, name := range splitList(strings.ToLower(value)) {
		if known, ok := networks[name]; ok {
			name = known
		}
		out = appendNew(out, name)
	}
	return out
}

func layers(t TagReader) []string {
	var out []string
	for _, v := range t.values("layer") {
		for _, layer := range splitList(strings.ToLower(v)) {
			out = appendNew(out, layer)
		}
	}
	return out
}

// maxDistinct bounds the values of one list of an event. An event may hold tens of
// thousands of values, and each value is compared with all earlier ones.
const maxDistinct = 300

// appendNew appends s unless s is empty, is already in the list, or the list has
// maxDistinct values.
func appendNew(list []string, s string) []string {
	if s == "" || len(list) >= maxDistinct {
		return list
	}
	for _, have := range list {
		if have == s {
			return list
		}
	}
	return append(list, s)
}

func bond(t TagReader, d *dialect) *Bond {
	if d.bond != nil {
		return d.bond(t)
	}
	if n := t.Whole("bond"); n != nil && *n <= maxSats {
		return &Bond{Sats: n}
	}
	return nil
}
