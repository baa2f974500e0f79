package livebook

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/sorted"
	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mostrodex/mostrodex/internal/cache"
	"github.com/mostrodex/mostrodex/mostro"
)

const pendingCode = 1

func statusCode(s mostro.Status) uint8 { return uint8(max(0, slices.Index(orders.Statuses[:], s))) }

var sides = [...]mostro.Side{"", mostro.SideBuy, mostro.SideSell}

func sideCode(s mostro.Side) uint8 { return uint8(max(0, slices.Index(sides[:], s))) }

// Store holds the live orders in memory, in columns without pointers, so that the
// garbage collector has little to scan. The columns hold only data for filters, counts
// and sorts. The texts of an order are in the book, on disk.
type Store struct {
	// DenseAbove is the size above which a selection by ranges is built as a bitmap. A
	// caller may set DenseAbove before the first query, as tests do.
	DenseAbove int

	mu sync.RWMutex // guards all fields below

	slots   map[orders.Key]uint32
	free    []uint32
	changes uint64 // number of updates; a cached result is valid while this number is the same
	found   cache.Cache[string, cachedTerm]
	counted cache.Cache[string, countedFacets] // by the cache key of the query

	changed  [maxChanged]orders.Key // by number of the change, modulo maxChanged
	judgedAt uint64                 // number of the last change of classes
	cheap    cache.Cache[costKey, cheapOrders]

	ids       []orders.Key
	created   []uint32
	deadline  []uint32
	amount    []int64   // -1 unknown; 0 market price
	fiatMin   []float64 // NaN: not stated
	fiatMax   []float64
	premium   []float64 // NaN: not stated
	rating    []float64 // of RatingOf; NaN: unknown
	makerDays []float64 // of MakerDaysOf; NaN: unknown
	author    []uint32
	fiat      []uint32
	platform  []uint32
	network   []uint32
	methods   []uint32 // ids in sets
	side      []uint8
	status    []uint8
	named     []uint32        // id of the instance name that the order states
	described *roaring.Bitmap // slots with a description
	several   *roaring.Bitmap // slots with more than one version
	byStatus  [len(orders.Statuses)]*roaring.Bitmap
	bySide    [len(sides)]*roaring.Bitmap
	sideCount [len(sides)][len(orders.Statuses)]int

	judged  map[string]Judgement // by author
	class   []uint8
	byClass [orders.NumClasses]*roaring.Bitmap

	authors, fiats, platforms, networks, names, methodNames dict
	sets                                                    setDict

	orders [orders.NumOrders]sorted.List
}

// New returns an empty Store.
func New() *Store {
	s := &Store{DenseAbove: 1 << 14, slots: map[orders.Key]uint32{}, described: roaring.New(), several: roaring.New()}
	s.found.Max, s.counted.Max, s.cheap.Max = maxFound, maxCachedFacets, maxCheapLists
	s.judged = map[string]Judgement{}
	for i := range s.byClass {
		s.byClass[i] = roaring.New()
	}
	for i := range s.byStatus {
		s.byStatus[i] = roaring.New()
	}
	for i := range s.bySide {
		s.bySide[i] = roaring.New()
	}
	for _, d := range []*dict{&s.authors, &s.fiats, &s.platforms, &s.networks, &s.names, &s.methodNames} {
		d.ids = map[string]uint32{}
	}
	for _, d := range []*dict{&s.fiats, &s.platforms, &s.networks, &s.names, &s.methodNames} {
		d.limit = maxNames
	}
	for _, d := range []*dict{&s.fiats, &s.names, &s.methodNames} {
		d.lexicon = &lexicon{}
	}
	s.sets.ids = map[string]uint32{}
	for i := range s.orders {
		s.orders[i].Tie = func(a, b uint32) int { return bytes.Compare(s.ids[a][:], s.ids[b][:]) }
	}
	return s
}

// maxNames bounds the distinct values of a dict that publishers can choose freely.
const maxNames = 50_000

// dict numbers the distinct values of a facet, and holds the slots of each value. If no
// order has a value any more, the value is removed.
type dict struct {
	ids      map[string]uint32
	names    []string
	spelling []string // original spelling, if names are folded
	bits     []*roaring.Bitmap
	counts   [][len(orders.Statuses)]int
	free     []uint32
	lexicon  *lexicon // nil: the values are not searched by words
	limit    int      // bound of distinct values; an order with another value counts as not stating one; 0: no bound
}

func (d *dict) add(name, spelling string, slot uint32, status uint8) uint32 {
	id, ok := d.ids[name]
	if !ok && d.limit > 0 && len(d.ids) >= d.limit {
		name, spelling = "", ""
		id, ok = d.ids[name]
	}
	if !ok {
		name, spelling = strings.Clone(name), strings.Clone(spelling)
		if n := len(d.free); n > 0 {
			id, d.free = d.free[n-1], d.free[:n-1]
			d.names[id], d.spelling[id] = name, spelling
		} else {
			id = uint32(len(d.names))
			d.names, d.spelling = append(d.names, name), append(d.spelling, spelling)
			d.bits, d.counts = append(d.bits, roaring.New()), append(d.counts, [len(orders.Statuses)]int{})
		}
		d.ids[name] = id
		if d.lexicon != nil {
			d.lexicon.add(name, id)
		}
	}
	if d.bits[id].CheckedAdd(slot) {
		d.counts[id][status]++
	}
	return id
}

func (d *dict) remove(id, slot uint32, status uint8) {
	if !d.bits[id].CheckedRemove(slot) {
		return
	}
	d.counts[id][status]--
	if d.bits[id].IsEmpty() {
		if d.lexicon != nil {
			d.lexicon.remove(d.names[id], id)
		}
		delete(d.ids, d.names[id])
		d.names[id], d.spelling[id] = "", ""
		d.bits[id] = roaring.New()
		d.free = append(d.free, id)
	}
}

// setDict numbers the distinct sets of payment methods. Most orders share their set with
// many other orders.
type setDict struct {
	ids     map[string]uint32
	keys    []string
	members [][]uint32 // ids in methodNames, distinct
	uses    []uint32
	free    []uint32
}

func (d *setDict) add(members []uint32) uint32 {
	key := make([]byte, 0, 4*len(members))
	for _, m := range members {
		key = binary.BigEndian.AppendUint32(key, m)
	}
	id, ok := d.ids[string(key)]
	if !ok {
		if n := len(d.free); n > 0 {
			id, d.free = d.free[n-1], d.free[:n-1]
			d.keys[id], d.members[id] = string(key), members
		} else {
			id = uint32(len(d.keys))
			d.keys, d.members, d.uses = append(d.keys, string(key)), append(d.members, members), append(d.uses, 0)
		}
		d.ids[d.keys[id]] = id
	}
	d.uses[id]++
	return id
}

func (d *setDict) remove(id uint32) {
	if d.uses[id]--; d.uses[id] == 0 {
		delete(d.ids, d.keys[id])
		d.keys[id], d.members[id] = "", nil
		d.free = append(d.free, id)
	}
}

// Item is one order to be put into the column store.
type Item struct {
	Key    orders.Key
	Record *orders.Record
}

// put adds the newest version of an order, or removes the order if the version is not
// live at now. The caller holds mu for writing.
func (s *Store) put(it Item, now time.Time, toSorted func(order int, p sorted.Place)) {
	if !it.Record.LiveAt(now) {
		s.take(it.Key)
		return
	}
	noteChange(s, it.Key)
	slot, held := s.slots[it.Key]
	if held {
		s.strip(slot)
	} else {
		slot = s.newSlot()
		s.slots[it.Key] = slot
	}
	o := &it.Record.Order
	status, side := statusCode(o.Status), sideCode(o.Side)
	s.ids[slot] = it.Key
	s.created[slot] = orders.ClampTime(int64(o.CreatedAt))
	s.deadline[slot] = it.Record.Deadline()
	s.amount[slot] = -1
	if o.AmountSats != nil && *o.AmountSats >= 0 {
		s.amount[slot] = *o.AmountSats
	}
	s.fiatMin[slot], s.fiatMax[slot] = orders.RangeOf(o.FiatAmount)
	s.premium[slot] = orders.FloatOf(o.PremiumPct)
	s.rating[slot] = orders.RatingOf(o.MakerRating)
	s.makerDays[slot] = orders.MakerDaysOf(o)
	s.side[slot], s.status[slot] = side, status
	if o.Description != "" {
		s.described.Add(slot)
	}
	if it.Record.Versions > 1 {
		s.several.Add(slot)
	}
	s.byStatus[status].Add(slot)
	s.bySide[side].Add(slot)
	s.sideCount[side][status]++
	s.author[slot] = s.authors.add(o.Pubkey, "", slot, status)
	s.fiat[slot] = s.fiats.add(o.Fiat, "", slot, status)
	s.platform[slot] = s.platforms.add(o.Platform, "", slot, status)
	s.network[slot] = s.networks.add(o.Network, "", slot, status)
	s.class[slot] = s.judged[o.Pubkey].class(s.platforms.names[s.platform[slot]])
	s.byClass[s.class[slot]].Add(slot)
	s.named[slot] = s.names.add(o.InstanceName, "", slot, status)
	members := make([]uint32, 0, len(o.Methods))
	for _, m := range o.Methods {
		id := s.methodNames.add(words.Fold(m), m, slot, status)
		if !slices.Contains(members, id) {
			members = append(members, id)
		}
	}
	slices.Sort(members)
	s.methods[slot] = s.sets.add(members)
	for i := range s.orders {
		toSorted(i, s.placeOf(i, slot))
	}
}

// take removes an order. The caller holds mu for writing.
func (s *Store) take(k orders.Key) {
	slot, held := s.slots[k]
	if !held {
		return
	}
	s.strip(slot)
	delete(s.slots, k)
	s.free = append(s.free, slot)
	noteChange(s, k)
}

// strip removes a slot from all postings and sorted lists.
func (s *Store) strip(slot uint32) {
	status := s.status[slot]
	s.byStatus[status].Remove(slot)
	s.bySide[s.side[slot]].Remove(slot)
	s.sideCount[s.side[slot]][status]--
	s.authors.remove(s.author[slot], slot, status)
	s.fiats.remove(s.fiat[slot], slot, status)
	s.platforms.remove(s.platform[slot], slot, status)
	s.networks.remove(s.network[slot], slot, status)
	s.names.remove(s.named[slot], slot, status)
	s.byClass[s.class[slot]].Remove(slot)
	s.described.Remove(slot)
	s.several.Remove(slot)
	for _, m := range s.sets.members[s.methods[slot]] {
		s.methodNames.remove(m, slot, status)
	}
	s.sets.remove(s.methods[slot])
	for i := range s.orders {
		s.orders[i].Remove(s.placeOf(i, slot))
	}
}

func (s *Store) newSlot() uint32 {
	if n := len(s.free); n > 0 {
		slot := s.free[n-1]
		s.free = s.free[:n-1]
		return slot
	}
	s.grow(1)
	return uint32(len(s.ids) - 1)
}

// grow adds n slots to all columns.
func (s *Store) grow(n int) {
	size := len(s.ids) + n
	s.ids = stretch(s.ids, size)
	s.created = stretch(s.created, size)
	s.deadline = stretch(s.deadline, size)
	s.amount = stretch(s.amount, size)
	s.fiatMin = stretch(s.fiatMin, size)
	s.fiatMax = stretch(s.fiatMax, size)
	s.premium = stretch(s.premium, size)
	s.rating = stretch(s.rating, size)
	s.makerDays = stretch(s.makerDays, size)
	s.author = stretch(s.author, size)
	s.fiat = stretch(s.fiat, size)
	s.platform = stretch(s.platform, size)
	s.network = stretch(s.network, size)
	s.methods = stretch(s.methods, size)
	s.side = stretch(s.side, size)
	s.status = stretch(s.status, size)
	s.named = stretch(s.named, size)
	s.class = stretch(s.class, size)
}

func stretch[T any](column []T, size int) []T {
	if size > cap(column) {
		column = slices.Grow(column, max(size-len(column), len(column)/8))
	}
	return column[:size]
}

// placeOf returns the place of a slot in a sorted list.
func (s *Store) placeOf(order int, slot uint32) sorted.Place {
	return sorted.Place{Key: s.keyAt(order, slot), Slot: slot, Prefix: binary.BigEndian.Uint32(s.ids[slot][:4])}
}

func (s *Store) keyAt(order int, slot uint32) uint64 {
	switch order {
	case orders.ByPremium:
		return orders.FloatKey(s.premium[slot])
	case orders.ByAmount:
		return orders.AmountKey(s.amount[slot])
	case orders.ByExpiry:
		return orders.ExpiryKey(s.deadline[slot])
	}
	return uint64(s.created[slot])
}

// updateStep is the number of orders that update puts before it lets readers take the
// lock.
const updateStep = 32

// Update puts or removes many orders as of now, and returns the keys of orders that were
// live and no longer are. update unlocks mu between steps; otherwise a batch of orders
// with much text would delay every query.
func (s *Store) Update(items []Item, taken []orders.Key, now time.Time) (left []orders.Key) {
	for part := range slices.Chunk(items, updateStep) {
		s.mu.Lock()
		for _, it := range part {
			_, was := s.slots[it.Key]
			s.put(it, now, func(order int, p sorted.Place) { s.orders[order].Insert(p) })
			if _, is := s.slots[it.Key]; was && !is {
				left = append(left, it.Key)
			}
		}
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range taken {
		s.take(k)
	}
	return left
}

// Load fills an empty column store.
func (s *Store) Load(items func(add func(Item)), now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var places [orders.NumOrders][]sorted.Place
	items(func(it Item) {
		s.put(it, now, func(order int, p sorted.Place) { places[order] = append(places[order], p) })
	})
	for i := range places {
		s.orders[i].Fill(places[i])
		places[i] = nil
	}
}

// Expire removes the orders that are no longer live at now, and returns their keys.
func (s *Store) Expire(now time.Time) (left []orders.Key) {
	due := func() bool {
		p, ok := s.orders[orders.ByExpiry].First()
		return ok && p.Key <= uint64(max(0, now.Unix()))
	}
	s.mu.RLock()
	any := due()
	s.mu.RUnlock()
	if !any {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for due() {
		p, _ := s.orders[orders.ByExpiry].First()
		left = append(left, s.ids[p.Slot])
		s.take(s.ids[p.Slot])
	}
	return left
}

// Size returns the number of live orders, and of the pending ones among them.
func (s *Store) Size() (live, pending int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.slots), int(s.byStatus[pendingCode].GetCardinality())
}

// Same returns an error that describes a difference between two column stores.
func (s *Store) Same(other *Store) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	other.mu.RLock()
	defer other.mu.RUnlock()
	if len(s.slots) != len(other.slots) {
		return fmt.Errorf("%d orders, want %d", len(s.slots), len(other.slots))
	}
	for k, b := range other.slots {
		a, ok := s.slots[k]
		if !ok {
			return fmt.Errorf("order %x is missing", k)
		}
		if got, want := s.line(a), other.line(b); got != want {
			return fmt.Errorf("order %x is %s, want %s", k, got, want)
		}
	}
	for i := range s.orders {
		if s.orders[i].Size != len(s.slots) {
			return fmt.Errorf("order list %d holds %d, want %d", i, s.orders[i].Size, len(s.slots))
		}
		n, last := 0, sorted.Place{}
		for _, r := range s.orders[i].Runs {
			for _, p := range r {
				if p != s.placeOf(i, p.Slot) || n > 0 && s.orders[i].Compare(last, p) >= 0 {
					return fmt.Errorf("order list %d is out of order at %d", i, n)
				}
				last = p
				n++
			}
		}
		if n != len(s.slots) {
			return fmt.Errorf("order list %d has %d places, want %d", i, n, len(s.slots))
		}
	}
	for i, st := range orders.Statuses {
		if got, want := s.byStatus[i].GetCardinality(), other.byStatus[i].GetCardinality(); got != want {
			return fmt.Errorf("%d orders are %q, want %d", got, st, want)
		}
		if got, want := s.wholeFacets(uint8(i)), other.wholeFacets(uint8(i)); !reflect.DeepEqual(got, want) {
			return fmt.Errorf("facets of %q are %v, want %v", st, got, want)
		}
	}
	return nil
}

// Fiats returns the currencies of the live orders.
func (s *Store) Fiats() (out []string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, name := range s.fiats.names {
		if name != "" {
			out = append(out, name)
		}
	}
	return out
}

// Spelling returns the original spelling of a folded payment method.
func (s *Store) Spelling(folded string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if id, ok := s.methodNames.ids[folded]; ok {
		return s.methodNames.spelling[id]
	}
	return folded
}

// line returns all values of a slot as text.
func (s *Store) line(slot uint32) string {
	var methods []string
	for _, m := range s.sets.members[s.methods[slot]] {
		methods = append(methods, s.methodNames.names[m])
	}
	slices.Sort(methods)
	return fmt.Sprint(s.created[slot], s.deadline[slot], s.amount[slot], s.fiatMin[slot], s.fiatMax[slot], s.premium[slot], s.rating[slot], s.makerDays[slot],
		s.authors.names[s.author[slot]], s.fiats.names[s.fiat[slot]], s.platforms.names[s.platform[slot]], s.networks.names[s.network[slot]],
		methods, s.names.names[s.named[slot]], s.side[slot], s.status[slot], s.described.Contains(slot), s.several.Contains(slot), s.class[slot], s.byClass[s.class[slot]].Contains(slot))
}

// Judge sets the judgements of authors, and updates the class of an author's orders if
// the judgement has changed. judge removes from all the judgements that are already set,
// so that readers are delayed only by changes.
func (s *Store) Judge(all map[string]Judgement) {
	s.mu.RLock()
	for pubkey, j := range all {
		if s.judged[pubkey] == j {
			delete(all, pubkey)
		}
	}
	s.mu.RUnlock()
	if len(all) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for pubkey, j := range all {
		s.judged[pubkey] = j
		id, ok := s.authors.ids[pubkey]
		if !ok {
			continue
		}
		s.changes++
		s.judgedAt = s.changes
		s.authors.bits[id].Iterate(func(slot uint32) bool {
			s.setClass(slot, j.class(s.platforms.names[s.platform[slot]]))
			return true
		})
	}
}

func (s *Store) setClass(slot uint32, class uint8) {
	s.byClass[s.class[slot]].Remove(slot)
	s.class[slot] = class
	s.byClass[class].Add(slot)
}

// PendingOf returns the number of an author's orders that are on offer.
func (s *Store) PendingOf(pubkey string) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if id, ok := s.authors.ids[pubkey]; ok {
		return s.authors.counts[id][pendingCode]
	}
	return 0
}

// Undescribed reports whether search needs no document for an order, because the order is
// live and has no description. alone reports whether the order has no other version, so
// that search has no old document either, unless a deletion removed the other version.
func (s *Store) Undescribed(k orders.Key) (undescribed, alone bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	slot, ok := s.slots[k]
	return ok && !s.described.Contains(slot), ok && !s.several.Contains(slot)
}

// Describes reports whether any live order has a description.
func (s *Store) Describes() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return !s.described.IsEmpty()
}

// Holds reports whether an order is live.
func (s *Store) Holds(k orders.Key) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.slots[k]
	return ok
}
