package rating

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

// Journal calls fn for every change of a record, in order.
func Journal(store Store, identity string, fn func(n uint32, c Change) error) error {
	prefix := append([]byte{spaceJournal}, identity...)
	return store.Each(prefix, func(key, value []byte) error {
		if len(key) != len(prefix)+4 {
			return nil // another identity, of which this one is the beginning
		}
		var c Change
		if err := json.Unmarshal(value, &c); err != nil {
			return fmt.Errorf("journal of a record: %w", err)
		}
		return fn(binary.BigEndian.Uint32(key[len(prefix):]), c)
	})
}

// Replay computes a record from its journal.
func Replay(store Store, identity string) (Record, error) {
	u := Record{Identity: identity}
	err := Journal(store, identity, func(n uint32, c Change) error {
		if n != u.Steps+1 {
			return fmt.Errorf("journal of the reputation of %s: row %d after %d", identity, n, u.Steps)
		}
		next, err := u.Apply(c)
		if err != nil {
			return fmt.Errorf("journal of the reputation of %s, row %d: %w", identity, n, err)
		}
		u = next
		return nil
	})
	return u, err
}

// Check verifies the rows of this package, and returns the first contradiction. Every record
// equals the replay of its journal. Every vote is a row of a journal, and every row of a
// journal that is a vote has its vote. Every import is in the index, and no other.
func Check(store Store) error {
	votes, imports, keys := 0, 0, make(map[string]int64)
	err := store.Each([]byte{spaceRecord}, func(_, value []byte) error {
		var u Record
		if err := json.Unmarshal(value, &u); err != nil {
			return fmt.Errorf("record: %w", err)
		}
		again, err := Replay(store, u.Identity)
		if err != nil {
			return err
		}
		if !reflect.DeepEqual(again, u) {
			return fmt.Errorf("the reputation of %s differs from the replay of its journal", u.Identity)
		}
		for _, i := range u.Imports {
			imports++
			keys[i.IssuerKey]++
			var row imported
			if err := store.Get(importKey(i.Issuer, i.Subject), &row); err != nil || row.Identity != u.Identity || row.Attestation != i.Attestation {
				return fmt.Errorf("the import %s of %s is not in the index: %w", i.Attestation, u.Identity, errors.Join(err))
			}
		}
		return Journal(store, u.Identity, func(n uint32, c Change) error {
			if c.Kind != Voted {
				return nil
			}
			votes++
			var v Vote
			err := store.Get(orderKey(spaceVote, c.Order, c.By), &v)
			if err != nil || v.Rated != u.Identity || v.N != n || v.Stars != c.Stars {
				return fmt.Errorf("row %d of the reputation of %s is a vote that was not given: %w", n, u.Identity, errors.Join(err))
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	err = errors.Join(
		load(store, spaceVote, func(Vote) { votes-- }),
		load(store, spaceImport, func(imported) { imports-- }),
		load(store, spaceIssuer, func(k issuerKey) { keys[k.Key] -= k.Imports }))
	for key, n := range keys {
		if err == nil && n != 0 {
			err = fmt.Errorf("the number of imports signed by %s is wrong by %d", key, n)
		}
	}
	switch {
	case err != nil:
		return err
	case votes != 0:
		return fmt.Errorf("%d votes are not in a journal", -votes)
	case imports != 0:
		return fmt.Errorf("%d imports are not in a record", -imports)
	}
	return nil
}

// Votes calls fn for every vote that counts.
func Votes(store Store, fn func(Vote) error) error {
	return store.Each([]byte{spaceVote}, func(_, value []byte) error {
		var v Vote
		if err := json.Unmarshal(value, &v); err != nil {
			return fmt.Errorf("vote: %w", err)
		}
		return fn(v)
	})
}

// Waiting calls fn for every vote that waits for the end of its trade.
func Waiting(store Store, fn func(Vote) error) error {
	return store.Each([]byte{spaceWaiting}, func(_, value []byte) error {
		var v Vote
		if err := json.Unmarshal(value, &v); err != nil {
			return fmt.Errorf("vote: %w", err)
		}
		return fn(v)
	})
}

// VoteOf returns the vote of a party of a trade, or ErrNoRow.
func VoteOf(store Store, id trade.OrderID, by Role) (v Vote, err error) {
	err = store.Get(orderKey(spaceVote, id, by), &v)
	return v, err
}
