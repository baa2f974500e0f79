package recordlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
)

// testRecord returns a record with a payload of n bytes.
func testRecord(seq uint64, n int) (Record, []byte) {
	r := Record{ReceivedAt: 1, Kind: 1, CreatedAt: int64(seq), Source: mostro.Source{Origin: mostro.OriginImport, Relay: "wss://relay.example"}}
	binary.BigEndian.PutUint64(r.ID[:], seq)
	return r, bytes.Repeat([]byte{'a' + byte(seq%26)}, n)
}

func mustOpenRecordLog(t *testing.T, dir string, applied uint64, limit int64) *Log {
	t.Helper()
	l, _, err := Open(dir, applied, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// grow appends groups of records until head, with payloads of up to 3,000 bytes.
func grow(t *testing.T, l *Log, r *rand.Rand, head uint64) {
	t.Helper()
	for l.Head() < head {
		if l.Full() {
			if err := l.Roll(); err != nil {
				t.Fatal(err)
			}
		}
		var buf []byte
		var sizes []int
		for seq := l.Head() + 1; seq <= min(head, l.Head()+1+uint64(r.IntN(5))); seq++ {
			from := len(buf)
			rw, body := testRecord(seq, r.IntN(3000))
			buf = AppendRecord(buf, rw, body)
			sizes = append(sizes, len(buf)-from)
		}
		if err := l.Append(buf, sizes); err != nil {
			t.Fatal(err)
		}
	}
}

// mustHold checks that the log holds the records 1 to head, those of gone without
// payloads.
func mustHold(t *testing.T, l *Log, head uint64, gone ...uint64) {
	t.Helper()
	if l.Head() != head {
		t.Fatalf("the log ends at %d, want %d", l.Head(), head)
	}
	next := uint64(1)
	see := func(seq uint64, r Record, body []byte, err error) error {
		_, want := testRecord(seq, len(body))
		switch {
		case err != nil:
			return err
		case binary.BigEndian.Uint64(r.ID[:]) != seq || r.Source.Relay != "wss://relay.example":
			return fmt.Errorf("record %d is %+v", seq, r)
		case slices.Contains(gone, seq) != (body == nil) || r.PayloadErased != (body == nil) || !bytes.Equal(body, want):
			return fmt.Errorf("the payload of %d is %.20q, erased %v", seq, body, r.PayloadErased)
		}
		return nil
	}
	err := l.Each(0, head, func(seq uint64, r Record, body []byte, err error) error {
		if seq != next {
			return fmt.Errorf("record %d is read, want %d", seq, next)
		}
		next++
		if err := see(seq, r, body, err); err != nil {
			return err
		}
		r, body, err = l.Read(seq)
		return see(seq, r, body, err)
	})
	if err != nil {
		t.Fatal(err)
	}
	if next != head+1 {
		t.Fatalf("the last record is %d, want %d", next-1, head)
	}
}

func TestRecordLogKeepsRecords(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 1))
	l := mustOpenRecordLog(t, dir, 0, 20_000)
	mustHold(t, l, 0)
	grow(t, l, r, 200)
	mustHold(t, l, 200)
	if len(l.files) < 5 {
		t.Fatalf("%d files: the test does not apply", len(l.files))
	}
	if _, _, err := l.Read(201); !errors.Is(err, ErrNoRecord) {
		t.Errorf("record 201: %v", err)
	}
	l.Close()
	places, err := filepath.Glob(filepath.Join(dir, "*.at"))
	if err != nil || len(places) != len(l.files)-1 {
		t.Fatalf("%v, %v", places, err)
	}
	// Missing and wrong offset files are replaced by a scan.
	if err := errors.Join(os.Remove(places[0]), os.WriteFile(places[1], []byte("nothing of this kind"), 0o600)); err != nil {
		t.Fatal(err)
	}
	l = mustOpenRecordLog(t, dir, 200, 20_000)
	mustHold(t, l, 200)
	grow(t, l, r, 300)
	mustHold(t, l, 300)
}

// TestRecordLogAfterACrash truncates and garbles the log at every byte behind applied.
// The complete records before the damage stay, no other record does, and appends
// continue.
func TestRecordLogAfterACrash(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(2, 2))
	l := mustOpenRecordLog(t, dir, 0, 1<<20)
	grow(t, l, r, 20)
	applied := l.Head()
	for seq := applied + 1; seq <= applied+3; seq++ { // three records of some 150 bytes
		rw, body := testRecord(seq, 20)
		buf := AppendRecord(nil, rw, body)
		if err := l.Append(buf, []int{len(buf)}); err != nil {
			t.Fatal(err)
		}
	}
	places, size := slices.Clone(l.files[0].offsets), l.files[0].size
	l.Close()
	path := l.path(1, ".log")
	whole, err := os.ReadFile(path)
	if err != nil || int64(len(whole)) != size {
		t.Fatalf("%d bytes, %v", len(whole), err)
	}
	// head returns the seq that must be left if the file is intact up to a byte.
	head := func(sound int) uint64 {
		for i, at := range append(slices.Clone(places), uint32(size))[applied+1:] {
			if sound < int(at) {
				return applied + uint64(i)
			}
		}
		return applied + 3
	}
	try := func(name string, content []byte, want uint64) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		l, _, err := Open(dir, applied, 1<<20)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer l.Close()
		mustHold(t, l, want)
		grow(t, l, r, want+2)
		mustHold(t, l, want+2)
	}
	step := 1
	if testing.Short() {
		step = 13
	}
	for at := int(places[applied]); at < len(whole); at += step {
		try(fmt.Sprint("cut at ", at), whole[:at], head(at))
		zeros := append(slices.Clone(whole[:at]), make([]byte, len(whole)-at)...)
		try(fmt.Sprint("zeros from ", at), zeros, head(at))
		flipped := slices.Clone(whole)
		flipped[at] ^= 0x10
		try(fmt.Sprint("flipped at ", at), flipped, head(at))
	}
	// A missing applied record is noticed.
	for at := logFileHead; at < int(places[applied]); at += 97 {
		if err := os.WriteFile(path, whole[:at], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Open(dir, applied, 1<<20); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut at %d: %v", at, err)
		}
	}
}

// A crash came between the creation of a file and its first record.
func TestRecordLogBeginsAgain(t *testing.T) {
	for _, head := range []string{"", "mostro", logMagic + strings.Repeat("\x00", 8)} {
		dir := t.TempDir()
		l := mustOpenRecordLog(t, dir, 0, 10_000)
		grow(t, l, rand.New(rand.NewPCG(3, 3)), 12)
		for !l.Full() {
			grow(t, l, rand.New(rand.NewPCG(4, 4)), l.Head()+1)
		}
		end := l.Head()
		l.Close()
		if err := os.WriteFile(l.path(end+1, ".log"), []byte(head), 0o600); err != nil {
			t.Fatal(err)
		}
		l = mustOpenRecordLog(t, dir, end, 10_000)
		mustHold(t, l, end)
		grow(t, l, rand.New(rand.NewPCG(5, 5)), end+10)
		mustHold(t, l, end+10)
	}
}

// TestRecordLogCompacts checks that an erased payload is unreadable at once, in the
// file too, and that a file of which more than half is erased becomes shorter.
func TestRecordLogCompacts(t *testing.T) {
	dir := t.TempDir()
	l := mustOpenRecordLog(t, dir, 0, 50_000)
	grow(t, l, rand.New(rand.NewPCG(6, 6)), 100)
	lf := l.files[1]
	before, first, last := lf.size, lf.first, l.files[2].first-1
	var gone []uint64
	for seq := first; seq <= last; seq++ {
		if seq%4 != 0 {
			gone = append(gone, seq)
		}
	}
	if err := l.Compact(first); err != nil || lf.size != before {
		t.Fatalf("a file without erased payloads was compacted: %v", err)
	}
	touched, err := l.Scrub(gone)
	if err != nil || !slices.Equal(touched, []uint64{first}) {
		t.Fatalf("%v, %v", touched, err)
	}
	mustHold(t, l, 100, gone...)
	places, err := os.ReadFile(l.path(first, ".at"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Compact(last); err != nil {
		t.Fatal(err)
	}
	mustHold(t, l, 100, gone...)
	if info, err := os.Stat(l.path(first, ".log")); err != nil || info.Size() != lf.size || lf.size > before*6/10 {
		t.Errorf("%d bytes in the file, %d in memory, %d before, %v", info.Size(), lf.size, before, err)
	}
	l.Close()
	if err := os.WriteFile(l.path(first, ".at"), places, 0o600); err != nil { // a crash directly after the compaction
		t.Fatal(err)
	}
	half := l.path(first, ".log.new") // a crash in the middle of a compaction
	if err := os.WriteFile(half, []byte("what may be erased since"), 0o600); err != nil {
		t.Fatal(err)
	}
	l = mustOpenRecordLog(t, dir, 100, 50_000)
	mustHold(t, l, 100, gone...)
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the output of an unfinished compaction is left: %v", err)
	}
	grow(t, l, rand.New(rand.NewPCG(7, 7)), 120)
	mustHold(t, l, 120, gone...)
}

// FuzzRecord checks that the parser rejects bytes that are no record, and that a
// parsed record is the same after it was encoded and parsed again.
func FuzzRecord(f *testing.F) {
	r, body := testRecord(7, 30)
	whole := AppendRecord(nil, r, body)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(AppendRecord(nil, Record{PayloadErased: true, Archived: true}, nil))
	f.Add(append(bytes.Clone(whole[:len(whole)-30]), bytes.Repeat([]byte{scrubByte}, 30)...))
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, body, err := parseRecord(b)
		if err != nil {
			return
		}
		if r.PayloadErased != (body == nil) && len(body) > 0 || len(body) > len(b) {
			t.Fatalf("%+v with a payload of %d bytes", r, len(body))
		}
		again, body2, err := parseRecord(AppendRecord(nil, r, body))
		if err != nil || again != r || !bytes.Equal(body, body2) {
			t.Fatalf("%+v, %q is parsed back as %+v, %q: %v", r, body, again, body2, err)
		}
	})
}

// A file with records is never taken for a file that was created and not used.
func TestRecordLogKeepsAFileWithoutItsHead(t *testing.T) {
	dir := t.TempDir()
	l := mustOpenRecordLog(t, dir, 0, 10_000)
	grow(t, l, rand.New(rand.NewPCG(12, 12)), 12)
	last := l.files[len(l.files)-1]
	if len(l.files) < 2 || len(last.offsets) == 0 {
		t.Fatal("the test does not apply")
	}
	applied, path := last.first-1, last.f.Name()
	l.Close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[3] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(dir, applied, 10_000); !errors.Is(err, ErrDamaged) {
		t.Errorf("Open: %v, want errDamagedLog", err)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, b) {
		t.Errorf("%d bytes after Open, want %d, %v", len(now), len(b), err)
	}
}

// TestRecordLogTruncatesForGood checks that a complete record behind a torn one does
// not return when the torn record is written again.
func TestRecordLogTruncatesForGood(t *testing.T) {
	dir := t.TempDir()
	l := mustOpenRecordLog(t, dir, 0, 0)
	var buf []byte
	var sizes []int
	for seq := uint64(1); seq <= 2; seq++ {
		from := len(buf)
		r, body := testRecord(seq, 30)
		buf = AppendRecord(buf, r, body)
		sizes = append(sizes, len(buf)-from)
	}
	torn := bytes.Clone(buf)
	torn[sizes[0]-1] = 0
	if err := l.Append(torn, sizes); err != nil {
		t.Fatal(err)
	}
	l.Close()
	l = mustOpenRecordLog(t, dir, 0, 0)
	mustHold(t, l, 0)
	if err := l.Append(buf[:sizes[0]], sizes[:1]); err != nil {
		t.Fatal(err)
	}
	l.Close()
	mustHold(t, mustOpenRecordLog(t, dir, 0, 0), 1)
}
