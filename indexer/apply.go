package indexer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/indexer/livebook"
	"github.com/mostrodex/mostrodex/indexer/names"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
)

// work is one batch of entries while it is applied to the book.
type work struct {
	b       *book
	batch   *batch
	authors *authorWork
	changed map[orders.Key]*orders.Record // new records by order; nil: deleted
	counts  []countChange
}

type countChange struct {
	v     *orders.Version
	first time.Time
	by    int
}

// apply commits entries and the cursor together, and then makes them visible in memory.
// Entries are in log order. upTo is the last position that the batch covers; upTo may be
// greater than the position of the last entry.
func (b *book) apply(entries []mostro.Entry, upTo uint64) error {
	b.life.RLock()
	defer b.life.RUnlock()
	if b.db == nil {
		return ErrClosed
	}
	batch := &batch{db: b.db, txn: b.db.NewTransaction(true)}
	defer batch.discard()
	w := &work{b: b, batch: batch, changed: map[orders.Key]*orders.Record{},
		authors: &authorWork{batch: batch, held: b.authors.Load(), records: map[string]*authorRecord{}, names: map[string][]*names.Use{}}}
	for i := range entries {
		if err := w.entry(&entries[i]); err != nil {
			return fmt.Errorf("entry %d: %w", entries[i].Seq, err)
		}
	}
	if err := w.authors.write(); err != nil {
		return err
	}
	if err := batch.set(metaKey("cursor"), binary.BigEndian.AppendUint64(nil, upTo)); err != nil {
		return err
	}
	if err := batch.txn.Commit(); err != nil {
		return err
	}
	w.show()
	b.cursor.Store(upTo)
	b.moved.raise()
	return nil
}

// show applies committed changes to memory.
func (w *work) show() {
	b := w.b
	b.recent.drop(w.changed)
	items, taken := make([]livebook.Item, 0, len(w.changed)), []orders.Key(nil)
	for k, r := range w.changed {
		if r == nil {
			taken = append(taken, k)
			continue
		}
		items = append(items, livebook.Item{Key: k, Record: r})
	}
	b.live.Load().Update(items, taken, b.now())
	b.authors.Load().change(w.authors.records, w.counts, w.authors.disputes)
	b.judge(w.concerned(b.authors.Load().rename(w.authors.names, b.now())))
}

// concerned returns the keys whose orders may have another class after this batch.
func (w *work) concerned(renamed []string) []string {
	keys := append(make([]string, 0, len(renamed)+len(w.authors.records)), renamed...)
	for pubkey := range w.authors.records {
		keys = append(keys, pubkey)
	}
	for _, c := range w.counts {
		keys = append(keys, c.v.Order.Pubkey)
	}
	return keys
}

func (w *work) entry(e *mostro.Entry) error {
	switch mostro.Classify(e.Event) {
	case mostro.ClassMail:
		return nil
	case mostro.ClassOrder:
		order, err := e.Order()
		if err != nil {
			return w.withdraw(e)
		}
		boundOrder(&order)
		if err := w.authors.goesBy(e, order.InstanceName); err != nil {
			return err
		}
		return w.version(&orders.Version{Seq: e.Seq, ReceivedAt: e.ReceivedAt, Source: e.Source, Archived: e.Archived, Order: order})
	case mostro.ClassDeletion:
		return w.deletion(e)
	case mostro.ClassInfo:
		if info, err := mostro.ParseInfo(e.Event); err == nil {
			return errors.Join(w.authors.apply(e, func(a *authorRecord) { a.setInfo(info, e) }), w.authors.goesBy(e, info.Name))
		}
	case mostro.ClassProfile:
		if profile, err := mostro.ParseProfile(e.Event); err == nil {
			return errors.Join(w.authors.apply(e, func(a *authorRecord) { a.setProfile(profile, e) }), w.authors.goesBy(e, profile.DisplayName, profile.Name))
		}
	case mostro.ClassRelayList:
		if relays, err := mostro.ParseRelayList(e.Event); err == nil {
			return w.authors.apply(e, func(a *authorRecord) { a.setRelays(relays, e) })
		}
	case mostro.ClassHealth:
		if health, err := mostro.ParseHealth(e.Event); err == nil {
			return w.authors.apply(e, func(a *authorRecord) { a.setHealth(health) })
		}
	case mostro.ClassDispute:
		if dispute, err := mostro.ParseDispute(e.Event); err == nil {
			return w.authors.dispute(e, dispute)
		}
	case mostro.ClassForeign:
		if e.Event.Kind == mostro.KindOrder {
			return w.withdraw(e)
		}
	}
	// Events that their parser refuses, and kinds that concern neither orders nor
	// instances, are not stored in the book. The log keeps them.
	return nil
}

// withdraw applies an event at an order's address that is not an order. If the address
// never held an order, withdraw does nothing.
func (w *work) withdraw(e *mostro.Entry) error {
	d := e.Event.Tags.GetD()
	if _, err := w.batch.txn.Get(headKey(orders.KeyOf(orders.Address(e.Event.PubKey, d)))); errors.Is(err, badger.ErrKeyNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	return w.version(&orders.Version{Seq: e.Seq, ReceivedAt: e.ReceivedAt, Source: e.Source, Archived: e.Archived, Withdrawn: true,
		Order: mostro.Order{EventID: e.Event.ID, Pubkey: e.Event.PubKey, D: d, CreatedAt: e.Event.CreatedAt}})
}

// version applies one version of an order.
func (w *work) version(v *orders.Version) error {
	o := &v.Order
	k := orders.KeyOf(orders.Address(o.Pubkey, o.D))
	if gone, err := w.isDeleted(k, o); err != nil || gone {
		return err
	}
	head, err := w.head(k)
	if err != nil {
		return err
	}
	if head != nil && head.Order.EventID == o.EventID {
		return nil
	}
	next := &orders.Record{Version: *v, FirstSeenAt: v.ReceivedAt, Versions: 1}
	older := v
	if head != nil {
		next.Versions = head.Versions + 1
		if head.FirstSeenAt.Before(next.FirstSeenAt) {
			next.FirstSeenAt = head.FirstSeenAt
		}
		if orders.Newer(v, &head.Version) {
			older = &head.Version
		} else {
			next.Version = head.Version
		}
		if known, err := has(w.batch.txn, olderKey(k, &older.Order)); err != nil || known {
			return err
		}
		if err := w.batch.set(olderKey(k, &older.Order), older.Pack(nil)); err != nil {
			return err
		}
	}
	if err := w.batch.set(idKey(keyByID, o.EventID)[:13], k[:]); err != nil {
		return err
	}
	return w.setHead(k, head, next)
}

// head returns the record of an order, or nil if there is none.
func (w *work) head(k orders.Key) (*orders.Record, error) {
	head, err := headOf(w.batch.txn, k)
	if errors.Is(err, mostro.ErrNotFound) {
		return nil, nil
	}
	return head, err
}

// setHead replaces the record of an order. If next is nil, setHead deletes the record.
func (w *work) setHead(k orders.Key, was, next *orders.Record) error {
	if was != nil {
		w.counts = append(w.counts, countChange{&was.Version, was.FirstSeenAt, -1})
	}
	w.changed[k] = next
	if next == nil {
		return w.batch.delete(headKey(k))
	}
	w.counts = append(w.counts, countChange{&next.Version, next.FirstSeenAt, 1})
	return w.batch.set(headKey(k), next.Pack(nil))
}

// batch is a write transaction of the book. Its reads see its own writes.
type batch struct {
	db  *badger.DB
	txn *badger.Txn // replaced when the batch is committed in parts
}

func (b *batch) discard() { b.txn.Discard() }

// set writes one key. If a batch outgrows a Badger transaction, it is committed in parts,
// and the cursor is committed with the last part. If a crash occurs between the parts,
// the batch is applied again; applying an entry twice has the same result as applying it
// once.
func (b *batch) set(key, value []byte) error {
	err := b.txn.Set(key, value)
	if errors.Is(err, badger.ErrTxnTooBig) {
		if err = b.part(); err == nil {
			err = b.txn.Set(key, value)
		}
	}
	return err
}

func (b *batch) delete(key []byte) error {
	err := b.txn.Delete(key)
	if errors.Is(err, badger.ErrTxnTooBig) {
		if err = b.part(); err == nil {
			err = b.txn.Delete(key)
		}
	}
	return err
}

func (b *batch) part() error {
	if err := b.txn.Commit(); err != nil {
		return err
	}
	b.txn = b.db.NewTransaction(true)
	return nil
}
