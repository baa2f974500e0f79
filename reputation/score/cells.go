package score

import "math/bits"

// versionCells keeps the packed versions of many orders in few allocations without
// pointers, so that the garbage collector does not look at a million of them.
// Cells of one length lie in blocks; a block that nobody uses is let go.
type versionCells struct {
	classes [cellClasses + 1]cellBlocks // by versions
	long    []packed                    // of more versions than that
	unused  []uint32                    // numbers of long
}

const (
	cellClasses = 24
	blockCells  = 64 // bits of a block's mask
)

// cellBlocks are the blocks of one length.
type cellBlocks struct {
	list  []packed
	used  []uint64 // a bit for each cell of a block
	roomy []uint32 // blocks that had room when they were noted, those let go too
}

// keep copies versions and gives the number under which, with their count,
// they are found.
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

// get gives kept versions, which must not be changed.
func (c *versionCells) get(n uint32, count int) packed {
	if count > cellClasses {
		return c.long[n]
	}
	size := count * packedSize
	from := int(n%blockCells) * size
	return c.classes[count].list[n/blockCells][from : from+size : from+size]
}

// drop takes kept versions back.
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
