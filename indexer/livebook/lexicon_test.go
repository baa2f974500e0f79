package livebook

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/indexer/words"
)

// TestLexicon compares a lexicon with a scan of all names.
func TestLexicon(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	syllables := []string{"ban", "co", "pa", "go", "mo", "vil", " ", " ", "-", "é", "x"}
	l, names := &lexicon{}, map[uint32]string{}
	for step := range 3000 {
		id := uint32(r.IntN(150))
		if name, held := names[id]; held {
			l.remove(name, id)
			delete(names, id)
		} else {
			var name strings.Builder
			for range 1 + r.IntN(6) {
				name.WriteString(syllables[r.IntN(len(syllables))])
			}
			names[id] = words.Fold(name.String())
			l.add(names[id], id)
		}
		if step%20 != 0 {
			continue
		}
		ask := []string{"b", "ban", "banco", "mo", "movil", "pago", "zz", "x"}[r.IntN(8)]
		var wantBegun, wantWhole []uint32
		for id, name := range names {
			all := words.Split(nil, name)
			if words.AnyBegins(all, ask) {
				wantBegun = append(wantBegun, id)
			}
			if slices.Contains(all, ask) {
				wantWhole = append(wantWhole, id)
			}
		}
		slices.Sort(wantBegun)
		slices.Sort(wantWhole)
		begun, whole := l.find(ask)
		if !slices.Equal(begun, wantBegun) || !slices.Equal(whole, wantWhole) {
			t.Fatalf("step %d: %q finds %v and %v, want %v and %v", step, ask, begun, whole, wantBegun, wantWhole)
		}
	}
	for id, name := range names {
		l.remove(name, id)
	}
	if n := l.words.Len(); n != 0 {
		t.Errorf("%d words remain of zero names", n)
	}
}

// TestDistinctNamesAreBounded checks that values beyond the bound count as not stated,
// and that freed places are used again.
func TestDistinctNamesAreBounded(t *testing.T) {
	d := dict{ids: map[string]uint32{}, limit: 3}
	first := d.add("a", "", 0, 1)
	d.add("b", "", 1, 1)
	d.add("c", "", 2, 1)
	over := d.add("d", "", 3, 1)
	if d.names[over] != "" || len(d.ids) != 4 {
		t.Errorf("value %q beyond the bound is stored, %d values in total", d.names[over], len(d.ids))
	}
	d.remove(over, 3, 1)
	d.remove(first, 0, 1)
	if again := d.add("d", "", 3, 1); d.names[again] != "d" {
		t.Errorf("the room that is free again holds %q, want d", d.names[again])
	}
}
