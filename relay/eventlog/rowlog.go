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
type rowLog struct {
	dir   string
	mu    sync.RWMutex // guards files and what is in them, but not the rows: these stay
	files []*rowFile   // by first; there is always one
	limit int64        // of the last file; a full one is followed by another
	// erasing is held while a body is overwritten, so that a reader of a damaged
	// one can tell that it was not read in the middle of that.
	erasing sync.RWMutex
	ahead   int64    // up to where the last file has room on the disk; the committer's own
	damaged []uint64 // rows whose heads were found damaged when the log was opened
	unsound []string // files whose own heads were
}

type rowFile struct {
	f     *os.File
	first uint64
	at    []uint32 // where each row begins
	size  int64

	erased int64 // bytes of bodies; the committer's own
	keep   bool  // not to be shrunk: a row in it is damaged; the committer's own
}

const (
	logMagic     = "mostrolog 1\n"
	logFileHead  = len(logMagic) + 8
	logFileBytes = 64 << 20 // a file is full when it is this long
	rowHead      = 16
	erasedByte   = 0xff
)

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// errRow says that a row cannot be read: the disk gave back something else
// than what was written.
var errRow = errors.New("the row is damaged")

// appendRow encodes one row as the files keep it.
func appendRow(dst []byte, r row, body []byte) []byte {
	from := len(dst)
	dst = append(dst, make([]byte, rowHead)...)
	dst = r.encode(dst)
	head := dst[from:]
	binary.LittleEndian.PutUint32(head, uint32(len(head)-rowHead))
	binary.LittleEndian.PutUint32(head[4:], uint32(len(body)))
	binary.LittleEndian.PutUint32(head[8:], crc32.Checksum(body, crcTable))
	binary.LittleEndian.PutUint32(head[12:], headSum(head))
	return append(dst, body...)
}

// headSum is the checksum of a row's head and of the twelve bytes before it.
func headSum(head []byte) uint32 {
	return crc32.Update(crc32.Checksum(head[:12], crcTable), crcTable, head[rowHead:])
}

// openRow reads the row at the beginning of b. The body is a part of b, nil
// when it is gone.
func openRow(b []byte) (r row, body []byte, err error) {
	head, rest, ok := cutRow(b)
	if !ok {
		return r, nil, errRow
	}
	if r, err = decodeRow(head[rowHead:]); err != nil {
		return r, nil, err
	}
	body = rest[:binary.LittleEndian.Uint32(head[4:])]
	switch {
	case r.gone:
		return r, nil, nil
	case crc32.Checksum(body, crcTable) == binary.LittleEndian.Uint32(head[8:]):
		return r, body, nil
	case isErased(body):
		r.gone = true
		return r, nil, nil
	}
	return r, nil, errRow
}

// isErased reports whether a body was overwritten from end to end.
func isErased(body []byte) bool {
	return len(body) > 0 && bytes.Count(body, []byte{erasedByte}) == len(body)
}

// IsDamage reports whether an error says that the disk gave back something else
// than what was written.
func IsDamage(err error) bool { return errors.Is(err, errRow) || errors.Is(err, errCorrupt) }

// cutRow parts the head of a row, proven by its checksum, from what follows. It
// is false where b does not begin with a whole row.
func cutRow(b []byte) (head, rest []byte, ok bool) {
	if len(b) < rowHead {
		return nil, nil, false
	}
	h, n := uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[4:]))
	if uint64(len(b)) < rowHead+h+n || headSum(b[:rowHead+h]) != binary.LittleEndian.Uint32(b[12:]) {
		return nil, nil, false
	}
	return b[:rowHead+h], b[rowHead+h:], true
}

// openRowLog opens or creates the files of dir. What a crash left half written
// behind row applied is cut off; its length is given. Up to that row nothing may
// be amiss: ErrDamaged. A file is full at limit bytes, 0 for logFileBytes.
func openRowLog(dir string, applied uint64, limit int64) (l *rowLog, cut int64, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, 0, err
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return nil, 0, err
	}
	l = &rowLog{dir: dir, limit: cmp.Or(limit, logFileBytes)}
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
		next = first + uint64(len(f.at))
	}
	if l.head() < applied {
		return l, 0, fmt.Errorf("%s: entries %d to %d are missing: %w", dir, l.head()+1, applied, ErrDamaged)
	}
	if len(l.files) == 0 {
		return l, cut, l.begin(1)
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

func (l *rowLog) path(first uint64, suffix string) string {
	return filepath.Join(l.dir, fmt.Sprintf("%020d%s", first, suffix))
}

// openFile opens one file and finds where its rows begin. Only the last may end
// in the middle of a row. What it has then is durable: a process that was killed
// may have left rows that the disk has not, and the index must not be ahead.
func (l *rowLog) openFile(first, applied uint64, last bool) (_ *rowFile, cut int64, err error) {
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
		l.unsound = append(l.unsound, path)
	}
	rf := &rowFile{f: f, first: first, size: info.Size()}
	if !last && l.readPlaces(rf) {
		return rf, 0, nil
	}
	whole, damaged, err := rf.scan(applied, last)
	l.damaged = append(l.damaged, damaged...)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	if whole == rf.size {
		if last {
			return rf, 0, f.Sync()
		}
		l.writePlaces(rf)
		return rf, 0, nil
	}
	if !last || rf.first+uint64(len(rf.at)) <= applied {
		return nil, 0, fmt.Errorf("%s: entry %d: %w", path, rf.first+uint64(len(rf.at)), ErrDamaged)
	}
	cut, rf.size = rf.size-whole, whole
	if err := f.Truncate(whole); err != nil {
		return nil, 0, err
	}
	return rf, cut, f.Sync()
}

// scan finds the rows of a file from its beginning, and where the whole ones
// end. Up to row applied, and in a file that is not the last, a row whose head
// is damaged is passed over. Behind it a crash may have torn the last write, so
// bodies are proven there too: what is torn ends the file. A damaged row that
// was durable before others were written is an error.
func (rf *rowFile) scan(applied uint64, last bool) (whole int64, damaged []uint64, err error) {
	buf := make([]byte, 1<<20)
	whole = int64(logFileHead)
	for whole < rf.size {
		n, err := rf.f.ReadAt(buf, whole)
		if err != nil && err != io.EOF {
			return 0, nil, err
		}
		b := buf[:n]
		torn := false
		for {
			head, rest, ok := cutRow(b)
			if !ok {
				break
			}
			body := rest[:binary.LittleEndian.Uint32(head[4:])]
			if torn = rf.first+uint64(len(rf.at)) > applied && last && !bodyHolds(head, body, rest[len(body):]); torn {
				break
			}
			rf.at = append(rf.at, uint32(whole))
			whole += int64(len(head) + len(body))
			b = rest[len(body):]
		}
		switch {
		case torn:
		case len(b) < n: // some rows: read on behind them
			continue
		case len(buf) < n+1 && len(buf) < maxRowBytes:
			buf = make([]byte, 2*len(buf))
			continue
		}
		if whole == rf.size {
			break
		}
		seq := rf.first + uint64(len(rf.at))
		rest := make([]byte, rf.size-whole)
		if _, err := rf.f.ReadAt(rest, whole); err != nil && err != io.EOF {
			return 0, nil, err
		}
		if seq > applied && last {
			if durableBehind(rest) {
				return 0, nil, fmt.Errorf("entry %d is damaged, and entries behind it were written later: %w", seq, ErrDamaged)
			}
			return whole, damaged, nil
		}
		next := nextRow(rest)
		if _, err := openHead(rest); next < 0 && seq == applied && err != nil && len(rest) > shortestRow {
			next = len(rest) // the last one that was applied, with a damaged head; else its end is missing
		}
		if next < 0 {
			return 0, nil, fmt.Errorf("entry %d: %w", seq, ErrDamaged)
		}
		rf.at, damaged = append(rf.at, uint32(whole)), append(damaged, seq)
		whole += int64(next)
	}
	return whole, damaged, nil
}

// bodyHolds reports whether a body behind the applied rows is the one that was
// written, or was erased since, which only happens when others follow it.
func bodyHolds(head, body, behind []byte) bool {
	if crc32.Checksum(body, crcTable) == binary.LittleEndian.Uint32(head[8:]) {
		return true
	}
	_, _, follows := cutRow(behind)
	return isErased(body) && follows
}

// nextRow finds where the next whole row begins behind one whose head is
// damaged, -1 for none. The lengths of the damaged one are believed if they
// lead to one.
func nextRow(b []byte) int {
	if len(b) >= rowHead {
		at := rowHead + uint64(binary.LittleEndian.Uint32(b)) + uint64(binary.LittleEndian.Uint32(b[4:]))
		if at == uint64(len(b)) {
			return len(b)
		}
		if at < uint64(len(b)) {
			if _, _, ok := cutRow(b[at:]); ok {
				return int(at)
			}
		}
	}
	for at := 1; at < len(b)-rowHead; at++ {
		if binary.LittleEndian.Uint32(b[at:]) > maxHeadBytes {
			continue // most places, told without a checksum
		}
		if _, _, ok := cutRow(b[at:]); ok {
			return at
		}
	}
	return -1
}

// shortestRow is less than any row with a body is long.
const shortestRow = 256

// maxHeadBytes is beyond what the head of a row may be long.
const maxHeadBytes = 8 << 10

// durableBehind reports whether a whole row behind the one that b begins with
// was the first of a later write: that one was durable before.
func durableBehind(b []byte) bool {
	for {
		next := nextRow(b)
		if next < 0 || next >= len(b) {
			return false
		}
		b = b[next:]
		for {
			head, rest, ok := cutRow(b)
			if !ok {
				break
			}
			if r, err := decodeRow(head[rowHead:]); err == nil && r.first {
				return true
			}
			b = rest[binary.LittleEndian.Uint32(head[4:]):]
		}
	}
}

// maxRowBytes is beyond what any event may be long.
const maxRowBytes = 64 << 20

// readPlaces takes the places of a full file from the file beside it. It is
// false when that is missing or of something else.
func (l *rowLog) readPlaces(rf *rowFile) bool {
	b, err := os.ReadFile(l.path(rf.first, ".at"))
	if err != nil || len(b) < 12 || len(b)%4 != 0 {
		return false
	}
	tail := len(b) - 12
	if int64(binary.LittleEndian.Uint64(b[tail:])) != rf.size || crc32.Checksum(b[:tail+8], crcTable) != binary.LittleEndian.Uint32(b[tail+8:]) {
		return false
	}
	rf.at = make([]uint32, tail/4)
	for i := range rf.at {
		rf.at[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return true
}

// writePlaces keeps the places of a full file beside it, so that opening need
// not look for them. Without it they are looked for.
func (l *rowLog) writePlaces(rf *rowFile) {
	b := make([]byte, 0, 4*len(rf.at)+12)
	for _, at := range rf.at {
		b = binary.LittleEndian.AppendUint32(b, at)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(rf.size))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crcTable))
	os.WriteFile(l.path(rf.first, ".at"), b, 0o600)
}

// begin starts the file whose first row is first.
func (l *rowLog) begin(first uint64) error {
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
	l.files = append(l.files, &rowFile{f: f, first: first, size: int64(len(head))})
	l.mu.Unlock()
	l.ahead = 0
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

func (l *rowLog) close() error {
	var errs []error
	for _, rf := range l.files {
		errs = append(errs, rf.f.Close())
	}
	return errors.Join(errs...)
}

// head is the seq of the last row, 0 where there is none.
func (l *rowLog) head() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.files) == 0 {
		return 0
	}
	rf := l.files[len(l.files)-1]
	return rf.first + uint64(len(rf.at)) - 1
}

// full says that the next rows belong into another file.
func (l *rowLog) full() bool { return l.files[len(l.files)-1].size >= l.limit }

// roll begins that file.
func (l *rowLog) roll() error {
	l.writePlaces(l.files[len(l.files)-1])
	return l.begin(l.head() + 1)
}

// append writes encoded rows, each as long as sizes says, behind the last one.
// They are durable when it returns. The committer alone calls it, and never
// again after an error: what is half written then is cut off when the log is
// opened.
func (l *rowLog) append(rows []byte, sizes []int) error {
	rf := l.files[len(l.files)-1]
	if rf.size+int64(len(rows)) > 1<<32-1 {
		return fmt.Errorf("%s would be longer than its places can say", rf.f.Name())
	}
	if _, err := rf.f.WriteAt(rows, rf.size); err != nil {
		return err
	}
	if err := syncData(rf.f); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range sizes {
		rf.at = append(rf.at, uint32(rf.size))
		rf.size += int64(n)
	}
	return nil
}

// span gives where the rows from seq up to last begin, as far as one file has
// them, and where the last of these ends.
func (l *rowLog) span(seq, last uint64) (f *os.File, at []uint32, end int64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	rf := l.fileOf(seq)
	if seq < rf.first || seq-rf.first >= uint64(len(rf.at)) {
		return nil, nil, 0
	}
	to := min(last-rf.first+1, uint64(len(rf.at)))
	end = rf.size
	if to < uint64(len(rf.at)) {
		end = int64(rf.at[to])
	}
	return rf.f, rf.at[seq-rf.first : to], end
}

// rowBytes is how long a row is with its body, 0 where there is none.
func (l *rowLog) rowBytes(seq uint64) int64 {
	_, at, end := l.span(seq, seq)
	if len(at) == 0 {
		return 0
	}
	return end - int64(at[0])
}

// errNoRow says that the log has no row of that seq.
var errNoRow = errors.New("no such entry")

// row reads one row and its body, which is the caller's own: nil when it is gone.
func (l *rowLog) row(seq uint64) (r row, body []byte, err error) {
	r, body, err = l.readRow(seq)
	if IsDamage(err) {
		l.erasing.RLock() // it may have been read while it was erased
		r, body, err = l.readRow(seq)
		l.erasing.RUnlock()
	}
	if err != nil {
		err = fmt.Errorf("entry %d: %w", seq, err)
	}
	return r, body, err
}

func (l *rowLog) readRow(seq uint64) (r row, body []byte, err error) {
	f, at, end := l.span(seq, seq)
	if len(at) == 0 {
		return r, nil, errNoRow
	}
	b := make([]byte, end-int64(at[0]))
	if _, err := f.ReadAt(b, int64(at[0])); err != nil {
		return r, nil, readError(err)
	}
	return openRow(b)
}

// readError says of a place that the disk cannot read, or has not any more,
// that the row there is damaged.
func readError(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return err
	}
	return fmt.Errorf("%w: %w", errRow, err)
}

// aloneBytes is as much of a row as is read when its body is not asked for. The
// head of most is half as long.
const aloneBytes = 512

// rowAlone reads one row without its body. A body whose first byte was erased
// is gone: no event begins with that byte.
func (l *rowLog) rowAlone(seq uint64) (r row, err error) {
	err = errNoRow
	if f, at, end := l.span(seq, seq); len(at) > 0 {
		size := end - int64(at[0])
		b := make([]byte, min(size, aloneBytes))
		if _, err = f.ReadAt(b, int64(at[0])); err == nil && len(b) >= rowHead {
			if n := rowHead + int64(binary.LittleEndian.Uint32(b)) + 1; n > int64(len(b)) && n <= size {
				b = make([]byte, n)
				_, err = f.ReadAt(b, int64(at[0]))
			}
		}
		if err == nil {
			r, err = openHead(b)
		}
	}
	if err != nil {
		err = fmt.Errorf("entry %d: %w", seq, err)
	}
	return r, err
}

// openHead reads the row at the beginning of b, which need not hold its body.
func openHead(b []byte) (r row, err error) {
	if len(b) < rowHead {
		return r, errRow
	}
	h := int64(binary.LittleEndian.Uint32(b))
	if int64(len(b)) < rowHead+h || headSum(b[:rowHead+h]) != binary.LittleEndian.Uint32(b[12:]) {
		return r, errRow
	}
	if r, err = decodeRow(b[rowHead : rowHead+h]); err == nil && int64(len(b)) > rowHead+h && b[rowHead+h] == erasedByte {
		r.gone = true
	}
	return r, err
}

// rows calls fn with the rows after a seq up to and with last, ascending, or
// with why one cannot be read. A body is good until fn returns.
func (l *rowLog) rows(after, last uint64, fn func(seq uint64, r row, body []byte, err error) error) error {
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
			r, body, err := openRow(buf[int64(at[i])-from : to-from])
			if err != nil || unread != nil {
				r, body, err = l.row(after) // alone, and not while it is erased
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
func (l *rowLog) erase(seqs []uint64) (touched []*rowFile, err error) {
	for _, seq := range seqs {
		f, at, end := l.span(seq, seq)
		if len(at) == 0 {
			return nil, fmt.Errorf("erase entry %d: %w", seq, errNoRow)
		}
		b := make([]byte, end-int64(at[0]))
		if _, err := f.ReadAt(b, int64(at[0])); err != nil {
			return nil, err
		}
		head, rest, ok := cutRow(b)
		if !ok {
			continue // its head is damaged; its body is not to be found
		}
		body := rest[:binary.LittleEndian.Uint32(head[4:])]
		for i := range body {
			body[i] = erasedByte
		}
		l.erasing.Lock()
		_, err := f.WriteAt(body, int64(at[0])+int64(len(head)))
		l.erasing.Unlock()
		if err != nil {
			return nil, err
		}
		rf := l.fileOf(seq)
		rf.erased += int64(len(body))
		if !slices.Contains(touched, rf) {
			touched = append(touched, rf)
		}
	}
	for _, rf := range touched {
		if err := syncData(rf.f); err != nil {
			return nil, err
		}
	}
	return touched, nil
}

// fileOf gives the file of a row, the first for what is before it. The caller
// holds mu, or is the committer.
func (l *rowLog) fileOf(seq uint64) *rowFile {
	i, found := slices.BinarySearchFunc(l.files, seq, func(rf *rowFile, seq uint64) int { return cmp.Compare(rf.first, seq) })
	if !found {
		i--
	}
	return l.files[max(i, 0)]
}

// wasteful says that a file is worth being written anew.
func (l *rowLog) wasteful(rf *rowFile) bool {
	return !rf.keep && rf.erased > rf.size/2 && rf != l.files[len(l.files)-1]
}

// shrink writes a full file anew without its erased bodies. A crash leaves it
// as it was, or as it is to be.
func (l *rowLog) shrink(rf *rowFile) error {
	buf := make([]byte, logFileHead, max(rf.size-rf.erased, 0)+int64(logFileHead)) // a crash may leave erased too large
	copy(buf, logMagic)
	binary.BigEndian.PutUint64(buf[len(logMagic):], rf.first)
	last := rf.first + uint64(len(rf.at)) - 1
	at := make([]uint32, 0, len(rf.at))
	err := l.rows(rf.first-1, last, func(seq uint64, r row, body []byte, err error) error {
		at = append(at, uint32(len(buf)))
		buf = appendRow(buf, r, body) // a body that is gone is nil
		return err
	})
	if IsDamage(err) {
		rf.keep = true // written anew it would look sound
		return nil
	}
	if err != nil {
		return fmt.Errorf("shrink %s: %w", rf.f.Name(), err)
	}
	path := l.path(rf.first, ".log")
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
	rf.f, rf.at, rf.size, rf.erased = f, at, int64(len(buf)), 0 // a reader may be in the old file, which closes when it is let go
	l.mu.Unlock()
	l.writePlaces(rf)
	return nil
}
