package indexer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/indexer/names"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// authorRecord holds the newest info, profile, relay list and health of an author, in the form
// in which the book stores them. Only an author with an Info is an instance of Mostro.
//
// BUG: only the newest event of each kind is held. If a deletion names the newest event
// by id, the event before it is shown again only after a rebuild.
type authorRecord struct {
	Info      *mostro.Info      `json:"info,omitempty"`
	InfoAt    time.Time         `json:"info_at,omitzero"`    // time at which the newest info was received
	InfoFirst time.Time         `json:"info_first,omitzero"` // time at which the first info was received
	Profile   *mostro.Profile   `json:"profile,omitempty"`
	ProfileAt time.Time         `json:"profile_at,omitzero"`
	Relays    *mostro.RelayList `json:"relays,omitempty"`
	RelaysAt  time.Time         `json:"relays_at,omitzero"`
	Health    *mostro.Health    `json:"health,omitempty"`
}

// supersedes reports whether an event replaces the held one, by the rule of replaceable
// events (NIP-01).
func supersedes(created nostr.Timestamp, id string, heldCreated nostr.Timestamp, heldID string) bool {
	return created > heldCreated || created == heldCreated && id < heldID
}

func (a *authorRecord) setInfo(info mostro.Info, e *mostro.Entry) {
	boundInfo(&info)
	if a.InfoFirst.IsZero() || e.ReceivedAt.Before(a.InfoFirst) {
		a.InfoFirst = e.ReceivedAt
	}
	if a.Info == nil || supersedes(info.CreatedAt, info.EventID, a.Info.CreatedAt, a.Info.EventID) {
		a.Info, a.InfoAt = &info, e.ReceivedAt
	}
}

func (a *authorRecord) setProfile(p mostro.Profile, e *mostro.Entry) {
	boundProfile(&p)
	if a.Profile == nil || supersedes(p.CreatedAt, p.EventID, a.Profile.CreatedAt, a.Profile.EventID) {
		a.Profile, a.ProfileAt = &p, e.ReceivedAt
	}
}

func (a *authorRecord) setRelays(l mostro.RelayList, e *mostro.Entry) {
	boundRelays(&l)
	if a.Relays == nil || supersedes(l.CreatedAt, l.EventID, a.Relays.CreatedAt, a.Relays.EventID) {
		a.Relays, a.RelaysAt = &l, e.ReceivedAt
	}
}

func (a *authorRecord) setHealth(h mostro.Health) {
	boundHealth(&h)
	if a.Health == nil || supersedes(h.CreatedAt, h.EventID, a.Health.CreatedAt, a.Health.EventID) {
		a.Health = &h
	}
}

// forget removes the events for which doomed returns true, and reports whether any was
// removed.
func (a *authorRecord) forget(doomed func(id string, kind int, created nostr.Timestamp) bool) bool {
	was := *a
	if a.Info != nil && doomed(a.Info.EventID, mostro.KindInfo, a.Info.CreatedAt) {
		a.Info, a.InfoAt, a.InfoFirst = nil, time.Time{}, time.Time{}
	}
	if a.Profile != nil && doomed(a.Profile.EventID, mostro.KindProfile, a.Profile.CreatedAt) {
		a.Profile, a.ProfileAt = nil, time.Time{}
	}
	if a.Relays != nil && doomed(a.Relays.EventID, mostro.KindRelayList, a.Relays.CreatedAt) {
		a.Relays, a.RelaysAt = nil, time.Time{}
	}
	if a.Health != nil && doomed(a.Health.EventID, mostro.KindHealth, a.Health.CreatedAt) {
		a.Health = nil
	}
	return was != *a
}

// disputeRecord is the newest public state of a dispute, in the form in which the book
// stores it.
type disputeRecord struct {
	Pubkey    string              `json:"pubkey"`
	D         string              `json:"d"`
	EventID   string              `json:"event_id"`
	CreatedAt nostr.Timestamp     `json:"created_at"`
	State     mostro.DisputeState `json:"state"`
	At        time.Time           `json:"at"`
}

type disputeChange struct {
	record disputeRecord
	by     int
}

// author is an author in memory: its record, and the sums over its orders.
type author struct {
	authorRecord
	orders   map[mostro.Status]int
	fiats    map[string]int
	platform map[string]int
	disputes map[mostro.DisputeState]int
	volume   int64 // sats of the successful orders that state an amount
	first    time.Time
	last     time.Time
	words    []string      // folded words of its name and description
	named    *names.Holder // its names and their clash; nil: it uses no name
}

// authors holds all authors of orders, infos, profiles and relay lists. The book's
// goroutine changes authors, and sweep, which any goroutine may call, changes bans and
// clashes.
type authors struct {
	mu sync.RWMutex // guards all fields below

	byKey   map[string]*author
	infos   map[string]*author // the authors with an Info
	oldest  time.Time          // time at which the first of all authors was first seen
	clashes clashFinder        // of the names of all authors
}

func newAuthors() *authors {
	return &authors{byKey: map[string]*author{}, infos: map[string]*author{}, clashes: clashFinder{names: names.NewRegistry()}}
}

func (s *authors) of(pubkey string) *author {
	a := s.byKey[pubkey]
	if a == nil {
		a = &author{orders: map[mostro.Status]int{}, fiats: map[string]int{}, platform: map[string]int{}, disputes: map[mostro.DisputeState]int{}}
		s.byKey[strings.Clone(pubkey)] = a
	}
	return a
}

// load reads the stored records and disputes. The caller counts the orders with count.
func (s *authors) load(txn *badger.Txn, now time.Time) error {
	it := txn.NewIterator(badger.DefaultIteratorOptions)
	defer it.Close()
	for it.Seek([]byte{keyAuthor}); it.ValidForPrefix([]byte{keyAuthor}); it.Next() {
		var r authorRecord
		if err := it.Item().Value(func(raw []byte) error { return json.Unmarshal(raw, &r) }); err != nil {
			return err
		}
		s.setRecord(hexOf(it.Item().Key()[1:]), &r)
	}
	for it.Seek([]byte{keyDispute}); it.ValidForPrefix([]byte{keyDispute}); it.Next() {
		var r disputeRecord
		if err := it.Item().Value(func(raw []byte) error { return json.Unmarshal(raw, &r) }); err != nil {
			return err
		}
		s.dispute(disputeChange{r, 1})
	}
	return s.loadNames(it, now)
}

// change applies committed changes to memory.
func (s *authors) change(records map[string]*authorRecord, counts []countChange, disputes []disputeChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pubkey, r := range records {
		s.setRecord(pubkey, r)
	}
	for _, c := range counts {
		s.count(c.v, c.first, c.by)
	}
	for _, d := range disputes {
		s.dispute(d)
	}
}

func (s *authors) setRecord(pubkey string, r *authorRecord) {
	a := s.of(pubkey)
	if (a.Info != nil) != (r.Info != nil) {
		s.clashes.stale = true
		if r.Info != nil {
			s.infos[strings.Clone(pubkey)] = a
		} else {
			delete(s.infos, pubkey)
		}
	}
	a.authorRecord = *r
	s.seen(a, r.InfoFirst, r.InfoAt)
	s.seen(a, r.ProfileAt, r.ProfileAt)
	s.seen(a, r.RelaysAt, r.RelaysAt)
	a.words = nil
	if r.Info != nil {
		a.words = words.Split(a.words, r.Info.Name)
		if p := r.Profile; p != nil {
			a.words = words.Split(words.Split(words.Split(a.words, p.Name), p.DisplayName), p.About)
		}
		a.words = a.words[:min(len(a.words), maxInstanceWords)]
	}
}

func (s *authors) seen(a *author, first, last time.Time) {
	if !first.IsZero() && (s.oldest.IsZero() || first.Before(s.oldest)) {
		s.oldest = first
	}
	if !first.IsZero() && (a.first.IsZero() || first.Before(a.first)) {
		a.first = first
	}
	if last.After(a.last) {
		a.last = last
	}
}

// count adds (by = 1) or subtracts (by = -1) the newest version of an order.
func (s *authors) count(v *orders.Version, first time.Time, by int) {
	a := s.of(v.Order.Pubkey)
	if by > 0 {
		s.seen(a, first, v.ReceivedAt)
	}
	if v.Withdrawn {
		return
	}
	o := &v.Order
	if len(a.orders) == 0 && a.named != nil {
		s.clashes.stale = true // its name is protected from now on
	}
	bump(a.orders, o.Status, by)
	bump(a.fiats, o.Fiat, by)
	bump(a.platform, o.Platform, by)
	if o.Status == mostro.StatusSuccess && o.AmountSats != nil {
		a.volume += int64(by) * *o.AmountSats
	}
}

func (s *authors) dispute(d disputeChange) {
	a := s.of(d.record.Pubkey)
	bump(a.disputes, d.record.State, d.by)
	if d.by > 0 {
		s.seen(a, d.record.At, d.record.At)
	}
}

func bump[K comparable](m map[K]int, k K, by int) {
	if m[k] += by; m[k] == 0 {
		delete(m, k)
	}
}

// name returns the name of an author: the name in its info, or else the name in its
// profile, or "" if there is none.
func (a *author) name() string {
	if a.Info != nil && a.Info.Name != "" {
		return a.Info.Name
	}
	if a.Profile != nil {
		return cmp.Or(a.Profile.DisplayName, a.Profile.Name)
	}
	return ""
}

// nameOf returns the name of a public key, or "" if it states none.
func (s *authors) nameOf(pubkey string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if a := s.byKey[pubkey]; a != nil {
		return a.name()
	}
	return ""
}

// wordsOf returns the words of an instance.
func (s *authors) wordsOf(pubkey string) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if a := s.byKey[pubkey]; a != nil {
		return a.words
	}
	return nil
}

// maxNamed bounds the instances that one word of a query stands for.
const maxNamed = 500

// named returns the instances with a word that begins with w, sorted.
func (s *authors) named(w string) []string {
	out := s.matching([]string{w})
	return out[:min(len(out), maxNamed)]
}

// matching returns the instances that match all wanted words, sorted.
func (s *authors) matching(wanted []string) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []string
	for pubkey, a := range s.infos {
		if words.AllBegin(a.words, wanted) {
			out = append(out, pubkey)
		}
	}
	slices.Sort(out)
	return out
}

// instances returns the number of authors with an Info.
func (s *authors) instances() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.infos)
}

// same returns an error that describes a difference between two sets of sums. Times are
// not compared: they cover all events ever seen, and the book may have lost some of these
// events since.
func (s *authors) same(other *authors) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for pubkey, a := range other.byKey {
		b := s.byKey[pubkey]
		if b == nil {
			return fmt.Errorf("author %s is missing", pubkey)
		}
		if !maps.Equal(a.orders, b.orders) || !maps.Equal(a.fiats, b.fiats) || !maps.Equal(a.platform, b.platform) ||
			!maps.Equal(a.disputes, b.disputes) || a.volume != b.volume {
			return fmt.Errorf("author %s: sums are %v %v %d, want %v %v %d", pubkey, b.orders, b.fiats, b.volume, a.orders, a.fiats, a.volume)
		}
	}
	return nil
}

func (s *authors) infoID(pubkey string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if a := s.byKey[pubkey]; a != nil && a.Info != nil {
		return a.Info.EventID
	}
	return ""
}

// list returns the instances whose words match all wanted words, and the other authors of
// orders.
func (s *authors) list(wanted []string, now time.Time) ([]*Instance, []Publisher) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var instances []*Instance
	publishers := []Publisher{}
	for pubkey, a := range s.byKey {
		if a.Info != nil {
			if words.AllBegin(a.words, wanted) {
				instances = append(instances, a.instance(pubkey, s.note(pubkey, "", now)))
			}
			continue
		}
		p := Publisher{Pubkey: pubkey, Name: a.name()}
		most := 0
		for platform, n := range a.platform {
			p.Orders += n
			if n > most || n == most && platform != "" && (p.Platform == "" || platform < p.Platform) {
				most, p.Platform = n, platform
			}
		}
		if p.Orders > 0 {
			publishers = append(publishers, p)
		}
	}
	slices.SortFunc(publishers, func(a, b Publisher) int {
		return cmp.Or(cmp.Compare(b.Orders, a.Orders), strings.Compare(a.Pubkey, b.Pubkey))
	})
	return instances, publishers[:min(len(publishers), maxPublishers)]
}

func (s *authors) instance(pubkey string, now time.Time) (*Instance, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a := s.byKey[pubkey]
	if a == nil {
		return nil, mostro.ErrNotFound
	}
	if i := a.instance(pubkey, s.note(pubkey, "", now)); i != nil {
		return i, nil
	}
	return nil, ErrNoInstance
}

// instance returns a copy of an author, or nil if the author is no instance. The caller
// holds the lock of authors.
func (a *author) instance(pubkey string, note Note) *Instance {
	if a.Info == nil {
		return nil
	}
	return &Instance{Pubkey: pubkey, Name: a.name(), Info: a.Info, Profile: a.Profile, Relays: a.Relays, Health: a.Health,
		Orders: maps.Clone(a.orders), Fiats: maps.Clone(a.fiats), Disputes: maps.Clone(a.disputes),
		Trades: a.orders[mostro.StatusSuccess], VolumeSats: a.volume, FirstSeen: a.first, LastSeen: a.last, Note: note}
}
