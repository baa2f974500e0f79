package indexer

import "slices"

// sorted keeps slots in the order of a key, so that the first page of a
// million needs no sort. It is a list of short sorted runs: an insert moves
// at most one run.
type sorted struct {
	runs []run
	size int
	// tie orders slots of equal key and equal prefix.
	tie func(a, b uint32) int
}

type run []place

// place is where a slot stands: by key, then by the first bytes of its
// order's Key, then by the whole of it.
type place struct {
	key    uint64
	prefix uint32
	slot   uint32
}

const runLimit = 512

func (s *sorted) compare(a, b place) int {
	switch {
	case a.key < b.key:
		return -1
	case a.key > b.key:
		return 1
	case a.prefix < b.prefix:
		return -1
	case a.prefix > b.prefix:
		return 1
	case a.slot == b.slot:
		return 0
	}
	return s.tie(a.slot, b.slot)
}

// find gives the run and the index of the first place that is not before p.
func (s *sorted) find(p place) (int, int) {
	i, _ := slices.BinarySearchFunc(s.runs, p, func(r run, p place) int { return s.compare(r[len(r)-1], p) })
	if i == len(s.runs) {
		return i, 0
	}
	j, _ := slices.BinarySearchFunc(s.runs[i], p, s.compare)
	return i, j
}

func (s *sorted) insert(p place) {
	s.size++
	if len(s.runs) == 0 {
		s.runs = append(s.runs, append(make(run, 0, 16), p))
		return
	}
	i, j := s.find(p)
	if i == len(s.runs) {
		i--
		j = len(s.runs[i])
	}
	r := s.runs[i]
	if len(r) < runLimit {
		s.runs[i] = slices.Insert(r, j, p)
		return
	}
	// A run that grows at its end is split there: keys often arrive in order.
	at := runLimit / 2
	if j == len(r) {
		at = runLimit - 16
	}
	right := append(make(run, 0, runLimit), r[at:]...)
	s.runs[i] = r[:at:at]
	s.runs = slices.Insert(s.runs, i+1, right)
	if j > at {
		s.runs[i+1] = slices.Insert(right, j-at, p)
		return
	}
	s.runs[i] = slices.Insert(s.runs[i], j, p)
}

func (s *sorted) remove(p place) {
	i, j := s.find(p)
	if i == len(s.runs) || j == len(s.runs[i]) || s.runs[i][j].slot != p.slot {
		return
	}
	s.size--
	s.runs[i] = slices.Delete(s.runs[i], j, j+1)
	if len(s.runs[i]) == 0 {
		s.runs = slices.Delete(s.runs, i, i+1)
	}
}

// fill replaces everything by places in any order.
func (s *sorted) fill(all []place) {
	slices.SortFunc(all, s.compare)
	s.size = len(all)
	s.runs = make([]run, 0, len(all)/(runLimit/2)+1)
	for len(all) > 0 {
		n := min(len(all), runLimit*3/4)
		s.runs = append(s.runs, append(make(run, 0, runLimit), all[:n]...))
		all = all[n:]
	}
}

// first gives the place with the least key.
func (s *sorted) first() (place, bool) {
	if len(s.runs) == 0 {
		return place{}, false
	}
	return s.runs[0][0], true
}

// ascend calls fn for each place from (key, prefix) on, in order, until fn
// says no.
func (s *sorted) ascend(key uint64, prefix uint32, fn func(place) bool) {
	from := func(p place) int {
		if p.key < key || p.key == key && p.prefix < prefix {
			return -1
		}
		return 1
	}
	i, j := s.seek(from)
	for ; i < len(s.runs); i, j = i+1, 0 {
		for _, p := range s.runs[i][j:] {
			if !fn(p) {
				return
			}
		}
	}
}

// descend calls fn for each place down from (key, prefix), that one included,
// in reverse order, until fn says no.
func (s *sorted) descend(key uint64, prefix uint32, fn func(place) bool) {
	behind := func(p place) int {
		if p.key < key || p.key == key && p.prefix <= prefix {
			return -1
		}
		return 1
	}
	i, j := s.seek(behind)
	for {
		for j--; j >= 0; j-- {
			if !fn(s.runs[i][j]) {
				return
			}
		}
		if i--; i < 0 {
			return
		}
		j = len(s.runs[i])
	}
}

// seek gives the run and index of the first place for which cmp is positive.
func (s *sorted) seek(cmp func(place) int) (int, int) {
	i, _ := slices.BinarySearchFunc(s.runs, 0, func(r run, _ int) int { return cmp(r[len(r)-1]) })
	if i == len(s.runs) {
		return i, 0
	}
	j, _ := slices.BinarySearchFunc(s.runs[i], 0, func(p place, _ int) int { return cmp(p) })
	return i, j
}
