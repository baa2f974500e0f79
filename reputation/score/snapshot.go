package score

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"

	"github.com/nbd-wtf/go-nostr"
)

// snapshot is the first value of an encoded ledger, with all facts except the nodes. The
// nodes follow. Each node is encoded as its key, its facts without orders, and its orders
// in maps of snapshotOrders entries. An empty map follows the last map of a node.
type snapshot struct {
	Book  book
	Nodes int
}

// snapshotOrders is the number of orders in one value of the stream.
const snapshotOrders = 1000

func (b book) encode(w io.Writer) error {
	enc := gob.NewEncoder(w)
	rest := b
	nodes := rest.Nodes
	rest.Nodes = nil
	if err := enc.Encode(snapshot{rest, len(nodes)}); err != nil {
		return fmt.Errorf("encode the ledger: %w", err)
	}
	for key, n := range nodes {
		if err := errors.Join(enc.Encode(key), enc.Encode(n), n.orders.encode(enc)); err != nil {
			return fmt.Errorf("encode the facts of %s: %w", key, err)
		}
	}
	return nil
}

func (m *nodeOrders) encode(enc *gob.Encoder) error {
	part := make(map[string]storedOrder, snapshotOrders)
	for _, o := range m.each() {
		part[m.all.id(o)] = m.all.stored(o)
		if len(part) == snapshotOrders {
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
	return enc.Encode(part)
}

func decodeBook(r io.Reader) (b book, err error) {
	dec := gob.NewDecoder(r)
	var s snapshot
	if err := dec.Decode(&s); err != nil {
		return b, fmt.Errorf("decode the ledger: %w", err)
	}
	if s.Nodes < 0 {
		return b, errors.New("decode the ledger: negative number of nodes")
	}
	s.Book.Nodes = make(map[string]*node, min(s.Nodes, 1<<16))
	s.Book.orders = newOrders()
	for range s.Nodes {
		var key string
		n := &node{orders: newNodeOrders(s.Book.orders)}
		if err := errors.Join(dec.Decode(&key), dec.Decode(n), n.orders.decode(dec)); err != nil {
			return b, fmt.Errorf("decode the facts of a node: %w", err)
		}
		s.Book.Nodes[key] = n
	}
	s.Book.fill()
	return s.Book, nil
}

func (m *nodeOrders) decode(dec *gob.Decoder) error {
	for {
		var part map[string]storedOrder
		if err := dec.Decode(&part); err != nil || len(part) == 0 {
			return err
		}
		for d, o := range part {
			m.restore(d, o)
		}
	}
}

// fill creates the maps that gob omits if they are empty.
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
		fillNode(n)
	}
}

func fillNode(n *node) {
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
