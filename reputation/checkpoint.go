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

// checkpointFormat names the content of a checkpoint. A file of an unknown format
// is not read, and the facts grow back from the log.
const checkpointFormat = "mostrodex reputation checkpoint 4"

// checkpointFormat3 has no published value of its own: its fields are among those
// of the ledger's first value. A change of DefaultParams makes every such file
// useless, and the code that reads it with it.
const checkpointFormat3 = "mostrodex reputation checkpoint 3"

// checkpointName is the file within Config.Dir.
const checkpointName = "checkpoint"

// checkpointHead is the file's first line. Two gob streams follow, a published
// value and the ledger (Ledger.Encode), and at the very end the sha256 of all
// before it. Neither writing nor reading needs room for the whole.
type checkpointHead struct {
	Format string `json:"format"`
	Params string `json:"params"` // their hash: facts are cut to fit them
	Cursor uint64 `json:"cursor"`
}

// published is what the service made public.
type published struct {
	Published map[string]string          // by node: fingerprint of the assertion
	Announced map[string]bool            // proofs of equivocation
	Sent      map[string]nostr.Timestamp // by address: the last created_at
	About     string                     // the key's profile
}

// restore reads the checkpoint. One that is missing, damaged, of other
// parameters or ahead of the log is as good as none: the log is read from its
// beginning, and gives the facts of what was erased as well. The follower calls
// it, once.
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
		s.log.Warn("reputation's checkpoint is of no use, reading the log anew", "reason", err)
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

// readCheckpoint reads the ledger of a checkpoint, and returns what was published.
// If it returns an error, the ledger is of no use.
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
	case head.Format != checkpointFormat && head.Format != checkpointFormat3:
		return said, errors.New("of another format")
	case head.Params != params:
		return said, errors.New("made with other parameters")
	case head.Cursor > logHead:
		return said, errors.New("ahead of the log")
	}
	saidIn := in
	if head.Format == checkpointFormat3 {
		first := int64(len(line))
		saidIn = bufio.NewReader(io.NewSectionReader(f, first, size-first))
	}
	// A gob.Decoder reads no further than it decodes, because in is an io.ByteReader.
	if err := errors.Join(gob.NewDecoder(saidIn).Decode(&said), ledger.Decode(in)); err != nil {
		return said, err
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return said, errors.New("more than is expected")
	}
	want := make([]byte, sha256.Size)
	if _, err := f.ReadAt(want, size); err != nil {
		return said, err
	}
	if !bytes.Equal(sum.Sum(nil), want) {
		return said, errors.New("damaged")
	}
	return said, nil
}

// save replaces the checkpoint: written beside it, synced, renamed. A crash
// leaves the old one or the new one. The caller holds the lock, and is the
// follower or its successor.
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
	defer os.Remove(f.Name()) // no file of that name after the rename
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
