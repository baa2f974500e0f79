// Package audit compares the ledger of the escrow with its Lightning node: once a day by
// itself, and whenever an operator asks. A comparison only reads. Neither a difference nor an
// error of a comparison stops the escrow or the relay.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/escrow/ledger"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/internal/room"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// every is the time between two comparisons.
	every = 24 * time.Hour
	// again is the time after which a comparison that could not be made is tried again.
	again = 15 * time.Minute
	// look is the interval at which the clock is read, so that a clock that is set, and a
	// machine that slept, delay a comparison by a minute at most.
	look = time.Minute
	// maxTold is the number of differences for which one comparison writes a log line each.
	maxTold = 20
)

// Node is the part of lightning.Node that a comparison needs.
type Node interface {
	LookupHold(ctx context.Context, h trade.Hash) (lightning.HoldState, error)
	ListHolds(ctx context.Context, since time.Time, fn func(lightning.HoldState) error) error
	TrackPayment(ctx context.Context, h trade.Hash) (lightning.PaymentState, error)
	ListPayments(ctx context.Context, since time.Time, fn func(lightning.PaymentState) error) error
}

// Config holds the parts of an Auditor.
type Config struct {
	Store   ledger.Journals
	Node    Node
	Secret  trade.NodeSecret               // from which the preimages of holds are derived
	DevFee  func(trade.Hash) (bool, error) // as in ledger.Lists; may be nil
	Logger  *slog.Logger                   // nil: log lines are discarded
	Metrics prometheus.Registerer          // nil: metrics are not registered
	Now     func() time.Time               // nil: time.Now
}

// Auditor compares the ledger with the node. Its methods are safe for concurrent use.
type Auditor struct {
	Config
	metrics *metrics

	mu   sync.Mutex
	last Result           // of the last comparison that Tick made; guarded by mu
	due  time.Time        // guarded by mu
	may  map[passing]bool // passing differences of the last comparison by Tick; guarded by mu
	ran  bool             // guarded by mu
}

// New returns an Auditor.
func New(cfg Config) *Auditor {
	cfg.Logger, cfg.Now = room.Logger(cfg.Logger), room.Clock(cfg.Now)
	return &Auditor{Config: cfg, metrics: newMetrics(cfg.Metrics)}
}

// passing identifies a difference that may pass.
type passing struct {
	kind  ledger.DifferenceKind
	hash  trade.Hash
	trade trade.OrderID
}

// Result is the outcome of a comparison by Tick.
type Result struct {
	At     int64 // unix seconds; 0 if there was none
	Faults int   // differences, broken laws, and amounts in suspense, that an operator must look at
	Err    error // the comparison could not be made
}

// Last returns the outcome of the last comparison that Tick made.
func (a *Auditor) Last() Result {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// Warnings returns what an operator should know about the last comparison by Tick.
func (a *Auditor) Warnings() []string {
	switch last := a.Last(); {
	case last.Err != nil:
		return []string{"the ledger could not be compared with the Lightning node: see the log"}
	case last.Faults > 0:
		return []string{fmt.Sprintf("the ledger has %d faults: see `ledger check`", last.Faults)}
	}
	return nil
}

// Run compares at once, and then once a day, until ctx ends. Run returns nil when ctx ends.
func (a *Auditor) Run(ctx context.Context) error {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		a.Tick(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Tick compares if a comparison is due, and reports whether it made one. A comparison that
// could not be made is due again after a quarter of an hour. A clock that was set back makes a
// comparison due.
func (a *Auditor) Tick(ctx context.Context) bool {
	now := a.Now()
	a.mu.Lock()
	wait := a.ran && now.Before(a.due) && a.due.Sub(now) <= every
	a.mu.Unlock()
	if wait {
		return false
	}
	report, err := a.Check(ctx)
	if ctx.Err() != nil {
		return false
	}
	result := Result{At: now.Unix(), Err: err}
	next := every
	if err != nil {
		next = again
		a.Logger.Warn("the ledger could not be compared with the Lightning node: it is tried again", "error", err, "after", again)
	} else {
		result.Faults = a.alarm(report)
	}
	a.metrics.compared(result, report)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ran, a.last, a.due = true, result, now.Add(next)
	return true
}

// alarm writes log lines about a report, and returns the number of faults. A difference that
// may pass is a fault if the comparison before has found it as well.
func (a *Auditor) alarm(r *ledger.Report) (faults int) {
	a.mu.Lock()
	before := a.may
	a.mu.Unlock()
	log, told := a.Logger, 0
	tell := func(text string, args ...any) {
		if faults++; told < maxTold {
			told++
			log.Error(text, args...)
		}
	}
	for _, v := range r.Broken {
		tell("a law of the ledger is broken", "law", string(v.Law), "trade", v.Trade.String(), "step", v.Step, "detail", v.Text, "look", "mostrodex trade show "+v.Trade.String())
	}
	faults += r.Violations - len(r.Broken)
	if msat := r.Balances[ledger.Suspense]; msat != 0 {
		tell("the node has claimed an amount that belongs to no party", "suspense_msat", msat, "trades", len(r.Suspense), "look", "mostrodex ledger check")
	}
	may := make(map[passing]bool)
	listed := 0
	for _, d := range r.Differences {
		key := passing{d.Kind, d.Hash, d.Trade}
		if !d.Fault() {
			may[key] = true
			if !before[key] {
				continue
			}
		} else {
			listed++
		}
		tell("the ledger and the Lightning node differ", "difference", string(d.Kind), "trade", d.Trade.String(), "hash", d.Hash.String(),
			"ledger", d.Ledger, "ledger_msat", d.LedgerMsat, "node", d.Node, "node_msat", d.NodeMsat, "look", "mostrodex ledger check; mostrodex trade show "+d.Trade.String())
	}
	if r.Node != nil {
		faults += r.Node.Faults() - listed // a report lists a bounded number
	}
	if faults > told {
		log.Error("the ledger has more faults than are logged", "faults", faults, "look", "mostrodex ledger check")
	}
	if faults == 0 {
		log.Info("the ledger and the Lightning node agree", "trades", r.Trades, "passing_differences", len(may))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.may = may
	return faults
}

// CheckAlone computes the ledger from the journals and checks its laws, without the node.
func (a *Auditor) CheckAlone() (*ledger.Report, error) {
	l, err := ledger.Read(a.Store)
	if err != nil {
		return nil, err
	}
	return ledger.NewReport(l, nil, a.Now().Unix())
}

// Check computes the ledger, checks its laws, and compares it with the lists of the node. The
// trades of all listed differences are compared a second time, because trades go on meanwhile.
// If the node may not list its payments, the node is asked for the payments of the ledger, one
// by one, and a payment that no journal contains is not found.
func (a *Auditor) Check(ctx context.Context) (*ledger.Report, error) {
	l, err := ledger.Read(a.Store)
	if err != nil {
		return nil, err
	}
	lists := ledger.Lists{
		Invoices: func(fn func(ledger.Invoice) error) error {
			return a.Node.ListHolds(ctx, time.Time{}, func(s lightning.HoldState) error { return fn(a.invoice(s)) })
		},
		Payments: func(fn func(ledger.Payment) error) error { return a.payments(ctx, l, fn) },
		DevFee:   a.DevFee,
	}
	report, err := ledger.NewReport(l, &lists, a.Now().Unix())
	if err != nil {
		return nil, err
	}
	err = report.Recheck(a.Store, ledger.Lookup{
		Invoice: func(h trade.Hash) (ledger.Invoice, bool, error) {
			s, err := a.Node.LookupHold(ctx, h)
			if errors.Is(err, lightning.ErrNotFound) {
				return ledger.Invoice{}, false, nil
			}
			return a.invoice(s), err == nil, err
		},
		Payment: func(h trade.Hash) (ledger.Payment, bool, error) { return a.payment(ctx, h) },
	})
	return report, err
}

// payments calls fn for the payments that the node lists.
func (a *Auditor) payments(ctx context.Context, l *ledger.Ledger, fn func(ledger.Payment) error) error {
	err := a.Node.ListPayments(ctx, time.Time{}, func(s lightning.PaymentState) error { return fn(payment(s)) })
	if !errors.Is(err, lightning.ErrPermission) {
		return err
	}
	return l.Payouts(func(h trade.Hash) error {
		p, found, err := a.payment(ctx, h)
		if err != nil || !found {
			return err
		}
		return fn(p)
	})
}

func (a *Auditor) invoice(s lightning.HoldState) ledger.Invoice {
	id, _ := a.Secret.Ours(s.Memo, s.Hash)
	return ledger.Invoice{Hash: s.Hash, Phase: s.Phase, AmountMsat: s.AmountSats * 1000, PaidMsat: s.PaidMsat, Trade: id}
}

func (a *Auditor) payment(ctx context.Context, h trade.Hash) (row ledger.Payment, found bool, err error) {
	s, err := a.Node.TrackPayment(ctx, h)
	if err != nil || s.Status == trade.PaymentUnknown {
		return row, false, err
	}
	return payment(s), true, nil
}

func payment(s lightning.PaymentState) ledger.Payment {
	return ledger.Payment{Hash: s.Hash, Status: s.Status, AmountMsat: s.AmountMsat, FeeMsat: s.FeeMsat}
}
