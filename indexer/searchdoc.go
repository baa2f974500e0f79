package indexer

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
)

// searchState says how far a search index has come.
type searchState struct {
	cursor uint64 // position in the log
	swept  int64  // unix time up to which expired orders were rewritten as gone
	mark   string // of the book it was made from
}

func (st searchState) value() []byte {
	b := binary.BigEndian.AppendUint64(nil, st.cursor)
	return append(binary.BigEndian.AppendUint64(b, uint64(st.swept)), st.mark...)
}

// searchDoc is what search is told of one order. A nil order is deleted.
type searchDoc struct {
	address string
	key     Key
	v       *Version
	gone    bool
}

// textOf are the words that an order is found by, each once, in order of
// first use.
func textOf(o *mostro.Order) string {
	all := orderWords(o)
	out := all[:0]
	for _, w := range all {
		if !slices.Contains(out, w) && len(out) < maxWords {
			out = append(out, w)
		}
	}
	return strings.Join(out, " ")
}

// maxWords bounds the words of one order that are indexed.
const maxWords = 512

// textSum stands for what a live order's document holds; never 0.
func textSum(o *mostro.Order) uint32 {
	h := uint64(14695981039346656037) // FNV-1a
	add := func(s string) {
		for i := 0; i < len(s); i++ {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211 // no text holds this byte
	}
	for _, m := range o.Methods {
		add(m)
	}
	add("")
	add(o.Description)
	add(o.InstanceName)
	add(o.Fiat)
	return uint32(h^h>>32) | 1
}

func hexKey(key uint64) string { return fmt.Sprintf("%016x", key) }

// noStatus stands for a status that no dialect explains.
const noStatus = "-"

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// word is one word of a question, with what it stands for.
type word struct {
	text    string
	codes   []string // currencies
	authors []string // instances
}

// textHit is an order whose text matched.
type textHit struct {
	key   Key
	score float64
}

// highest is above every sort key in use.
const highest = "ffffffffffffffff"

func satsCeil(f float64) uint64 {
	if f <= 0 {
		return 0
	}
	return uint64(math.Ceil(math.Min(f, math.MaxInt64/2)))
}

func texts[T ~string](all []T) []string {
	out := make([]string, len(all))
	for i, v := range all {
		out[i] = string(v)
	}
	return out
}
