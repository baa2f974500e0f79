package indexer

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/mostrodex/mostrodex/indexer/orders"
)

// searchState is the progress of a search index.
type searchState struct {
	cursor uint64 // last log position that the index covers
	swept  int64  // unix time up to which expired orders were rewritten as gone
	mark   string // mark of the book that the index was made from
}

func (st searchState) value() []byte {
	b := binary.BigEndian.AppendUint64(nil, st.cursor)
	return append(binary.BigEndian.AppendUint64(b, uint64(st.swept)), st.mark...)
}

// searchDoc is the input of search for one order. If v is nil, the document of the order
// is deleted.
type searchDoc struct {
	address string
	key     orders.Key
	v       *orders.Version
	gone    bool
}

// textOf joins the first maxWords distinct words, in order of first use.
func textOf(all []string) string {
	seen := make(map[string]bool, min(len(all), maxWords))
	var b strings.Builder
	for _, w := range all {
		if seen[w] {
			continue
		}
		if len(seen) == maxWords {
			break
		}
		if len(seen) > 0 {
			b.WriteByte(' ')
		}
		seen[w] = true
		b.WriteString(w)
	}
	return b.String()
}

// maxWords bounds the indexed words of one order.
const maxWords = 512

func hexKey(key uint64) string { return fmt.Sprintf("%016x", key) }

// noStatus is the indexed term for a status that no dialect explains.
const noStatus = "-"

// highest is a term above every sort key in use.
const highest = "ffffffffffffffff"
