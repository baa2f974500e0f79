package escrow

import (
	"errors"

	"github.com/mostrodex/mostrodex/escrow/rating"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/escrow/users"
	"github.com/nbd-wtf/go-nostr"
)

// Commit is the content of one transaction of the engine. The store writes all of it or
// nothing, synced.
type Commit struct {
	Trades  []trade.Trade // state after the batch; each trade once
	Journal []JournalRow  // the inputs that led to this state
	Outbox  []OutboxRow   // effects to perform
	Done    []uint64      // ids of outbox rows that are done
	Seen    []string      // replay ids of processed messages
	Users   []User        // state after the batch; each user once
	// UserJournal holds the inputs that led to the state of Users.
	UserJournal []UserRow
	Ratings     []rating.Row // records of reputation
	Claims      []Claim
	Issued      []Issued // issued receipts; each side of a trade once
	// Throttles are the takers that cancelled before payment. A Count of 0 removes an
	// entry.
	Throttles []Throttle
	// Solvers are the solvers that changed.
	Solvers []Solver
	// ReceiptKeys are the receipt keys that changed.
	ReceiptKeys []ReceiptKey
	Head        Head
}

// Empty reports whether the commit contains no changes that need a transaction.
func (c *Commit) Empty() bool {
	return len(c.Trades)+len(c.Journal)+len(c.Outbox)+len(c.Done)+len(c.Seen)+len(c.Users)+len(c.Ratings)+len(c.Claims)+len(c.Issued)+len(c.ReceiptKeys)+len(c.Throttles)+len(c.Solvers) == 0
}

// Head holds the counters and settings of the store itself.
type Head struct {
	Commits uint64 `json:"commits"` // grows with every commit; if a store has fewer than the guard file says, the store is an old copy
	Cursor  uint64 `json:"cursor"`  // last log entry that was read
	// CursorID is the id of the event at the cursor; "" if unknown. If the log has another
	// event there, it is not the log that was read.
	CursorID string `json:"cursor_id,omitzero"`
	// At is the time of this commit, and Latest is the latest time of any commit, in unix
	// seconds.
	At     int64 `json:"at,omitzero"`
	Latest int64 `json:"latest,omitzero"`
	// Compared is the time of the last comparison between this store, as a copy, and the
	// node. An older invoice that the store does not know is known to be lost.
	Compared    int64         `json:"compared,omitzero"`
	LastRow     uint64        `json:"last_row"`
	Stamps      map[int]int64 `json:"stamps,omitempty"` // created_at of the node's own replaceable events, by kind
	Paused      bool          `json:"paused,omitzero"`  // the operator has stopped new trades
	Maintenance Maintenance   `json:"maintenance,omitzero"`
	Health      HealthHead    `json:"health,omitzero"`
	// Copied reports that the store was found to be an older copy of itself, and that not
	// every open hash is looked up yet. If the program stops in between, the next start
	// continues the comparison.
	Copied bool   `json:"copied,omitzero"`
	Wallet string `json:"wallet,omitzero"` // pubkey of the Lightning node that holds the trades' invoices, hex
}

// JournalRow is one step of a trade, with its number N from 1.
type JournalRow struct {
	Trade trade.OrderID
	N     uint32
	Input trade.Input
}

// OutboxRow is one effect to perform. If Event is set, the event is published unchanged.
// Otherwise Effect is a call of the node or of an address.
type OutboxRow struct {
	ID      uint64          `json:"id"`
	Trade   trade.OrderID   `json:"trade,omitzero"`
	Effect  trade.Effect    `json:"effect"`
	Event   *nostr.Event    `json:"event,omitempty"`  // signed
	Inbound *InboundMessage `json:"letter,omitempty"` // FxProbe and FxLook: the message that waits for the result
}

// Claim reserves a payment hash for a trade, so that two trades are never paid by one
// payment. A zero Trade removes the claim. The hash of a hold invoice is reserved for
// holdClaim, so that no trade is paid out to a hold invoice, not even to its own.
type Claim struct {
	Hash  trade.Hash
	Trade trade.OrderID
}

// holdClaim is the owner of the hashes of all hold invoices of this node. No order has
// this id.
var holdClaim = trade.OrderID{0: 0xff, 1: 0xff, 2: 0xff, 3: 0xff, 15: 1}

// User is the state of an identity at this node.
type User = users.User

// UserRow is one step of a user's journal, with its number N from 1.
type UserRow struct {
	Identity string
	N        uint32
	Input    users.Input
}

// Store stores the commits of the engine. Every error except ErrNoRow and ErrUncommittable
// is fatal to the engine: a store in doubt is not written again.
type Store interface {
	// Commit writes all of c, or nothing, and returns after c is durable. ErrUncommittable
	// means that nothing was written and the store is sound: c is too large for one
	// transaction, or cannot be encoded.
	Commit(c *Commit) error
	// Head returns the last committed head, or the zero value for a new store.
	Head() (Head, error)
	// Open calls fn for every trade that is not over.
	Open(fn func(trade.Trade) error) error
	// Outbox calls fn for every row that is not done, in order.
	Outbox(fn func(OutboxRow) error) error
	// Trade, User and Claim return one value, or ErrNoRow if there is none.
	Trade(id trade.OrderID) (trade.Trade, error)
	User(identity string) (User, error)
	Claim(h trade.Hash) (trade.OrderID, error)
	// Journal calls fn for every step of a trade, in order.
	Journal(id trade.OrderID, fn func(n uint32, in trade.Input) error) error
	// Issued returns the receipts of one side of a trade, or ErrNoRow.
	Issued(id trade.OrderID, role string) (Issued, error)
	// ReceiptKeys calls fn for every receipt key.
	ReceiptKeys(fn func(ReceiptKey) error) error
	// Solvers calls fn for every solver, removed ones too.
	Solvers(fn func(Solver) error) error
	// UserJournal calls fn for every step of a user, in order.
	UserJournal(identity string, fn func(n uint32, in users.Input) error) error
	// Throttles calls fn for every taker that cancelled before payment.
	Throttles(fn func(Throttle) error) error
	// Get and Each read the rows of ratings.
	rating.Store
	// Seen reports whether a replay id was committed.
	Seen(id string) (bool, error)
}

// ErrUncommittable reports that the store wrote nothing of a commit, because no
// transaction can hold the commit.
var ErrUncommittable = errors.New("the commit cannot be written in one transaction")

// ErrNoRow reports that the store has no value for a key.
var ErrNoRow = rating.ErrNoRow
