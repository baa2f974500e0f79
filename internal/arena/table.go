package arena

import "math"

// Table is a hash table of numbers. It stores 4 bytes per number and no keys: the key
// is found where the number points, and the caller of Find compares the key.
//
// The table uses open addressing with linear probing. It is divided into parts that
// grow one at a time, so that no append waits for a million moves.
type Table struct {
	parts [tableParts]tablePart
	// Hash returns the hash of the key that a number stands for. Hash is called when a
	// part grows or closes a gap. The owner of the table sets Hash before the first Put.
	Hash func(n uint32) uint64
}

// NumberBits is the number of bits of a number in a Table. The greatest such number is
// excluded, because with all bits of a hash set it equals emptyCell.
const NumberBits = 28

type tablePart struct {
	cells []uint32 // four bits of the hash above the number, or emptyCell
	used  int
}

const (
	tableParts = 256
	numberMask = 1<<NumberBits - 1
	emptyCell  = math.MaxUint32
)

// part, home and tagged use different bits of a hash.
func (t *Table) part(h uint64) *tablePart { return &t.parts[h&(tableParts-1)] }

func (p *tablePart) home(h uint64) int { return int(h >> 32 * uint64(len(p.cells)) >> 32) }

func tagged(h uint64, n uint32) uint32 { return uint32(h>>8)<<NumberBits | n }

func (p *tablePart) after(i int) int {
	if i++; i == len(p.cells) {
		return 0
	}
	return i
}

// Find returns the number with hash h for which is returns true. ok is false if there
// is none.
func (t *Table) Find(h uint64, is func(n uint32) bool) (uint32, bool) {
	p := t.part(h)
	if p.used == 0 {
		return 0, false
	}
	tag := tagged(h, 0)
	for i := p.home(h); ; i = p.after(i) {
		c := p.cells[i]
		if c == emptyCell {
			return 0, false
		}
		if n := c & numberMask; c^n == tag && is(n) {
			return n, true
		}
	}
}

// Put adds a number that is not in the table.
func (t *Table) Put(h uint64, n uint32) {
	p := t.part(h)
	if 4*(p.used+1) > 3*len(p.cells) {
		t.grow(p)
	}
	p.place(h, n)
	p.used++
}

func (p *tablePart) place(h uint64, n uint32) {
	i := p.home(h)
	for p.cells[i] != emptyCell {
		i = p.after(i)
	}
	p.cells[i] = tagged(h, n)
}

func (t *Table) grow(p *tablePart) {
	old := p.cells
	p.cells = make([]uint32, max(8, len(old)+len(old)/2))
	for i := range p.cells {
		p.cells[i] = emptyCell
	}
	for _, c := range old {
		if c != emptyCell {
			n := c & numberMask
			p.place(t.Hash(n), n)
		}
	}
}

// Remove removes a number with hash h and closes the gap.
func (t *Table) Remove(h uint64, n uint32) bool {
	p := t.part(h)
	if p.used == 0 {
		return false
	}
	i := p.home(h)
	for want := tagged(h, n); p.cells[i] != want; i = p.after(i) {
		if p.cells[i] == emptyCell {
			return false
		}
	}
	for j := p.after(i); p.cells[j] != emptyCell; j = p.after(j) {
		// If the home of a cell is behind the gap i and at or before j, in the cyclic
		// order, the cell stays.
		home := p.home(t.Hash(p.cells[j] & numberMask))
		if between := i < home && home <= j; i <= j && between || i > j && (i < home || home <= j) {
			continue
		}
		p.cells[i] = p.cells[j]
		i = j
	}
	p.cells[i] = emptyCell
	p.used--
	return true
}
