// Package lnsim simulates Lightning without a network. A World has nodes with balances,
// invoices in BOLT 11 form, held payments, blocks and a clock. Time and blocks advance
// only when a method is called.
//
// The package promises that a run depends only on the seed and the calls, and that the
// sum of all msat never changes (World.Check). A Node answers as LND does: both pass
// the suite of lncontract. The package does not simulate routes, the chain or the parts
// of a payment. A Plan sets the faults between two nodes. If a payment has no Plan, its
// faults are drawn from the seed.
package lnsim

import (
	"container/heap"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

const (
	// DefaultSlots is the number of payments that BOLT 2 allows in one direction of a
	// channel at the same time.
	DefaultSlots = 483
	// DefaultHoldExpiryDelta is LND's default. A node refunds a held payment this
	// number of blocks before the payment's lock expires.
	DefaultHoldExpiryDelta = 18
	// lockPadding is the number of blocks that LND adds to the lock of a payment it
	// sends, because a block that arrives meanwhile would make the lock too short.
	lockPadding = 3
	// invoiceCLTV is the final lock in blocks that an ordinary invoice of LND requires.
	invoiceCLTV = 80
	// shardTimeout is the time until a payment fails if some of its parts have found no
	// route.
	shardTimeout = 120 * time.Second
	maxMemo      = 639
)

// Config is the behaviour of a World. In a world with the zero value, every operation
// succeeds at once.
type Config struct {
	Seed   uint64
	Now    time.Time // at the start; zero: 2026-01-01
	Height uint32    // at the start; 0: 500
	// Network is the network of the invoices. "": regtest.
	Network lightning.Network

	// Delay is the longest travel time of a payment in one direction. The actual time
	// is drawn between half of Delay and Delay. If Delay is 0, all effects of a call
	// have happened when the call returns.
	Delay time.Duration
	// FeePPM is the fee of a route, in millionths of the amount.
	FeePPM int64
	// Slots bounds the payments that are held at the same time between two nodes. 0:
	// DefaultSlots; negative: no bound.
	Slots int
	// HoldExpiryDelta is each node's safety margin in blocks. 0:
	// DefaultHoldExpiryDelta.
	HoldExpiryDelta uint32

	// FailChance and StuckChance are probabilities from 0 to 1, drawn for every payment
	// without a Plan. FailChance: the payment finds no route. StuckChance: the payment
	// stays in flight for up to StuckFor (0: one hour) before it arrives or fails.
	FailChance, StuckChance float64
	StuckFor                time.Duration
	// LoseRequestChance and LoseAnswerChance are probabilities from 0 to 1, drawn for
	// every call. If the request is lost, the call has no effect. If the answer is
	// lost, the call has taken effect. Both return lightning.ErrUnavailable.
	LoseRequestChance, LoseAnswerChance float64

	// RepeatNews makes every watch report each state twice, which lightning.Node
	// allows.
	RepeatNews bool
	// Record makes the world record its changes for Changes, for runs without
	// goroutines.
	Record bool
}

// World is a simulated Lightning network. Its methods, and those of its Nodes, are safe
// for concurrent use. The order of the calls decides the result.
type World struct {
	cfg Config

	mu      sync.Mutex // guards the fields below, and every Node
	random  *rand.Rand
	source  *rand.PCG
	now     time.Time
	height  uint32
	seq     uint64 // last sequence number of events, holds and attempts
	events  events
	nodes   []*Node // in the order of AddNode
	plans   map[trade.Hash]Plan
	fees    map[string]int64  // msat, by payer and payee: see pair
	locks   map[string]uint32 // blocks, by payer and payee: see pair
	issued  map[string]issue  // by invoice; saves the signature check of own invoices
	routers int64             // msat earned by routes
	minted  int64             // sum of all msat
	changes []Change
	path    string // path of the world's file, or ""
	changed bool   // changed since the last write of the file
	unsaved unsaved
	file    *os.File // open for appending; nil before the first write
	grown   int      // bytes that were appended to file
	broken  error    // first violated invariant or failed write, for Check
}

// New returns a world without nodes.
func New(cfg Config) *World {
	if cfg.Now.IsZero() {
		cfg.Now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if cfg.Height == 0 {
		cfg.Height = 500
	}
	if cfg.Network == "" {
		cfg.Network = lightning.Regtest
	}
	if cfg.Slots == 0 {
		cfg.Slots = DefaultSlots
	}
	if cfg.HoldExpiryDelta == 0 {
		cfg.HoldExpiryDelta = DefaultHoldExpiryDelta
	}
	if cfg.StuckFor == 0 {
		cfg.StuckFor = time.Hour
	}
	source := rand.NewPCG(cfg.Seed, 0x6d6f7374726f)
	return &World{
		cfg:    cfg,
		random: rand.New(source),
		source: source,
		now:    cfg.Now.UTC(),
		height: cfg.Height,
		plans:  map[trade.Hash]Plan{},
		fees:   map[string]int64{},
		locks:  map[string]uint32{},
		issued: map[string]issue{},
	}
}

// AddNode adds a node that owns sats. Its key is derived from the seed and the name.
// AddNode panics if the name is already in use.
func (w *World) AddNode(name string, sats int64) *Node {
	w.mu.Lock()
	defer w.unlock()
	for _, n := range w.nodes {
		if n.name == name {
			panic("lnsim: two nodes named " + name)
		}
	}
	n := newNode(w, name, sats*1000)
	w.minted += n.balance
	w.changed = true
	w.nodes = append(w.nodes, n)
	return n
}

// nodeKey derives a node's key. A hash that is not a valid key does not occur in
// practice, and would be reduced to a valid one.
func nodeKey(seed uint64, name string) *btcec.PrivateKey {
	sum := sha256.Sum256(fmt.Appendf(nil, "lnsim node %d %s", seed, name))
	key, _ := btcec.PrivKeyFromBytes(sum[:])
	return key
}

// Node returns the node with the given name, or nil.
func (w *World) Node(name string) *Node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nodeNamed(name)
}

func (w *World) nodeNamed(name string) *Node {
	for _, n := range w.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

func (w *World) nodeByKey(pubkey string) *Node {
	for _, n := range w.nodes {
		if n.pubkey == pubkey {
			return n
		}
	}
	return nil
}

// Now returns the world's time.
func (w *World) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// Height returns the height of the world's best block.
func (w *World) Height() uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.height
}

// Advance moves the clock by d and performs the events that become due, in order.
func (w *World) Advance(d time.Duration) {
	w.mu.Lock()
	defer w.unlock()
	w.advanceTo(w.now.Add(d))
}

// AdvanceTo is like Advance, up to the time t. A time in the past has no effect.
func (w *World) AdvanceTo(t time.Time) {
	w.mu.Lock()
	defer w.unlock()
	w.advanceTo(t.UTC())
}

func (w *World) advanceTo(t time.Time) {
	for len(w.events) > 0 && !w.events[0].At.After(t) {
		e := w.pop()
		if e.At.After(w.now) {
			w.now = e.At
		}
		w.happen(e)
	}
	if t.After(w.now) {
		w.now = t
	}
}

// Step moves the clock to the next event and performs it. It returns false if no event
// is left.
func (w *World) Step() bool {
	w.mu.Lock()
	defer w.unlock()
	if len(w.events) == 0 {
		return false
	}
	e := w.pop()
	if e.At.After(w.now) {
		w.now = e.At
	}
	w.happen(e)
	return true
}

// Mine adds blocks, one at a time. If the lock of a held payment ends soon, the payment
// is refunded; the oldest hold is refunded first.
func (w *World) Mine(blocks int) {
	w.mu.Lock()
	defer w.unlock()
	for range blocks {
		w.height++
		w.changed = true
		for _, n := range w.nodes {
			n.expireLocks()
		}
		w.advanceTo(w.now)
	}
}

// Run keeps the world's clock at the clock now until ctx ends, for demos. Run returns nil.
func (w *World) Run(ctx context.Context, now func() time.Time) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			w.AdvanceTo(now())
		}
	}
}

// Plan is the outcome of the payments to one hash.
type Plan struct {
	Outcome Outcome
	Times   int           // number of attempts; 0: all
	Delay   time.Duration // travel time in addition to the world's own
	FeeMsat int64         // fee of the route, instead of the world's own
	// ExtraMsat is the amount that the payer sends in addition to the invoice's amount.
	ExtraMsat int64
}

// Outcome is the result of a payment that has a Plan.
type Outcome uint8

const (
	Deliver      Outcome = 0 // the payment arrives, and the payee decides
	FailRoute    Outcome = 1 // the payment finds no route
	FailTimeout  Outcome = 2 // the payment fails long after the payer's own timeout
	FailBalance  Outcome = 3 // no channel has enough funds
	FailInternal Outcome = 4 // the payer's node gives up for an internal reason
	Stuck        Outcome = 5 // the payment stays in flight until Unstick
)

// Plan sets the outcome of payments to a hash for p.Times attempts.
func (w *World) Plan(h trade.Hash, p Plan) {
	w.mu.Lock()
	defer w.unlock()
	w.plans[h] = p
	w.changed, w.unsaved.setup = true, true
}

// RouteFee sets the fee of every payment from one node to another, instead of the
// world's own fee.
func (w *World) RouteFee(from, to *Node, msat int64) {
	w.mu.Lock()
	defer w.unlock()
	w.fees[pair(from, to)] = msat
	w.changed, w.unsaved.setup = true, true
}

// RouteBlocks sets the number of blocks that the hops between two nodes add to the time
// lock of a payment. The blocks count towards Payment.MaxCLTVBlocks.
func (w *World) RouteBlocks(from, to *Node, blocks uint32) {
	w.mu.Lock()
	defer w.unlock()
	w.locks[pair(from, to)] = blocks
	w.changed, w.unsaved.setup = true, true
}

func pair(from, to *Node) string { return from.name + "\x00" + to.name }

// Unstick ends the delay of a stuck payment. If deliver is true, the payment arrives.
// If not, it fails.
func (w *World) Unstick(h trade.Hash, deliver bool) {
	w.mu.Lock()
	defer w.unlock()
	for _, n := range w.nodes {
		p := n.payments[h]
		if p == nil || p.Status != trade.PaymentInFlight || !p.Stuck {
			continue
		}
		p.Stuck = false
		n.touch(h, true)
		if deliver {
			w.schedule(&event{At: w.now.Add(w.travel()), Kind: arrive, Node: n.name, Hash: h, Attempt: p.Attempt})
		} else {
			w.schedule(&event{At: w.now.Add(w.travel()), Kind: fail, Node: n.name, Hash: h, Attempt: p.Attempt, Failure: lightning.FailureOther})
		}
	}
	w.advanceTo(w.now)
}

// Change names a hold or a payment of a node whose state has changed.
type Change struct {
	Node    string
	Hash    trade.Hash
	Payment bool // set for an outgoing payment, unset for a hold
}

// Changes returns the changes since the last call, in order, if Config.Record is set.
// The caller looks up the present state, because a later change may have replaced the
// listed one.
func (w *World) Changes() []Change {
	w.mu.Lock()
	defer w.unlock()
	out := w.changes
	w.changes = nil
	return out
}

// travel draws the travel time of a payment in one direction.
func (w *World) travel() time.Duration {
	if w.cfg.Delay <= 1 {
		return w.cfg.Delay
	}
	half := int64(w.cfg.Delay / 2)
	return time.Duration(half + w.random.Int64N(half+1))
}

// chance draws an outcome with probability p. If p is 0, chance draws no random number,
// so that a world without faults does not depend on the number of calls.
func (w *World) chance(p float64) bool { return p > 0 && w.random.Float64() < p }

// event is a future event. It has no function values, so that a snapshot can store it.
type event struct {
	At      time.Time
	Seq     uint64 // order among events of the same time
	Kind    eventKind
	Node    string // name of the node whose payment or hold is concerned
	Hash    trade.Hash
	Attempt uint64 // Attempt of the payment, or Seq of the hold
	Failure lightning.PaymentFailure
}

type eventKind uint8

const (
	arrive  eventKind = 1 // a payment reaches its payee
	succeed eventKind = 2 // the payer learns the preimage
	fail    eventKind = 3 // the payer gets its payment back
	expire  eventKind = 4 // an unpaid invoice expires
)

func (w *World) schedule(e *event) {
	w.seq++
	w.changed = true
	e.Seq = w.seq
	heap.Push(&w.events, e)
	w.touchEvent(e, true)
}

// pop removes and returns the next event.
func (w *World) pop() *event {
	e := heap.Pop(&w.events).(*event)
	w.touchEvent(e, false)
	return e
}

// events is a heap ordered by time, then by Seq.
type events []*event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	if !e[i].At.Equal(e[j].At) {
		return e[i].At.Before(e[j].At)
	}
	return e[i].Seq < e[j].Seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }

// Push is for container/heap only.
func (e *events) Push(x any) { *e = append(*e, x.(*event)) }

// Pop is for container/heap only.
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*e = old[:len(old)-1]
	return last
}

// Wallet returns a handler that serves one node as a wallet for any client, for demos:
//
//	POST /lnsim/invoice  {amount_sats, memo}  {bolt11}     amount_sats 0: the payer chooses
//	POST /lnsim/pay      {bolt11, amount_sats} {state}     accepted, succeeded or failed; amount_sats only for an invoice without one
//	POST /lnsim/blocks   {n}                  {height}
//	GET  /lnsim/balance                       {wallet_sats, node_sats, held_sats}
//
// Errors are RFC 9457 problem documents. The handler has no authentication, so it must
// be mounted on a private listener only.
func (w *World) Wallet(name string) http.Handler {
	return wallet{w, name}.handler()
}

// unlock releases w.mu. If the world is stored in a file and has changed, unlock writes
// the change first.
func (w *World) unlock() {
	defer w.mu.Unlock()
	if w.path == "" || !w.changed || w.broken != nil {
		return
	}
	w.changed = false
	for _, n := range w.nodes {
		forgetOldest(n)
	}
	if err := w.write(); err != nil {
		// The change is not in the file, so this call and all later calls return
		// ErrUnavailable.
		w.broken = fmt.Errorf("lnsim: %w", err)
	}
}

// lost reports whether the file is no longer written, after a failed write or a
// violated invariant.
func (w *World) lost() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.path != "" && w.broken != nil
}

// Snapshot returns the world in the form that Restore reads. The snapshot contains
// every preimage of the world, so it must be kept secret.
func (w *World) Snapshot() ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return encode(w)
}
