package relay

import "math"

// expiry is the end of a live event: seq tells a slot's present event from an
// earlier one.
type expiry struct {
	at   int64 // unix seconds
	slot uint32
	seq  uint64
}

// expiryHeap is a binary heap by time. Entries of events that went another way
// stay until they are popped or compacted.
type expiryHeap []expiry

func (h *expiryHeap) push(e expiry) {
	s := append(*h, e)
	*h = s
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if s[up].at <= s[i].at {
			break
		}
		s[up], s[i] = s[i], s[up]
		i = up
	}
}

func (h *expiryHeap) pop() expiry {
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
		if child+1 < len(h) && h[child+1].at < h[child].at {
			child++
		}
		if h[i].at <= h[child].at {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

func (h *expiryHeap) compact(keep func(expiry) bool) {
	s := (*h)[:0]
	for _, e := range *h {
		if keep(e) {
			s = append(s, e)
		}
	}
	*h = s
	for i := len(s)/2 - 1; i >= 0; i-- {
		s.down(i)
	}
}

// expire hides what has expired at now (unix seconds). It takes mu itself, and
// costs one atomic load while nothing has.
func (l *live) expire(now int64) {
	if l.nextExpiry.Load() > now {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.expiries) > 0 && l.expiries[0].at <= now {
		e := l.expiries.pop()
		if l.current(e) {
			l.hide(e)
		}
	}
	l.setNextExpiry()
}

// hide takes an event out of every answer at once; its record in the store is
// moved later, by the committer.
func (l *live) hide(e expiry) {
	l.unlink(e.slot)
	s := &l.slots[e.slot]
	s.hidden = true
	l.bodies.size -= len(s.body)
	s.body = nil
	l.hidden = append(l.hidden, e)
}

// current says whether an entry is still about the event in its slot.
func (l *live) current(e expiry) bool {
	s := &l.slots[e.slot]
	return s.used && s.seq == e.seq && !s.hidden
}

func (l *live) setNextExpiry() {
	if len(l.expiries) == 0 {
		l.nextExpiry.Store(math.MaxInt64)
	} else {
		l.nextExpiry.Store(l.expiries[0].at)
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
