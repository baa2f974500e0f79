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
			l.gone(evt, tag[1])
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
				l.gone(evt, d)
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
func (l *Ledger) gone(evt *nostr.Event, what string) {
	key := evt.PubKey + ":" + what
	l.book.Gone[key] = max(l.book.Gone[key], int64(evt.CreatedAt))
	if l.quitters != nil {
		l.quitters[evt.PubKey] = true
	}
}

// ready builds the index that derive only reads. No other method may run at the same time.
func (l *Ledger) ready() {
	if l.quitters == nil {
		l.quitters = make(map[string]bool, len(l.book.Gone))
		for key := range l.book.Gone {
			l.quitters[nodeOf(key)] = true
		}
	}
}

// takenBack reports whether the author of a rating deleted the rating.
func (l *Ledger) takenBack(r *rated) bool {
	if !l.quitters[r.Rater] {
		return false
	}
	if _, ok := l.book.Gone[r.Rater+":"+r.ID.String()]; ok {
		return true
	}
	until, ok := l.book.Gone[r.Rater+":"+r.D]
	return ok && r.Created <= until
}
