package stats

import (
	"encoding/binary"
	"math"
	"math/rand"
	"strconv"
	"testing"
)

// randomColumns returns the facts of n orders: usual ones, or any at all.
func randomColumns(rng *rand.Rand, n int, wild bool) *columns {
	c := new(columns)
	for k := range n {
		t := uint32(1_780_000_000 + rng.Intn(300_000))
		word := func(usual uint32) uint32 {
			if wild && rng.Intn(9) == 0 {
				return rng.Uint32()
			}
			if rng.Intn(5) == 0 {
				return 0
			}
			return usual
		}
		number := func(usual float64) float64 {
			if wild && rng.Intn(3) == 0 {
				return math.Float64frombits(rng.Uint64())
			}
			if rng.Intn(10) == 0 {
				return math.NaN()
			}
			return usual
		}
		for m := range moments {
			c.at[Signed][m][k] = word(t + uint32(m)*600)
			c.at[Witnessed][m][k] = word(c.at[Signed][m][k] + 1)
		}
		c.cohort[k], c.newest[k], c.ends[k], c.fee[k] = word(uint32(rng.Intn(500))), word(t+5000), word(t+86400), word(uint32(k))
		if c.sats[k] = int64(rng.Intn(1_000_000)) - 1; wild && rng.Intn(5) == 0 {
			c.sats[k] = rng.Int63()
		}
		c.premium[k], c.amount[k] = number(float64(rng.Intn(200)-50)/10), number(float64(rng.Intn(9000))/3)
		c.status[k], c.flags[k] = status(rng.Intn(6)), uint16(rng.Intn(1<<10))
	}
	return c
}

func sameColumns(t *testing.T, n int, got, want *columns) {
	t.Helper()
	for k := range n {
		same := got.cohort[k] == want.cohort[k] && got.newest[k] == want.newest[k] && got.ends[k] == want.ends[k] && got.sats[k] == want.sats[k] &&
			got.status[k] == want.status[k] && got.flags[k] == want.flags[k] && sameFloat(got.premium[k], want.premium[k]) && sameFloat(got.amount[k], want.amount[k])
		for clock := range got.at {
			for m := range moments {
				same = same && got.at[clock][m][k] == want.at[clock][m][k]
			}
		}
		if !same {
			t.Fatalf("row %d of %d is not restored", k, n)
		}
	}
}

// TestSealedColumns: a sealed chunk holds the same facts as an open one.
func TestSealedColumns(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	for i, n := range []int{rows, 1, 0, 63, 64, 65, rows - 1, rows, rows} {
		c := &chunk{open: randomColumns(rng, n, i%2 == 1)}
		want := *c.open
		for k := range n {
			c.blob[k] = 1
		}
		c.seal(n)
		for k := range n {
			if c.cohort(k) != want.cohort[k] {
				t.Fatalf("the cohort of row %d is %d, want %d", k, c.cohort(k), want.cohort[k])
			}
		}
		got := c.change(1)
		sameColumns(t, n, got, &want)
		for k := range n {
			if got.fee[k] != want.fee[k] {
				t.Fatalf("the fee of row %d is %d, want %d", k, got.fee[k], want.fee[k])
			}
		}
	}
}

// FuzzColumns: any facts survive sealing.
func FuzzColumns(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, n := new(columns), 0
		for ; len(raw) >= 74 && n < 100; raw = raw[74:] {
			word := func(i int) uint32 { return binary.LittleEndian.Uint32(raw[4*i:]) }
			for m := range moments {
				c.at[Signed][m][n], c.at[Witnessed][m][n] = word(int(m)), word(4+int(m))
			}
			c.cohort[n], c.newest[n], c.ends[n], c.sats[n] = word(8), word(9), word(10), int64(word(11))<<30-1
			c.premium[n], c.amount[n] = math.Float64frombits(binary.LittleEndian.Uint64(raw[48:])), math.Float64frombits(binary.LittleEndian.Uint64(raw[56:]))
			c.status[n], c.flags[n] = status(raw[64]), uint16(word(16))
			n++
		}
		got := new(columns)
		c.pack(n).unpack(got, partAll, new([rows]uint64))
		sameColumns(t, n, got, c)
	})
}

// TestChunksAreSealedAgain: a chunk that a change opened is sealed again after some entries, so that
// changes of old orders cannot keep all chunks open, and no figure changes by that.
func TestChunksAreSealedAgain(t *testing.T) {
	s := &script{t: t}
	for i := range 2*rows + 10 {
		s.order(strconv.Itoa(i), "pending", int64(100_000+i))
	}
	c := New()
	c.orders.quiet = 400
	apply := func() {
		for i := range s.entries {
			c.Apply(&s.entries[i])
		}
	}
	open := func() (n int) {
		for _, chunk := range c.orders.chunks {
			if chunk.open != nil {
				n++
			}
		}
		return n
	}
	apply()
	if n := open(); n > 2 || c.orders.chunks[0].sealed == nil {
		t.Fatalf("%d chunks are open after the orders arrived, want the last two", n)
	}
	for i := range 300 {
		s.order(strconv.Itoa(i), "success", int64(200_000+i)) // each in the first chunk
	}
	apply()
	if c.orders.chunks[0].open == nil {
		t.Fatal("a change did not open its chunk")
	}
	for i := range 600 {
		s.order("new"+strconv.Itoa(i), "pending", int64(300_000+i))
	}
	apply()
	if n := open(); n != 1 || c.orders.chunks[0].sealed == nil {
		t.Errorf("%d chunks are open some entries after the changes, want the last", n)
	}
	for name, want := range map[string]string{"orders.created": strconv.Itoa(2*rows + 610), "orders.completed": "300", "orders.open_now": strconv.Itoa(2*rows + 310)} {
		if f, err := c.Metric(name, Query{From: 0, Until: 400_000}); err != nil || f.Value.String() != want {
			t.Errorf("%s is %s (%v), want %s", name, f.Value, err, want)
		}
	}
}
