package reputation

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
)

// life is what became of an order.
type life struct {
	Claimed   outcome // by the node's word alone
	Witnessed outcome // by what we saw in time; unknownOutcome: nothing of it
	Taken     bool    // witnessed in progress, or to succeed
	Start     int64   // unix seconds, first witnessed
	End       int64   // unix seconds, of the witnessed end; of omissions when they were due
}

// live derives an order's life at a moment.
func (o *order) live(versions packed, p *Params, asOf int64, equivocated bool) (l life) {
	var first, last [isExpired + 1]int64 // by status, unix seconds of receipt
	var final uint8
	var finalAt int64
	claimed := uint8(0)
	claimedTaken, claimedFinal := false, false
	for v := range versions.all() {
		claimed = v.Status
		claimedTaken = claimedTaken && v.Status != isPending || v.Status == isInProgress
		claimedFinal = claimedFinal || v.Status >= isSuccess
		if !v.Witness {
			continue
		}
		at := v.Received / 1000
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
	inProgress := last[isInProgress] > 0 && last[isInProgress] >= last[isPending]
	l.Taken = last[isInProgress] > 0
	due := max(o.Expires, last[isInProgress]+p.OmissionHours*3600) + p.OmissionHours*3600
	switch {
	case equivocated:
		l.Witnessed, l.End, l.Taken = failed, max(finalAt, l.Start), true
	case final == isSuccess && first[isPending] > 0 && finalAt-first[isPending] >= p.MinTradeSeconds:
		l.Witnessed, l.End, l.Taken = succeeded, finalAt, true
	case final == isSuccess:
		l.Witnessed = unknownOutcome // nobody saw it on offer, or it was too quick to be one
	case final >= isCanceled && inProgress:
		l.Witnessed, l.End = failed, finalAt
	case final >= isCanceled:
		l.Witnessed, l.End = withdrawn, finalAt
	case inProgress && asOf > due && !claimedFinal:
		l.Witnessed, l.End = omitted, due
	case inProgress:
		l.Witnessed = underWay
	case o.Expires > 0 && asOf > o.Expires+p.OmissionHours*3600 && !claimedFinal:
		l.Witnessed, l.End = silent, o.Expires+p.OmissionHours*3600
	default:
		l.Witnessed = offered
	}
	return l
}

// quarrel is what became of a dispute.
type quarrel struct {
	opened, taken, ended int64 // unix seconds of receipt, witnessed; 0 not seen
	claimedEnd           bool
}

const (
	disputeOpened uint8 = 1
	disputeTaken  uint8 = 2
)

func (d *dispute) live() (q quarrel) {
	earlier := func(to *int64, at int64) {
		if *to == 0 || at < *to {
			*to = at
		}
	}
	for _, v := range d.Versions {
		q.claimedEnd = q.claimedEnd || v.Status > disputeTaken
		if !v.Witness {
			continue
		}
		at := v.Received / 1000
		switch {
		case v.Status == disputeOpened:
			earlier(&q.opened, at)
		case v.Status == disputeTaken:
			earlier(&q.taken, at)
		default:
			earlier(&q.ended, at)
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
	if by := l.book.Hashes[f.Hash].Order; nodeOf(by) != pubkey || by[65:] != orderID {
		return 0
	}
	return min(f.Sats, paid.Sats)
}

// opened gives what a rating's receipt shows to have been paid to a fund.
func (l *Ledger) opened(pubkey string, r *rated) int64 {
	if r.Refusal != "" || r.Proof.PaymentHash == "" || r.Proof.PaidSats <= 0 || !slices.Contains(l.params.Payees, r.Proof.Payee) ||
		l.book.Hashes[r.Proof.PaymentHash].Order != pubkey+":"+r.OrderID {
		return 0
	}
	return r.Proof.PaidSats
}
