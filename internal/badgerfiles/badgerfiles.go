// Package badgerfiles finds damage in the files of a Badger store before Badger
// opens them.
//
// Badger does not report all damage. It takes a damaged record of its manifest or
// of a memtable's log for a write that a crash has torn, truncates the rest, and
// deletes the tables that the rest of the manifest named. It ends the process if
// the end of a table is damaged, and serves a damaged block.
package badgerfiles

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
	"github.com/klauspost/compress/snappy"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
)

// What Badger's flags say of a record, and the longest record that the store
// writes.
const (
	memDeleted, memInCommit, memLastOfCommit = 1, 1 << 6, 1 << 7

	maxMemRecord = 16 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrInUse says that another process holds the directory.
var ErrInUse = errors.New("in use by another process")

// ErrFile says that a file of Badger is not as it was written.
var ErrFile = errors.New("the file is damaged")

// CheckFiles reports the first damage in Badger's files in dir. It changes
// nothing. What a crash may leave behind is no damage.
func CheckFiles(dir string) error {
	tables, err := checkManifest(filepath.Join(dir, "MANIFEST"))
	if errors.Is(err, fs.ErrNotExist) {
		// Badger creates the manifest first, and deletes what none names.
		if rest, _ := filepath.Glob(filepath.Join(dir, "*.sst")); len(rest) == 0 {
			return nil
		}
	}
	if err != nil {
		return err
	}
	if err := checkRegistry(filepath.Join(dir, "KEYREGISTRY")); err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for id, compression := range tables {
		path := filepath.Join(dir, fmt.Sprintf("%06d.sst", id))
		group.Go(func() error { return checkTable(path, compression) })
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil {
		return err
	}
	slices.Sort(logs)
	for i, path := range logs {
		group.Go(func() error { return checkMemtable(path, i == len(logs)-1) })
	}
	// Values are shorter than those that Badger writes to these.
	values, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil {
		return err
	}
	for _, path := range values {
		group.Go(func() error { return checkValueLog(path) })
	}
	return group.Wait()
}

// manifestHead is what a manifest of Badger 4 begins with, version 8.
var manifestHead = []byte("Bdgr\x00\x00\x00\x08")

// checkManifest returns the tables of the manifest with their compression. A
// record whose end is missing is what a crash leaves, unless the record's
// checksum holds for some other length.
func checkManifest(path string) (tables map[uint64]uint32, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(b, manifestHead) {
		return nil, fmt.Errorf("%s: %w", path, ErrFile)
	}
	tables = make(map[uint64]uint32)
	for rest := b[len(manifestHead):]; len(rest) >= 8; {
		n, sum, body := uint64(binary.BigEndian.Uint32(rest)), binary.BigEndian.Uint32(rest[4:]), rest[8:]
		if n > uint64(len(body)) {
			// Badger refuses what is longer than the file by itself.
			if n > uint64(len(b)) || holdsForALength(body, sum) {
				return nil, fmt.Errorf("%s: %w", path, ErrFile)
			}
			break
		}
		var set pb.ManifestChangeSet
		if crc32.Checksum(body[:n], castagnoli) != sum || proto.Unmarshal(body[:n], &set) != nil {
			return nil, fmt.Errorf("%s: %w", path, ErrFile)
		}
		for _, change := range set.Changes {
			if change.Op == pb.ManifestChange_DELETE {
				delete(tables, change.Id)
			} else {
				tables[change.Id] = change.Compression
			}
		}
		rest = body[n:]
	}
	return tables, nil
}

// holdsForALength reports whether sum is the checksum of some beginning of b.
func holdsForALength(b []byte, sum uint32) bool {
	have := uint32(0) // of no byte
	for i := 0; have != sum; i++ {
		if i == len(b) {
			return false
		}
		have = crc32.Update(have, castagnoli, b[i:i+1])
	}
	return true
}

// checkRegistry checks the file of Badger's keys, of which there are none: random
// bytes and a fixed text.
func checkRegistry(path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && (len(b) != 16+len("Hello Badger") || string(b[16:]) != "Hello Badger") {
		err = fmt.Errorf("%s: %w", path, ErrFile)
	}
	return err
}

// checkTable checks every block of a table. The file ends with the index of its
// blocks, the length of the index, its checksum and the length of that.
func checkTable(path string, compression uint32) (err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	defer func() {
		// The index is proven by its checksum, but its format is Badger's.
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: %w: %v", path, ErrFile, p)
		}
	}()
	rest, sum, ok := cutTail(b)
	if ok {
		var index []byte
		if rest, index, ok = cutTail(rest); ok && holdsSum(index, sum) {
			return checkBlocks(path, rest, fb.GetRootAsTableIndex(index, 0), compression)
		}
	}
	return fmt.Errorf("%s: %w", path, ErrFile)
}

func checkBlocks(path string, b []byte, index *fb.TableIndex, compression uint32) error {
	var buf []byte
	for i := range index.OffsetsLength() {
		var at fb.BlockOffset
		if !index.Offsets(&at, i) || uint64(at.Offset())+uint64(at.Len()) > uint64(len(b)) {
			return fmt.Errorf("%s: %w", path, ErrFile)
		}
		block := b[at.Offset():][:at.Len()]
		if compression != 0 { // the only one that the store is opened with
			n, err := snappy.DecodedLen(block)
			if err != nil || n > maxBlockBytes {
				return fmt.Errorf("%s: block at %d: %w", path, at.Offset(), ErrFile)
			}
			if buf, err = snappy.Decode(slices.Grow(buf[:0], n)[:n], block); err != nil {
				return fmt.Errorf("%s: block at %d: %w", path, at.Offset(), ErrFile)
			}
			block = buf
		}
		data, sum, ok := cutTail(block)
		if !ok || !holdsSum(data, sum) {
			return fmt.Errorf("%s: block at %d: %w", path, at.Offset(), ErrFile)
		}
	}
	return nil
}

// maxBlockBytes is beyond what any block may be long: one record of the store.
const maxBlockBytes = 64 << 20

// cutTail takes a part and the length behind it off the end of b.
func cutTail(b []byte) (rest, part []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	end := len(b) - 4
	n := uint64(binary.BigEndian.Uint32(b[end:]))
	if n > uint64(end) {
		return nil, nil, false
	}
	return b[:end-int(n)], b[end-int(n) : end], true
}

func holdsSum(data, sum []byte) bool {
	var want pb.Checksum
	return proto.Unmarshal(sum, &want) == nil && want.Algo == pb.Checksum_CRC32C && y.VerifyChecksum(data, &want) == nil
}

// memRecord is a record of a memtable's log: two bytes of flags, the lengths of
// key and value, an expiry, key, value and CRC-32C. A key ends with the number of
// its commit.
type memRecord struct {
	size   int
	last   bool // of its commit
	commit uint64
}

// cutMemRecord reads the record at the beginning of b.
func cutMemRecord(b []byte) (r memRecord, ok bool) {
	if len(b) < 2 || b[1] != 0 || b[0] != memInCommit && b[0] != memInCommit|memDeleted && b[0] != memLastOfCommit {
		return r, false
	}
	at := 2
	var lengths [3]uint64 // of the key, of the value; an expiry, which none has
	for i := range lengths {
		v, n := binary.Uvarint(b[at:])
		if n <= 0 || v > maxMemRecord {
			return r, false
		}
		lengths[i], at = v, at+n
	}
	key, value := int(lengths[0]), int(lengths[1])
	if key < 8 || lengths[2] != 0 || at+key+value+4 > len(b) {
		return r, false
	}
	end := at + key + value
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return r, false
	}
	return memRecord{size: end + 4, last: b[0] == memLastOfCommit, commit: binary.BigEndian.Uint64(b[at+key-8:])}, true
}

// checkMemtable checks the log of a memtable, which holds commits. A crash can
// tear the last commit of the last log. Every commit was synced before the next,
// so a bad record that another commit follows is damage.
func checkMemtable(path string, last bool) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := checkLogHead(path, b); err != nil || len(b) < memHead {
		return err
	}
	b = b[memHead:]
	written := len(bytes.TrimRight(b, "\x00"))
	whole := 0 // up to here all commits are
	for at := 0; at < written; {
		r, ok := cutMemRecord(b[at:])
		if !ok {
			break
		}
		if at += r.size; r.last {
			whole = at
		}
	}
	if whole < written && (!last || severalCommits(b[:min(len(b), written+4)], whole)) {
		return fmt.Errorf("%s: behind %d: %w", path, memHead+whole, ErrFile)
	}
	return nil
}

// severalCommits reports whether the whole records in b[from:] are of more than
// one commit.
func severalCommits(b []byte, from int) bool {
	commit := uint64(0)
	for from < len(b) {
		r, ok := cutMemRecord(b[from:])
		if !ok {
			from++
			continue
		}
		if commit != 0 && r.commit != commit {
			return true
		}
		commit, from = r.commit, from+r.size
	}
	return false
}

// memHead is what the logs of Badger begin with: the number of a key, which is 0
// because nothing is encrypted, and random bytes.
const memHead = 20

func checkLogHead(path string, b []byte) error {
	if len(b) >= memHead && binary.BigEndian.Uint64(b) != 0 {
		return fmt.Errorf("%s: %w", path, ErrFile)
	}
	return nil
}

func checkValueLog(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, memHead)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil // shorter than its head: Badger begins it anew
	}
	return checkLogHead(path, b)
}
