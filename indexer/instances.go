package indexer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
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

// authorRecord holds the newest info, profile and relay list of an author, in the form in
// which the book stores them. Only an author with an Info is an instance of Mostro.
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
// clashes. mu guards all fields.
type authors struct {
	mu    sync.RWMutex
	byKey map[string]*author
	infos map[string]*author // the authors with an Info

	oldest    time.Time // time at which the first of all authors was first seen
	names     *names.Registry
	stale     bool          // all clashes must be found again
	clashedAt time.Time     // time of the last findClashes
	clashCost time.Duration // duration of the last findClashes

	rules  uint64 // version of the rules that ban the keys below
	banned map[[32]byte]struct{}
}

func newAuthors() *authors {
	return &authors{byKey: map[string]*author{}, infos: map[string]*author{}, names: names.NewRegistry()}
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
		s.stale = true
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
		s.stale = true // its name is protected from now on
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
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []string
	for pubkey, a := range s.infos {
		if words.AnyBegins(a.words, w) {
			out = append(out, pubkey)
		}
	}
	slices.Sort(out)
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

// author applies an info, profile or relay list to the record of its author. If the
// author deleted the event earlier, author does nothing.
func (w *work) author(e *mostro.Entry, set func(*authorRecord)) error {
	if gone, err := has(w.txn, idKey(keyNoID, e.Event.ID, e.Event.PubKey)); err != nil || gone {
		return err
	}
	until, err := get(w.txn, authorTombstone(e.Event.PubKey, e.Event.Kind))
	if err == nil && int64(e.Event.CreatedAt) <= readTime(until) {
		return nil
	}
	if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		return err
	}
	record, err := w.authorRecord(e.Event.PubKey)
	if err != nil {
		return err
	}
	set(record)
	return nil
}

// authorRecord returns the record that the batch changes. The record is read from the
// store on first use in a batch.
func (w *work) authorRecord(pubkey string) (*authorRecord, error) {
	if r := w.authors[pubkey]; r != nil {
		return r, nil
	}
	r := &authorRecord{}
	raw, err := get(w.txn, idKey(keyAuthor, pubkey))
	if err == nil {
		err = json.Unmarshal(raw, r)
	} else if errors.Is(err, badger.ErrKeyNotFound) {
		err = nil
	}
	w.authors[pubkey] = r
	return r, err
}

// deleteAuthorEvent removes an info, profile or relay list by id.
//
// BUG: a dispute that is deleted only by id stays. Mostros delete no disputes.
func (w *work) deleteAuthorEvent(id, pubkey string) error {
	record, err := w.authorRecord(pubkey)
	if err != nil {
		return err
	}
	record.forget(func(held string, _ int, _ nostr.Timestamp) bool { return held == id })
	return nil
}

// deleteAuthorAddress removes an info, profile, relay list or dispute by address, if the
// author of the deletion is the author of the address.
func (w *work) deleteAuthorAddress(address string, evt *nostr.Event) error {
	parts := strings.SplitN(address, ":", 3)
	if len(parts) != 3 || parts[1] != evt.PubKey {
		return nil
	}
	switch parts[0] {
	case "38386":
		key := disputeKey(parts[1], parts[2])
		held, err := w.heldDispute(key)
		if err != nil || held == nil || held.CreatedAt > evt.CreatedAt {
			return err
		}
		w.dispute = append(w.dispute, disputeChange{*held, -1})
		return w.delete(key)
	case "38385", "0", "10002":
		kind := map[string]int{"38385": mostro.KindInfo, "0": mostro.KindProfile, "10002": mostro.KindRelayList}[parts[0]]
		key := authorTombstone(evt.PubKey, kind)
		if held, err := get(w.txn, key); err == nil && readTime(held) >= int64(evt.CreatedAt) {
			return nil
		}
		record, err := w.authorRecord(evt.PubKey)
		if err != nil {
			return err
		}
		record.forget(func(_ string, k int, created nostr.Timestamp) bool { return k == kind && created <= evt.CreatedAt })
		return w.set(key, timeValue(evt.CreatedAt))
	}
	return nil
}

// authorTombstone returns the key of the created_at up to which an author deleted its
// events of a kind.
func authorTombstone(pubkey string, kind int) []byte {
	k := orders.KeyOf(strings.Join([]string{"author", strconv.Itoa(kind), pubkey}, ":"))
	return append([]byte{keyNoAddr}, k[:]...)
}

func (w *work) heldDispute(key []byte) (*disputeRecord, error) {
	raw, err := get(w.txn, key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &disputeRecord{}
	return r, json.Unmarshal(raw, r)
}

// disputed applies the newest state of a dispute.
func (w *work) disputed(e *mostro.Entry, d mostro.Dispute) error {
	if gone, err := has(w.txn, idKey(keyNoID, e.Event.ID, e.Event.PubKey)); err != nil || gone {
		return err
	}
	key := disputeKey(d.Pubkey, d.D)
	held, err := w.heldDispute(key)
	if err != nil {
		return err
	}
	if held != nil {
		if !supersedes(d.CreatedAt, d.EventID, held.CreatedAt, held.EventID) {
			return nil
		}
		w.dispute = append(w.dispute, disputeChange{*held, -1})
	}
	next := disputeRecord{d.Pubkey, d.D, d.EventID, d.CreatedAt, d.State, e.ReceivedAt}
	w.dispute = append(w.dispute, disputeChange{next, 1})
	raw, err := json.Marshal(next)
	if err != nil {
		return err
	}
	return w.set(key, raw)
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
