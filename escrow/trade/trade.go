package trade

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
)

// OrderID names a trade, and its order in the book.
type OrderID = mostro.UUID

// Trade is one order from its announcement to its end, with all that moves
// its money. It is a value: Step gives a new one, nothing else writes any of
// its fields. Slices and pointers in it are never written through.
//
// Times are unix seconds, 0 for never.
type Trade struct {
	ID     OrderID            `json:"id"`
	Kind   mostro.Side        `json:"kind"` // the maker's side
	Status mostro.TradeStatus `json:"status"`
	Steps  uint32             `json:"steps"` // journal rows behind this value
	Last   Trigger            `json:"last"`  // why it changed last
	Terms  Terms              `json:"terms"` // the node's, as they were when the order was made

	Buyer           Party            `json:"buyer,omitzero"`
	Seller          Party            `json:"seller,omitzero"`
	TakerReputation *mostro.UserInfo `json:"taker_reputation,omitempty"` // when the order was taken

	Fiat          string `json:"fiat"`
	FiatAmount    int64  `json:"fiat_amount,omitzero"` // 0 for a range order nobody has taken
	MinFiat       int64  `json:"min_fiat,omitzero"`    // MaxFiat > 0: a range order
	MaxFiat       int64  `json:"max_fiat,omitzero"`
	PaymentMethod string `json:"payment_method"`
	Premium       int64  `json:"premium,omitzero"` // percent
	MarketPrice   bool   `json:"market_price,omitzero"`
	AmountSats    int64  `json:"amount_sats,omitzero"` // 0 at market price until taken
	FeeSats       int64  `json:"fee_sats,omitzero"`    // each side's
	DevFeeSats    int64  `json:"dev_fee_sats,omitzero"`

	BuyerInvoice PayTo `json:"buyer_invoice,omitzero"`
	MakerInvoice PayTo `json:"maker_invoice,omitzero"` // what a buying maker gave with the order: survives a taker's going

	CreatedAt int64 `json:"created_at"`
	ExpiresAt int64 `json:"expires_at"`
	TakenAt   int64 `json:"taken_at,omitzero"`  // when the present duty of a waiting state began
	GracedAt  int64 `json:"graced_at,omitzero"` // TakenAt of the last duty that a restart put off
	// Deadline is when the clock next has something to decide here. Every
	// trade that is not over has one.
	Deadline int64 `json:"deadline,omitzero"`

	Preimage    Preimage `json:"preimage,omitzero"`
	Hash        Hash     `json:"hash,omitzero"` // of the live hold invoice; zero: none
	HoldInvoice string   `json:"hold_invoice,omitzero"`
	HeldAt      int64    `json:"held_at,omitzero"` // when the hold was accepted, by the height of the chain where it is known
	// SafeUntil is when the hold's time lock comes within the margin, by the
	// heights that the node named and ten minutes a block; 0 when unknown.
	SafeUntil int64 `json:"safe_until,omitzero"`
	// Settling says that the seller has released and the node was told to
	// settle. From here only settlement, or proof that the escrow was gone
	// before, leads on.
	Settling bool `json:"settling,omitzero"`
	// EscrowGone says that the chain took the decision: the hold ended
	// without us, and the seller has the sats back.
	EscrowGone bool `json:"escrow_gone,omitzero"`
	// Frozen says that the node contradicts this store (a hold settled that
	// no one here released). Only an operator leads on.
	Frozen bool `json:"frozen,omitzero"`
	// Doubtful says that this store was an older copy of itself when it was
	// opened: more may have happened than it knows. What cannot be undone is
	// left to an operator.
	Doubtful bool `json:"doubtful,omitzero"`
	// Sighted says of a doubtful trade that the node has shown its hold as
	// accepted since the store was found to be a copy. The hold was not settled
	// in the lost time, so nothing was paid out either.
	Sighted bool `json:"sighted,omitzero"`
	// Closing holds hashes whose cancelling is decided and not confirmed yet.
	// No preimage of theirs is ever used.
	Closing []Hash `json:"closing,omitempty"`

	CancelBy mostro.Initiator `json:"cancel_by,omitzero"` // who asked for a cooperative cancel
	Dispute  Dispute          `json:"dispute,omitzero"`
	Payout   Payout           `json:"payout,omitzero"`

	Parent OrderID          `json:"parent,omitzero"` // of the rest of a range order
	Next   mostro.NextTrade `json:"next,omitzero"`   // the maker's key for the rest, once announced

	// Answers remembered until the Lightning node has spoken.
	TakeRequest    *uint64 `json:"take_request,omitempty"`
	ReleaseRequest *uint64 `json:"release_request,omitempty"`

	Bucket    mostro.Status `json:"bucket,omitzero"`     // what the book shows
	StampedAt int64         `json:"stamped_at,omitzero"` // created_at of the last order event
}

// Party is one side of a trade.
type Party struct {
	Key       string           `json:"key"`            // trade key, hex
	Identity  string           `json:"identity"`       // equals Key in full privacy
	Index     int64            `json:"index,omitzero"` // of the trade key, as the client counts
	Transport mostro.Transport `json:"transport"`
}

// Private says that the party claims no identity.
func (p Party) Private() bool { return p.Identity == p.Key }

// PayTo is where a buyer wants to be paid: a BOLT11 invoice, or an address
// that gives one.
type PayTo struct {
	Text      string `json:"text"`
	Hash      Hash   `json:"hash,omitzero"`       // zero for an address
	ExpiresAt int64  `json:"expires_at,omitzero"` // 0 for an address
	Open      bool   `json:"open,omitzero"`       // a BOLT11 invoice without an amount
}

// Address says that an invoice has yet to be fetched.
func (i PayTo) Address() bool { return i.Hash == Hash{} }

// Dispute is a disagreement about a trade. A trade has at most one.
type Dispute struct {
	ID        OrderID              `json:"id,omitzero"` // drawn with the trade, so that nothing links the two
	Status    mostro.DisputeStatus `json:"status,omitzero"`
	By        mostro.Initiator     `json:"by,omitzero"`
	Previous  mostro.TradeStatus   `json:"previous,omitzero"`
	OpenedAt  int64                `json:"opened_at,omitzero"`
	StampedAt int64                `json:"stamped_at,omitzero"`
}

// Payout is what is known of paying the buyer.
type Payout struct {
	// Hash is the claim: while it is set one payment may be in flight, under
	// this hash and no other, and the buyer's invoice cannot be replaced.
	Hash   Hash   `json:"hash,omitzero"`
	Bolt11 string `json:"bolt11,omitzero"`
	Open   bool   `json:"open,omitzero"` // Bolt11 states no amount
	Sent   bool   `json:"sent,omitzero"` // the node took it; its outcome is awaited
	// Minting says that an address is being asked for an invoice.
	Minting  bool   `json:"minting,omitzero"`
	Attempt  uint32 `json:"attempt,omitzero"`  // of all attempts, the present or last one
	Failures uint32 `json:"failures,omitzero"` // with the present invoice
	Asked    uint32 `json:"asked,omitzero"`    // times the buyer was asked for another invoice
	LastHash Hash   `json:"last_hash,omitzero"`
	FeeMsat  int64  `json:"fee_msat,omitzero"` // routing, once paid
}

// Terms are the node's conditions that a trade was made under. They do not
// change for it when the operator changes them for others.
type Terms struct {
	Fee            Fraction `json:"fee,omitzero"`
	DevFee         Fraction `json:"dev_fee,omitzero"`
	MaxRoutingFee  Fraction `json:"max_routing_fee,omitzero"`
	MinSats        int64    `json:"min_sats"`
	MaxSats        int64    `json:"max_sats"`
	LifeSeconds    int64    `json:"life"`     // of an order that names no expiry
	MaxLifeSeconds int64    `json:"max_life"` // of any order
	WaitSeconds    int64    `json:"wait"`     // for each duty of a waiting state

	CLTVBlocks     uint32 `json:"cltv"`
	MarginBlocks   uint32 `json:"margin"`       // before a hold's expiry, when it must be resolved
	MaxFinalCLTV   uint32 `json:"max_cltv"`     // of a buyer's invoice
	InvoiceSeconds int64  `json:"invoice_life"` // that a buyer's invoice must have left
	// MinPayoutSats is the least amount of a buyer's invoice; 0: MinSats, as
	// before rules1. A payout is smaller than its order by the fee.
	MinPayoutSats int64 `json:"min_payout,omitzero"`
	// RoutingWithinFee bounds what a payout may cost in routing by what the
	// trade earns, if there is a fee. It was not so before rules1.
	RoutingWithinFee bool   `json:"routing_within_fee,omitzero"`
	PaymentAttempts  uint32 `json:"attempts"`      // with one invoice
	PaymentRetrySecs int64  `json:"retry_seconds"` // between them
}

// DefaultTerms are the reference node's.
func DefaultTerms() Terms {
	return Terms{
		Fee: 0, DevFee: 300_000_000, MaxRoutingFee: 2_000_000,
		MinSats: 100, MaxSats: 1_000_000,
		LifeSeconds: 24 * 3600, MaxLifeSeconds: 15 * 24 * 3600, WaitSeconds: 900,
		CLTVBlocks: 144, MarginBlocks: 24, MaxFinalCLTV: 432, InvoiceSeconds: 3600,
		PaymentAttempts: 3, PaymentRetrySecs: 60, MinPayoutSats: 1, RoutingWithinFee: true,
	}
}

// leastRoutingSats is what a payout must be allowed to cost in routing, at the
// least: a few hops that ask one sat each.
const leastRoutingSats = 5

// LeastSats returns the least amount of an order, in sats: MinSats, or more if
// a smaller trade would earn less than its payout has to be allowed to cost in
// routing. A node without a fee pays for routing by itself, by choice.
func (t Terms) LeastSats() int64 {
	least := t.MinSats
	for t.Fee > 0 && t.RoutingWithinFee && least < t.MaxSats && 2*t.Fee.SideFee(least) < leastRoutingSats {
		least++
	}
	return least
}

// BlockSeconds is how long a block takes on average, in seconds.
const BlockSeconds = 600

// margin is MarginBlocks, or half of a delta that is not larger than it.
func (t Terms) margin() uint32 {
	if t.MarginBlocks >= t.CLTVBlocks {
		return t.CLTVBlocks / 2
	}
	return t.MarginBlocks
}

// guardSeconds is how long a hold is safe when nothing is known of the chain.
func (t Terms) guardSeconds() int64 { return int64(t.CLTVBlocks-t.margin()) * BlockSeconds }

// leastPayout is the least amount of a buyer's invoice.
func (t Terms) leastPayout() int64 {
	if t.MinPayoutSats > 0 {
		return t.MinPayoutSats
	}
	return t.MinSats
}

// leastBlocks is how many blocks above the margin a hold must have left when a
// trade begins: six hours in which the buyer can pay and the seller look, or
// half of the usable time of a shorter lock.
func (t Terms) leastBlocks() uint32 { return min(36, (t.CLTVBlocks-t.margin())/2) }

// leastHoldSeconds is leastBlocks as time.
func (t Terms) leastHoldSeconds() int64 { return int64(t.leastBlocks()) * BlockSeconds }

// HoldSeconds is how long a hold invoice can be paid: longer than the seller's
// time, so that not the invoice but the trade ends the wait.
func (t Terms) HoldSeconds() int64 { return max(t.WaitSeconds+600, 3600) }

// LeastLifeSeconds is how far ahead an order's own expiry has to be. A shorter
// order could not be traded, and its event would have expired before it
// reached a relay.
const LeastLifeSeconds = 600

// guardPoll is how often a hold's time lock is looked at, once half its safe
// time has passed.
const guardPoll = 300

// trackPoll is how often a payout in flight is asked after, beside its watch.
const trackPoll = 300

// remindFirst is after how long a buyer who owes a new invoice is asked again;
// the time doubles up to remindMost.
const (
	remindFirst = 24 * 3600
	remindMost  = 16 * 24 * 3600
)

// Range says whether the order leaves the fiat amount to the taker.
func (t Trade) Range() bool { return t.MaxFiat > 0 }

// LockSats is what the seller locks.
func (t Trade) LockSats() int64 { return t.AmountSats + t.FeeSats }

// PayoutSats is what the buyer gets.
func (t Trade) PayoutSats() int64 { return t.AmountSats - t.FeeSats }

// Maker gives the side that made the order.
func (t Trade) Maker() Party {
	if t.Kind == mostro.SideBuy {
		return t.Buyer
	}
	return t.Seller
}

// Taker gives the side that took it; zero before.
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

// Over says that nothing can happen to the trade any more.
func (t Trade) Over() bool { return Terminal(t.Status) && len(t.Closing) == 0 }

// Terminal says whether a status is final for the parties.
func Terminal(s mostro.TradeStatus) bool {
	switch s {
	case mostro.TradeSuccess, mostro.TradeCanceled, mostro.TradeCanceledByAdmin,
		mostro.TradeCooperativelyCanceled, mostro.TradeExpired, mostro.TradeCompletedByAdmin:
		return true
	}
	return false
}

// Escrowed says whether a status rests on an accepted hold.
func Escrowed(s mostro.TradeStatus) bool {
	return s == mostro.TradeActive || s == mostro.TradeFiatSent || s == mostro.TradeDispute
}

// Public gives what the book shows of a status: a function of nothing else.
// Whatever is neither takeable nor over is in progress, also where the
// reference node shows nothing: an order is never pending that cannot be
// taken.
func Public(s mostro.TradeStatus) mostro.Status {
	switch s {
	case mostro.TradePending, mostro.TradeWaitingTakerBond:
		return mostro.StatusPending
	case mostro.TradeWaitingMakerBond:
		return mostro.StatusUnknown // not in the book yet
	case mostro.TradeSuccess, mostro.TradeCompletedByAdmin:
		return mostro.StatusSuccess
	case mostro.TradeCanceled, mostro.TradeCanceledByAdmin, mostro.TradeCooperativelyCanceled, mostro.TradeExpired:
		return mostro.StatusCanceled
	}
	return mostro.StatusInProgress
}

// NeedsWallet says whether the trade depends on the Lightning node that holds
// its invoice: something is held, is to be given back, or is to be paid out.
func (t Trade) NeedsWallet() bool {
	return len(t.Closing) > 0 || t.Status == mostro.TradeSettledHoldInvoice || t.Hash != Hash{} && !t.EscrowGone && !Terminal(t.Status)
}

// HoldWatched gives the hash whose hold invoice is to be watched: zero when
// none is. It is a function of the trade, so that a restart watches the same.
func (t Trade) HoldWatched() Hash {
	if t.HoldInvoice == "" || t.EscrowGone || t.Frozen || Terminal(t.Status) || t.Status == mostro.TradeSettledHoldInvoice {
		return Hash{}
	}
	return t.Hash
}

// PayoutWatched gives the hash and attempt of the payment to be watched.
func (t Trade) PayoutWatched() (Hash, uint32) {
	if t.Status != mostro.TradeSettledHoldInvoice || !t.Payout.Sent {
		return Hash{}, 0
	}
	return t.Payout.Hash, t.Payout.Attempt
}

// Bounds on what a maker may write into an order: the book's events must stay
// small enough for every relay and client.
const (
	maxPaymentMethod = 512
	maxFiatCode      = 8
	maxPremium       = 100
)

// currencyCode says whether a text can be a currency: capital letters and
// digits. Which are accepted is the operator's matter.
func currencyCode(s string) bool {
	return s != "" && len(s) <= maxFiatCode && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

// Check says whether a node can work under these terms.
func (t Terms) Check() error {
	switch {
	case t.Fee < 0 || t.Fee >= fractionOne:
		return errors.New("terms: the fee is not from 0 to 1")
	case t.DevFee < fractionOne/10 || t.DevFee > fractionOne:
		return errors.New("terms: the development fund's share is not from 0.10 to 1")
	case t.MaxRoutingFee < 0 || t.MaxRoutingFee > fractionOne:
		return errors.New("terms: the routing fee is not from 0 to 1")
	case t.MinSats < 1 || t.MaxSats < t.MinSats || t.MaxSats > MaxSats:
		return errors.New("terms: the least and the greatest amount contradict each other")
	case t.MinSats <= t.Fee.SideFee(t.MinSats):
		return errors.New("terms: the fee eats the least amount")
	case t.LifeSeconds < 1 || t.MaxLifeSeconds < t.LifeSeconds || t.WaitSeconds < 1:
		return errors.New("terms: an order or a duty without time")
	case t.CLTVBlocks < 2 || t.MarginBlocks < 1:
		return errors.New("terms: a hold without time, or without a margin")
	case t.MarginBlocks >= t.CLTVBlocks || t.guardSeconds() <= t.WaitSeconds:
		return fmt.Errorf("terms: a hold of %d blocks less a margin of %d is over before the buyer's time of %d seconds", t.CLTVBlocks, t.MarginBlocks, t.WaitSeconds)
	case t.InvoiceSeconds < 0 || t.PaymentAttempts < 1 || t.PaymentRetrySecs < 1:
		return errors.New("terms: a payout that is never tried")
	}
	return nil
}

// spareBlocks is how many blocks a trade must have left, at the least, between
// the moment at which it acts and the one at which the node does: a look at
// the hold every guardPoll seconds, and blocks that come in a row.
const spareBlocks = 3

// CheckNode says whether a node leaves these terms the time that they count
// on. The node gives a hold back by itself holdExpiryDelta blocks before the
// hold expires. A node that gives an accepted hold back by itself before the trade acts
// would decide trades in the seller's favour behind which fiat was sent.
func (t Terms) CheckNode(holdExpiryDelta uint32) error {
	if least := holdExpiryDelta + spareBlocks; t.MarginBlocks < least {
		return fmt.Errorf("a trade is resolved %d blocks before its hold expires, but the Lightning node gives the hold back by itself %d blocks before: the margin has to be %d blocks at least",
			t.MarginBlocks, holdExpiryDelta, least)
	}
	return nil
}

// Window gives the time in which a late message about the trade counts: the
// present duty's, or while the hold is safe.
func (t Trade) Window(at int64) (opened, closes int64) {
	switch {
	case t.Status == mostro.TradePending:
		return max(t.CreatedAt, at-t.Terms.WaitSeconds), t.ExpiresAt
	case t.Status == mostro.TradeWaitingBuyerInvoice || t.Status == mostro.TradeWaitingPayment:
		return t.TakenAt, t.Deadline
	case Escrowed(t.Status):
		return t.HeldAt, t.safeUntil()
	case t.Status == mostro.TradeSettledHoldInvoice:
		return t.HeldAt, at
	}
	return at, 0
}
