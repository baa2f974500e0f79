package indexer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// anyDeletion reports whether a book holds any deletion.
func anyDeletion(db *badger.DB) (found bool, err error) {
	err = db.View(func(txn *badger.Txn) error {
		for _, space := range []byte{keyNoID, keyNoAddr} {
			it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{space}})
			it.Rewind()
			found = found || it.Valid()
			it.Close()
		}
		return nil
	})
	return found, err
}

func (w *work) isDeleted(k orders.Key, o *mostro.Order) (bool, error) {
	if !w.b.deletions {
		return false, nil
	}
	if gone, err := has(w.batch.txn, idKey(keyNoID, o.EventID, o.Pubkey)); err != nil || gone {
		return gone, err
	}
	until, err := get(w.batch.txn, append([]byte{keyNoAddr}, k[:]...))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil && int64(o.CreatedAt) <= readTime(until), err
}

// deletion applies a deletion request (NIP-09): the author's own events that the request
// names are removed for good.
func (w *work) deletion(e *mostro.Entry) error {
	w.b.deletions = true
	var affected []string
	// One request may name thousands of versions of one order. drop reads all versions of
	// an order, so drop runs once per order.
	doomed := map[orders.Key]map[string]bool{}
	for _, tag := range e.Event.Tags {
		if len(tag) < 2 {
			continue
		}
		switch tag[0] {
		case "e":
			if !nostr.IsValid32ByteHex(tag[1]) {
				continue
			}
			if err := w.batch.set(idKey(keyNoID, tag[1], e.Event.PubKey), nil); err != nil {
				return err
			}
			k, err := get(w.batch.txn, idKey(keyByID, tag[1])[:13])
			if errors.Is(err, badger.ErrKeyNotFound) {
				err = w.authors.deleteEvent(tag[1], e.Event.PubKey)
			} else if err == nil {
				if doomed[orders.Key(k)] == nil {
					doomed[orders.Key(k)] = map[string]bool{}
				}
				doomed[orders.Key(k)][tag[1]] = true
			}
			if err != nil {
				return err
			}
		case "a":
			pubkey, d, err := splitAddress(tag[1])
			if err != nil {
				if err := w.authors.deleteAddress(tag[1], e.Event); err != nil {
					return err
				}
				continue
			}
			if pubkey != e.Event.PubKey {
				continue
			}
			touched, err := w.deleteAddress(pubkey, d, e.Event.CreatedAt)
			if err != nil {
				return err
			}
			if touched {
				affected = append(affected, tag[1])
			}
		}
	}
	for k, ids := range doomed {
		touched, err := w.drop(k, func(v *orders.Version) bool { return ids[v.Order.EventID] && v.Order.Pubkey == e.Event.PubKey })
		if err != nil {
			return err
		}
		if touched != nil {
			affected = append(affected, orders.Address(touched.Pubkey, touched.D))
		}
	}
	if len(affected) == 0 {
		return nil
	}
	raw, err := json.Marshal(affected)
	if err != nil {
		return err
	}
	return w.batch.set(affectedKey(e.Seq), raw)
}

func affectedKey(seq uint64) []byte { return binary.BigEndian.AppendUint64([]byte{keyAffected}, seq) }

func (w *work) deleteAddress(pubkey, d string, until nostr.Timestamp) (bool, error) {
	k := orders.KeyOf(orders.Address(pubkey, d))
	key := append([]byte{keyNoAddr}, k[:]...)
	held, err := get(w.batch.txn, key)
	if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		return false, err
	}
	if err == nil && readTime(held) >= int64(until) {
		return false, nil
	}
	if err := w.batch.set(key, timeValue(until)); err != nil {
		return false, err
	}
	touched, err := w.drop(k, func(v *orders.Version) bool { return v.Order.CreatedAt <= until })
	return touched != nil, err
}

// drop removes the versions of an order for which doomed returns true. The newest
// remaining version becomes the head. drop returns the order if any version was removed.
//
// BUG: if a deletion names only the newest version by id, the version before it becomes
// current again, as on any reader that never received the newest version.
func (w *work) drop(k orders.Key, doomed func(*orders.Version) bool) (*mostro.Order, error) {
	head, err := w.head(k)
	if err != nil || head == nil {
		return nil, err
	}
	older, err := olderVersions(w.batch.txn, k)
	if err != nil {
		return nil, err
	}
	// An event that is not an order is kept only if an order came before it.
	first := uint64(math.MaxUint64)
	for _, v := range append(slices.Clone(older), &head.Version) {
		if !v.Withdrawn && !doomed(v) {
			first = min(first, v.Seq)
		}
	}
	named := doomed
	doomed = func(v *orders.Version) bool { return named(v) || v.Withdrawn && v.Seq < first }
	var next *orders.Record
	dropped := false
	lose := func(v *orders.Version) error {
		dropped = true
		return w.batch.delete(idKey(keyByID, v.Order.EventID)[:13])
	}
	for _, v := range older { // oldest first
		if doomed(v) {
			if err := errors.Join(lose(v), w.batch.delete(olderKey(k, &v.Order))); err != nil {
				return nil, err
			}
			continue
		}
		next = withVersion(next, v)
	}
	if doomed(&head.Version) {
		if err := lose(&head.Version); err != nil {
			return nil, err
		}
		if next != nil {
			if err := w.batch.delete(olderKey(k, &next.Order)); err != nil {
				return nil, err
			}
		}
	} else {
		next = withVersion(next, &head.Version)
	}
	if !dropped {
		return nil, nil
	}
	return &head.Order, w.setHead(k, head, next)
}

// withVersion returns the record with a newer version added.
func withVersion(r *orders.Record, v *orders.Version) *orders.Record {
	out := &orders.Record{Version: *v, FirstSeenAt: v.ReceivedAt, Versions: 1}
	if r != nil {
		out.Versions = r.Versions + 1
		if r.FirstSeenAt.Before(out.FirstSeenAt) {
			out.FirstSeenAt = r.FirstSeenAt
		}
	}
	return out
}
