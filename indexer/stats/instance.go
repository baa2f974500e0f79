package stats

import (
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/internal/clip"
	"github.com/mostrodex/mostrodex/mostro"
)

// Policy is the part of a node's info that traders compare.
type Policy struct {
	Fee          *float64 `json:"fee"` // fraction of the amount, both sides together
	MinSats      *int64   `json:"min_sats"`
	MaxSats      *int64   `json:"max_sats"`
	Version      string   `json:"version"`
	Currencies   string   `json:"currencies"` // sorted, separated by commas; "*" if every currency is accepted
	BondEnabled  *bool    `json:"bond_enabled"`
	EscrowMode   string   `json:"escrow_mode"`
	Maintenance  *bool    `json:"maintenance"`
	LightningKey string   `json:"lightning_key"`
}

func same[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

func (p *Policy) equal(o *Policy) bool {
	return same(p.Fee, o.Fee) && same(p.MinSats, o.MinSats) && same(p.MaxSats, o.MaxSats) && p.Version == o.Version &&
		p.Currencies == o.Currencies && same(p.BondEnabled, o.BondEnabled) && p.EscrowMode == o.EscrowMode &&
		same(p.Maintenance, o.Maintenance) && p.LightningKey == o.LightningKey
}

// policyRun is a time during which all infos of a node stated the same policy.
type policyRun struct {
	first, last uint32 // created_at of the first and the last info
	seq         uint64 // of the first info
	policy      Policy
}

// Bounds of the policies of one node. A node could change its info with every event.
const (
	maxPolicies   = 4096
	maxCurrencies = 250
)

func policyOf(info *mostro.Info) Policy {
	short := func(s string) string { return strings.Clone(clip.Text(s, maxText)) }
	p := Policy{MinSats: info.MinOrderSats, MaxSats: info.MaxOrderSats, Version: short(info.Version), EscrowMode: short(info.EscrowMode), Maintenance: info.Maintenance}
	if info.Fee != nil {
		p.Fee = new(info.Fee.Float())
	}
	codes := slices.Clone(info.Currencies[:min(len(info.Currencies), maxCurrencies)])
	slices.Sort(codes)
	p.Currencies = strings.Join(codes, ",")
	if info.AnyCurrency {
		p.Currencies = "*"
	}
	if info.Bond != nil {
		p.BondEnabled = new(info.Bond.Enabled)
	}
	if info.LND != nil {
		p.LightningKey = short(info.LND.Pubkey)
	}
	return p
}

// insertPolicy adds one info to the runs of a node, which are sorted and do not overlap.
func insertPolicy(runs []policyRun, r policyRun) []policyRun {
	i := len(runs)
	for i > 0 && runs[i-1].first > r.first {
		i--
	}
	switch {
	case i > 0 && runs[i-1].policy.equal(&r.policy):
		runs[i-1].last = max(runs[i-1].last, r.first)
		return runs
	case i > 0 && runs[i-1].last >= r.first:
		// The info lies inside a run of another policy. The run ends here, and its last
		// info begins it again. The infos between are not kept.
		back := runs[i-1]
		runs[i-1].last = runs[i-1].first
		if back.last == r.first {
			return slices.Insert(runs, i, r)
		}
		back.first = back.last
		return slices.Insert(runs, i, r, back)
	case i < len(runs) && runs[i].policy.equal(&r.policy):
		runs[i].first, runs[i].seq = r.first, r.seq
		return runs
	}
	return slices.Insert(runs, i, r)
}

// policyAt returns the policy in force at t: that of the newest info not after t, or of the
// first info if all infos are later. It returns nil if the node has no info.
func (a *author) policyAt(t uint32) *Policy {
	if len(a.policies) == 0 {
		return nil
	}
	i := len(a.policies)
	for i > 1 && a.policies[i-1].first > t {
		i--
	}
	return &a.policies[i-1].policy
}

// PolicyChange is one change of a node's policy.
type PolicyChange struct {
	At     int64  `json:"at"`  // created_at of the first info with the policy
	Seq    uint64 `json:"seq"` // of that info
	Policy Policy `json:"policy"`
}

// silence is the time without any event after which an instance counts as silent.
const silence = 7 * 86400

// knownAt reports whether the author published an event that counts before t, and silent whether
// none of these events is younger than silence at t.
func (a *author) knownAt(t int64) (known, silent bool) {
	i := len(a.active)
	for i > 0 && int64(a.active[i-1].first) >= t {
		i--
	}
	return i > 0, i > 0 && int64(a.active[i-1].last) < t-silence
}

// rateSeries holds the prices of one bitcoin in one currency, as nodes signed them, sorted by
// time.
//
// BUG: no price is ever dropped. A node that publishes every five minutes costs 16 bytes
// for each price, 1.7 MB for each currency and year.
type rateSeries struct {
	at     []uint32 // created_at
	author []uint32
	price  []float64
}

func (s *rateSeries) insert(t, author uint32, price float64) {
	i := s.after(t, len(s.at))
	for j := i; j > 0 && s.at[j-1] == t; j-- {
		if s.author[j-1] == author {
			s.price[j-1] = min(s.price[j-1], price) // two tables of one second: a rule that does not depend on the arrival
			return
		}
	}
	s.at, s.author, s.price = slices.Insert(s.at, i, t), slices.Insert(s.author, i, author), slices.Insert(s.price, i, price)
}

// after returns the number of prices not after t. hint is a number near the answer.
func (s *rateSeries) after(t uint32, hint int) int {
	for range 16 {
		switch {
		case hint < len(s.at) && s.at[hint] <= t:
			hint++
		case hint > 0 && s.at[hint-1] > t:
			hint--
		default:
			return hint
		}
	}
	n, _ := slices.BinarySearchFunc(s.at, t, func(at, t uint32) int {
		if at <= t {
			return -1
		}
		return 1
	})
	return n
}

// rate is a signed price of one bitcoin.
type rate struct {
	price float64
	age   uint32 // seconds
	other bool   // signed by another node
}

// newest returns the newest of the first n prices that is at most maxAge seconds old at t: of
// the node own, else of another node, and of several at the same time the least. Prices of
// excluded authors are left out.
func (s *rateSeries) newest(n int, own, t, maxAge uint32, excluded []bool) (best rate, ok bool) {
	for i := n - 1; i >= 0 && t-s.at[i] <= maxAge; i-- {
		if excluded != nil && excluded[s.author[i]] {
			continue
		}
		age := t - s.at[i]
		if s.author[i] == own {
			return rate{s.price[i], age, false}, true
		}
		if !ok || age == best.age && s.price[i] < best.price {
			best, ok = rate{s.price[i], age, true}, true
		}
	}
	return best, ok
}

// signedRates are the signed prices by currency.
type signedRates map[uint32]*rateSeries

// SignedRate is the price of one bitcoin that one node signed.
type SignedRate struct {
	Pubkey string
	Price  float64
	At     int64 // created_at
}
