// Package sorted keeps numbers in the order of a key, so that the first page of a
// million orders needs no sort. It has no locks: its owner's guards it.
package sorted

import "slices"

// List keeps slots in the order of a key, so that the first page of a
// million needs no sort. It is a list of short sorted runs: an insert moves
// at most one run.
type List struct {
	Runs []run
	Size int
	// Tie orders slots of equal key and equal prefix.
	Tie func(a, b uint32) int
}

type run []Place

// Place is where a slot stands: by key, then by the first bytes of its
// order's Key, then by the whole of it.
type Place struct {
	Key    uint64
	Prefix uint32
	Slot   uint32
}

const runLimit = 512

func (s *List) Compare(a, b Place) int {
	switch {
	case a.Key < b.Key:
		return -1
	case a.Key > b.Key:
		return 1
	case a.Prefix < b.Prefix:
		return -1
	case a.Prefix > b.Prefix:
		return 1
	case a.Slot == b.Slot:
		return 0
	}
	return s.Tie(a.Slot, b.Slot)
}

// find gives the run and the index of the first place that is not before p.
func (s *List) find(p Place) (int, int) {
	i, _ := slices.BinarySearchFunc(s.Runs, p, func(r run, p Place) int { return s.Compare(r[len(r)-1], p) })
	if i == len(s.Runs) {
		return i, 0
	}
	j, _ := slices.BinarySearchFunc(s.Runs[i], p, s.Compare)
	return i, j
}

func (s *List) Insert(p Place) {
	s.Size++
	if len(s.Runs) == 0 {
		s.Runs = append(s.Runs, append(make(run, 0, 16), p))
		return
	}
	i, j := s.find(p)
	if i == len(s.Runs) {
		i--
		j = len(s.Runs[i])
	}
	r := s.Runs[i]
	if len(r) < runLimit {
		s.Runs[i] = slices.Insert(r, j, p)
		return
	}
	// A run that grows at its end is split there: keys often arrive in order.
	at := runLimit / 2
	if j == len(r) {
		at = runLimit - 16
	}
	right := append(make(run, 0, runLimit), r[at:]...)
	s.Runs[i] = r[:at:at]
	s.Runs = slices.Insert(s.Runs, i+1, right)
	if j > at {
		s.Runs[i+1] = slices.Insert(right, j-at, p)
		return
	}
	s.Runs[i] = slices.Insert(s.Runs[i], j, p)
}

func (s *List) Remove(p Place) {
	i, j := s.find(p)
	if i == len(s.Runs) || j == len(s.Runs[i]) || s.Runs[i][j].Slot != p.Slot {
		return
	}
	s.Size--
	s.Runs[i] = slices.Delete(s.Runs[i], j, j+1)
	if len(s.Runs[i]) == 0 {
		s.Runs = slices.Delete(s.Runs, i, i+1)
	}
}

// Fill replaces everything by places in any order.
func (s *List) Fill(all []Place) {
	slices.SortFunc(all, s.Compare)
	s.Size = len(all)
	s.Runs = make([]run, 0, len(all)/(runLimit/2)+1)
	for len(all) > 0 {
		n := min(len(all), runLimit*3/4)
		s.Runs = append(s.Runs, append(make(run, 0, runLimit), all[:n]...))
		all = all[n:]
	}
}

// First gives the place with the least key.
func (s *List) First() (Place, bool) {
	if len(s.Runs) == 0 {
		return Place{}, false
	}
	return s.Runs[0][0], true
}

// Ascend calls fn for each place from (key, prefix) on, in order, until fn
// says no.
func (s *List) Ascend(key uint64, prefix uint32, fn func(Place) bool) {
	from := func(p Place) int {
		if p.Key < key || p.Key == key && p.Prefix < prefix {
			return -1
		}
		return 1
	}
	i, j := s.seek(from)
	for ; i < len(s.Runs); i, j = i+1, 0 {
		for _, p := range s.Runs[i][j:] {
			if !fn(p) {
				return
			}
		}
	}
}

// Descend calls fn for each place down from (key, prefix), that one included,
// in reverse order, until fn says no.
func (s *List) Descend(key uint64, prefix uint32, fn func(Place) bool) {
	behind := func(p Place) int {
		if p.Key < key || p.Key == key && p.Prefix <= prefix {
			return -1
		}
		return 1
	}
	i, j := s.seek(behind)
	for {
		for j--; j >= 0; j-- {
			if !fn(s.Runs[i][j]) {
				return
			}
		}
		if i--; i < 0 {
			return
		}
		j = len(s.Runs[i])
	}
}

// seek gives the run and index of the first place for which cmp is positive.
func (s *List) seek(cmp func(Place) int) (int, int) {
	i, _ := slices.BinarySearchFunc(s.Runs, 0, func(r run, _ int) int { return cmp(r[len(r)-1]) })
	if i == len(s.Runs) {
		return i, 0
	}
	j, _ := slices.BinarySearchFunc(s.Runs[i], 0, func(p Place, _ int) int { return cmp(p) })
	return i, j
}
