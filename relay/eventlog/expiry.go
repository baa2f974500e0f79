package eventlog

import (
	"math"
	"strconv"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// expiry is a hidden live entry. seq tells its event from a later event in the same
// entry.
type expiry struct {
	entry uint32
	seq   uint64
}

// expiryHeap is a binary heap of expirations with their live entries. If an event was
// removed otherwise, its expiration stays in the heap until it is popped or compacted.
type expiryHeap []item

func (h *expiryHeap) push(e item) {
	s := append(*h, e)
	*h = s
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if s[up] <= s[i] {
			break
		}
		s[up], s[i] = s[i], s[up]
		i = up
	}
}

func (h *expiryHeap) pop() item {
	s := *h
	top := s[0]
	last := len(s) - 1
	s[0] = s[last]
	*h = s[:last]
	(*h).down(0)
	return top
}

func (h expiryHeap) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h[child+1] < h[child] {
			child++
		}
		if h[i] <= h[child] {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

// order makes a heap of expirations in any order.
func (h expiryHeap) order() {
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

// compactExpiries reduces the heap to one expiration per event. A live entry may have
// several equal expirations: versions of an order have the same end, and a new version
// often reuses the entry of the old one.
func (l *live) compactExpiries() {
	l.expiries = l.expiries[:0]
	for n := range l.entries.Len() {
		if s := l.entries.At(n); s.used && !s.hidden && s.expires() {
			l.expiries = append(l.expiries, makeItem(s.expiration, n))
		}
	}
	l.expiries.order()
	l.setNextExpiry()
}

// expires reports whether an entry has an expiration that fits into an item.
func (e *liveEntry) expires() bool { return e.expiration > 0 && e.expiration <= maxTime }

// expire hides the events that have expired at now (Unix seconds). It locks mu. If no
// event has expired, expire costs one atomic load.
func (l *live) expire(now int64) {
	if l.nextExpiry.Load() > now {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.expiries) > 0 && l.expiries[0].createdAt() <= now {
		if e := l.expiries.pop(); l.current(e) {
			l.hide(e.entry())
		}
	}
	l.setNextExpiry()
}

// hide removes an event from all answers. The committer moves its index entry later.
func (l *live) hide(n uint32) {
	l.unlink(n)
	s := l.entries.At(n)
	s.hidden = true
	l.uncache(s)
	l.hidden = append(l.hidden, expiry{n, s.seq})
}

// current reports whether an expiration applies to the event in its live entry. An
// equal expiration of an earlier event counts too.
func (l *live) current(e item) bool {
	s := l.entries.At(e.entry())
	return s.used && s.expiration == e.createdAt() && !s.hidden
}

func (l *live) setNextExpiry() {
	if len(l.expiries) == 0 {
		l.nextExpiry.Store(math.MaxInt64)
	} else {
		l.nextExpiry.Store(l.expiries[0].createdAt())
	}
}

// takeHidden returns the entries hidden since the last call.
func (l *live) takeHidden() []expiry {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.hidden
	l.hidden = nil
	return h
}

// ExpiredAt reports whether the first expiration tag (NIP-40) is at or before now. It
// returns false if the tag is missing or not a number.
func ExpiredAt(tags nostr.Tags, now time.Time) bool {
	for _, tag := range tags {
		if len(tag) >= 2 && tag[0] == "expiration" {
			at, err := strconv.ParseInt(tag[1], 10, 64)
			return err == nil && at <= now.Unix()
		}
	}
	return false
}
