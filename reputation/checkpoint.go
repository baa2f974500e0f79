package reputation

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nbd-wtf/go-nostr"
)

// checkpointFormat changes with what a checkpoint holds; a file of another
// format is not read, and the facts grow back from the log.
const checkpointFormat = "mostrodex reputation checkpoint 1"

// checkpointName is the file within Config.Dir.
const checkpointName = "checkpoint"

// checkpointHead is the file's first line.
type checkpointHead struct {
	Format string `json:"format"`
	Params string `json:"params"` // their hash: facts are cut to fit them
	Cursor uint64 `json:"cursor"`
	SHA256 string `json:"sha256"` // of all that follows
}

// checkpointBody follows, in gob.
type checkpointBody struct {
	Book      book
	Published map[string]string
	Announced map[string]bool
	Sent      map[string]nostr.Timestamp
	About     string
}

// restore reads the checkpoint. One that is missing, damaged, of other
// parameters or ahead of the log is as good as none: the log is read from its
// beginning. What it alone knew is lost then: facts of events that were
// erased from the log since.
func (s *Service) restore() error {
	path := filepath.Join(s.cfg.Dir, checkpointName)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reputation: %w", err)
	}
	head, body, err := readCheckpoint(raw)
	if err == nil {
		switch {
		case head.Params != s.cfg.Params.Hash():
			err = errors.New("made with other parameters")
		case head.Cursor > s.cfg.Log.Head():
			err = errors.New("ahead of the log")
		}
	}
	if err != nil {
		s.log.Warn("reputation's checkpoint is of no use, reading the log anew", "reason", err)
		return nil
	}
	s.ledger.book = body.Book
	s.ledger.book.fill()
	s.saved, s.savedAt = head.Cursor, s.cfg.Now()
	if body.Published != nil {
		s.published = body.Published
	}
	if body.Announced != nil {
		s.announced = body.Announced
	}
	if body.Sent != nil {
		s.sent = body.Sent
	}
	s.about = body.About
	return nil
}

// fill makes the maps that gob leaves out when they are empty.
func (b *book) fill() {
	empty := newBook()
	if b.Nodes == nil {
		b.Nodes = empty.Nodes
	}
	if b.Paid == nil {
		b.Paid = empty.Paid
	}
	if b.Hashes == nil {
		b.Hashes = empty.Hashes
	}
	if b.Gone == nil {
		b.Gone = empty.Gone
	}
	if b.Reasons == nil {
		b.Reasons = empty.Reasons
	}
	for _, n := range b.Nodes {
		n.fill()
	}
}

func (n *node) fill() {
	if n.Orders == nil {
		n.Orders = map[string]*order{}
	}
	if n.Disputes == nil {
		n.Disputes = map[string]*dispute{}
	}
	if n.Fees == nil {
		n.Fees = map[string][]fee{}
	}
	if n.Ratings == nil {
		n.Ratings = map[id]*rated{}
	}
	if n.Users == nil {
		n.Users = map[string]userRating{}
	}
	if n.Infos == nil {
		n.Infos = map[int64]Sighting{}
	}
	if n.Lightning == nil {
		n.Lightning = map[string]named{}
	}
	if n.Keysets == nil {
		n.Keysets = map[string]keyset{}
	}
	if n.Blind == nil {
		n.Blind = map[id]*nostr.Event{}
	}
	if n.Erased == nil {
		n.Erased = map[string]Sighting{}
	}
}

func readCheckpoint(raw []byte) (head checkpointHead, body checkpointBody, err error) {
	line, rest, ok := bytes.Cut(raw, []byte("\n"))
	if !ok {
		return head, body, io.ErrUnexpectedEOF
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return head, body, err
	}
	if head.Format != checkpointFormat {
		return head, body, errors.New("of another format")
	}
	if sum := sha256.Sum256(rest); hex.EncodeToString(sum[:]) != head.SHA256 {
		return head, body, errors.New("damaged")
	}
	err = gob.NewDecoder(bufio.NewReader(bytes.NewReader(rest))).Decode(&body)
	return head, body, err
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

func (s *Service) write() (err error) {
	var buf bytes.Buffer
	if err := gob.NewEncoder(&buf).Encode(checkpointBody{s.ledger.book, s.published, s.announced, s.sent, s.about}); err != nil {
		return err
	}
	sum := sha256.Sum256(buf.Bytes())
	head, err := json.Marshal(checkpointHead{checkpointFormat, s.cfg.Params.Hash(), s.ledger.Cursor(), hex.EncodeToString(sum[:])})
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
	_, err = f.Write(append(head, '\n'))
	if err == nil {
		_, err = f.Write(buf.Bytes())
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
