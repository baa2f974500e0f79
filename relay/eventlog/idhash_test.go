package eventlog

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestIDHashEqualsMap compares an idHash with a map through growth and gaps, with a
// good hash and with a hash that makes nearly all keys collide.
func TestIDHashEqualsMap(t *testing.T) {
	for name, hash := range map[string]func(key uint64) uint64{
		"Spread":  func(key uint64) uint64 { return key * 0x9e3779b97f4a7c15 },
		"Crowded": func(key uint64) uint64 { return key % 5 << 60 },
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(11, 1))
			var keys [3000]uint64 // keys by number
			var tab idHash
			tab.hash = func(n uint32) uint64 { return hash(keys[n]) }
			model := map[uint64]uint32{}
			var free []uint32
			for n := range keys {
				free = append(free, uint32(n))
			}
			for step := range 40_000 {
				key := uint64(r.IntN(4000))
				got, ok := tab.find(hash(key), func(n uint32) bool { return keys[n] == key })
				want, held := model[key]
				if ok != held || got != want {
					t.Fatalf("step %d: key %d is %d, %t; want %d, %t", step, key, got, ok, want, held)
				}
				switch grow := step/8000%2 == 0 || r.IntN(4) == 0; {
				case held && !grow:
					if !tab.remove(hash(key), want) {
						t.Fatalf("step %d: key %d is missing", step, key)
					}
					if tab.remove(hash(key), want) {
						t.Fatalf("step %d: key %d was in the table twice", step, key)
					}
					delete(model, key)
					free = append(free, want)
				case !held && grow && len(free) > 0:
					n := free[len(free)-1]
					free = free[:len(free)-1]
					keys[n], model[key] = key, n
					tab.put(hash(key), n)
				}
			}
			if len(model) == 0 {
				t.Error("no key is left to compare")
			}
		})
	}
}

func TestSlabKeepsArraysApart(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 1))
	type kept struct {
		n    uint32
		want []byte
	}
	s := arena[byte]{shift: 3}
	var held []kept
	for step := range 20_000 {
		if r.IntN(5) < 3 || len(held) == 0 {
			a := make([]byte, r.IntN(40))
			if r.IntN(20) == 0 {
				a = make([]byte, 200+r.IntN(200)) // some longer than the largest cell
			}
			for i := range a {
				a[i] = byte(r.Uint32())
			}
			held = append(held, kept{s.alloc(a), slices.Clone(a)})
			clear(a)
			continue
		}
		i := r.IntN(len(held))
		k := held[i]
		if got := s.get(k.n, len(k.want)); !slices.Equal(got, k.want) {
			t.Fatalf("step %d: %x, want %x", step, got, k.want)
		}
		s.release(k.n, len(k.want))
		held = slices.Delete(held, i, i+1)
	}
}

// TestExpiriesOfEqualTimes replaces orders with equal expirations repeatedly. The
// entries are reused, and the heap must not keep an expiration per replacement.
func TestExpiriesOfEqualTimes(t *testing.T) {
	l := newLive(0)
	id := func(i, v int) (id [32]byte) { copy(id[:], fmt.Sprint(i, " ", v)); return id }
	const orders = 100
	for v := range 200 {
		for i := range orders {
			if v > 0 {
				n, _ := l.entries.find(id(i, v-1))
				l.remove(n)
			}
			l.add(indexEntry{id: id(i, v), seq: 1, chain: 1, kind: 38383, createdAt: int64(v), expiration: 5000, tags: []string{fmt.Sprint("d", i), "spending"}}, nil)
		}
	}
	if most := 2*orders + 1025; len(l.expiries) > most {
		t.Errorf("%d expiries of %d events, want at most %d", len(l.expiries), orders, most)
	}
	l.expire(5000)
	if l.n != 0 || len(l.hidden) != orders {
		t.Errorf("%d events are served and %d hidden, want 0 and %d", l.n, len(l.hidden), orders)
	}
}
