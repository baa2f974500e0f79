package score

// outcome is the state of an order according to one kind of evidence.
type outcome uint8

const (
	unknownOutcome outcome = iota
	offered                // waiting for a taker
	underWay               // taken, without an end
	succeeded
	failed    // taken, and then cancelled
	withdrawn // cancelled or expired before a take
	omitted   // taken, without a published end long after the end was due
	silent    // offered, without a published end long after the expiry
	early     // cancelled so soon after the take that no side had to pay
	endedLate // the end was published and received late: no verdict
)

// lifecycle is the state of an order with its times.
type lifecycle struct {
	Claimed   outcome // according to the claims of the node
	Witnessed outcome // according to events received in time; unknownOutcome if there are none
	Taken     bool    // witnessed in progress, or witnessed as a success
	ClaimedOn int32   // day (UTC, since 1970) of the success that the node claims; 0 if it claims none
	Start     int64   // unix seconds, first witnessed
	TakenAt   int64   // unix seconds, witnessed in progress since then; 0 if never
	End       int64   // unix seconds, receipt of the end; for an omission the time at which the end was due
}

// lifecycleAt returns the lifecycle of an order at a moment.
func (o *order) lifecycleAt(versions packed, p *Params, asOf int64, equivocated bool) (l lifecycle) {
	var first, last [isExpired + 1]int64 // by status, unix seconds of receipt
	var final, lateFinal uint8           // final was witnessed; lateFinal was late, and is a bad end if there was one
	var finalAt, lateAt, lateTaken int64
	claimed := uint8(0)
	claimedTaken := false
	for v := range versions.all() {
		claimed = v.Status
		if claimed == isSuccess {
			l.ClaimedOn = int32(min(max(v.Created, 0)/day, 1<<30))
		}
		claimedTaken = claimedTaken && v.Status != isPending || v.Status == isInProgress
		at := v.Received / 1000
		if !v.Witness {
			// A late end proves nothing in favour of the node. Against the node its own
			// signature is enough, whatever the date.
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
		// The first witnessed end holds. A node cannot revise a cancellation later.
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
	if l.Claimed != succeeded {
		l.ClaimedOn = 0
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
		l.Witnessed = unknownOutcome // never witnessed on offer, or too quick for a trade
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

// cancelled returns the outcome of a taken order that was cancelled some seconds after the
// take. An attacker can publish an order, take the order with a second key and leave
// before a payment is due. Therefore an early cancellation is neutral.
func (p *Params) cancelled(after int64) outcome {
	if after <= p.NeutralSeconds {
		return early
	}
	return failed
}

// outlasted reports whether an order was in progress for longer than an unpaid order can
// be, and was then on offer again. No daemon offers a paid order again. A node that does
// so and then cancels the order hides how the trade ended.
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

// takenAt returns the time at which an order was first received in progress, after the
// last time at which the order was witnessed on offer. A node cannot move this time if it
// repeats the state later.
func takenAt(versions packed, since int64) (first int64) {
	for v := range versions.all() {
		if at := v.Received / 1000; v.Status == isInProgress && at >= since && (first == 0 || at < first) {
			first = at
		}
	}
	return first
}

// disputeOutcome is the observed course of a dispute.
type disputeOutcome struct {
	opened, taken, ended int64 // unix seconds; taken and ended are times of witnessed receipt; 0 if not seen
	lateEnd              int64 // unix seconds: the first receipt of a late end; 0 if there is none
	lateEndClaim         int64 // unix seconds: created_at of the late end
	claimedEnd           bool  // the node claims an end, at whatever time
}

const (
	disputeOpened uint8 = 1
	disputeTaken  uint8 = 2
)

// outcomeSince returns the outcome of a dispute. The argument is the time since which the
// node is watched. A late version counts if its created_at lies in the time in which the
// node was watched, because a dispute is a fact against the node. An early end is a fact
// in favour of the node, and must be witnessed.
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
	// If a dispute is first seen in a later state, that is the latest time at which it was
	// opened.
	if q.opened == 0 {
		for _, at := range []int64{q.taken, q.ended} {
			if at > 0 {
				earlier(&q.opened, at)
			}
		}
	}
	return q
}
