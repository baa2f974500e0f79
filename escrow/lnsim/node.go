package lnsim

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

// Node is one node of a World: the node of an escrow, or the wallet of a trader.
type Node struct {
	w      *World
	name   string
	key    *btcec.PrivateKey
	pubkey string

	// w.mu guards the fields below.
	balance  int64 // own funds in msat that are not locked
	holds    map[trade.Hash]*hold
	payments map[trade.Hash]*payment
	accepted map[trade.Hash]*hold // the subset of holds in HoldAccepted
	down     bool                 // the API does not answer
	unlinked bool                 // the API answers, but the channels are inactive
	stale    uint32               // number of blocks by which Info lags
	overpay  float64              // probability that a payment is above the amount of its invoice
	parked   []*event             // events that wait until the node is up and linked
	faults   func(Op) Fault
	waiters  map[waiter]chan struct{} // closed at a change
}

var _ lightning.Node = (*Node)(nil)

type waiter struct {
	hash    trade.Hash
	payment bool
}

// hold is an invoice of a node. Its fields are exported for snapshots only.
type hold struct {
	Hash       trade.Hash
	Seq        uint64
	Phase      trade.HoldPhase
	Bolt11     string
	AmountMsat int64 // 0: the payer chooses
	CLTVBlocks uint32
	Memo       string
	CreatedAt  time.Time
	ExpiresAt  time.Time
	Ordinary   bool           // settled with Preimage on arrival
	Preimage   trade.Preimage // set if Ordinary, or after Settle

	Payer        string // name of the node that locked the payment
	Attempt      uint64 // Attempt of the payer's payment
	PaidMsat     int64
	AcceptHeight uint32
	ExpiryHeight uint32
}

// issue is an invoice and the node that made it.
type issue struct {
	by   *Node
	hold *hold
}

// payment is an outgoing payment of a node. Its fields are exported for snapshots only.
type payment struct {
	Hash       trade.Hash
	Attempt    uint64
	To         string // name of the payee's node
	Status     trade.PaymentStatus
	AmountMsat int64
	FeeMsat    int64
	LockedMsat int64 // in transit, owned by no node
	Preimage   trade.Preimage
	Failure    lightning.PaymentFailure
	Stuck      bool
	CreatedAt  time.Time
}

// Op is the name of a call, for Faults.
type Op string

const (
	OpInfo   Op = "info"
	OpCreate Op = "create"
	OpLookup Op = "lookup"
	OpList   Op = "list" // one call per page, of invoices or payments
	OpSettle Op = "settle"
	OpCancel Op = "cancel"
	OpPay    Op = "pay"
	OpTrack  Op = "track"
)

// Fault is the failure of one call.
type Fault uint8

const (
	NoFault     Fault = 0
	LoseRequest Fault = 1 // the call has no effect; returns ErrUnavailable
	LoseAnswer  Fault = 2 // the call takes effect; returns ErrUnavailable
	Refuse      Fault = 3 // the call has no effect; returns ErrRefused
)

func newNode(w *World, name string, msat int64) *Node {
	key := nodeKey(w.cfg.Seed, name)
	return &Node{
		w:        w,
		name:     name,
		key:      key,
		pubkey:   fmt.Sprintf("%x", key.PubKey().SerializeCompressed()),
		balance:  msat,
		holds:    map[trade.Hash]*hold{},
		payments: map[trade.Hash]*payment{},
		accepted: map[trade.Hash]*hold{},
		waiters:  map[waiter]chan struct{}{},
	}
}

// Pubkey returns the node's public key in hex.
func (n *Node) Pubkey() string { return n.pubkey }

// Name returns the node's name.
func (n *Node) Name() string { return n.name }

// BalanceMsat returns the node's funds without the amount that is locked in payments.
func (n *Node) BalanceMsat() int64 {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.balance
}

// Faults sets a function that returns the Fault of each call to this node. If fn is
// nil, only the chances of Config apply. fn runs with the world locked, so it must not
// call methods of the world or its nodes.
func (n *Node) Faults(fn func(Op) Fault) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.faults = fn
}

// Down stops the node, as a crash or a restart does. While the node is down, calls
// fail, watches wait, and payments neither arrive nor end. The payments that it holds
// stay held.
func (n *Node) Down() {
	n.w.mu.Lock()
	defer n.w.unlock()
	n.down = true
	n.w.changed = true
}

// Up starts the node again. A cut link stays cut.
func (n *Node) Up() {
	n.w.mu.Lock()
	defer n.w.unlock()
	n.down = false
	n.w.changed = true
	n.expireLocks()
	n.unpark()
	for key := range n.waiters {
		n.wake(key)
	}
}

// Link restores the node's channels if up is true, and cuts them if not. While the
// channels are cut, the node still answers, and still settles and cancels its holds,
// but its peers do not learn of the results.
func (n *Node) Link(up bool) {
	n.w.mu.Lock()
	defer n.w.unlock()
	n.unlinked = !up
	n.w.changed = true
	n.unpark()
}

// Lag makes Info report a height that is the given number of blocks behind.
func (n *Node) Lag(blocks uint32) {
	n.w.mu.Lock()
	defer n.w.unlock()
	n.stale = blocks
	n.w.changed = true
}

// Overpay sets the probability from 0 to 1 that a payment of this node is above the amount of
// its invoice, by less than that amount. BOLT 4 allows this, and some wallets do it to hide the
// amount from the nodes on the route. The node of an escrow never overpays.
func (n *Node) Overpay(chance float64) {
	n.w.mu.Lock()
	defer n.w.unlock()
	n.overpay = chance
	n.w.changed = true
}

// Forget removes the node's ended hold and ended payment of the given hash, and the
// plan for the hash, so that long runs do not grow. If the payer of the hold has not
// learned of its end yet, the hold stays. Forget returns whether a hold or a payment
// was removed.
func (n *Node) Forget(h trade.Hash) bool {
	n.w.mu.Lock()
	defer n.w.unlock()
	dropped := false
	if held := n.holds[h]; held != nil && held.Phase.Final() && !n.w.payerWaits(held) {
		delete(n.holds, h)
		delete(n.w.issued, held.Bolt11)
		dropped = true
	}
	if p := n.payments[h]; p != nil && p.Status.Final() {
		delete(n.payments, h)
		dropped = true
	}
	delete(n.w.plans, h)
	n.touch(h, false)
	n.touch(h, true)
	n.w.unsaved.setup = true
	return dropped
}

// begin starts a call. It locks the world and returns the function that ends the call
// and unlocks the world. If the node does not answer, begin returns an error and the
// world stays unlocked. If the answer is to be lost, end returns ErrUnavailable.
func (n *Node) begin(ctx context.Context, op Op) (end func(error) error, err error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", op, lightning.ErrUnavailable, err)
	}
	n.w.mu.Lock()
	// Events that are due happen before the call.
	n.w.advanceTo(n.w.now)
	fault := NoFault
	switch {
	case n.down:
		fault = LoseRequest
	case n.faults != nil:
		fault = n.faults(op)
	}
	if fault == NoFault && n.w.chance(n.w.cfg.LoseRequestChance) {
		fault = LoseRequest
	}
	if fault == NoFault && n.w.chance(n.w.cfg.LoseAnswerChance) {
		fault = LoseAnswer
	}
	if fault == LoseRequest {
		n.w.unlock()
		return nil, fmt.Errorf("%s: %w", op, lightning.ErrUnavailable)
	}
	if fault == Refuse {
		n.w.unlock()
		return nil, fmt.Errorf("%s: %w", op, lightning.ErrRefused)
	}
	return func(err error) error {
		n.w.advanceTo(n.w.now)
		n.w.unlock()
		if fault == LoseAnswer || n.w.lost() {
			return fmt.Errorf("%s: %w", op, lightning.ErrUnavailable)
		}
		return err
	}, nil
}

// Info implements lightning.Node.
func (n *Node) Info(ctx context.Context) (lightning.NodeInfo, error) {
	end, err := n.begin(ctx, OpInfo)
	if err != nil {
		return lightning.NodeInfo{}, err
	}
	info := lightning.NodeInfo{
		Pubkey:          n.pubkey,
		Alias:           n.name,
		Version:         "lnsim",
		Commit:          "lnsim",
		Chain:           "bitcoin",
		Network:         n.w.cfg.Network,
		URIs:            []string{},
		Height:          n.w.height - min(n.stale, n.w.height),
		Synced:          n.stale == 0,
		HoldExpiryDelta: n.w.cfg.HoldExpiryDelta,
	}
	return info, end(nil)
}

// CreateHold implements lightning.Node.
func (n *Node) CreateHold(ctx context.Context, in lightning.HoldRequest) (string, error) {
	end, err := n.begin(ctx, OpCreate)
	if err != nil {
		return "", err
	}
	expiry := in.Expiry
	if expiry == 0 {
		expiry = lightning.DefaultHoldExpiry
	}
	switch {
	case n.holds[in.Hash] != nil:
		return "", end(fmt.Errorf("create hold %s: %w", in.Hash, lightning.ErrExists))
	case in.AmountSats <= 0, in.AmountSats > 21_000_000*100_000_000, len(in.Memo) > maxMemo, expiry < time.Second:
		return "", end(fmt.Errorf("create hold %s: %w", in.Hash, lightning.ErrInvoice))
	case in.CLTVBlocks <= n.w.cfg.HoldExpiryDelta:
		return "", end(fmt.Errorf("create hold %s: %w: lock too short", in.Hash, lightning.ErrInvoice))
	}
	held, err := n.addHold(in.Hash, in.AmountSats*1000, in.Memo, expiry, in.CLTVBlocks)
	if err != nil {
		return "", end(fmt.Errorf("create hold %s: %w: %w", in.Hash, lightning.ErrInvoice, err))
	}
	return held.Bolt11, end(nil)
}

// AddInvoice makes an ordinary invoice, which the node settles by itself when it is
// paid. If amountSats is 0, the invoice has no amount.
func (n *Node) AddInvoice(ctx context.Context, amountSats int64, memo string, expiry time.Duration) (bolt11 string, err error) {
	end, err := n.begin(ctx, OpCreate)
	if err != nil {
		return "", err
	}
	if amountSats < 0 || amountSats > 21_000_000*100_000_000 || len(memo) > maxMemo || expiry < time.Second {
		return "", end(fmt.Errorf("add invoice: %w", lightning.ErrInvoice))
	}
	var preimage trade.Preimage
	for i := range preimage {
		preimage[i] = byte(n.w.random.Uint32())
	}
	held, err := n.addHold(preimage.Hash(), amountSats*1000, memo, expiry, invoiceCLTV)
	if err != nil {
		return "", end(fmt.Errorf("add invoice: %w: %w", lightning.ErrInvoice, err))
	}
	held.Ordinary, held.Preimage = true, preimage
	return held.Bolt11, end(nil)
}

func (n *Node) addHold(h trade.Hash, msat int64, memo string, expiry time.Duration, cltv uint32) (*hold, error) {
	w := n.w
	created := w.now.Truncate(time.Second)
	bolt11, err := lightning.InvoiceDraft{
		Hash:         h,
		AmountMsat:   msat,
		Network:      w.cfg.Network,
		CreatedAt:    created,
		Expiry:       expiry.Truncate(time.Second),
		MinFinalCLTV: uint64(cltv),
		Description:  memo,
	}.Sign(n.key)
	if err != nil {
		return nil, err
	}
	w.seq++
	held := &hold{
		Hash:       h,
		Seq:        w.seq,
		Phase:      trade.HoldOpen,
		Bolt11:     bolt11,
		AmountMsat: msat,
		CLTVBlocks: cltv,
		Memo:       memo,
		CreatedAt:  created,
		ExpiresAt:  created.Add(expiry.Truncate(time.Second)),
	}
	n.holds[h] = held
	w.issued[bolt11] = issue{n, held}
	w.schedule(&event{At: held.ExpiresAt, Kind: expire, Node: n.name, Hash: h, Attempt: held.Seq})
	n.changed(h, false)
	return held, nil
}

// LookupHold implements lightning.Node.
func (n *Node) LookupHold(ctx context.Context, h trade.Hash) (lightning.HoldState, error) {
	end, err := n.begin(ctx, OpLookup)
	if err != nil {
		return lightning.HoldState{}, err
	}
	held := n.holds[h]
	if held == nil {
		return lightning.HoldState{}, end(fmt.Errorf("look up hold %s: %w", h, lightning.ErrNotFound))
	}
	state := held.state()
	if err := end(nil); err != nil {
		return lightning.HoldState{}, err
	}
	return state, nil
}

// listPage is the number of invoices that ListHolds reads at a time. It is small, so
// that tests have more than one page.
const listPage = 10

// ListHolds implements lightning.Node. As with LND, each page is a call of its own,
// and the node may go down between two pages.
func (n *Node) ListHolds(ctx context.Context, since time.Time, fn func(lightning.HoldState) error) error {
	for after := uint64(0); ; {
		page, last, err := n.listAfter(ctx, after, since)
		if err != nil {
			return fmt.Errorf("list holds: %w", err)
		}
		if len(page) == 0 {
			return nil
		}
		for _, state := range page {
			if err := fn(state); err != nil {
				return err
			}
		}
		after = last
	}
}

// listAfter returns the next page of invoices that were created at or after since, in
// the order of creation, and the Seq of the last one.
func (n *Node) listAfter(ctx context.Context, after uint64, since time.Time) (page []lightning.HoldState, last uint64, err error) {
	end, err := n.begin(ctx, OpList)
	if err != nil {
		return nil, 0, err
	}
	var found []*hold
	for _, held := range n.holds {
		if held.Seq > after && held.CreatedAt.Unix() >= since.Unix() {
			found = append(found, held)
		}
	}
	slices.SortFunc(found, func(a, b *hold) int { return cmp.Compare(a.Seq, b.Seq) })
	for _, held := range found[:min(len(found), listPage)] {
		page, last = append(page, held.state()), held.Seq
	}
	if err := end(nil); err != nil {
		return nil, 0, err
	}
	return page, last, nil
}

// ListPayments implements lightning.Node. As with LND, each page is a call of its own.
func (n *Node) ListPayments(ctx context.Context, since time.Time, fn func(lightning.PaymentState) error) error {
	for after := uint64(0); ; {
		page, last, err := n.paymentsAfter(ctx, after, since)
		if err != nil {
			return fmt.Errorf("list payments: %w", err)
		}
		if len(page) == 0 {
			return nil
		}
		for _, state := range page {
			if err := fn(state); err != nil {
				return err
			}
		}
		after = last
	}
}

// paymentsAfter returns the next page of payments that were created at or after since, in the
// order of creation, and the Attempt of the last one.
func (n *Node) paymentsAfter(ctx context.Context, after uint64, since time.Time) (page []lightning.PaymentState, last uint64, err error) {
	end, err := n.begin(ctx, OpList)
	if err != nil {
		return nil, 0, err
	}
	var found []*payment
	for _, p := range n.payments {
		if p.Attempt > after && p.CreatedAt.Unix() >= since.Unix() {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b *payment) int { return cmp.Compare(a.Attempt, b.Attempt) })
	for _, p := range found[:min(len(found), listPage)] {
		page, last = append(page, n.paymentState(p.Hash)), p.Attempt
	}
	if err := end(nil); err != nil {
		return nil, 0, err
	}
	return page, last, nil
}

func (held *hold) state() lightning.HoldState {
	out := lightning.HoldState{
		Hash:       held.Hash,
		Phase:      held.Phase,
		Bolt11:     held.Bolt11,
		AmountSats: held.AmountMsat / 1000,
		ExpiresAt:  held.ExpiresAt,
		Memo:       held.Memo,
	}
	switch held.Phase {
	case trade.HoldAccepted:
		out.PaidMsat, out.AcceptHeight, out.ExpiryHeight = held.PaidMsat, held.AcceptHeight, held.ExpiryHeight
	case trade.HoldSettled:
		out.PaidMsat = held.PaidMsat
	}
	return out
}

// Settle implements lightning.Node.
func (n *Node) Settle(ctx context.Context, p trade.Preimage) error {
	end, err := n.begin(ctx, OpSettle)
	if err != nil {
		return err
	}
	h := p.Hash()
	held := n.holds[h]
	switch {
	case held == nil:
		err = lightning.ErrNotFound
	case held.Phase == trade.HoldOpen:
		err = lightning.ErrOpen
	case held.Phase == trade.HoldCanceled:
		err = lightning.ErrCanceled
	case held.Phase == trade.HoldAccepted:
		n.settle(held, p)
	}
	if err != nil {
		err = fmt.Errorf("settle hold %s: %w", h, err)
	}
	return end(err)
}

// Cancel implements lightning.Node.
func (n *Node) Cancel(ctx context.Context, h trade.Hash) error {
	end, err := n.begin(ctx, OpCancel)
	if err != nil {
		return err
	}
	held := n.holds[h]
	switch {
	case held == nil:
		err = lightning.ErrNotFound
	case held.Phase == trade.HoldSettled:
		err = lightning.ErrSettled
	case held.Phase == trade.HoldOpen, held.Phase == trade.HoldAccepted:
		n.cancel(held)
	}
	if err != nil {
		err = fmt.Errorf("cancel hold %s: %w", h, err)
	}
	return end(err)
}

// TrackPayment implements lightning.Node.
func (n *Node) TrackPayment(ctx context.Context, h trade.Hash) (lightning.PaymentState, error) {
	end, err := n.begin(ctx, OpTrack)
	if err != nil {
		return lightning.PaymentState{}, err
	}
	state := n.paymentState(h)
	if err := end(nil); err != nil {
		return lightning.PaymentState{}, err
	}
	return state, nil
}

func (n *Node) paymentState(h trade.Hash) lightning.PaymentState {
	p := n.payments[h]
	if p == nil {
		return lightning.PaymentState{Hash: h, Status: trade.PaymentUnknown}
	}
	out := lightning.PaymentState{Hash: h, Status: p.Status, AmountMsat: p.AmountMsat}
	switch p.Status {
	case trade.PaymentSucceeded:
		out.FeeMsat, out.Preimage = p.FeeMsat, p.Preimage
	case trade.PaymentFailed:
		out.Failure = p.Failure
	}
	return out
}
