package stats

// fee is one record of a paid development fee, in 32 bytes. feeFacts has the same facts in full.
type fee struct {
	created, received uint32 // received is 0 if the event was not witnessed
	// amount holds the sats, and in its lowest 13 bits the bits 32 to 44 of the seq; seq holds
	// the lowest 32 bits of the seq.
	amount uint64
	// id holds the first 6 bytes of the event id, and in its lowest 16 bits the network and
	// the flags.
	id    uint64
	seq   uint32
	owner uint32 // row of the order, or, with feeOrphan, index of feeList.orphans
}

// Flags of a fee. The network follows in 13 bits; networkElsewhere: it is in feeList.networks.
const (
	feeCanonical = 1 << iota // the earliest record of its order
	feeOrphan                // the order came later or never
	feeBanned                // the operator banned the event: it does not count
	feeNetwork               // the lowest bit of the network

	networkElsewhere = 1<<13 - 1
	seqBits          = 13 // bits of the seq in amount
	maxFeeSats       = 1<<51 - 1
)

func (f *fee) sats() int64         { return int64(f.amount >> seqBits) }
func (f *fee) position() uint64    { return f.amount&(1<<seqBits-1)<<32 | uint64(f.seq) }
func (f *fee) eventID() uint64     { return f.id >> 16 }
func (f *fee) is(flag uint64) bool { return f.id&flag != 0 }

// before reports whether f replaces g as the canonical record of an order.
func (f *fee) before(g *fee) bool {
	return f.created < g.created || f.created == g.created && f.eventID() < g.eventID()
}

// feeFacts is a fee in full.
type feeFacts struct {
	author, network   uint32
	order             uint64 // hash of the order's d
	created, received uint32
	sats              int64
	seq, id           uint64
}

// orphan is the order of fees that came before it.
type orphan struct {
	key   orderKey
	first uint32 // index of the canonical fee + 1, 0 if all are banned
	row   uint32 // row of the order + 1, 0 if it has not come
}

const feeRows = 1 << 12

// feeList is all fees, in the order of their arrival.
type feeList struct {
	chunks   []*[feeRows]fee
	n        int
	orphans  []orphan
	byOrder  map[orderKey]uint32 // index of orphans
	networks map[uint32]uint32   // networks that do not fit into a fee, by index
}

func newFeeList() feeList {
	return feeList{byOrder: map[orderKey]uint32{}, networks: map[uint32]uint32{}}
}

func (l *feeList) at(i int) *fee { return &l.chunks[i/feeRows][i%feeRows] }

// add appends a fee and returns its index.
func (l *feeList) add(x *feeFacts, owner uint32, flags uint64) uint32 {
	i := uint32(l.n)
	if l.n%feeRows == 0 {
		l.chunks = append(l.chunks, new([feeRows]fee))
	}
	l.n++
	network := uint64(x.network)
	if network >= networkElsewhere {
		l.networks[i] = x.network
		network = networkElsewhere
	}
	*l.at(int(i)) = fee{created: x.created, received: x.received, amount: uint64(x.sats)<<seqBits | x.seq>>32&(1<<seqBits-1),
		id: x.id<<16 | network*feeNetwork | flags, seq: uint32(x.seq), owner: owner}
	return i
}

func (l *feeList) network(i int) uint32 {
	if n := uint32(l.at(i).id&0xffff) / feeNetwork; n != networkElsewhere {
		return n
	}
	return l.networks[uint32(i)]
}

// row returns the row of a fee's order, or -1.
func (l *feeList) row(f *fee) int {
	if f.is(feeOrphan) {
		return int(l.orphans[f.owner].row) - 1
	}
	return int(f.owner)
}

// orderOf returns the key of a fee's order.
func (l *feeList) orderOf(f *fee, t *table, cohorts []cohort) orderKey {
	if f.is(feeOrphan) {
		return l.orphans[f.owner].key
	}
	c, k := t.at(int(f.owner))
	return orderKey{cohorts[c.cohort(k)].author, c.key[k]}
}

// orphanOf returns the orphan of an order without a row.
func (l *feeList) orphanOf(key orderKey) uint32 {
	i, ok := l.byOrder[key]
	if !ok {
		i = uint32(len(l.orphans))
		l.byOrder[key] = i
		l.orphans = append(l.orphans, orphan{key: key})
	}
	return i
}

// adopt links the fees of an order that has just got a row, and returns the index of its
// canonical fee + 1, or 0.
func (l *feeList) adopt(key orderKey, row int) uint32 {
	i, ok := l.byOrder[key]
	if !ok {
		return 0
	}
	l.orphans[i].row = uint32(row + 1)
	return l.orphans[i].first
}

// ban bans the fees whose ids doomed has, and calls changed with the row of each order whose
// canonical fee is another one (its index + 1) or none (0).
func (l *feeList) ban(doomed func(f *fee) bool, changed func(row int, first uint32)) {
	type owner struct {
		orphan bool
		n      uint32
	}
	ownerOf := func(f *fee) owner {
		if row := l.row(f); row >= 0 {
			return owner{false, uint32(row)}
		}
		return owner{true, f.owner}
	}
	bereft := map[owner]uint32{} // the new canonical fee + 1
	for i := range l.n {
		f := l.at(i)
		if f.is(feeBanned) || !doomed(f) {
			continue
		}
		if f.is(feeCanonical) {
			bereft[ownerOf(f)] = 0
		}
		f.id = f.id&^feeCanonical | feeBanned
	}
	if len(bereft) == 0 {
		return
	}
	for i := range l.n {
		f := l.at(i)
		if f.is(feeBanned) {
			continue
		}
		who := ownerOf(f)
		if first, ok := bereft[who]; ok && (first == 0 || f.before(l.at(int(first-1)))) {
			bereft[who] = uint32(i + 1)
		}
	}
	for who, first := range bereft {
		if first != 0 {
			l.at(int(first - 1)).id |= feeCanonical
		}
		if !who.orphan {
			changed(int(who.n), first)
		} else {
			l.orphans[who.n].first = first
		}
	}
}
