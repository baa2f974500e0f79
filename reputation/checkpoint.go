package reputation

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/nbd-wtf/go-nostr"
)

// checkpointFormat is the name of the checkpoint format. If the format of a file is
// unknown, the file is ignored, and the facts are rebuilt from the log.
//
// The format also changes if the same log has other facts. Up to format 4 the disputes that
// their parties cancelled were not counted as ended, and Paygress' offers were orders.
const checkpointFormat = "mostrodex reputation checkpoint 5"

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

// published lists the events that the service published.
type published struct {
	Published map[string]string          // by node: fingerprint of the last assertion
	Announced map[string]bool            // published proofs of equivocation
	Sent      map[string]nostr.Timestamp // by address: the last created_at
	About     string                     // content of the key's profile
}

// restore reads the checkpoint. If the file is missing, damaged, of other parameters or
// ahead of the log, the service starts without a checkpoint. Then the log is read from the
// beginning, and the log also holds the facts of erased events. The follower calls restore
// once.
func (s *Service) restore() error {
	ledger := score.NewLedger(s.cfg.Params, s.cfg.Proofs)
	said, err := readCheckpoint(filepath.Join(s.cfg.Dir, checkpointName), ledger, s.cfg.Params.Hash(), s.cfg.Log.Head())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var onDisk *fs.PathError
	if errors.As(err, &onDisk) {
		return fmt.Errorf("reputation: %w", err)
	}
	if err != nil {
		s.log.Warn("reputation checkpoint is not usable, the log is read from the beginning", "reason", err)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger = ledger
	s.saved, s.savedAt = ledger.Cursor(), s.cfg.Now()
	if said.Published != nil {
		s.published = said.Published
	}
	if said.Announced != nil {
		s.announced = said.Announced
	}
	if said.Sent != nil {
		s.sent = said.Sent
	}
	s.about = said.About
	return nil
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

// save replaces the checkpoint: save writes a temporary file, syncs the file and renames
// it. After a crash the directory holds the old or the new checkpoint. The caller holds mu
// and is the follower, or is Close after the follower has ended.
func (s *Service) save() error {
	if err := s.write(); err != nil {
		return fmt.Errorf("reputation: write the checkpoint: %w", err)
	}
	s.saved, s.savedAt, s.unsaved = s.ledger.Cursor(), s.cfg.Now(), false
	return nil
}

func (s *Service) write() error {
	head, err := json.Marshal(checkpointHead{checkpointFormat, s.cfg.Params.Hash(), s.ledger.Cursor()})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.cfg.Dir, checkpointName+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // removes the file if the rename did not happen
	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(f, sum), 1<<20)
	_, err = out.Write(append(head, '\n'))
	err = errors.Join(err, gob.NewEncoder(out).Encode(published{s.published, s.announced, s.sent, s.about}), s.ledger.Encode(out), out.Flush())
	if err == nil {
		_, err = f.Write(sum.Sum(nil))
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(s.cfg.Dir, checkpointName)); err != nil {
		return err
	}
	d, err := os.Open(s.cfg.Dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
