package eventlog

import (
	"bytes"
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
)

// rowLog is the log itself: rows with their bodies in files that only grow. A
// row's place is where it begins in its file, four bytes of memory each. What
// follows from the rows is kept in Badger and can be made anew from them.
//
// A file is named after the seq of its first row and begins with logMagic and
// that seq. Then, for each row, little-endian:
//
//	4  bytes of head
//	4  bytes of body
//	4  CRC-32C of the body
//	4  CRC-32C of these twelve bytes and the head
//	   head (row.encode), body (the event's JSON, sent unchanged)
//
// The only bytes that ever change are those of a body that is erased: they all
// become erasedByte, which UTF-8 has not. A crash in the middle of that is
// finished by opening the store.
type recordLog struct {
	dir   string
	mu    sync.RWMutex // guards files and what is in them, but not the rows: these stay
	files []*logFile   // by first; there is always one
	limit int64        // of the last file; a full one is followed by another
	// erasing is held while a body is overwritten, so that a reader of a damaged
	// one can tell that it was not read in the middle of that.
	scrubMu    sync.RWMutex
	reserved   int64    // up to where the last file has room on the disk; the committer's own
	damaged    []uint64 // rows whose heads were found damaged when the log was opened
	badHeaders []string // files whose own heads were
}

type logFile struct {
	f       *os.File
	first   uint64
	offsets []uint32 // where each row begins
	size    int64

	erasedBytes  int64 // bytes of bodies; the committer's own
	noCompaction bool  // not to be shrunk: a row in it is damaged; the committer's own
}

const (
	logMagic     = "mostrolog 1\n"
	logFileHead  = len(logMagic) + 8
	logFileBytes = 64 << 20 // a file is full when it is this long
	recordHeader = 16
	scrubByte    = 0xff
)

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// errRow says that a row cannot be read: the disk gave back something else
// than what was written.
var errDamagedRecord = errors.New("the row is damaged")

// appendRow encodes one row as the files keep it.
func appendRecord(dst []byte, r logRecord, body []byte) []byte {
	from := len(dst)
	dst = append(dst, make([]byte, recordHeader)...)
	dst = r.encode(dst)
	head := dst[from:]
	binary.LittleEndian.PutUint32(head, uint32(len(head)-recordHeader))
	binary.LittleEndian.PutUint32(head[4:], uint32(len(body)))
	binary.LittleEndian.PutUint32(head[8:], crc32.Checksum(body, crcTable))
	binary.LittleEndian.PutUint32(head[12:], headChecksum(head))
	return append(dst, body...)
}

// headSum is the checksum of a row's head and of the twelve bytes before it.
func headChecksum(head []byte) uint32 {
	return crc32.Update(crc32.Checksum(head[:12], crcTable), crcTable, head[recordHeader:])
}

// openRow reads the row at the beginning of b. The body is a part of b, nil
// when it is gone.
func parseRecord(b []byte) (r logRecord, body []byte, err error) {
	head, rest, ok := splitRecord(b)
	if !ok {
		return r, nil, errDamagedRecord
	}
	if r, err = decodeHead(head[recordHeader:]); err != nil {
		return r, nil, err
	}
	body = rest[:binary.LittleEndian.Uint32(head[4:])]
	switch {
	case r.payloadErased:
		return r, nil, nil
	case crc32.Checksum(body, crcTable) == binary.LittleEndian.Uint32(head[8:]):
		return r, body, nil
	case isScrubbed(body):
		r.payloadErased = true
		return r, nil, nil
	}
	return r, nil, errDamagedRecord
}

// isErased reports whether a body was overwritten from end to end.
func isScrubbed(body []byte) bool {
	return len(body) > 0 && bytes.Count(body, []byte{scrubByte}) == len(body)
}

// IsDamage reports whether an error says that the disk gave back something else
// than what was written.
func IsDamage(err error) bool { return errors.Is(err, errDamagedRecord) || errors.Is(err, errCorrupt) }

// cutRow parts the head of a row, proven by its checksum, from what follows. It
// is false where b does not begin with a whole row.
func splitRecord(b []byte) (head, rest []byte, ok bool) {
	if len(b) < recordHeader {
		return nil, nil, false
	}
	h, n := uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[4:]))
	if uint64(len(b)) < recordHeader+h+n || headChecksum(b[:recordHeader+h]) != binary.LittleEndian.Uint32(b[12:]) {
		return nil, nil, false
	}
	return b[:recordHeader+h], b[recordHeader+h:], true
}

// openRowLog opens or creates the files of dir. What a crash left half written
// behind row applied is cut off; its length is given. Up to that row nothing may
// be amiss: ErrDamaged. A file is full at limit bytes, 0 for logFileBytes.
func openRecordLog(dir string, applied uint64, limit int64) (l *recordLog, cut int64, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, 0, err
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return nil, 0, err
	}
	l = &recordLog{dir: dir, limit: cmp.Or(limit, logFileBytes)}
	defer func() {
		if err != nil {
			l.close()
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
			break // it was begun and never used
		}
		l.files = append(l.files, f)
		next = first + uint64(len(f.offsets))
	}
	if l.head() < applied {
		return l, 0, fmt.Errorf("%s: entries %d to %d are missing: %w", dir, l.head()+1, applied, ErrDamaged)
	}
	if len(l.files) == 0 {
		return l, cut, l.create(1)
	}
	return l, cut, nil
}

// fileFirsts lists the first rows of the files, ascending, and removes what a
// crash left half shrunk: bodies are in it that may be erased since.
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
			return nil, fmt.Errorf("%s: the name %s is of no log", dir, e.Name())
		}
		firsts = append(firsts, first)
	}
	slices.Sort(firsts)
	return firsts, nil
}

func (l *recordLog) path(first uint64, suffix string) string {
	return filepath.Join(l.dir, fmt.Sprintf("%020d%s", first, suffix))
}

// openFile opens one file and finds where its rows begin. Only the last may end
// in the middle of a row. What it has then is durable: a process that was killed
// may have left rows that the disk has not, and the index must not be ahead.
func (l *recordLog) openFile(first, applied uint64, last bool) (_ *logFile, cut int64, err error) {
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
	if !sound && (first > applied || info.Size() <= int64(logFileHead)) { // else its rows tell themselves
		if last && first > applied && info.Size() <= int64(logFileHead) { // no row is written before this is durable
			f.Close()
			return nil, info.Size(), os.Remove(path)
		}
		return nil, 0, fmt.Errorf("%s does not begin like a log: %w", path, ErrDamaged)
	}
	if !sound {
		l.badHeaders = append(l.badHeaders, path)
	}
	lf := &logFile{f: f, first: first, size: info.Size()}
	if !last && l.readOffsets(lf) {
		return lf, 0, nil
	}
	whole, damaged, err := lf.scan(applied, last)
	l.damaged = append(l.damaged, damaged...)
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

// scan finds the rows of a file from its beginning, and where the whole ones
// end. Up to row applied, and in a file that is not the last, a row whose head
// is damaged is passed over. Behind it a crash may have torn the last write, so
// bodies are proven there too: what is torn ends the file. A damaged row that
// was durable before others were written is an error.
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
		case len(b) < n: // some rows: read on behind them
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
				return 0, nil, fmt.Errorf("entry %d is damaged, and entries behind it were written later: %w", seq, ErrDamaged)
			}
			return whole, damaged, nil
		}
		next := findRecord(rest)
		if _, err := parseHead(rest); next < 0 && seq == applied && err != nil && len(rest) > minRecordBytes {
			next = len(rest) // the last one that was applied, with a damaged head; else its end is missing
		}
		if next < 0 {
			return 0, nil, fmt.Errorf("entry %d: %w", seq, ErrDamaged)
		}
		lf.offsets, damaged = append(lf.offsets, uint32(whole)), append(damaged, seq)
		whole += int64(next)
	}
	return whole, damaged, nil
}

// bodyHolds reports whether a body behind the applied rows is the one that was
// written, or was erased since, which only happens when others follow it.
func payloadIntact(head, body, behind []byte) bool {
	if crc32.Checksum(body, crcTable) == binary.LittleEndian.Uint32(head[8:]) {
		return true
	}
	_, _, follows := splitRecord(behind)
	return isScrubbed(body) && follows
}

// nextRow finds where the next whole row begins behind one whose head is
// damaged, -1 for none. The lengths of the damaged one are believed if they
// lead to one.
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
			continue // most places, told without a checksum
		}
		if _, _, ok := splitRecord(b[at:]); ok {
			return at
		}
	}
	return -1
}

// shortestRow is less than any row with a body is long.
const minRecordBytes = 256

// maxHeadBytes is beyond what the head of a row may be long.
const maxHeadBytes = 8 << 10

// durableBehind reports whether a whole row behind the one that b begins with
// was the first of a later write: that one was durable before.
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
			if r, err := decodeHead(head[recordHeader:]); err == nil && r.firstOfWrite {
				return true
			}
			b = rest[binary.LittleEndian.Uint32(head[4:]):]
		}
	}
}

// maxRowBytes is beyond what any event may be long.
const maxRecordBytes = 64 << 20

// readPlaces takes the places of a full file from the file beside it. It is
// false when that is missing or of something else.
func (l *recordLog) readOffsets(lf *logFile) bool {
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

// writePlaces keeps the places of a full file beside it, so that opening need
// not look for them. Without it they are looked for.
func (l *recordLog) writeOffsets(lf *logFile) {
	b := make([]byte, 0, 4*len(lf.offsets)+12)
	for _, at := range lf.offsets {
		b = binary.LittleEndian.AppendUint32(b, at)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(lf.size))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crcTable))
	os.WriteFile(l.path(lf.first, ".at"), b, 0o600)
}

// begin starts the file whose first row is first.
func (l *recordLog) create(first uint64) error {
	f, err := createFile(l.path(first, ".log"))
	if err != nil {
		return err
	}
	head := binary.BigEndian.AppendUint64([]byte(logMagic), first)
	if _, err := f.WriteAt(head, 0); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), syncDir(l.dir)); err != nil {
		return errors.Join(err, f.Close())
	}
	l.mu.Lock()
	l.files = append(l.files, &logFile{f: f, first: first, size: int64(len(head))})
	l.mu.Unlock()
	l.reserved = 0
	return nil
}

// createFile waits for a descriptor where the process has used up its own: a
// connection that ends gives one back.
func createFile(path string) (f *os.File, err error) {
	err = whileNoDescriptor(func() error {
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		return err
	})
	return f, err
}

// whileNoDescriptor calls open again while there is no descriptor for it, for
// ten seconds.
func whileNoDescriptor(open func() error) error {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := open()
		if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) || time.Now().After(end) {
			return err
		}
	}
}

func syncDir(dir string) error {
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

func (l *recordLog) close() error {
	var errs []error
	for _, lf := range l.files {
		errs = append(errs, lf.f.Close())
	}
	return errors.Join(errs...)
}

// head is the seq of the last row, 0 where there is none.
func (l *recordLog) head() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.files) == 0 {
		return 0
	}
	lf := l.files[len(l.files)-1]
	return lf.first + uint64(len(lf.offsets)) - 1
}

// full says that the next rows belong into another file.
func (l *recordLog) full() bool { return l.files[len(l.files)-1].size >= l.limit }

// roll begins that file.
func (l *recordLog) roll() error {
	l.writeOffsets(l.files[len(l.files)-1])
	return l.create(l.head() + 1)
}

// append writes encoded rows, each as long as sizes says, behind the last one.
// They are durable when it returns. The committer alone calls it, and never
// again after an error: what is half written then is cut off when the log is
// opened.
func (l *recordLog) append(records []byte, sizes []int) error {
	lf := l.files[len(l.files)-1]
	if lf.size+int64(len(records)) > 1<<32-1 {
		return fmt.Errorf("%s would be longer than its places can say", lf.f.Name())
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

// span gives where the rows from seq up to last begin, as far as one file has
// them, and where the last of these ends.
func (l *recordLog) span(seq, last uint64) (f *os.File, at []uint32, end int64) {
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

// rowBytes is how long a row is with its body, 0 where there is none.
func (l *recordLog) recordBytes(seq uint64) int64 {
	_, at, end := l.span(seq, seq)
	if len(at) == 0 {
		return 0
	}
	return end - int64(at[0])
}

// errNoRow says that the log has no row of that seq.
var errNoRecord = errors.New("no such entry")

// row reads one row and its body, which is the caller's own: nil when it is gone.
func (l *recordLog) read(seq uint64) (r logRecord, body []byte, err error) {
	r, body, err = l.readOnce(seq)
	if IsDamage(err) {
		l.scrubMu.RLock() // it may have been read while it was erased
		r, body, err = l.readOnce(seq)
		l.scrubMu.RUnlock()
	}
	if err != nil {
		err = fmt.Errorf("entry %d: %w", seq, err)
	}
	return r, body, err
}

func (l *recordLog) readOnce(seq uint64) (r logRecord, body []byte, err error) {
	f, at, end := l.span(seq, seq)
	if len(at) == 0 {
		return r, nil, errNoRecord
	}
	b := make([]byte, end-int64(at[0]))
	if _, err := f.ReadAt(b, int64(at[0])); err != nil {
		return r, nil, readError(err)
	}
	return parseRecord(b)
}

// readError says of a place that the disk cannot read, or has not any more,
// that the row there is damaged.
func readError(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return err
	}
	return fmt.Errorf("%w: %w", errDamagedRecord, err)
}

// aloneBytes is as much of a row as is read when its body is not asked for. The
// head of most is half as long.
const headReadBytes = 512

// rowAlone reads one row without its body. A body whose first byte was erased
// is gone: no event begins with that byte.
func (l *recordLog) readHead(seq uint64) (r logRecord, err error) {
	err = errNoRecord
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

// openHead reads the row at the beginning of b, which need not hold its body.
func parseHead(b []byte) (r logRecord, err error) {
	if len(b) < recordHeader {
		return r, errDamagedRecord
	}
	h := int64(binary.LittleEndian.Uint32(b))
	if int64(len(b)) < recordHeader+h || headChecksum(b[:recordHeader+h]) != binary.LittleEndian.Uint32(b[12:]) {
		return r, errDamagedRecord
	}
	if r, err = decodeHead(b[recordHeader : recordHeader+h]); err == nil && int64(len(b)) > recordHeader+h && b[recordHeader+h] == scrubByte {
		r.payloadErased = true
	}
	return r, err
}

// rows calls fn with the rows after a seq up to and with last, ascending, or
// with why one cannot be read. A body is good until fn returns.
func (l *recordLog) each(after, last uint64, fn func(seq uint64, r logRecord, body []byte, err error) error) error {
	const atOnce = 256 // bounds the memory
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
				r, body, err = l.read(after) // alone, and not while it is erased
			}
			if err := fn(after, r, body, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// erase overwrites the bodies of rows, durably. The files tell how much of them
// is erased: touched are these.
func (l *recordLog) scrub(seqs []uint64) (touched []*logFile, err error) {
	for _, seq := range seqs {
		f, at, end := l.span(seq, seq)
		if len(at) == 0 {
			return nil, fmt.Errorf("erase entry %d: %w", seq, errNoRecord)
		}
		b := make([]byte, end-int64(at[0]))
		if _, err := f.ReadAt(b, int64(at[0])); err != nil {
			return nil, err
		}
		head, rest, ok := splitRecord(b)
		if !ok {
			continue // its head is damaged; its body is not to be found
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
		lf.erasedBytes += int64(len(body))
		if !slices.Contains(touched, lf) {
			touched = append(touched, lf)
		}
	}
	for _, lf := range touched {
		if err := syncData(lf.f); err != nil {
			return nil, err
		}
	}
	return touched, nil
}

// fileOf gives the file of a row, the first for what is before it. The caller
// holds mu, or is the committer.
func (l *recordLog) fileOf(seq uint64) *logFile {
	i, found := slices.BinarySearchFunc(l.files, seq, func(lf *logFile, seq uint64) int { return cmp.Compare(lf.first, seq) })
	if !found {
		i--
	}
	return l.files[max(i, 0)]
}

// wasteful says that a file is worth being written anew.
func (l *recordLog) needsCompaction(lf *logFile) bool {
	return !lf.noCompaction && lf.erasedBytes > lf.size/2 && lf != l.files[len(l.files)-1]
}

// shrink writes a full file anew without its erased bodies. A crash leaves it
// as it was, or as it is to be.
func (l *recordLog) compact(lf *logFile) error {
	buf := make([]byte, logFileHead, max(lf.size-lf.erasedBytes, 0)+int64(logFileHead)) // a crash may leave erased too large
	copy(buf, logMagic)
	binary.BigEndian.PutUint64(buf[len(logMagic):], lf.first)
	last := lf.first + uint64(len(lf.offsets)) - 1
	at := make([]uint32, 0, len(lf.offsets))
	err := l.each(lf.first-1, last, func(seq uint64, r logRecord, body []byte, err error) error {
		at = append(at, uint32(len(buf)))
		buf = appendRecord(buf, r, body) // a body that is gone is nil
		return err
	})
	if IsDamage(err) {
		lf.noCompaction = true // written anew it would look sound
		return nil
	}
	if err != nil {
		return fmt.Errorf("shrink %s: %w", lf.f.Name(), err)
	}
	path := l.path(lf.first, ".log")
	f, err := createFile(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(buf)
	if err = errors.Join(err, f.Sync()); err == nil {
		err = errors.Join(os.Rename(path+".new", path), syncDir(l.dir))
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.mu.Lock()
	lf.f, lf.offsets, lf.size, lf.erasedBytes = f, at, int64(len(buf)), 0 // a reader may be in the old file, which closes when it is let go
	l.mu.Unlock()
	l.writeOffsets(lf)
	return nil
}
