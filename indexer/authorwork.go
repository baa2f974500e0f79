package indexer

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/indexer/names"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// authorWork is the part of a work that concerns the events of authors other than orders,
// and their names. The writer of the book owns an authorWork.
type authorWork struct {
	batch    *batch
	held     *authors                 // the authors before the work
	records  map[string]*authorRecord // changed records; an empty record is deleted
	disputes []disputeChange
	names    map[string][]*names.Use // changed names by public key
}

// apply applies an info, profile, relay list or health to the record of its author. If the
// author deleted the event earlier, apply does nothing.
func (w *authorWork) apply(e *mostro.Entry, set func(*authorRecord)) error {
	if gone, err := has(w.batch.txn, idKey(keyNoID, e.Event.ID, e.Event.PubKey)); err != nil || gone {
		return err
	}
	until, err := get(w.batch.txn, authorTombstone(e.Event.PubKey, e.Event.Kind))
	if err == nil && int64(e.Event.CreatedAt) <= readTime(until) {
		return nil
	}
	if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		return err
	}
	record, err := w.record(e.Event.PubKey)
	if err != nil {
		return err
	}
	set(record)
	return nil
}

// record returns the record that the batch changes. The record is read from the
// store on first use in a batch.
func (w *authorWork) record(pubkey string) (*authorRecord, error) {
	if r := w.records[pubkey]; r != nil {
		return r, nil
	}
	r := &authorRecord{}
	raw, err := get(w.batch.txn, idKey(keyAuthor, pubkey))
	if err == nil {
		err = json.Unmarshal(raw, r)
	} else if errors.Is(err, badger.ErrKeyNotFound) {
		err = nil
	}
	w.records[pubkey] = r
	return r, err
}

// deleteEvent removes an info, profile, relay list or health by id.
//
// BUG: a dispute that is deleted only by id stays. Mostros delete no disputes.
func (w *authorWork) deleteEvent(id, pubkey string) error {
	record, err := w.record(pubkey)
	if err != nil {
		return err
	}
	record.forget(func(held string, _ int, _ nostr.Timestamp) bool { return held == id })
	return nil
}

// deleteAddress removes an info, profile, relay list, health or dispute by address, if the
// author of the deletion is the author of the address.
func (w *authorWork) deleteAddress(address string, evt *nostr.Event) error {
	parts := strings.SplitN(address, ":", 3)
	if len(parts) != 3 || parts[1] != evt.PubKey {
		return nil
	}
	switch parts[0] {
	case "38386":
		key := disputeKey(parts[1], parts[2])
		held, err := w.heldDispute(key)
		if err != nil || held == nil || held.CreatedAt > evt.CreatedAt {
			return err
		}
		w.disputes = append(w.disputes, disputeChange{*held, -1})
		return w.batch.delete(key)
	case "38385", "0", "10002", "38389":
		kind := map[string]int{"38385": mostro.KindInfo, "0": mostro.KindProfile, "10002": mostro.KindRelayList, "38389": mostro.KindHealth}[parts[0]]
		key := authorTombstone(evt.PubKey, kind)
		if held, err := get(w.batch.txn, key); err == nil && readTime(held) >= int64(evt.CreatedAt) {
			return nil
		}
		record, err := w.record(evt.PubKey)
		if err != nil {
			return err
		}
		record.forget(func(_ string, k int, created nostr.Timestamp) bool { return k == kind && created <= evt.CreatedAt })
		return w.batch.set(key, timeValue(evt.CreatedAt))
	}
	return nil
}

// authorTombstone returns the key of the created_at up to which an author deleted its
// events of a kind.
func authorTombstone(pubkey string, kind int) []byte {
	k := orders.KeyOf(strings.Join([]string{"author", strconv.Itoa(kind), pubkey}, ":"))
	return append([]byte{keyNoAddr}, k[:]...)
}

func (w *authorWork) heldDispute(key []byte) (*disputeRecord, error) {
	raw, err := get(w.batch.txn, key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &disputeRecord{}
	return r, json.Unmarshal(raw, r)
}

// dispute applies the newest state of a dispute.
func (w *authorWork) dispute(e *mostro.Entry, d mostro.Dispute) error {
	if gone, err := has(w.batch.txn, idKey(keyNoID, e.Event.ID, e.Event.PubKey)); err != nil || gone {
		return err
	}
	key := disputeKey(d.Pubkey, d.D)
	held, err := w.heldDispute(key)
	if err != nil {
		return err
	}
	if held != nil {
		if !supersedes(d.CreatedAt, d.EventID, held.CreatedAt, held.EventID) {
			return nil
		}
		w.disputes = append(w.disputes, disputeChange{*held, -1})
	}
	next := disputeRecord{d.Pubkey, d.D, d.EventID, d.CreatedAt, d.State, e.ReceivedAt}
	w.disputes = append(w.disputes, disputeChange{next, 1})
	raw, err := json.Marshal(next)
	if err != nil {
		return err
	}
	return w.batch.set(key, raw)
}

// goesBy records the names that the author of an entry uses in the entry.
func (w *authorWork) goesBy(e *mostro.Entry, stated ...string) error {
	pubkey := e.Event.PubKey
	for _, name := range stated {
		uses, owned := w.names[pubkey]
		if !owned {
			uses = w.held.usesOf(pubkey)
		}
		use := names.Use{Name: name, First: e.ReceivedAt, Last: e.ReceivedAt, Seq: e.Seq, Witnessed: e.Source.Origin.Witnessed() && !e.Archived}
		if uses, changed := names.With(uses, owned, use); changed {
			w.names[pubkey] = uses
		}
	}
	return nil
}

// write writes the changed records and names to the batch.
func (w *authorWork) write() error {
	for pubkey, record := range w.records {
		if *record == (authorRecord{}) {
			if err := w.batch.delete(idKey(keyAuthor, pubkey)); err != nil {
				return err
			}
			continue
		}
		raw, err := json.Marshal(record)
		if err != nil {
			return err
		}
		if err := w.batch.set(idKey(keyAuthor, pubkey), raw); err != nil {
			return err
		}
	}
	for pubkey, uses := range w.names {
		raw, err := json.Marshal(uses)
		if err != nil {
			return err
		}
		if err := w.batch.set(idKey(keyNames, pubkey), raw); err != nil {
			return err
		}
	}
	return nil
}

// disputeKey returns the key of a dispute in the book.
func disputeKey(pubkey, d string) []byte {
	k := orders.KeyOf(strings.Join([]string{"38386", pubkey, d}, ":"))
	return append([]byte{keyDispute}, k[:]...)
}
