package eventlog

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog/liveindex"
	"github.com/nbd-wtf/go-nostr"
)

// BenchmarkSnapshot lists a million live events for a reconciliation.
func BenchmarkSnapshot(b *testing.B) {
	st, err := Open(Config{Dir: b.TempDir(), BodyCache: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	r := rand.New(rand.NewPCG(1, 1))
	bulk := liveindex.NewLoader(st.live)
	for i := range 1_000_000 {
		ie := liveindex.Entry{Seq: uint64(i + 1), Kind: mostro.KindOrder, CreatedAt: 1_780_000_000 + r.Int64N(40*86400), Tags: []string{fmt.Sprint("d", i), "spending", "fVES"}}
		for j := range 4 {
			binary.LittleEndian.PutUint64(ie.ID[8*j:], r.Uint64())
		}
		ie.PubKey[0] = byte(i % 40)
		bulk.Add(ie, 0)
	}
	bulk.Finish()
	b.ResetTimer()
	for b.Loop() {
		items, _, err := st.LiveItems(b.Context(), nostr.Filter{Kinds: []int{mostro.KindOrder}})
		if err != nil || len(items) != 1_000_000 {
			b.Fatal(len(items), err)
		}
	}
}
