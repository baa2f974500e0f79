package mostro

import (
	"slices"

	"github.com/nbd-wtf/go-nostr"
)

// factTags are the tags that make a Mostro's public events evidence: the order,
// dispute, fee or node, its state, amounts and times.
var factTags = []string{"d", "y", "z", "s", "k", "f", "fa", "amt", "pm", "premium", "network", "layer", "expires_at", "expiration",
	"initiator", "created_at", "published_at", "order-id", "amount", "hash", "mostro_version", "protocol_version", "lnd_node_pubkey",
	"total_reviews", "total_rating", "bolt11", "preimage", "lnd_signature"}

// maxFactTag bounds the values of one kept tag, in bytes.
const maxFactTag = 1024

// FactTags returns the tags of an event that the relay keeps as facts after the author
// deleted the event. ok is false if the event is no evidence about its author. Free
// text, links, names and ratings of makers are not kept.
func FactTags(evt *nostr.Event) (tags nostr.Tags, ok bool) {
	switch Classify(evt) {
	case ClassOrder:
		if o, err := ParseOrder(evt); err != nil || o.Platform != PlatformMostro && o.Platform != "" {
			return nil, false
		}
	case ClassDispute, ClassInfo, ClassDevFee, ClassUserRating:
	default:
		return nil, false
	}
	tags = nostr.Tags{}
	for _, tag := range evt.Tags {
		if len(tag) < 2 || !slices.Contains(factTags, tag[0]) {
			continue
		}
		size := 0
		for _, v := range tag {
			size += len(v)
		}
		if size > maxFactTag {
			return nil, false // an id or a state is never that long
		}
		if tag[0] == "pm" {
			tag = tag[:2]
		}
		tags = append(tags, tag)
	}
	return tags, true
}
