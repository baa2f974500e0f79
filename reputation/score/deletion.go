package score

import (
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// deletion records a deletion request. A user can take back a rating. The facts about a
// node stay, and the request of a node is recorded.
func (l *Ledger) deletion(evt *nostr.Event, s Sighting) {
	for _, tag := range evt.Tags {
		if len(tag) < 2 {
			continue
		}
		switch tag[0] {
		case "e":
			l.book.gone(evt, tag[1])
			if n := l.book.Nodes[evt.PubKey]; n != nil && n.orders.len() > 0 {
				n.erase(evt.ID, s)
				l.dirty[evt.PubKey] = true
			}
		case "a":
			kind, rest, _ := strings.Cut(tag[1], ":")
			author, d, _ := strings.Cut(rest, ":")
			if author != evt.PubKey {
				continue
			}
			switch kind {
			case "31986":
				l.book.gone(evt, d)
			case "38383", "38386", "38385", "8383":
				l.node(evt.PubKey).erase(evt.ID, s)
			}
		}
	}
}

// erase notes that a node asked to delete evidence.
func (n *node) erase(eventID string, s Sighting) {
	held, ok := n.Erased[eventID]
	n.tree.replace(held, ok, s)
	n.Erased[eventID] = s
}

// gone records that an author deleted the events under an id or a d tag.
func (b *book) gone(evt *nostr.Event, what string) {
	key := evt.PubKey + ":" + what
	b.Gone[key] = max(b.Gone[key], int64(evt.CreatedAt))
	if b.quitters != nil {
		b.quitters[evt.PubKey] = true
	}
}

// ready builds the index that derive only reads. No other method may run at the same time.
func (b *book) ready() {
	if b.quitters == nil {
		b.quitters = make(map[string]bool, len(b.Gone))
		for key := range b.Gone {
			b.quitters[nodeOf(key)] = true
		}
	}
}

// takenBack reports whether the author of a rating deleted the rating.
func (b *book) takenBack(r *rated) bool {
	if !b.quitters[r.Rater] {
		return false
	}
	if _, ok := b.Gone[r.Rater+":"+r.ID.String()]; ok {
		return true
	}
	until, ok := b.Gone[r.Rater+":"+r.D]
	return ok && r.Created <= until
}
