package devfee

import (
	"errors"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

// script is the life of one fee. Each step must be accepted.
type script struct {
	t       *testing.T
	f       Fee
	at      int64
	effects []trade.Effect
	paid    int
	hashes  int
}

const begin = 1_790_000_000

func newScript(t *testing.T) *script {
	return &script{t: t, f: New(trade.OrderID{1}, 180, begin), at: begin}
}

func (s *script) apply(in Input) error {
	s.t.Helper()
	in.At = s.at
	before := s.f
	next, effects, paid, err := Step(s.f, in)
	if err != nil && (!errors.Is(err, ErrNothing) || next != before || effects != nil || paid) {
		s.t.Fatalf("%s: %v, %+v", in.Kind, err, next)
	}
	s.f, s.effects = next, append(s.effects, effects...)
	if paid {
		s.paid++
	}
	return err
}

func (s *script) must(in Input) {
	s.t.Helper()
	if err := s.apply(in); err != nil {
		s.t.Fatalf("%s in %s: %v", in.Kind, s.f.Phase, err)
	}
}

func (s *script) ignored(in Input) {
	s.t.Helper()
	if err := s.apply(in); err == nil {
		s.t.Fatalf("%s in %s is not ignored", in.Kind, s.f.Phase)
	}
}

// asks waits until the next attempt, and returns the effect.
func (s *script) asks() trade.Effect {
	s.t.Helper()
	s.at = max(s.at, s.f.NextAt)
	s.must(Input{Kind: InClock})
	e := s.effects[len(s.effects)-1]
	if e.Kind != FxInvoice || e.AmountSats != 180 || e.Attempt != s.f.Attempt || s.f.Phase != PhaseAsking {
		s.t.Fatalf("the attempt begins with %+v", e)
	}
	return e
}

func (s *script) invoice() Input {
	s.hashes++
	return Input{Kind: InInvoice, Attempt: s.f.Attempt, Payable: true, Verify: "https://fund/1",
		Invoice: &trade.Destination{Text: "invoice", Parsed: true, Hash: trade.Hash{0xf0, byte(s.hashes)}, AmountMsat: 180_000}}
}

// sent brings the fee to a payment that the node has accepted.
func (s *script) sent() {
	s.t.Helper()
	s.asks()
	s.must(s.invoice())
	if e := s.effects[len(s.effects)-1]; e.Kind != FxPay || e.Hash != s.f.Hash || e.Text != "invoice" || s.f.Phase != PhaseClaimed {
		s.t.Fatalf("the claim pays %+v", e)
	}
	s.must(Input{Kind: InSent, Attempt: s.f.Attempt, Hash: s.f.Hash})
}

func (s *script) state(status trade.PaymentStatus) Input {
	return Input{Kind: InPayment, Hash: s.f.Hash, Attempt: s.f.Attempt, Payment: trade.Result{Status: status, FeeMsat: 7}}
}

func (s *script) count(kind trade.EffectKind) (n int) {
	for _, e := range s.effects {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// TestOnlyAParkedFeeIsTriedAgain holds that the verb of an operator begins no second payment
// beside one that may be in flight.
func TestOnlyAParkedFeeIsTriedAgain(t *testing.T) {
	s := newScript(t)
	s.ignored(Input{Kind: InRetry}) // owed
	s.asks()
	s.ignored(Input{Kind: InRetry})
	s.must(s.invoice())
	s.ignored(Input{Kind: InRetry}) // claimed
	s.must(Input{Kind: InSent, Attempt: s.f.Attempt, Hash: s.f.Hash})
	s.ignored(Input{Kind: InRetry})
	s.must(s.state(trade.PaymentUnknown)) // forgotten
	s.must(Input{Kind: InRetry})
	if s.f.Phase != PhaseOwed || s.count(FxPay) != 1 {
		t.Errorf("%+v", s.f)
	}
}

func TestFeeIsPaid(t *testing.T) {
	s := newScript(t)
	if s.f.Due(begin) {
		t.Error("the fee is due before the payout of its trade could begin")
	}
	s.sent()
	s.at += firstLook
	s.must(Input{Kind: InClock})
	s.ignored(s.state(trade.PaymentInFlight))
	s.must(s.state(trade.PaymentSucceeded))
	if s.paid != 1 || s.f.Verify != "https://fund/1" || s.count(FxPay) != 1 || s.count(FxTrack) != 1 {
		t.Errorf("%+v, %+v", s.f, s.effects)
	}
}

// daemon.md 10.3, row 27, #622 (#620): each request returns an invoice with another hash. A
// second invoice is never requested while the outcome of the first is not known.
func Test622NoSecondInvoiceBeforeTheOutcome(t *testing.T) {
	s := newScript(t)
	s.sent()
	for range 100 {
		s.at += 3600
		s.must(Input{Kind: InClock}) // only looks up
		s.ignored(s.state(trade.PaymentInFlight))
		s.ignored(s.invoice()) // the answer to the request comes twice
		s.ignored(Input{Kind: InNoInvoice, Attempt: s.f.Attempt, Problem: ProblemUnreachable})
	}
	if n := s.count(FxInvoice); n != 1 {
		t.Errorf("%d invoices were requested", n)
	}
	s.must(s.state(trade.PaymentFailed))
	if e := s.asks(); e.Hash != (trade.Hash{0xf0, 1}) {
		t.Errorf("the next request does not look up the last payment first: %+v", e)
	}
	// The payment that had failed is found to have succeeded.
	s.must(Input{Kind: InPayment, Hash: s.f.Hash, Attempt: s.f.Attempt, Payment: trade.Result{Status: trade.PaymentSucceeded}})
	if s.paid != 1 || s.count(FxPay) != 1 {
		t.Errorf("paid %d times, %d payments sent", s.paid, s.count(FxPay))
	}
}

// daemon.md 10.3, row 28, #584 (#568) and #582: a timeout and a lost answer are no failures.
func Test584TimeoutIsNoFailure(t *testing.T) {
	s := newScript(t)
	s.asks()
	s.must(s.invoice())
	for range 10 { // claimed, and the answer of the node does not come
		s.at += 3600
		s.ignored(Input{Kind: InClock})
		s.ignored(s.state(trade.PaymentUnknown))
		s.ignored(s.state(trade.PaymentFailed))
	}
	if s.f.Phase != PhaseClaimed || s.f.Failures != 0 {
		t.Errorf("%+v", s.f)
	}
	s.must(s.state(trade.PaymentInFlight)) // the lookup of the repeated call
	s.must(s.state(trade.PaymentSucceeded))
	if s.paid != 1 || s.count(FxInvoice) != 1 || s.count(FxPay) != 1 {
		t.Errorf("%+v", s.effects)
	}
}

// The fund returns the invoice of a failed attempt once more. A late answer about the first
// attempt is not the outcome of the second.
func TestAnswerAboutAnOlderAttemptOfTheSameInvoice(t *testing.T) {
	s := newScript(t)
	s.sent()
	old := s.state(trade.PaymentFailed)
	s.must(old)
	s.asks()
	again := s.invoice()
	again.Invoice.Hash = s.f.Hash
	s.must(again)
	s.must(Input{Kind: InSent, Attempt: s.f.Attempt, Hash: s.f.Hash})
	s.ignored(old)
	old.Payment.Status = trade.PaymentUnknown
	s.ignored(old)
	if s.f.Phase != PhaseSent || s.f.Failures != 1 {
		t.Errorf("%+v", s.f)
	}
	s.must(s.state(trade.PaymentFailed))
	if s.f.Failures != 2 {
		t.Errorf("the failure of the second attempt does not count: %+v", s.f)
	}
}

// delta 4.14, row 68, #946: a payment that the node does not know any more is parked instead of
// paid twice.
func Test946ForgottenPaymentIsParked(t *testing.T) {
	s := newScript(t)
	s.sent()
	s.must(s.state(trade.PaymentUnknown))
	if s.f.Phase != PhaseParked || s.f.Problem != ProblemForgotten {
		t.Fatalf("%+v", s.f)
	}
	effects := len(s.effects)
	for range 10 {
		s.at += 86_400
		s.ignored(Input{Kind: InClock})
	}
	if len(s.effects) != effects {
		t.Error("a parked fee calls the node")
	}
	s.must(Input{Kind: InRetry})
	if e := s.asks(); e.Hash == (trade.Hash{}) {
		t.Error("the operator's decision skips the lookup")
	}
}

func TestCopiedStoreParks(t *testing.T) {
	for name, c := range map[string]struct {
		before func(s *script)
		looks  bool
	}{
		"owed":    {func(*script) {}, false},
		"asking":  {func(s *script) { s.asks() }, false},
		"claimed": {func(s *script) { s.asks(); s.must(s.invoice()) }, true},
		"sent":    {(*script).sent, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t)
			c.before(s)
			s.must(Input{Kind: InCopied})
			s.ignored(s.invoice()) // the request of the old copy is answered
			if (s.f.Phase == PhaseSent) != c.looks {
				t.Fatalf("%+v", s.f)
			}
			if c.looks {
				pays := s.count(FxPay)
				s.must(Input{Kind: InClock})
				s.must(s.state(trade.PaymentFailed))
				if s.count(FxPay) != pays {
					t.Error("paid once more")
				}
			}
			if s.f.Phase != PhaseParked || s.f.Problem != ProblemCopied {
				t.Fatalf("%+v", s.f)
			}
			// The log has the event about a payment that this copy does not know.
			s.must(Input{Kind: InPublished, Hash: trade.Hash{0xbb}})
			s.must(Input{Kind: InClock})
			s.must(s.state(trade.PaymentSucceeded))
			if s.paid != 1 || !s.f.Published {
				t.Errorf("%+v", s.f)
			}
		})
	}
}

func TestInvoiceIsChecked(t *testing.T) {
	for want, change := range map[Problem]func(in *Input){
		ProblemService: func(in *Input) { in.Invoice.Parsed = false },
		ProblemAmount:  func(in *Input) { in.Invoice.AmountMsat++ },
		ProblemUsed:    func(in *Input) { in.Invoice.Taken = true },
		ProblemInvoice: func(in *Input) { in.Payable = false },
	} {
		s := newScript(t)
		s.asks()
		in := s.invoice()
		change(&in)
		s.must(in)
		if s.f.Phase != PhaseOwed || s.f.Problem != want || s.f.Failures != 1 || s.count(FxPay) != 0 || s.f.Hash != (trade.Hash{}) {
			t.Errorf("%s: %+v", want, s.f)
		}
	}
}

// delta 4.10 and #1063: the wait after the n-th failure is 60 * 2^(n-1) s, at most 3,600, and up
// to 25 % more.
func Test1063Backoff(t *testing.T) {
	for n, want := range map[uint32]int64{0: 60, 1: 60, 2: 120, 3: 240, 6: 1920, 7: 3600, 8: 3600, 40: 3600, 1 << 31: 3600} {
		if got := Wait(n, 0); got != want {
			t.Errorf("%d failures wait %d s, want %d", n, got, want)
		}
		if got := Wait(n, 255); got <= want || got > want+want/4 {
			t.Errorf("%d failures wait up to %d s, want up to %d", n, got, want+want/4)
		}
	}
	s := newScript(t)
	for n := uint32(1); n < 20; n++ {
		s.asks()
		s.must(Input{Kind: InNoInvoice, Attempt: s.f.Attempt, Problem: ProblemUnreachable})
		if wait := s.f.NextAt - s.at; wait < Wait(n, 0) || wait > Wait(n, 255) {
			t.Errorf("after %d failures the next attempt is in %d s", n, wait)
		}
		s.ignored(Input{Kind: InClock})
	}
	s.at -= 30 * 86_400 // the clock is set back
	s.must(Input{Kind: InClock})
}

func TestBudget(t *testing.T) {
	var b Budget
	ok := true
	for range MaxTries {
		if b, ok = b.Spend(begin); !ok {
			t.Fatalf("%+v", b)
		}
	}
	if _, ok := b.Spend(begin + 3599); ok {
		t.Error("the ceiling of an hour is exceeded")
	}
	if _, ok := b.Succeeded().Spend(begin + 1); !ok {
		t.Error("an attempt that succeeded counts")
	}
	for _, at := range []int64{begin + 3600, begin - 1} {
		if next, ok := b.Spend(at); !ok || next.Tries != 1 || next.From != at {
			t.Errorf("%+v", next)
		}
	}
	if (Budget{}).Succeeded().Tries != 0 {
		t.Error("a budget is below zero")
	}
}

func TestReadyAndSum(t *testing.T) {
	fees := make(map[trade.OrderID]Fee)
	for i := range byte(20) {
		f := New(trade.OrderID{i}, 10, begin+int64(i))
		fees[f.Trade] = f
	}
	at := int64(begin + 3600)
	none := func(Fee) bool { return false }
	ready := Ready(fees, at, true, none)
	if len(ready) != MaxBusy || ready[0].Trade != (trade.OrderID{0}) || ready[3].Trade != (trade.OrderID{3}) {
		t.Errorf("%d ready: %+v", len(ready), ready)
	}
	busy := fees[trade.OrderID{19}]
	busy.Phase, busy.NextAt = PhaseSent, at
	fees[busy.Trade] = busy
	if ready = Ready(fees, at, true, none); len(ready) != MaxBusy {
		t.Errorf("%d ready beside one in flight, with its lookup", len(ready))
	}
	if ready = Ready(fees, at, false, none); len(ready) != 1 || ready[0].Phase != PhaseSent {
		t.Errorf("%+v", ready)
	}
	held := func(f Fee) bool { return f.Trade[0] < 10 } // they are due first
	if ready = Ready(fees, at, true, held); len(ready) != MaxBusy || ready[0].Trade != (trade.OrderID{10}) {
		t.Errorf("%d ready behind ten that are held: %+v", len(ready), ready)
	}
	parked := fees[trade.OrderID{5}]
	parked.Phase, parked.Problem, parked.Failures = PhaseParked, ProblemForgotten, 3
	fees[parked.Trade] = parked
	later := Fee{Trade: trade.OrderID{99}, Sats: 1000, Phase: PhaseParked} // not settled yet
	fees[later.Trade] = later
	if got, want := Sum(fees), (Total{DueSats: 200, Due: 20, Parked: 1, OldestAt: begin, Failures: 3, Problem: ProblemForgotten}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// DevFee rounds as the tests of the reference node do (util.rs, test_get_dev_fee_*).
func TestFractionRoundsAsTheReference(t *testing.T) {
	percentage := trade.DefaultTerms().DevFee
	for both, want := range map[int64]int64{1000: 300, 1004: 301, 334: 100, 2: 1, 0: 0, 4: 1, 600: 180} {
		if got := percentage.DevFee(both / 2); got != want {
			t.Errorf("the fund's part of %d sats is %d, want %d", both, got, want)
		}
	}
	if Address != "dev@pay.mostro.foundation" { // #1037: a custodial address had been lost
		t.Error(Address)
	}
}
