// Package arena stores many small values in few allocations, so that the garbage
// collector does not visit each of a million values.
//
// Values are identified by numbers of 32 bits. An Array holds values of one size, Cells
// hold short arrays of different lengths, and a Table finds the number of a key. If the
// values have no pointers, the garbage collector does not scan the values. No type of
// this package has a lock.
package arena

import "math/bits"

// Array is a growing array whose elements never move, so that pointers to elements stay
// valid.
type Array[T any] struct {
	blocks []*[arrayBlock]T
	n      uint32
	free   []uint32 // elements that Take may return
}

const (
	arrayBlockBits = 10
	arrayBlock     = 1 << arrayBlockBits
)

// At returns the element with a number.
func (a *Array[T]) At(n uint32) *T { return &a.blocks[n>>arrayBlockBits][n&(arrayBlock-1)] }

// Len returns the number of elements, including free elements.
func (a *Array[T]) Len() uint32 { return a.n }

// Grow adds one zero element and returns its number.
func (a *Array[T]) Grow() uint32 {
	if a.n&(arrayBlock-1) == 0 {
		a.blocks = append(a.blocks, new([arrayBlock]T))
	}
	a.n++
	return a.n - 1
}

// Take returns the number of a free element, which holds its last value. If no element is
// free, Take grows the array.
func (a *Array[T]) Take() uint32 {
	if last := len(a.free) - 1; last >= 0 {
		n := a.free[last]
		a.free = a.free[:last]
		return n
	}
	return a.Grow()
}

// Free lets Take return the number of an element again.
func (a *Array[T]) Free(n uint32) { a.free = append(a.free, n) }

// Cells hold short arrays. The length of a cell is a whole number of units. Cells of one
// length lie in blocks and are reused. If more than one block of a length has no used
// cell, the other such blocks are freed. Arrays of more than maxUnits units are allocated
// one by one.
type Cells[T any] struct {
	unit    int
	lengths [maxUnits + 1]cellBlocks[T] // by number of units
	long    [][]T
	unused  []uint32 // free indexes of long
}

const (
	maxUnits   = 31
	blockCells = 64 // the number of bits of a block's mask
)

// cellBlocks are the blocks of one length of cells.
type cellBlocks[T any] struct {
	size   int      // elements per cell; set with the first block
	blocks [][]T    // nil for a freed block
	used   []uint64 // one bit per cell of a block
	roomy  []uint32 // blocks with a free cell, including freed blocks
	spare  bool     // set if one of the blocks that are not freed has no used cell
}

// NewCells returns Cells with a number of elements per unit.
func NewCells[T any](unit int) Cells[T] { return Cells[T]{unit: unit} }

// Put copies an array of at most units into a cell and returns the number of the cell.
// The number and units identify the cell.
func (c *Cells[T]) Put(a []T, units int) uint32 {
	switch {
	case units == 0:
		return 0
	case units > maxUnits:
		long := append(make([]T, 0, len(a)), a...)
		if last := len(c.unused) - 1; last >= 0 {
			n := c.unused[last]
			c.unused = c.unused[:last]
			c.long[n] = long
			return n
		}
		c.long = append(c.long, long)
		return uint32(len(c.long) - 1)
	}
	b := &c.lengths[units]
	last := len(b.roomy) - 1
	if last < 0 {
		b.size = units * c.unit
		b.blocks, b.used, b.roomy = append(b.blocks, nil), append(b.used, 0), append(b.roomy, uint32(len(b.blocks)))
		last = 0
	}
	block := b.roomy[last]
	switch {
	case b.blocks[block] == nil:
		b.blocks[block] = make([]T, blockCells*b.size)
	case b.used[block] == 0:
		b.spare = false
	}
	cell := uint32(bits.TrailingZeros64(^b.used[block]))
	b.used[block] |= 1 << cell
	if b.used[block] == ^uint64(0) {
		b.roomy = b.roomy[:last]
	}
	copy(b.blocks[block][int(cell)*b.size:], a)
	return block*blockCells + cell
}

// Get returns the content of a cell. Elements behind the array that was put are
// undefined. An array of more than maxUnits units is returned as it was put.
func (c *Cells[T]) Get(n uint32, units int) []T {
	switch {
	case units == 0:
		return nil
	case units > maxUnits:
		return c.long[n]
	}
	b := &c.lengths[units]
	from := int(n%blockCells) * b.size
	return b.blocks[n/blockCells][from : from+b.size : from+b.size]
}

// Free frees a cell.
func (c *Cells[T]) Free(n uint32, units int) {
	switch {
	case units == 0:
		return
	case units > maxUnits:
		c.long[n] = nil
		c.unused = append(c.unused, n)
		return
	}
	b, block := &c.lengths[units], n/blockCells
	if b.used[block] == ^uint64(0) {
		b.roomy = append(b.roomy, block)
	}
	if b.used[block] &^= 1 << (n % blockCells); b.used[block] != 0 {
		return
	}
	if b.spare {
		b.blocks[block] = nil
	}
	b.spare = true
}
