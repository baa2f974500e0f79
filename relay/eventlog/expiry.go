package eventlog

import (
	"math"
	"strconv"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// expiry is a hidden slot: seq tells its present event from a later one.
type expiry struct {
	entry uint32
	seq   uint64
}

// expiryHeap is a binary heap of expirations with their slots. Entries of
// events that went another way stay until they are popped or compacted.
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

// order makes a heap of entries in any order.
func (h expiryHeap) order() {
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

// compactExpiries leaves one entry for each event that will expire. A slot may
// have several that say the same: versions of an order end alike, and a new
// one often gets the slot of the one before it.
func (l *live) compactExpiries() {
	l.expiries = l.expiries[:0]
	for n := range l.entries.n {
		if s := l.entries.at(n); s.used && !s.hidden && s.expires() {
			l.expiries = append(l.expiries, makeItem(s.expiration, n))
		}
	}
	l.expiries.order()
	l.setNextExpiry()
}

// expires says whether a slot has an end that comes before that of the calendar.
func (e *liveEntry) expires() bool { return e.expiration > 0 && e.expiration <= maxTime }

// expire hides what has expired at now (unix seconds). It takes mu itself, and
// costs one atomic load while nothing has.
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

// hide takes an event out of every answer at once; its record in the store is
// moved later, by the committer.
func (l *live) hide(n uint32) {
	l.unlink(n)
	s := l.entries.at(n)
	s.hidden = true
	l.uncache(s)
	l.hidden = append(l.hidden, expiry{n, s.seq})
}

// current says whether an entry is still about the event in its slot: one that
// ends at the same time is as good as the one it was made for.
func (l *live) current(e item) bool {
	s := l.entries.at(e.entry())
	return s.used && s.expiration == e.createdAt() && !s.hidden
}

func (l *live) setNextExpiry() {
	if len(l.expiries) == 0 {
		l.nextExpiry.Store(math.MaxInt64)
	} else {
		l.nextExpiry.Store(l.expiries[0].createdAt())
	}
}

// takeHidden gives the events hidden since the last call.
func (l *live) takeHidden() []expiry {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.hidden
	l.hidden = nil
	return h
}

// ExpiredAt says whether the first readable NIP-40 tag lies at or before now.
func ExpiredAt(tags nostr.Tags, now time.Time) bool {
	for _, tag := range tags {
		if len(tag) >= 2 && tag[0] == "expiration" {
			at, err := strconv.ParseInt(tag[1], 10, 64)
			return err == nil && at <= now.Unix()
		}
	}
	return false
}
