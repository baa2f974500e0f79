// Package devfee decides about the payment of the development fee of a trade.
//
// The node owes the fee when it has claimed the seller's payment. The fee is paid afterwards,
// to an invoice of the development fund's Lightning address. Step decides about one event in
// the life of a fee. Step is pure: the package does no I/O and reads no clock. The caller
// stores the Fee that Step returns, and its claim on a payment hash, before it performs an
// effect.
//
// A fee is paid at most once, because each request for an invoice returns an invoice with
// another payment hash:
//
//   - The hash of an invoice is stored before the invoice is paid (PhaseClaimed).
//   - The hash stays stored until the Lightning node has reported that the payment failed, or
//     that it never began. A timeout and a lost answer are no failures.
//   - Before another invoice is requested, the last hash is looked up once more.
//   - An invoice whose hash the node has a payment of, or that belongs to another payment of
//     this node, is refused.
//   - If the outcome cannot be known, the fee is parked until an operator decides: the node
//     has forgotten a payment that it had accepted, or the store is an older copy of itself.
//
// No trade waits for its fee.
package devfee

import (
	"cmp"
	"errors"
	"slices"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

// Address is the Lightning address of the development fund of the reference node.
const Address = "dev@pay.mostro.foundation"

// ErrNothing reports that an input changes nothing about a fee, because the input is a
// repetition or is out of date.
var ErrNothing = errors.New("nothing to decide about the fee")

// Fee is a development fee that is not paid yet. A fee that is paid is recorded in its trade.
// Times are unix seconds.
type Fee struct {
	Trade trade.OrderID `json:"trade"`
	Sats  int64         `json:"sats"`
	// DueAt is the time of the settlement. If 0, the trade is not settled yet, and the fee is
	// parked already.
	DueAt int64 `json:"due_at,omitzero"`
	Phase Phase `json:"phase"`
	// Attempt is the number of the current or last request for an invoice.
	Attempt uint32 `json:"attempt,omitzero"`
	// Failures is the number of failed attempts. The wait until the next attempt doubles with
	// each failure.
	Failures uint32 `json:"failures,omitzero"`
	NextAt   int64  `json:"next_at,omitzero"` // time of the next attempt, or of the next lookup
	// Hash is the payment hash of the last invoice that was claimed. A later claim replaces
	// the hash.
	Hash   trade.Hash `json:"hash,omitzero"`
	Verify string     `json:"verify,omitzero"` // URL of LUD-21 of the same invoice; "" for none
	// Doubtful reports that the store was an older copy of itself. The fee may have been paid
	// to an invoice that this store does not know.
	Doubtful bool `json:"doubtful,omitzero"`
	// Published reports that the log already has the event about this payment.
	Published bool    `json:"published,omitzero"`
	Problem   Problem `json:"problem,omitzero"` // of the last failed attempt, or why the fee is parked
}

// Phase is the state of a fee.
type Phase string

// The phases.
const (
	PhaseOwed    Phase = "owed"    // waits for its next attempt
	PhaseAsking  Phase = "asking"  // the fund is asked for an invoice
	PhaseClaimed Phase = "claimed" // the payment may be in flight under Hash, and under no other hash
	PhaseSent    Phase = "sent"    // the node has accepted the payment of Hash
	PhaseParked  Phase = "parked"  // an operator must decide
)

// Busy reports whether an attempt is in progress.
func (p Phase) Busy() bool { return p == PhaseAsking || p == PhaseClaimed || p == PhaseSent }

// Problem is the reason why an attempt has failed, or why a fee is parked. It contains no
// text of another party.
type Problem string

// The problems.
const (
	ProblemUnreachable Problem = "the fund's address cannot be reached"
	ProblemNode        Problem = "the Lightning node does not answer"
	ProblemService     Problem = "the fund's address returned no usable invoice"
	ProblemAmount      Problem = "the fund's invoice has another amount"
	ProblemDescription Problem = "the fund's invoice has another description than its address"
	ProblemInvoice     Problem = "the fund's invoice is of another network, has expired, or locks the payment for too long"
	ProblemUsed        Problem = "the fund's invoice belongs to another payment"
	ProblemRefused     Problem = "the Lightning node does not pay the fund's invoice"
	ProblemFailed      Problem = "the payment has failed"
	ProblemForgotten   Problem = "parked: the Lightning node no longer knows a payment that it had accepted"
	ProblemCopied      Problem = "parked: the store is an older copy, and the fee may have been paid in the lost time"
	ProblemByHand      Problem = "parked: an operator has decided about the trade, and the fee may have been paid before"
)

// Input is one event in the life of a fee.
type Input struct {
	At   int64
	Kind InputKind
	// Attempt is the attempt that the input is about: InInvoice, InNoInvoice, InSent,
	// InRefused, InPayment.
	Attempt uint32
	Hash    trade.Hash // InSent, InRefused, InPayment, InPublished
	Payment trade.Result
	Invoice *trade.Destination // InInvoice
	// Payable reports that the terms of the trade permit to pay Invoice.
	Payable bool
	Verify  string  // InInvoice
	Problem Problem // InNoInvoice
}

// InputKind names the event of an input.
type InputKind string

// The kinds.
const (
	InClock     InputKind = "clock"      // NextAt has passed
	InInvoice   InputKind = "invoice"    // the fund has returned an invoice
	InNoInvoice InputKind = "no-invoice" // the fund has returned none, or none that can be paid
	InSent      InputKind = "sent"       // the node has accepted the payment
	InRefused   InputKind = "refused"    // the node will not attempt the payment
	InPayment   InputKind = "payment"    // state of the payment
	InCopied    InputKind = "copied"     // the store may be an older copy of itself
	InPublished InputKind = "published"  // the log has the event about a payment that this store does not know
	InByHand    InputKind = "by-hand"    // an operator has decided about the trade
	InRetry     InputKind = "retry"      // an operator has seen that the fee is not paid
)

// The effects of a fee. Each may be performed again without harm.
const (
	FxInvoice trade.EffectKind = "dev-fee-invoice" // looks up Hash, then requests an invoice; an invoice that is never paid costs nothing
	FxPay     trade.EffectKind = "dev-fee-pay"     // keyed by hash; looked up before it is sent
	FxTrack   trade.EffectKind = "dev-fee-track"   // only reads
)

// Wait times in seconds. The first attempt begins after firstWait, so that the payout of the
// trade begins before it.
const (
	firstWait = 60
	baseWait  = 60
	mostWait  = 3600
	firstLook = 5
	lookEvery = 60
)

// New returns the fee of a trade that is settled at a time.
func New(id trade.OrderID, sats, at int64) Fee {
	return Fee{Trade: id, Sats: sats, DueAt: at, Phase: PhaseOwed, NextAt: at + firstWait}
}

// Due reports whether the clock has something to decide about the fee. A time that is too far
// ahead was written by a clock that was set back since.
func (f Fee) Due(at int64) bool {
	return f.DueAt != 0 && (f.Phase == PhaseOwed || f.Phase == PhaseSent) && (f.NextAt <= at || f.NextAt > at+mostWait+mostWait/4)
}

// Step decides about one input. paid reports that the fee is paid, under Hash of the returned
// Fee. If Step returns an error, the fee is unchanged.
func Step(f Fee, in Input) (next Fee, effects []trade.Effect, paid bool, err error) {
	s := step{f: f, in: in}
	if err := s.decide(); err != nil {
		return f, nil, false, err
	}
	return s.f, s.effects, s.paid, nil
}

type step struct {
	f       Fee
	in      Input
	effects []trade.Effect
	paid    bool
}

func (s *step) decide() error {
	f, in := &s.f, s.in
	current := in.Attempt == f.Attempt
	switch in.Kind {
	case InClock:
		return s.clock()
	case InInvoice:
		if f.Phase != PhaseAsking || !current || in.Invoice == nil {
			return ErrNothing
		}
		return s.claim()
	case InNoInvoice:
		if f.Phase != PhaseAsking || !current {
			return ErrNothing
		}
		s.failed(in.Problem)
	case InSent:
		if f.Phase != PhaseClaimed || !current || in.Hash != f.Hash {
			return ErrNothing
		}
		f.Phase, f.NextAt = PhaseSent, in.At+firstLook
	case InRefused:
		if f.Phase != PhaseClaimed || !current || in.Hash != f.Hash {
			return ErrNothing
		}
		s.failed(ProblemRefused)
	case InPayment:
		return s.payment()
	case InCopied:
		s.doubt(ProblemCopied)
	case InByHand:
		s.doubt(ProblemByHand)
	case InPublished:
		if !f.Doubtful || f.Hash == in.Hash && f.Phase == PhaseSent {
			return ErrNothing
		}
		f.Phase, f.Hash, f.Verify, f.Published, f.NextAt = PhaseSent, in.Hash, "", true, in.At
	case InRetry:
		if f.Phase != PhaseParked || f.DueAt == 0 {
			return ErrNothing
		}
		f.Phase, f.Doubtful, f.Published, f.NextAt = PhaseOwed, false, false, in.At
	default:
		return ErrNothing
	}
	return nil
}

// clock begins an attempt, or looks up the payment.
func (s *step) clock() error {
	f := &s.f
	switch {
	case !f.Due(s.in.At):
		return ErrNothing
	case f.Phase == PhaseSent:
		f.NextAt = s.in.At + lookEvery
		s.effects = append(s.effects, trade.Effect{Kind: FxTrack, Hash: f.Hash, Attempt: f.Attempt})
	default:
		f.Phase = PhaseAsking
		f.Attempt++
		// The last hash is looked up before the fund is asked for another invoice.
		s.effects = append(s.effects, trade.Effect{Kind: FxInvoice, Hash: f.Hash, AmountSats: f.Sats, Attempt: f.Attempt})
	}
	return nil
}

// claim stores the hash of an invoice, and sends its payment.
func (s *step) claim() error {
	f, d := &s.f, s.in.Invoice
	switch {
	case !d.Parsed || d.Address:
		s.failed(ProblemService)
	case d.AmountMsat != f.Sats*1000:
		s.failed(ProblemAmount)
	case d.Taken:
		s.failed(ProblemUsed)
	case !s.in.Payable:
		s.failed(ProblemInvoice)
	default:
		f.Phase, f.Hash, f.Verify = PhaseClaimed, d.Hash, s.in.Verify
		s.effects = append(s.effects, trade.Effect{Kind: FxPay, Hash: d.Hash, Text: d.Text, Attempt: f.Attempt})
	}
	return nil
}

// payment decides about the state of the payment of the claimed hash. A success counts for any
// attempt, because the hash belongs to this fee. A failure counts only for the attempt that the
// node has accepted: the fund may return the invoice of an older attempt again, and an answer
// about that attempt may arrive late.
func (s *step) payment() error {
	f := &s.f
	if s.in.Hash != f.Hash || f.Hash == (trade.Hash{}) {
		return ErrNothing
	}
	switch s.in.Payment.Status {
	case trade.PaymentSucceeded:
		s.paid = true
		return nil
	case trade.PaymentInFlight:
		if f.Phase == PhaseSent {
			return ErrNothing
		}
		// The payment of an attempt that counted as failed is in flight after all.
		f.Phase, f.NextAt = PhaseSent, s.in.At+lookEvery
		return nil
	case trade.PaymentFailed:
		if f.Phase != PhaseSent || s.in.Attempt != f.Attempt {
			return ErrNothing
		}
		if f.Doubtful {
			s.park(f.Problem)
			return nil
		}
		s.failed(ProblemFailed)
		return nil
	case trade.PaymentUnknown:
		if f.Phase != PhaseSent || s.in.Attempt != f.Attempt {
			return ErrNothing
		}
		// The node had accepted the payment. Another node answers, or the node has deleted
		// its list of payments. The payment may have succeeded.
		if f.Doubtful {
			s.park(f.Problem)
		} else {
			s.park(ProblemForgotten)
		}
		return nil
	}
	return ErrNothing
}

// failed ends an attempt. The hash stays stored, so that it is looked up before the next one.
func (s *step) failed(p Problem) {
	f := &s.f
	f.Failures++
	f.Phase, f.Problem = PhaseOwed, p
	f.NextAt = s.in.At + Wait(f.Failures, s.jitter())
}

func (s *step) park(p Problem) { s.f.Phase, s.f.Problem, s.f.NextAt = PhaseParked, p, 0 }

// doubt parks a fee that may have been paid in a time that the store does not know. If a hash
// was claimed, its payment is looked up first.
func (s *step) doubt(p Problem) {
	f := &s.f
	f.Doubtful = true
	if f.Phase == PhaseClaimed || f.Phase == PhaseSent {
		f.Phase, f.Problem, f.NextAt = PhaseSent, p, s.in.At
		return
	}
	s.park(p)
}

// jitter returns a number from 0 to 255 that differs between fees, so that fees that failed
// together are not tried again together.
func (s *step) jitter() int64 {
	sum := uint32(2166136261) // FNV-1a
	for _, b := range append(s.f.Trade[:], byte(s.f.Failures)) {
		sum = (sum ^ uint32(b)) * 16777619
	}
	return int64(sum >> 24)
}

// Wait returns the seconds until the next attempt after a number of failures: 60, doubling, at
// most 3,600, and up to a quarter more. jitter is from 0 to 255.
func Wait(failures uint32, jitter int64) int64 {
	wait := int64(mostWait)
	if failures < 7 {
		wait = min(int64(baseWait)<<(max(failures, 1)-1), mostWait)
	}
	return wait + wait*jitter/(4*256)
}

// Budget limits the attempts of all fees in an hour, so that a fund or a node that fails does
// not cause a flood of requests and payments. An attempt that succeeds does not count.
type Budget struct {
	From  int64 `json:"from,omitzero"` // begin of the hour, unix seconds
	Tries int   `json:"tries,omitzero"`
}

// MaxTries is the largest number of attempts of all fees in an hour. MaxBusy is the largest
// number of fees whose attempt is in progress, so that a fund that does not answer, or that
// holds payments back, occupies no more than this.
const (
	MaxTries = 60
	MaxBusy  = 4
)

// Spend counts an attempt. ok is false if the hour has no attempt left.
func (b Budget) Spend(at int64) (next Budget, ok bool) {
	if at < b.From || at >= b.From+3600 {
		b = Budget{From: at}
	}
	if b.Tries >= MaxTries {
		return b, false
	}
	b.Tries++
	return b, true
}

// TriesAt returns the number of attempts of the hour of a time that have not succeeded.
func (b Budget) TriesAt(at int64) int {
	if at < b.From || at >= b.From+3600 {
		return 0
	}
	return b.Tries
}

// Succeeded takes back one attempt.
func (b Budget) Succeeded() Budget {
	b.Tries = max(b.Tries-1, 0)
	return b
}

// Ready returns the fees that are due, in the order of their times. If attempt is not set, or
// as many attempts as are allowed are in progress, only lookups are returned. A fee for which
// held returns true begins no attempt, and takes the place of no other fee.
func Ready(fees map[trade.OrderID]Fee, at int64, attempt bool, held func(Fee) bool) []Fee {
	var ready []Fee
	room := 0
	if attempt {
		room = MaxBusy
	}
	for _, f := range fees {
		if f.Phase.Busy() {
			room--
		}
		if f.Due(at) && !(f.Phase == PhaseOwed && attempt && held(f)) {
			ready = append(ready, f)
		}
	}
	slices.SortFunc(ready, func(a, b Fee) int {
		return cmp.Or(cmp.Compare(a.NextAt, b.NextAt), slices.Compare(a.Trade[:], b.Trade[:]))
	})
	return slices.DeleteFunc(ready, func(f Fee) bool {
		if f.Phase == PhaseOwed {
			room--
		}
		return f.Phase == PhaseOwed && room < 0
	})
}

// Total is the sum of the fees that are not paid.
type Total struct {
	DueSats  int64   `json:"due_sats"`
	Due      int     `json:"due"`
	Parked   int     `json:"parked"`              // fees about which an operator must decide
	OldestAt int64   `json:"oldest_at,omitempty"` // time of the oldest settlement; 0 for none
	Failures uint32  `json:"failed_attempts"`
	Problem  Problem `json:"last_error,omitempty"` // of the fee with the most failed attempts
}

// Sum returns the total of fees.
func Sum(fees map[trade.OrderID]Fee) (s Total) {
	worst := uint32(0)
	for _, f := range fees {
		if f.DueAt == 0 {
			continue
		}
		s.Due++
		s.DueSats += f.Sats
		s.Failures += f.Failures
		if f.Phase == PhaseParked {
			s.Parked++
		}
		if s.OldestAt == 0 || f.DueAt < s.OldestAt {
			s.OldestAt = f.DueAt
		}
		if f.Problem != "" && (s.Problem == "" || f.Failures > worst || f.Failures == worst && f.Problem < s.Problem) {
			s.Problem, worst = f.Problem, f.Failures
		}
	}
	return s
}
