package witness

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

const created = nostr.Timestamp(1_800_000_000)

func rowsOf(n int) (rows []Row) {
	for i := range n {
		r := Row{ReceivedMS: 1_799_999_000_000 + int64(i%7)*1500 - int64(i%3)*900, Live: i%4 > 0}
		r.ID[0], r.ID[1], r.ID[31] = byte(i), byte(i>>8), 7
		rows = append(rows, r)
	}
	return rows
}

// TestStatementIsGolden fixes the bytes of docs/witness.md.
func TestStatementIsGolden(t *testing.T) {
	rows := []Row{{ReceivedMS: 1_799_999_000_000, Live: true}, {ReceivedMS: 1_799_999_001_500}, {ReceivedMS: 1_799_999_001_400, Live: true}}
	for i := range rows {
		rows[i].ID[0] = byte(0xa0 + i)
	}
	evt, err := New(strings.Repeat("ab", 32), 41, rows, created)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(evt.Content)
	if err != nil {
		t.Fatal(err)
	}
	zeros := strings.Repeat("00", 31)
	want := "01" + "0003" + "000001a3184d0dc0" + "a0" + zeros + "01" + "a1" + zeros + "f02e" + "a2" + zeros + "8f03"
	if got := hex.EncodeToString(raw); got != want {
		t.Errorf("content is\n%s, want\n%s", got, want)
	}
	if evt.Kind != 30078 || evt.Tags.GetD() != "mostrodex-witness:41" || evt.Tags.Find("rows")[1] != "3" {
		t.Errorf("event %+v", evt)
	}
	got, err := Parse(&evt)
	if err != nil || !slices.Equal(got, rows) {
		t.Errorf("parsed %v: %v", got, err)
	}
}

func TestStatementIsBounded(t *testing.T) {
	evt, err := New("", 0, rowsOf(MaxRows), created)
	if err != nil {
		t.Fatal(err)
	}
	if len(evt.Content) > 28<<10 {
		t.Errorf("a full statement has %d bytes", len(evt.Content))
	}
	if got, err := Parse(&evt); err != nil || len(got) != MaxRows {
		t.Errorf("%d rows: %v", len(got), err)
	}
	for name, rows := range map[string][]Row{"none": nil, "too many": rowsOf(MaxRows + 1), "twice": append(rowsOf(2), rowsOf(1)...),
		"before Mostro": {{ReceivedMS: 1_500_000_000_000}}, "in the future": {{ReceivedMS: (int64(created) + 61) * 1000}},
		"overflow": {{ReceivedMS: 1_799_999_000_000}, {ID: [32]byte{1}, ReceivedMS: -1 << 62}}} {
		if _, err := New("", 0, rows, created); !errors.Is(err, ErrForm) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBrokenStatements(t *testing.T) {
	good, err := New("", 12, rowsOf(3), created)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(good.Content)
	if err != nil {
		t.Fatal(err)
	}
	change := func(fn func(b []byte) []byte) string {
		return base64.StdEncoding.EncodeToString(fn(slices.Clone(raw)))
	}
	for name, content := range map[string]string{
		"empty": "", "no base64": "*", "a line break": good.Content[:8] + "\n" + good.Content[8:],
		"version":    change(func(b []byte) []byte { b[0] = 2; return b }),
		"no rows":    change(func(b []byte) []byte { b[2] = 0; return b }),
		"more rows":  change(func(b []byte) []byte { b[2]++; return b }),
		"fewer rows": change(func(b []byte) []byte { b[2]--; return b }),
		"truncated":  change(func(b []byte) []byte { return b[:len(b)-1] }),
		"trailing":   change(func(b []byte) []byte { return append(b, 0) }),
		"long varint": change(func(b []byte) []byte {
			last := b[len(b)-1]
			return append(b[:len(b)-1], last|0x80, 0)
		}),
		"head differs": change(func(b []byte) []byte { b[headSize+32] |= 4; return b }),
		"long":         strings.Repeat("A", maxContent+4),
	} {
		evt := good
		evt.Content = content
		if _, err := Parse(&evt); !errors.Is(err, ErrForm) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, d := range []string{"mostrodex-witness:", "mostrodex-witness:-1", "mostrodex-witness:07", "mostrodex-witness:x", "mostro-rates"} {
		evt := good
		evt.Tags = nostr.Tags{{"d", d}}
		if _, err := Parse(&evt); !errors.Is(err, ErrForm) {
			t.Errorf("d %q: %v", d, err)
		}
	}
}

// FuzzParse checks that each accepted statement has one encoding and keeps its bounds.
func FuzzParse(f *testing.F) {
	for _, n := range []int{1, 3, 100} {
		evt, err := New("", uint64(n), rowsOf(n), created)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(evt.Content, evt.Tags.GetD(), int64(created))
	}
	f.Add("AQABAAABoxhcG8A=", "mostrodex-witness:1", int64(0))
	f.Fuzz(func(t *testing.T, content, d string, at int64) {
		evt := nostr.Event{Kind: 30078, Content: content, CreatedAt: nostr.Timestamp(at), Tags: nostr.Tags{{"d", d}}}
		rows, err := Parse(&evt)
		if err != nil {
			return
		}
		if len(rows) == 0 || len(rows) > MaxRows || at <= 0 {
			t.Fatalf("%d rows at %d", len(rows), at)
		}
		after, ok := strings.CutPrefix(d, DPrefix)
		if !ok {
			t.Fatal(d)
		}
		var pos uint64
		for _, c := range after {
			pos = pos*10 + uint64(c-'0')
		}
		again, err := New("", pos, rows, nostr.Timestamp(at))
		if err != nil || again.Content != content || again.Tags.GetD() != d {
			t.Fatalf("%q becomes %q: %v", content, again.Content, err)
		}
	})
}
