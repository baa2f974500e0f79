package nodecard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mostrodex/mostrodex/escrow/health"
	"github.com/mostrodex/mostrodex/escrow/lightning"
)

// Problem is the reason why a Lightning node cannot be used. The set is closed, for
// metrics.
type Problem string

const (
	Usable      Problem = ""
	Unasked     Problem = "unasked"      // no answer since the start
	Unavailable Problem = "unavailable"  // the node does not answer
	Permission  Problem = "permission"   // the macaroon no longer suffices
	Unsynced    Problem = "unsynced"     // the node is not synced with the chain
	Refusing    Problem = "refusing"     // the node refuses calls about holds with an unknown text, as with a full disk
	OtherWallet Problem = "other_wallet" // another node answers at the address
	Unfit       Problem = "unfit"        // Engine.Vet returned an error
	// LowDisk is no problem of the node: the disk of this program has too little space for the
	// data of new trades. The node is called as before.
	LowDisk Problem = "low_disk"
)

// Problems lists the problems of the node itself.
var Problems = []Problem{Unasked, Unavailable, Permission, Unsynced, Refusing, OtherWallet, Unfit}

// State reports whether the Lightning node can be used.
type State struct {
	Problem Problem
	Detail  string // text for the operator; without secrets
	Other   string // OtherWallet: pubkey of the wallet that answers
}

// Card holds the Lightning node's last description of itself, and whether the node can
// be used. A Card is safe for concurrent use.
type Card struct {
	// LowDisk returns the reason why the disk of this program has no space for new trades, or
	// "". It does not block. nil: the disk is not watched. The caller sets it before the Card is
	// used.
	LowDisk func() string

	info    atomic.Pointer[lightning.NodeInfo]
	state   atomic.Pointer[State]
	refusal atomic.Pointer[refusal]

	asking sync.Mutex
	asked  time.Time // time of the last answer or failure, by the monotonic clock; guarded by asking
	began  time.Time // start of the last call that no caller gave up; guarded by asking
	wallet string    // wallet that holds the invoices of the store's trades; "" if unknown; guarded by asking

	syncing sync.Mutex
	sync    health.SyncWatch // by the monotonic clock; guarded by syncing
}

// refusal is a call about a hold that the node refused with an unknown text.
type refusal struct {
	at   time.Time // by the monotonic clock
	text string
}

// Refused records a refusal with an unknown text. This program made the request, so the
// node is the cause.
func (c *Card) Refused(err error) { c.refusal.Store(&refusal{time.Now(), err.Error()}) }

// Info returns the node's last description. ok is false before the first one.
func (c *Card) Info() (info lightning.NodeInfo, ok bool) {
	if p := c.info.Load(); p != nil {
		return *p, true
	}
	return lightning.NodeInfo{}, false
}

// State returns the result of the last check of the node, or, if the node can be used, whether
// this program has disk space for new trades.
func (c *Card) State() State {
	s := c.last()
	if s.Problem == Usable && c.LowDisk != nil {
		if why := c.LowDisk(); why != "" {
			return State{Problem: LowDisk, Detail: why}
		}
	}
	return s
}

// last returns the result of the last check of the node.
func (c *Card) last() State {
	if p := c.state.Load(); p != nil {
		return *p
	}
	return State{Problem: Unasked, Detail: "the Lightning node has not answered yet"}
}

// Expect sets the wallet that the node must have.
func (c *Card) Expect(pubkey string) {
	c.asking.Lock()
	defer c.asking.Unlock()
	c.wallet = pubkey
}

// Ask asks the node once, unless its last answer is younger than fresh. All callers that wait
// for the end of one call share the next one, which begins after each of them has asked.
func (c *Card) Ask(ctx context.Context, node lightning.Node, fresh time.Duration, vet func(context.Context, lightning.NodeInfo) error) State {
	called := time.Now()
	c.asking.Lock()
	defer c.asking.Unlock()
	if fresh > 0 && !c.asked.IsZero() && time.Since(c.asked) < fresh {
		return c.last()
	}
	if c.began.After(called) {
		return c.last()
	}
	began := time.Now()
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	info, err := node.Info(ctx)
	answered := err == nil && (c.wallet == "" || info.Pubkey == c.wallet)
	if err == nil || caller.Err() == nil { // a caller that gave up says nothing about the node
		c.began = began
		c.View(func(w *health.SyncWatch, now time.Time) { w.Observe(now, answered, answered && info.Synced) })
	}
	if was := c.last().Problem; err == nil && vet != nil && was != Usable && was != Unsynced && was != Refusing {
		if vetErr := vet(ctx, info); errors.Is(vetErr, lightning.ErrUnavailable) || errors.Is(vetErr, lightning.ErrPermission) {
			err = vetErr
		} else if vetErr != nil {
			return c.put(State{Problem: Unfit, Detail: vetErr.Error()})
		}
	}
	switch {
	case errors.Is(err, lightning.ErrPermission):
		return c.put(State{Problem: Permission, Detail: fmt.Sprintf("the Lightning node refuses the macaroon: %v; bake another one and name it in escrow.lnd.macaroon", err)})
	case err != nil:
		return c.put(State{Problem: Unavailable, Detail: fmt.Sprintf("the Lightning node does not answer: %v%s", err, remedy(err))})
	case c.wallet != "" && info.Pubkey != c.wallet:
		return c.put(State{Problem: OtherWallet, Other: info.Pubkey,
			Detail: fmt.Sprintf("the Lightning node is %s, and the open trades' invoices are of %s: put that wallet back", info.Pubkey, c.wallet)})
	}
	c.info.Store(&info)
	if !info.Synced {
		return c.put(State{Problem: Unsynced, Detail: "the Lightning node has not caught up with the chain"})
	}
	if r := c.refusal.Load(); r != nil && time.Since(r.at) < refusalLasts {
		return c.put(State{Problem: Refusing, Detail: fmt.Sprintf("the Lightning node refuses calls: %s; look at its log and its disk", r.text)})
	}
	return c.put(State{})
}

// remedy returns what an operator can do about the error of a call, or "".
func remedy(err error) string {
	if strings.Contains(err.Error(), "x509: ") {
		return "; check the clock, and renew LND's tls.cert as docs/lightning.md describes"
	}
	return ""
}

// Recent returns the node's description of itself, at most as old as fresh. If the last answer
// was not the description of a node that can be used, the node is asked directly.
func (c *Card) Recent(ctx context.Context, node lightning.Node, fresh time.Duration, vet func(context.Context, lightning.NodeInfo) error) (lightning.NodeInfo, error) {
	switch c.Ask(ctx, node, fresh, vet).Problem {
	case Usable, Unsynced, Refusing:
		if info, ok := c.Info(); ok {
			return info, nil
		}
	}
	return node.Info(ctx)
}

// View calls fn with the node's state of sync.
func (c *Card) View(fn func(w *health.SyncWatch, now time.Time)) {
	c.syncing.Lock()
	defer c.syncing.Unlock()
	fn(&c.sync, time.Now())
}

// Defers returns an error if payouts wait until the node is synced.
func (c *Card) Defers() (err error) {
	c.View(func(w *health.SyncWatch, now time.Time) {
		if w.Defers(now) {
			err = fmt.Errorf("%w: payouts wait until the Lightning node is synced with the chain", lightning.ErrUnavailable)
		}
	})
	return err
}

// put requires asking.
func (c *Card) put(s State) State {
	c.asked = time.Now()
	c.state.Store(&s)
	return s
}

const (
	nodeTimeout = 20 * time.Second
	// refusalLasts is the time for which a refusal stops new orders. While the cause
	// lasts, the calls are repeated and refused again.
	refusalLasts = 2 * time.Minute
)
