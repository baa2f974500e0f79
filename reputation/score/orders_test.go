package score

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mostrodex/mostrodex/mostro/message"
)

// TestOrdersAgainstMaps changes orders of several nodes at random, and compares all orders
// with plain maps.
func TestOrdersAgainstMaps(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	all := newOrders()
	nodes := []nodeOrders{newNodeOrders(all), newNodeOrders(all), newNodeOrders(all)}
	want := []map[string][]version{{}, {}, {}}
	names := make([]string, 400)
	for i := range names {
		var u message.UUID
		for j := range u {
			u[j] = byte(rng.Uint32())
		}
		if names[i] = u.String(); i%7 == 0 {
			names[i] = fmt.Sprintf("order %d", i)
		}
	}
	version := func() (v version) {
		for i := range v.ID {
			v.ID[i] = byte(rng.Uint32())
		}
		v.Created, v.Received, v.Status, v.Witness = rng.Int64N(1<<33), rng.Int64N(1<<42), uint8(rng.IntN(6)), rng.IntN(2) == 0
		return v
	}
	for range 20_000 {
		k, d := rng.IntN(len(nodes)), names[rng.IntN(len(names))]
		_, o := nodes[k].take(d)
		held := all.versions(o).list()
		if !slices.Equal(held, want[k][d]) {
			t.Fatalf("node %d, order %q: %v, want %v", k, d, held, want[k][d])
		}
		switch rng.IntN(8) {
		case 0:
			held = held[:rng.IntN(len(held)+1)]
		case 1:
			for range rng.IntN(64) {
				held = append(held, version())
			}
		default:
			held = append(held, version())
		}
		all.setVersions(o, pack(held))
		want[k][d] = held
	}
	for k := range nodes {
		if got := nodes[k].len(); got != len(want[k]) {
			t.Errorf("node %d has %d orders, want %d", k, got, len(want[k]))
		}
		seen := 0
		for n, o := range nodes[k].each() {
			seen++
			d := all.id(o)
			if !slices.Equal(all.versions(o).list(), want[k][d]) {
				t.Errorf("node %d, order %q differs", k, d)
			}
			if at, same := nodes[k].find(d); same != o || at != n {
				t.Errorf("node %d: order %q is not found under its own id", k, d)
			}
		}
		if seen != len(want[k]) {
			t.Errorf("node %d has %d orders, want %d", k, seen, len(want[k]))
		}
	}
}

func TestCanonicalUUID(t *testing.T) {
	for text, want := range map[string]bool{
		"0d9a3bd7-5c4f-4e8a-9b1e-3f2f6f0c1a2b":  true,
		"00000000-0000-0000-0000-000000000000":  true,
		"0D9a3bd7-5c4f-4e8a-9b1e-3f2f6f0c1a2b":  false, // a different text, so a different id
		"0d9a3bd75c4f-4e8a-9b1e-3f2f6f0c1a2b":   false,
		"0d9a3bd7-5c4f-4e8a-9b1e-3f2f6f0c1a2":   false,
		"0d9a3bd7-5c4f-4e8a-9b1e-3f2f6f0c1a2g":  false,
		"0d9a3bd7-5c4f-4e8a-9b1e--f2f6f0c1a2b":  false,
		"":                                      false,
		"0d9a3bd7-5c4f-4e8a-9b1e-3f2f6f0c1a2bc": false,
	} {
		u, ok := canonicalUUID(text)
		if ok != want {
			t.Errorf("canonicalUUID(%q) = %v", text, ok)
		}
		if ok && u.String() != text {
			t.Errorf("%q becomes %q", text, u)
		}
	}
}
