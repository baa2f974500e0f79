package partitions

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/indexer/export"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
	"github.com/parquet-go/parquet-go"
)

var rowSets = []string{"orders", "history", "trades", "events", "instances"}

// readRows reads a file of Parquet by its leaf columns, which lie in the order of the fields of T.
// The library's reader of structs is not used: in version 0.32.0 it returns a pointer to 0 for
// many nulls of a row with a list.
func readRows[T any](t testing.TB, raw []byte) (out []T) {
	t.Helper()
	f, err := parquet.OpenFile(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range f.RowGroups() {
		rows := group.Rows()
		buf := make([]parquet.Row, 16)
		for {
			n, err := rows.ReadRows(buf)
			for _, row := range buf[:n] {
				var one T
				leaves := leavesOf(reflect.ValueOf(&one).Elem())
				for _, v := range row {
					setLeaf(leaves[v.Column()], v)
				}
				out = append(out, one)
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func leavesOf(v reflect.Value) (out []reflect.Value) {
	for i := range v.NumField() {
		if v.Type().Field(i).Anonymous {
			out = append(out, leavesOf(v.Field(i))...)
		} else {
			out = append(out, v.Field(i))
		}
	}
	return out
}

func setLeaf(to reflect.Value, v parquet.Value) {
	if v.IsNull() {
		return
	}
	if to.Kind() == reflect.Slice {
		to.Set(reflect.Append(to, reflect.ValueOf(v.String())))
		return
	}
	if to.Kind() == reflect.Pointer {
		to.Set(reflect.New(to.Type().Elem()))
		to = to.Elem()
	}
	switch {
	case to.Type() == reflect.TypeFor[time.Time]():
		to.Set(reflect.ValueOf(time.UnixMilli(v.Int64()).UTC()))
	case to.Kind() == reflect.String:
		to.SetString(string(v.ByteArray()))
	case to.Kind() == reflect.Int64:
		to.SetInt(v.Int64())
	case to.Kind() == reflect.Float64:
		to.SetFloat(v.Double())
	default:
		to.SetBool(v.Boolean())
	}
}

func readParquet[T any](t testing.TB, raw []byte) (lines []string) {
	t.Helper()
	rows := readRows[T](t, raw)
	for i := range rows {
		lines = append(lines, lineOf(&rows[i]))
	}
	slices.Sort(lines)
	return lines
}

func linesOf(t testing.TB, set string, raw []byte) []string {
	t.Helper()
	switch set {
	case "orders":
		return readParquet[export.OrderRow](t, raw)
	case "history":
		return readParquet[export.HistoryRow](t, raw)
	case "trades":
		return readParquet[export.TradeRow](t, raw)
	case "events":
		return readParquet[export.EventRow](t, raw)
	}
	return readParquet[export.InstanceRow](t, raw)
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	for i := range max(len(got), len(want)) {
		g, w := "", ""
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("%s: %d rows, want %d; the first difference is\n%s\nwant\n%s", what, len(got), len(want), g, w)
			return
		}
	}
}

func (w *world) write(set, format string, win export.Window) []byte {
	w.t.Helper()
	var out bytes.Buffer
	s, _ := export.SetOf(set)
	var to export.Writer
	var err error
	switch format {
	case "csv":
		to = export.NewCSV(&out, s)
	case "parquet":
		to, err = NewParquet(&out, s)
	default:
		to = export.NewNDJSON(&out, s)
	}
	if err == nil {
		err = Write(w.t.Context(), w.index.Archive(), Query{Set: s, Window: win}, to, nil)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return out.Bytes()
}

// TestFormats: the rows of each format are those that the naive computation finds.
func TestFormats(t *testing.T) {
	w := newWorld(t)
	w.fill(1, 700)
	for _, win := range []export.Window{{From: july, Until: w.now.Add(time.Hour)}, export.Month("2026-08").Window(), {From: w.now.Add(-time.Hour), Until: w.now.Add(time.Hour)}} {
		want := w.naive(win)
		for _, set := range rowSets {
			same(t, set, linesOf(t, set, w.write(set, "parquet", win)), want[set])
			about, _ := export.SetOf(set)
			raw := w.write(set, "ndjson", win)
			var objects []map[string]any
			for d := json.NewDecoder(bytes.NewReader(raw)); ; {
				var one map[string]any
				if err := d.Decode(&one); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				objects = append(objects, one)
			}
			cells, err := csv.NewReader(bytes.NewReader(w.write(set, "csv", win))).ReadAll()
			if err != nil || len(objects) != len(want[set]) || len(cells) != len(want[set])+1 {
				t.Fatalf("%s: %v, %d objects, %d lines, want %d rows", set, err, len(objects), len(cells), len(want[set]))
			}
			// The three formats have the same values in the same order.
			for i, one := range objects {
				for k, c := range about.Columns {
					v, cell := one[c.Name], cells[i+1][k]
					ok := true
					switch c.Type {
					case export.Text:
						s, _ := v.(string)
						ok = cell == strings.ReplaceAll(export.Guard(s), "\r\n", "\n")
					case export.List:
						var list []string
						_ = json.Unmarshal([]byte(cell), &list)
						ok = len(list) == len(v.([]any))
					case export.Number, export.Integer:
						f, err := strconv.ParseFloat(cell, 64)
						ok = v == nil && cell == "" || err == nil && f == v
					default:
						ok = v == nil && cell == "" || fmt.Sprint(v) == cell
					}
					if !ok {
						t.Errorf("%s, row %d, %s: %q in CSV, %v in NDJSON", set, i, c.Name, cell, v)
					}
				}
			}
		}
	}
	if total := len(w.naive(export.Window{From: july, Until: w.now.Add(time.Hour)})["trades"]); total < 20 {
		t.Errorf("the market has %d trades", total)
	}
}

// TestStatsRows: a row of stats is the figure of the statistics.
func TestStatsRows(t *testing.T) {
	w := newWorld(t)
	w.fill(2, 300)
	raw := w.write("stats", "parquet", export.Month("2026-08").Window())
	rows := readRows[export.StatsRow](t, raw)
	created := 0.0
	for _, r := range rows {
		if r.Metric == "orders.created" {
			created += *r.Value
		}
	}
	win := export.Month("2026-08").Window()
	if err := w.index.View(false, func(c *stats.Collector, _ []map[[32]byte]struct{}) error {
		f, err := c.Metric("orders.created", stats.Query{From: win.From.Unix(), Until: win.Until.Unix()})
		if f.Value.Float() != created || created == 0 {
			t.Errorf("the days sum up to %v orders, the month has %v", created, f.Value)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	set, _ := export.SetOf("stats")
	var bad *QueryError
	if err := Write(t.Context(), w.index.Archive(), Query{Set: set, Window: export.Window{From: time.Unix(0, 0), Until: w.now}}, export.NewCSV(io.Discard, set), nil); !errors.As(err, &bad) {
		t.Errorf("figures of %d days: %v", w.now.Unix()/86400, err)
	}
}

func (w *world) open(dir string) *Store {
	w.t.Helper()
	s, err := Open(Config{Dir: dir, Source: w.index.Archive(), Now: func() time.Time { return w.now }})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) pass(s *Store) {
	w.t.Helper()
	if err := s.Pass(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// read returns the content of a file and checks its hash.
func read(t testing.TB, s *Store, set string, m export.Month) []byte {
	t.Helper()
	f, about, err := s.File(set, m, export.Parquet)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	raw, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != about.SHA256 || int64(len(raw)) != about.Bytes {
		t.Fatalf("%s: the file differs from its description", about.Path)
	}
	return raw
}

// unzipped returns the content of a file of CSV.
func unzipped(t testing.TB, s *Store, set string, m export.Month) []byte {
	t.Helper()
	f, about, err := s.File(set, m, export.CSV)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	hash := sha256.New()
	z, err := gzip.NewReader(io.TeeReader(f, hash))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil || hex.EncodeToString(hash.Sum(nil)) != about.SHA256 {
		t.Fatalf("%s: %v, or the file differs from its description", about.Path, err)
	}
	return raw
}

// holdsMonth checks that the files of a month hold the naive rows.
func (w *world) holdsMonth(t *testing.T, s *Store, m export.Month) {
	t.Helper()
	want := w.naive(m.Window())
	for _, set := range rowSets {
		if _, _, err := s.File(set, m, export.Parquet); len(want[set]) == 0 && errors.Is(err, ErrNoFile) {
			continue
		}
		same(t, set+" of "+string(m), linesOf(t, set, read(t, s, set, m)), want[set])
		if got, stream := unzipped(t, s, set, m), w.write(set, "csv", m.Window()); !bytes.Equal(got, stream) {
			t.Errorf("%s of %s: the file of CSV has %d bytes, the stream %d", set, m, len(got), len(stream))
		}
	}
}

func filesOf(files []export.File, m export.Month) string {
	return fmt.Sprint(slices.DeleteFunc(slices.Clone(files), func(f export.File) bool { return f.Month != m }))
}

// holds checks that every file of the closed months holds the naive rows, and that the directory
// has no other file.
func (w *world) holds(t *testing.T, s *Store) {
	t.Helper()
	for _, m := range []export.Month{"2026-07", "2026-08"} {
		w.holdsMonth(t, s, m)
	}
	known := map[string]bool{"manifest.json": true}
	for _, b := range s.m.Built {
		known[b.Names] = true
		for _, f := range b.Files {
			known[f.Disk] = true
		}
	}
	if err := filepath.WalkDir(s.cfg.Dir, func(path string, d fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(s.cfg.Dir, path); err == nil && !d.IsDir() && !known[filepath.ToSlash(rel)] {
			t.Errorf("%s is on disk", rel)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// TestClosedMonths: the files of closed months hold their rows, are written once, and are kept
// over a restart. The current month has no file.
func TestClosedMonths(t *testing.T) {
	w := newWorld(t)
	w.fill(3, 500)
	dir := t.TempDir()
	s := w.open(dir)
	w.pass(s)
	w.holds(t, s)
	before := s.Files()
	if len(before) != 24 {
		t.Errorf("%d files", len(before))
	}
	if _, _, err := s.File("orders", "2026-09", export.Parquet); !errors.Is(err, ErrNoFile) {
		t.Errorf("the current month: %v", err)
	}
	w.now = w.now.Add(2 * time.Hour)
	w.fillFrom(w.now.Add(-time.Hour), 4, 50) // late events: they are of September, whatever they say
	w.pass(s)
	s = w.open(dir)
	w.pass(s)
	if after := s.Files(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("files were written again:\n%v\nwant\n%v", after, before)
	}
	// a restored backup has events of closed months
	w.log.add(nostr.Event{PubKey: pubkeyOf(1), Kind: mostro.KindDispute, CreatedAt: 1, Tags: nostr.Tags{{"d", "late"}}}, july.Add(time.Hour), mostro.OriginClient)
	w.catchUp()
	w.now = w.now.Add(2 * time.Hour)
	w.pass(s)
	w.holds(t, s)
	// time goes on
	w.now = time.Date(2026, 10, 1, 0, 9, 0, 0, time.UTC)
	w.pass(s)
	if _, _, err := s.File("orders", "2026-09", export.Parquet); !errors.Is(err, ErrNoFile) {
		t.Errorf("before a month is closed: %v", err)
	}
	w.now = w.now.Add(2 * time.Minute)
	w.pass(s)
	read(t, s, "orders", "2026-09")
}

// TestDeletedEventsLeave: a deleted event leaves the file of its month, which has another hash
// then, and no other file changes. A deletion by a stranger changes nothing.
func TestDeletedEventsLeave(t *testing.T) {
	w := newWorld(t)
	w.fill(5, 400)
	s := w.open(t.TempDir())
	w.pass(s)
	var victim *nostr.Event
	for _, e := range w.log.entries {
		if e.Event.Kind == mostro.KindOrder && export.MonthOf(e.ReceivedAt) == "2026-07" && mostro.Classify(e.Event) == mostro.ClassOrder {
			victim = e.Event
		}
	}
	before := s.Files()
	w.now = w.now.Add(2 * time.Hour)
	w.add(nostr.Event{PubKey: pubkeyOf(9), Kind: mostro.KindDeletion, CreatedAt: nostr.Timestamp(w.now.Unix()), Tags: nostr.Tags{{"e", victim.ID}}}, w.now)
	w.pass(s)
	if fmt.Sprint(s.Files()) != fmt.Sprint(before) {
		t.Error("a stranger's deletion caused files to be written")
	}
	w.add(nostr.Event{PubKey: victim.PubKey, Kind: mostro.KindDeletion, CreatedAt: nostr.Timestamp(w.now.Unix()), Tags: nostr.Tags{{"e", victim.ID}}}, w.now)
	w.pass(s)
	w.holds(t, s)
	for _, set := range []string{"history", "events"} {
		if slices.ContainsFunc(linesOf(t, set, read(t, s, set, "2026-07")), func(l string) bool { return strings.Contains(l, victim.ID) }) {
			t.Errorf("the deleted event is in %s", set)
		}
	}
	for i, f := range s.Files() {
		if f.Month == "2026-08" && f != before[i] {
			t.Errorf("%s was written again", f.Path)
		}
	}
	// Another deletion within the hour waits.
	for _, e := range w.log.entries {
		if e.Event.Kind == mostro.KindOrder && export.MonthOf(e.ReceivedAt) == "2026-07" && !w.log.erased[e.Seq] {
			victim = e.Event
		}
	}
	was := fmt.Sprint(s.m.Built["2026-07"].Files)
	w.add(nostr.Event{PubKey: victim.PubKey, Kind: mostro.KindDeletion, CreatedAt: nostr.Timestamp(w.now.Unix()), Tags: nostr.Tags{{"e", victim.ID}}}, w.now)
	w.pass(s)
	if fmt.Sprint(s.m.Built["2026-07"].Files) != was {
		t.Error("a second deletion within the hour caused files to be written")
	}
	s = w.open(s.cfg.Dir) // the deletion is remembered
	w.now = w.now.Add(time.Hour)
	w.pass(s)
	w.holds(t, s)
}

// TestHiddenEventsLeave: an event that the operator hides leaves at once. Until the file is
// written again, it is not served. If the operator shows the event again, it comes back.
func TestHiddenEventsLeave(t *testing.T) {
	w := newWorld(t)
	w.fill(6, 400)
	s := w.open(t.TempDir())
	w.pass(s)
	before := s.Files()
	hide := func(keys, events map[[32]byte]struct{}) {
		w.rules.version++
		w.rules.keys, w.rules.events = keys, events
	}
	hide(map[[32]byte]struct{}{keyOf(pubkeyOf(2)): {}}, nil)
	s.crash = func(string) error { return errors.New("the disk fails") }
	if err := s.Pass(t.Context()); err == nil {
		t.Fatal("no error")
	}
	if _, _, err := s.File("events", "2026-07", export.Parquet); !errors.Is(err, ErrWithheld) || len(s.Files()) != 0 {
		t.Errorf("files with hidden events: %v, %d files", err, len(s.Files()))
	}
	s = w.open(s.cfg.Dir)
	if _, _, err := s.File("events", "2026-07", export.Parquet); !errors.Is(err, ErrWithheld) {
		t.Errorf("after a restart: %v", err)
	}
	w.pass(s)
	w.holds(t, s)
	hide(nil, map[[32]byte]struct{}{keyOf(w.log.entries[10].Event.ID): {}, keyOf(w.log.entries[11].Event.ID): {}})
	w.now = w.now.Add(2 * time.Hour)
	w.pass(s)
	w.holds(t, s)
	hide(nil, nil)
	w.now = w.now.Add(2 * time.Hour)
	w.pass(s)
	w.holds(t, s)
	for i, f := range s.Files() {
		if f.Set != "stats" && f.SHA256 != before[i].SHA256 { // stats hold the time of their computation
			t.Errorf("%s differs from the first file with the same rows", f.Path)
		}
	}
}

// TestCrash ends the program at each step of writing a month. The next start finds the former
// files, complete, and no others, and writes the month again.
func TestCrash(t *testing.T) {
	w := newWorld(t)
	w.fill(7, 150)
	stride := 1
	if testing.Short() {
		stride = 4
	}
	dir := t.TempDir()
	w.pass(w.open(dir))
	errCrash := errors.New("crash")
	var steps []string
	for n := 0; n < 30; n += stride {
		at := w.now
		s := w.open(dir)
		before := s.Files()
		var victim *nostr.Event // an event of a file
		for _, e := range w.log.entries {
			if !w.log.erased[e.Seq] && mostro.Classify(e.Event) == mostro.ClassOrder && export.MonthOf(e.ReceivedAt) == "2026-07" {
				victim = e.Event
			}
		}
		w.add(nostr.Event{PubKey: victim.PubKey, Kind: mostro.KindDeletion, CreatedAt: nostr.Timestamp(w.now.Unix()), Tags: nostr.Tags{{"e", victim.ID}, {"n", fmt.Sprint(n)}}}, w.now)
		w.now = at.Add(2 * time.Hour)
		count, crashed := 0, ""
		s.crash = func(step string) error {
			if count++; count > n {
				crashed = step
				return errCrash
			}
			return nil
		}
		err := s.Pass(t.Context())
		if crashed == "" && err == nil {
			break
		}
		steps = append(steps, crashed)
		s = w.open(dir)
		// Each month has its former files or, if it was written before the crash, the new ones.
		for _, m := range []export.Month{"2026-07", "2026-08"} {
			if got, was := filesOf(s.Files(), m), filesOf(before, m); got != was {
				if len(s.m.Built[m].Files) == 0 {
					t.Errorf("after a crash at %q %s has no files", crashed, m)
				}
				w.holdsMonth(t, s, m)
			}
		}
		for _, f := range s.Files() {
			if f.Format == export.Parquet {
				read(t, s, f.Set, f.Month)
			} else {
				unzipped(t, s, f.Set, f.Month)
			}
		}
		w.pass(s)
		w.holds(t, s)
	}
	if len(steps) < 20/stride {
		t.Errorf("crashes at %q alone", steps)
	}
	// a file that is cut or gone is written again
	s := w.open(dir)
	for _, harm := range []func(string) error{os.Remove, func(p string) error { return os.Truncate(p, 10) }} {
		if err := harm(s.disk(s.m.Built["2026-07"].Files[0].Disk)); err != nil {
			t.Fatal(err)
		}
		s = w.open(dir)
		w.pass(s)
		w.holds(t, s)
	}
	if err := os.WriteFile(s.manifestPath(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = w.open(dir)
	w.pass(s)
	w.holds(t, s)
}

// TestFullDisk: no file is written if the disk has less free space than it should keep.
func TestFullDisk(t *testing.T) {
	w := newWorld(t)
	w.fill(8, 100)
	s, err := Open(Config{Dir: t.TempDir(), Source: w.index.Archive(), MinFree: 1 << 60, Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Pass(t.Context()); err == nil || len(s.Files()) != 0 {
		t.Errorf("%v, %d files", err, len(s.Files()))
	}
	s.cfg.MinFree = 0
	w.now = w.now.Add(retryEvery)
	w.pass(s)
	w.holds(t, s)
}

// TestAnotherLog: if the data directory got another log, its exports are written again.
func TestAnotherLog(t *testing.T) {
	w := newWorld(t)
	w.fill(9, 200)
	dir := t.TempDir()
	w.pass(w.open(dir))
	other := newWorld(t)
	other.fill(10, 250)
	s := other.open(dir)
	other.pass(s)
	other.holds(t, s)
	shorter := newWorld(t)
	shorter.fill(11, 150)
	s = shorter.open(dir)
	shorter.pass(s)
	shorter.holds(t, s)
}

// TestHostileEvents: no event makes a file unreadable.
func TestHostileEvents(t *testing.T) {
	w := newWorld(t)
	for i, created := range []int64{-1 << 62, -1, 0, 1 << 62} {
		evt := nostr.Event{PubKey: pubkeyOf(1), Kind: mostro.KindOrder, CreatedAt: nostr.Timestamp(created), Content: "\xff\xfe\x00", Tags: nostr.Tags{{"d", "\xffx" + strconv.Itoa(i)}, {"k", "sell"}, {"f", "USD"},
			{"s", "pending"}, {"amt", "99999999999999999999999"}, {"fa", strings.Repeat("9", 39)}, {"pm", "\xc3", strings.Repeat("m", 100_000)}, {"premium", "-0.00000000000000000000000001"}, {"expires_at", "9223372036854775807"}, {"y", "mostro", "\xf0\x28"}, {"z", "order"}}}
		w.log.add(evt, july.Add(time.Duration(i)*time.Hour), mostro.OriginClient)
	}
	w.log.add(nostr.Event{PubKey: pubkeyOf(1), Kind: 1, Content: strings.Repeat("x", 1<<20)}, july.Add(9*time.Hour), mostro.OriginClient)
	w.catchUp()
	s := w.open(t.TempDir())
	w.pass(s)
	for _, set := range []string{"orders", "history", "events"} {
		if n := len(linesOf(t, set, read(t, s, set, "2026-07"))); n < 4 {
			t.Errorf("%s has %d rows", set, n)
		}
	}
}

// meddling is a source in which something happens before and after the versions are read.
type meddling struct {
	Source
	before, after func()
}

func (m meddling) Versions(ctx context.Context, upTo uint64, fn func(*orders.Version) error) error {
	m.before()
	defer m.after()
	return m.Source.Versions(ctx, upTo, fn)
}

// TestDeletedWhileWritten: events that their author deletes while a month is written, before and
// after its versions are read, leave the files later.
func TestDeletedWhileWritten(t *testing.T) {
	w := newWorld(t)
	w.fill(12, 200)
	remove := func(from int) func() {
		return func() {
			for _, e := range w.log.entries[from : from+20] {
				w.add(nostr.Event{PubKey: e.Event.PubKey, Kind: mostro.KindDeletion, CreatedAt: nostr.Timestamp(w.now.Unix()), Tags: nostr.Tags{{"e", e.Event.ID}}}, w.now)
			}
		}
	}
	source := meddling{w.index.Archive(), remove(0), remove(100)}
	s, err := Open(Config{Dir: t.TempDir(), Source: source, Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	position, _ := source.Covered()
	if _, err := s.follow(t.Context(), position); err != nil {
		t.Fatal(err)
	}
	for _, m := range []export.Month{"2026-07", "2026-08"} {
		if err := s.build(t.Context(), m, position); err != nil {
			t.Fatal(err)
		}
		source.before, source.after = func() {}, func() {}
		s.cfg.Source = source
	}
	w.now = w.now.Add(2 * time.Hour)
	w.pass(s)
	w.holds(t, s)
}
