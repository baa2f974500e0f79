// Package recordlog stores numbered records in append-only files.
//
// A Log has one writer, the committer of the event log, and any number of readers. If
// Append returned nil, the records survive a crash. Open truncates the partial record
// that a crash leaves at the end, and reports all other damage. Scrub overwrites the
// payloads of records and leaves their heads. The package does not interpret payloads
// and knows no index but the offsets of the records.
//
// FORMAT.md in the directory above describes the files byte by byte.
package recordlog

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mostrodex/mostrodex/internal/diskspace"
)

// Log is the log on disk: records in append-only files. The offsets of all records are
// in memory, four bytes per record.
//
// The name of a file is the seq of its first record. A file begins with logMagic and
// that seq. Then, for each record, little-endian:
//
//	4  bytes of head
//	4  bytes of payload
//	4  CRC-32C of the payload
//	4  CRC-32C of these twelve bytes and the head
//	   head (Record.encode), payload (the event's JSON, sent unchanged)
//
// The code calls the payload body. The payload of a record is the only part of a file
// that changes: Scrub overwrites each byte with scrubByte, which never occurs in UTF-8.
// If a crash interrupts Scrub, the caller repeats it after Open.
type Log struct {
	dir   string
	mu    sync.RWMutex // guards files and their fields; the bytes of records do not change
	files []*logFile   // sorted by first; never empty
	limit int64        // size in bytes at which the last file is full and a new file begins
	// scrubMu is held while a payload is overwritten. A reader that found a damaged
	// record reads the record again under scrubMu, so that a half-scrubbed payload is
	// not reported as damage.
	scrubMu    sync.RWMutex
	reserved   int64    // end of the disk space reserved for the last file; owned by the committer
	Damaged    []uint64 // seqs of records whose heads were damaged when the log was opened
	BadHeaders []string // paths of files whose headers were damaged
}

type logFile struct {
	f       *os.File
	first   uint64
	offsets []uint32 // offset of each record in the file
	size    int64

	erasedBytes  int64 // scrubbed payload bytes; written by the committer under mu
	noCompaction bool  // set if a record in the file is damaged; owned by the committer
}

const (
	logMagic     = "mostrolog 1\n"
	logFileHead  = len(logMagic) + 8
	logFileBytes = 64 << 20 // limit of a file if Config sets none
	recordHeader = 16
	scrubByte    = 0xff
)

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// ErrDamaged is returned if records up to applied are damaged or missing. Its text is
// a sentence for the operator.
var ErrDamaged = errors.New("the log is damaged: restore the data directory from a copy, or use an empty one, which upstream relays fill with live events")

// Open opens or creates the files of dir. A partial record behind record applied, which
// a crash has left, is truncated; cut is its length in bytes. If a record up to applied
// is missing, Open returns ErrDamaged. A file is full at limit bytes; if limit is 0, at
// logFileBytes.
func Open(dir string, applied uint64, limit int64) (l *Log, cut int64, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, 0, err
	}
	if err := SyncDir(filepath.Dir(dir)); err != nil {
		return nil, 0, err
	}
	l = &Log{dir: dir, limit: cmp.Or(limit, logFileBytes)}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	firsts, err := fileFirsts(dir)
	if err != nil {
		return l, 0, err
	}
	next := uint64(1)
	for i, first := range firsts {
		if first != next {
			return l, 0, fmt.Errorf("%s: entries %d to %d are missing: %w", dir, next, first-1, ErrDamaged)
		}
		last := i == len(firsts)-1
		f, torn, err := l.openFile(first, applied, last)
		if err != nil {
			return l, 0, err
		}
		cut += torn
		if f == nil {
			break // a crash came between the creation of the file and its first record
		}
		l.files = append(l.files, f)
		next = first + uint64(len(f.offsets))
	}
	if l.Head() < applied {
		return l, 0, fmt.Errorf("%s: entries %d to %d are missing: %w", dir, l.Head()+1, applied, ErrDamaged)
	}
	if len(l.files) == 0 {
		return l, cut, l.create(1)
	}
	return l, cut, nil
}

// fileFirsts returns the first seq of each file, ascending. The output of an unfinished
// compaction is removed, because it may hold payloads that were erased since.
func fileFirsts(dir string) (firsts []uint64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".log.new") {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
		}
		name, ok := strings.CutSuffix(e.Name(), ".log")
		if !ok {
			continue
		}
		first, err := strconv.ParseUint(name, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %s is not the name of a log file", dir, e.Name())
		}
		firsts = append(firsts, first)
	}
	slices.Sort(firsts)
	return firsts, nil
}

// FileName returns the name of the file whose first record is first.
func FileName(first uint64, suffix string) string { return fmt.Sprintf("%020d%s", first, suffix) }

func (l *Log) path(first uint64, suffix string) string {
	return filepath.Join(l.dir, FileName(first, suffix))
}

// openFile opens one file and finds the offsets of its records. Only the last file may
// end with a partial record. The complete records of the last file are synced here: a
// killed process may have left records that are not durable yet, and the derived keys
// must not be ahead of the log.
func (l *Log) openFile(first, applied uint64, last bool) (_ *logFile, cut int64, err error) {
	path := l.path(first, ".log")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	head := make([]byte, logFileHead)
	_, err = io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, 0, err
	}
	sound := err == nil && string(head[:len(logMagic)]) == logMagic && binary.BigEndian.Uint64(head[len(logMagic):]) == first
	if !sound && (first > applied || info.Size() <= int64(logFileHead)) { // else every record carries its own checksum, and the header is not needed
		if last && first > applied && info.Size() <= int64(logFileHead) { // the header is synced before the first record is written, so no record is lost
			f.Close()
			return nil, info.Size(), os.Remove(path)
		}
		return nil, 0, fmt.Errorf("%s: the file header is damaged: %w", path, ErrDamaged)
	}
	if !sound {
		l.BadHeaders = append(l.BadHeaders, path)
	}
	lf := &logFile{f: f, first: first, size: info.Size()}
	if !last && l.readOffsets(lf) {
		return lf, 0, nil
	}
	whole, damaged, err := lf.scan(applied, last)
	l.Damaged = append(l.Damaged, damaged...)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	if whole == lf.size {
		if last {
			return lf, 0, f.Sync()
		}
		l.writeOffsets(lf)
		return lf, 0, nil
	}
	if !last || lf.first+uint64(len(lf.offsets)) <= applied {
		return nil, 0, fmt.Errorf("%s: entry %d: %w", path, lf.first+uint64(len(lf.offsets)), ErrDamaged)
	}
	cut, lf.size = lf.size-whole, whole
	if err := f.Truncate(whole); err != nil {
		return nil, 0, err
	}
	return lf, cut, f.Sync()
}

// scan finds the offsets of the records of a file, and the end of the last complete
// record. If the head of a record is damaged, and the record is at or before applied or
// in a file that is not the last, scan skips the record. Behind applied a crash may
// have torn the last write, so scan verifies payloads there too: a torn record ends the
// file. If a damaged record was durable before a later write began, scan returns
// ErrDamaged.
func (lf *logFile) scan(applied uint64, last bool) (whole int64, damaged []uint64, err error) {
	buf := make([]byte, 1<<20)
	whole = int64(logFileHead)
	for whole < lf.size {
		n, err := lf.f.ReadAt(buf, whole)
		if err != nil && err != io.EOF {
			return 0, nil, err
		}
		b := buf[:n]
		torn := false
		for {
			head, rest, ok := splitRecord(b)
			if !ok {
				break
			}
			body := rest[:binary.LittleEndian.Uint32(head[4:])]
			if torn = lf.first+uint64(len(lf.offsets)) > applied && last && !payloadIntact(head, body, rest[len(body):]); torn {
				break
			}
			lf.offsets = append(lf.offsets, uint32(whole))
			whole += int64(len(head) + len(body))
			b = rest[len(body):]
		}
		switch {
		case torn:
		case len(b) < n: // at least one record was read; continue behind it
			continue
		case len(buf) < n+1 && len(buf) < maxRecordBytes:
			buf = make([]byte, 2*len(buf))
			continue
		}
		if whole == lf.size {
			break
		}
		seq := lf.first + uint64(len(lf.offsets))
		rest := make([]byte, lf.size-whole)
		if _, err := lf.f.ReadAt(rest, whole); err != nil && err != io.EOF {
			return 0, nil, err
		}
		if seq > applied && last {
			if laterWriteFollows(rest) {
				return 0, nil, fmt.Errorf("entry %d is damaged, and a later write follows: %w", seq, ErrDamaged)
			}
			return whole, damaged, nil
		}
		next := findRecord(rest)
		if _, err := parseHead(rest); next < 0 && seq == applied && err != nil && len(rest) > minRecordBytes {
			next = len(rest) // the last applied record with a damaged head; otherwise the end of the record is missing
		}
		if next < 0 {
			return 0, nil, fmt.Errorf("entry %d: %w", seq, ErrDamaged)
		}
		lf.offsets, damaged = append(lf.offsets, uint32(whole)), append(damaged, seq)
		whole += int64(next)
	}
	return whole, damaged, nil
}

// payloadIntact reports whether the payload of a record behind applied matches its
// checksum or was scrubbed. A payload is scrubbed only after other records were
// appended behind it.
func payloadIntact(head, body, behind []byte) bool {
	if crc32.Checksum(body, crcTable) == binary.LittleEndian.Uint32(head[8:]) {
		return true
	}
	_, _, follows := splitRecord(behind)
	return isScrubbed(body) && follows
}

// findRecord returns the offset of the next complete record in b, which begins with a
// damaged record, or -1 if there is none. The lengths in the damaged head are trusted
// if they lead to a complete record.
func findRecord(b []byte) int {
	if len(b) >= recordHeader {
		at := recordHeader + uint64(binary.LittleEndian.Uint32(b)) + uint64(binary.LittleEndian.Uint32(b[4:]))
		if at == uint64(len(b)) {
			return len(b)
		}
		if at < uint64(len(b)) {
			if _, _, ok := splitRecord(b[at:]); ok {
				return int(at)
			}
		}
	}
	for at := 1; at < len(b)-recordHeader; at++ {
		if binary.LittleEndian.Uint32(b[at:]) > maxHeadBytes {
			continue // rules out most offsets without a checksum
		}
		if _, _, ok := splitRecord(b[at:]); ok {
			return at
		}
	}
	return -1
}

// minRecordBytes is less than the length of any record with a payload.
const minRecordBytes = 256

// maxHeadBytes is more than the length of any head.
const maxHeadBytes = 8 << 10

// laterWriteFollows reports whether b, which begins with a damaged record, holds the
// first record of a later write. If so, the damaged record was durable before that
// write began, and a crash did not tear it.
func laterWriteFollows(b []byte) bool {
	for {
		next := findRecord(b)
		if next < 0 || next >= len(b) {
			return false
		}
		b = b[next:]
		for {
			head, rest, ok := splitRecord(b)
			if !ok {
				break
			}
			if r, err := decodeHead(head[recordHeader:]); err == nil && r.FirstOfWrite {
				return true
			}
			b = rest[binary.LittleEndian.Uint32(head[4:]):]
		}
	}
}

// maxRecordBytes is more than the length of any record.
const maxRecordBytes = 64 << 20

// readOffsets reads the offsets of a full file from the cache file beside it. It
// returns false if the cache is missing or does not match the file.
func (l *Log) readOffsets(lf *logFile) bool {
	b, err := os.ReadFile(l.path(lf.first, ".at"))
	if err != nil || len(b) < 12 || len(b)%4 != 0 {
		return false
	}
	tail := len(b) - 12
	if int64(binary.LittleEndian.Uint64(b[tail:])) != lf.size || crc32.Checksum(b[:tail+8], crcTable) != binary.LittleEndian.Uint32(b[tail+8:]) {
		return false
	}
	lf.offsets = make([]uint32, tail/4)
	for i := range lf.offsets {
		lf.offsets[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return true
}

// writeOffsets writes the offsets of a full file to a cache file beside it, so that
// Open need not scan the file. Errors are ignored: if the cache is missing, Open scans.
func (l *Log) writeOffsets(lf *logFile) {
	b := make([]byte, 0, 4*len(lf.offsets)+12)
	for _, at := range lf.offsets {
		b = binary.LittleEndian.AppendUint32(b, at)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(lf.size))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crcTable))
	os.WriteFile(l.path(lf.first, ".at"), b, 0o600)
}

// create creates the file whose first record is first.
func (l *Log) create(first uint64) error {
	f, err := createFile(l.path(first, ".log"))
	if err != nil {
		return err
	}
	head := binary.BigEndian.AppendUint64([]byte(logMagic), first)
	if _, err := f.WriteAt(head, 0); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), SyncDir(l.dir)); err != nil {
		return errors.Join(err, f.Close())
	}
	l.mu.Lock()
	l.files = append(l.files, &logFile{f: f, first: first, size: int64(len(head))})
	l.mu.Unlock()
	l.reserved = 0
	return nil
}

// createFile creates a file. If the process has no free descriptor, createFile waits
// for one: a connection that ends frees a descriptor.
func createFile(path string) (f *os.File, err error) {
	err = whileNoDescriptor(func() error {
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		return err
	})
	return f, err
}

// whileNoDescriptor calls open until it does not fail for want of a file descriptor,
// for at most ten seconds.
func whileNoDescriptor(open func() error) error {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := open()
		if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) || time.Now().After(end) {
			return err
		}
	}
}

func SyncDir(dir string) error {
	var d *os.File
	err := whileNoDescriptor(func() (err error) {
		d, err = os.Open(dir)
		return err
	})
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (l *Log) Close() error {
	var errs []error
	for _, lf := range l.files {
		errs = append(errs, lf.f.Close())
	}
	return errors.Join(errs...)
}

// Head returns the seq of the last record, or 0 if the log is empty.
func (l *Log) Head() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.files) == 0 {
		return 0
	}
	lf := l.files[len(l.files)-1]
	return lf.first + uint64(len(lf.offsets)) - 1
}

// Full reports whether the next records belong into a new file.
func (l *Log) Full() bool { return l.files[len(l.files)-1].size >= l.limit }

// Roll creates the next file.
func (l *Log) Roll() error {
	l.writeOffsets(l.files[len(l.files)-1])
	return l.create(l.Head() + 1)
}

// Append writes encoded records at the end of the log. sizes holds the length of each
// record. The records are durable if Append returns nil. Only the committer calls
// Append, and never again after an error: Open truncates the partial record that the
// error may have left.
func (l *Log) Append(records []byte, sizes []int) error {
	lf := l.files[len(l.files)-1]
	if lf.size+int64(len(records)) > 1<<32-1 {
		return fmt.Errorf("%s would exceed 4 GiB", lf.f.Name())
	}
	if _, err := lf.f.WriteAt(records, lf.size); err != nil {
		return err
	}
	if err := syncData(lf.f); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range sizes {
		lf.offsets = append(lf.offsets, uint32(lf.size))
		lf.size += int64(n)
	}
	return nil
}

// logAhead is the number of bytes by which the last file is reserved ahead of use.
const logAhead = 4 << 20

// ReserveSpace reserves n bytes behind the end of the last file.
func (l *Log) ReserveSpace(n int64) error {
	lf := l.files[len(l.files)-1]
	if lf.size+n <= l.reserved {
		return nil
	}
	from := max(lf.size, l.reserved)
	to := lf.size + n + logAhead
	err := diskspace.Reserve(lf.f, from, to-from)
	if errors.Is(err, syscall.ENOSPC) && lf.size+n > l.reserved { // try again without logAhead
		to = lf.size + n
		err = diskspace.Reserve(lf.f, from, to-from)
	}
	if err == nil {
		l.reserved = to
	}
	return err
}

// span returns the offsets of the records from seq to last, as far as they are in the
// same file, and the end of the last of them.
func (l *Log) span(seq, last uint64) (f *os.File, at []uint32, end int64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	lf := l.fileOf(seq)
	if seq < lf.first || seq-lf.first >= uint64(len(lf.offsets)) {
		return nil, nil, 0
	}
	to := min(last-lf.first+1, uint64(len(lf.offsets)))
	end = lf.size
	if to < uint64(len(lf.offsets)) {
		end = int64(lf.offsets[to])
	}
	return lf.f, lf.offsets[seq-lf.first : to], end
}

// RecordBytes returns the length of a record with its payload, or 0 if there is no such
// record.
func (l *Log) RecordBytes(seq uint64) int64 {
	_, at, end := l.span(seq, seq)
	if len(at) == 0 {
		return 0
	}
	return end - int64(at[0])
}

// FileSize describes one file of the log.
type FileSize struct {
	First       uint64 // seq of its first record
	Records     int
	Bytes       int64
	ErasedBytes int64 // bytes of scrubbed payloads
}

// Sizes returns the files of the log, ascending.
func (l *Log) Sizes() []FileSize {
	l.mu.RLock()
	defer l.mu.RUnlock()
	list := make([]FileSize, 0, len(l.files))
	for _, lf := range l.files {
		list = append(list, FileSize{lf.first, len(lf.offsets), lf.size, lf.erasedBytes})
	}
	return list
}

// SetErasedBytes sets the number of erased bytes of the file that begins with a record.
// Scrub adds to the number. It returns false if there is no such file or if the file is
// shorter. Only Open of the store and the committer call SetErasedBytes.
func (l *Log) SetErasedBytes(first uint64, n int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	lf := l.fileOf(first)
	if lf.first != first || n > lf.size {
		return false
	}
	lf.erasedBytes = n
	return true
}

// ErasedBytes returns the number of erased bytes of the file that holds a record.
func (l *Log) ErasedBytes(seq uint64) int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.fileOf(seq).erasedBytes
}

// ErrNoRecord says that the log has no record of a seq.
var ErrNoRecord = errors.New("no such entry")

// Read reads one record. The caller owns body, which is nil if the payload is erased.
func (l *Log) Read(seq uint64) (r Record, body []byte, err error) {
	r, body, err = l.readOnce(seq)
	if IsDamage(err) {
		l.scrubMu.RLock() // the payload may have been scrubbed while it was read
		r, body, err = l.readOnce(seq)
		l.scrubMu.RUnlock()
	}
	if err != nil {
		err = fmt.Errorf("entry %d: %w", seq, err)
	}
	return r, body, err
}

func (l *Log) readOnce(seq uint64) (r Record, body []byte, err error) {
	f, at, end := l.span(seq, seq)
	if len(at) == 0 {
		return r, nil, ErrNoRecord
	}
	b := make([]byte, end-int64(at[0]))
	if _, err := f.ReadAt(b, int64(at[0])); err != nil {
		return r, nil, readError(err)
	}
	return parseRecord(b)
}

// readError turns a read error into ErrDamagedRecord: the disk cannot read the record,
// or the file has become shorter. os.ErrClosed is returned unchanged.
func readError(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamagedRecord, err)
}

// headReadBytes is the number of bytes that ReadHead reads first. Most heads are half
// as long.
const headReadBytes = 512

// ReadHead reads the head of one record. payloadErased is set if the first byte of the
// payload is scrubByte, because no event begins with that byte.
func (l *Log) ReadHead(seq uint64) (r Record, err error) {
	err = ErrNoRecord
	if f, at, end := l.span(seq, seq); len(at) > 0 {
		size := end - int64(at[0])
		b := make([]byte, min(size, headReadBytes))
		if _, err = f.ReadAt(b, int64(at[0])); err == nil && len(b) >= recordHeader {
			if n := recordHeader + int64(binary.LittleEndian.Uint32(b)) + 1; n > int64(len(b)) && n <= size {
				b = make([]byte, n)
				_, err = f.ReadAt(b, int64(at[0]))
			}
		}
		if err == nil {
			r, err = parseHead(b)
		}
	}
	if err != nil {
		err = fmt.Errorf("entry %d: %w", seq, err)
	}
	return r, err
}

// Each calls fn for the records after one seq up to and including last, ascending. If a
// record cannot be read, fn is called with the error. The body is valid until fn
// returns.
func (l *Log) Each(after, last uint64, fn func(seq uint64, r Record, body []byte, err error) error) error {
	const atOnce = 256 // bounds the memory of one read
	var buf []byte
	for after < last {
		f, at, end := l.span(after+1, min(last, after+atOnce))
		if len(at) == 0 {
			return nil
		}
		from := int64(at[0])
		buf = slices.Grow(buf[:0], int(end-from))[:end-from]
		_, unread := f.ReadAt(buf, from)
		if errors.Is(unread, os.ErrClosed) {
			return fmt.Errorf("entry %d: %w", after+1, unread)
		}
		for i := range at {
			to := end
			if i+1 < len(at) {
				to = int64(at[i+1])
			}
			after++
			r, body, err := parseRecord(buf[int64(at[i])-from : to-from])
			if err != nil || unread != nil {
				r, body, err = l.Read(after) // read again, alone and not while the payload is scrubbed
			}
			if err := fn(after, r, body, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// Scrub overwrites the payloads of records and syncs the files. erasedBytes of each
// changed file grows; firsts are the seqs of the first records of the changed files.
func (l *Log) Scrub(seqs []uint64) (firsts []uint64, err error) {
	var touched []*logFile
	for _, seq := range seqs {
		f, at, end := l.span(seq, seq)
		if len(at) == 0 {
			return nil, fmt.Errorf("scrub entry %d: %w", seq, ErrNoRecord)
		}
		b := make([]byte, end-int64(at[0]))
		if _, err := f.ReadAt(b, int64(at[0])); err != nil {
			return nil, err
		}
		head, rest, ok := splitRecord(b)
		if !ok {
			continue // the head is damaged, so the payload cannot be located
		}
		body := rest[:binary.LittleEndian.Uint32(head[4:])]
		for i := range body {
			body[i] = scrubByte
		}
		l.scrubMu.Lock()
		_, err := f.WriteAt(body, int64(at[0])+int64(len(head)))
		l.scrubMu.Unlock()
		if err != nil {
			return nil, err
		}
		lf := l.fileOf(seq)
		l.mu.Lock()
		lf.erasedBytes = min(lf.erasedBytes+int64(len(body)), lf.size) // a scrub that is repeated after a crash counts twice
		l.mu.Unlock()
		if !slices.Contains(touched, lf) {
			touched = append(touched, lf)
		}
	}
	for _, lf := range touched {
		if err := syncData(lf.f); err != nil {
			return nil, err
		}
		firsts = append(firsts, lf.first)
	}
	return firsts, nil
}

// fileOf returns the file that holds a record. If seq is before the first record,
// fileOf returns the first file. The caller holds mu or is the committer.
func (l *Log) fileOf(seq uint64) *logFile {
	i, found := slices.BinarySearchFunc(l.files, seq, func(lf *logFile, seq uint64) int { return cmp.Compare(lf.first, seq) })
	if !found {
		i--
	}
	return l.files[max(i, 0)]
}

// Compact rewrites the file that holds a record without its erased payloads, if the file
// is full and more than half of the file is erased. The new file replaces the old one by
// a rename, so that a crash leaves one of the two complete. Only the committer calls
// Compact.
func (l *Log) Compact(of uint64) error {
	lf := l.fileOf(of)
	if lf.noCompaction || lf.erasedBytes <= lf.size/2 || lf == l.files[len(l.files)-1] {
		return nil
	}
	buf := make([]byte, logFileHead, max(lf.size-lf.erasedBytes, 0)+int64(logFileHead)) // after a crash erasedBytes may be too large
	copy(buf, logMagic)
	binary.BigEndian.PutUint64(buf[len(logMagic):], lf.first)
	last := lf.first + uint64(len(lf.offsets)) - 1
	at := make([]uint32, 0, len(lf.offsets))
	err := l.Each(lf.first-1, last, func(seq uint64, r Record, body []byte, err error) error {
		at = append(at, uint32(len(buf)))
		buf = AppendRecord(buf, r, body) // body is nil if the payload is erased
		return err
	})
	if IsDamage(err) {
		lf.noCompaction = true // a rewritten file would hide the damage
		return nil
	}
	if err != nil {
		return fmt.Errorf("compact %s: %w", lf.f.Name(), err)
	}
	path := l.path(lf.first, ".log")
	f, err := createFile(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(buf)
	if err = errors.Join(err, f.Sync()); err == nil {
		err = errors.Join(os.Rename(path+".new", path), SyncDir(l.dir))
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.mu.Lock()
	lf.f, lf.offsets, lf.size, lf.erasedBytes = f, at, int64(len(buf)), 0 // a reader may still use the old file, which the garbage collector closes
	l.mu.Unlock()
	l.writeOffsets(lf)
	return nil
}
