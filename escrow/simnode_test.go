package escrow

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

// simNode simulates the money of a Lightning node and its channels. It can be down, and it
// can lose the answer of a call that it executed.
type simNode struct {
	rng    *rand.Rand
	now    int64
	height uint32
	down   bool
	// If unsynced is set, the node answers that it is not synced with the chain.
	unsynced bool
	unlisted bool // if set, payments may not be listed
	lossy    bool // if set, answers get lost
	fickle   bool // if set, some payments are refused, and addresses fail
	hiding   bool // if set, one seller in eight pays more than the amount of its invoice
	// If refusing is set, the node refuses new holds and payments with an unknown text.
	// refused counts the consecutive refusals by hash.
	refusing bool
	refused  map[trade.Hash]int

	holds map[trade.Hash]*simHold
	pays  map[trade.Hash]*simPay
	// makers maps the address of a maker to its trade, because the address existed before the
	// trade had an id.
	makers map[string]string

	lockedMsat, heldMsat, refundedMsat, settledMsat, paidMsat, routingMsat int64

	// The judges are called before the node executes a call.
	onCreate func(lightning.HoldRequest)
	onSettle func(trade.Preimage)
	onCancel func(trade.Hash)
	onPay    func(lightning.Payment, trade.Destination)
}

type simHold struct {
	state     lightning.HoldState
	byUs      bool // canceled by us, not by an expiry
	expiresAt int64
	createdAt int64
}

type simPay struct {
	state lightning.PaymentState
	order string // the trade that the invoice was made for
}

// fee reports whether the payment is a development fee.
func (p *simPay) fee() bool { return strings.HasPrefix(p.order, "fee-") }

// simInvoice stands for a BOLT 11 invoice. Its text contains its fields.
func simInvoice(h trade.Hash, msat, expires int64, order string) string {
	return fmt.Sprintf("lnsim:%s:%d:%d:%s", h, msat, expires, order)
}

// simFarInvoice returns a simInvoice whose last hop needs one block more than is allowed.
func simFarInvoice(h trade.Hash, msat, expires int64, order string) string {
	return "lnfar" + strings.TrimPrefix(simInvoice(h, msat, expires, order), "lnsim")
}

// simDecode distinguishes destinations as the real decoder does.
func simDecode(text string) trade.Destination {
	d := trade.Destination{Text: text}
	if strings.Contains(text, "@") {
		d.Address = true
		return d
	}
	parts := strings.Split(text, ":")
	if len(parts) != 5 || parts[0] != "lnsim" && parts[0] != "lnfar" {
		return d
	}
	h, err := trade.ParseHash(parts[1])
	if err != nil {
		return d
	}
	d.Parsed, d.Hash, d.ChainOK, d.FinalCLTV = true, h, true, 40
	if parts[0] == "lnfar" {
		d.FinalCLTV = 145
	}
	d.AmountMsat, _ = strconv.ParseInt(parts[2], 10, 64)
	d.ExpiresAt, _ = strconv.ParseInt(parts[3], 10, 64)
	return d
}

func newSimNode(rng *rand.Rand, now int64) *simNode {
	return &simNode{rng: rng, now: now, height: 1000, holds: make(map[trade.Hash]*simHold), pays: make(map[trade.Hash]*simPay), refused: make(map[trade.Hash]int), makers: make(map[string]string)}
}

// refuses reports whether the node refuses a new hold or payment with an unknown text, either
// for a while or, for this hash, for good.
func (n *simNode) refuses(h trade.Hash) bool {
	if n.refusing || n.fickle && h[0] < 4 {
		n.refused[h]++
		return true
	}
	n.refused[h] = 0
	return false
}

// lost reports whether the answer of the last call is lost.
func (n *simNode) lost() bool { return n.lossy && n.rng.IntN(4) == 0 }

func (n *simNode) Info(context.Context) (lightning.NodeInfo, error) {
	if n.down {
		return lightning.NodeInfo{}, lightning.ErrUnavailable
	}
	return lightning.NodeInfo{Network: lightning.Regtest, Height: n.height, Synced: !n.unsynced, HoldExpiryDelta: 18}, nil
}

func (n *simNode) CreateHold(_ context.Context, in lightning.HoldRequest) (string, error) {
	if n.down {
		return "", lightning.ErrUnavailable
	}
	if n.onCreate != nil {
		n.onCreate(in)
	}
	if n.holds[in.Hash] != nil {
		n.refused[in.Hash] = 0
		return "", lightning.ErrExists
	}
	if n.refuses(in.Hash) {
		return "", lightning.ErrRefused
	}
	expires := n.now + int64(in.Expiry.Seconds())
	bolt11 := simInvoice(in.Hash, in.AmountSats*1000, expires, "hold")
	n.holds[in.Hash] = &simHold{expiresAt: expires, createdAt: n.now, state: lightning.HoldState{
		Hash: in.Hash, Phase: trade.HoldOpen, Bolt11: bolt11, AmountSats: in.AmountSats, ExpiryHeight: in.CLTVBlocks, Memo: in.Memo,
	}}
	if n.lost() {
		return "", lightning.ErrUnavailable
	}
	return bolt11, nil
}

func (n *simNode) LookupHold(_ context.Context, h trade.Hash) (lightning.HoldState, error) {
	if n.down {
		return lightning.HoldState{}, lightning.ErrUnavailable
	}
	hold := n.holds[h]
	if hold == nil {
		return lightning.HoldState{}, lightning.ErrNotFound
	}
	return hold.told(), nil
}

// told returns the state as the node reports the state.
func (hold *simHold) told() lightning.HoldState {
	state := hold.state
	if state.Phase != trade.HoldAccepted {
		state.ExpiryHeight = 0
	}
	return state
}

// ListHolds lists the invoices in the order of their creation, and those of one second by
// their hash.
func (n *simNode) ListHolds(_ context.Context, since time.Time, fn func(lightning.HoldState) error) error {
	if n.down {
		return lightning.ErrUnavailable
	}
	var list []*simHold
	for _, hold := range n.holds {
		if hold.createdAt >= since.Unix() {
			list = append(list, hold)
		}
	}
	slices.SortFunc(list, func(a, b *simHold) int {
		return cmp.Or(cmp.Compare(a.createdAt, b.createdAt), slices.Compare(a.state.Hash[:], b.state.Hash[:]))
	})
	for _, hold := range list {
		if err := fn(hold.told()); err != nil {
			return err
		}
	}
	if n.lost() {
		return lightning.ErrUnavailable
	}
	return nil
}

func (n *simNode) WatchHold(context.Context, trade.Hash, func(lightning.HoldState) error) error {
	return fmt.Errorf("the simulation polls")
}

func (n *simNode) WatchPayment(context.Context, trade.Hash, func(lightning.PaymentState) error) error {
	return fmt.Errorf("the simulation polls")
}

func (n *simNode) Settle(_ context.Context, p trade.Preimage) error {
	if n.down {
		return lightning.ErrUnavailable
	}
	if n.onSettle != nil {
		n.onSettle(p)
	}
	hold := n.holds[p.Hash()]
	if hold == nil {
		return lightning.ErrNotFound
	}
	switch hold.state.Phase {
	case trade.HoldOpen:
		return lightning.ErrOpen
	case trade.HoldCanceled:
		return lightning.ErrCanceled
	case trade.HoldAccepted:
		hold.state.Phase = trade.HoldSettled
		n.heldMsat -= hold.state.PaidMsat
		n.settledMsat += hold.state.PaidMsat
	}
	if n.lost() {
		return lightning.ErrUnavailable
	}
	return nil
}

func (n *simNode) Cancel(_ context.Context, h trade.Hash) error {
	if n.down {
		return lightning.ErrUnavailable
	}
	if n.onCancel != nil {
		n.onCancel(h)
	}
	hold := n.holds[h]
	if hold == nil {
		return lightning.ErrNotFound
	}
	if hold.state.Phase == trade.HoldSettled {
		return lightning.ErrSettled
	}
	hold.byUs = true
	n.giveBack(hold)
	if n.lost() {
		return lightning.ErrUnavailable
	}
	return nil
}

func (n *simNode) giveBack(hold *simHold) {
	if hold.state.Phase == trade.HoldAccepted {
		n.heldMsat -= hold.state.PaidMsat
		n.refundedMsat += hold.state.PaidMsat
	}
	hold.state.Phase = trade.HoldCanceled
}

// orderOf returns the trade that an invoice was made for.
func (n *simNode) orderOf(bolt11 string) string {
	if made := n.makers[bolt11]; made != "" {
		return made
	}
	return bolt11[strings.LastIndexByte(bolt11, ':')+1:]
}

func (n *simNode) Pay(_ context.Context, p lightning.Payment) error {
	if n.down {
		return lightning.ErrUnavailable
	}
	d := simDecode(p.Bolt11)
	if n.onPay != nil {
		n.onPay(p, d)
	}
	if d.ExpiresAt <= n.now || n.fickle && n.rng.IntN(40) == 0 {
		n.refused[d.Hash] = 0
		return lightning.ErrInvoice
	}
	old := n.pays[d.Hash]
	if old != nil && (old.state.Status == trade.PaymentInFlight || old.state.Status == trade.PaymentSucceeded) {
		n.refused[d.Hash] = 0
		return lightning.ErrExists
	}
	refused := n.refuses(d.Hash)
	if refused && n.rng.IntN(4) > 0 {
		return lightning.ErrRefused
	}
	msat := d.AmountMsat
	if msat == 0 {
		msat = p.AmountSats * 1000
	}
	n.pays[d.Hash] = &simPay{
		order: n.orderOf(p.Bolt11),
		state: lightning.PaymentState{Hash: d.Hash, Status: trade.PaymentInFlight, AmountMsat: msat, FeeMsat: n.rng.Int64N(p.MaxFeeSats*1000 + 1)},
	}
	switch {
	case refused: // the refusal comes after the payment was registered
		return lightning.ErrRefused
	case n.lost():
		return lightning.ErrUnavailable
	}
	return nil
}

func (n *simNode) TrackPayment(_ context.Context, h trade.Hash) (lightning.PaymentState, error) {
	if n.down {
		return lightning.PaymentState{}, lightning.ErrUnavailable
	}
	if p := n.pays[h]; p != nil {
		return p.state, nil
	}
	return lightning.PaymentState{Hash: h, Status: trade.PaymentUnknown}, nil
}

// ListPayments lists the payments in the order of their hashes.
func (n *simNode) ListPayments(_ context.Context, _ time.Time, fn func(lightning.PaymentState) error) error {
	if n.down {
		return lightning.ErrUnavailable
	}
	if n.unlisted {
		return lightning.ErrPermission
	}
	hashes := slices.SortedFunc(maps.Keys(n.pays), func(a, b trade.Hash) int { return slices.Compare(a[:], b[:]) })
	for _, h := range hashes {
		if err := fn(n.pays[h].state); err != nil {
			return err
		}
	}
	return nil
}

// The domain of an address determines how Probe and Mint behave.
func (n *simNode) Probe(_ context.Context, address string) error {
	if strings.HasSuffix(address, "@dead") {
		return lightning.ErrUnavailable
	}
	return nil
}

func (n *simNode) Mint(_ context.Context, address string, amountSats int64) (string, error) {
	if n.fickle && n.rng.IntN(6) == 0 {
		return "", lightning.ErrUnavailable
	}
	var h trade.Hash
	for i := range h {
		h[i] = byte(n.rng.Uint32())
	}
	msat := amountSats * 1000
	if n.fickle && n.rng.IntN(10) == 0 {
		msat += 1000 // an address that asks for more than the agreed amount
	}
	order, _, _ := strings.Cut(address, "@")
	if made := n.makers[address]; made != "" {
		order = made
	}
	if n.fickle && n.rng.IntN(20) == 0 {
		return simFarInvoice(h, msat, n.now+120, order), nil
	}
	return simInvoice(h, msat, n.now+120, order), nil
}

// pay acts as the seller's wallet.
func (n *simNode) pay(h trade.Hash) bool {
	hold := n.holds[h]
	if hold == nil || hold.state.Phase != trade.HoldOpen || hold.expiresAt <= n.now {
		return false
	}
	hold.state.Phase = trade.HoldAccepted
	hold.state.ExpiryHeight, hold.state.AcceptHeight = n.height+hold.state.ExpiryHeight+3, n.height
	hold.state.PaidMsat = hold.state.AmountSats * 1000
	if n.hiding {
		hold.state.PaidMsat += overpaid(h, hold.state.AmountSats)
	}
	n.lockedMsat += hold.state.PaidMsat
	n.heldMsat += hold.state.PaidMsat
	return true
}

// overpaid returns the msat that a seller's wallet pays above the amount of an invoice. One
// wallet in eight hides the amount from the nodes on the route in this way. The hash decides,
// so that no random number is drawn.
func overpaid(h trade.Hash, sats int64) int64 {
	if h[9]%8 != 0 {
		return 0
	}
	return (int64(h[10])<<16 + int64(h[11])<<8 + int64(h[12])) % (sats * 1000)
}

// resolve ends one payment that is in flight.
func (n *simNode) resolve(h trade.Hash, good bool) {
	p := n.pays[h]
	if p == nil || p.state.Status != trade.PaymentInFlight {
		return
	}
	if !good {
		p.state.Status = trade.PaymentFailed
		return
	}
	p.state.Status = trade.PaymentSucceeded
	n.paidMsat += p.state.AmountMsat
	n.routingMsat += p.state.FeeMsat
}

// inFlight lists the payments in flight in a deterministic order.
func (n *simNode) inFlight() []trade.Hash {
	var hashes []trade.Hash
	for h, p := range n.pays {
		if p.state.Status == trade.PaymentInFlight {
			hashes = append(hashes, h)
		}
	}
	slices.SortFunc(hashes, func(a, b trade.Hash) int { return slices.Compare(a[:], b[:]) })
	return hashes
}

// expire executes the effects of time: open invoices expire, and the node cancels holds near
// their time lock.
func (n *simNode) expire(onAuto func(trade.Hash)) {
	var back []trade.Hash
	for h, hold := range n.holds {
		switch {
		case hold.state.Phase == trade.HoldOpen && hold.expiresAt <= n.now:
			hold.state.Phase = trade.HoldCanceled
		case hold.state.Phase == trade.HoldAccepted && n.height+18 >= hold.state.ExpiryHeight:
			n.giveBack(hold)
			back = append(back, h)
		}
	}
	slices.SortFunc(back, func(a, b trade.Hash) int { return slices.Compare(a[:], b[:]) })
	for _, h := range back {
		onAuto(h)
	}
}

// conserved returns an error if the sats that sellers locked are not all accounted for.
func (n *simNode) conserved() error {
	if sum := n.heldMsat + n.refundedMsat + n.settledMsat; sum != n.lockedMsat {
		return fmt.Errorf("sellers locked %d msat, and %d are accounted for", n.lockedMsat, sum)
	}
	// Routing fees are a cost of the operator. For a tiny trade they may exceed the fee.
	if n.paidMsat > n.settledMsat {
		return fmt.Errorf("paid out %d msat of %d settled", n.paidMsat, n.settledMsat)
	}
	return nil
}

// simReader reads from the random source of the simulation.
type simReader struct{ rng *rand.Rand }

func (r simReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r.rng.Uint32())
	}
	return len(p), nil
}

func simKey(n uint64) string { return fmt.Sprintf("%064x", n) }

func hexOf(b []byte) string { return hex.EncodeToString(b) }
