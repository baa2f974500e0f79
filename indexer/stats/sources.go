package stats

import (
	"slices"
	"strings"
)

// maxSeqs bounds one answer of Sources.
const maxSeqs = 1000

// Sources returns the seqs of the events behind a metric that are above after, ascending,
// at most limit of them. The log resolves a seq to its signed event. For a ratio the events
// are those of the denominator. The error is a ParamError.
func (c *Collector) Sources(name string, q Query, after uint64, limit int) ([]uint64, error) {
	d, label, err := c.metric(name, &q)
	if err != nil {
		return nil, err
	}
	if d.family == famNone {
		return nil, badParam("metric", "%s does not count single events", name)
	}
	if limit < 1 || limit > maxSeqs {
		return nil, badParam("limit", "is not between 1 and %d", maxSeqs)
	}
	s, _ := newScan(c, &q, windowBounds(q.From, q.Until), d.needs, "")
	if label != "" {
		s.onlyLabel(d.Name, label)
	}
	var out []uint64
	add := func(seq uint64) {
		if seq > after {
			out = append(out, seq)
		}
	}
	switch d.family {
	case famFees:
		s.eachFee(func(f *fee, _ int, _ []int32, _ int) { add(f.seq) })
	case famOpened, famClosed:
		for i := range c.disputes {
			d2 := &c.disputes[i]
			opened, closed, end := d2.times(q.Clock)
			if !passes(s.authors, d2.author) {
				continue
			}
			if d.family == famOpened && s.bucket(opened) == 1 {
				add(d2.versions[0].seq)
			}
			if d.family == famClosed && s.bucket(closed) == 1 {
				add(end.seq)
			}
		}
	default:
		s.orderSeqs(d.family, add)
	}
	slices.Sort(out)
	return out[:min(len(out), limit)], nil
}

// onlyLabel restricts a scan to the orders of one currency or one payment method.
func (s *scan) onlyLabel(pattern, label string) {
	for id := range s.targets {
		h := &s.c.cohorts[id]
		ok := s.c.fiats.text[h.fiat] == label
		if strings.HasPrefix(pattern, "market.methods.") {
			ok = slices.ContainsFunc(s.c.methodsOf(h.methods), func(m uint32) bool { return s.c.labels.text[m] == label })
		}
		if !ok {
			s.targets[id] = nil
		}
	}
}

// orderSeqs calls add with the seq of the version of each order that a family counts.
func (s *scan) orderSeqs(f family, add func(uint64)) {
	for i := range s.c.orders.n {
		chunk, k := s.c.orders.at(i)
		at := &chunk.at[s.q.Clock]
		if at[firstSeen][k] == 0 || s.targets[chunk.cohort[k]] == nil {
			continue
		}
		counts := func(m moment) bool { return s.bucket(at[m][k]) == 1 }
		done := chunk.status[k] == statusSuccess && counts(firstSuccess)
		gone := chunk.status[k] == statusCanceled && counts(firstCanceled)
		switch {
		case f == famCreated && counts(firstSeen):
			add(s.seqOf(i, statusNone))
		case (f == famCompleted || f == famEnded) && done:
			add(s.seqOf(i, statusSuccess))
		case (f == famCanceled || f == famEnded) && gone:
			add(s.seqOf(i, statusCanceled))
		case f == famTaken && counts(firstTaken):
			add(s.seqOf(i, statusInProgress))
		case f == famOpen || f == famProgress:
			v, ok := s.stateAt(i, s.q.Until)
			if ok && (f == famOpen && v.status == statusPending && !expired(v.ends, s.q.Until) || f == famProgress && v.status == statusInProgress) {
				add(v.seq)
			}
		}
	}
}

// seqOf returns the seq of the version that dates a moment of row i: the first one with the
// status, or with any status.
func (s *scan) seqOf(i int, want status) uint64 {
	chunk, k := s.c.orders.at(i)
	versions, err := decodeVersions(s.buf[:0], s.c.blobs.get(chunk.blob[k]))
	if err != nil {
		return 0
	}
	s.buf = versions
	var best *version
	for j := range versions {
		v := &versions[j]
		if want != statusNone && v.status != want {
			continue
		}
		if s.q.Clock == Signed {
			return v.seq
		}
		if v.live && (best == nil || v.received < best.received) {
			best = v
		}
	}
	if best == nil {
		return 0
	}
	return best.seq
}
