package sorted

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestSorted compares the sorted runs with a plain sorted slice.
func TestSorted(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	s := List{Tie: func(a, b uint32) int { return int(a) - int(b) }}
	var plain []Place
	compare := func(a, b Place) int { return s.Compare(a, b) }
	for step := range 20_000 {
		p := Place{uint64(r.IntN(500)), uint32(r.IntN(3)), uint32(step)}
		if r.IntN(3) > 0 || len(plain) == 0 {
			s.Insert(p)
			at, _ := slices.BinarySearchFunc(plain, p, compare)
			plain = slices.Insert(plain, at, p)
		} else {
			at := r.IntN(len(plain))
			s.Remove(plain[at])
			plain = slices.Delete(plain, at, at+1)
		}
		if step%500 != 0 {
			continue
		}
		key, prefix := uint64(r.IntN(520)), uint32(r.IntN(3))
		var up, down []Place
		s.Ascend(key, prefix, func(p Place) bool { up = append(up, p); return true })
		s.Descend(key, prefix, func(p Place) bool { down = append(down, p); return true })
		var wantUp, wantDown []Place
		for _, p := range plain {
			if p.Key > key || p.Key == key && p.Prefix >= prefix {
				wantUp = append(wantUp, p)
			}
			if p.Key < key || p.Key == key && p.Prefix <= prefix {
				wantDown = append(wantDown, p)
			}
		}
		slices.Reverse(wantDown)
		if !slices.Equal(up, wantUp) || !slices.Equal(down, wantDown) || s.Size != len(plain) {
			t.Fatalf("step %d: runs and slice differ from %d/%d", step, key, prefix)
		}
	}
}
