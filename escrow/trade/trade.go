package trade

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// OrderID identifies a trade and its order in the book.
type OrderID = message.UUID

// Trade is one order from its announcement to its end, with every fact about its money. A
// Trade is a value: Step returns a new one, and no other code writes its fields. The
// memory behind its slices and pointers is never written.
//
// Times are unix seconds; 0 means never.
type Trade struct {
	ID     OrderID             `json:"id"`
	Kind   mostro.Side         `json:"kind"` // the maker's side
	Status message.TradeStatus `json:"status"`
	Steps  uint32              `json:"steps"` // number of journal records behind this value
	Last   Trigger             `json:"last"`  // reason of the last change
	Terms  Terms               `json:"terms"` // the node's terms at the time of the order

	Buyer           Party             `json:"buyer,omitzero"`
	Seller          Party             `json:"seller,omitzero"`
	TakerReputation *message.UserInfo `json:"taker_reputation,omitempty"` // at the time of the take

	Fiat          string `json:"fiat"`
	FiatAmount    int64  `json:"fiat_amount,omitzero"` // 0 for a range order that is not taken
	MinFiat       int64  `json:"min_fiat,omitzero"`    // a range order has MaxFiat > 0
	MaxFiat       int64  `json:"max_fiat,omitzero"`
	PaymentMethod string `json:"payment_method"`
	Premium       int64  `json:"premium,omitzero"` // percent
	MarketPrice   bool   `json:"market_price,omitzero"`
	AmountSats    int64  `json:"amount_sats,omitzero"` // 0 at market price until taken
	FeeSats       int64  `json:"fee_sats,omitzero"`    // of each side
	DevFeeSats    int64  `json:"dev_fee_sats,omitzero"`
	// DevFeePaid is the payment of DevFeeSats to the development fund; zero if none is known.
	DevFeePaid DevFeePaid `json:"dev_fee_paid,omitzero"`

	BuyerInvoice PayTo `json:"buyer_invoice,omitzero"`
	MakerInvoice PayTo `json:"maker_invoice,omitzero"` // a buying maker's destination, given with the order; kept if a taker leaves

	CreatedAt int64 `json:"created_at"`
	ExpiresAt int64 `json:"expires_at"`
	TakenAt   int64 `json:"taken_at,omitzero"`  // begin of the current duty of a waiting state
	GracedAt  int64 `json:"graced_at,omitzero"` // TakenAt of the last duty that a restart put off
	// Expiring reports that the seller's time to pay is over, and that the node is being asked
	// whether the seller has paid.
	Expiring bool `json:"expiring,omitzero"`
	// Deadline is the next time at which the clock decides about the trade. Every trade
	// that is not over has a deadline.
	Deadline int64 `json:"deadline,omitzero"`

	Lock // the seller's payment; its amount is LockSats
	// EscrowGone reports that the hold ended on chain without an action of this node. The
	// seller has the sats back.
	EscrowGone bool `json:"escrow_gone,omitzero"`
	// Frozen reports that the node contradicts this store, for example by a settled hold
	// that no seller released here. Only an operator can let the trade continue.
	Frozen bool `json:"frozen,omitzero"`
	// Doubtful reports that this store was an older copy of itself when it was opened, so
	// the trade may have advanced further than the store knows. An action that cannot be
	// undone is left to an operator.
	Doubtful bool `json:"doubtful,omitzero"`
	// Sighted reports, for a doubtful trade, that the node has reported its hold as
	// accepted after the store was found to be a copy. The hold was therefore not settled
	// in the lost time, and nothing was paid out.
	Sighted bool `json:"sighted,omitzero"`
	// Closing holds the hashes of holds whose cancellation is decided but not confirmed.
	// The preimage of such a hash is never used.
	Closing []Hash `json:"closing,omitempty"`

	CancelBy message.Initiator `json:"cancel_by,omitzero"` // the party that asked for a cooperative cancel
	Dispute  Dispute           `json:"dispute,omitzero"`
	Payout   Outflow           `json:"payout,omitzero"` // the payment to the buyer
	// Outflows are the other payments of the trade, in the order in which they became due.
	// Outflow number n of an input or effect is Outflows[n-1]. Number 0 is Payout.
	Outflows []Outflow `json:"outflows,omitempty"`
	// Suspended holds the amounts in suspense, with the decisions about them.
	Suspended []Suspended `json:"suspended,omitempty"`

	Parent OrderID           `json:"parent,omitzero"` // the range order of which this order is the rest
	Next   message.NextTrade `json:"next,omitzero"`   // the maker's key for the rest, once announced

	// Request ids that are kept until the Lightning node has answered.
	TakeRequest    *uint64 `json:"take_request,omitempty"`
	ReleaseRequest *uint64 `json:"release_request,omitempty"`

	Bucket    mostro.Status `json:"bucket,omitzero"`     // public status in the book
	StampedAt int64         `json:"stamped_at,omitzero"` // created_at of the last order event
}

// Party is one side of a trade.
type Party struct {
	Key       string             `json:"key"`            // trade key, hex
	Identity  string             `json:"identity"`       // equals Key in full privacy
	Index     int64              `json:"index,omitzero"` // index of the trade key, as the client counts
	Transport envelope.Transport `json:"transport"`
}

// Private reports whether the party claims no identity.
func (p Party) Private() bool { return p.Identity == p.Key }

// PayTo is the buyer's payout destination: a BOLT11 invoice, or an address that returns an
// invoice.
type PayTo struct {
	Text      string `json:"text"`
	Hash      Hash   `json:"hash,omitzero"`       // zero for an address
	ExpiresAt int64  `json:"expires_at,omitzero"` // 0 for an address
	Open      bool   `json:"open,omitzero"`       // a BOLT11 invoice without an amount
}

// Address reports whether an invoice must still be fetched.
func (i PayTo) Address() bool { return i.Hash == Hash{} }

// Dispute is a disagreement about a trade. A trade has at most one.
type Dispute struct {
	ID        OrderID               `json:"id,omitzero"` // derived with the trade, so that the id of the dispute does not reveal the order
	Status    message.DisputeStatus `json:"status,omitzero"`
	By        message.Initiator     `json:"by,omitzero"`
	Previous  message.TradeStatus   `json:"previous,omitzero"`
	OpenedAt  int64                 `json:"opened_at,omitzero"`
	StampedAt int64                 `json:"stamped_at,omitzero"`
	// Solver has taken the dispute; zero if none. Key and Identity are both the solver's
	// identity, because messages about the dispute go there.
	Solver     Party    `json:"solver,omitzero"`
	SolverRole Role     `json:"solver_role,omitempty"` // at the time of the take
	TakenAt    int64    `json:"taken_at,omitzero"`
	Told       uint32   `json:"told,omitzero"` // the warning that was sent last, in blocks before the margin; 0 for none
	Verdict    *Verdict `json:"verdict,omitempty"`
}

// Verdict is a decision about a dispute that the parties did not make.
type Verdict struct {
	Action  message.Action `json:"action"`       // admin-settle or admin-cancel
	By      string         `json:"by,omitempty"` // identity of the solver; "" for the rule of an overdue dispute, and for an operator's closing
	Role    Role           `json:"role,omitempty"`
	At      int64          `json:"at"`
	Overdue bool           `json:"overdue,omitzero"` // decided by the rule, at the margin of the time lock
	Reason  string         `json:"reason,omitempty"`
	// Sender and Request receive the answer once the hold is settled.
	Sender  Party   `json:"sender,omitzero"`
	Request *uint64 `json:"request,omitempty"`
}

// DevFeePaid is a payment to the development fund that has succeeded.
type DevFeePaid struct {
	Hash    Hash  `json:"hash"`
	FeeMsat int64 `json:"fee_msat,omitzero"` // routing fee
	// ByHand reports that an operator has settled the fee by a payment that this node does not
	// know. Hash is zero.
	ByHand bool `json:"by_hand,omitzero"`
}

// Terms are the node's conditions for a trade. If the operator changes the conditions, an
// existing trade keeps its terms.
type Terms struct {
	Fee            Fraction `json:"fee,omitzero"`
	DevFee         Fraction `json:"dev_fee,omitzero"`
	MaxRoutingFee  Fraction `json:"max_routing_fee,omitzero"`
	MinSats        int64    `json:"min_sats"`
	MaxSats        int64    `json:"max_sats"`
	LifeSeconds    int64    `json:"life"`     // of an order without an expiry
	MaxLifeSeconds int64    `json:"max_life"` // of any order
	WaitSeconds    int64    `json:"wait"`     // for each duty of a waiting state

	CLTVBlocks     uint32 `json:"cltv"`
	MarginBlocks   uint32 `json:"margin"`       // blocks before a hold's expiry by which the hold must be resolved
	MaxFinalCLTV   uint32 `json:"max_cltv"`     // of a buyer's invoice
	InvoiceSeconds int64  `json:"invoice_life"` // life that a buyer's invoice must have left
	// MinPayoutSats is the least amount of a buyer's invoice. If 0, the least amount is
	// MinSats, as before rules1. A payout is smaller than its order by the fee.
	MinPayoutSats int64 `json:"min_payout,omitzero"`
	// RoutingWithinFee limits the routing fee of a payout to the fees that the trade
	// earns, if there is a fee. Before rules1 there was no such limit.
	RoutingWithinFee bool   `json:"routing_within_fee,omitzero"`
	PaymentAttempts  uint32 `json:"attempts"`      // with one invoice
	PaymentRetrySecs int64  `json:"retry_seconds"` // between the attempts
	// Overdue is the rule for a dispute that no solver has decided when the hold comes within
	// the margin: OverdueCancel, or OverdueSettle. If "", the rule is OverdueCancel.
	Overdue Overdue `json:"overdue,omitempty"`
}

// Overdue is a rule for a dispute that no solver decides in time.
type Overdue string

// The rules for overdue disputes. Either is better than the chain's decision, which returns
// the sats to the seller and closes a channel by force.
const (
	OverdueCancel Overdue = "cancel" // the seller receives the sats back
	OverdueSettle Overdue = "settle" // the buyer is paid
)

// OverdueRule returns the rule of Overdue.
func (t Terms) OverdueRule() Overdue {
	if t.Overdue == OverdueSettle {
		return OverdueSettle
	}
	return OverdueCancel
}

// DefaultTerms returns the terms of the reference node.
func DefaultTerms() Terms {
	return Terms{
		Fee: 0, DevFee: 300_000_000, MaxRoutingFee: 2_000_000,
		MinSats: 100, MaxSats: 1_000_000,
		LifeSeconds: 24 * 3600, MaxLifeSeconds: 15 * 24 * 3600, WaitSeconds: 900,
		CLTVBlocks: 144, MarginBlocks: 24, MaxFinalCLTV: 144, InvoiceSeconds: 3600,
		PaymentAttempts: 3, PaymentRetrySecs: 60, MinPayoutSats: 1, RoutingWithinFee: true,
	}
}

// leastRoutingSats is the smallest acceptable routing limit of a payout: a few hops that
// charge one sat each.
const leastRoutingSats = 5

// LeastSats returns the least amount of an order, in sats. This is MinSats, or more if a
// smaller trade would earn less than the smallest routing limit of its payout. A node
// without a fee pays for routing by itself, by choice.
func (t Terms) LeastSats() int64 {
	least := t.MinSats
	for t.Fee > 0 && t.RoutingWithinFee && least < t.MaxSats && 2*t.Fee.SideFee(least) < leastRoutingSats {
		least++
	}
	return least
}

// leastMarginBlocks is the least margin of any node, in blocks: the number of blocks before
// its expiry at which LND gives a hold back by itself.
const leastMarginBlocks = 18

// BlockSeconds is the average time between blocks, in seconds.
const BlockSeconds = 600

// margin returns MarginBlocks, or half of CLTVBlocks if MarginBlocks is not smaller than
// CLTVBlocks.
func (t Terms) margin() uint32 {
	if t.MarginBlocks >= t.CLTVBlocks {
		return t.CLTVBlocks / 2
	}
	return t.MarginBlocks
}

// guardSeconds returns how long a hold is safe if the height of the chain is unknown.
func (t Terms) guardSeconds() int64 { return int64(t.CLTVBlocks-t.margin()) * BlockSeconds }

// leastPayout returns the least amount of a buyer's invoice, in sats.
func (t Terms) leastPayout() int64 {
	if t.MinPayoutSats > 0 {
		return t.MinPayoutSats
	}
	return t.MinSats
}

// leastBlocks returns the number of blocks above the margin that a hold must have left
// when a trade begins. The number is 36 blocks (six hours), in which the buyer can pay and
// the seller can check, or half of the usable time of a shorter lock.
func (t Terms) leastBlocks() uint32 { return min(36, (t.CLTVBlocks-t.margin())/2) }

// leastHoldSeconds returns leastBlocks in seconds.
func (t Terms) leastHoldSeconds() int64 { return int64(t.leastBlocks()) * BlockSeconds }

// HoldSeconds returns how long a hold invoice can be paid. This is longer than the
// seller's time, so that the trade ends the wait and not the invoice.
func (t Terms) HoldSeconds() int64 { return max(t.WaitSeconds+600, 3600) }

// LeastLifeSeconds is the least distance between now and an expiry that an order names. A
// shorter order could not be traded, and its event would expire before the event reached a
// relay.
const LeastLifeSeconds = 600

// guardPoll is the interval in seconds at which a hold's time lock is looked up, after
// half of its safe time has passed.
const guardPoll = 300

// trackPoll is the interval in seconds at which the state of a payout in flight is looked
// up, in addition to the watch.
const trackPoll = 300

// remindFirst is the time in seconds after which a buyer that owes a new invoice is asked
// again. The time doubles up to remindMost.
const (
	remindFirst = 24 * 3600
	remindMost  = 16 * 24 * 3600
)

// AwaitsInvoice reports whether a settled trade waits for another invoice of the buyer.
func (t Trade) AwaitsInvoice(at int64) bool {
	p := &t.Payout
	return p.Hash == Hash{} && !p.Minting && (p.Failures >= max(t.Terms.PaymentAttempts, 1) || !t.BuyerInvoice.usable(at))
}

// Range reports whether the taker chooses the fiat amount within a range.
func (t Trade) Range() bool { return t.MaxFiat > 0 }

// LockSats returns the amount that the seller locks.
func (t Trade) LockSats() int64 { return t.AmountSats + t.FeeSats }

// PayoutSats returns the amount that the buyer receives.
func (t Trade) PayoutSats() int64 { return t.AmountSats - t.FeeSats }

// Maker returns the side that made the order.
func (t Trade) Maker() Party {
	if t.Kind == mostro.SideBuy {
		return t.Buyer
	}
	return t.Seller
}

// Taker returns the side that took the order, or a zero Party if the order is not taken.
func (t Trade) Taker() Party {
	if t.Kind == mostro.SideBuy {
		return t.Seller
	}
	return t.Buyer
}

func (t *Trade) setTaker(p Party) {
	if t.Kind == mostro.SideBuy {
		t.Seller = p
	} else {
		t.Buyer = p
	}
}

func (t *Trade) setMaker(p Party) {
	if t.Kind == mostro.SideBuy {
		t.Buyer = p
	} else {
		t.Seller = p
	}
}

// Over reports whether the trade can no longer change.
func (t Trade) Over() bool { return Terminal(t.Status) && len(t.Closing) == 0 && !t.owes() }

// Terminal reports whether a status is final for the parties.
func Terminal(s message.TradeStatus) bool {
	switch s {
	case message.TradeSuccess, message.TradeCanceled, message.TradeCanceledByAdmin,
		message.TradeCooperativelyCanceled, message.TradeExpired, message.TradeCompletedByAdmin:
		return true
	}
	return false
}

// Escrowed reports whether a status rests on an accepted hold.
func Escrowed(s message.TradeStatus) bool {
	return s == message.TradeActive || s == message.TradeFiatSent || s == message.TradeDispute
}

// Public returns the public status of a trade in the book. Public depends only on the
// status. A status that can neither be taken nor is final is in progress, even if the
// reference node shows nothing for it, because a pending order must be one that can be
// taken.
func Public(s message.TradeStatus) mostro.Status {
	switch s {
	case message.TradePending, message.TradeWaitingTakerBond:
		return mostro.StatusPending
	case message.TradeWaitingMakerBond:
		return mostro.StatusUnknown // not in the book yet
	case message.TradeSuccess, message.TradeCompletedByAdmin:
		return mostro.StatusSuccess
	case message.TradeCanceled, message.TradeCanceledByAdmin, message.TradeCooperativelyCanceled, message.TradeExpired:
		return mostro.StatusCanceled
	}
	return mostro.StatusInProgress
}

// NeedsWallet reports whether the trade depends on the Lightning node that holds its
// invoice: an amount is held, must be returned, or must be paid out.
func (t Trade) NeedsWallet() bool {
	return len(t.Closing) > 0 || t.owes() || t.Status == message.TradeSettledHoldInvoice || t.Hash != Hash{} && !t.EscrowGone && !Terminal(t.Status)
}

// HoldWatched returns the hash of the hold invoice to watch, or a zero hash if there is
// none. The hash depends only on the trade, so a restart watches the same hash.
func (t Trade) HoldWatched() Hash {
	if t.HoldInvoice == "" || t.EscrowGone || t.Frozen || Terminal(t.Status) || t.Status == message.TradeSettledHoldInvoice {
		return Hash{}
	}
	return t.Hash
}

// PayoutWatched returns the hash and attempt of the payment to the buyer to watch.
func (t Trade) PayoutWatched() (Hash, uint32) { return t.OutflowWatched(0) }

// OutflowWatched returns the hash and attempt of an outflow's payment to watch, or a zero
// hash.
func (t Trade) OutflowWatched(n uint32) (Hash, uint32) {
	o, ok := t.Outflow(n)
	if !ok || !o.Sent || n == 0 && t.Status != message.TradeSettledHoldInvoice {
		return Hash{}, 0
	}
	return o.Hash, o.Attempt
}

// HeldMsat returns the amount that the node has received under the live hold, whether the
// hold is still held or not.
func (t Trade) HeldMsat() int64 {
	if t.PaidMsat != 0 {
		return t.PaidMsat
	}
	return t.LockSats() * 1000
}

// Limits of the texts and the premium of an order. The events of the book must be small
// enough for every relay and client.
const (
	maxPaymentMethod = 512
	maxFiatCode      = 8
	maxPremium       = 100
)

// currencyCode reports whether a text can be a currency code: capital letters and digits.
// The operator decides which codes are accepted.
func currencyCode(s string) bool {
	return s != "" && len(s) <= maxFiatCode && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

// Check returns an error if a node cannot work under these terms.
func (t Terms) Check() error {
	switch {
	case t.Fee < 0 || t.Fee >= fractionOne:
		return errors.New("terms: the fee is not from 0 to 1")
	case t.DevFee < fractionOne/10 || t.DevFee > fractionOne:
		return errors.New("terms: the development fund's share is not from 0.10 to 1")
	case t.MaxRoutingFee < 0 || t.MaxRoutingFee > fractionOne:
		return errors.New("terms: the routing fee is not from 0 to 1")
	case t.MinSats < 1 || t.MaxSats < t.MinSats || t.MaxSats > MaxSats:
		return errors.New("terms: the least amount must be from 1 sat to the greatest amount, which is at most 21 million bitcoin")
	case t.MinSats <= t.Fee.SideFee(t.MinSats):
		return errors.New("terms: the fee of the least amount is not less than that amount")
	case t.LifeSeconds < 1 || t.MaxLifeSeconds < t.LifeSeconds || t.WaitSeconds < 1:
		return errors.New("terms: an order's life and a duty's time must be at least one second")
	case t.CLTVBlocks < 2 || t.MarginBlocks < leastMarginBlocks:
		return fmt.Errorf("terms: a hold needs at least 2 blocks, and a margin of at least %d blocks", leastMarginBlocks)
	case t.MarginBlocks >= t.CLTVBlocks || t.guardSeconds() <= t.WaitSeconds:
		return fmt.Errorf("terms: a hold of %d blocks less a margin of %d ends before the buyer's time of %d seconds", t.CLTVBlocks, t.MarginBlocks, t.WaitSeconds)
	case t.Overdue != "" && t.Overdue != OverdueCancel && t.Overdue != OverdueSettle:
		return fmt.Errorf("terms: the rule for overdue disputes is %q, which is neither cancel nor settle", t.Overdue)
	case t.InvoiceSeconds < 0 || t.PaymentAttempts < 1 || t.PaymentRetrySecs < 1:
		return errors.New("terms: a payout needs at least one attempt, and one second between attempts")
	}
	return nil
}

// spareBlocks is the least number of blocks between the action of a trade and the action
// of the node. The trade looks up the hold only every guardPoll seconds, and blocks can
// arrive in quick succession.
const spareBlocks = 3

// CheckNode returns an error if a node does not leave the time that these terms need. The
// node cancels a hold by itself holdExpiryDelta blocks before the hold expires. If the
// node cancelled an accepted hold before the trade acts, the node would decide trades in
// the seller's favour although fiat was sent.
func (t Terms) CheckNode(holdExpiryDelta uint32) error {
	if least := holdExpiryDelta + spareBlocks; t.MarginBlocks < least {
		return fmt.Errorf("a trade is resolved %d blocks before its hold expires, but the Lightning node gives the hold back by itself %d blocks before: the margin has to be %d blocks at least",
			t.MarginBlocks, holdExpiryDelta, least)
	}
	return nil
}

// Window returns the times between which a late message about the trade counts: the time
// of the current duty, or the time in which the hold is safe.
func (t Trade) Window(at int64) (opened, closes int64) {
	switch {
	case t.Status == message.TradePending:
		return max(t.CreatedAt, at-t.Terms.WaitSeconds), t.ExpiresAt
	case t.Status == message.TradeWaitingBuyerInvoice || t.Status == message.TradeWaitingPayment:
		return t.TakenAt, t.Deadline
	case Escrowed(t.Status):
		return t.HeldAt, t.safeUntil()
	case t.Status == message.TradeSettledHoldInvoice:
		return t.HeldAt, at
	}
	return at, 0
}

// askInvoice returns the order in the message that asks the buyer for an invoice.
func (t Trade) askInvoice() *message.SmallOrder {
	o := t.SmallOrder(t.Status, t.PayoutSats())
	o.ExpiresAt = nil
	return o
}

// payEffect returns the payment of the claim. The node needs the amount only if the
// invoice states none.
func (t Trade) payEffect() Effect {
	e := Effect{
		Kind: FxPay, Hash: t.Payout.Hash, Text: t.Payout.Bolt11, Attempt: t.Payout.Attempt,
		MaxFeeSats: t.Terms.MaxRoutingFee.RoutingCap(t.PayoutSats()),
	}
	if t.Terms.RoutingWithinFee && t.Terms.Fee > 0 {
		e.MaxFeeSats = min(e.MaxFeeSats, 2*t.FeeSats)
	}
	if t.Payout.Open {
		e.AmountSats = t.PayoutSats()
	}
	return e
}

// safeUntil returns the time at which a hold comes within the margin of its time lock, as
// far as the clock can tell.
func (t Trade) safeUntil() int64 {
	if t.SafeUntil != 0 {
		return t.SafeUntil
	}
	return t.HeldAt + t.Terms.guardSeconds()
}

// memo returns the description of the hold invoice that the seller's wallet shows.
func (t Trade) memo() string {
	verb := "SELL"
	if t.Kind == mostro.SideBuy {
		verb = "BUY"
	}
	fiat := fmt.Sprintf("%s %d", t.Fiat, t.FiatAmount)
	switch t.Fiat {
	case "BTC", "LBTC", "RBTC":
		fiat = fmt.Sprintf("%d sats of %s", t.FiatAmount, t.Fiat)
	}
	return fmt.Sprintf("Escrow of order %s: %s BTC for %s. The payment freezes until it is released or cancelled.", t.ID, verb, fiat)
}

// Redacted returns the trade in a form that an operator may see: no field can move money
// or reveal a destination of money.
func (t Trade) Redacted() Trade {
	t.Preimage, t.HoldInvoice, t.Payout.Bolt11 = Preimage{}, "", ""
	t.BuyerInvoice.Text, t.MakerInvoice.Text = "", ""
	t.Outflows = slices.Clone(t.Outflows)
	for i := range t.Outflows {
		t.Outflows[i].Bolt11, t.Outflows[i].To.Text = "", ""
	}
	return t
}

// OwesDevFee reports whether the node has earned the fees of the trade and the journal has no
// payment of the development fee.
func (t Trade) OwesDevFee() bool {
	return t.DevFeeSats > 0 && t.DevFeePaid == DevFeePaid{} && Settled(t.Status)
}
