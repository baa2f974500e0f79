package escrow

import (
	"errors"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/nbd-wtf/go-nostr"
)

// Commit is what one batch of the engine writes: all of it or nothing, synced.
type Commit struct {
	Trades  []trade.Trade // as they are after the batch, each once
	Journal []JournalRow  // the inputs that made them so
	Outbox  []OutboxRow   // what is to be done
	Done    []uint64      // ids of outbox rows that are done
	Seen    []string      // replay ids of messages that were acted on
	Users   []User
	Claims  []Claim
	Issued  []Issued // receipts given, each side of a trade once
	// Throttles are the takers who cancelled unpaid. A Count of 0 lifts one.
	Throttles []Throttle
	// ReceiptKeys are the keys of receipts that changed.
	ReceiptKeys []ReceiptKey
	Head        Head
}

// Empty says that there is nothing worth a transaction.
func (c *Commit) Empty() bool {
	return len(c.Trades)+len(c.Journal)+len(c.Outbox)+len(c.Done)+len(c.Seen)+len(c.Users)+len(c.Claims)+len(c.Issued)+len(c.ReceiptKeys)+len(c.Throttles) == 0
}

// Head is the store's own place in time.
type Head struct {
	Commits uint64 `json:"commits"` // grows with every commit: a store with fewer than the witness knows is an old copy
	Cursor  uint64 `json:"cursor"`  // last entry of the log that was read
	// CursorID is the event there; "" when unknown. Another one says that the
	// log is not the one that was read.
	CursorID string `json:"cursor_id,omitzero"`
	// At is the clock of this commit, Latest the latest clock of any, unix seconds.
	At     int64 `json:"at,omitzero"`
	Latest int64 `json:"latest,omitzero"`
	// Compared is when the store was last compared with the node as a copy:
	// older invoices that it does not know are known to be lost.
	Compared int64         `json:"compared,omitzero"`
	LastRow  uint64        `json:"last_row"`
	Stamps   map[int]int64 `json:"stamps,omitempty"` // created_at of the node's own replaceable events, by kind
	Paused   bool          `json:"paused,omitzero"`  // the operator wants no new trades
	// Copied says that the store was found to be an older copy of itself, and
	// that not every open hash is looked up yet. A program that is stopped in
	// between goes on with the comparison at its next start.
	Copied bool   `json:"copied,omitzero"`
	Wallet string `json:"wallet,omitzero"` // pubkey of the Lightning node that holds the trades' invoices, hex
}

// JournalRow is one step of a trade: the N-th, from 1.
type JournalRow struct {
	Trade trade.OrderID
	N     uint32
	Input trade.Input
}

// OutboxRow is one effect to be done. Exactly one of Event and Effect leads:
// an event is published as it stands, anything else is a call to the node.
type OutboxRow struct {
	ID      uint64          `json:"id"`
	Trade   trade.OrderID   `json:"trade,omitzero"`
	Effect  trade.Effect    `json:"effect"`
	Event   *nostr.Event    `json:"event,omitempty"`  // signed
	Inbound *InboundMessage `json:"letter,omitempty"` // FxProbe: the message that waits for it
}

// Claim reserves a payment hash for a trade, so that no two trades are ever
// paid by one payment. A zero Trade lifts it. The hash of a hold invoice is
// claimed for holdClaim: no trade is paid by it, its own neither.
type Claim struct {
	Hash  trade.Hash
	Trade trade.OrderID
}

// holdClaim stands for all hold invoices of this node. It is no order's id.
var holdClaim = trade.OrderID{0: 0xff, 1: 0xff, 2: 0xff, 3: 0xff, 15: 1}

// User is what the node remembers of an identity.
type User struct {
	Identity  string `json:"identity"`
	LastIndex int64  `json:"last_index"`
	CreatedAt int64  `json:"created_at"`
}

// Store keeps what the engine commits. Every error is fatal to the engine but
// ErrNoRow and ErrUncommittable: a store in doubt is not written to again.
type Store interface {
	// Commit writes all of c, or nothing, and returns once it is durable.
	// ErrUncommittable says that nothing was written and that the store is
	// sound: c is more than one transaction can hold, or cannot be encoded.
	Commit(c *Commit) error
	// Head gives the last committed head; the zero value for a new store.
	Head() (Head, error)
	// Open calls fn for every trade that is not over.
	Open(fn func(trade.Trade) error) error
	// Outbox calls fn for every row that is not done, in order.
	Outbox(fn func(OutboxRow) error) error
	// Trade, User and Claim look one thing up; ErrNoRow.
	Trade(id trade.OrderID) (trade.Trade, error)
	User(identity string) (User, error)
	Claim(h trade.Hash) (trade.OrderID, error)
	// Journal calls fn for every step of a trade, in order.
	Journal(id trade.OrderID, fn func(n uint32, in trade.Input) error) error
	// Issued looks up what a side of a trade was given; ErrNoRow.
	Issued(id trade.OrderID, role string) (Issued, error)
	// ReceiptKeys calls fn for every key of receipts.
	ReceiptKeys(fn func(ReceiptKey) error) error
	// Throttles calls fn for every taker who cancelled unpaid.
	Throttles(fn func(Throttle) error) error
	// Seen says whether a replay id was committed.
	Seen(id string) (bool, error)
}

// ErrUncommittable says that a store has not begun to write a commit, because
// no transaction can hold it.
var ErrUncommittable = errors.New("the commit cannot be written in one transaction")

// ErrNoRow says that a store does not have what was asked for.
var ErrNoRow = errors.New("no such row")
