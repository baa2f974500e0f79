package stats

import "math"

// rows is the number of rows in a chunk.
const rows = 1 << 12

// moment is one of the four times of an order's life that the facts hold.
type moment uint8

const (
	firstSeen  moment = iota // first version
	firstTaken               // first version in progress
	firstSuccess
	firstCanceled
	moments
)

// chunk holds the orders of rows that follow each other. The facts are in open if an order was
// changed not long ago, else in sealed.
type chunk struct {
	key    [rows]uint64 // hash of the order's d
	blob   [rows]uint32 // versions, in the slab; 0 if none is left
	open   *columns
	sealed *packed
	used   uint64 // seq of the entry that last changed a row

	// spans holds the least and the greatest time of each column of times.
	spans [2][moments]span
	// At offered and later, no order of a sealed chunk is on offer, and at busy and later none
	// is in progress either, by the clock Signed. 0: unknown.
	offered, busy int64
}

// Bits of the column flags. The lowest four bits say of each moment whether the event that
// dates it was witnessed.
const (
	flagMarket  = 1 << (iota + 4) // the first version asks for the market price
	flagRange                     // the first version states a range
	flagFixed                     // the newest version states one fiat amount, and the first states no range
	flagDeleted                   // the author deleted a version
	flagPaid                      // a development fee names the order
	flagSettled                   // each version after the first success or cancellation is final
	flagBuy                       // the maker buys
)

type span struct{ first, last uint32 }

func (s *span) add(t uint32) {
	if t == 0 {
		return
	}
	if s.first == 0 || t < s.first {
		s.first = t
	}
	s.last = max(s.last, t)
}

// row is the facts of one order.
type row struct {
	at           [2][moments]uint32
	newest, ends uint32
	sats         int64
	premium      float64
	amount       float64
	status       status
	flags        uint16
	cohort       uint32
}

// derive computes the facts of an order from its versions, which are sorted.
func derive(versions []version) row {
	first, last := &versions[0], &versions[len(versions)-1]
	ended, settled := false, true
	r := row{newest: last.created, ends: last.ends, sats: last.sats, premium: last.premium, status: last.status, cohort: last.cohort}
	for i := range versions {
		v := &versions[i]
		set := func(m moment) {
			if r.at[Signed][m] == 0 {
				r.at[Signed][m] = v.created
				if v.live {
					r.flags |= 1 << m
				}
			}
			if v.live && (r.at[Witnessed][m] == 0 || v.received < r.at[Witnessed][m]) {
				r.at[Witnessed][m] = v.received
			}
		}
		set(firstSeen)
		final := v.status >= statusSuccess
		settled = settled && (final || !ended)
		ended = ended || final
		switch v.status {
		case statusInProgress:
			set(firstTaken)
		case statusSuccess:
			set(firstSuccess)
		case statusCanceled:
			set(firstCanceled)
		}
		if v.deleted != 0 {
			r.flags |= flagDeleted
		}
	}
	if settled {
		r.flags |= flagSettled
	}
	if first.sats == 0 {
		r.flags |= flagMarket
	}
	switch {
	case first.min < first.max:
		r.flags |= flagRange
		r.amount = (first.max - first.min) / first.max
	case last.min == last.max:
		r.flags |= flagFixed
		r.amount = last.max
	}
	return r
}

// final reports whether the columns show that the order of row k had ended at t. If a
// version that was in force by t is final, and all versions after it are, then the version
// in force at t is final.
func (c *columns) final(k int, t int64, clock Clock) bool {
	if c.flags[k]&flagSettled == 0 {
		return false
	}
	success, canceled := int64(c.at[clock][firstSuccess][k]), int64(c.at[clock][firstCanceled][k])
	return success != 0 && success <= t || canceled != 0 && canceled <= t
}

// store copies the facts into row i of the chunk. A row without a first version counts nowhere.
func (c *chunk) store(i int, r *row) {
	o := c.open
	for clock := range o.at {
		for m := range moments {
			o.at[clock][m][i] = r.at[clock][m]
			c.spans[clock][m].add(r.at[clock][m])
		}
	}
	o.cohort[i], o.newest[i], o.ends[i], o.status[i], o.flags[i] = r.cohort, r.newest, r.ends, r.status, r.flags
	o.sats[i], o.premium[i], o.amount[i] = r.sats, r.premium, r.amount
}

// cohort returns the cohort of row k.
func (c *chunk) cohort(k int) uint32 {
	if c.open != nil {
		return c.open.cohort[k]
	}
	return uint32(c.sealed.cohort.get(k))
}

// change opens the chunk, so that its rows can be changed. now is the seq of the present entry.
func (c *chunk) change(now uint64) *columns {
	c.used = now
	if c.open == nil {
		c.open = new(columns)
		if c.sealed != nil {
			c.sealed.unpack(c.open, partAll, new([rows]uint64))
			unpack(&c.sealed.fee, c.open.fee[:c.sealed.n])
		}
		c.sealed, c.offered, c.busy = nil, 0, 0
	}
	return c.open
}

// seal packs the first n rows.
func (c *chunk) seal(n int) {
	o := c.open
	c.offered, c.busy = 1, 1
	for k := range n {
		if c.blob[k] == 0 {
			continue
		}
		t := int64(o.newest[k])
		switch {
		case o.status[k] == statusPending && o.ends[k] == 0:
			t = math.MaxInt64
		case o.status[k] == statusPending:
			t = max(t, int64(o.ends[k]))
		}
		c.offered = max(c.offered, t)
		if o.status[k] == statusInProgress {
			t = math.MaxInt64
		}
		c.busy = max(c.busy, t)
	}
	c.sealed, c.open = o.pack(n), nil
}

// table is a growing list of chunks, and a hash table from author and key to row.
type table struct {
	chunks []*chunk
	n      int
	slots  []uint32 // row + 1; 0 empty; a power of two long
	swept  uint64   // seq at which seal last looked for chunks
	quiet  uint64   // entries without a change after which a chunk is sealed
}

// sealAfter is the number of entries without a change after which a chunk is sealed. A chunk that
// changes again is opened, which costs as much as about a hundred entries.
const sealAfter = 1 << 16

func (t *table) at(i int) (*chunk, int) { return t.chunks[i/rows], i % rows }

// size returns the rows in use of chunk n.
func (t *table) size(n int) int { return min(rows, t.n-n*rows) }

// seal seals the chunks that did not change for some time. now is the seq of the present entry.
func (t *table) seal(now uint64) {
	if now-t.swept < t.quiet/4 {
		return
	}
	t.swept = now
	for n, c := range t.chunks {
		if c.open != nil && now-c.used >= t.quiet {
			c.seal(t.size(n))
		}
	}
}

func (t *table) slot(author uint32, key uint64) int {
	return int((key ^ uint64(author)*0x9e3779b97f4a7c15) & uint64(len(t.slots)-1))
}

// find returns the row of an order, or -1. author returns the author of a cohort.
func (t *table) find(author uint32, key uint64, authorOf func(cohort uint32) uint32) int {
	if len(t.slots) == 0 {
		return -1
	}
	for s := t.slot(author, key); t.slots[s] != 0; s = (s + 1) & (len(t.slots) - 1) {
		i := int(t.slots[s] - 1)
		c, k := t.at(i)
		if c.key[k] == key && authorOf(c.cohort(k)) == author {
			return i
		}
	}
	return -1
}

// add appends a row for an order that has none and returns its number.
func (t *table) add(author uint32, key uint64, cohort uint32, now uint64, authorOf func(uint32) uint32) int {
	if (t.n+1)*4 > len(t.slots)*3 {
		t.grow(authorOf)
	}
	if t.n%rows == 0 {
		t.chunks = append(t.chunks, new(chunk))
	}
	i := t.n
	t.n++
	c, k := t.at(i)
	c.key[k] = key
	o := c.change(now)
	o.cohort[k], o.sats[k] = cohort, -1
	t.link(author, key, i)
	return i
}

func (t *table) link(author uint32, key uint64, i int) {
	s := t.slot(author, key)
	for t.slots[s] != 0 {
		s = (s + 1) & (len(t.slots) - 1)
	}
	t.slots[s] = uint32(i + 1)
}

func (t *table) grow(authorOf func(uint32) uint32) {
	t.slots = make([]uint32, max(1024, 2*len(t.slots)))
	for i := range t.n {
		c, k := t.at(i)
		t.link(authorOf(c.cohort(k)), c.key[k], i)
	}
}
