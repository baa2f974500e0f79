package stats

// slab stores byte strings of at most slabMax bytes in slots of equal size, and longer ones
// on their own. A reference is a uint32, so that the garbage collector has nothing to scan
// in the rows that hold references. Reference 0 is the empty string.
type slab struct {
	classes [slabMax/slabStep + 1]slabClass // slots of i*slabStep bytes
	long    [][]byte                        // strings that fit in no slot
	free    []uint32                        // free positions of long
}

type slabClass struct {
	blocks [][]byte
	used   uint32   // slots that were handed out
	free   []uint32 // slots that were handed out and returned
}

const (
	slabStep  = 4
	slabMax   = 504 // 126 classes; class 127 means long
	slabSlots = 256 // slots of one block
	slabLong  = slabMax/slabStep + 1
	slabIndex = 1<<25 - 1
)

// get returns the string of a reference. The slot may be longer than the string, so the
// first byte of a slot holds the unused bytes at its end. The result must not be changed.
func (s *slab) get(ref uint32) []byte {
	if ref == 0 {
		return nil
	}
	class, i := ref>>25, ref&slabIndex
	if class == slabLong {
		return s.long[i]
	}
	size := class * slabStep
	slot := s.classes[class].blocks[i/slabSlots][i%slabSlots*size:][:size]
	return slot[1 : size-uint32(slot[0])]
}

// put stores b in place of the string of ref and returns the new reference.
func (s *slab) put(ref uint32, b []byte) uint32 {
	class := uint32(len(b)+1+slabStep-1) / slabStep
	if len(b)+1 > slabMax {
		class = slabLong
	}
	if ref == 0 || ref>>25 != class {
		s.release(ref)
		if ref = 0; len(b) == 0 {
			return 0
		}
		ref = s.take(class)
	}
	i := ref & slabIndex
	if class == slabLong {
		s.long[i] = append(s.long[i][:0], b...)
		return ref
	}
	size := class * slabStep
	slot := s.classes[class].blocks[i/slabSlots][i%slabSlots*size:][:size]
	slot[0] = byte(int(size) - 1 - len(b))
	copy(slot[1:], b)
	return ref
}

func (s *slab) take(class uint32) uint32 {
	if class == slabLong {
		if n := len(s.free); n > 0 {
			i := s.free[n-1]
			s.free = s.free[:n-1]
			return class<<25 | i
		}
		s.long = append(s.long, nil)
		return class<<25 | uint32(len(s.long)-1)
	}
	c := &s.classes[class]
	if n := len(c.free); n > 0 {
		i := c.free[n-1]
		c.free = c.free[:n-1]
		return class<<25 | i
	}
	if c.used%slabSlots == 0 {
		c.blocks = append(c.blocks, make([]byte, slabSlots*class*slabStep))
	}
	c.used++
	return class<<25 | (c.used - 1)
}

func (s *slab) release(ref uint32) {
	if ref == 0 {
		return
	}
	class, i := ref>>25, ref&slabIndex
	if class == slabLong {
		s.long[i] = nil
		s.free = append(s.free, i)
		return
	}
	c := &s.classes[class]
	c.free = append(c.free, i)
}
