package eventlog

// chunks is a growing array that never moves: no copy while it grows, and
// pointers into it stay good. Without pointers in T the garbage collector does
// not look into it.
type chunks[T any] struct {
	list []*[chunkSize]T
	n    uint32
}

const (
	chunkBits = 10
	chunkSize = 1 << chunkBits
)

func (c *chunks[T]) at(n uint32) *T { return &c.list[n>>chunkBits][n&(chunkSize-1)] }

// grow adds one element and gives its number.
func (c *chunks[T]) grow() uint32 {
	if c.n&(chunkSize-1) == 0 {
		c.list = append(c.list, new([chunkSize]T))
	}
	c.n++
	return c.n - 1
}

// slab keeps many short arrays in few allocations: cells by length, given and
// taken back. Arrays longer than the largest cell are allocated one by one.
type arena[T any] struct {
	shift  uint // lengths of cells are multiples of 1 << shift
	cells  [arenaClasses]arenaClass[T]
	long   [][]T
	unused []uint32 // numbers of long
}

type arenaClass[T any] struct {
	list [][]T // slabCount cells each
	n    uint32
	free []uint32
}

const (
	arenaClasses    = 32
	arenaBlockCells = 128
)

// class of arrays of a length; slabClasses for the long ones.
func (s *arena[T]) class(length int) int { return min((length+1<<s.shift-1)>>s.shift, arenaClasses) }

// keep copies an array and gives the number under which, with its length, it
// is found.
func (s *arena[T]) alloc(a []T) uint32 {
	class := s.class(len(a))
	switch {
	case class == 0:
		return 0
	case class == arenaClasses:
		a = append(make([]T, 0, len(a)), a...)
		if last := len(s.unused) - 1; last >= 0 {
			n := s.unused[last]
			s.unused = s.unused[:last]
			s.long[n] = a
			return n
		}
		s.long = append(s.long, a)
		return uint32(len(s.long) - 1)
	}
	c := &s.cells[class]
	var n uint32
	if last := len(c.free) - 1; last >= 0 {
		n = c.free[last]
		c.free = c.free[:last]
	} else {
		if n = c.n; n%arenaBlockCells == 0 {
			c.list = append(c.list, make([]T, arenaBlockCells*class<<s.shift))
		}
		c.n++
	}
	copy(s.get(n, len(a)), a)
	return n
}

// get gives a kept array.
func (s *arena[T]) get(n uint32, length int) []T {
	class := s.class(length)
	switch class {
	case 0:
		return nil
	case arenaClasses:
		return s.long[n]
	}
	at := int(n%arenaBlockCells) * class << s.shift
	return s.cells[class].list[n/arenaBlockCells][at : at+length : at+length]
}

// drop takes a kept array back.
func (s *arena[T]) release(n uint32, length int) {
	switch class := s.class(length); class {
	case 0:
	case arenaClasses:
		s.long[n] = nil
		s.unused = append(s.unused, n)
	default:
		s.cells[class].free = append(s.cells[class].free, n)
	}
}
