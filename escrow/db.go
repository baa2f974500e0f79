package escrow

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/escrow/devfee"
	"github.com/mostrodex/mostrodex/escrow/rating"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/escrow/users"
	"github.com/mostrodex/mostrodex/internal/badgerfiles"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// DB is the escrow's store in Badger. Every commit is one transaction, which is synced
// before Commit returns. The store must not be lost: it holds the preimages.
type DB struct{ b *badger.DB }

// Keyspaces. The first byte of a key names its keyspace.
const (
	spaceHead    = 'm' // -> Head
	spaceSchema  = 's' // -> schema version, one byte
	spaceTrade   = 't' // order id -> Trade
	spaceOpen    = 'o' // order id of a trade that is not over -> nothing
	spaceJournal = 'j' // order id, step number -> Input
	spaceOutbox  = 'x' // row id -> OutboxRow
	spaceUser    = 'u' // identity -> User
	spaceClaim   = 'h' // payment hash -> order id
	spaceSeen    = 'r' // replay id -> nothing
	spaceIssued  = 'i' // order id, role -> Issued
	spaceKeyset  = 'k' // epoch -> ReceiptKey
	spaceWait    = 'w' // trade key or identity -> Throttle
	spaceSolver  = 'v' // identity -> Solver
	spaceDevFee  = 'f' // order id -> devfee.Fee
	spaceUserLog = 'y' // identity, 0, step number -> users.Input
	spaceCarried = 'c' // -> nothing: the records of reputation hold the trades of older stores
	// The capital letters A D I P R U V W belong to package rating.
)

// Schema 2 has solvers, and journals that rules2 decided. Schema 3 has inputs about outflows
// and about amounts in suspense, and the journal of users. A program of an older schema would
// replay such journals to other trades, so it must not open the store. A store of an older
// schema needs no change besides its number.
const schemaVersion = 3

// OpenDB opens the store in a directory, or creates a new one.
func OpenDB(dir string) (*DB, error) { return openDB(dir, true) }

// ErrNewerSchema reports that a newer version of this program has written the store.
var ErrNewerSchema = errors.New("the escrow's store was written by a newer version of mostrodex: upgrade")

// ErrStoreDamaged reports that the files of the store are not as they were written. OpenDB
// changes nothing then, because trades must not be decided on a part of their data.
var ErrStoreDamaged = errors.New("the escrow's store is damaged: put back a copy of DATA/escrow, with which the escrow looks up every hold and payment before it acts, or ask for help with the files as they are")

// checkFiles detects damage that Badger would treat as a torn write, or would not detect
// on a read.
func checkFiles(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unlock, err := badgerfiles.Lock(dir)
	if err != nil {
		return fmt.Errorf("open escrow store: %s: %w", dir, err)
	}
	defer unlock()
	err = badgerfiles.CheckFiles(dir)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, badgerfiles.ErrFile), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", err, ErrStoreDamaged)
	}
	return fmt.Errorf("check the escrow store: %w", err)
}

// openDB opens the store. Only a test may set sync to false.
func openDB(dir string, sync bool) (*DB, error) {
	if err := checkFiles(dir); err != nil {
		return nil, err
	}
	options := badger.DefaultOptions(dir).
		WithSyncWrites(sync).
		WithDetectConflicts(false). // there is only one writer
		WithNumVersionsToKeep(1).
		WithLogger(nil).
		WithBlockCacheSize(16 << 20).
		WithIndexCacheSize(16 << 20).
		WithNumMemtables(2).
		WithMetricsEnabled(false)
	b, err := badger.Open(options)
	if err != nil {
		return nil, fmt.Errorf("open escrow store: %w", err)
	}
	db := &DB{b}
	if err := db.schema(); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	if err := db.carry(); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return db, nil
}

func (db *DB) schema() error {
	return db.b.Update(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte{spaceSchema})
		if errors.Is(err, badger.ErrKeyNotFound) {
			return txn.Set([]byte{spaceSchema}, []byte{schemaVersion})
		}
		if err != nil {
			return fmt.Errorf("read schema: %w", err)
		}
		return item.Value(func(v []byte) error {
			if len(v) != 1 || v[0] < 1 || v[0] > schemaVersion {
				return fmt.Errorf("%w: it has schema %x, this program knows 1 to %d", ErrNewerSchema, v, schemaVersion)
			}
			if v[0] == schemaVersion {
				return nil
			}
			return txn.Set([]byte{spaceSchema}, []byte{schemaVersion})
		})
	})
}

// carry writes the records of reputation for the trades of a store from before there were
// records, once. If the program ends in between, the next start repeats the step.
func (db *DB) carry() error {
	mark := []byte{spaceCarried}
	err := db.b.View(func(txn *badger.Txn) error { _, err := txn.Get(mark); return err })
	if err == nil || !errors.Is(err, badger.ErrKeyNotFound) {
		return err
	}
	var trades []trade.Trade
	if err := db.Trades(func(t trade.Trade) error {
		if t.Status == message.TradeSuccess {
			trades = append(trades, trade.Trade{ID: t.ID, Status: t.Status, Buyer: t.Buyer, Seller: t.Seller, CreatedAt: t.CreatedAt, TakenAt: t.TakenAt})
		}
		return nil
	}); err != nil {
		return err
	}
	rows, err := rating.Carry(trades, func(identity string) (int64, error) {
		u, err := db.User(identity)
		if errors.Is(err, ErrNoRow) {
			err = nil
		}
		return u.CreatedAt, err
	})
	if err != nil {
		return err
	}
	for _, some := range append(slices.Collect(slices.Chunk(rows, 1000)), nil) {
		err := db.b.Update(func(txn *badger.Txn) error {
			if some == nil {
				return txn.Set(mark, nil)
			}
			return fillRatings(txn, some)
		})
		if err != nil {
			return fmt.Errorf("write the records of reputation: %w", err)
		}
	}
	return nil
}

// Close closes the store.
func (db *DB) Close() error { return db.b.Close() }

// Snapshot returns the content of the store for a backup.
func (db *DB) Snapshot() *badgerfiles.Snapshot { return badgerfiles.Begin(db.b) }

func tradeKey(space byte, id trade.OrderID) []byte { return append([]byte{space}, id[:]...) }

func journalKey(id trade.OrderID, n uint32) []byte {
	return binary.BigEndian.AppendUint32(tradeKey(spaceJournal, id), n)
}

func rowKey(id uint64) []byte { return binary.BigEndian.AppendUint64([]byte{spaceOutbox}, id) }

func claimKey(h trade.Hash) []byte { return append([]byte{spaceClaim}, h[:]...) }

func issuedKey(id trade.OrderID, role string) []byte {
	return append(tradeKey(spaceIssued, id), role...)
}

func userLogKey(identity string) []byte {
	return append(append([]byte{spaceUserLog}, identity...), 0)
}

func userKey(identity string) []byte { return append([]byte{spaceUser}, identity...) }

// seenKey returns a hash of a replay id that is not an event id, so that no sender chooses
// a key of the store.
func seenKey(id string) []byte {
	if raw, err := hex.DecodeString(id); err == nil && len(raw) == 32 {
		return append([]byte{spaceSeen}, raw...)
	}
	sum := sha256.Sum256([]byte(id))
	return append([]byte{spaceSeen}, sum[:]...)
}

// Commit writes all of c in one synced transaction.
func (db *DB) Commit(c *Commit) error {
	txn := db.b.NewTransaction(true)
	defer txn.Discard()
	if err := fill(txn, c); err != nil {
		return fmt.Errorf("commit %d: %w: %w", c.Head.Commits, ErrUncommittable, err)
	}
	err := txn.Commit()
	switch {
	case errors.Is(err, badger.ErrTxnTooBig): // refused before any write
		return fmt.Errorf("commit %d: %w: %w", c.Head.Commits, ErrUncommittable, err)
	case err != nil:
		return fmt.Errorf("commit %d: %w", c.Head.Commits, err)
	}
	return nil
}

// fill adds a commit to a transaction.
func fill(txn *badger.Txn, c *Commit) error {
	set := func(key []byte, v any) error {
		b, err := trade.Encode(v)
		if err != nil {
			return err
		}
		return txn.Set(key, b)
	}
	for i := range c.Trades {
		t := &c.Trades[i]
		if err := set(tradeKey(spaceTrade, t.ID), t); err != nil {
			return err
		}
		open := tradeKey(spaceOpen, t.ID)
		if t.Over() {
			if err := txn.Delete(open); err != nil {
				return err
			}
		} else if err := txn.Set(open, nil); err != nil {
			return err
		}
	}
	for i := range c.Journal {
		if err := set(journalKey(c.Journal[i].Trade, c.Journal[i].N), &c.Journal[i].Input); err != nil {
			return err
		}
	}
	for i := range c.Outbox {
		if err := set(rowKey(c.Outbox[i].ID), &c.Outbox[i]); err != nil {
			return err
		}
	}
	for _, id := range c.Done {
		if err := txn.Delete(rowKey(id)); err != nil {
			return err
		}
	}
	for i := range c.Users {
		if err := set(userKey(c.Users[i].Identity), &c.Users[i]); err != nil {
			return err
		}
	}
	for i := range c.UserJournal {
		row := &c.UserJournal[i]
		if err := set(binary.BigEndian.AppendUint32(userLogKey(row.Identity), row.N), &row.Input); err != nil {
			return err
		}
	}
	for _, claim := range c.Claims {
		var err error
		if (claim.Trade == trade.OrderID{}) {
			err = txn.Delete(claimKey(claim.Hash))
		} else {
			err = txn.Set(claimKey(claim.Hash), claim.Trade[:])
		}
		if err != nil {
			return err
		}
	}
	for i := range c.Issued {
		if err := set(issuedKey(c.Issued[i].Trade, c.Issued[i].Role), &c.Issued[i]); err != nil {
			return err
		}
	}
	for i := range c.ReceiptKeys {
		if err := set(append([]byte{spaceKeyset}, c.ReceiptKeys[i].Epoch...), &c.ReceiptKeys[i]); err != nil {
			return err
		}
	}
	for _, id := range c.Seen {
		if err := txn.Set(seenKey(id), nil); err != nil {
			return err
		}
	}
	for i := range c.DevFees {
		var err error
		if key := tradeKey(spaceDevFee, c.DevFees[i].Trade); c.DevFees[i].Phase == "" {
			err = txn.Delete(key)
		} else {
			err = set(key, &c.DevFees[i])
		}
		if err != nil {
			return err
		}
	}
	for i := range c.Solvers {
		if err := set(append([]byte{spaceSolver}, c.Solvers[i].Key...), &c.Solvers[i]); err != nil {
			return err
		}
	}
	for i := range c.Throttles {
		key := append([]byte{spaceWait}, c.Throttles[i].Subject...)
		if c.Throttles[i].Count == 0 {
			if err := txn.Delete(key); err != nil {
				return err
			}
		} else if err := set(key, &c.Throttles[i]); err != nil {
			return err
		}
	}
	if err := fillRatings(txn, c.Ratings); err != nil {
		return err
	}
	return set([]byte{spaceHead}, c.Head)
}

func fillRatings(txn *badger.Txn, rows []rating.Row) error {
	for _, r := range rows {
		if r.Value == nil {
			if err := txn.Delete(r.Key); err != nil {
				return err
			}
			continue
		}
		b, err := trade.Encode(r.Value)
		if err == nil {
			err = txn.Set(r.Key, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Get decodes the value of a row of ratings, or returns ErrNoRow.
func (db *DB) Get(key []byte, v any) error { return db.get(key, v) }

// Each calls fn for every row of ratings with a prefix, in order.
func (db *DB) Each(prefix []byte, fn func(key, value []byte) error) error {
	return db.each(prefix, true, func(_ *badger.Txn, key, value []byte) error { return fn(key, value) })
}

// get decodes the value of a key into v. get returns ErrNoRow if the key does not exist.
func (db *DB) get(key []byte, v any) error {
	return db.b.View(func(txn *badger.Txn) error { return read(txn, key, v) })
}

func read(txn *badger.Txn, key []byte, v any) error {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return ErrNoRow
	}
	if err != nil {
		return fmt.Errorf("read from escrow store: %w", err)
	}
	return item.Value(func(b []byte) error { return json.Unmarshal(b, v) })
}

// each calls fn for every key of a keyspace, in order.
func (db *DB) each(prefix []byte, values bool, fn func(txn *badger.Txn, key, value []byte) error) error {
	return db.b.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, PrefetchValues: values, PrefetchSize: 64})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			item := it.Item()
			var value []byte
			if values {
				var err error
				if value, err = item.ValueCopy(nil); err != nil {
					return fmt.Errorf("read from escrow store: %w", err)
				}
			}
			if err := fn(txn, item.KeyCopy(nil), value); err != nil {
				return err
			}
		}
		return nil
	})
}

// Head returns the last committed head.
func (db *DB) Head() (Head, error) {
	var h Head
	if err := db.get([]byte{spaceHead}, &h); err != nil && !errors.Is(err, ErrNoRow) {
		return h, err
	}
	return h, nil
}

// Open calls fn for every trade that is not over.
func (db *DB) Open(fn func(trade.Trade) error) error {
	return db.each([]byte{spaceOpen}, false, func(txn *badger.Txn, key, _ []byte) error {
		var t trade.Trade
		if err := read(txn, append([]byte{spaceTrade}, key[1:]...), &t); err != nil {
			return fmt.Errorf("open trade: %w", err)
		}
		return fn(t)
	})
}

// Outbox calls fn for every row that is not done, in order.
func (db *DB) Outbox(fn func(OutboxRow) error) error {
	return db.each([]byte{spaceOutbox}, true, func(_ *badger.Txn, _, value []byte) error {
		var r OutboxRow
		if err := json.Unmarshal(value, &r); err != nil {
			return fmt.Errorf("outbox row: %w", err)
		}
		return fn(r)
	})
}

// Trade returns a trade, or ErrNoRow.
func (db *DB) Trade(id trade.OrderID) (t trade.Trade, err error) {
	err = db.get(tradeKey(spaceTrade, id), &t)
	return t, err
}

// User returns the facts about an identity, or ErrNoRow.
func (db *DB) User(identity string) (u User, err error) {
	err = db.get(userKey(identity), &u)
	return u, err
}

// Issued returns the receipts of one side of a trade, or ErrNoRow.
func (db *DB) Issued(id trade.OrderID, role string) (row Issued, err error) {
	err = db.get(issuedKey(id, role), &row)
	return row, err
}

// ReceiptKeys calls fn for every receipt key.
func (db *DB) ReceiptKeys(fn func(ReceiptKey) error) error {
	return db.each([]byte{spaceKeyset}, true, func(_ *badger.Txn, _, value []byte) error {
		var k ReceiptKey
		if err := json.Unmarshal(value, &k); err != nil {
			return fmt.Errorf("receipt key: %w", err)
		}
		return fn(k)
	})
}

// Solvers calls fn for every solver.
func (db *DB) Solvers(fn func(Solver) error) error {
	return db.each([]byte{spaceSolver}, true, func(_ *badger.Txn, _, value []byte) error {
		var s Solver
		if err := json.Unmarshal(value, &s); err != nil {
			return fmt.Errorf("solver: %w", err)
		}
		return fn(s)
	})
}

// DevFees calls fn for every development fee that is not paid.
func (db *DB) DevFees(fn func(devfee.Fee) error) error {
	return db.each([]byte{spaceDevFee}, true, func(_ *badger.Txn, _, value []byte) error {
		var f devfee.Fee
		if err := json.Unmarshal(value, &f); err != nil {
			return fmt.Errorf("development fee: %w", err)
		}
		return fn(f)
	})
}

// Throttles calls fn for every taker that cancelled before payment.
func (db *DB) Throttles(fn func(Throttle) error) error {
	return db.each([]byte{spaceWait}, true, func(_ *badger.Txn, _, value []byte) error {
		var t Throttle
		if err := json.Unmarshal(value, &t); err != nil {
			return fmt.Errorf("throttle: %w", err)
		}
		return fn(t)
	})
}

// Claim returns the trade that owns a payment hash, or ErrNoRow.
func (db *DB) Claim(h trade.Hash) (id trade.OrderID, err error) {
	err = db.b.View(func(txn *badger.Txn) error {
		item, err := txn.Get(claimKey(h))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return ErrNoRow
		}
		if err != nil {
			return err
		}
		return item.Value(func(b []byte) error {
			if len(b) != len(id) {
				return fmt.Errorf("claim of %d bytes", len(b))
			}
			copy(id[:], b)
			return nil
		})
	})
	return id, err
}

// DevFeeClaimed reports whether a payment hash was claimed for the development fund.
func (db *DB) DevFeeClaimed(h trade.Hash) (bool, error) {
	owner, err := db.Claim(h)
	if errors.Is(err, ErrNoRow) {
		return false, nil
	}
	return owner == devFeeClaim, err
}

// Seen reports whether a replay id was committed.
func (db *DB) Seen(id string) (seen bool, err error) {
	err = db.b.View(func(txn *badger.Txn) error {
		_, err := txn.Get(seenKey(id))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		seen = err == nil
		return err
	})
	return seen, err
}

// Journal calls fn for every step of a trade, in order.
func (db *DB) Journal(id trade.OrderID, fn func(n uint32, in trade.Input) error) error {
	return db.each(tradeKey(spaceJournal, id), true, func(_ *badger.Txn, key, value []byte) error {
		var in trade.Input
		if err := json.Unmarshal(value, &in); err != nil {
			return fmt.Errorf("journal row: %w", err)
		}
		return fn(binary.BigEndian.Uint32(key[len(key)-4:]), in)
	})
}

// UserJournal calls fn for every step of a user, in order.
func (db *DB) UserJournal(identity string, fn func(n uint32, in users.Input) error) error {
	return db.each(userLogKey(identity), true, func(_ *badger.Txn, key, value []byte) error {
		var in users.Input
		if err := json.Unmarshal(value, &in); err != nil {
			return fmt.Errorf("journal row of a user: %w", err)
		}
		return fn(binary.BigEndian.Uint32(key[len(key)-4:]), in)
	})
}

// Users calls fn for every user, in the order of the identities.
func (db *DB) Users(fn func(User) error) error {
	return db.each([]byte{spaceUser}, true, func(_ *badger.Txn, _, value []byte) error {
		var u User
		if err := json.Unmarshal(value, &u); err != nil {
			return fmt.Errorf("user: %w", err)
		}
		return fn(u)
	})
}

// checkUser returns an error if a user differs from the replay of its journal. A user from an
// older store that has not changed since has no journal.
func checkUser(store Store, u User) error {
	again := User{Identity: u.Identity}
	err := store.UserJournal(u.Identity, func(n uint32, in users.Input) error {
		if n != again.Steps+1 {
			return fmt.Errorf("row %d after %d", n, again.Steps)
		}
		var err error
		again, err = users.Step(again, in)
		return err
	})
	if err != nil {
		return fmt.Errorf("journal of user %s: %w", u.Identity, err)
	}
	if again.Steps != u.Steps || u.Steps != 0 && again != u {
		return fmt.Errorf("user %s differs from the replay of its journal: %+v, %+v", u.Identity, u, again)
	}
	return nil
}

// Trades calls fn for every trade in the store, open or over.
func (db *DB) Trades(fn func(trade.Trade) error) error {
	return db.each([]byte{spaceTrade}, true, func(_ *badger.Txn, _, value []byte) error {
		var t trade.Trade
		if err := json.Unmarshal(value, &t); err != nil {
			return fmt.Errorf("trade: %w", err)
		}
		return fn(t)
	})
}

// Replay computes a trade from its journal.
func (db *DB) Replay(id trade.OrderID) (t trade.Trade, err error) {
	err = db.Journal(id, func(n uint32, in trade.Input) error {
		if n != t.Steps+1 {
			return fmt.Errorf("journal of %s: row %d after %d", id, n, t.Steps)
		}
		next, _, err := trade.Step(t, in)
		if err != nil {
			return fmt.Errorf("journal of %s, row %d: %w", id, n, err)
		}
		t = next
		return nil
	})
	return t, err
}

// Check verifies the store and returns the first contradiction. Every trade must equal the
// replay of its journal, and so must every user. Every open trade must be listed as open and have a deadline.
// Every hash of a payout must be claimed.
func (db *DB) Check() error {
	head, err := db.Head()
	if err != nil {
		return err
	}
	open := make(map[trade.OrderID]bool)
	if err := db.Open(func(t trade.Trade) error { open[t.ID] = true; return nil }); err != nil {
		return err
	}
	if err := db.Trades(func(t trade.Trade) error { return db.checkTrade(t, open) }); err != nil {
		return err
	}
	if len(open) > 0 {
		return fmt.Errorf("%d trades are listed as open but do not exist", len(open))
	}
	if err := errors.Join(db.checkReceipts(), db.checkRatings()); err != nil {
		return err
	}
	if err := db.DevFees(db.checkDevFee); err != nil {
		return err
	}
	if err := db.Users(func(u User) error { return checkUser(db, u) }); err != nil {
		return err
	}
	var last uint64
	return db.Outbox(func(r OutboxRow) error {
		if r.ID <= last || r.ID > head.LastRow {
			return fmt.Errorf("outbox row %d after %d, the last row made is %d", r.ID, last, head.LastRow)
		}
		last = r.ID
		if lane(r) == laneMail && r.Event == nil {
			return fmt.Errorf("outbox row %d has nothing to publish", r.ID)
		}
		return nil
	})
}

// checkDevFee verifies that a fee that is due is owed by its trade, and that its payment hash is
// claimed.
func (db *DB) checkDevFee(f devfee.Fee) error {
	t, err := db.Trade(f.Trade)
	if err != nil || f.DueAt != 0 && (!t.OwesDevFee() || f.Sats != t.DevFeeSats) {
		return fmt.Errorf("a development fee of %d sats of trade %s, which owes %d: %w", f.Sats, f.Trade, t.DevFeeSats, err)
	}
	if f.Hash != (trade.Hash{}) && !f.Published {
		if owner, err := db.Claim(f.Hash); err != nil || owner != devFeeClaim {
			return fmt.Errorf("the development fee of trade %s has a hash that is not claimed for it", f.Trade)
		}
	}
	return nil
}

// checkReceipts verifies that receipts exist only for settled trades, and that the
// published counts of blind receipts are true.
func (db *DB) checkReceipts() error {
	signed := make(map[string]int64) // by keyset
	err := db.each([]byte{spaceIssued}, true, func(_ *badger.Txn, _, value []byte) error {
		var row Issued
		if err := json.Unmarshal(value, &row); err != nil {
			return fmt.Errorf("receipt: %w", err)
		}
		if row.Signed != nil {
			signed[row.Keyset]++
		}
		t, err := db.Trade(row.Trade)
		if err != nil || !trade.Settled(t.Status) {
			return fmt.Errorf("a receipt of trade %s, which is %q: %w", row.Trade, t.Status, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = db.ReceiptKeys(func(k ReceiptKey) error {
		if err := k.open(""); err != nil {
			return err
		}
		if k.secret == nil {
			return nil // closed before the key was known
		}
		if n := signed[k.public.ID]; n != k.Issued {
			return fmt.Errorf("%d blind receipts of %s are counted, %d were issued", k.Issued, k.Epoch, n)
		}
		delete(signed, k.public.ID)
		return nil
	})
	if err == nil && len(signed) > 0 {
		err = fmt.Errorf("blind receipts by %d keys that are not in the store", len(signed))
	}
	return err
}

// checkRatings verifies the records of reputation, and that votes exist only for trades that
// could be rated.
func (db *DB) checkRatings() error {
	if err := rating.Check(db); err != nil {
		return err
	}
	return rating.Votes(db, func(v rating.Vote) error {
		t, err := db.Trade(v.Order)
		if err != nil || !rating.Rateable(t.Status, v.By) {
			return fmt.Errorf("a vote of the %s of trade %s, which is %q: %w", v.By, v.Order, t.Status, err)
		}
		return nil
	})
}

func (db *DB) checkTrade(t trade.Trade, open map[trade.OrderID]bool) error {
	again, err := db.Replay(t.ID)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(again, t) {
		return fmt.Errorf("trade %s differs from the replay of its journal", t.ID)
	}
	switch {
	case open[t.ID] == t.Over():
		return fmt.Errorf("trade %s is %s, listed as open: %v", t.ID, t.Status, open[t.ID])
	case !trade.Terminal(t.Status) && t.Deadline == 0:
		return fmt.Errorf("trade %s is %s without a deadline", t.ID, t.Status)
	case t.Preimage != trade.Preimage{} && t.Preimage.Hash() != t.Hash:
		return fmt.Errorf("trade %s has a preimage of another hash", t.ID)
	}
	delete(open, t.ID)
	for n := range uint32(len(t.Outflows)) + 1 {
		o, _ := t.Outflow(n)
		if h := o.LastHash; h != (trade.Hash{}) {
			if owner, err := db.Claim(h); err != nil || owner != t.ID {
				return fmt.Errorf("trade %s pays to a hash that is not claimed for it", t.ID)
			}
		}
	}
	return nil
}
