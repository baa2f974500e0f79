package arena

import (
	"math/rand/v2"
	"testing"
)

// TestTableEqualsMap compares a Table with a map through growth and gaps, with a
// good hash and with a hash that makes nearly all keys collide.
func TestTableEqualsMap(t *testing.T) {
	for name, hash := range map[string]func(key uint64) uint64{
		"Spread":  func(key uint64) uint64 { return key * 0x9e3779b97f4a7c15 },
		"Crowded": func(key uint64) uint64 { return key % 5 << 60 },
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(11, 1))
			var keys [3000]uint64 // keys by number
			var tab Table
			tab.Hash = func(n uint32) uint64 { return hash(keys[n]) }
			model := map[uint64]uint32{}
			var free []uint32
			for n := range keys {
				free = append(free, uint32(n))
			}
			for step := range 40_000 {
				key := uint64(r.IntN(4000))
				got, ok := tab.Find(hash(key), func(n uint32) bool { return keys[n] == key })
				want, held := model[key]
				if ok != held || got != want {
					t.Fatalf("step %d: key %d is %d, %t; want %d, %t", step, key, got, ok, want, held)
				}
				switch grow := step/8000%2 == 0 || r.IntN(4) == 0; {
				case held && !grow:
					if !tab.Remove(hash(key), want) {
						t.Fatalf("step %d: key %d is missing", step, key)
					}
					if tab.Remove(hash(key), want) {
						t.Fatalf("step %d: key %d was in the table twice", step, key)
					}
					delete(model, key)
					free = append(free, want)
				case !held && grow && len(free) > 0:
					n := free[len(free)-1]
					free = free[:len(free)-1]
					keys[n], model[key] = key, n
					tab.Put(hash(key), n)
				}
			}
			if len(model) == 0 {
				t.Error("no key is left to compare")
			}
		})
	}
}
