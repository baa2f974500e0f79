package partitions

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/mostrodex/mostrodex/indexer/export"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/internal/diskspace"
	"github.com/mostrodex/mostrodex/internal/room"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Config is the configuration of a Store. Dir and Source are required.
type Config struct {
	Dir     string // the store owns this directory
	Source  Source
	MinFree int64         // bytes that stay free on the disk; no file is written if less is free
	Every   time.Duration // between two looks at the log and at the rules; 0: 5 seconds

	Logger *slog.Logger     // nil: log lines are discarded
	Now    func() time.Time // nil: time.Now
}

// Times of the Store.
const (
	lookEvery    = 5 * time.Second
	closedAfter  = 10 * time.Minute // a month is closed so long after its end
	rewriteEvery = time.Hour        // between two times that deletions cause a month to be written
	retryEvery   = 10 * time.Minute // after an error
	saveEvery    = time.Minute      // the position is written to disk
)

// Store is the files of closed months. A caller opens a Store and calls Run once. The other
// methods may be called concurrently.
type Store struct {
	cfg Config
	log *slog.Logger

	mu sync.RWMutex // guards m; only Run changes m
	m  manifest

	// Run owns the fields below.
	rules   uint64 // version of the rules that were looked at
	looked  bool   // rules were looked at since Open
	savedAt time.Time
	failed  map[export.Month]time.Time // last error of a month

	crash func(step string) error // of tests
}

// manifest is the content of manifest.json.
type manifest struct {
	Format int                         `json:"format"`
	Seed   string                      `json:"seed"`
	Cursor uint64                      `json:"cursor"` // entries up to here were looked at
	LastID string                      `json:"last_id"`
	LastAt uint64                      `json:"last_at"` // position of LastID
	Months map[export.Month]*monthSpan `json:"months"`  // all months with events
	Built  map[export.Month]*built     `json:"built"`   // months with files
}

// monthSpan is the part of the log that holds the events of a month.
type monthSpan struct {
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
	Events int64  `json:"events"`
}

// built is a month whose files were written.
type built struct {
	Through  uint64     `json:"through"` // last position of the month that the files cover
	MadeAt   time.Time  `json:"made_at"`
	Files    []partFile `json:"files"`
	Names    string     `json:"names"`              // file of the Bloom filter
	Left     []string   `json:"left,omitempty"`     // keys and ids that the rules hid: shown again, they come back
	Stale    string     `json:"stale,omitempty"`    // reason why the month is to be written again
	Withheld bool       `json:"withheld,omitempty"` // the files hold events that the operator hid
}

// partFile is a file with its name on disk, which no other content has.
type partFile struct {
	export.File
	Disk string `json:"disk"`
}

const formatNow = 1

// Errors of File.
var (
	ErrNoFile   = errors.New("no file of this data set and month; the month is not closed, or has no rows")
	ErrWithheld = errors.New("the file is being written again, because it holds events that the operator hid")
)

// Open opens the store in cfg.Dir, or creates it.
func Open(cfg Config) (*Store, error) {
	if cfg.Dir == "" || cfg.Source == nil {
		return nil, errors.New("partitions: Dir and Source are required")
	}
	if cfg.Every == 0 {
		cfg.Every = lookEvery
	}
	cfg.Logger, cfg.Now = room.Logger(cfg.Logger), room.Clock(cfg.Now)
	s := &Store{cfg: cfg, log: cfg.Logger.With("room", "indexer"), failed: map[export.Month]time.Time{}}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	s.m = s.load()
	return s, s.sweep()
}

func (s *Store) manifestPath() string { return filepath.Join(s.cfg.Dir, "manifest.json") }

// load reads the manifest. If it is missing or damaged, load returns an empty one, and all
// files are written again.
func (s *Store) load() manifest {
	raw, err := os.ReadFile(s.manifestPath())
	var m manifest
	if err == nil {
		if err = json.Unmarshal(raw, &m); err == nil && (m.Format != formatNow || len(m.Seed) != 32) {
			err = errors.New("another format")
		}
	}
	if err == nil {
		for month, b := range m.Built { // a file that somebody changed or deleted must not be served
			for i := range b.Files {
				if st, err := os.Stat(s.disk(b.Files[i].Disk)); err != nil || st.Size() != b.Files[i].Bytes {
					s.log.Warn("file of an export is missing or changed, writing the month again", "file", b.Files[i].Disk, "error", err)
					delete(m.Built, month)
					break
				}
			}
		}
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("manifest of the exports cannot be used, writing the exports again", "file", s.manifestPath(), "error", err)
		}
		m = emptyManifest()
	}
	if m.Months == nil {
		m.Months = map[export.Month]*monthSpan{}
	}
	if m.Built == nil {
		m.Built = map[export.Month]*built{}
	}
	return m
}

func emptyManifest() manifest {
	var seed [16]byte
	rand.Read(seed[:]) //nolint:errcheck // never fails
	return manifest{Format: formatNow, Seed: hex.EncodeToString(seed[:]), Months: map[export.Month]*monthSpan{}, Built: map[export.Month]*built{}}
}

func (s *Store) disk(name string) string { return filepath.Join(s.cfg.Dir, filepath.FromSlash(name)) }

// sweep deletes the files that the manifest does not name.
func (s *Store) sweep() error {
	keep := map[string]bool{"manifest.json": true}
	for _, b := range s.m.Built {
		keep[b.Names] = true
		for i := range b.Files {
			keep[b.Files[i].Disk] = true
		}
	}
	return filepath.WalkDir(s.cfg.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(s.cfg.Dir, path)
		if err != nil || keep[filepath.ToSlash(rel)] {
			return err
		}
		return os.Remove(path)
	})
}

// Files returns the files that may be read, sorted by data set and month.
func (s *Store) Files() []export.File {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := []export.File{}
	for _, b := range s.m.Built {
		for i := range b.Files {
			if !b.Withheld {
				out = append(out, b.Files[i].File)
			}
		}
	}
	export.SortFiles(out)
	return out
}

// File opens the file of a data set and a month in a format. The error is ErrNoFile or ErrWithheld if there
// is none to read.
func (s *Store) File(set string, month export.Month, format export.Format) (*os.File, export.File, error) {
	s.mu.RLock()
	defer s.mu.RUnlock() // a file that the manifest names is on disk
	b := s.m.Built[month]
	if b == nil {
		return nil, export.File{}, ErrNoFile
	}
	at := slices.IndexFunc(b.Files, func(f partFile) bool { return f.Set == set && f.Format == format })
	switch {
	case at < 0:
		return nil, export.File{}, ErrNoFile
	case b.Withheld:
		return nil, export.File{}, ErrWithheld
	}
	f, err := os.Open(s.disk(b.Files[at].Disk))
	return f, b.Files[at].File, err
}

// Run writes the files of closed months until ctx ends. An error of a month is logged and the
// month is tried again later, because the rest of the program does not need its files.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(s.cfg.Every)
	defer tick.Stop()
	for {
		if err := s.Pass(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, ErrBehind) {
			s.log.Warn("exports are not up to date", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Pass looks once at the log and at the rules, and writes the files of all months that are due.
// Pass returns ErrBehind if the index has not caught up.
func (s *Store) Pass(ctx context.Context) error {
	position, ok := s.cfg.Source.Covered()
	if !ok {
		return ErrBehind
	}
	changed, err := s.follow(ctx, position)
	if err != nil {
		return err
	}
	ruled, err := s.judge(ctx)
	if err != nil {
		return err
	}
	if changed || ruled {
		if err := s.save(); err != nil {
			return err
		}
	}
	var errs []error
	for due := s.due(); len(due) > 0; due = s.due() {
		month := due[0]
		if err := s.build(ctx, month, position); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			s.failed[month] = s.cfg.Now()
			errs = append(errs, fmt.Errorf("export of %s: %w", month, err))
		}
		// Many months may be due, and a ban must not wait for all of them.
		if ruled, err = s.judge(ctx); err == nil && ruled {
			err = s.save()
		}
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
	}
	return errors.Join(errs...)
}

// errAnother means that the log is not the one that the manifest describes.
var errAnother = errors.New("another log")

// follow notes the months of new entries, and the months that deletions concern. changed is true
// if the manifest should be written now.
func (s *Store) follow(ctx context.Context, position uint64) (changed bool, err error) {
	if err := s.verify(ctx, position); errors.Is(err, errAnother) {
		s.log.Warn("exports belong to another log, writing them again")
		s.mu.Lock()
		s.m = emptyManifest()
		s.mu.Unlock()
		if err := errors.Join(s.save(), s.sweep()); err != nil {
			return false, err
		}
	} else if err != nil {
		return false, err
	}
	if position == s.m.Cursor {
		return false, nil
	}
	var deleted []string
	mark := func() error {
		stale, err := s.mark(deleted, "an author deleted an event", false)
		deleted, changed = deleted[:0], changed || stale
		return err
	}
	err = s.cfg.Source.Entries(ctx, s.m.Cursor, position, func(e *mostro.Entry) error {
		month := export.MonthOf(e.ReceivedAt)
		span := s.m.Months[month]
		if span == nil {
			span = &monthSpan{First: e.Seq}
			s.m.Months[month] = span
		}
		span.First, span.Last = min(span.First, e.Seq), e.Seq
		span.Events++
		s.m.LastID, s.m.LastAt, s.m.Cursor = e.Event.ID, e.Seq, e.Seq
		if e.Event.Kind != mostro.KindDeletion || len(s.m.Built) == 0 {
			return nil
		}
		if deleted = append(deleted, deletedNames(e.Event)...); len(deleted) < maxMarked {
			return nil
		}
		return mark()
	})
	// Also after an error: the cursor is behind the deletions that were read.
	if err = errors.Join(err, mark()); err != nil {
		return false, err
	}
	s.m.Cursor = position
	return changed || s.cfg.Now().Sub(s.savedAt) >= saveEvery, nil
}

// verify returns errAnother if the log ends before the cursor, or holds another event at the
// place of the last one that was looked at.
func (s *Store) verify(ctx context.Context, position uint64) error {
	if s.cfg.Source.Head() < s.m.Cursor {
		return errAnother
	}
	if position < s.m.Cursor {
		return ErrBehind // the book is being rebuilt
	}
	if s.m.LastAt == 0 {
		return nil
	}
	return s.cfg.Source.Entries(ctx, s.m.LastAt-1, s.m.LastAt, func(e *mostro.Entry) error {
		if e.Seq == s.m.LastAt && e.Event.ID != s.m.LastID {
			return errAnother
		}
		return nil
	})
}

// deletedNames returns the names of the events that a deletion request names.
func deletedNames(evt *nostr.Event) (out []string) {
	for _, tag := range evt.Tags {
		if len(tag) < 2 {
			continue
		}
		switch tag[0] {
		case "e":
			out = append(out, nameOfOwn(tag[1], evt.PubKey))
		case "a":
			if _, rest, _ := strings.Cut(tag[1], ":"); strings.HasPrefix(rest, evt.PubKey+":") {
				out = append(out, nameOfAddress(tag[1]))
			}
		}
	}
	return out
}

// maxMarked bounds the names that are collected before the filters are read.
const maxMarked = 10_000

// mark marks the months that hold one of some names as stale. One filter is in memory at a time.
func (s *Store) mark(wanted []string, why string, withhold bool) (changed bool, err error) {
	if len(wanted) == 0 {
		return false, nil
	}
	for _, b := range s.m.Built {
		if b.Stale != "" && (b.Withheld || !withhold) {
			continue
		}
		filter, err := s.readNames(b.Names)
		if err != nil {
			return changed, err
		}
		if slices.ContainsFunc(wanted, filter.has) {
			s.mu.Lock()
			b.Stale, b.Withheld = why, b.Withheld || withhold
			s.mu.Unlock()
			changed = true
		}
	}
	return changed, nil
}

func (s *Store) readNames(name string) (*names, error) {
	raw, err := os.ReadFile(s.disk(name))
	if err != nil {
		return nil, err
	}
	if len(raw) == 0 || len(raw) > maxNames || len(raw)&(len(raw)-1) != 0 {
		return nil, fmt.Errorf("%s is damaged", name)
	}
	return &names{s.seed(), raw}, nil
}

func (s *Store) seed() (seed [16]byte) {
	hex.Decode(seed[:], []byte(s.m.Seed)) //nolint:errcheck // the length was checked; a damaged seed finds too few months only until the next manifest
	return seed
}

// judge marks the months that changed rules concern: those that hold an event that is hidden
// now, and those that lack an event that is not hidden any more.
func (s *Store) judge(ctx context.Context) (changed bool, err error) {
	hidden, err := s.cfg.Source.Hidden(ctx)
	if err != nil {
		return false, err
	}
	version := uint64(0)
	if hidden != nil {
		version = hidden.Version + 1
	}
	if s.looked && version == s.rules {
		return false, nil
	}
	var wanted []string
	if hidden != nil {
		for _, key := range hidden.Authors(false) {
			wanted = append(wanted, nameOfKey(key))
		}
		for id := range hidden.Events {
			wanted = append(wanted, nameOfID(id))
		}
	}
	if changed, err = s.mark(wanted, "the operator hid an event", true); err != nil {
		return changed, err
	}
	for _, b := range s.m.Built {
		for _, name := range b.Left {
			if b.Stale == "" && !hidden.Hides(name, name, false) {
				s.mu.Lock()
				b.Stale = "the operator shows an event again"
				s.mu.Unlock()
				changed = true
			}
		}
	}
	s.rules, s.looked = version, true
	return changed, nil
}

// due returns the months whose files are to be written, the newest first.
func (s *Store) due() (months []export.Month) {
	now := s.cfg.Now()
	for month, span := range s.m.Months {
		b := s.m.Built[month]
		switch {
		case month.Window().Until.Add(closedAfter).After(now), now.Sub(s.failed[month]) < retryEvery:
		case b == nil, b.Withheld:
			months = append(months, month)
		case (b.Stale != "" || b.Through < span.Last) && now.Sub(b.MadeAt) >= rewriteEvery:
			months = append(months, month)
		}
	}
	slices.Sort(months)
	slices.Reverse(months)
	return months
}

// save replaces the manifest.
func (s *Store) save() error {
	raw, err := json.MarshalIndent(&s.m, "", " ")
	if err != nil {
		return err
	}
	tmp := s.manifestPath() + ".new"
	if err := writeFile(tmp, func(w io.Writer) error { _, err := w.Write(raw); return err }); err != nil {
		return err
	}
	if err := os.Rename(tmp, s.manifestPath()); err != nil {
		return err
	}
	s.savedAt = s.cfg.Now()
	return syncDir(s.cfg.Dir)
}

func writeFile(path string, fn func(io.Writer) error) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(fn(f), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// spool is a file that is being written.
type spool struct {
	export.Writer
	set    *export.Set
	format export.Format
	path   string
	f      *os.File
	out    *measured
	hash   hash.Hash
	rows   int64
}

// newSpool creates a file for the rows of a data set in a format.
func (s *Store) newSpool(set *export.Set, format export.Format) (p *spool, err error) {
	p = &spool{set: set, format: format, path: s.disk(set.Name + "." + string(format) + ".tmp"), hash: sha256.New()}
	if p.f, err = os.OpenFile(p.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
		return nil, err
	}
	p.out = &measured{w: io.MultiWriter(p.f, p.hash), dir: s.cfg.Dir, minFree: s.cfg.MinFree}
	if format == export.Parquet {
		p.Writer, err = NewParquet(p.out, set)
		return p, err
	}
	z, err := gzip.NewWriterLevel(p.out, gzip.BestSpeed)
	p.Writer = zipped{export.NewCSV(z, set), z}
	return p, err
}

// zipped is a Writer whose bytes are compressed.
type zipped struct {
	export.Writer
	z io.Closer
}

// Close ends the compressed bytes too.
func (w zipped) Close() error { return errors.Join(w.Writer.Close(), w.z.Close()) }

// Write counts the rows.
func (p *spool) Write(row any) error {
	p.rows++
	return p.Writer.Write(row)
}

// all writes each row to several files.
type all []*spool

func (a all) Write(row any) error {
	for _, p := range a {
		if err := p.Write(row); err != nil {
			return err
		}
	}
	return nil
}

func (a all) Close() (err error) {
	for _, p := range a {
		err = errors.Join(err, p.Close())
	}
	return err
}

// measured hashes and counts bytes, and ends if the disk is nearly full.
type measured struct {
	w       io.Writer
	dir     string
	minFree int64
	bytes   int64
	looked  int64 // bytes at the last look at the disk
}

// lookBytes is the number of bytes between two looks at the free space.
const lookBytes = 8 << 20

func (m *measured) Write(b []byte) (int, error) {
	if m.bytes-m.looked >= lookBytes || m.bytes == 0 {
		m.looked = m.bytes
		if free, err := diskspace.Free(m.dir); err != nil || free < m.minFree {
			return 0, errors.Join(err, diskspace.ErrFull)
		}
	}
	n, err := m.w.Write(b)
	m.bytes += int64(n)
	return n, err
}

// step calls the function of a test, if there is one, which stands for a crash between two steps
// of a build.
func (s *Store) step(name string) error {
	if s.crash == nil {
		return nil
	}
	return s.crash(name)
}

// build writes the files of a month and puts them in the manifest. The manifest is written
// last, so that a crash before that leaves the former files in force.
func (s *Store) build(ctx context.Context, month export.Month, position uint64) (err error) {
	span := *s.m.Months[month]
	began := s.cfg.Now()
	var spools []*spool
	defer func() {
		for _, p := range spools {
			p.f.Close() // closed already if all went well
			if err != nil && s.crash == nil {
				os.Remove(p.path)
			}
		}
	}()
	p := &pass{src: s.cfg.Source, window: month.Window(), cut: position, after: span.First - 1, out: map[string]export.Writer{}}
	for _, set := range export.Sets() {
		var both all
		for _, format := range []export.Format{export.Parquet, export.CSV} {
			one, err := s.newSpool(set, format)
			if one != nil {
				spools, both = append(spools, one), append(both, one)
			}
			if err != nil {
				return err
			}
		}
		p.out[set.Name] = both
	}
	filter, left := newNames(s.seed(), span.Events), map[string]bool{}
	note := func(kind int, id, pubkey, d string) {
		filter.add(nameOfID(id))
		filter.add(nameOfOwn(id, pubkey))
		filter.add(nameOfKey(pubkey))
		filter.add(nameOfAddress(fmt.Sprintf("%d:%s:%s", kind, pubkey, d)))
	}
	p.seen = func(e *mostro.Entry) { note(e.Event.Kind, e.Event.ID, e.Event.PubKey, e.Event.Tags.GetD()) }
	p.used = func(v *orders.Version) { note(mostro.KindOrder, v.Order.EventID, v.Order.Pubkey, v.Order.D) }
	p.left = func(pubkey, id string) {
		if p.hidden.Hides(pubkey, "", false) {
			left[pubkey] = true
		} else {
			left[id] = true
		}
	}
	if err := p.run(ctx); err != nil {
		return err
	}
	hidden, err := s.cfg.Source.Hidden(ctx)
	if err != nil {
		return err
	}
	if hidden != p.hidden && (hidden == nil || p.hidden == nil || hidden.Version != p.hidden.Version) {
		return errors.New("the rules changed while the files were written")
	}
	b := &built{Through: min(span.Last, position), MadeAt: began.UTC().Truncate(time.Second), Left: slices.Sorted(maps.Keys(left))}
	for _, one := range spools {
		if err := errors.Join(one.f.Sync(), one.f.Close()); err != nil {
			return err
		}
		if err := s.step("written " + one.set.Name + "." + string(one.format)); err != nil {
			return err
		}
		if one.rows == 0 {
			if err := os.Remove(one.path); err != nil {
				return err
			}
			continue
		}
		file := export.File{Set: one.set.Name, Month: month, Format: one.format, Path: export.PathOf(one.set.Name, month, one.format), Rows: one.rows, Bytes: one.out.bytes, SHA256: hex.EncodeToString(one.hash.Sum(nil)), MadeAt: b.MadeAt}
		part := partFile{file, strings.TrimSuffix(file.Path, file.Set+"."+string(one.format)) + file.SHA256[:16] + "." + string(one.format)}
		if err := s.place(one.path, part.Disk); err != nil {
			return err
		}
		b.Files = append(b.Files, part)
		if err := s.step("placed " + one.set.Name + "." + string(one.format)); err != nil {
			return err
		}
	}
	b.Names = "names/" + string(month) + "." + hex.EncodeToString(randomBytes(8))
	tmp := s.disk("names.tmp")
	if err := writeFile(tmp, func(w io.Writer) error { _, err := w.Write(filter.bits); return err }); err != nil {
		return err
	}
	if err := s.place(tmp, b.Names); err != nil {
		return err
	}
	s.mu.Lock()
	before := s.m.Built[month]
	s.m.Built[month] = b
	s.mu.Unlock()
	if err := s.step("manifest"); err != nil {
		return err
	}
	if err := s.save(); err != nil {
		s.mu.Lock()
		if s.m.Built[month] = before; before == nil {
			delete(s.m.Built, month)
		}
		s.mu.Unlock()
		return err
	}
	rows := int64(0)
	for i := range b.Files {
		rows += b.Files[i].Rows
	}
	delete(s.failed, month)
	s.log.Info("wrote the export of a month", "month", month, "files", len(b.Files), "rows", rows, "took", s.cfg.Now().Sub(began).Round(time.Millisecond))
	return s.sweep()
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) //nolint:errcheck // never fails
	return b
}

// place moves a complete file to its name.
func (s *Store) place(from, name string) error {
	to := s.disk(name)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	for dir := filepath.Dir(to); ; dir = filepath.Dir(dir) { // new directories have to be on disk too
		if err := syncDir(dir); err != nil {
			return err
		}
		if dir == filepath.Clean(s.cfg.Dir) {
			return nil
		}
	}
}
