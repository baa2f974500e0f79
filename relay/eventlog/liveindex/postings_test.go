package liveindex

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestPostingEqualsSortedSlice compares a posting with a sorted slice while the posting
// grows from one slice to many chunks and shrinks again.
func TestPostingEqualsSortedSlice(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			// Within a second, descending number replaces descending id.
			less := func(a, b item) bool {
				if a>>entryBits != b>>entryBits {
					return a < b
				}
				return a.entry() > b.entry()
			}
			var p posting
			var model []item
			in := map[item]bool{}
			grow := 10
			for step := range 30_000 {
				if step == 12_000 {
					grow = 4 // shrink
				}
				if r.IntN(14) < grow || len(model) == 0 {
					at := int64(r.IntN(3000))
					if seed%2 == 0 {
						at = int64(step) + int64(r.IntN(20)) // nearly in order
					}
					it := makeItem(at, uint32(r.IntN(1000)))
					if in[it] {
						continue
					}
					in[it] = true
					p.insert(it, less)
					i, _ := slices.BinarySearchFunc(model, it, func(a, b item) int {
						if a == b {
							return 0
						}
						if less(a, b) {
							return -1
						}
						return 1
					})
					model = slices.Insert(model, i, it)
				} else {
					i := r.IntN(len(model))
					if !p.remove(model[i], less) {
						t.Fatalf("step %d: %x is missing", step, model[i])
					}
					if p.remove(model[i], less) {
						t.Fatalf("step %d: %x was in the posting twice", step, model[i])
					}
					delete(in, model[i])
					model = slices.Delete(model, i, i+1)
				}
				if step%500 == 0 || step > 29_900 {
					comparePosting(t, &p, model, r)
				}
			}
			var loaded posting
			shuffled := slices.Clone(model)
			r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			loaded.load(shuffled, less)
			comparePosting(t, &loaded, model, r)
		})
	}
}

func comparePosting(t *testing.T, p *posting, model []item, r *rand.Rand) {
	t.Helper()
	if p.n != len(model) {
		t.Fatalf("%d items, want %d", p.n, len(model))
	}
	for range 8 {
		until := int64(r.IntN(35_000))
		if r.IntN(3) == 0 {
			until = MaxTime
		}
		var got []item
		for c := p.newest(until); ; c.next() {
			it, ok := c.item()
			if !ok {
				break
			}
			got = append(got, it)
		}
		var want []item
		n := 0
		for i := len(model) - 1; i >= 0; i-- {
			if model[i].createdAt() <= until {
				want = append(want, model[i])
			}
			if model[i].createdAt() < until {
				n++
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("until %d: %d items, want %d", until, len(got), len(want))
		}
		if b := p.before(until); b != n {
			t.Fatalf("before %d: %d, want %d", until, b, n)
		}
	}
}
