package score

import (
	"cmp"
	"fmt"
	"slices"
)

// lightningIndex lists for each Lightning node the Mostros that named it, and since when.
type lightningIndex map[string][]claimant

type claimant struct {
	pubkey string
	since  int64
	signed bool // the Lightning node signed the key
}

func newLightningIndex(b *book) lightningIndex {
	index := lightningIndex{}
	for pubkey, n := range b.Nodes {
		for ln, since := range n.Lightning {
			if since.Witness {
				index[ln] = append(index[ln], claimant{pubkey, since.Since, since.Signed})
			}
		}
	}
	return index
}

// before returns the pubkeys that named one of the node's Lightning nodes earlier than the
// node, sorted. Any key can name a Lightning node, even before the owner does. Therefore a
// link is shown and does not reduce a rank. If the Lightning node signed the key of the node,
// only older keys that it signed as well are links.
func (x lightningIndex) before(pubkey string, n *node) (list []string) {
	for ln, since := range n.Lightning {
		for _, c := range x[ln] {
			if c.pubkey != pubkey && since.Witness && c.since < since.Since && (c.signed || !since.Signed) {
				list = append(list, c.pubkey)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// flags returns warnings about facts that a rank does not show.
func (d *derived) flags(p *Params, s *Score, asOf int64) (flags []Flag) {
	e := &d.evidence
	raise := func(name, format string, args ...any) {
		flags = append(flags, Flag{name, fmt.Sprintf(format, args...)})
	}
	if n := len(e.Equivocations); n > 0 {
		raise(FlagEquivocation, "signed two versions of one order for one second, %d times", n)
	}
	if len(s.Linked) > 0 {
		raise(FlagWhitewash, "%d older keys name the same Lightning node; it may be one operator, or one that names another's node", len(s.Linked))
	}
	if d.users.overIssue {
		raise(FlagOverIssue, "%d receipts without a witnessed trade in %d days, where its trades allow %d", d.users.issued, p.EpochDays, d.users.possible)
	}
	if e.Omitted.Witnessed > 0 {
		raise(FlagOmission, "%d taken orders never ended", e.Omitted.Witnessed)
	}
	if n := len(d.node.Erased); n > 0 {
		raise(FlagErased, "asked %d times to delete evidence; what was witnessed stays", n)
	}
	if d.test {
		raise(FlagTestNetwork, "trades on a test network")
	}
	if d.sparse {
		raise(FlagSlotSparse, "announces itself less than twice a day")
	}
	d.alarms(p, raise, asOf)
	if open := d.openNow; !s.Provisional && open > s.ExposureSats {
		raise(FlagExposure, "%d sats are under way, the evidence secures %d", open, s.ExposureSats)
	}
	if d.skew != 0 {
		raise(FlagClock, "%s", clockOff(d.skew, p))
	}
	if before, now, n := d.shift(p, asOf); n > 0 {
		raise(FlagRatingShift, "%d ratings of the last %d hours give %s, all before %s", n, p.ShiftHours, now, before)
	}
	return flags
}

// openDays is the number of days with which the amount open now is compared.
const openDays = 30

// alarms compare the amount open now with the usual trades of the node. An exit scam
// begins with more than the usual amount.
func (d *derived) alarms(p *Params, raise func(string, string, ...any), asOf int64) {
	var sizes []int64
	for _, t := range d.trades {
		if t.good && t.end > asOf-90*day {
			sizes = append(sizes, t.sats)
		}
	}
	if len(sizes) >= p.AlarmSamples {
		slices.Sort(sizes)
		if usual := sizes[(len(sizes)*95-1)/100]; usual > 0 && d.openMax > p.AlarmTimes*usual {
			raise(FlagOrderSize, "an order of %d sats is under way; of 20 trades 19 were of %d at the most", d.openMax, usual)
		}
	}
	// days holds the open amount at the end of each of the last days.
	days := make([]int64, 0, openDays)
	for back := int64(openDays); back >= 1; back-- {
		at, sum := asOf-back*day, int64(0)
		if e := d.evidence.FirstWitnessed; e.IsZero() || e.Unix() > at {
			continue
		}
		for _, o := range d.opens {
			if o.from <= at && at < o.to {
				sum += o.sats
			}
		}
		days = append(days, sum)
	}
	if len(days) < p.AlarmSamples {
		return
	}
	slices.Sort(days)
	usual := max(days[(len(days)*95-1)/100], mean(sizes))
	if usual > 0 && d.openNow > p.AlarmTimes*usual {
		raise(FlagOpenVolume, "%d sats are under way; usual are %d", d.openNow, usual)
	}
}

func mean(list []int64) (m int64) {
	if len(list) == 0 {
		return 0
	}
	for _, v := range list {
		m += v
	}
	return m / int64(len(list))
}

// shift compares the ratings of the last hours with all ratings before. If the means
// differ by more than ShiftSigma standard errors, shift returns both means and the number
// of recent ratings. Otherwise shift returns n = 0.
func (d *derived) shift(p *Params, asOf int64) (before, now Micro, n int) {
	from := asOf - p.ShiftHours*3600
	var old, recent []Micro
	for i := range d.users.list {
		if w := &d.users.list[i]; w.weight > 0 {
			if w.Received/1000 >= from {
				recent = append(recent, w.Rating)
			} else {
				old = append(old, w.Rating)
			}
		}
	}
	if len(recent) < p.ShiftSamples || len(old) < p.ShiftSamples {
		return 0, 0, 0
	}
	average := func(list []Micro) (m Micro) {
		for _, v := range list {
			m += v
		}
		return m / Micro(len(list))
	}
	before, now = average(old), average(recent)
	variance := int64(0) // in millionths of millionths
	for _, v := range old {
		variance += int64(v-before) * int64(v-before)
	}
	variance /= int64(len(old))
	// If no rating was bad, the ratings have no spread. The minimum is the variance that a
	// deviation of one tenth makes.
	variance = max(variance, int64(One)*int64(One)/100)
	off := int64(now - before)
	if cmp.Compare(off*off*int64(len(recent)), p.ShiftSigma*p.ShiftSigma*variance) > 0 {
		return before, now, len(recent)
	}
	return 0, 0, 0
}
