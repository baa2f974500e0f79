package score

import (
	"slices"
	"strconv"

	"github.com/mostrodex/mostrodex/mostro"
)

// terms are the terms of a version of an order, as hashes. The hashes are short, because a
// ledger may hold a million versions. Side, currency and premium share two bytes. The fiat
// amount and the sats have three bytes each. If the version leaves an amount open (a
// range, the market price), the hash is 0. A collision can hide a contradiction, but
// cannot create one.
type terms [8]byte

func termsOf(v mostro.Order) (t terms) {
	premium := ""
	if v.PremiumPct != nil {
		premium = v.PremiumPct.String()
	}
	put(t[:2], string(v.Side)+"\x00"+v.Fiat+"\x00"+premium)
	if low, high := v.FiatAmount.Min, v.FiatAmount.Max; low != nil && high != nil && low.Cmp(*high) == 0 {
		put(t[2:5], low.String())
	}
	if v.AmountSats != nil && *v.AmountSats > 0 {
		put(t[5:], strconv.FormatInt(*v.AmountSats, 10))
	}
	return t
}

// put fills b with a hash of text. The hash is never all zeros.
func put(b []byte, text string) {
	sum := uint64(14695981039346656037) // FNV-1a with the final mixing step of MurmurHash3
	for i := range len(text) {
		sum = (sum ^ uint64(text[i])) * 1099511628211
	}
	sum = (sum ^ sum>>33) * 0xff51afd7ed558ccd
	sum = (sum ^ sum>>33) * 0xc4ceb9fe1a85ec53
	sum ^= sum >> 33
	for i := range b {
		b[i] = byte(sum >> (8 * (7 - i)))
	}
	if !slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) {
		b[len(b)-1] = 1
	}
}

// contradict reports whether one order cannot have both terms at one time.
func (t terms) contradict(b terms) bool {
	differ := func(x, y []byte) bool {
		open := func(part []byte) bool { return !slices.ContainsFunc(part, func(c byte) bool { return c != 0 }) }
		return !open(x) && !open(y) && !slices.Equal(x, y)
	}
	return differ(t[:2], b[:2]) || differ(t[2:5], b[2:5]) || differ(t[5:], b[5:])
}

// orderContradicts reports whether neither of two versions of an order can follow the
// other. Daemons before 0.18.3 publish two states with one created_at. Therefore two
// states that can follow each other prove nothing. A success beside another end is a
// contradiction, and so are different terms.
func orderContradicts(a, b version) bool {
	ended := a.Status >= isSuccess && b.Status >= isSuccess
	return ended && (a.Status == isSuccess) != (b.Status == isSuccess) || a.Terms.contradict(b.Terms)
}

// disputeContradicts reports whether two versions of a dispute contradict each other. A
// dispute ends once, in favour of one side.
func disputeContradicts(a, b version) bool {
	refunded := func(v version) bool {
		state := disputeStates[v.Status]
		return state == mostro.DisputeStateSellerRefunded || state == mostro.DisputeStateCooperativelyCanceled
	}
	ended := a.Status > disputeTaken && b.Status > disputeTaken
	return ended && refunded(a) != refunded(b)
}
