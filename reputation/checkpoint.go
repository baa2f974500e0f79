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

	"github.com/nbd-wtf/go-nostr"
)

// checkpointFormat changes with what a checkpoint holds; a file of another
// format is not read, and the facts grow back from the log.
const checkpointFormat = "mostrodex reputation checkpoint 3"

// checkpointName is the file within Config.Dir.
const checkpointName = "checkpoint"

// checkpointHead is the file's first line. What follows is a stream of gob
// values: a checkpointBody, then of each node its key, the node without its
// orders, and its orders by the thousand, an empty map after the last; at the
// very end the sha256 of all before it. So neither writing nor reading needs
// room for the whole.
type checkpointHead struct {
	Format string `json:"format"`
	Params string `json:"params"` // their hash: facts are cut to fit them
	Cursor uint64 `json:"cursor"`
}

// checkpointBody is all but the nodes.
type checkpointBody struct {
	Book      book
	Nodes     int
	Published map[string]string
	Announced map[string]bool
	Sent      map[string]nostr.Timestamp
	About     string
}

// checkpointOrders is how many orders are one value of the stream.
const checkpointOrders = 1000

// restore reads the checkpoint. One that is missing, damaged, of other
// parameters or ahead of the log is as good as none: the log is read from its
// beginning, and gives the facts of what was erased as well. The follower calls
// it, once.
func (s *Service) restore() error {
	head, body, err := readCheckpoint(filepath.Join(s.cfg.Dir, checkpointName), s.cfg.Params.Hash(), s.cfg.Log.Head())
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
	body.Book.fill()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger.book, s.ledger.quitters = body.Book, nil
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
	n.kept = &kept{}
}

func readCheckpoint(path, params string, logHead uint64) (head checkpointHead, body checkpointBody, err error) {
	f, err := os.Open(path)
	if err != nil {
		return head, body, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return head, body, err
	}
	if info.Size() < sha256.Size {
		return head, body, io.ErrUnexpectedEOF
	}
	sum := sha256.New()
	in := bufio.NewReaderSize(io.TeeReader(io.LimitReader(f, info.Size()-sha256.Size), sum), 1<<20)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return head, body, err
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return head, body, err
	}
	switch {
	case head.Format != checkpointFormat:
		return head, body, errors.New("of another format")
	case head.Params != params:
		return head, body, errors.New("made with other parameters")
	case head.Cursor > logHead:
		return head, body, errors.New("ahead of the log")
	}
	dec := gob.NewDecoder(in)
	if err := dec.Decode(&body); err != nil {
		return head, body, err
	}
	body.Book.Nodes = make(map[string]*node, min(body.Nodes, 1<<16))
	body.Book.orders = &orders{}
	for range body.Nodes {
		var key string
		n := &node{}
		if err := errors.Join(dec.Decode(&key), dec.Decode(n)); err != nil {
			return head, body, err
		}
		n.orders = newNodeOrders(body.Book.orders)
		for {
			var part map[string]storedOrder
			if err := dec.Decode(&part); err != nil {
				return head, body, err
			}
			if len(part) == 0 {
				break
			}
			for d, o := range part {
				n.orders.restore(d, o)
			}
		}
		body.Book.Nodes[key] = n
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return head, body, errors.New("more than is expected")
	}
	want := make([]byte, sha256.Size)
	if _, err := f.ReadAt(want, info.Size()-sha256.Size); err != nil {
		return head, body, err
	}
	if !bytes.Equal(sum.Sum(nil), want) {
		return head, body, errors.New("damaged")
	}
	return head, body, nil
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
	err = errors.Join(err, s.encode(gob.NewEncoder(out)), out.Flush())
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

func (s *Service) encode(enc *gob.Encoder) error {
	rest := s.ledger.book
	nodes := rest.Nodes
	rest.Nodes = nil
	if err := enc.Encode(checkpointBody{rest, len(nodes), s.published, s.announced, s.sent, s.about}); err != nil {
		return err
	}
	for key, n := range nodes {
		if err := errors.Join(enc.Encode(key), enc.Encode(n)); err != nil {
			return err
		}
		part := make(map[string]storedOrder, checkpointOrders)
		for _, o := range n.orders.each() {
			part[n.orders.all.id(o)] = n.orders.all.stored(o)
			if len(part) == checkpointOrders {
				if err := enc.Encode(part); err != nil {
					return err
				}
				clear(part)
			}
		}
		if len(part) > 0 {
			if err := enc.Encode(part); err != nil {
				return err
			}
			clear(part)
		}
		if err := enc.Encode(part); err != nil {
			return err
		}
	}
	return nil
}
