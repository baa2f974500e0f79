package escrow

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/escrow/users"
)

// simStore is a store in memory that can fail before or after it has written.
type simStore struct {
	head    Head
	trades  map[trade.OrderID]trade.Trade
	journal map[trade.OrderID][]trade.Input
	outbox  map[uint64]OutboxRow
	rows    []uint64 // keys of outbox in ascending order
	users   map[string]User
	userLog map[string][]users.Input
	claims  map[trade.Hash]trade.OrderID
	seen    map[string]bool
	issued  map[string]Issued
	keysets map[string]ReceiptKey

	throttles map[string]Throttle
	solvers   map[string]Solver
	ratings   map[string][]byte

	failBefore, failAfter bool
	refuse                bool // if set, the next commit is refused as too large for one transaction

	// mirror, if not nil, also stores every commit, and is read at a start.
	mirror *DB
}

// reader returns the store that a start reads.
func (s *simStore) reader() Store {
	if s.mirror != nil {
		return mirrored{s.mirror, s}
	}
	return s
}

// mirrored reads one store and writes both.
type mirrored struct {
	*DB
	sim *simStore
}

func (m mirrored) Commit(c *Commit) error { return m.sim.Commit(c) }

var errCrash = errors.New("crash")

func newSimStore() *simStore {
	return &simStore{
		trades: make(map[trade.OrderID]trade.Trade), journal: make(map[trade.OrderID][]trade.Input), outbox: make(map[uint64]OutboxRow),
		users: make(map[string]User), userLog: make(map[string][]users.Input), claims: make(map[trade.Hash]trade.OrderID), seen: make(map[string]bool), issued: make(map[string]Issued), keysets: make(map[string]ReceiptKey),
		throttles: make(map[string]Throttle), solvers: make(map[string]Solver), ratings: make(map[string][]byte),
	}
}

func (s *simStore) Commit(c *Commit) error {
	if s.failBefore {
		return errCrash
	}
	if s.refuse {
		s.refuse = false
		return ErrUncommittable
	}
	if s.mirror != nil {
		if err := s.mirror.Commit(c); err != nil {
			return err
		}
	}
	for _, t := range c.Trades {
		s.trades[t.ID] = t
	}
	for _, r := range c.Journal {
		if int(r.N) != len(s.journal[r.Trade])+1 {
			return errors.New("the journal has a gap")
		}
		s.journal[r.Trade] = append(s.journal[r.Trade], r.Input)
	}
	for _, r := range c.Outbox {
		s.outbox[r.ID] = r
		s.rows = append(s.rows, r.ID)
	}
	for _, id := range c.Done {
		delete(s.outbox, id)
		if i, ok := slices.BinarySearch(s.rows, id); ok {
			s.rows = slices.Delete(s.rows, i, i+1)
		}
	}
	for _, r := range c.UserJournal {
		if int(r.N) != len(s.userLog[r.Identity])+1 {
			return errors.New("the journal of a user has a gap")
		}
		s.userLog[r.Identity] = append(s.userLog[r.Identity], r.Input)
	}
	for _, u := range c.Users {
		s.users[u.Identity] = u
	}
	for _, r := range c.Ratings {
		if r.Value == nil {
			delete(s.ratings, string(r.Key))
			continue
		}
		b, err := trade.Encode(r.Value)
		if err != nil {
			return err
		}
		s.ratings[string(r.Key)] = b
	}
	for _, claim := range c.Claims {
		if (claim.Trade == trade.OrderID{}) {
			delete(s.claims, claim.Hash)
		} else {
			s.claims[claim.Hash] = claim.Trade
		}
	}
	for _, row := range c.Issued {
		s.issued[row.Trade.String()+row.Role] = row
	}
	for _, k := range c.ReceiptKeys {
		s.keysets[k.Epoch] = k
	}
	for _, id := range c.Seen {
		s.seen[id] = true
	}
	for _, v := range c.Solvers {
		s.solvers[v.Key] = v
	}
	for _, t := range c.Throttles {
		if t.Count == 0 {
			delete(s.throttles, t.Subject)
		} else {
			s.throttles[t.Subject] = t
		}
	}
	s.head = c.Head
	s.head.Stamps = maps.Clone(c.Head.Stamps)
	if s.failAfter {
		return errCrash
	}
	return nil
}

func (s *simStore) Head() (Head, error) { return s.head, nil }

func (s *simStore) Open(fn func(trade.Trade) error) error {
	for _, t := range s.trades {
		if !t.Over() {
			if err := fn(t); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *simStore) Outbox(fn func(OutboxRow) error) error {
	for _, id := range slices.Clone(s.rows) {
		if err := fn(s.outbox[id]); err != nil {
			return err
		}
	}
	return nil
}

func (s *simStore) Trades(fn func(trade.Trade) error) error {
	for _, t := range s.trades {
		if err := fn(t); err != nil {
			return err
		}
	}
	return nil
}

func (s *simStore) Trade(id trade.OrderID) (trade.Trade, error) {
	t, ok := s.trades[id]
	if !ok {
		return t, ErrNoRow
	}
	return t, nil
}

func (s *simStore) User(identity string) (User, error) {
	u, ok := s.users[identity]
	if !ok {
		return u, ErrNoRow
	}
	return u, nil
}

func (s *simStore) Get(key []byte, v any) error {
	b, ok := s.ratings[string(key)]
	if !ok {
		return ErrNoRow
	}
	return json.Unmarshal(b, v)
}

func (s *simStore) Each(prefix []byte, fn func(key, value []byte) error) error {
	for _, key := range slices.Sorted(maps.Keys(s.ratings)) {
		if strings.HasPrefix(key, string(prefix)) {
			if err := fn([]byte(key), []byte(s.ratings[key])); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *simStore) UserJournal(identity string, fn func(n uint32, in users.Input) error) error {
	for i, in := range s.userLog[identity] {
		if err := fn(uint32(i+1), in); err != nil {
			return err
		}
	}
	return nil
}

func (s *simStore) Claim(h trade.Hash) (trade.OrderID, error) {
	id, ok := s.claims[h]
	if !ok {
		return id, ErrNoRow
	}
	return id, nil
}

func (s *simStore) Journal(id trade.OrderID, fn func(n uint32, in trade.Input) error) error {
	for i, in := range s.journal[id] {
		if err := fn(uint32(i+1), in); err != nil {
			return err
		}
	}
	return nil
}

func (s *simStore) Issued(id trade.OrderID, role string) (Issued, error) {
	row, ok := s.issued[id.String()+role]
	if !ok {
		return row, ErrNoRow
	}
	return row, nil
}

func (s *simStore) ReceiptKeys(fn func(ReceiptKey) error) error {
	for _, k := range s.keysets {
		if err := fn(k); err != nil {
			return err
		}
	}
	return nil
}

func (s *simStore) Throttles(fn func(Throttle) error) error {
	for _, t := range s.throttles {
		if err := fn(t); err != nil {
			return err
		}
	}
	return nil
}

func (s *simStore) Solvers(fn func(Solver) error) error {
	for _, v := range s.solvers {
		if err := fn(v); err != nil {
			return err
		}
	}
	return nil
}

func (s *simStore) Seen(id string) (bool, error) { return s.seen[id], nil }

// clone returns a copy of the store as a backup would hold. Journals only grow, so the copy
// shares the existing rows.
func (s *simStore) clone() *simStore {
	c := *s
	c.head.Stamps = maps.Clone(s.head.Stamps)
	c.trades, c.outbox, c.users = maps.Clone(s.trades), maps.Clone(s.outbox), maps.Clone(s.users)
	c.claims, c.seen, c.issued = maps.Clone(s.claims), maps.Clone(s.seen), maps.Clone(s.issued)
	c.solvers, c.ratings = maps.Clone(s.solvers), maps.Clone(s.ratings)
	c.keysets, c.throttles, c.rows = maps.Clone(s.keysets), maps.Clone(s.throttles), slices.Clone(s.rows)
	c.userLog = make(map[string][]users.Input, len(s.userLog))
	for id, rows := range s.userLog {
		c.userLog[id] = slices.Clip(rows)
	}
	c.journal = make(map[trade.OrderID][]trade.Input, len(s.journal))
	for id, rows := range s.journal {
		c.journal[id] = slices.Clip(rows)
	}
	return &c
}
