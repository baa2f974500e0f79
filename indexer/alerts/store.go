package alerts

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/internal/badgerfiles"
)

// Keyspaces. The first byte of a key names its keyspace.
const (
	spaceSchema = 's' // -> one byte
	spaceHead   = 'h' // -> head
	spaceAlert  = 'a' // id of an alert -> Alert
	spaceMark   = 'm' // order, id of an alert -> unix time of the delivery, 8 bytes
	spaceRow    = 'q' // number -> row
)

const schemaVersion = 1

// ErrDamaged reports that the files of the store are not as they were written. Open changes
// nothing in this case.
var ErrDamaged = errors.New("the store of the alerts is damaged: put back a copy of DATA/alerts, or move the directory away, which forgets all alerts")

// head holds the positions up to which the log was read.
type head struct {
	Book uint64 `json:"book"` // changes of orders
	Mail uint64 `json:"mail"` // messages to the relay's key
}

// row is one effect that remains to be done.
type row struct {
	Seq   uint64 `json:"-"`
	Road  string `json:"road"` // message, push, webhook or confirm
	Owner string `json:"owner"`
	Alert string `json:"alert,omitempty"`
	Text  string `json:"text,omitempty"`  // message before it is sealed
	Event string `json:"event,omitempty"` // sealed message in JSON
	Relay string `json:"relay,omitempty"` // of a push
	Body  []byte `json:"body,omitempty"`  // of a webhook
	ID    string `json:"id,omitempty"`    // of the delivery, the same in every try
	Tries int    `json:"tries,omitempty"`
	Due   int64  `json:"due"`   // unix time
	Until int64  `json:"until"` // unix time after which the row is dropped
}

// slim returns a row without its content, for memory.
func (r *row) slim() *row {
	thin := *r
	thin.Text, thin.Event, thin.Body = "", "", nil
	return &thin
}

// Roads of rows.
const (
	roadMessage = "message" // to our own relay
	roadPush    = "push"    // the same message to another relay
	roadWebhook = "webhook"
	roadConfirm = "confirm" // the challenge of a webhook
)

// store is DATA/alerts in Badger. Every commit is synced.
type store struct{ db *badger.DB }

func openStore(data string) (*store, error) {
	dir := filepath.Join(data, "alerts")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open alerts: %w", err)
	}
	if err := checkFiles(dir); err != nil {
		return nil, err
	}
	db, err := badger.Open(badger.DefaultOptions(dir).
		WithSyncWrites(true).WithDetectConflicts(false).WithNumVersionsToKeep(1).WithLogger(nil).
		WithBlockCacheSize(4 << 20).WithIndexCacheSize(4 << 20).WithMemTableSize(16 << 20).WithNumMemtables(2).WithValueLogFileSize(64 << 20).WithMetricsEnabled(false))
	if err != nil {
		return nil, fmt.Errorf("open alerts: %w", err)
	}
	s := &store{db}
	if err := s.schema(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// checkFiles detects damage that Badger would treat as a torn write.
func checkFiles(dir string) error {
	unlock, err := badgerfiles.Lock(dir)
	if err != nil {
		return fmt.Errorf("open alerts: %s: %w", dir, err)
	}
	defer unlock()
	err = badgerfiles.CheckFiles(dir)
	if errors.Is(err, badgerfiles.ErrFile) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", err, ErrDamaged)
	}
	return err
}

func (s *store) schema() error {
	return s.db.Update(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte{spaceSchema})
		if errors.Is(err, badger.ErrKeyNotFound) {
			return txn.Set([]byte{spaceSchema}, []byte{schemaVersion})
		}
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error {
			if len(v) != 1 || v[0] != schemaVersion {
				return fmt.Errorf("the store of the alerts has schema %x, this program knows %d", v, schemaVersion)
			}
			return nil
		})
	})
}

func (s *store) close() error { return s.db.Close() }

func alertKey(id string) []byte { return append([]byte{spaceAlert}, id...) }

func rowKey(seq uint64) []byte { return binary.BigEndian.AppendUint64([]byte{spaceRow}, seq) }

func markKey(k orders.Key, id string) []byte {
	return append(append([]byte{spaceMark}, k[:]...), id...)
}

// load returns all that is kept in memory. The head of a new store is nil.
func (s *store) load(alert func(Alert) error, rows func(row) error) (h *head, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		if item, err := txn.Get([]byte{spaceHead}); err == nil {
			h = new(head)
			if err := item.Value(func(v []byte) error { return json.Unmarshal(v, h) }); err != nil {
				return err
			}
		} else if !errors.Is(err, badger.ErrKeyNotFound) {
			return err
		}
		if err := each(txn, []byte{spaceAlert}, func(_, v []byte) error {
			var a Alert
			if err := json.Unmarshal(v, &a); err != nil {
				return err
			}
			return alert(a)
		}); err != nil {
			return err
		}
		return each(txn, []byte{spaceRow}, func(key, v []byte) error {
			var r row
			if err := json.Unmarshal(v, &r); err != nil {
				return err
			}
			r.Seq = binary.BigEndian.Uint64(key[1:])
			return rows(r)
		})
	})
	return h, err
}

// each calls fn for each key with a prefix. fn must not keep its arguments.
func each(txn *badger.Txn, prefix []byte, fn func(key, value []byte) error) error {
	o := badger.DefaultIteratorOptions
	o.Prefix = prefix
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := it.Item().Value(func(v []byte) error { return fn(it.Item().Key(), v) }); err != nil {
			return err
		}
	}
	return nil
}

// row returns a row. ok is false if there is none.
func (s *store) row(seq uint64) (r row, ok bool, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(rowKey(seq))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		ok = true
		return item.Value(func(v []byte) error { return json.Unmarshal(v, &r) })
	})
	r.Seq = seq
	return r, ok, err
}

// marks returns the ids of the alerts that were told of an order.
func (s *store) marks(k orders.Key) (map[string]struct{}, error) {
	prefix := append([]byte{spaceMark}, k[:]...)
	ids := map[string]struct{}{}
	err := s.db.View(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.Prefix, o.PrefetchValues = prefix, false
		it := txn.NewIterator(o)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			ids[string(it.Item().Key()[len(prefix):])] = struct{}{}
		}
		return nil
	})
	return ids, err
}

// change is the content of one commit.
type change struct {
	head   *head
	alerts []*Alert
	drop   []string // ids of alerts
	marks  []mark
	rows   []*row
	done   []uint64 // rows
	size   int      // bytes of rows in JSON, at most
}

type mark struct {
	order orders.Key
	alert string
	at    int64
}

func (c *change) empty() bool {
	return c.head == nil && len(c.alerts)+len(c.drop)+len(c.marks)+len(c.rows)+len(c.done) == 0
}

// commit writes a change in one synced transaction.
func (s *store) commit(c *change) error {
	if c.empty() {
		return nil
	}
	return s.db.Update(func(txn *badger.Txn) error {
		set := func(key []byte, v any) error {
			body, err := json.Marshal(v)
			if err != nil {
				return err
			}
			return txn.Set(key, body)
		}
		for _, m := range c.marks {
			if err := txn.Set(markKey(m.order, m.alert), binary.BigEndian.AppendUint64(nil, uint64(m.at))); err != nil {
				return err
			}
		}
		for _, a := range c.alerts {
			if err := set(alertKey(a.ID), a); err != nil {
				return err
			}
		}
		for _, id := range c.drop {
			if err := txn.Delete(alertKey(id)); err != nil {
				return err
			}
		}
		for _, r := range c.rows {
			if err := set(rowKey(r.Seq), r); err != nil {
				return err
			}
		}
		for _, seq := range c.done {
			if err := txn.Delete(rowKey(seq)); err != nil {
				return err
			}
		}
		if c.head != nil {
			return set([]byte{spaceHead}, c.head)
		}
		return nil
	})
}

// sweepChunk is the number of marks that one commit of a sweep deletes.
const sweepChunk = 5000

// sweep deletes the marks from before a time, and those of alerts that known does not have.
func (s *store) sweep(before int64, known func(id string, at int64) bool) (deleted int, err error) {
	var old [][]byte
	flush := func() error {
		deleted += len(old)
		err := s.db.Update(func(txn *badger.Txn) error {
			for _, key := range old {
				if err := txn.Delete(key); err != nil {
					return err
				}
			}
			return nil
		})
		old = old[:0]
		return err
	}
	err = s.db.View(func(txn *badger.Txn) error {
		return each(txn, []byte{spaceMark}, func(key, v []byte) error {
			if len(v) == 8 {
				if at := int64(binary.BigEndian.Uint64(v)); at >= before && known(string(key[1+len(orders.Key{}):]), at) {
					return nil
				}
			}
			old = append(old, append([]byte(nil), key...))
			if len(old) < sweepChunk {
				return nil
			}
			return flush()
		})
	})
	if err == nil && len(old) > 0 {
		err = flush()
	}
	return deleted, err
}
