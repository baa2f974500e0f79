package eventlog

// chunks is a growing array whose elements never move, so that pointers to elements
// stay valid. If T has no pointers, the garbage collector does not scan the elements.
type chunks[T any] struct {
	list []*[chunkSize]T
	n    uint32
}

const (
	chunkBits = 10
	chunkSize = 1 << chunkBits
)

func (c *chunks[T]) at(n uint32) *T { return &c.list[n>>chunkBits][n&(chunkSize-1)] }

// grow adds one element and returns its number.
func (c *chunks[T]) grow() uint32 {
	if c.n&(chunkSize-1) == 0 {
		c.list = append(c.list, new([chunkSize]T))
	}
	c.n++
	return c.n - 1
}

// arena stores many short arrays in few allocations. Each size class has its own cells,
// which are reused. Arrays longer than the largest class are allocated one by one.
type arena[T any] struct {
	shift  uint // cell lengths are multiples of 1 << shift
	cells  [arenaClasses]arenaClass[T]
	long   [][]T
	unused []uint32 // free numbers of long
}

type arenaClass[T any] struct {
	list [][]T // blocks of arenaBlockCells cells
	n    uint32
	free []uint32
}

const (
	arenaClasses    = 32
	arenaBlockCells = 128
)

// class returns the size class of a length, or arenaClasses for long arrays.
func (s *arena[T]) class(length int) int { return min((length+1<<s.shift-1)>>s.shift, arenaClasses) }

// alloc copies an array into the arena and returns its number. Number and length
// identify the array.
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

// get returns the array with a number and a length.
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

// release frees an array.
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
