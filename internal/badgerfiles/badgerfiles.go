// Package badgerfiles finds damage in the files of a Badger store before Badger opens
// them.
//
// Badger does not report all damage. If a record of its manifest or of a memtable's log
// is damaged, Badger assumes that a crash has torn the write, truncates the rest, and
// deletes the tables that the rest of the manifest named. If the end of a table is
// damaged, Badger ends the process. If a block of a table is damaged, Badger serves the
// block.
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

// Badger's flags of a record, and the size of the longest record that the store writes.
const (
	memDeleted, memInCommit, memLastOfCommit = 1, 1 << 6, 1 << 7

	maxMemRecord = 16 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrInUse is returned if another process holds the lock of the directory.
var ErrInUse = errors.New("in use by another process")

// ErrFile is returned if the content of a file of Badger has changed since Badger wrote
// the file.
var ErrFile = errors.New("the file is damaged")

// CheckFiles returns the first damage in Badger's files in dir, as an error that wraps
// ErrFile. It changes no file, and removes logs without a byte. A torn write at the end of a
// file is not damage, because a crash can cause it.
func CheckFiles(dir string) error {
	if err := RemoveEmptyLogs(dir); err != nil {
		return err
	}
	tables, err := checkManifest(filepath.Join(dir, "MANIFEST"))
	if errors.Is(err, fs.ErrNotExist) {
		// Badger creates the manifest first, and deletes tables that the manifest does
		// not name.
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
	// The store's values are too short for Badger's value logs, so only the heads are
	// checked.
	values, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil {
		return err
	}
	for _, path := range values {
		group.Go(func() error { return checkValueLog(path) })
	}
	return group.Wait()
}

// RemoveEmptyLogs removes Badger's logs whose length is 0: those of memtables, and value logs.
// Badger creates such a log and then sets its length. If the power is cut in between, the log
// has no record, and Badger does not open the store.
func RemoveEmptyLogs(dir string) error {
	for _, pattern := range []string{"*.mem", "*.vlog"} {
		logs, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range logs {
			info, err := os.Stat(path)
			if err == nil && info.Mode().IsRegular() && info.Size() == 0 {
				err = os.Remove(path)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// manifestHead is the start of a manifest of Badger 4, version 8.
var manifestHead = []byte("Bdgr\x00\x00\x00\x08")

// checkManifest returns the tables of the manifest with their compression. If the end
// of the last record is missing, a crash has torn the write, unless the record's
// checksum is valid for a shorter length.
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
			// Badger itself refuses a record that is longer than the file.
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

// holdsForALength reports whether sum is the checksum of a prefix of b.
func holdsForALength(b []byte, sum uint32) bool {
	have := uint32(0) // checksum of the empty prefix
	for i := 0; have != sum; i++ {
		if i == len(b) {
			return false
		}
		have = crc32.Update(have, castagnoli, b[i:i+1])
	}
	return true
}

// checkRegistry checks the file of Badger's encryption keys. The store is not
// encrypted, so the file has no keys, only random bytes and a fixed text.
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

// checkTable checks every block of a table. The file ends with the index of the blocks,
// the length of the index, the checksum of the index and the length of the checksum.
func checkTable(path string, compression uint32) (err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	defer func() {
		// The checksum proves the index, but Badger's decoder may still panic.
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
		if compression != 0 { // Snappy is the only compression that the store uses
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

// maxBlockBytes exceeds the length of any block. A block holds at least one record of
// the store.
const maxBlockBytes = 64 << 20

// cutTail removes the last part of b and the four bytes with the part's length.
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

// memRecord is a record of a memtable's log: two bytes of flags, the lengths of key and
// value, an expiry, key, value and CRC-32C. A key ends with the number of its commit.
type memRecord struct {
	size   int
	last   bool // last record of its commit
	commit uint64
}

// cutMemRecord parses the record at the beginning of b. ok is false if there is no
// valid record.
func cutMemRecord(b []byte) (r memRecord, ok bool) {
	if len(b) < 2 || b[1] != 0 || b[0] != memInCommit && b[0] != memInCommit|memDeleted && b[0] != memLastOfCommit {
		return r, false
	}
	at := 2
	var lengths [3]uint64 // length of the key, length of the value, expiry (always 0)
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

// checkMemtable checks the log of a memtable, which holds commits. A crash can tear the
// last commit of the last log. Each commit is synced before the next one, so a bad
// record is damage if another commit follows.
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
	whole := 0 // end of the last complete commit
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

// severalCommits reports whether the complete records in b[from:] belong to more than
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

// memHead is the size of the head of Badger's logs: the number of an encryption key,
// which is 0 because the store is not encrypted, and random bytes.
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
		return nil // shorter than its head: Badger recreates the file
	}
	return checkLogHead(path, b)
}
