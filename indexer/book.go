package indexer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// book keeps every version of every order, and what instances say of
// themselves, in Badger; the live orders stand on the shelf in memory as well.
//
// One goroutine applies entries; any number read. The store is disposable: it
// is not synced, and its cursor is committed with its data, so that what a
// crash takes away is read from the log again.
type book struct {
	dir string
	now func() time.Time

	life sync.RWMutex // held for reading by whoever uses db; for writing to replace it
	db   *badger.DB

	shelf   atomic.Pointer[shelf] // replaced with db
	authors atomic.Pointer[authors]

	cursor  atomic.Uint64
	moved   signal                 // the cursor moved
	mark    atomic.Pointer[string] // names this growth of the book: search rests on it
	expired goneQueue
}

// openBook opens or makes dir/book.
func openBook(dir string, now func() time.Time) (*book, error) {
	b := &book{dir: filepath.Join(dir, "book"), now: now}
	b.moved.init()
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

var errOtherFormat = errors.New("book of another format")

func (b *book) open() error {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return err
	}
	db, err := badger.Open(badger.DefaultOptions(b.dir).
		WithLogger(nil).WithSyncWrites(false).WithDetectConflicts(false).
		WithCompression(options.None).WithBlockCacheSize(0).
		WithMemTableSize(16 << 20).WithNumMemtables(3).WithValueLogFileSize(64 << 20).
		WithNumCompactors(2).WithMetricsEnabled(false))
	if err != nil {
		return fmt.Errorf("open book: %w", err)
	}
	b.db = db
	if err := b.load(); err != nil {
		db.Close()
		return fmt.Errorf("load book: %w", err)
	}
	return nil
}

func (b *book) close() error {
	b.life.Lock()
	defer b.life.Unlock()
	if b.db == nil {
		return nil
	}
	err := b.db.Close()
	b.db = nil
	return err
}

// name gives the mark of this growth of the book.
func (b *book) name() string { return *b.mark.Load() }

// reset deletes the book and begins a new one.
func (b *book) reset() error {
	b.life.Lock()
	defer b.life.Unlock()
	if b.db != nil {
		b.db.Close() // its state is thrown away
		b.db = nil
	}
	if err := os.RemoveAll(b.dir); err != nil {
		return err
	}
	return b.open()
}

// view runs fn in a read transaction.
func (b *book) view(fn func(*badger.Txn) error) error {
	b.life.RLock()
	defer b.life.RUnlock()
	if b.db == nil {
		return errClosed
	}
	return b.db.View(fn)
}

var errClosed = errors.New("the index is closed")

// load reads the whole book into memory: a pass over the newest versions.
func (b *book) load() error {
	shelf, authors := newShelf(), newAuthors()
	var gone []expiry
	var cursorAt uint64
	var mark string
	now := b.now()
	err := b.db.View(func(txn *badger.Txn) error {
		format, err := get(txn, metaKey("format"))
		switch {
		case errors.Is(err, badger.ErrKeyNotFound):
			return nil // new
		case err != nil:
			return err
		case len(format) != 1 || format[0] != recordFormat:
			return errOtherFormat
		}
		cursor, err := get(txn, metaKey("cursor"))
		if err != nil {
			return err
		}
		name, err := get(txn, metaKey("mark"))
		if err != nil {
			return err
		}
		cursorAt, mark = binary.BigEndian.Uint64(cursor), string(name)
		if err := authors.load(txn); err != nil {
			return err
		}
		var failed error
		shelf.load(func(add func(item)) {
			failed = eachHead(txn, func(k Key, packed []byte) error {
				r, err := unpackRecord(packed)
				if err != nil {
					return err
				}
				authors.count(&r.Version, r.FirstSeenAt, 1)
				if r.liveAt(now) {
					add(item{k, &r.Version})
				} else if !r.Withdrawn {
					gone = append(gone, expiry{k, r.deadline()})
				}
				return nil
			})
		}, now)
		return failed
	})
	if err != nil {
		return err
	}
	b.cursor.Store(cursorAt)
	b.mark.Store(&mark)
	if mark == "" {
		if err := b.begin(); err != nil {
			return err
		}
	}
	b.shelf.Store(shelf)
	b.authors.Store(authors)
	b.expired.reset(gone)
	return nil
}

// begin writes the first keys of a new book.
func (b *book) begin() error {
	mark := nostr.GeneratePrivateKey()[:16]
	b.mark.Store(&mark)
	return b.db.Update(func(txn *badger.Txn) error {
		for _, kv := range []struct {
			name  string
			value []byte
		}{{"format", []byte{recordFormat}}, {"mark", []byte(mark)}, {"cursor", make([]byte, 8)}} {
			if err := txn.Set(metaKey(kv.name), kv.value); err != nil {
				return err
			}
		}
		return nil
	})
}

func get(txn *badger.Txn, key []byte) ([]byte, error) {
	it, err := txn.Get(key)
	if err != nil {
		return nil, err
	}
	return it.ValueCopy(nil)
}

func has(txn *badger.Txn, key []byte) (bool, error) {
	_, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}

// eachHead calls fn with every order's packed record, which it must not keep.
func eachHead(txn *badger.Txn, fn func(Key, []byte) error) error {
	opt := badger.DefaultIteratorOptions
	opt.Prefix = []byte{keyHead}
	it := txn.NewIterator(opt)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		k := Key(it.Item().Key()[1:])
		if err := it.Item().Value(func(v []byte) error { return fn(k, v) }); err != nil {
			return err
		}
	}
	return nil
}

// work is one batch of entries on its way into the book.
type work struct {
	b       *book
	txn     *badger.Txn
	changed map[Key]*Record // nil: deleted
	counts  []countChange
	authors map[string]*authorRecord // changed; nil: nothing left
	dispute []disputeChange
}

type countChange struct {
	v     *Version
	first time.Time
	by    int
}

// apply commits entries and the cursor together, then shows them. Entries
// come in the order of the log; upTo is the last position they cover, which
// may be past the last of them.
func (b *book) apply(entries []mostro.Entry, upTo uint64) error {
	b.life.RLock()
	defer b.life.RUnlock()
	if b.db == nil {
		return errClosed
	}
	w := &work{b: b, txn: b.db.NewTransaction(true), changed: map[Key]*Record{}, authors: map[string]*authorRecord{}}
	defer func() { w.txn.Discard() }()
	for i := range entries {
		if err := w.entry(&entries[i]); err != nil {
			return fmt.Errorf("entry %d: %w", entries[i].Seq, err)
		}
	}
	for pubkey, record := range w.authors {
		if *record == (authorRecord{}) {
			if err := w.delete(idKey(keyAuthor, pubkey)); err != nil {
				return err
			}
			continue
		}
		raw, err := json.Marshal(record)
		if err != nil {
			return err
		}
		if err := w.set(idKey(keyAuthor, pubkey), raw); err != nil {
			return err
		}
	}
	if err := w.set(metaKey("cursor"), binary.BigEndian.AppendUint64(nil, upTo)); err != nil {
		return err
	}
	if err := w.txn.Commit(); err != nil {
		return err
	}
	w.show()
	b.cursor.Store(upTo)
	b.moved.raise()
	return nil
}

// show brings what was committed into memory.
func (w *work) show() {
	b := w.b
	items, taken := make([]item, 0, len(w.changed)), []Key(nil)
	for k, r := range w.changed {
		if r == nil {
			taken = append(taken, k)
			continue
		}
		items = append(items, item{k, &r.Version})
	}
	b.shelf.Load().update(items, taken, b.now())
	b.authors.Load().change(w.authors, w.counts, w.dispute)
}

// set writes one key. A batch that outgrows a transaction is committed in
// parts, the cursor with the last: what is applied twice after a crash between
// them comes out the same.
func (w *work) set(key, value []byte) error {
	err := w.txn.Set(key, value)
	if errors.Is(err, badger.ErrTxnTooBig) {
		if err = w.part(); err == nil {
			err = w.txn.Set(key, value)
		}
	}
	return err
}

func (w *work) delete(key []byte) error {
	err := w.txn.Delete(key)
	if errors.Is(err, badger.ErrTxnTooBig) {
		if err = w.part(); err == nil {
			err = w.txn.Delete(key)
		}
	}
	return err
}

func (w *work) part() error {
	if err := w.txn.Commit(); err != nil {
		return err
	}
	w.txn = w.b.db.NewTransaction(true)
	return nil
}

func (w *work) entry(e *mostro.Entry) error {
	switch mostro.Classify(e.Event) {
	case mostro.ClassMail:
		return nil
	case mostro.ClassOrder:
		order, err := mostro.ParseOrder(e.Event)
		if err != nil {
			return w.withdraw(e)
		}
		return w.version(&Version{Seq: e.Seq, ReceivedAt: e.ReceivedAt, Source: e.Source, Archived: e.Archived, Order: order})
	case mostro.ClassDeletion:
		return w.deletion(e)
	case mostro.ClassInfo:
		if info, err := mostro.ParseInfo(e.Event); err == nil {
			return w.author(e, func(a *authorRecord) { a.setInfo(info, e) })
		}
	case mostro.ClassProfile:
		if profile, err := mostro.ParseProfile(e.Event); err == nil {
			return w.author(e, func(a *authorRecord) { a.setProfile(profile, e) })
		}
	case mostro.ClassRelayList:
		if relays, err := mostro.ParseRelayList(e.Event); err == nil {
			return w.author(e, func(a *authorRecord) { a.setRelays(relays, e) })
		}
	case mostro.ClassDispute:
		if dispute, err := mostro.ParseDispute(e.Event); err == nil {
			return w.disputed(e, dispute)
		}
	case mostro.ClassForeign:
		if e.Event.Kind == mostro.KindOrder {
			return w.withdraw(e)
		}
	}
	// What its class's parser refuses, and the classes that say nothing of
	// orders or instances, leave no trace here; the log keeps them.
	return nil
}

// withdraw notes an event at an order's address that is no order. Where the
// address never held an order there is nothing to note.
func (w *work) withdraw(e *mostro.Entry) error {
	d := e.Event.Tags.GetD()
	if _, err := w.txn.Get(headKey(keyOf(addressOf(e.Event.PubKey, d)))); errors.Is(err, badger.ErrKeyNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	return w.version(&Version{Seq: e.Seq, ReceivedAt: e.ReceivedAt, Source: e.Source, Archived: e.Archived, Withdrawn: true,
		Order: mostro.Order{EventID: e.Event.ID, Pubkey: e.Event.PubKey, D: d, CreatedAt: e.Event.CreatedAt}})
}

// version adds one version of an order.
func (w *work) version(v *Version) error {
	o := &v.Order
	k := keyOf(addressOf(o.Pubkey, o.D))
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
	next := &Record{Version: *v, FirstSeenAt: v.ReceivedAt, Versions: 1}
	older := v
	if head != nil {
		next.Versions = head.Versions + 1
		if head.FirstSeenAt.Before(next.FirstSeenAt) {
			next.FirstSeenAt = head.FirstSeenAt
		}
		if newer(v, &head.Version) {
			older = &head.Version
		} else {
			next.Version = head.Version
		}
		if known, err := has(w.txn, olderKey(k, &older.Order)); err != nil || known {
			return err
		}
		if err := w.set(olderKey(k, &older.Order), older.pack(nil)); err != nil {
			return err
		}
	}
	if err := w.set(idKey(keyByID, o.EventID)[:13], k[:]); err != nil {
		return err
	}
	return w.setHead(k, head, next)
}

func (w *work) isDeleted(k Key, o *mostro.Order) (bool, error) {
	if gone, err := has(w.txn, idKey(keyNoID, o.EventID, o.Pubkey)); err != nil || gone {
		return gone, err
	}
	until, err := get(w.txn, append([]byte{keyNoAddr}, k[:]...))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil && int64(o.CreatedAt) <= readTime(until), err
}

func (w *work) head(k Key) (*Record, error) {
	packed, err := get(w.txn, headKey(k))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return unpackRecord(packed)
}

// setHead replaces an order's record; next nil deletes it.
func (w *work) setHead(k Key, was, next *Record) error {
	if was != nil {
		w.counts = append(w.counts, countChange{&was.Version, was.FirstSeenAt, -1})
	}
	w.changed[k] = next
	if next == nil {
		return w.delete(headKey(k))
	}
	w.counts = append(w.counts, countChange{&next.Version, next.FirstSeenAt, 1})
	return w.set(headKey(k), next.pack(nil))
}

// deletion applies NIP-09: what the author names of its own is gone for good.
func (w *work) deletion(e *mostro.Entry) error {
	var affected []string
	for _, tag := range e.Event.Tags {
		if len(tag) < 2 {
			continue
		}
		switch tag[0] {
		case "e":
			if !nostr.IsValid32ByteHex(tag[1]) {
				continue
			}
			if err := w.set(idKey(keyNoID, tag[1], e.Event.PubKey), nil); err != nil {
				return err
			}
			address, err := w.deleteID(tag[1], e.Event.PubKey)
			if err != nil {
				return err
			}
			if address != "" {
				affected = append(affected, address)
			}
		case "a":
			pubkey, d, err := splitAddress(tag[1])
			if err != nil {
				if err := w.deleteAuthorAddress(tag[1], e.Event); err != nil {
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
	if len(affected) == 0 {
		return nil
	}
	raw, err := json.Marshal(affected)
	if err != nil {
		return err
	}
	return w.set(affectedKey(e.Seq), raw)
}

func affectedKey(seq uint64) []byte { return binary.BigEndian.AppendUint64([]byte{keyAffected}, seq) }

// deleteID removes the event with an id, when it is the author's; it says
// which order lost a version.
func (w *work) deleteID(id, author string) (address string, err error) {
	raw, err := get(w.txn, idKey(keyByID, id)[:13])
	if errors.Is(err, badger.ErrKeyNotFound) {
		return "", w.deleteAuthorEvent(id, author)
	}
	if err != nil {
		return "", err
	}
	k := Key(raw)
	touched, err := w.drop(k, func(v *Version) bool { return v.Order.EventID == id && v.Order.Pubkey == author })
	if err != nil || touched == nil {
		return "", err
	}
	return addressOf(touched.Pubkey, touched.D), nil
}

func (w *work) deleteAddress(pubkey, d string, until nostr.Timestamp) (bool, error) {
	k := keyOf(addressOf(pubkey, d))
	key := append([]byte{keyNoAddr}, k[:]...)
	held, err := get(w.txn, key)
	if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		return false, err
	}
	if err == nil && readTime(held) >= int64(until) {
		return false, nil
	}
	if err := w.set(key, timeValue(until)); err != nil {
		return false, err
	}
	touched, err := w.drop(k, func(v *Version) bool { return v.Order.CreatedAt <= until })
	return touched != nil, err
}

// drop removes the versions of an order that doomed names, and makes the
// newest of the others its head. It returns the order if any was removed.
//
// BUG: when a deletion names only the newest version by id, the one before it
// becomes current again, as it would on any reader that had missed the newest.
func (w *work) drop(k Key, doomed func(*Version) bool) (*mostro.Order, error) {
	head, err := w.head(k)
	if err != nil || head == nil {
		return nil, err
	}
	older, err := olderVersions(w.txn, k)
	if err != nil {
		return nil, err
	}
	// An event that is no order is noted only where an order came before it.
	first := uint64(math.MaxUint64)
	for _, v := range append(slices.Clone(older), &head.Version) {
		if !v.Withdrawn && !doomed(v) {
			first = min(first, v.Seq)
		}
	}
	named := doomed
	doomed = func(v *Version) bool { return named(v) || v.Withdrawn && v.Seq < first }
	var next *Record
	dropped := false
	lose := func(v *Version) error {
		dropped = true
		return w.delete(idKey(keyByID, v.Order.EventID)[:13])
	}
	for _, v := range older { // oldest first
		if doomed(v) {
			if err := errors.Join(lose(v), w.delete(olderKey(k, &v.Order))); err != nil {
				return nil, err
			}
			continue
		}
		next = next.with(v)
	}
	if doomed(&head.Version) {
		if err := lose(&head.Version); err != nil {
			return nil, err
		}
		if next != nil {
			if err := w.delete(olderKey(k, &next.Order)); err != nil {
				return nil, err
			}
		}
	} else {
		next = next.with(&head.Version)
	}
	if !dropped {
		return nil, nil
	}
	return &head.Order, w.setHead(k, head, next)
}

// with adds a newer version to what came before it.
func (r *Record) with(v *Version) *Record {
	out := &Record{Version: *v, FirstSeenAt: v.ReceivedAt, Versions: 1}
	if r != nil {
		out.Versions = r.Versions + 1
		if r.FirstSeenAt.Before(out.FirstSeenAt) {
			out.FirstSeenAt = r.FirstSeenAt
		}
	}
	return out
}

func olderVersions(txn *badger.Txn, k Key) ([]*Version, error) {
	opt := badger.DefaultIteratorOptions
	opt.Prefix = append([]byte{keyOlder}, k[:]...)
	it := txn.NewIterator(opt)
	defer it.Close()
	var out []*Version
	for it.Rewind(); it.Valid(); it.Next() {
		if err := it.Item().Value(func(raw []byte) error {
			v, err := unpackVersion(raw)
			out = append(out, v)
			return err
		}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// record gives an order as of now; mostro.ErrNotFound when there is none.
func (b *book) record(k Key) (*Record, error) {
	records, err := b.records([]Key{k})
	if err == nil && records[0] == nil {
		err = mostro.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return records[0], nil
}

// records gives many, nil for those that are not there or were withdrawn.
func (b *book) records(keys []Key) ([]*Record, error) {
	out := make([]*Record, len(keys))
	err := b.view(func(txn *badger.Txn) error {
		for i, k := range keys {
			it, err := txn.Get(headKey(k))
			if errors.Is(err, badger.ErrKeyNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if err := it.Value(func(raw []byte) error {
				r, err := unpackRecord(raw)
				if err == nil && !r.Withdrawn {
					out[i] = r
				}
				return err
			}); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// history gives all versions of an order, oldest first.
func (b *book) history(k Key) ([]*Version, error) {
	var out []*Version
	err := b.view(func(txn *badger.Txn) error {
		raw, err := get(txn, headKey(k))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return mostro.ErrNotFound
		}
		if err != nil {
			return err
		}
		head, err := unpackRecord(raw)
		if err != nil {
			return err
		}
		if out, err = olderVersions(txn, k); err == nil {
			out = append(out, &head.Version)
		}
		return err
	})
	return out, err
}

// affected gives the addresses that the deletion at seq changed.
func (b *book) affected(seq uint64) (addresses []string, err error) {
	err = b.view(func(txn *badger.Txn) error {
		raw, err := get(txn, affectedKey(seq))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return json.Unmarshal(raw, &addresses)
	})
	return addresses, err
}

// digest is a hash over all that the book says: equal for equal logs,
// whatever restarts lay between.
func (b *book) digest() (string, error) {
	sum := sha256.New()
	err := b.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.DefaultIteratorOptions)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			key := it.Item().Key()
			// What depends on when the book grew: its name, and notes for search
			// about events that a later growth never sees.
			if slices.Equal(key, metaKey("mark")) || key[0] == keyAffected {
				continue
			}
			if err := it.Item().Value(func(v []byte) error {
				fmt.Fprintf(sum, "%d %x %d ", len(key), key, len(v))
				_, err := sum.Write(v)
				return err
			}); err != nil {
				return err
			}
		}
		return nil
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}

// dispute identity inside the book.
func disputeKey(pubkey, d string) []byte {
	k := keyOf(strings.Join([]string{"38386", pubkey, d}, ":"))
	return append([]byte{keyDispute}, k[:]...)
}

// check proves that the shelf and the authors' sums are what a new load would
// make of the book.
func (b *book) check() error {
	now := b.now()
	held, authors := b.shelf.Load(), b.authors.Load()
	held.expire(now)
	fresh, sums := newShelf(), newAuthors()
	err := b.view(func(txn *badger.Txn) error {
		if err := sums.load(txn); err != nil {
			return err
		}
		return eachHead(txn, func(k Key, packed []byte) error {
			r, err := unpackRecord(packed)
			if err != nil {
				return err
			}
			sums.count(&r.Version, r.FirstSeenAt, 1)
			fresh.update([]item{{k, &r.Version}}, nil, now)
			return nil
		})
	})
	if err != nil {
		return err
	}
	if err := held.same(fresh); err != nil {
		return fmt.Errorf("shelf: %w", err)
	}
	return authors.same(sums)
}
