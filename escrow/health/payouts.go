package health

import "slices"

// Window is the time in seconds in which attempts count, and maxAttempts the number of
// attempts that are remembered.
const (
	Window      = 3600
	maxAttempts = 4096
)

// Attempts remembers the payouts of the last hour. The zero value is ready.
type Attempts struct {
	list   []attempt
	PaidAt int64 // time of the last payout
}

type attempt struct {
	at    int64
	trade [16]byte
	paid  bool
}

// Add records the outcome of an attempt to pay the buyer of a trade.
func (a *Attempts) Add(at int64, trade [16]byte, paid bool) {
	if paid {
		a.PaidAt = max(a.PaidAt, at)
	}
	if len(a.list) == maxAttempts {
		a.list = a.list[maxAttempts/2:]
	}
	a.list = append(a.list, attempt{at, trade, paid})
}

// Facts returns the counts of the last hour.
func (a *Attempts) Facts(at int64) (f PayoutFacts) {
	a.list = slices.DeleteFunc(a.list, func(one attempt) bool { return at-one.at >= Window })
	failed := make(map[[16]byte]struct{})
	for _, one := range a.list {
		if one.paid {
			f.Paid++
		} else {
			f.Failed++
			failed[one.trade] = struct{}{}
		}
	}
	f.FailedTrades, f.PaidAt = len(failed), a.PaidAt
	return f
}
