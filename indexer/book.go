package indexer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/mostrodex/mostrodex/indexer/livebook"
	"github.com/mostrodex/mostrodex/indexer/names"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// book stores every version of every order, and the records of authors, in Badger. The
// live orders are held in the column store in memory as well.
//
// One goroutine applies entries; any number of goroutines read. The store is disposable.
// Badger does not sync the store, and the cursor is committed together with the data. If
// a crash loses the last batches, the cursor is lost with them, and the book reads the
// entries from the log again.
type book struct {
	dir string
	now func() time.Time

	life sync.RWMutex // read-locked while db is used; write-locked while db is replaced
	db   *badger.DB

	live    atomic.Pointer[livebook.Store] // replaced with db
	recent  recent
	authors atomic.Pointer[authors]

	cursor  atomic.Uint64
	moved   signal                 // raised when the cursor moves
	mark    atomic.Pointer[string] // random name of this build of the book; search belongs to the book with the same mark
	expired goneQueue

	judgedAt atomic.Int64 // time at which the classes of all orders were updated last, unix nanoseconds

	deletions bool // the book holds a deletion; owned by the writer
}

// openBook opens dir/book, or creates it.
func openBook(dir string, now func() time.Time) (*book, error) {
	b := &book{dir: filepath.Join(dir, "book"), now: now}
	b.moved.init()
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

var errOtherFormat = errors.New("book of another format")

// Options of Badger for the book. Keys are hashes, so each file of level 0 is merged with
// all of the next level. If both levels are larger, each version is written fewer times.
// Level 0 itself is kept short: merging many files at once halves the time in which a
// book is built, but then blocks the disk for a minute now and then.
const (
	memtableBytes  = 32 << 20
	baseLevelBytes = 64 << 20
)

func (b *book) open() error {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return err
	}
	db, err := badger.Open(badger.DefaultOptions(b.dir).
		WithLogger(nil).WithSyncWrites(false).WithDetectConflicts(false).
		WithCompression(options.None).WithBlockCacheSize(0).
		WithMemTableSize(memtableBytes).WithNumMemtables(2).WithBaseLevelSize(baseLevelBytes).WithValueLogFileSize(64 << 20).
		WithNumCompactors(2).WithMetricsEnabled(false))
	if err != nil {
		return fmt.Errorf("open book: %w", err)
	}
	b.db = db
	err = b.load()
	if err == nil {
		b.deletions, err = anyDeletion(db)
	}
	if err != nil {
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

// name returns the mark of this build of the book.
func (b *book) name() string { return *b.mark.Load() }

// reset deletes the book and creates an empty one.
func (b *book) reset() error {
	b.life.Lock()
	defer b.life.Unlock()
	if b.db != nil {
		b.db.Close() // the store is deleted next
		b.db = nil
	}
	b.recent.clear()
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
		return ErrClosed
	}
	return b.db.View(fn)
}

// ErrClosed is returned if a store of the index is closed or being rebuilt.
var ErrClosed = errors.New("the index is closed")

// load reads the newest version of every order, and puts the live orders and the sums of
// all authors into memory.
func (b *book) load() error {
	live, authors := livebook.New(), newAuthors()
	var gone []expiry
	var cursorAt uint64
	var mark string
	now := b.now()
	err := b.db.View(func(txn *badger.Txn) error {
		format, err := get(txn, metaKey("format"))
		switch {
		case errors.Is(err, badger.ErrKeyNotFound):
			return nil // a new book
		case err != nil:
			return err
		case len(format) != 1 || format[0] != orders.RecordFormat:
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
		if err := authors.load(txn, now); err != nil {
			return err
		}
		live.Judge(authors.judgements(nil, now))
		var failed error
		live.Load(func(add func(livebook.Item)) {
			failed = eachRecord(b.db, func(k orders.Key, r *orders.Record) {
				authors.count(&r.Version, r.FirstSeenAt, 1)
				if r.LiveAt(now) {
					add(livebook.Item{Key: k, Record: r})
				} else if !r.Withdrawn {
					gone = append(gone, expiry{k, r.Deadline()})
				}
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
	live.Judge(authors.judgements(nil, now))
	b.live.Store(live)
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
		}{{"format", []byte{orders.RecordFormat}}, {"mark", []byte(mark)}, {"cursor", make([]byte, 8)}} {
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

// work is one batch of entries while it is applied to the book.
type work struct {
	b       *book
	txn     *badger.Txn
	changed map[orders.Key]*orders.Record // new records by order; nil: deleted
	counts  []countChange
	authors map[string]*authorRecord // changed records; nil: no event left
	dispute []disputeChange
	names   map[string][]*names.Use // changed names by public key
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
	w := &work{b: b, txn: b.db.NewTransaction(true), changed: map[orders.Key]*orders.Record{}, authors: map[string]*authorRecord{}, names: map[string][]*names.Use{}}
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
	if err := w.keepNames(); err != nil {
		return err
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
	b.authors.Load().change(w.authors, w.counts, w.dispute)
	b.judge(w.concerned(b.authors.Load().rename(w.names, b.now())))
}

// concerned returns the keys whose orders may have another class after this batch.
func (w *work) concerned(renamed []string) []string {
	keys := append(make([]string, 0, len(renamed)+len(w.authors)), renamed...)
	for pubkey := range w.authors {
		keys = append(keys, pubkey)
	}
	for _, c := range w.counts {
		keys = append(keys, c.v.Order.Pubkey)
	}
	return keys
}

// set writes one key. If a batch outgrows a Badger transaction, it is committed in parts,
// and the cursor is committed with the last part. If a crash occurs between the parts,
// the batch is applied again; applying an entry twice has the same result as applying it
// once.
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
		order, err := e.Order()
		if err != nil {
			return w.withdraw(e)
		}
		boundOrder(&order)
		if err := w.goesBy(e, order.InstanceName); err != nil {
			return err
		}
		return w.version(&orders.Version{Seq: e.Seq, ReceivedAt: e.ReceivedAt, Source: e.Source, Archived: e.Archived, Order: order})
	case mostro.ClassDeletion:
		return w.deletion(e)
	case mostro.ClassInfo:
		if info, err := mostro.ParseInfo(e.Event); err == nil {
			return errors.Join(w.author(e, func(a *authorRecord) { a.setInfo(info, e) }), w.goesBy(e, info.Name))
		}
	case mostro.ClassProfile:
		if profile, err := mostro.ParseProfile(e.Event); err == nil {
			return errors.Join(w.author(e, func(a *authorRecord) { a.setProfile(profile, e) }), w.goesBy(e, profile.DisplayName, profile.Name))
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
	// Events that their parser refuses, and kinds that concern neither orders nor
	// instances, are not stored in the book. The log keeps them.
	return nil
}

// withdraw applies an event at an order's address that is not an order. If the address
// never held an order, withdraw does nothing.
func (w *work) withdraw(e *mostro.Entry) error {
	d := e.Event.Tags.GetD()
	if _, err := w.txn.Get(headKey(orders.KeyOf(orders.Address(e.Event.PubKey, d)))); errors.Is(err, badger.ErrKeyNotFound) {
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
		if known, err := has(w.txn, olderKey(k, &older.Order)); err != nil || known {
			return err
		}
		if err := w.set(olderKey(k, &older.Order), older.Pack(nil)); err != nil {
			return err
		}
	}
	if err := w.set(idKey(keyByID, o.EventID)[:13], k[:]); err != nil {
		return err
	}
	return w.setHead(k, head, next)
}

func (w *work) head(k orders.Key) (*orders.Record, error) {
	packed, err := get(w.txn, headKey(k))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return orders.UnpackRecord(packed)
}

// setHead replaces the record of an order. If next is nil, setHead deletes the record.
func (w *work) setHead(k orders.Key, was, next *orders.Record) error {
	if was != nil {
		w.counts = append(w.counts, countChange{&was.Version, was.FirstSeenAt, -1})
	}
	w.changed[k] = next
	if next == nil {
		return w.delete(headKey(k))
	}
	w.counts = append(w.counts, countChange{&next.Version, next.FirstSeenAt, 1})
	return w.set(headKey(k), next.Pack(nil))
}

// disputeKey returns the key of a dispute in the book.
func disputeKey(pubkey, d string) []byte {
	k := orders.KeyOf(strings.Join([]string{"38386", pubkey, d}, ":"))
	return append([]byte{keyDispute}, k[:]...)
}
