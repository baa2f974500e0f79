package indexer

import (
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/indexer/livebook"
	"github.com/mostrodex/mostrodex/indexer/names"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
)

// newFor is the time for which a key counts as new.
const newFor = 7 * 24 * time.Hour

// impostor reports whether an author uses the name of another key.
func (a *author) impostor() bool {
	c := a.named.Clash()
	return c != nil && !c.Shared
}

func (a *author) judgement(now time.Time) livebook.Judgement {
	return livebook.Judgement{Info: a.Info != nil, Clash: a.impostor(), New: now.Sub(a.first) < newFor}
}

// goesBy records the names that the author of an entry uses in the entry.
func (w *work) goesBy(e *mostro.Entry, stated ...string) error {
	pubkey := e.Event.PubKey
	for _, name := range stated {
		uses, owned := w.names[pubkey]
		if !owned {
			uses = w.b.authors.Load().usesOf(pubkey)
		}
		use := names.Use{Name: name, First: e.ReceivedAt, Last: e.ReceivedAt, Seq: e.Seq, Witnessed: e.Source.Road.Witnessed() && !e.Archived}
		if uses, changed := names.With(uses, owned, use); changed {
			w.names[pubkey] = uses
		}
	}
	return nil
}

// keepNames writes the changed names.
func (w *work) keepNames() error {
	for pubkey, uses := range w.names {
		raw, err := json.Marshal(uses)
		if err != nil {
			return err
		}
		if err := w.set(idKey(keyNames, pubkey), raw); err != nil {
			return err
		}
	}
	return nil
}

// loadNames reads the stored names and finds all clashes.
func (s *authors) loadNames(it *badger.Iterator, now time.Time) error {
	for it.Seek([]byte{keyNames}); it.ValidForPrefix([]byte{keyNames}); it.Next() {
		var uses []*names.Use
		if err := it.Item().Value(func(raw []byte) error { return json.Unmarshal(raw, &uses) }); err != nil {
			return err
		}
		s.setUses(hexOf(it.Item().Key()[1:]), uses)
	}
	s.findClashes(now)
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

// setUses replaces the names of a key. The caller holds mu.
func (s *authors) setUses(pubkey string, uses []*names.Use) {
	named, late := s.names.Set(pubkey, uses)
	s.of(pubkey).named = named
	s.stale = s.stale || late
}

// standingOf returns the standing of a key, which decides whether its name is protected.
// The caller holds mu.
func (s *authors) standingOf(pubkey string) names.Standing {
	a := s.byKey[pubkey]
	if a == nil || a.Info == nil && len(a.orders) == 0 {
		return names.NoStanding
	}
	var key [32]byte
	if _, err := hex.Decode(key[:], []byte(pubkey)); err == nil {
		if _, banned := s.banned[key]; banned {
			return names.NoStanding
		}
	}
	if a.Info == nil {
		return names.IsPublisher
	}
	return names.IsInstance
}

// ban sets the keys that a version of the rules never shows. A banned key owns no name.
// ban returns true if the set has changed.
func (s *authors) ban(version uint64, banned map[[32]byte]struct{}) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rules == version && len(s.banned) == len(banned) {
		return false
	}
	s.rules, s.banned, s.stale = version, banned, true
	return true
}

// findClashes finds the clashes of all keys again. The caller holds mu.
func (s *authors) findClashes(now time.Time) {
	start := time.Now()
	for _, pubkey := range s.names.Pubkeys() {
		s.names.Find(pubkey, s.standingOf, now)
	}
	s.stale, s.clashedAt, s.clashCost = false, time.Now(), time.Since(start)
}

// clashShare bounds the time spent in findClashes to one part in clashShare.
const clashShare = 20

// rename applies changed names and finds the clashes that they cause. If an info appears
// or is deleted, the set of protected names changes for every key, so rename finds all
// clashes again. If that was done a moment ago, rejudge does it later. rename returns the
// keys whose clash may have changed.
func (s *authors) rename(changed map[string][]*names.Use, now time.Time) (touched []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pubkey, uses := range changed {
		s.setUses(pubkey, uses)
	}
	if s.stale && time.Since(s.clashedAt) > clashShare*s.clashCost {
		s.findClashes(now)
		return s.names.Pubkeys()
	}
	touched = s.names.Touched(changed)
	for _, pubkey := range touched {
		s.names.Find(pubkey, s.standingOf, now)
	}
	return touched
}

// judgements returns the judgements of some keys, or of all keys if keys is nil.
func (s *authors) judgements(keys []string, now time.Time) map[string]livebook.Judgement {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := map[string]livebook.Judgement{}
	if keys == nil {
		for pubkey, a := range s.byKey {
			if a.Info != nil || len(a.orders) > 0 {
				out[pubkey] = a.judgement(now)
			}
		}
		return out
	}
	for _, pubkey := range keys {
		if a := s.byKey[pubkey]; a != nil {
			out[pubkey] = a.judgement(now)
		}
	}
	return out
}

// judge updates the classes of the orders of some keys.
func (b *book) judge(keys []string) {
	b.live.Load().Judge(b.authors.Load().judgements(keys, b.now()))
}

// rejudgeEvery is the interval at which keys are checked for age.
const rejudgeEvery = 30 * time.Second

// rejudge updates the classes of all orders, because keys grow older without an event. If
// force is set, rejudge does not wait for the interval.
func (b *book) rejudge(now time.Time, force bool) {
	last := b.judgedAt.Load()
	if passed := now.UnixNano() - last; !force && passed >= 0 && passed < int64(rejudgeEvery) || !b.judgedAt.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	s := b.authors.Load()
	s.mu.Lock()
	if s.stale && (force || time.Since(s.clashedAt) > clashShare*s.clashCost) {
		s.findClashes(now)
	}
	s.mu.Unlock()
	b.judge(nil)
}

// Note is a warning or remark about the author of an order.
type Note struct {
	Unknown bool         // the order says that its author is a Mostro, but the author has published no info event
	New     bool         // first seen by this relay less than newFor ago, while other keys were seen before
	Clash   *names.Clash // another key uses the same name
	First   time.Time
}

// noteOf returns the note about an author for an order of a platform. If platform is "",
// the note is about the author alone.
func (s *authors) noteOf(pubkey, platform string, now time.Time) (n Note) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.note(pubkey, platform, now)
}

// note is noteOf for a caller that holds mu.
func (s *authors) note(pubkey, platform string, now time.Time) (n Note) {
	a := s.byKey[pubkey]
	if a == nil {
		return Note{Unknown: platform == mostro.PlatformMostro}
	}
	n.Unknown = a.Info == nil && platform == mostro.PlatformMostro
	n.First, n.Clash = a.first, a.named.Clash()
	n.New = now.Sub(a.first) < newFor && now.Sub(s.oldest) >= newFor
	return n
}

// marked returns 1 if a key uses the name of another key, and 0 otherwise. Lists are
// sorted by this number.
func (s *authors) marked(pubkey string) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if a := s.byKey[pubkey]; a != nil && a.impostor() {
		return 1
	}
	return 0
}

// TakeLink returns the link with which an order is taken. TakeLink returns "" if the
// order can no longer be taken, if the link does not have the form that its platform
// promises, or if the author uses the name of another key.
func (n *Note) TakeLink(v *orders.Version, now time.Time) string {
	if !v.IsOpen(now) || n.Clash != nil && !n.Clash.Shared {
		return ""
	}
	return v.Order.TakeLink()
}

// Impostor reports whether a key uses the name of another key that this relay has known
// longer. If so, of is the other key and name is its name.
func (x *Index) Impostor(pubkey string) (of, name string, ok bool) {
	c := x.book.authors.Load().noteOf(pubkey, "", x.cfg.Now()).Clash
	if c == nil || c.Shared {
		return "", "", false
	}
	return c.Pubkey, c.Name, true
}
