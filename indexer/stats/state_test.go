package stats

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"math/rand"
	"testing"
)

// TestStateSurvivesARestart: a Collector that was encoded and decoded in the middle of the entries
// answers like one that was not.
func TestStateSurvivesARestart(t *testing.T) {
	for seed := range int64(6) {
		entries := randomMarket(800+seed, 150, 6)
		whole, half := collect(entries), collect(entries[:len(entries)/2])
		state := half.Encode([]byte("prefix"))[6:]
		c, err := Decode(state)
		if err != nil {
			t.Fatal(err)
		}
		if again := c.Encode(nil); !bytes.Equal(again, state) {
			t.Fatalf("seed %d: the encoding of a decoded state differs", seed)
		}
		for i := range entries { // the first half again, as after a crash
			c.Apply(&entries[i])
		}
		rng := rand.New(rand.NewSource(seed))
		for range 10 {
			q := randomQuery(rng, entries)
			got, _ := c.Document(q)
			want, _ := whole.Document(q)
			a, _ := json.Marshal(got)
			b, _ := json.Marshal(want)
			if !bytes.Equal(a, b) {
				t.Fatalf("seed %d: after a restart\n%s\nwant\n%s", seed, a, b)
			}
		}
	}
}

func TestDamagedStateIsAnError(t *testing.T) {
	state := collect(randomMarket(9, 30, 3)).Encode(nil)
	for n := range len(state) {
		if _, err := Decode(state[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes are no error", n, len(state))
		}
		broken := bytes.Clone(state)
		broken[n] ^= 0x10
		if _, err := Decode(broken); err == nil {
			t.Fatalf("a wrong byte at %d is no error", n)
		}
	}
}

// FuzzDecode: no bytes make Decode panic, and each state that Decode accepts can be used.
func FuzzDecode(f *testing.F) {
	for seed := range int64(3) {
		state := collect(randomMarket(seed, 10, 3)).Encode(nil)
		f.Add(state[len(stateMagic) : len(state)-4])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		raw := append([]byte(stateMagic), body...)
		c, err := Decode(binary.LittleEndian.AppendUint32(raw, crc32.Checksum(raw, castagnoli)))
		if err != nil {
			return
		}
		q := Query{From: 1, Until: 1_790_000_000, In: "EUR"}
		if _, err := c.Document(q); err != nil {
			t.Fatal(err)
		}
		if _, err := c.BookAt(q); err != nil {
			t.Fatal(err)
		}
		entries := randomMarket(1, 3, 2)
		for i := range entries {
			c.Apply(&entries[i])
		}
	})
}

// FuzzParseQuery: no parameters make ParseQuery panic, and each query that it accepts can be
// answered.
func FuzzParseQuery(f *testing.F) {
	c := collect(randomMarket(2, 20, 3))
	f.Add("from", "2026-06-01T00:00:00Z", "until", "1790000000", "fiat", "eur")
	f.Add("from", "-1", "until", "NaN", "clock", "witnessed")
	f.Add("side", "buy", "in", "usd", "method", "SEPA")
	f.Fuzz(func(t *testing.T, a, av, b, bv, d, dv string) {
		q, err := ParseQuery(map[string][]string{a: {av}, b: {bv}, d: {dv, dv}}, 1_785_000_000)
		if err != nil {
			if _, ok := err.(*ParamError); !ok {
				t.Fatalf("%v is no ParamError", err)
			}
			return
		}
		if _, err := c.Document(q); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzVersions(f *testing.F) {
	f.Add(appendVersions(nil, []version{{created: 5, received: 6, seq: 7, status: statusPending, sats: -1, premium: 0.5}}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		versions, err := decodeVersions(nil, raw)
		if err != nil {
			return
		}
		again, err := decodeVersions(nil, appendVersions(nil, versions))
		if err != nil || len(again) != len(versions) {
			t.Fatalf("%d versions become %d: %v", len(versions), len(again), err)
		}
		for i := range again {
			a, b := again[i], versions[i]
			if !sameFloat(a.min, b.min) || !sameFloat(a.max, b.max) || !sameFloat(a.premium, b.premium) {
				t.Fatalf("%+v becomes %+v", b, a)
			}
			if a.min, a.max, a.premium, b.min, b.max, b.premium = 0, 0, 0, 0, 0, 0; a != b {
				t.Fatalf("%+v becomes %+v", b, a)
			}
		}
	})
}
