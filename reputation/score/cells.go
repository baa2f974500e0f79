package score

import "math/bits"

// versionCells keeps the packed versions of many orders in few allocations without
// pointers. Therefore the garbage collector does not scan a million allocations. Cells of
// one length lie in blocks. A block without a used cell is freed.
type versionCells struct {
	classes [cellClasses + 1]cellBlocks // by number of versions
	long    []packed                    // lists of more versions than cellClasses
	unused  []uint32                    // free indexes of long
}

const (
	cellClasses = 24
	blockCells  = 64 // the number of bits of a block's mask
)

// cellBlocks are the blocks of one length.
type cellBlocks struct {
	list  []packed
	used  []uint64 // one bit per cell of a block
	roomy []uint32 // blocks that had a free cell when they were appended, including freed blocks
}

// keep copies versions and returns a number. The number and the count of versions identify
// the copy.
func (c *versionCells) keep(p packed) uint32 {
	count := len(p) / packedSize
	if count > cellClasses {
		p = append(make(packed, 0, len(p)), p...)
		if last := len(c.unused) - 1; last >= 0 {
			n := c.unused[last]
			c.unused = c.unused[:last]
			c.long[n] = p
			return n
		}
		c.long = append(c.long, p)
		return uint32(len(c.long) - 1)
	}
	b := &c.classes[count]
	last := len(b.roomy) - 1
	if last < 0 {
		b.list, b.used, b.roomy = append(b.list, nil), append(b.used, 0), append(b.roomy, uint32(len(b.list)))
		last = 0
	}
	block := b.roomy[last]
	if b.list[block] == nil {
		b.list[block] = make(packed, blockCells*len(p))
	}
	cell := uint32(bits.TrailingZeros64(^b.used[block]))
	b.used[block] |= 1 << cell
	if b.used[block] == ^uint64(0) {
		b.roomy = b.roomy[:last]
	}
	n := block*blockCells + cell
	copy(c.get(n, count), p)
	return n
}

// get returns kept versions. The caller must not change the returned bytes.
func (c *versionCells) get(n uint32, count int) packed {
	if count > cellClasses {
		return c.long[n]
	}
	size := count * packedSize
	from := int(n%blockCells) * size
	return c.classes[count].list[n/blockCells][from : from+size : from+size]
}

// drop frees kept versions.
func (c *versionCells) drop(n uint32, count int) {
	if count > cellClasses {
		c.long[n] = nil
		c.unused = append(c.unused, n)
		return
	}
	b, block := &c.classes[count], n/blockCells
	if b.used[block] == ^uint64(0) {
		b.roomy = append(b.roomy, block)
	}
	if b.used[block] &^= 1 << (n % blockCells); b.used[block] == 0 {
		b.list[block] = nil
	}
}
