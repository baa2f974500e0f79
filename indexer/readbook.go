package indexer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/indexer/livebook"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
	"golang.org/x/sync/errgroup"
)

// eachHead calls fn with the packed record of every order. fn must not keep the slice.
func eachHead(txn *badger.Txn, fn func(orders.Key, []byte) error) error {
	opt := badger.DefaultIteratorOptions
	opt.Prefix = []byte{keyHead}
	it := txn.NewIterator(opt)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		k := orders.Key(it.Item().Key()[1:])
		if err := it.Item().Value(func(v []byte) error { return fn(k, v) }); err != nil {
			return err
		}
	}
	return nil
}

// eachRecord calls fn with every order, in no defined order. Several goroutines read and
// unpack records. fn is called only by the caller's goroutine.
func eachRecord(db *badger.DB, fn func(orders.Key, *orders.Record)) error {
	const readers, many = 4, 256
	type found struct {
		key orders.Key
		r   *orders.Record
	}
	parts := make(chan []found, readers) // if the channel is full, readers wait
	g, ctx := errgroup.WithContext(context.Background())
	for i := range readers {
		g.Go(func() error {
			part := make([]found, 0, many)
			send := func() error {
				select {
				case parts <- part:
					part = make([]found, 0, many)
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			err := db.View(func(txn *badger.Txn) error {
				it := txn.NewIterator(badger.DefaultIteratorOptions)
				defer it.Close()
				end := 256 / readers * (i + 1) // end of the range of the first byte of keys
				for it.Seek([]byte{keyHead, byte(256 / readers * i)}); it.ValidForPrefix([]byte{keyHead}); it.Next() {
					k := orders.Key(it.Item().Key()[1:])
					if int(k[0]) >= end {
						break
					}
					if err := it.Item().Value(func(packed []byte) error {
						r, err := orders.UnpackRecord(packed)
						part = append(part, found{k, r})
						return err
					}); err != nil {
						return err
					}
					if len(part) == many {
						if err := send(); err != nil {
							return err
						}
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			return send()
		})
	}
	done := make(chan error, 1)
	go func() {
		done <- g.Wait()
		close(parts)
	}()
	for part := range parts {
		for _, f := range part {
			fn(f.key, f.r)
		}
	}
	return <-done
}

func olderVersions(txn *badger.Txn, k orders.Key) ([]*orders.Version, error) {
	opt := badger.DefaultIteratorOptions
	opt.Prefix = append([]byte{keyOlder}, k[:]...)
	it := txn.NewIterator(opt)
	defer it.Close()
	var out []*orders.Version
	for it.Rewind(); it.Valid(); it.Next() {
		if err := it.Item().Value(func(raw []byte) error {
			v, err := orders.UnpackVersion(raw)
			out = append(out, v)
			return err
		}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// record returns the newest state of an order, or mostro.ErrNotFound if there is none.
func (b *book) record(k orders.Key) (*orders.Record, error) {
	records, err := b.records([]orders.Key{k})
	if err == nil && records[0] == nil {
		err = mostro.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return records[0], nil
}

// records returns the orders of keys, with nil for an order that does not exist or was
// withdrawn. Records are shared and must not be changed.
func (b *book) records(keys []orders.Key) ([]*orders.Record, error) {
	out, missing, changes := b.recent.get(keys)
	if missing == 0 {
		return out, nil
	}
	read := make([]orders.Key, 0, missing)
	at := make([]int, 0, missing)
	for i, r := range out {
		if r == nil {
			read, at = append(read, keys[i]), append(at, i)
		}
	}
	records, err := b.read(read)
	if err != nil {
		return nil, err
	}
	b.recent.put(read, records, changes)
	for n, r := range records {
		out[at[n]] = r
	}
	return out, nil
}

// read is records without the cache.
func (b *book) read(keys []orders.Key) ([]*orders.Record, error) {
	out := make([]*orders.Record, len(keys))
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
				r, err := orders.UnpackRecord(raw)
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

// headOf returns the record of an order, or mostro.ErrNotFound.
func headOf(txn *badger.Txn, k orders.Key) (*orders.Record, error) {
	packed, err := get(txn, headKey(k))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, mostro.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return orders.UnpackRecord(packed)
}

// history returns all versions of an order, oldest first.
func (b *book) history(k orders.Key) ([]*orders.Version, error) {
	var out []*orders.Version
	err := b.view(func(txn *badger.Txn) error {
		head, err := headOf(txn, k)
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

// historyPage returns up to limit versions of an order, oldest first: the newest ones
// before cursor, or the newest of all if cursor is "". next is the cursor of the older
// versions, or "" if there are none.
func (b *book) historyPage(k orders.Key, cursor string, limit int) (out []*orders.Version, next string, err error) {
	err = b.view(func(txn *badger.Txn) error {
		prefix := append([]byte{keyOlder}, k[:]...)
		from := append(slices.Clone(prefix), 0xff)
		var last []byte // key of the oldest version of the page
		if cursor == "" {
			head, err := headOf(txn, k)
			if err != nil {
				return err
			}
			out, last = append(out, &head.Version), olderKey(k, &head.Order)
		} else {
			at, err := base64.RawURLEncoding.DecodeString(cursor)
			if err != nil || len(at) != len(prefix)+8+32 || !bytes.HasPrefix(at, prefix) {
				return &orders.QueryError{Param: "cursor", Reason: "not a cursor of this order's history; start again without it"}
			}
			from = at
		}
		it := txn.NewIterator(badger.IteratorOptions{Reverse: true, PrefetchValues: true, PrefetchSize: min(limit, 100)})
		defer it.Close()
		for it.Seek(from); it.ValidForPrefix(prefix); it.Next() {
			if cursor != "" && bytes.Equal(it.Item().Key(), from) {
				continue
			}
			if len(out) == limit {
				next = base64.RawURLEncoding.EncodeToString(last)
				break
			}
			last = it.Item().KeyCopy(last)
			if err := it.Item().Value(func(raw []byte) error {
				v, err := orders.UnpackVersion(raw)
				out = append(out, v)
				return err
			}); err != nil {
				return err
			}
		}
		slices.Reverse(out)
		return nil
	})
	return out, next, err
}

// affected returns the addresses that the deletion at seq changed.
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

// digest returns a hash over the content of the book. Equal logs return equal digests,
// regardless of restarts.
func (b *book) digest() (string, error) {
	sum := sha256.New()
	err := b.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.DefaultIteratorOptions)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			key := it.Item().Key()
			// Keys that depend on the time at which the book was built are left out: its
			// mark, the names of events that were deleted later, and the notes for search
			// about events that a later rebuild cannot read.
			if slices.Equal(key, metaKey("mark")) || key[0] == keyAffected || key[0] == keyNames {
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

// check returns an error if the column store or the sums of the authors differ from those
// that a new load of the book makes.
func (b *book) check() error {
	now := b.now()
	held, authors := b.live.Load(), b.authors.Load()
	held.Expire(now)
	fresh, sums := livebook.New(), newAuthors()
	fresh.Judge(authors.judgements(nil, now))
	err := b.view(func(txn *badger.Txn) error {
		if err := sums.load(txn, now); err != nil {
			return err
		}
		return eachHead(txn, func(k orders.Key, packed []byte) error {
			r, err := orders.UnpackRecord(packed)
			if err != nil {
				return err
			}
			sums.count(&r.Version, r.FirstSeenAt, 1)
			fresh.Update([]livebook.Item{{Key: k, Record: r}}, nil, now)
			return nil
		})
	})
	if err != nil {
		return err
	}
	if err := held.Same(fresh); err != nil {
		return fmt.Errorf("live orders: %w", err)
	}
	return authors.same(sums)
}

// eachAt calls fn with every order in its newest version signed at or before a time.
// Versions that were history when they arrived count as well, because the query asks
// about the time of signing.
func (b *book) eachAt(ctx context.Context, at time.Time, fn func(orders.Key, *orders.Record)) error {
	limit := at.Unix()
	return b.view(func(txn *badger.Txn) error {
		older := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{keyOlder}, PrefetchValues: false})
		defer older.Close()
		older.Rewind()
		n := 0
		return eachHead(txn, func(k orders.Key, packed []byte) error {
			if n++; n%1024 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			var last []byte // key of the newest older version signed by then
			for older.Valid() {
				key := older.Item().Key()
				c := bytes.Compare(key[1:17], k[:])
				if c > 0 {
					break
				}
				if c == 0 && int64(binary.BigEndian.Uint64(key[17:25])) <= limit {
					last = older.Item().KeyCopy(last)
				}
				older.Next()
			}
			r, err := orders.UnpackRecord(packed)
			if err != nil {
				return err
			}
			if int64(r.Order.CreatedAt) > limit {
				if last == nil {
					return nil
				}
				raw, err := get(txn, last)
				if err != nil {
					return err
				}
				v, err := orders.UnpackVersion(raw)
				if err != nil {
					return err
				}
				r.Version = *v
			}
			r.Archived = false
			if !r.Withdrawn {
				fn(k, r)
			}
			return nil
		})
	})
}

// versionsFrom returns the next versions behind a place, at most n, and the place behind them.
func (b *book) versionsFrom(at place, n int) (out []*orders.Version, next place, err error) {
	next = at
	err = b.view(func(txn *badger.Txn) error {
		heads := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{keyHead}, PrefetchValues: true, PrefetchSize: 100})
		defer heads.Close()
		older := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{keyOlder}, PrefetchValues: true, PrefetchSize: 100})
		defer older.Close()
		from := headKey(at.order)
		if at.past {
			from = append(from, 0)
		}
		heads.Seek(from)
		older.Seek(append([]byte{keyOlder}, from[1:]...))
		if at.after != nil && !at.past {
			older.Seek(at.after)
			if older.Valid() && bytes.Equal(older.Item().Key(), at.after) {
				older.Next()
			}
		}
		add := func(it *badger.Item, unpack func([]byte) (*orders.Version, error)) error {
			return it.Value(func(raw []byte) error {
				v, err := unpack(raw)
				out = append(out, v)
				return err
			})
		}
		for ; heads.Valid(); heads.Next() {
			k := orders.Key(heads.Item().Key()[1:])
			for ; older.Valid(); older.Next() {
				key := older.Item().Key()
				c := bytes.Compare(key[1:17], k[:])
				if c > 0 {
					break
				}
				if c < 0 {
					continue // of an order without a head; there is none
				}
				if err := add(older.Item(), orders.UnpackVersion); err != nil {
					return err
				}
				if next = (place{order: k, after: slices.Clone(key)}); len(out) >= n {
					return nil
				}
			}
			if err := add(heads.Item(), func(raw []byte) (*orders.Version, error) {
				r, err := orders.UnpackRecord(raw)
				if err != nil {
					return nil, err
				}
				return &r.Version, nil
			}); err != nil {
				return err
			}
			if next = (place{order: k, past: true}); len(out) >= n {
				return nil
			}
		}
		next.done = true
		return nil
	})
	return out, next, err
}
