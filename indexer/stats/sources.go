package stats

import (
	"slices"
	"strings"
)

// maxSeqs bounds one answer of Sources.
const maxSeqs = 1000

// onlyLabel restricts a scan to the orders of one currency or one payment method.
func (s *scan) onlyLabel(pattern, label string) {
	narrow := newCohortSet(len(s.c.cohorts))
	for id := 1; id < len(s.c.cohorts); id++ {
		h := &s.c.cohorts[id]
		ok := s.c.fiats.text[h.fiat] == label
		if strings.HasPrefix(pattern, "market.methods.") {
			ok = slices.ContainsFunc(s.c.methodsOf(h.methods), func(m uint32) bool { return s.c.labels.text[m] == label })
		}
		if ok && s.counts(uint32(id)) {
			narrow.add(uint32(id))
		}
	}
	s.match = narrow
}

// orderSeqs calls add with the seq of the version of each order that a family counts.
func (s *scan) orderSeqs(f family, add func(uint64)) {
	s.reads(partMoments)
	for i := range s.c.orders.n {
		chunk, k := s.view.of(i/rows), i%rows
		at := &chunk.at[s.q.Clock]
		if at[firstSeen][k] == 0 || !s.counts(chunk.cohort[k]) {
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
