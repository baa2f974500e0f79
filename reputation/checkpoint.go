package reputation

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/mostrodex/mostrodex/reputation/score"
)

// checkpointFormat is the name of the checkpoint format. If the format of a file is
// unknown, the file is ignored, and the facts are rebuilt from the log.
//
// The format also changes if the same log has other facts. Up to format 4 the disputes that
// their parties cancelled were not counted as ended, and Paygress' offers were orders. Up to format 5 hours
// of health were not kept.
const checkpointFormat = "mostrodex reputation checkpoint 6"

// checkpointName is the name of the file in Config.Dir.
const checkpointName = "checkpoint"

// checkpointHead is the first line of the file. Two gob streams follow: a published value,
// and the ledger (Ledger.Encode). The last 32 bytes are the SHA-256 of all bytes before.
// Reading and writing do not hold the whole file in memory.
type checkpointHead struct {
	Format string `json:"format"`
	Params string `json:"params"` // Params.Hash, because facts depend on the parameters
	Cursor uint64 `json:"cursor"`
}

// readCheckpoint decodes the ledger of a checkpoint into ledger, and returns the published
// value. If readCheckpoint returns an error, the ledger must not be used.
func readCheckpoint(path string, ledger *score.Ledger, params string, logHead uint64) (said published, err error) {
	f, err := os.Open(path)
	if err != nil {
		return said, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return said, err
	}
	size := info.Size() - sha256.Size
	if size < 0 {
		return said, io.ErrUnexpectedEOF
	}
	sum := sha256.New()
	in := bufio.NewReaderSize(io.TeeReader(io.LimitReader(f, size), sum), 1<<20)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return said, err
	}
	var head checkpointHead
	if err := json.Unmarshal(line, &head); err != nil {
		return said, err
	}
	switch {
	case head.Format != checkpointFormat:
		return said, errors.New("unknown format")
	case head.Params != params:
		return said, errors.New("the parameters differ")
	case head.Cursor > logHead:
		return said, errors.New("the cursor is beyond the head of the log")
	}
	// in is an io.ByteReader, so a gob.Decoder does not read beyond its own stream.
	if err := errors.Join(gob.NewDecoder(in).Decode(&said), ledger.Decode(in)); err != nil {
		return said, err
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return said, errors.New("data follows the ledger")
	}
	want := make([]byte, sha256.Size)
	if _, err := f.ReadAt(want, size); err != nil {
		return said, err
	}
	if !bytes.Equal(sum.Sum(nil), want) {
		return said, errors.New("the checksum is wrong")
	}
	return said, nil
}

// writeCheckpoint replaces the checkpoint in dir: writeCheckpoint writes a temporary file,
// syncs the file and renames it. After a crash dir holds the old or the new checkpoint.
func writeCheckpoint(dir, params string, ledger *score.Ledger, said published) error {
	head, err := json.Marshal(checkpointHead{checkpointFormat, params, ledger.Cursor()})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, checkpointName+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // removes the file if the rename did not happen
	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(f, sum), 1<<20)
	_, err = out.Write(append(head, '\n'))
	err = errors.Join(err, gob.NewEncoder(out).Encode(said), ledger.Encode(out), out.Flush())
	if err == nil {
		_, err = f.Write(sum.Sum(nil))
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, checkpointName)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
