package indexer

import (
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/indexer/names"
)

// clashFinder owns the names of all authors, and decides when their clashes are found
// again. The lock of authors guards a clashFinder.
type clashFinder struct {
	names *names.Registry
	stale bool          // all clashes must be found again
	at    time.Time     // time of the last findAll
	cost  time.Duration // duration of the last findAll

	rules  uint64                // version of the rules that ban the keys below
	banned map[[32]byte]struct{} // a banned key owns no name
}

// clashShare bounds the time spent in findAll to one part in clashShare.
const clashShare = 20

// due reports whether findAll should run now.
func (c *clashFinder) due() bool { return c.stale && time.Since(c.at) > clashShare*c.cost }

// set replaces the names of a key.
func (c *clashFinder) set(pubkey string, uses []*names.Use) *names.Holder {
	holder, late := c.names.Set(pubkey, uses)
	c.stale = c.stale || late
	return holder
}

// findAll finds the clashes of all keys.
func (c *clashFinder) findAll(standing func(pubkey string) names.Standing, now time.Time) {
	start := time.Now()
	for _, pubkey := range c.names.Pubkeys() {
		c.names.Find(pubkey, standing, now)
	}
	c.stale, c.at, c.cost = false, time.Now(), time.Since(start)
}

// isBanned reports whether the rules ban a key.
func (c *clashFinder) isBanned(pubkey string) bool {
	var key [32]byte
	if _, err := hex.Decode(key[:], []byte(pubkey)); err != nil {
		return false
	}
	_, banned := c.banned[key]
	return banned
}

// loadNames reads the stored names and finds all clashes.
func (s *authors) loadNames(it *badger.Iterator, now time.Time) error {
	for it.Seek([]byte{keyNames}); it.ValidForPrefix([]byte{keyNames}); it.Next() {
		var uses []*names.Use
		if err := it.Item().Value(func(raw []byte) error { return json.Unmarshal(raw, &uses) }); err != nil {
			return err
		}
		pubkey := hexOf(it.Item().Key()[1:])
		s.of(pubkey).named = s.clashes.set(pubkey, uses)
	}
	s.clashes.findAll(s.standingOf, now)
	return nil
}

func (s *authors) usesOf(pubkey string) []*names.Use {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if a := s.byKey[pubkey]; a != nil {
		return a.named.Uses()
	}
	return nil
}

// standingOf returns the standing of a key, which decides whether its name is protected.
// The caller holds mu.
func (s *authors) standingOf(pubkey string) names.Standing {
	a := s.byKey[pubkey]
	switch {
	case a == nil || a.Info == nil && len(a.orders) == 0 || s.clashes.isBanned(pubkey):
		return names.NoStanding
	case a.Info == nil:
		return names.IsPublisher
	}
	return names.IsInstance
}

// ban sets the keys that a version of the rules never shows. ban returns true if the set
// has changed.
func (s *authors) ban(version uint64, banned map[[32]byte]struct{}) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.clashes
	if c.rules == version && len(c.banned) == len(banned) {
		return false
	}
	c.rules, c.banned, c.stale = version, banned, true
	return true
}

// reclash finds all clashes again if that is due, or if force is set and a clash may have
// changed.
func (s *authors) reclash(now time.Time, force bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := &s.clashes; c.due() || c.stale && force {
		c.findAll(s.standingOf, now)
	}
}

// rename applies changed names and finds the clashes that they cause. If an info appears
// or is deleted, the set of protected names changes for every key, so rename finds all
// clashes again. If that was done a moment ago, reclash does it later. rename returns the
// keys whose clash may have changed.
func (s *authors) rename(changed map[string][]*names.Use, now time.Time) (touched []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.clashes
	for pubkey, uses := range changed {
		s.of(pubkey).named = c.set(pubkey, uses)
	}
	if c.due() {
		c.findAll(s.standingOf, now)
		return c.names.Pubkeys()
	}
	touched = c.names.Touched(changed)
	for _, pubkey := range touched {
		c.names.Find(pubkey, s.standingOf, now)
	}
	return touched
}
