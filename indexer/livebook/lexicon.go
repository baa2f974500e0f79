package livebook

import (
	mathbits "math/bits"
	"slices"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/tidwall/btree"
)

// lexicon finds the names of a dict by prefixes of their words.
type lexicon struct {
	words btree.Map[string, []uint32] // word -> ids of the names that contain the word, ascending
}

func (l *lexicon) add(name string, id uint32) {
	for _, w := range orders.MethodWords(nil, name) {
		ids, _ := l.words.Get(w)
		if at, held := slices.BinarySearch(ids, id); !held {
			l.words.Set(w, slices.Insert(ids, at, id))
		}
	}
}

func (l *lexicon) remove(name string, id uint32) {
	for _, w := range orders.MethodWords(nil, name) {
		ids, _ := l.words.Get(w)
		at, held := slices.BinarySearch(ids, id)
		switch {
		case !held:
		case len(ids) == 1:
			l.words.Delete(w)
		default:
			l.words.Set(w, slices.Delete(ids, at, at+1))
		}
	}
}

// find returns the names with a word that begins with w, and the names with a word equal
// to w. Both lists are ascending.
func (l *lexicon) find(w string) (begun, whole []uint32) {
	whole, _ = l.words.Get(w)
	var seen []uint64 // a bitmap, because a short w may match many words of each name
	l.words.Ascend(w, func(held string, ids []uint32) bool {
		if len(held) < len(w) || held[:len(w)] != w {
			return false
		}
		for _, id := range ids {
			for int(id>>6) >= len(seen) {
				seen = append(seen, 0)
			}
			seen[id>>6] |= 1 << (id & 63)
		}
		return true
	})
	for i, bits := range seen {
		for ; bits != 0; bits &= bits - 1 {
			begun = append(begun, uint32(i<<6+mathbits.TrailingZeros64(bits)))
		}
	}
	return begun, whole
}

// findAll returns the names that have, for each wanted word, a word that begins with the
// wanted word.
func (l *lexicon) findAll(wanted []string) (names []uint32) {
	for i, w := range wanted {
		begun, _ := l.find(w)
		if i == 0 {
			names = begun
			continue
		}
		names = slices.DeleteFunc(names, func(id uint32) bool {
			_, held := slices.BinarySearch(begun, id)
			return !held
		})
	}
	return names
}
