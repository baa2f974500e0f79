package stats

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"maps"
	"math"
	"slices"

	"github.com/mostrodex/mostrodex/mostro"
)

// stateMagic begins an encoded state. Its last byte is the version of the format. A reader of
// another version returns an error, and its owner rebuilds the state from the log.
const stateMagic = "mdxstat\x02"

// Encode appends the whole state to dst: the magic, uvarints and varints in a fixed order,
// and a CRC-32C of all before. Equal states have equal encodings. The owner stores the encoding
// and, after a restart, applies the entries of the log after Applied.
func (c *Collector) Encode(dst []byte) []byte {
	start := len(dst)
	w := writer{append(dst, stateMagic...)}
	w.uint(c.applied)
	for _, n := range c.dictionaries() {
		w.uint(uint64(len(n.text) - 1))
		for _, s := range n.text[1:] {
			w.text(s)
		}
	}
	w.uint(uint64(len(c.authors) - 1))
	for i := range c.authors[1:] {
		w.author(&c.authors[i+1])
	}
	w.uint(uint64(len(c.cohorts) - 1))
	for _, h := range c.cohorts[1:] {
		for _, id := range [...]uint32{h.author, h.fiat, h.platform, h.network, h.methods} {
			w.uint(uint64(id))
		}
		w.bool(h.buy)
	}
	w.uint(uint64(c.orders.n))
	for i := range c.orders.n {
		chunk, k := c.orders.at(i)
		w.fixed(chunk.key[k])
		w.uint(uint64(chunk.cohort(k)))
		w.text(string(c.blobs.get(chunk.blob[k])))
	}
	w.fees(c)
	w.disputes(c)
	w.uint(uint64(len(c.rates)))
	for _, fiat := range slices.Sorted(maps.Keys(c.rates)) {
		s := c.rates[fiat]
		w.uint(uint64(fiat))
		w.uint(uint64(len(s.at)))
		for i, t := range s.at {
			w.uint(uint64(t))
			w.uint(uint64(s.author[i]))
			w.fixed(math.Float64bits(s.price[i]))
		}
	}
	w.coverage(&c.coverage)
	w.uint(uint64(len(c.banned)))
	for _, id := range slices.SortedFunc(maps.Keys(c.banned), func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) }) {
		w.dst = append(w.dst, id[:]...)
		w.uint(c.banned[id])
	}
	return binary.LittleEndian.AppendUint32(w.dst, crc32.Checksum(w.dst[start:], castagnoli))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (c *Collector) dictionaries() [5]*names {
	return [...]*names{&c.fiats, &c.platform, &c.networks, &c.labels, &c.sets}
}

type writer struct{ dst []byte }

func (w *writer) fees(c *Collector) {
	n := 0
	for i := range c.fees.n {
		if !c.fees.at(i).is(feeBanned) {
			n++
		}
	}
	w.uint(uint64(n))
	for i := range c.fees.n {
		f := c.fees.at(i)
		if f.is(feeBanned) {
			continue
		}
		key := c.fees.orderOf(f, &c.orders, c.cohorts)
		for _, n := range [...]uint64{uint64(key.author), uint64(c.fees.network(i)), uint64(f.created), uint64(f.received), uint64(f.sats()), f.position(), f.eventID()} {
			w.uint(n)
		}
		w.fixed(key.key)
	}
}

func (w *writer) disputes(c *Collector) {
	keys, n := make([]orderKey, len(c.disputes)), 0
	for key, i := range c.byD {
		if keys[i] = key; len(c.disputes[i].versions) > 0 {
			n++
		}
	}
	w.uint(uint64(n))
	for i := range c.disputes {
		if len(c.disputes[i].versions) == 0 {
			continue
		}
		w.uint(uint64(keys[i].author))
		w.fixed(keys[i].key)
		w.uint(uint64(len(c.disputes[i].versions)))
		for _, v := range c.disputes[i].versions {
			for _, n := range [...]uint64{uint64(v.created), uint64(v.received), uint64(v.opened), v.seq, v.id, uint64(v.state)} {
				w.uint(n)
			}
			w.bool(v.live)
		}
	}
}

func (w *writer) uint(n uint64)  { w.dst = binary.AppendUvarint(w.dst, n) }
func (w *writer) int(n int64)    { w.dst = binary.AppendVarint(w.dst, n) }
func (w *writer) fixed(n uint64) { w.dst = binary.LittleEndian.AppendUint64(w.dst, n) }
func (w *writer) text(s string) {
	w.uint(uint64(len(s)))
	w.dst = append(w.dst, s...)
}

func (w *writer) bool(b bool) {
	if b {
		w.dst = append(w.dst, 1)
		return
	}
	w.dst = append(w.dst, 0)
}

func (w *writer) author(a *author) {
	w.dst = append(w.dst, a.pubkey[:]...)
	w.bool(a.mostro)
	w.uint(uint64(len(a.policies)))
	for i := range a.policies {
		r := &a.policies[i]
		w.uint(uint64(r.first))
		w.uint(uint64(r.last))
		w.uint(r.seq)
		p := &r.policy
		if w.bool(p.Fee != nil); p.Fee != nil {
			w.fixed(math.Float64bits(*p.Fee))
		}
		for _, n := range [...]*int64{p.MinSats, p.MaxSats} {
			if w.bool(n != nil); n != nil {
				w.int(*n)
			}
		}
		for _, b := range [...]*bool{p.BondEnabled, p.Maintenance} {
			if w.bool(b != nil); b != nil {
				w.bool(*b)
			}
		}
		for _, s := range [...]string{p.Version, p.Currencies, p.EscrowMode, p.LightningKey} {
			w.text(s)
		}
	}
	w.uint(uint64(len(a.active)))
	for _, s := range a.active {
		w.uint(uint64(s.first))
		w.uint(uint64(s.last))
	}
}

func (w *writer) coverage(c *coverage) {
	for _, n := range [...]int64{c.total.WitnessedFrom, c.total.ReceivedUntil, c.total.SignedFrom, c.total.Witnessed, c.total.History} {
		w.int(n)
	}
	w.uint(uint64(len(c.sources)))
	for _, key := range slices.SortedFunc(maps.Keys(c.sources), func(a, b mostro.Source) int {
		return cmp.Or(cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Relay, b.Relay))
	}) {
		s := c.sources[key]
		w.uint(uint64(key.Origin))
		w.text(key.Relay)
		w.int(s.Events)
		w.int(s.First)
		w.int(s.Last)
	}
}

// Decode returns the Collector of an encoding. The error is not nil if raw is no complete
// encoding of this version.
func Decode(raw []byte) (*Collector, error) {
	if len(raw) < len(stateMagic)+4 || string(raw[:len(stateMagic)]) != stateMagic {
		return nil, errDamaged
	}
	body, sum := raw[:len(raw)-4], binary.LittleEndian.Uint32(raw[len(raw)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, errDamaged
	}
	c := New()
	r := &reader{rest: body[len(stateMagic):]}
	c.applied = r.uvarint()
	c.changed = c.applied
	c.decode(r)
	if r.bad || len(r.rest) > 0 {
		return nil, errDamaged
	}
	return c, nil
}

// count reads the number of parts that follow, each of at least size bytes.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.rest)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

// below reads a number that is less than n.
func (r *reader) below(n int) uint32 {
	v := r.uvarint()
	if v >= uint64(n) {
		r.fail()
		return 0
	}
	return uint32(v)
}

func (r *reader) bool() bool {
	b := r.byte()
	if b > 1 {
		r.fail()
	}
	return b == 1
}

func (r *reader) time() uint32 { return r.below(maxTime) }

func (c *Collector) decode(r *reader) {
	for i, n := range c.dictionaries() {
		for range r.count(1) {
			s := r.text()
			if _, twice := n.ids[s]; twice || i == 4 && len(s)%4 != 0 {
				r.fail()
				return
			}
			n.ids[s] = uint32(len(n.text))
			n.text = append(n.text, s)
		}
	}
	for set := range c.sets.text {
		for _, label := range c.methodsOf(uint32(set)) {
			if int(label) >= len(c.labels.text) {
				r.fail()
				return
			}
		}
	}
	for range r.count(33) {
		var a author
		copy(a.pubkey[:], r.fixed(32))
		if _, twice := c.byKey[a.pubkey]; twice {
			r.fail()
			return
		}
		c.decodeAuthor(r, &a)
		c.byKey[a.pubkey] = uint32(len(c.authors))
		c.authors = append(c.authors, a)
	}
	for range r.count(6) {
		h := cohort{author: r.below(len(c.authors)), fiat: r.below(len(c.fiats.text)), platform: r.below(len(c.platform.text)),
			network: r.below(len(c.networks.text)), methods: r.below(len(c.sets.text)), buy: r.bool()}
		if _, twice := c.byCohort[h]; twice || r.bad || h.author == 0 {
			r.fail()
			return
		}
		c.cohortID(h)
	}
	for range r.count(10) {
		c.decodeOrder(r)
		if r.bad {
			return
		}
	}
	for range r.count(15) {
		x := feeFacts{author: r.below(len(c.authors)), network: r.below(len(c.networks.text)), created: r.time(), received: r.time(),
			sats: int64(r.uvarint() & math.MaxInt64), seq: r.uvarint(), id: r.uvarint(), order: r.uint64()}
		if r.bad || x.sats > maxFeeSats || x.seq>>(32+seqBits) != 0 || x.id>>(8*idBytes) != 0 {
			r.fail()
			return
		}
		c.addFee(&x)
	}
	for range r.count(10) {
		key := orderKey{r.below(len(c.authors)), r.uint64()}
		d := dispute{author: key.author}
		for range r.count(7) {
			d.versions = append(d.versions, disputeVersion{created: r.time(), received: r.time(), opened: r.time(), seq: r.uvarint(), id: r.uvarint(),
				state: disputeState(r.below(int(disputeCooperativeCancel) + 1)), live: r.bool()})
		}
		if _, twice := c.byD[key]; twice || r.bad || len(d.versions) == 0 {
			r.fail()
			return
		}
		c.byD[key] = int32(len(c.disputes))
		c.disputes = append(c.disputes, d)
	}
	for range r.count(2) {
		fiat, s := r.below(len(c.fiats.text)), &rateSeries{}
		for range r.count(10) {
			s.at, s.author = append(s.at, r.time()), append(s.author, r.below(len(c.authors)))
			s.price = append(s.price, math.Float64frombits(r.uint64()))
		}
		if !slices.IsSorted(s.at) || c.rates[fiat] != nil {
			r.fail()
		}
		c.rates[fiat] = s
	}
	t := &c.coverage.total
	for _, n := range [...]*int64{&t.WitnessedFrom, &t.ReceivedUntil, &t.SignedFrom, &t.Witnessed, &t.History} {
		*n = r.varint()
	}
	for range r.count(5) {
		key := mostro.Source{Origin: mostro.Origin(r.below(256)), Relay: r.text()}
		c.coverage.sources[key] = &SourceCounts{Origin: key.Origin.String(), Relay: key.Relay, Events: r.varint(), First: r.varint(), Last: r.varint()}
	}
	for range r.count(33) {
		id := [32]byte(r.fixed(32))
		if c.isBanned(id) {
			r.fail()
			return
		}
		c.banned[id] = r.uvarint()
	}
	for n, chunk := range c.orders.chunks {
		chunk.seal(c.orders.size(n))
	}
}

func (c *Collector) decodeAuthor(r *reader, a *author) {
	a.mostro = r.bool()
	for range r.count(12) {
		run := policyRun{first: r.time(), last: r.time(), seq: r.uvarint()}
		p := &run.policy
		if r.bool() {
			p.Fee = new(math.Float64frombits(r.uint64()))
		}
		for _, n := range [...]**int64{&p.MinSats, &p.MaxSats} {
			if r.bool() {
				*n = new(r.varint())
			}
		}
		for _, b := range [...]**bool{&p.BondEnabled, &p.Maintenance} {
			if r.bool() {
				*b = new(r.bool())
			}
		}
		for _, s := range [...]*string{&p.Version, &p.Currencies, &p.EscrowMode, &p.LightningKey} {
			*s = r.text()
		}
		a.policies = append(a.policies, run)
	}
	for range r.count(2) {
		s := span{r.time(), r.time()}
		if s.last < s.first || len(a.active) > 0 && int64(s.first) <= int64(a.active[len(a.active)-1].last)+silence {
			r.fail()
		}
		a.active = append(a.active, s)
	}
}

func (c *Collector) decodeOrder(r *reader) {
	key, cohort, raw := r.uint64(), r.below(len(c.cohorts)), r.fixed(r.count(1))
	if r.bad || cohort == 0 {
		r.fail()
		return
	}
	author := c.cohorts[cohort].author
	versions, err := decodeVersions(c.versions[:0], raw)
	if err != nil || c.orders.find(author, key, c.authorOfCohort) >= 0 {
		r.fail()
		return
	}
	for j := range versions {
		v := &versions[j]
		if int(v.cohort) >= len(c.cohorts) || c.cohorts[v.cohort].author != author || j > 0 && v.before(&versions[j-1]) {
			r.fail()
			return
		}
	}
	c.setVersions(c.addRow(author, key, cohort), versions)
}
