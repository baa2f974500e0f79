package indexer

import (
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mostrodex/mostrodex/mostro"
)

// The classes of orders, by how well this relay knows their author. Anybody can
// make a key, write a known name into its orders and give itself five stars,
// so by default the book lists the classes one after the other.
const (
	classKnown   = iota
	classNew     // the author was first seen here less than newFor ago
	classUnknown // the order says that its author is a Mostro, which it never described itself as; or the author uses another's name
	numClasses
)

// newFor is how long a key counts as new.
const newFor = 7 * 24 * time.Hour

// judgement is what the class of an author's orders follows from.
type judgement struct {
	info  bool // it has published an info event (kind 38385)
	clash bool // another key used its name before
	new   bool
}

// class returns the class of an order of a platform. Only a Mostro promises to
// describe itself by an info event; other platforms promise nothing of the kind.
// Who names no platform is held to what Mostros promise.
func (j judgement) class(platform string) uint8 {
	switch {
	case j.clash, !j.info && (platform == mostro.PlatformMostro || platform == ""):
		return classUnknown
	case j.new:
		return classNew
	}
	return classKnown
}

func (a *author) judgement(now time.Time) judgement {
	return judgement{info: a.Info != nil, clash: a.clash != nil && !a.clash.Shared, new: now.Sub(a.first) < newFor}
}

// groups returns the classes that a query lists one after the other; classes of
// one group are listed together, and equal values by class. nil: classes make
// no difference.
func (q *Query) groups() [][]uint8 {
	switch {
	case q.Open != OpenTrue || !q.At.IsZero() || q.Sort == SortNewest || q.Sort == SortOldest:
		return nil
	case q.Sort == "" || q.Sort == SortTrusted:
		return [][]uint8{{classKnown}, {classNew}, {classUnknown}}
	}
	return [][]uint8{{classKnown, classNew}, {classUnknown}}
}

// seenBy returns the mark as the orders of another class are to be read from
// it: of equal values, lower classes have been listed and higher ones have not.
func (m *mark) seenBy(class uint8, descending bool) *mark {
	if m == nil || m.class == class {
		return m
	}
	other := *m
	fill := byte(0)
	if (class < m.class) != descending {
		fill = 0xff
	}
	for i := range other.id {
		other.id[i] = fill
	}
	return &other
}

// goesBy notes the names under which the author of an entry appears in it.
func (w *work) goesBy(e *mostro.Entry, names ...string) error {
	pubkey := e.Event.PubKey
	for _, name := range names {
		if name = strings.TrimSpace(words.Cut(name, maxNameBytes)); name == "" {
			continue
		}
		uses, held := w.names[pubkey]
		if !held {
			uses = w.b.authors.Load().usesOf(pubkey)
		}
		use := useOf(uses, name)
		if use != nil && !e.ReceivedAt.Before(use.First) && e.ReceivedAt.Sub(use.Last) < 24*time.Hour {
			continue
		}
		if !held { // what readers see is not changed
			uses = slices.Clone(uses)
			for i, u := range uses {
				c := *u
				uses[i] = &c
			}
			use = useOf(uses, name)
		}
		if use == nil {
			use = &nameUse{Name: name, First: e.ReceivedAt, Last: e.ReceivedAt, Seq: e.Seq, Witnessed: e.Source.Road.Witnessed() && !e.Archived}
			if len(uses) == maxUses {
				oldest := slices.MinFunc(uses, func(a, b *nameUse) int { return a.Last.Compare(b.Last) })
				uses = slices.DeleteFunc(uses, func(u *nameUse) bool { return u == oldest })
			}
			uses = append(uses, use)
		}
		if e.ReceivedAt.Before(use.First) {
			use.First, use.Seq, use.Witnessed = e.ReceivedAt, e.Seq, e.Source.Road.Witnessed() && !e.Archived
		}
		if e.ReceivedAt.After(use.Last) {
			use.Last = e.ReceivedAt
		}
		w.names[pubkey] = uses
	}
	return nil
}

func useOf(uses []*nameUse, name string) *nameUse {
	for _, u := range uses {
		if u.Name == name {
			return u
		}
	}
	return nil
}

// keepNames writes the names that have changed.
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

// loadNames reads the stored names and finds the clashes among them.
func (s *authors) loadNames(it *badger.Iterator, now time.Time) error {
	for it.Seek([]byte{keyNames}); it.ValidForPrefix([]byte{keyNames}); it.Next() {
		var uses []*nameUse
		if err := it.Item().Value(func(raw []byte) error { return json.Unmarshal(raw, &uses) }); err != nil {
			return err
		}
		s.setUses(hexOf(it.Item().Key()[1:]), uses)
	}
	s.findClashes(now)
	return nil
}

func (s *authors) usesOf(pubkey string) []*nameUse {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if a := s.byKey[pubkey]; a != nil {
		return a.uses
	}
	return nil
}

// setUses replaces the names of a key. The caller holds mu.
func (s *authors) setUses(pubkey string, uses []*nameUse) {
	a := s.of(pubkey)
	if a.uses == nil {
		s.namedKeys = append(s.namedKeys, strings.Clone(pubkey))
	}
	a.uses = uses
	for _, u := range uses {
		s.names.add(owner{pubkey, u}, formsOf(u.Name))
		if u.First.Before(s.newest.Add(-time.Minute)) {
			s.stale = true // an earlier name came later, from a backup
		}
		if u.First.After(s.newest) {
			s.newest = u.First
		}
	}
}

// findClash looks for the other owners of a key's names. The caller holds mu.
func (s *authors) findClash(pubkey string, now time.Time) {
	a := s.byKey[pubkey]
	if a == nil {
		return
	}
	a.clash = nil
	for _, u := range a.uses {
		if now.Sub(u.Last) > usedFor {
			continue
		}
		found := s.names.find(owner{pubkey, u}, s.standingOf, now)
		if found != nil && (a.clash == nil || a.clash.Shared && !found.Shared) {
			a.clash = found
		}
	}
}

// standingOf returns what a key is, for the protection of its name. The caller
// holds mu.
func (s *authors) standingOf(pubkey string) standing {
	a := s.byKey[pubkey]
	if a == nil || a.Info == nil && len(a.orders) == 0 {
		return noStanding
	}
	var key [32]byte
	if _, err := hex.Decode(key[:], []byte(pubkey)); err == nil {
		if _, banned := s.banned[key]; banned {
			return noStanding
		}
	}
	if a.Info == nil {
		return isPublisher
	}
	return isInstance
}

// ban notes the keys that the rules of a version never show: a banned key owns
// no name.
func (s *authors) ban(version uint64, banned map[[32]byte]struct{}) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rules == version && len(s.banned) == len(banned) {
		return false
	}
	s.rules, s.banned, s.stale = version, banned, true
	return true
}

// findClashes looks for all clashes anew. The caller holds mu.
func (s *authors) findClashes(now time.Time) {
	start := time.Now()
	for _, pubkey := range s.namedKeys {
		s.findClash(pubkey, now)
	}
	s.stale, s.clashedAt, s.clashCost = false, time.Now(), time.Since(start)
}

// clashShare is the part of the time that may be spent on looking for all
// clashes anew.
const clashShare = 20

// rename takes up changed names, and finds the clashes that they make. An info
// that comes or goes changes whose names are looked for within others, which
// concerns everybody: all is looked at anew then, unless that was done a moment
// ago. rejudge does it later.
func (s *authors) rename(names map[string][]*nameUse, now time.Time) (touched []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pubkey, uses := range names {
		s.setUses(pubkey, uses)
	}
	if s.stale && time.Since(s.clashedAt) > clashShare*s.clashCost {
		s.findClashes(now)
		return s.namedKeys
	}
	for pubkey, uses := range names {
		touched = append(touched, pubkey)
		for _, u := range uses {
			f := formsOf(u.Name)
			for _, list := range [][]owner{s.names.full[f.full], s.names.core[f.core]} {
				for _, o := range list {
					touched = append(touched, o.pubkey)
				}
			}
		}
	}
	slices.Sort(touched)
	touched = slices.Compact(touched)
	for _, pubkey := range touched {
		s.findClash(pubkey, now)
	}
	return touched
}

// judgements returns what is known of some keys; of all keys when given nil.
func (s *authors) judgements(keys []string, now time.Time) map[string]judgement {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := map[string]judgement{}
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

// judge brings the classes of the orders of some keys up to date.
func (b *book) judge(keys []string) {
	live := b.live.Load()
	if changes := live.unlike(b.authors.Load().judgements(keys, b.now())); len(changes) > 0 {
		live.judge(changes)
	}
}

// rejudgeEvery is how often keys are looked at that have grown older.
const rejudgeEvery = 30 * time.Second

// rejudge brings the classes of all orders up to date: keys grow older without
// an event. force does not wait for the next time.
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

// Note is what a reader is to know about the author of an order.
type Note struct {
	Unknown bool   // it never described itself as the Mostro that its order says it is
	New     bool   // first seen here less than newFor ago, while others were seen before
	Clash   *Clash // another key uses the same name
	First   time.Time
}

// noteOf returns the note for orders of a platform; platform "" asks about the
// author alone.
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
	n.First, n.Clash = a.first, a.clash
	n.New = now.Sub(a.first) < newFor && now.Sub(s.oldest) >= newFor
	return n
}

// marked is 1 for a key that uses another's name, else 0: the order of a list.
func (s *authors) marked(pubkey string) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if a := s.byKey[pubkey]; a != nil && a.clash != nil && !a.clash.Shared {
		return 1
	}
	return 0
}

// isOpen reports whether an order can be taken at a time, as far as its events
// tell.
func (v *Version) isOpen(now time.Time) bool {
	return v.liveAt(now) && v.Order.Status == mostro.StatusPending
}

// TakeLink returns the link by which an order is taken. "": it cannot be taken
// any more, its link is not the one that its platform promises, or its author
// uses another's name.
func (n *Note) TakeLink(v *Version, now time.Time) string {
	if !v.isOpen(now) || n.Clash != nil && !n.Clash.Shared {
		return ""
	}
	return v.Order.TakeLink()
}

// Impostor reports whether a key uses the name of another one that this relay
// has known longer, and whose.
func (x *Index) Impostor(pubkey string) (of, name string, ok bool) {
	c := x.book.authors.Load().noteOf(pubkey, "", x.cfg.Now()).Clash
	if c == nil || c.Shared {
		return "", "", false
	}
	return c.Pubkey, c.Name, true
}
