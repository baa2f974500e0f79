// Package lnsim is Lightning without a network: nodes with balances, invoices
// that any wallet can parse, held payments, blocks and a clock, all of them
// moved by hand.
//
// It promises that the same seed and the same calls give the same run, that no
// msat ever appears or vanishes (World.Check), and that a Node answers as LND
// does: both pass the contract of lncontract. It does not model routes, the
// chain, or the parts of a payment; what may go wrong between two nodes is said
// by a Plan or drawn from the seed.
package lnsim

import (
	"container/heap"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"

	"github.com/mostrodex/mostrodex/escrow"
)

const (
	// DefaultSlots is how many payments BOLT 2 lets one channel hold in one
	// direction.
	DefaultSlots = 483
	// DefaultHoldExpiryDelta is LND's: so many blocks before the lock of a held
	// payment expires, the node gives it back.
	DefaultHoldExpiryDelta = 18
	// lockPadding is what LND adds to the lock of a payment it sends, lest a
	// block that arrives meanwhile makes it too short.
	lockPadding = 3
	// invoiceCLTV is the last lock that an ordinary invoice of LND asks for.
	invoiceCLTV = 80
	// shardTimeout is after how long a payment fails whose parts did not all
	// find a way.
	shardTimeout = 120 * time.Second
	maxMemo      = 639
)

// Config is how a World behaves. The zero value is a world where everything
// works at once.
type Config struct {
	Seed   uint64
	Now    time.Time // at the start; zero: 2026-01-01
	Height uint32    // at the start; 0: 500
	// Network is what the invoices say. "": regtest.
	Network escrow.Network

	// Delay is the longest time that a payment travels in one direction; the
	// actual one is drawn between half of it and all of it. 0: everything that
	// can happen has happened when a call returns.
	Delay time.Duration
	// FeePPM is what the route costs, in millionths of the amount.
	FeePPM int64
	// Slots bounds the payments held at the same time between two nodes; 0 is
	// DefaultSlots, negative is no bound.
	Slots int
	// HoldExpiryDelta: 0 is DefaultHoldExpiryDelta.
	HoldExpiryDelta uint32

	// Chances, from 0 to 1, drawn for every payment without a Plan: that it
	// finds no route, and that it stays on its way for up to StuckFor (0: one
	// hour) before it arrives or fails.
	FailChance, StuckChance float64
	StuckFor                time.Duration
	// Chances drawn for every call: that the request is lost (nothing
	// happens), and that the answer is lost (it has happened). Both look like
	// escrow.ErrUnavailable.
	LoseRequestChance, LoseAnswerChance float64

	// RepeatNews makes every watch tell each state twice, which it may.
	RepeatNews bool
	// Record keeps what changed for Changes, for runs without goroutines.
	Record bool
}

// World is a simulated Lightning network. Its methods and those of its Nodes
// may be called concurrently; the order of the calls decides what happens.
type World struct {
	cfg Config

	mu      sync.Mutex // guards everything below, and every Node
	random  *rand.Rand
	source  *rand.PCG
	now     time.Time
	height  uint32
	seq     uint64 // of events, holds and attempts
	events  events
	nodes   []*Node // in the order they were added
	plans   map[escrow.Hash]Plan
	fees    map[string]int64  // msat, by payer and payee: see pair
	locks   map[string]uint32 // blocks, by payer and payee: see pair
	issued  map[string]issue  // by invoice: spares the check of our own signature
	routers int64             // msat that routes have earned
	minted  int64             // msat that exist
	changes []Change
	path    string // of the file it is kept in, or ""
	changed bool   // since it was written there
	broken  error  // an impossibility that was found, for Check
}

// New makes a world without nodes.
func New(cfg Config) *World {
	if cfg.Now.IsZero() {
		cfg.Now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if cfg.Height == 0 {
		cfg.Height = 500
	}
	if cfg.Network == "" {
		cfg.Network = escrow.Regtest
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
		plans:  map[escrow.Hash]Plan{},
		fees:   map[string]int64{},
		locks:  map[string]uint32{},
		issued: map[string]issue{},
	}
}

// AddNode adds a node that owns sats. Its key follows from the seed and the
// name, which must be new.
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

// nodeKey derives a node's key: a hash that is no valid key does not occur in
// practice, and would be reduced to one.
func nodeKey(seed uint64, name string) *btcec.PrivateKey {
	sum := sha256.Sum256(fmt.Appendf(nil, "lnsim node %d %s", seed, name))
	key, _ := btcec.PrivKeyFromBytes(sum[:])
	return key
}

// Node gives the node with that name, or nil.
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

// Now gives the world's time.
func (w *World) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// Height gives the world's best block.
func (w *World) Height() uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.height
}

// Advance lets time pass, and everything happen that falls due, in order.
func (w *World) Advance(d time.Duration) {
	w.mu.Lock()
	defer w.unlock()
	w.advanceTo(w.now.Add(d))
}

// AdvanceTo is Advance up to a moment; one in the past changes nothing.
func (w *World) AdvanceTo(t time.Time) {
	w.mu.Lock()
	defer w.unlock()
	w.advanceTo(t.UTC())
}

func (w *World) advanceTo(t time.Time) {
	for len(w.events) > 0 && !w.events[0].At.After(t) {
		e := heap.Pop(&w.events).(*event)
		if e.At.After(w.now) {
			w.now = e.At
		}
		w.happen(e)
	}
	if t.After(w.now) {
		w.now = t
	}
}

// Step goes on to the next thing that will happen and lets it; false when
// nothing is due any more.
func (w *World) Step() bool {
	w.mu.Lock()
	defer w.unlock()
	if len(w.events) == 0 {
		return false
	}
	e := heap.Pop(&w.events).(*event)
	if e.At.After(w.now) {
		w.now = e.At
	}
	w.happen(e)
	return true
}

// Mine adds blocks, one at a time. Held payments whose lock comes too near to
// its end are given back, the oldest first.
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

// Run keeps the world's time at the real one until ctx ends, for programs that
// people use. The world must have been made with Now near the present.
func (w *World) Run(ctx context.Context) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case t := <-ticker.C:
			w.AdvanceTo(t)
		}
	}
}

// Plan decides what becomes of the payments to one hash.
type Plan struct {
	Outcome Outcome
	Times   int           // how many attempts it holds for; 0: all
	Delay   time.Duration // on the way, beyond the world's own
	FeeMsat int64         // of the route, instead of the world's
	// ExtraMsat is how much more than asked for the payer sends.
	ExtraMsat int64
}

// Outcome is what a Plan does to a payment.
type Outcome uint8

const (
	Deliver      Outcome = 0 // it arrives; the payee decides
	FailRoute    Outcome = 1 // no route
	FailTimeout  Outcome = 2 // fails, long after the payer's own timeout
	FailBalance  Outcome = 3 // no channel has enough
	FailInternal Outcome = 4 // the payer's node gives up for a reason of its own
	Stuck        Outcome = 5 // on its way until Unstick
)

// Plan sets what will become of payments to a hash, until it is used up.
func (w *World) Plan(h escrow.Hash, p Plan) {
	w.mu.Lock()
	defer w.unlock()
	w.plans[h] = p
	w.changed = true
}

// RouteFee sets what every payment between two nodes costs, instead of the
// world's own fee.
func (w *World) RouteFee(from, to *Node, msat int64) {
	w.mu.Lock()
	defer w.unlock()
	w.fees[pair(from, to)] = msat
	w.changed = true
}

// RouteBlocks sets how many blocks the hops between two nodes add to the time
// lock of every payment between them, which counts for Payment.MaxCLTVBlocks.
func (w *World) RouteBlocks(from, to *Node, blocks uint32) {
	w.mu.Lock()
	defer w.unlock()
	w.locks[pair(from, to)] = blocks
	w.changed = true
}

func pair(from, to *Node) string { return from.name + "\x00" + to.name }

// Unstick lets a stuck payment go on: it arrives, or it fails.
func (w *World) Unstick(h escrow.Hash, deliver bool) {
	w.mu.Lock()
	defer w.unlock()
	for _, n := range w.nodes {
		p := n.payments[h]
		if p == nil || p.Status != escrow.PaymentInFlight || !p.Stuck {
			continue
		}
		p.Stuck = false
		if deliver {
			w.schedule(&event{At: w.now.Add(w.travel()), Kind: arrive, Node: n.name, Hash: h, Attempt: p.Attempt})
		} else {
			w.schedule(&event{At: w.now.Add(w.travel()), Kind: fail, Node: n.name, Hash: h, Attempt: p.Attempt, Failure: escrow.FailureOther})
		}
	}
	w.advanceTo(w.now)
}

// Change says that a hold or a payment of a node is no longer what it was.
type Change struct {
	Node    string
	Hash    escrow.Hash
	Payment bool // an outgoing payment; else a hold
}

// Changes gives what changed since the last call, in order, in a world that
// records it. A change may be listed after another one has overtaken it: look
// up.
func (w *World) Changes() []Change {
	w.mu.Lock()
	defer w.unlock()
	out := w.changes
	w.changes = nil
	return out
}

// travel draws how long a payment takes in one direction.
func (w *World) travel() time.Duration {
	if w.cfg.Delay <= 1 {
		return w.cfg.Delay
	}
	half := int64(w.cfg.Delay / 2)
	return time.Duration(half + w.random.Int64N(half+1))
}

// chance draws whether something of probability p happens. A probability of
// nothing draws nothing, so that a world without faults does not depend on how
// often it is asked.
func (w *World) chance(p float64) bool { return p > 0 && w.random.Float64() < p }

// event is something that will happen. It is data, so that a world can be
// written down.
type event struct {
	At      time.Time
	Seq     uint64 // order among events of the same time
	Kind    eventKind
	Node    string // whose payment or hold it is about
	Hash    escrow.Hash
	Attempt uint64 // of the payment, or the hold it is about
	Failure escrow.PaymentFailure
}

type eventKind uint8

const (
	arrive  eventKind = 1 // a payment reaches its payee
	succeed eventKind = 2 // the payer learns of the preimage
	fail    eventKind = 3 // the payer gets its payment back
	expire  eventKind = 4 // an unpaid invoice ends
)

func (w *World) schedule(e *event) {
	w.seq++
	w.changed = true
	e.Seq = w.seq
	heap.Push(&w.events, e)
}

// events is a heap by time, then by order of creation.
type events []*event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	if !e[i].At.Equal(e[j].At) {
		return e[i].At.Before(e[j].At)
	}
	return e[i].Seq < e[j].Seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }

// Push is for container/heap alone.
func (e *events) Push(x any) { *e = append(*e, x.(*event)) }

// Pop is for container/heap alone.
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*e = old[:len(old)-1]
	return last
}
