package stats

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/internal/clip"
	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Bounds of the text that a Collector keeps of one event.
const (
	maxText    = 200 // bytes of a name or a payment method
	maxMethods = 32  // payment methods of an order
)

// names numbers texts. Number 0 is the empty text.
type names struct {
	ids  map[string]uint32
	text []string
}

func newNames() names { return names{ids: map[string]uint32{"": 0}, text: []string{""}} }

func (n *names) id(s string) uint32 {
	s = clip.Text(s, maxText)
	if id, ok := n.ids[s]; ok {
		return id
	}
	s = strings.Clone(s)
	id := uint32(len(n.text))
	n.ids[s], n.text = id, append(n.text, s)
	return id
}

// cohort is what orders have in common by which figures are filtered and grouped. An order
// that changes one of these properties changes its cohort.
type cohort struct {
	author, fiat, platform, network, methods uint32
	buy                                      bool
}

type orderKey struct {
	author uint32
	key    uint64
}

// disputeVersion is one version of a dispute.
type disputeVersion struct {
	created, received uint32
	opened            uint32 // tag; 0 unknown
	seq, id           uint64
	state             disputeState
	live              bool
}

type dispute struct {
	author   uint32
	versions []disputeVersion // sorted as the versions of an order
}

// disputeState is the public state of a dispute.
type disputeState uint8

const (
	disputeUnknown disputeState = iota
	disputeInitiated
	disputeInProgress
	disputeSettled           // by a solver since mostrod 0.19
	disputeRefunded          // by a solver since mostrod 0.19
	disputeReleased          // by the seller
	disputeCooperativeCancel // by both parties
)

// disputeStates maps the published states. The relay's parser knows some of these states
// only as RawState.
var disputeStates = map[string]disputeState{
	"pending": disputeInitiated, "initiated": disputeInitiated, "in-progress": disputeInProgress,
	"settled": disputeSettled, "seller-refunded": disputeRefunded, "released": disputeReleased,
	"cooperatively-canceled": disputeCooperativeCancel,
}

func (s disputeState) final() bool { return s >= disputeSettled }

// author is a key that published an event that counts.
type author struct {
	pubkey   [32]byte
	chunks   []uint32 // chunks with orders of the author, ascending
	policies []policyRun
	active   []span // times without a pause of more than silence, sorted
	mostro   bool   // published an event of a Mostro
}

// Collector keeps the facts of all events that count. A Collector is not safe for
// concurrent use, except that queries may run at the same time as each other. The owner
// holds a lock.
type Collector struct {
	applied  uint64
	changed  uint64 // seq of the last entry that counted
	authors  []author
	byKey    map[[32]byte]uint32
	fiats    names
	platform names
	networks names
	labels   names // payment methods
	sets     names // lists of labels: 4 bytes each

	cohorts  []cohort
	byCohort map[cohort]uint32
	orders   table
	blobs    slab

	fees     feeList
	disputes []dispute // one whose versions are all banned has none
	byD      map[orderKey]int32
	rates    signedRates

	coverage coverage
	banned   map[[32]byte]uint64 // seqs of the events that do not count, by id; 0: not seen yet

	restoring bool // during Restore
	workers   int  // goroutines of one query; 0: one for each core

	versions []version // buffers of Apply
	encoded  []byte
	labelIDs []byte
	numbers  []uint32
}

// New returns an empty Collector.
func New() *Collector {
	return &Collector{
		byKey: map[[32]byte]uint32{}, fiats: newNames(), platform: newNames(), networks: newNames(), labels: newNames(), sets: newNames(),
		cohorts: make([]cohort, 1), byCohort: map[cohort]uint32{}, authors: make([]author, 1), orders: table{quiet: sealAfter},
		fees: newFeeList(), banned: map[[32]byte]uint64{}, byD: map[orderKey]int32{}, rates: signedRates{}, coverage: newCoverage(),
	}
}

// Applied returns the seq of the last entry that Apply received.
func (c *Collector) Applied() uint64 { return c.applied }

// Changed returns the seq of the last entry that counted. Two answers of one Collector to
// the same query are equal if Changed was. A decoded Collector begins with Applied.
func (c *Collector) Changed() uint64 { return c.changed }

// Orders returns the number of orders that the Collector holds.
func (c *Collector) Orders() int { return c.orders.n }

// Coverage returns the coverage of the window that begins at from.
func (c *Collector) Coverage(from int64) Coverage { return c.coverage.window(from) }

// Apply adds one entry of the log. An entry whose seq is not above Applied is ignored, so
// that a replay after a crash counts nothing twice.
//
// Versions of orders, disputes and fees may arrive in any order. Two figures depend on the
// order of arrival. Rates count only if their author published an event of a Mostro before,
// and only for currencies that an order named before. Of the infos of a node only changes
// are kept, so an info that arrives late does not split the time between two equal infos
// exactly.
func (c *Collector) Apply(e *mostro.Entry) {
	if e.Seq <= c.applied || e.Event == nil {
		return
	}
	c.applied = e.Seq
	c.orders.seal(e.Seq)
	if len(c.banned) > 0 {
		if id := keyOf(e.Event.ID); c.isBanned(id) {
			c.banned[id] = e.Seq
			return
		}
	}
	c.apply(e)
}

func (c *Collector) isBanned(id [32]byte) bool {
	_, ok := c.banned[id]
	return ok
}

func (c *Collector) apply(e *mostro.Entry) {
	created := int64(e.Event.CreatedAt)
	if created <= 0 || created > maxTime || e.ReceivedAt.Unix() <= 0 || e.ReceivedAt.Unix() > maxTime {
		return
	}
	switch mostro.Classify(e.Event) {
	case mostro.ClassOrder:
		c.applyOrder(e)
	case mostro.ClassDevFee:
		c.applyFee(e)
	case mostro.ClassDispute:
		c.applyDispute(e)
	case mostro.ClassInfo:
		c.applyInfo(e)
	case mostro.ClassRates:
		c.applyRates(e)
	case mostro.ClassHealth:
		c.count(e, c.authorOf(e.Event.PubKey), true)
	case mostro.ClassDeletion:
		c.applyDeletion(e)
	}
}

// hashOf is the hash by which an order or a dispute of one author is found. Orders of
// different authors are never mixed, so a collision harms only their author.
func hashOf(d string) uint64 {
	sum := sha256.Sum256([]byte(d))
	return binary.LittleEndian.Uint64(sum[:8])
}

// idBytes is the length of the part of an event id that a Collector keeps.
const idBytes = 5

// idOf returns the first idBytes bytes of an event id.
func idOf(id string) (n uint64) {
	var raw [idBytes]byte
	if len(id) >= 2*idBytes {
		hex.Decode(raw[:], []byte(id[:2*idBytes])) //nolint:errcheck // the relay refuses ids that are not hex
	}
	for _, b := range raw {
		n = n<<8 | uint64(b)
	}
	return n
}

func (c *Collector) authorOf(pubkey string) uint32 {
	key := keyOf(pubkey)
	if id, ok := c.byKey[key]; ok {
		return id
	}
	id := uint32(len(c.authors))
	c.authors = append(c.authors, author{pubkey: key})
	c.byKey[key] = id
	return id
}

// count notes that an event counts: for the coverage and for the silence of its author.
func (c *Collector) count(e *mostro.Entry, id uint32, isMostro bool) {
	c.coverage.add(e)
	c.changed = e.Seq
	a := &c.authors[id]
	a.mostro = a.mostro || isMostro
	a.active = insertTime(a.active, uint32(e.Event.CreatedAt))
}

// insertTime adds a time to sorted spans with pauses of more than silence between them.
func insertTime(spans []span, t uint32) []span {
	i := len(spans)
	for i > 0 && spans[i-1].first > t {
		i--
	}
	before, after := i > 0 && int64(t) <= int64(spans[i-1].last)+silence, i < len(spans) && int64(t)+silence >= int64(spans[i].first)
	switch {
	case before && after:
		spans[i-1].last = spans[i].last
		return slices.Delete(spans, i, i+1)
	case before:
		spans[i-1].last = max(spans[i-1].last, t)
	case after:
		spans[i].first = t
	default:
		return slices.Insert(spans, i, span{t, t})
	}
	return spans
}

func orNaN(d *mostro.Decimal) float64 {
	if d == nil {
		return math.NaN()
	}
	return d.Float()
}

// clampTime returns t as an uint32, or 0 if t is unknown or out of range.
func clampTime(t nostr.Timestamp) uint32 {
	if t <= 0 || t > maxTime {
		return 0
	}
	return uint32(t)
}

func (c *Collector) applyOrder(e *mostro.Entry) {
	o, err := e.Order()
	if err != nil || statuses[o.Status] == statusNone {
		return
	}
	if e.Erased {
		o.Methods = nil // FactTags keeps only a part of the list
	}
	author := c.authorOf(o.Pubkey)
	c.count(e, author, o.Platform == mostro.PlatformMostro)
	v := version{
		created: uint32(o.CreatedAt), received: uint32(e.ReceivedAt.Unix()), seq: e.Seq, id: idOf(o.EventID),
		status: statuses[o.Status], live: e.Source.Origin.Witnessed(), cohort: c.cohortOf(author, &o),
		sats: -1, min: orNaN(o.FiatAmount.Min), max: orNaN(o.FiatAmount.Max), premium: orNaN(o.PremiumPct), ends: clampTime(o.ExpiresAt),
	}
	if o.AmountSats != nil {
		v.sats = *o.AmountSats
	}
	key := hashOf(o.D)
	i := c.orders.find(author, key, c.authorOfCohort)
	if i < 0 {
		i = c.addRow(author, key, v.cohort)
	}
	if e.Erased && c.restoring { // the time of the deletion is not known any more
		v.deleted = v.created
	}
	versions, added := insertVersion(c.versionsOf(i), v)
	if added {
		c.setVersions(i, versions)
	}
}

// addRow appends the row of an order.
func (c *Collector) addRow(author uint32, key uint64, cohort uint32) int {
	i := c.orders.add(author, key, cohort, c.applied, c.authorOfCohort)
	a := &c.authors[author]
	if n := uint32(i / rows); len(a.chunks) == 0 || a.chunks[len(a.chunks)-1] != n {
		a.chunks = append(a.chunks, n)
	}
	if first := c.fees.adopt(orderKey{author, key}, i); first != 0 {
		c.setFee(i, first)
	}
	return i
}

// setFee sets the canonical fee of the order of row i: its index + 1, or 0.
func (c *Collector) setFee(i int, first uint32) {
	chunk, k := c.orders.at(i)
	o := chunk.change(c.applied)
	if o.fee[k], o.flags[k] = first, o.flags[k]&^flagPaid; first != 0 {
		o.flags[k] |= flagPaid
	}
}

func (c *Collector) authorOfCohort(id uint32) uint32 { return c.cohorts[id].author }

func (c *Collector) cohortOf(author uint32, o *mostro.Order) uint32 {
	c.labelIDs = c.labelIDs[:0]
	for i, label := range o.Methods {
		if i < maxMethods {
			c.labelIDs = binary.LittleEndian.AppendUint32(c.labelIDs, c.labels.id(label))
		}
	}
	set, ok := c.sets.ids[string(c.labelIDs)]
	if !ok {
		set = uint32(len(c.sets.text))
		s := string(c.labelIDs)
		c.sets.ids[s], c.sets.text = set, append(c.sets.text, s)
	}
	return c.cohortID(cohort{
		author: author, fiat: c.fiats.id(o.Fiat), platform: c.platform.id(o.Platform), network: c.networks.id(o.Network),
		methods: set, buy: o.Side == mostro.SideBuy,
	})
}

func (c *Collector) cohortID(h cohort) uint32 {
	id, ok := c.byCohort[h]
	if !ok {
		id = uint32(len(c.cohorts))
		c.cohorts = append(c.cohorts, h)
		c.byCohort[h] = id
	}
	return id
}

// methodsOf returns the labels of a list of payment methods, each once.
func (c *Collector) methodsOf(set uint32) []uint32 {
	raw := c.sets.text[set]
	var out []uint32
	for ; len(raw) >= 4; raw = raw[4:] {
		id := uint32(raw[0]) | uint32(raw[1])<<8 | uint32(raw[2])<<16 | uint32(raw[3])<<24
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// byLabel sums numbers of lists of payment methods by the payment methods in the lists.
func (c *Collector) byLabel(bySet []int64) map[uint32]int64 {
	out := map[uint32]int64{}
	for set, n := range bySet {
		if n != 0 {
			for _, label := range c.methodsOf(uint32(set)) {
				out[label] += n
			}
		}
	}
	return out
}

// versionsOf decodes the versions of row i into the Collector's buffer. Only Apply may
// use the buffer.
func (c *Collector) versionsOf(i int) []version {
	chunk, k := c.orders.at(i)
	versions, err := decodeVersions(c.versions[:0], c.blobs.get(chunk.blob[k]))
	if err != nil {
		return c.versions[:0] // impossible: the encoding is ours, and Decode checks each order
	}
	return versions
}

func (c *Collector) setVersions(i int, versions []version) {
	chunk, k := c.orders.at(i)
	c.versions = versions
	c.encoded = appendVersions(c.encoded[:0], versions)
	chunk.blob[k] = c.blobs.put(chunk.blob[k], c.encoded)
	o := chunk.change(c.applied)
	if len(versions) == 0 {
		chunk.store(k, &row{sats: -1, cohort: o.cohort[k]})
		return
	}
	r := derive(versions)
	if o.fee[k] != 0 {
		r.flags |= flagPaid
	}
	if c.cohorts[r.cohort].buy {
		r.flags |= flagBuy
	}
	chunk.store(k, &r)
}

// applyDeletion applies a deletion request (NIP-09) to the author's own orders. The log
// never appends an event after its deletion, so a Collector keeps no tombstones.
func (c *Collector) applyDeletion(e *mostro.Entry) {
	author, ok := c.byKey[keyOf(e.Event.PubKey)]
	if !ok {
		return
	}
	c.changed = e.Seq
	ids := map[uint64]bool{}
	at := uint32(e.Event.CreatedAt)
	for _, tag := range e.Event.Tags {
		if len(tag) < 2 {
			continue
		}
		switch tag[0] {
		case "e":
			if nostr.IsValid32ByteHex(tag[1]) {
				ids[idOf(tag[1])] = true
			}
		case "a":
			kind, rest, _ := strings.Cut(tag[1], ":")
			pubkey, d, _ := strings.Cut(rest, ":")
			if kind != "38383" || pubkey != e.Event.PubKey {
				continue
			}
			if i := c.orders.find(author, hashOf(d), c.authorOfCohort); i >= 0 {
				c.deleteVersions(i, at, func(v *version) bool { return v.created <= at })
			}
		}
	}
	if len(ids) == 0 {
		return
	}
	c.numbers = append(c.numbers[:0], c.authors[author].chunks...)
	for _, n := range c.numbers {
		for _, i := range c.rowsOf(author, int(n)) {
			c.deleteVersions(i, at, func(v *version) bool { return ids[v.id] })
		}
	}
}

// rowsOf returns the rows of an author in chunk n.
func (c *Collector) rowsOf(author uint32, n int) (out []int) {
	chunk, size := c.orders.chunks[n], c.orders.size(n)
	cohorts := make([]uint32, size)
	if chunk.open != nil {
		copy(cohorts, chunk.open.cohort[:])
	} else {
		unpack(&chunk.sealed.cohort, cohorts)
	}
	for k, cohort := range cohorts {
		if chunk.blob[k] != 0 && c.cohorts[cohort].author == author {
			out = append(out, n*rows+k)
		}
	}
	return out
}

// Ban sets the ids of the events that do not count: versions of orders, disputes and
// development fees. Infos and signed rates cannot be banned one by one, and a banned event still
// counts for the coverage and against the silence of its author. lifted are the seqs of the
// events that were banned before and are no longer, ascending: the caller passes their entries to
// Restore. An event that Apply receives later does not count if its id is banned. idAt returns the
// id of the event at a seq: the Collector knows only a part of it, which another author can copy.
func (c *Collector) Ban(ids map[[32]byte]struct{}, idAt func(seq uint64) (id string, ok bool)) (lifted []uint64) {
	for id, seq := range c.banned {
		if _, ok := ids[id]; !ok {
			if delete(c.banned, id); seq != 0 {
				lifted = append(lifted, seq)
			}
		}
	}
	slices.Sort(lifted)
	fresh := map[uint64][32]byte{} // by the part of the id that versions hold
	for id := range ids {
		if !c.isBanned(id) {
			c.banned[id] = 0
			fresh[idOf(hexOf(id))] = id
		}
	}
	if len(fresh) > 0 {
		c.forget(fresh, idAt)
	}
	return lifted
}

// Restore adds the entry of an event that is banned no longer.
func (c *Collector) Restore(e *mostro.Entry) {
	if e.Event != nil && e.Seq <= c.applied && !c.isBanned(keyOf(e.Event.ID)) {
		c.restoring = true
		c.apply(e)
		c.restoring = false
	}
}

// forget removes events. It walks over all versions, because nothing finds a version by its id.
func (c *Collector) forget(ids map[uint64][32]byte, idAt func(uint64) (string, bool)) {
	doomed := func(id, seq uint64) bool {
		banned, ok := ids[id]
		if !ok {
			return false
		}
		if full, known := idAt(seq); !known || keyOf(full) != banned {
			return false
		}
		c.banned[banned] = seq
		return true
	}
	for i := range c.orders.n {
		versions := c.versionsOf(i)
		kept := slices.DeleteFunc(versions, func(v version) bool { return doomed(v.id, v.seq) })
		if len(kept) < len(versions) {
			c.setVersions(i, kept)
		}
	}
	c.fees.ban(func(f *fee) bool { return doomed(f.eventID(), f.position()) }, c.setFee)
	for i := range c.disputes {
		d := &c.disputes[i]
		d.versions = slices.DeleteFunc(d.versions, func(v disputeVersion) bool { return doomed(v.id, v.seq) })
	}
}

// deleteVersions marks the versions of row i that doomed selects, or forgets these
// versions if their platform is no Mostro.
func (c *Collector) deleteVersions(i int, at uint32, doomed func(*version) bool) {
	versions := c.versionsOf(i)
	kept, changed := versions[:0], false
	for _, v := range versions {
		if doomed(&v) {
			h := c.cohorts[v.cohort]
			if p := c.platform.text[h.platform]; p != mostro.PlatformMostro && p != "" {
				changed = true
				continue
			}
			h.methods = 0
			if id := c.cohortID(h); id != v.cohort || v.deleted == 0 || at < v.deleted {
				v.cohort, changed = id, true
				if v.deleted == 0 || at < v.deleted {
					v.deleted = at
				}
			}
		}
		kept = append(kept, v)
	}
	if changed {
		c.setVersions(i, kept)
	}
}

func witnessedAt(e *mostro.Entry) uint32 {
	if e.Source.Origin.Witnessed() {
		return uint32(e.ReceivedAt.Unix())
	}
	return 0
}

func (c *Collector) applyFee(e *mostro.Entry) {
	parsed, err := mostro.ParseDevFee(e.Event)
	if err != nil {
		return
	}
	author := c.authorOf(parsed.Pubkey)
	c.count(e, author, true)
	c.addFee(&feeFacts{
		author: author, network: c.networks.id(parsed.Network), order: hashOf(parsed.OrderID), created: uint32(parsed.CreatedAt),
		received: witnessedAt(e), sats: min(parsed.AmountSats, maxFeeSats), seq: e.Seq, id: idOf(parsed.EventID),
	})
}

func (c *Collector) addFee(x *feeFacts) {
	key, owner, flags := orderKey{x.author, x.order}, uint32(0), uint64(feeCanonical)
	first := uint32(0) // the present canonical fee + 1
	row := c.orders.find(x.author, x.order, c.authorOfCohort)
	if row >= 0 {
		chunk, k := c.orders.at(row)
		owner, first = uint32(row), chunk.change(c.applied).fee[k]
	} else {
		owner = c.fees.orphanOf(key)
		first, flags = c.fees.orphans[owner].first, flags|feeOrphan
	}
	if first != 0 && c.fees.at(int(first-1)).eventID() == x.id {
		return
	}
	i := c.fees.add(x, owner, flags)
	if first != 0 {
		held, f := c.fees.at(int(first-1)), c.fees.at(int(i))
		if !f.before(held) {
			f.id &^= feeCanonical
			return
		}
		held.id &^= feeCanonical
	}
	if row >= 0 {
		c.setFee(row, i+1)
	} else {
		c.fees.orphans[owner].first = i + 1
	}
}

func (c *Collector) applyDispute(e *mostro.Entry) {
	d, err := mostro.ParseDispute(e.Event)
	if err != nil {
		return
	}
	author := c.authorOf(d.Pubkey)
	c.count(e, author, true)
	v := disputeVersion{
		created: uint32(d.CreatedAt), received: uint32(e.ReceivedAt.Unix()), opened: clampTime(d.OpenedAt), seq: e.Seq,
		id: idOf(d.EventID), state: disputeStates[d.RawState], live: e.Source.Origin.Witnessed(),
	}
	key := orderKey{author, hashOf(d.D)}
	i, ok := c.byD[key]
	if !ok {
		i = int32(len(c.disputes))
		c.byD[key] = i
		c.disputes = append(c.disputes, dispute{author: author})
	}
	held := &c.disputes[i].versions
	at := len(*held)
	for at > 0 && ((*held)[at-1].created > v.created || (*held)[at-1].created == v.created && (*held)[at-1].id < v.id) {
		at--
	}
	seen := at > 0 && (*held)[at-1].created == v.created && (*held)[at-1].id == v.id
	if len(*held) < maxVersions && !seen {
		*held = slices.Insert(*held, at, v)
	}
}

func keyOf(pubkey string) [32]byte { return hex32.OrZero(pubkey) }

func hexOf(key [32]byte) string { return hex.EncodeToString(key[:]) }

func (c *Collector) applyInfo(e *mostro.Entry) {
	info, err := mostro.ParseInfo(e.Event)
	if err != nil {
		return
	}
	id := c.authorOf(info.Pubkey)
	c.count(e, id, true)
	a := &c.authors[id]
	if len(a.policies) >= maxPolicies {
		return
	}
	a.policies = insertPolicy(a.policies, policyRun{uint32(info.CreatedAt), uint32(info.CreatedAt), e.Seq, policyOf(&info)})
}

func (c *Collector) applyRates(e *mostro.Entry) {
	id, known := c.byKey[keyOf(e.Event.PubKey)]
	if !known || !c.authors[id].mostro {
		return
	}
	rates, err := mostro.ParseRates(e.Event)
	if err != nil {
		return
	}
	c.count(e, id, false)
	for code, price := range rates.BTC {
		fiat, used := c.fiats.ids[code]
		if !used && (code == "USD" || code == "EUR") {
			fiat, used = c.fiats.id(code), true
		}
		if !used || math.IsInf(price, 0) {
			continue
		}
		if c.rates[fiat] == nil {
			c.rates[fiat] = &rateSeries{}
		}
		c.rates[fiat].insert(uint32(rates.CreatedAt), id, price)
	}
}
