package score

import (
	"slices"
)

// outcome is how an order stands, as far as one kind of evidence tells.
type outcome uint8

const (
	unknownOutcome outcome = iota
	offered                // waits for a taker
	underWay               // taken, not over
	succeeded
	failed    // taken, and then cancelled
	withdrawn // cancelled or expired before anybody took it
	omitted   // taken, and no end was published long after it was due
	silent    // offered, and no end was published long after it expired
	early     // cancelled so soon after it was taken that no side need have paid
	endedLate // its end was published, and this relay received it late: no verdict
)

// lifecycle is the state of an order, with its times.
type lifecycle struct {
	Claimed   outcome // by the node's word alone
	Witnessed outcome // by what we saw in time; unknownOutcome: nothing of it
	Taken     bool    // witnessed in progress, or to succeed
	Start     int64   // unix seconds, first witnessed
	TakenAt   int64   // unix seconds, since when it was witnessed in progress; 0 never
	End       int64   // unix seconds, of the end as it was received; of omissions when they were due
}

// lifecycleAt returns an order's lifecycle at a moment.
func (o *order) lifecycleAt(versions packed, p *Params, asOf int64, equivocated bool) (l lifecycle) {
	var first, last [isExpired + 1]int64 // by status, unix seconds of receipt
	var final, lateFinal uint8           // witnessed; of those received late, the one against the node if there is one
	var finalAt, lateAt, lateTaken int64
	claimed := uint8(0)
	claimedTaken := false
	for v := range versions.all() {
		claimed = v.Status
		claimedTaken = claimedTaken && v.Status != isPending || v.Status == isInProgress
		at := v.Received / 1000
		if !v.Witness {
			// An end that came late proves nothing for the node. Against it the
			// node's own signature is enough, whatever its date.
			if v.Status == isInProgress {
				lateTaken = max(lateTaken, at)
			}
			if bad := v.Status >= isCanceled; v.Status >= isSuccess && (lateFinal == 0 || bad && lateFinal == isSuccess || bad == (lateFinal != isSuccess) && at < lateAt) {
				lateFinal, lateAt = v.Status, at
			}
			continue
		}
		if l.Start == 0 || at < l.Start {
			l.Start = at
		}
		if first[v.Status] == 0 || at < first[v.Status] {
			first[v.Status] = at
		}
		last[v.Status] = max(last[v.Status], at)
		// The first end that was seen holds: a node does not get to think
		// better of a cancellation.
		if v.Status >= isSuccess && (final == 0 || at < finalAt || at == finalAt && v.Status > final) {
			final, finalAt = v.Status, at
		}
	}
	switch {
	case claimed == isSuccess:
		l.Claimed = succeeded
	case claimed >= isCanceled && claimedTaken:
		l.Claimed = failed
	case claimed >= isCanceled:
		l.Claimed = withdrawn
	case claimed == isInProgress:
		l.Claimed = underWay
	default:
		l.Claimed = offered
	}
	if l.Start == 0 {
		return l
	}
	inProgress := last[isInProgress] > 0 && last[isInProgress] >= last[isPending] || first[isPending] > 0 && lateTaken >= last[isPending]
	l.Taken = last[isInProgress] > 0
	if inProgress {
		l.TakenAt = takenAt(versions, last[isPending])
	}
	due := max(last[isInProgress], lateTaken) + p.OmissionHours*3600
	silentAt := min(o.Expires, last[isPending]+p.OfferDays*day) + p.SilentHours*3600
	switch {
	case equivocated:
		l.Witnessed, l.End, l.Taken = failed, max(finalAt, l.Start), true
	case final == isSuccess && first[isPending] > 0 && finalAt-first[isPending] >= p.MinTradeSeconds:
		l.Witnessed, l.End, l.Taken = succeeded, finalAt, true
	case final == isSuccess:
		l.Witnessed = unknownOutcome // nobody saw it on offer, or it was too quick to be one
	case final >= isCanceled && inProgress:
		l.Witnessed, l.End = p.cancelled(finalAt-l.TakenAt), finalAt
	case final >= isCanceled && first[isInProgress] > 0 && p.outlasted(versions):
		l.Witnessed, l.End = failed, finalAt
	case final >= isCanceled:
		l.Witnessed, l.End = withdrawn, finalAt
	case lateFinal >= isCanceled && inProgress:
		l.Witnessed, l.End = p.cancelled(lateAt-l.TakenAt), lateAt
	case lateFinal >= isCanceled && first[isInProgress] > 0 && p.outlasted(versions):
		l.Witnessed, l.End = failed, lateAt
	case lateFinal > 0:
		l.Witnessed, l.End = endedLate, lateAt
	case inProgress && asOf > due:
		l.Witnessed, l.End = omitted, due
	case inProgress:
		l.Witnessed = underWay
	case o.Expires > 0 && asOf > silentAt:
		l.Witnessed, l.End = silent, silentAt
	default:
		l.Witnessed = offered
	}
	return l
}

// cancelled says what a taken order that was cancelled after some seconds says
// of its node. Anybody may publish an order, take it with a second key and
// leave before a payment is due.
func (p *Params) cancelled(after int64) outcome {
	if after <= p.NeutralSeconds {
		return early
	}
	return failed
}

// outlasted says whether an order was in progress for longer than an unpaid one
// can be, and then on offer again. No daemon gives a paid order back to the book:
// one that does, and cancels it there, hides how a trade ended.
func (p *Params) outlasted(versions packed) bool {
	since := int64(0)
	for v := range versions.all() {
		switch at := v.Received / 1000; {
		case v.Status == isInProgress && since == 0:
			since = at
		case v.Status == isPending && v.Witness:
			if since > 0 && at-since > p.NeutralSeconds {
				return true
			}
			since = 0
		}
	}
	return false
}

// takenAt is when an order was first received in progress since it was
// witnessed on offer for the last time. A node that repeats the state later
// does not move it.
func takenAt(versions packed, since int64) (first int64) {
	for v := range versions.all() {
		if at := v.Received / 1000; v.Status == isInProgress && at >= since && (first == 0 || at < first) {
			first = at
		}
	}
	return first
}

// disputeOutcome is the course of a dispute, as far as it was seen.
type disputeOutcome struct {
	opened, taken, ended int64 // unix seconds; taken and ended of receipt, witnessed; 0 not seen
	lateEnd              int64 // unix seconds: an end was received late, first at this time; 0 none
	lateEndClaim         int64 // unix seconds: the date that the node gave it
	claimedEnd           bool  // by the node's word, whenever
}

const (
	disputeOpened uint8 = 1
	disputeTaken  uint8 = 2
)

// outcomeSince reads a dispute of a node that was witnessed first at some time. A
// version that came late counts if it is dated within the time in which the
// node was watched: a dispute is a fact against the node. What it says for the
// node, an early end, needs a witness.
func (d *dispute) outcomeSince(watched int64) (q disputeOutcome) {
	earlier := func(to *int64, at int64) {
		if *to == 0 || at < *to {
			*to = at
		}
	}
	for _, v := range d.Versions {
		at := v.Received / 1000
		q.claimedEnd = q.claimedEnd || v.Status > disputeTaken
		switch {
		case v.Witness && v.Status == disputeOpened:
			earlier(&q.opened, at)
		case v.Witness && v.Status == disputeTaken:
			earlier(&q.taken, at)
		case v.Witness:
			earlier(&q.ended, at)
		case watched == 0 || v.Created < watched:
		case v.Status == disputeOpened || v.Status == disputeTaken:
			earlier(&q.opened, min(at, v.Created))
		default:
			earlier(&q.opened, min(at, v.Created))
			if q.lateEnd == 0 || at < q.lateEnd {
				q.lateEnd, q.lateEndClaim = at, v.Created
			}
		}
	}
	// A dispute that shows up in a later state was opened then at the latest.
	if q.opened == 0 {
		for _, at := range []int64{q.taken, q.ended} {
			if at > 0 {
				earlier(&q.opened, at)
			}
		}
	}
	return q
}

// cost gives the confirmed development fee of an order in sats, 0 for none.
func (l *Ledger) cost(pubkey, orderID string, n *node) (sats int64) {
	for _, f := range n.Fees[orderID] {
		sats = max(sats, l.confirmed(pubkey, orderID, f))
	}
	return sats
}

// confirmed gives what a fund says that it received of a claimed fee.
func (l *Ledger) confirmed(pubkey, orderID string, f fee) int64 {
	paid := l.book.Paid[f.Hash]
	if !f.Witness || paid.Sats <= 0 {
		return 0
	}
	if by := l.payer(f.Hash); nodeOf(by) != pubkey || by[65:] != orderID {
		return 0
	}
	return min(f.Sats, paid.Sats)
}

// opened gives what a rating's receipt shows to have been paid to a fund.
func (l *Ledger) opened(pubkey string, r *rated) int64 {
	if r.Refusal != "" || r.Proof.PaymentHash == "" || r.Proof.PaidSats <= 0 || !slices.Contains(l.params.Payees, r.Proof.Payee) ||
		l.payer(r.Proof.PaymentHash) != pubkey+":"+r.OrderID {
		return 0
	}
	return r.Proof.PaidSats
}
