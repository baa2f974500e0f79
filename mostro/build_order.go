package mostro

import (
	"strconv"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// Event builds the order as a Mostro publishes it, ready to be signed: tags in
// mostrod's order, content empty. Whatever platform the order came from, it is
// written in Mostro's own form.
//
// As mostrod does, a range, the maker's rating and the link are stated only
// while the order is pending. Name, bond, geohash and published_at, which
// mostrod (0.18) does not write, come after layer when they are set. A bond
// in percent has no place in NIP-69 and is left out.
func (o Order) Event() nostr.Event {
	pending := o.Status == StatusPending
	tags := nostr.Tags{
		{"d", o.D},
		{"k", string(o.Side)},
		{"f", o.Fiat},
		{"s", o.publicStatus()},
		{"amt", "0"},
		fiatTag(o.FiatAmount, pending),
		append(nostr.Tag{"pm"}, splitList(strings.Join(o.Methods, ","))...),
		{"premium", "0"},
	}
	if o.AmountSats != nil {
		tags[4][1] = strconv.FormatInt(*o.AmountSats, 10)
	}
	if o.PremiumPct != nil {
		tags[7][1] = o.PremiumPct.String()
	}
	if pending {
		tags = append(tags, nostr.Tag{"rating", mostroRating(o.MakerRating)})
		if o.Link != "" {
			tags = append(tags, nostr.Tag{"source", o.Link})
		}
	}
	network, layers := o.Network, o.Layers
	if network == "" {
		network = "unknown"
	}
	if len(layers) == 0 {
		layers = []string{"lightning"}
	}
	tags = append(tags, nostr.Tag{"network", network}, append(nostr.Tag{"layer"}, layers...))
	if o.MakerName != "" {
		tags = append(tags, nostr.Tag{"name", o.MakerName})
	}
	if o.Bond != nil && o.Bond.Sats != nil {
		tags = append(tags, nostr.Tag{"bond", strconv.FormatInt(*o.Bond.Sats, 10)})
	}
	if o.Geohash != "" {
		tags = append(tags, nostr.Tag{"g", o.Geohash})
	}
	tags = appendTime(tags, "published_at", o.PublishedAt)
	tags = appendTime(tags, "expires_at", o.ExpiresAt)
	tags = appendTime(tags, "expiration", o.Expiration)
	tags = append(tags, instanceTag(o.InstanceName), nostr.Tag{"z", "order"})
	return nostr.Event{PubKey: o.Pubkey, CreatedAt: o.CreatedAt, Kind: KindOrder, Tags: tags}
}

// publicStatus gives the value of `s`. A status that no dialect explains is
// passed on as it came.
func (o Order) publicStatus() string {
	switch o.Status {
	case StatusUnknown:
		return o.RawStatus
	case StatusGone:
		return string(StatusCanceled) // NIP-69 has no "gone"; it is not a success
	}
	return string(o.Status)
}

func fiatTag(r Range, pending bool) nostr.Tag {
	switch {
	case r.Min == nil || r.Max == nil:
		return nostr.Tag{"fa", "0"}
	case r.Min.Cmp(*r.Max) == 0:
		return nostr.Tag{"fa", r.Min.String()}
	case !pending:
		return nostr.Tag{"fa", "0"}
	}
	return nostr.Tag{"fa", r.Min.String(), r.Max.String()}
}

func appendTime(tags nostr.Tags, name string, t nostr.Timestamp) nostr.Tags {
	if t <= 0 {
		return tags
	}
	return append(tags, nostr.Tag{name, timestampText(t)})
}

// OrderLink gives the source of a Mostro's order: what a client opens to take
// it. node is the Mostro's public key in hex.
func OrderLink(d string, relays []string, node string) string {
	return "mostro:" + d + "?relays=" + strings.Join(relays, ",") + "&mostro=" + node
}
