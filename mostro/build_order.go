package mostro

import (
	"strconv"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// Event returns the order as a Mostro publishes it, ready to be signed: tags in
// mostrod's order, content empty. An order of any platform is written in Mostro's form.
//
// As in mostrod, a range, the maker's rating and the link are written only if the order
// is pending. mostrod does not write name, bond and geohash; if set, they follow the
// layer tag. NIP-69 has no bond in percent, so such a bond is omitted.
func (o Order) Event() nostr.Event {
	pending := o.Status == StatusPending
	amount, premium := int64(0), Decimal{}
	if o.AmountSats != nil {
		amount = *o.AmountSats
	}
	if o.PremiumPct != nil {
		premium = *o.PremiumPct
	}
	network, layers := o.Network, o.Layers
	if network == "" {
		network = "unknown"
	}
	if len(layers) == 0 {
		layers = []string{"lightning"}
	}
	w := TagWriter{{"d", o.D}}
	w.Add("k", string(o.Side))
	w.Add("f", o.Fiat)
	w.Add("s", o.publicStatus())
	w.Add("amt", strconv.FormatInt(amount, 10))
	w.Add("fa", publicFiat(o.FiatAmount, pending)...)
	w.Add("pm", splitList(strings.Join(o.Methods, ","))...)
	w.Add("premium", premium.String())
	if pending {
		w.Add("rating", mostroRating(o.MakerRating))
		w.text("source", o.Link)
	}
	w.Add("network", network)
	w.Add("layer", layers...)
	w.text("name", o.MakerName)
	if o.Bond != nil {
		w.Whole("bond", o.Bond.Sats)
	}
	w.text("g", o.Geohash)
	w.time("published_at", o.PublishedAt)
	w.time("expires_at", o.ExpiresAt)
	w.time("expiration", o.Expiration)
	w.Instance(o.InstanceName)
	w.Add("z", "order")
	w.text("cashu_mint_url", o.CashuMintURL)
	return nostr.Event{PubKey: o.Pubkey, CreatedAt: o.CreatedAt, Kind: KindOrder, Tags: nostr.Tags(w)}
}

// publicStatus returns the value of the `s` tag. If no dialect defines the status,
// publicStatus returns the status as published.
func (o Order) publicStatus() string {
	switch o.Status {
	case StatusUnknown:
		return o.RawStatus
	case StatusGone:
		return string(StatusCanceled) // NIP-69 has no "gone"; gone is not a success
	}
	return string(o.Status)
}

func publicFiat(r Range, pending bool) []string {
	switch {
	case r.Min == nil || r.Max == nil:
		return []string{"0"}
	case r.Min.Cmp(*r.Max) == 0:
		return []string{r.Min.String()}
	case !pending:
		return []string{"0"}
	}
	return []string{r.Min.String(), r.Max.String()}
}

// OrderLink returns the source tag of a Mostro's order: the link that a client opens to
// take the order. node is the Mostro's public key in hex.
func OrderLink(d string, relays []string, node string) string {
	return "mostro:" + d + "?relays=" + strings.Join(relays, ",") + "&mostro=" + node
}
