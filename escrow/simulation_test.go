package escrow

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/devfee"
	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/fund"
	"github.com/mostrodex/mostrodex/escrow/health"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/payoutgate"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/errgroup"
)

var (
	simTrades = flag.Int("sim.trades", 20_000, "trades that TestSimulation runs")
	simSeed   = flag.Uint64("sim.seed", 0, "run this one seed of TestSimulation alone")
	simFrom   = flag.Uint64("sim.from", 1, "first seed of TestSimulation, so that a long run can be made in parts")
)

// memoNonce matches the order and the nonce in the memo of a hold invoice.
var memoNonce = regexp.MustCompile(`order ([0-9a-f-]{36}).*\[([0-9a-f]{16})\]$`)

// tradesPerSeed is the number of orders in one world.
const tradesPerSeed = 100

// TestSimulation runs random actions of users, time, the Lightning node and crashes against
// the trade book, and checks the invariants after every commit. A failing seed replays
// exactly with: go test -run TestSimulation -sim.seed N.
func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		report(t, *simSeed)
		return
	}
	trades := *simTrades
	if testing.Short() {
		trades = min(trades, 500)
	}
	began := time.Now()
	var total simCount
	var mu sync.Mutex // guards total
	var next atomic.Uint64
	next.Store(*simFrom - 1)
	var work errgroup.Group
	for range runtime.GOMAXPROCS(0) {
		work.Go(func() error {
			for {
				mu.Lock()
				enough := total.trades >= trades
				mu.Unlock()
				if enough {
					return nil
				}
				seed := next.Add(1)
				count, err := simulate(seed)
				if err != nil {
					mu.Lock()
					total.trades = trades // the other goroutines end after their current seed
					mu.Unlock()
					return fmt.Errorf("seed %d: %w\nreplay: go test ./escrow -run TestSimulation -sim.seed %d", seed, err, seed)
				}
				mu.Lock()
				before := total.trades
				if total.add(count); total.trades/50_000 > before/50_000 {
					t.Logf("%d of %d trades, seed %d, %v", total.trades, trades, seed, time.Since(began).Round(time.Second))
				}
				mu.Unlock()
			}
		})
	}
	if err := work.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("seeds from %d to %d: %d trades, %d steps, %d refusals, %d crashes, %d calls to the node; ends %v; faults %v; %v",
		*simFrom, next.Load(), total.trades, total.steps, total.refused, total.crashes, total.calls, total.ends, total.faults(), time.Since(began).Round(time.Millisecond))
	for _, s := range []message.TradeStatus{message.TradeSuccess, message.TradeCanceled, message.TradeCooperativelyCanceled, message.TradeExpired} {
		if total.ends[s] == 0 {
			t.Errorf("no trade ended as %s, so the simulation does not cover that status", s)
		}
	}
	if testing.Short() {
		return // too few trades to cover all cases
	}
	for what, n := range total.faults() {
		if n == 0 {
			t.Errorf("the simulation does not cover %s", what)
		}
	}
	for _, on := range reachable() {
		if total.triggers[on] == 0 {
			t.Errorf("the simulation does not cover the trigger %q", on)
		}
	}
}

// reachable lists the triggers that a long enough simulation has to cover.
func reachable() []trade.Trigger {
	seen := make(map[trade.Trigger]bool)
	var list []trade.Trigger
	for _, row := range trade.Transitions {
		switch {
		case row.Later, seen[row.On]:
		default:
			list = append(list, row.On)
		}
		seen[row.On] = true
	}
	return list
}

func report(t *testing.T, seed uint64) {
	count, err := simulate(seed)
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	t.Logf("seed %d: %+v", seed, count)
}

// sim is one world.
type sim struct {
	seed  uint64
	rng   *rand.Rand
	node  *simNode
	store *simStore
	book  *TradeBook
	out   *outbox // executes single rows; the simulation chooses the row and the time
	log   []InboundMessage
	count simCount
	err   error

	price   float64
	nextKey uint64
	index   map[string]int64 // by identity
	order   []trade.OrderID  // every committed trade
	truth   map[trade.OrderID]*simTruth
	past    map[trade.OrderID]simPast // of the present store's journals
	owner   map[trade.Hash]trade.OrderID
	calm    bool // if set, there are no more faults and all trades end
	outage  int64
	hurry   int64 // speed of the clock in comparison with users
	quarrel bool  // if set, users often open disputes, and solvers are active
	sleepy  bool  // if set, users forget their trades after the sats are held
	stopped bool  // if set, the program does not run while the world continues
	skew    int64 // seconds by which the program's clock is ahead
	sync    health.SyncWatch
	sick    int64 // true time since which the node has not answered, or was not synced; 0: it is synced
	skewed  int64 // true time at which the clock was last far off
	ticked  int64 // time of the last commit by the program's clock

	fragile        bool                   // if set, the store is sometimes replaced by a copy
	backup         *simStore              // the last copy
	generation     int                    // number of the store, from 1
	reconciling    bool                   // if set, some open hashes are not looked up yet
	lookups        []trade.OrderID        // trades whose hash is still to be looked up
	behind         uint64                 // length of the log when the store was replaced
	sighted        map[trade.Hash]int     // the generation in which the program last learned that a hold is accepted
	known          map[string]simDerived  // by replay id
	nonces         map[string]trade.Hash  // of hold invoices
	operators      bool                   // an operator's maintenance is on
	abandoned      map[trade.OrderID]bool // frozen trades that are paid already, so that no command applies
	inputs         []simInput             // of the present batch
	dropped        map[uint64]bool        // rows whose result could not be committed; this process does not execute them again
	withheld       map[trade.OrderID]bool // trades that were frozen at the start
	mayFreeze      map[trade.OrderID]bool // trades with an input that could not be committed
	publishing     OutboxRow              // the row that the outbox is publishing
	undeliver      map[uint64]bool        // rows whose event the publisher refuses for good
	undelivered    map[trade.OrderID]bool // trades of such rows
	refusals       map[uint64]int         // consecutive refusals with an unknown text, by row
	told           map[watched]bool       // the states that the watches of this process have reported
	slow           map[uint64]*slowProbe  // by row
	stale          map[uint64]bool        // requests that waited too long for their probe
	probed         map[uint64]int64       // start of the wait by the program's clock, by row
	votes          map[simVote]bool       // votes that count in the present store
	given          map[simVote]uint64     // votes that ever counted, with their request
	answered       map[uint64]bool        // requests that were refused
	backupAnswered map[uint64]bool        // answered when backup was made
	ratedAt        map[string]int64       // date of the last published rating, by identity
	ports          bool                   // if set, reputation is imported and exported
	documents      []*simDocument         // attestations that users have
	rebinds        []string               // consents to another binding
	fund           *simFund
	feeEvents      map[trade.OrderID]map[string]bool // published events about development fees
	feeLog         map[trade.OrderID]publishedFee    // their payments
}

// simTruth is the simulation's own record of a trade.
type simTruth struct {
	holds    []trade.Hash
	released map[trade.Hash]int  // the generation in which the seller last sent a release, from 1
	shown    map[trade.Hash]bool // the seller saw the invoice
	stamp    int64               // created_at of the last order event
	frozen   bool
	copied   bool  // the trade existed when the store was last replaced
	freed    int64 // time at which an operator thawed the trade
}

func simulate(seed uint64) (simCount, error) { return simulateOn(seed, nil) }

// simulateOn runs a world whose store is in memory. If mirror is not nil, the store is
// mirrored in it.
func simulateOn(seed uint64, mirror *DB) (simCount, error) {
	s := newSim(seed, mirror)
	s.run()
	return s.count, s.err
}

func newSim(seed uint64, mirror *DB) *sim {
	rng := rand.New(rand.NewPCG(seed, 38383))
	now := int64(1_790_000_000)
	s := &sim{
		seed: seed, rng: rng, node: newSimNode(rng, now), store: newSimStore(), price: 50_000, index: make(map[string]int64),
		truth: make(map[trade.OrderID]*simTruth), past: make(map[trade.OrderID]simPast), owner: make(map[trade.Hash]trade.OrderID),
		generation: 1, sighted: make(map[trade.Hash]int), known: make(map[string]simDerived), nonces: make(map[string]trade.Hash), abandoned: make(map[trade.OrderID]bool),
		mayFreeze: make(map[trade.OrderID]bool), undeliver: make(map[uint64]bool), undelivered: make(map[trade.OrderID]bool), stale: make(map[uint64]bool), probed: make(map[uint64]int64),
		votes: make(map[simVote]bool), given: make(map[simVote]uint64), answered: make(map[uint64]bool), ratedAt: make(map[string]int64),
	}
	s.hurry = []int64{2, 10, 60}[rng.IntN(3)]
	s.sleepy = rng.IntN(4) == 0
	s.quarrel = rng.IntN(3) == 0
	s.fund, s.feeEvents, s.feeLog = &simFund{n: s.node}, make(map[trade.OrderID]map[string]bool), make(map[trade.OrderID]publishedFee)
	s.count.feeProblems = make(map[devfee.Problem]int)
	s.count.ends, s.count.triggers = make(map[message.TradeStatus]int), make(map[trade.Trigger]int)
	s.node.fickle, s.node.hiding = true, true
	s.store.mirror = mirror
	s.fragile = mirror == nil && seed%3 == 0
	s.ports = mirror == nil && seed%5 == 3
	time := func() time.Time { return time.Unix(s.clock(), 0) }
	s.out = newOutbox(effect.Runner{Node: s.node, Addresses: s.node, Now: time, PayoutBlocks: DefaultPolicy().PayoutBlocks, Payee: simPayee,
		Fund: fund.Fund{Address: "dev@fund", Service: s.fund}}, simPublisher{s}, nil, nil)
	s.out.clock = time
	s.out.defers = func() error {
		if s.observe(); s.sync.Defers(s.trueTime()) {
			return lightning.ErrUnavailable
		}
		return nil
	}
	s.node.onCreate, s.node.onSettle, s.node.onCancel, s.node.onPay = s.judgeCreate, s.judgeSettle, s.judgeCancel, s.judgePay
	return s
}

func (s *sim) run() {
	if s.ports {
		s.earlier()
	}
	s.start()
	for made := 0; s.err == nil && (made < tradesPerSeed || len(s.unfinished()) > 0) && s.count.calls < 200_000; {
		if made < tradesPerSeed && len(s.unfinished()) < 8 && s.rng.IntN(3) == 0 {
			s.newOrder()
			if made++; made == 30 && s.seed%16 == 1 {
				s.flood()
			}
		}
		if made >= tradesPerSeed && s.rng.IntN(20) == 0 {
			break
		}
		s.happen()
	}
	s.rest()
	s.count.trades = len(s.order) - s.count.flooded
}

func (s *sim) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf(format, args...)
	}
}

// unfinished lists the trades that are not over for their parties.
func (s *sim) unfinished() []trade.OrderID {
	var ids []trade.OrderID
	for _, id := range s.order {
		if t := s.book.open[id]; t != nil && (!trade.Terminal(t.Status) || owes(*t)) && !s.abandoned[id] {
			ids = append(ids, id)
		}
	}
	return ids
}

// read makes a trade book from the store.
func (s *sim) read() {
	s.inputs = nil
	b, err := NewTradeBook(s.store.reader())
	if err != nil {
		s.fail("start: %v", err)
		return
	}
	b.Policy = DefaultPolicy()
	b.Policy.Terms.Fee = 6_000_000
	if s.seed%4 == 2 {
		b.Policy.Terms.Overdue = trade.OverdueSettle
	}
	b.NodeKey, b.Assistant = simNodeKey, simAssistant
	b.ratings.Node = simNodeKey
	if s.ports {
		b.ratings.Policy, b.ratings.Issuer = simRatings, simAttester
		if err := b.ratings.Trust(s.clock()); err != nil {
			s.fail("trust: %v", err)
		}
	}
	b.Secret, b.Decode, b.Quote = trade.NodeSecret{1}, simDecode, s.quote
	b.OrderEvent = func(t trade.Trade, maker *mostro.MakerRating) *nostr.Event {
		return &nostr.Event{Kind: mostro.KindOrder, CreatedAt: nostr.Timestamp(t.StampedAt), Content: string(t.Bucket)}
	}
	b.DisputeEvents = func(t trade.Trade) []*nostr.Event {
		return []*nostr.Event{{Kind: mostro.KindDispute, CreatedAt: nostr.Timestamp(t.Dispute.StampedAt)}}
	}
	b.Reconciling = s.reconciling
	fundOf(b)
	s.book = b
}

// start is the first step of a process, also after a crash.
func (s *sim) start() {
	s.reconciling = s.store.head.Copied
	s.read()
	if s.err != nil {
		return
	}
	b := s.book
	s.sync = health.SyncWatch{}
	s.observe()
	s.out.runner.Gate = payoutgate.New(simPayouts, simPayoutsOfPayee)
	for _, t := range s.store.trades {
		s.out.runner.Gate.Sync(&t, simPayee)
	}
	s.survey()
	s.refusals, s.slow, s.dropped = make(map[uint64]int), make(map[uint64]*slowProbe), make(map[uint64]bool)
	// Engine.Open detects a step of the clock by the time of the last commit in the same way.
	back := s.ticked - s.clock()
	if back <= clockSlack {
		back = 0
	}
	s.told = make(map[watched]bool)
	if s.reconciling {
		log := s.feeLog
		if s.rng.IntN(3) == 0 {
			log = nil // the log was restored from a copy as well
		}
		if err := b.fund.copied(log, s.clock()); err != nil {
			s.fail("copied fees: %v", err)
		}
	}
	for _, id := range s.order {
		if t := b.open[id]; t != nil {
			if s.reconciling {
				s.applyInput(id, trade.Input{Kind: trade.InReconcile})
				t = b.open[id]
			}
			if back > 0 || max(t.CreatedAt, t.TakenAt, t.HeldAt) > s.clock()+clockSlack {
				s.applyInput(id, trade.Input{Kind: trade.InClockBack, Grace: back})
			}
			s.applyInput(id, trade.Input{Kind: trade.InRestart, Grace: b.Policy.GraceSeconds})
		}
	}
	if s.commit(); s.book != b {
		return // the process started once more
	}
	s.withheld, s.lookups = make(map[trade.OrderID]bool), nil
	for _, id := range s.order {
		t := b.open[id]
		if t != nil && t.Frozen {
			s.withheld[id] = true
		}
		if t != nil && s.reconciling && t.Hash != (trade.Hash{}) {
			s.lookups = append(s.lookups, id)
		}
	}
}

func (s *sim) quote(string, int64) trade.Quote {
	return trade.Quote{Price: s.price, Stale: s.rng.IntN(30) == 0}
}

func (s *sim) applyInput(id trade.OrderID, in trade.Input) {
	in.At = s.clock()
	s.observe()
	s.book.PayoutsSpared = s.sync.Spares(s.trueTime())
	s.inputs = append(s.inputs, simInput{trade: id, kind: in.Kind})
	if in.Kind == trade.InHold && in.Hold.Phase == trade.HoldAccepted {
		s.sighted[in.Hash] = s.generation
	}
	rows := len(s.book.batch.commit.Journal)
	if err := s.book.ApplyInput(id, in); err != nil {
		s.fail("hear %s: %v", in.Kind, err)
	}
	if in.Kind == trade.InSettled || in.Kind == trade.InHold {
		s.judgeNextKeys(rows)
	}
}

// batch reads the messages, applies the clock and commits.
func (s *sim) batch() {
	if s.stopped {
		return
	}
	s.maintain()
	s.noticeClock()
	if s.reconciling {
		s.commit()
		return // there is no message, and no deadline is due
	}
	end := uint64(len(s.log))
	if s.book.Cursor() < s.behind && !s.calm {
		end = min(end, s.book.Cursor()+1+s.rng.Uint64N(6)) // the clock ticks between messages
	}
	for s.book.Cursor() < end && s.err == nil {
		for n := 0; n < maxBatch && (n == 0 || s.book.Bytes() < batchBytes) && s.book.Cursor() < end; n++ {
			s.receive(s.book.Cursor())
		}
		if s.book.Cursor() < end {
			s.commit()
		}
	}
	for _, id := range s.book.Due(s.clock()) {
		s.applyInput(id, trade.Input{Kind: trade.InClock})
	}
	if err := s.book.fund.begin(s.clock()); err != nil {
		s.fail("fees: %v", err)
	}
	s.commit()
}

// receive reads one message of the log.
func (s *sim) receive(seq uint64) {
	s.inputs = append(s.inputs, simInput{message: &s.log[seq], seq: seq})
	rows, users := len(s.book.batch.commit.Journal), len(s.book.batch.commit.Users)
	outcome, err := s.book.Receive(s.log[seq], s.clock())
	if s.book.Maintenance().On && begins(s.log[seq].Message.Action) {
		s.count.maintained++
		if len(s.book.batch.commit.Journal) > rows || len(s.book.batch.commit.Users) > users {
			s.fail("a trade begins, or an index is used, in maintenance: %q", outcome)
		}
	}
	s.judgeDerived(s.log[seq].ReplayID, rows)
	if err != nil {
		s.fail("receive: %v", err)
	}
	if outcome != "" {
		s.count.refused++
	}
	if outcome == "bug" {
		s.fail("a message caused a bug: %v", s.book.batch.bugs)
	}
	s.book.Read(seq + 1)
}

// commit commits the batch, unless the process dies before or after, or the store cannot hold
// the one input of the batch.
func (s *sim) commit() {
	inputs := s.inputs
	s.inputs = nil
	if s.err != nil {
		return
	}
	if len(s.book.batch.bugs) > 0 {
		s.fail("bug: %v", s.book.batch.bugs)
		return
	}
	size, at := s.book.Bytes(), max(s.clock(), s.book.batch.at)
	c := s.book.Take()
	s.judgeSize(c, size)
	s.store.failBefore = !s.calm && s.rng.IntN(200) == 0
	s.store.failAfter = !s.calm && s.rng.IntN(200) == 0
	s.store.refuse = !s.calm && len(inputs) == 1 && len(c.Journal) > 0 && s.rng.IntN(500) == 0
	refused := s.store.refuse && !s.store.failBefore
	err := s.store.Commit(c)
	if refused && errors.Is(err, ErrUncommittable) {
		s.setAside(inputs[0])
		return
	}
	if err != nil && !errors.Is(err, errCrash) {
		s.fail("commit: %v", err)
	}
	if !s.store.failBefore {
		s.operators = c.Head.Maintenance.On && !c.Head.Maintenance.Automatic
		s.ticked = at // as Engine.commit does
		for i := range c.Trades {
			s.out.runner.Gate.Sync(&c.Trades[i], simPayee)
		}
		s.judge(c)
	}
	if err != nil {
		s.count.crashes++
		s.start()
	}
}

// judge checks the invariants of everything that a commit touched.
func (s *sim) judge(c *Commit) {
	for _, t := range c.Trades {
		truth := s.truth[t.ID]
		if truth == nil {
			truth = &simTruth{released: make(map[trade.Hash]int), shown: make(map[trade.Hash]bool)}
			s.truth[t.ID] = truth
			s.order = append(s.order, t.ID)
		}
	}
	for _, row := range c.Journal {
		s.count.steps++
		s.judgeRow(row)
	}
	for _, t := range c.Trades {
		for _, h := range append([]trade.Hash{t.Hash}, t.Closing...) {
			if h != (trade.Hash{}) && s.owner[h] == (trade.OrderID{}) {
				s.owner[h] = t.ID
				s.truth[t.ID].holds = append(s.truth[t.ID].holds, h)
			}
		}
		if t.MakerInvoice.Text != "" {
			s.node.makers[t.MakerInvoice.Text] = t.ID.String()
		}
		s.judgeTrade(t)
	}
	for _, row := range c.Outbox {
		s.judgeFrozen(row)
		if row.Inbound != nil {
			s.judgeProbe(row)
		}
		if row.Effect.Kind != trade.FxPublishOrder {
			continue
		}
		truth := s.truth[row.Trade]
		if int64(row.Event.CreatedAt) <= truth.stamp {
			s.fail("trade %s published at %d, and before at %d", row.Trade, row.Event.CreatedAt, truth.stamp)
		}
		truth.stamp = int64(row.Event.CreatedAt)
	}
	s.judgeVotes(c)
	s.judgePorts(c)
	for _, t := range c.Trades {
		s.truth[t.ID].frozen = t.Frozen
		if !t.Frozen || t.Over() {
			delete(s.withheld, t.ID)
		}
	}
	for _, u := range c.Users {
		if err := checkUser(s.store, u); err != nil {
			s.fail("%v", err)
		}
	}
	if err := s.node.conserved(); err != nil {
		s.fail("%v", err)
	}
}

// judgeTrade checks the invariants of a trade that hold at any time.
func (s *sim) judgeTrade(t trade.Trade) {
	switch {
	case !trade.Terminal(t.Status) && t.Deadline == 0:
		s.fail("trade %s is %s without a deadline", t.ID, t.Status)
	case t.Bucket != trade.Public(t.Status):
		s.fail("trade %s is %s and shown as %s", t.ID, t.Status, t.Bucket)
	case t.Frozen && !s.mayFreeze[t.ID]:
		s.fail("trade %s is frozen", t.ID)
	case t.Status == message.TradePending && (t.Taker() != trade.Party{} || t.Hash != trade.Hash{} || t.MarketPrice && t.AmountSats != 0):
		s.fail("trade %s is back in the book with something of its taker", t.ID)
	case trade.Escrowed(t.Status) && t.BuyerInvoice.Text == "":
		s.fail("trade %s is %s and its buyer cannot be paid", t.ID, t.Status)
	case t.Preimage != (trade.Preimage{}) && t.Preimage.Hash() != t.Hash:
		s.fail("trade %s has a preimage of another hash", t.ID)
	}
	if t.Over() || s.rng.IntN(50) == 0 {
		s.replay(t)
	}
}

// replay rebuilds the trade from its journal, sometimes through JSON.
func (s *sim) replay(t trade.Trade) {
	throughJSON := s.rng.IntN(20) == 0
	var again trade.Trade
	for i, in := range s.store.journal[t.ID] {
		if throughJSON {
			b, err := json.Marshal(in)
			if err != nil {
				s.fail("journal of %s: %v", t.ID, err)
				return
			}
			var read trade.Input
			if err := json.Unmarshal(b, &read); err != nil {
				s.fail("journal of %s: %v in %s", t.ID, err, b)
				return
			}
			in = read
		}
		next, _, err := trade.Step(again, in)
		if err != nil {
			s.fail("journal of %s, row %d (%s): %v", t.ID, i+1, in.Kind, err)
			return
		}
		again = next
	}
	if !reflect.DeepEqual(again, t) {
		s.fail("journal of %s gives\n%+v\nstored is\n%+v", t.ID, again, t)
	}
}

// judgeRow checks that the trade was moved by an allowed party.
func (s *sim) judgeRow(row JournalRow) {
	in := row.Input
	if in.Kind == trade.InHold && in.Hold.Phase == trade.HoldAccepted {
		was := s.journalTrade(row)
		s.judgeRoom(was, in)
		s.judgeOverdue(row, was)
	}
	if failedPayout(in) {
		s.judgeSpared(row)
	}
	if in.Kind == trade.InClock || in.Kind == trade.InHold {
		s.judgeTimeout(row)
	}
	if in.Kind != trade.InMessage {
		return
	}
	s.judgeRequest(row)
	key, action := in.Request.From.Key, in.Request.Message.Action
	if r := in.Request.Message.RequestID; r != nil && s.stale[*r] {
		s.fail("%s of %s is decided long after its sender has given up", action, row.Trade)
	}
	s.judgeQuote(row)
	party := func(t trade.Trade) bool { return key == t.Buyer.Key || key == t.Seller.Key }
	switch action {
	case message.ActionNewOrder, message.ActionTakeSell, message.ActionTakeBuy:
		return
	case message.ActionTradePubkey:
		return
	}
	was := s.journalTrade(row)
	switch action {
	case message.ActionAdminTakeDispute, message.ActionAdminSettle, message.ActionAdminCancel:
		s.judgeSolver(row, was)
		return
	}
	if !party(was) {
		s.fail("%s of %s by a stranger", action, row.Trade)
	}
	switch action {
	case message.ActionCancel:
		s.judgeCancelled(row, was)
	case message.ActionRelease:
		if key != was.Seller.Key || was.Status != message.TradeFiatSent && was.Status != message.TradeDispute {
			s.fail("release of %s in %s by %s", row.Trade, was.Status, key)
		}
		s.truth[row.Trade].released[was.Hash] = s.generation
	case message.ActionFiatSent, message.ActionAddInvoice:
		if key != was.Buyer.Key {
			s.fail("%s of %s by another than the buyer", action, row.Trade)
		}
		s.judgeRoom(was, in)
	}
}

// journalTrade returns the trade as it was before a row. The trade is kept, so that the next
// row of its journal does not replay the rows before.
func (s *sim) journalTrade(row JournalRow) trade.Trade {
	was := s.past[row.Trade]
	if was.rows >= row.N {
		was = simPast{}
	}
	for _, in := range s.store.journal[row.Trade][was.rows : row.N-1] {
		was.trade, _, _ = trade.Step(was.trade, in)
	}
	was.rows = row.N - 1
	s.past[row.Trade] = was
	return was.trade
}

// simPast is a trade after the first rows of its journal.
type simPast struct {
	rows  uint32
	trade trade.Trade
}

func (s *sim) judgeCreate(in lightning.HoldRequest) {
	t, ok := s.store.trades[s.owner[in.Hash]]
	if !ok || t.Preimage.Hash() != in.Hash && !slices.Contains(t.Closing, in.Hash) && !s.journaled(t.ID, in.Hash) {
		s.fail("an invoice is made whose preimage is not stored")
	}
	if m := memoNonce.FindStringSubmatch(in.Memo); m == nil {
		s.fail("an invoice without a nonce: %s", in.Memo)
	} else if h, ok := s.nonces[m[2]]; ok && h != in.Hash {
		s.fail("trade %s asks for a second hold invoice because of one message", m[1])
	} else {
		s.nonces[m[2]] = in.Hash
	}
	if ok && t.Hash == in.Hash && in.AmountSats != t.LockSats() {
		s.fail("trade %s asks the seller for %d sats, not %d", t.ID, in.AmountSats, t.LockSats())
	}
}

// journaled reports whether the journal of a trade contains the preimage of a hash. A row
// whose result could not be committed is executed again at the next start, when its trade may
// have moved on.
func (s *sim) journaled(id trade.OrderID, h trade.Hash) bool {
	return slices.ContainsFunc(s.store.journal[id], func(in trade.Input) bool {
		return in.Preimage != (trade.Preimage{}) && in.Preimage.Hash() == h
	})
}

func (s *sim) judgeSettle(p trade.Preimage) {
	id := s.owner[p.Hash()]
	if s.truth[id].released[p.Hash()] == 0 {
		s.fail("settled without a release")
	}
	hold := s.node.holds[p.Hash()]
	if hold != nil && hold.state.Phase == trade.HoldAccepted && s.store.trades[id].Doubtful && s.sighted[p.Hash()] != s.generation {
		s.fail("the hold of trade %s is settled before it was looked up", id)
	}
	if hold != nil && hold.byUs && !s.copied(id) {
		s.fail("settled what was cancelled")
	}
}

func (s *sim) judgeCancel(h trade.Hash) {
	hold, id := s.node.holds[h], s.owner[h]
	if hold == nil {
		return
	}
	if hold.state.Phase == trade.HoldSettled && !s.copied(id) || s.truth[id].released[h] == s.generation && hold.state.Phase == trade.HoldAccepted {
		s.fail("cancelled what was released")
	}
}

func (s *sim) judgePay(p lightning.Payment, d trade.Destination) {
	order := s.node.orderOf(p.Bolt11)
	if strings.HasPrefix(order, "fee-") {
		s.judgeFeePay(p, d)
		return
	}
	id, err := message.ParseUUID(order)
	if err != nil {
		s.fail("pays an invoice of nobody: %s", p.Bolt11)
		return
	}
	if d.FinalCLTV > 144 || p.MaxCLTVBlocks != 1008 {
		s.fail("trade %s is paid with a last hop of %d blocks, and a limit of %d", id, d.FinalCLTV, p.MaxCLTVBlocks)
	}
	s.judgePayouts(d)
	if s.unhealthyFor() >= 60 {
		s.fail("trade %s is paid out after the node was not synced for %d s", id, s.unhealthyFor())
	}
	// A copy does not know the hold invoices that it lost.
	if owner := s.owner[d.Hash]; owner != (trade.OrderID{}) && !s.copied(owner) {
		s.fail("trade %s is paid by a hash of a hold invoice", id)
	}
	settled, paid := 0, 0
	for _, h := range s.truth[id].holds {
		if s.node.holds[h] != nil && s.node.holds[h].state.Phase == trade.HoldSettled {
			settled++
		}
	}
	if settled == 0 {
		s.fail("trade %s is paid before it is settled", id)
	}
	for h, other := range s.node.pays {
		if other.order == order && h != d.Hash && (other.state.Status == trade.PaymentInFlight || other.state.Status == trade.PaymentSucceeded) {
			paid++
		}
	}
	// An order of a lost period may have been taken, settled and paid twice.
	if paid > 0 && !s.copied(id) || paid >= settled {
		s.fail("trade %s: another payment beside %d, of %d settled holds", id, paid, settled)
	}
	if d.AmountMsat != 0 && p.AmountSats != 0 || d.AmountMsat == 0 && p.AmountSats == 0 {
		s.fail("trade %s: amount given to an invoice that has one, or none to one without", id)
	}
}

// perform executes one of the first rows of the outbox, and applies the result to the trade
// book.
func (s *sim) perform() {
	rows := make([]OutboxRow, 0, 10)
	for _, id := range s.store.rows {
		if row := s.store.outbox[id]; s.ready(row) {
			if rows = append(rows, row); len(rows) == 10 {
				break
			}
		}
	}
	if len(rows) == 0 {
		return
	}
	row := rows[s.rng.IntN(len(rows))]
	for _, other := range rows { // the first row of a lane is executed first, except for probes
		if row.Inbound == nil && keyOf(other) == keyOf(row) && lane(other) == lane(row) {
			row = other
			break
		}
	}
	s.performRow(row)
}

// ready reports whether the process may execute a row at present.
func (s *sim) ready(row OutboxRow) bool {
	waits := s.withheld[row.Trade] && row.moves() || s.reconciling && (lane(row) == laneNode || lane(row) == laneFund)
	return !s.stopped && !s.dropped[row.ID] && !waits
}

func (s *sim) performRow(row OutboxRow) {
	if !s.ready(row) {
		return
	}
	if row.Effect.Kind == trade.FxLook {
		s.performLook(row)
		return
	}
	if row.Inbound != nil {
		s.performProbe(row)
		return
	}
	s.count.calls++
	s.settleElsewhere(row)
	n, err := s.do(row)
	if !lane(row).publishes() && !s.calm && s.rng.IntN(50) == 0 {
		s.count.crashes++ // a crash between the effect and its record
		s.start()
		return
	}
	if err != nil {
		return
	}
	if n.input.Kind == trade.InCancelRefused && !s.copied(row.Trade) {
		s.fail("a hold that was to be given back is settled")
	}
	if n.fee != nil {
		s.applyFee(row, *n.fee)
	}
	if n.input.Kind != "" {
		s.applyInput(row.Trade, n.input)
		s.inputs[len(s.inputs)-1].row = row.ID
	}
	s.book.Done(row.ID)
	crashes := s.count.crashes
	s.batch()
	if s.count.crashes == crashes {
		s.judgeLook(n.input)
	}
}

// do has the outbox execute one row.
func (s *sim) do(row OutboxRow) (notice, error) {
	s.publishing = row
	if lane(row).publishes() {
		row.Event = &nostr.Event{}
	}
	evt := s.publishing.Event
	n, err := s.out.do(context.Background(), row, s.refusals[row.ID])
	if evt != nil && evt.Kind == mostro.KindDevFee && err == nil && !s.undeliver[row.ID] {
		s.feePublished(evt)
	}
	if errors.Is(err, payoutgate.ErrWaits) {
		s.count.waits++
	}
	if s.refusals[row.ID]++; !errors.Is(err, lightning.ErrRefused) {
		delete(s.refusals, row.ID)
	}
	switch {
	case lane(row).publishes():
		s.judgePublished(row, err)
	case n.input.Kind == trade.InHoldMade:
		s.judgeMade(row)
	case n.input.Kind == trade.InHoldRefused, n.input.Kind == trade.InPayRefused:
		s.judgeRefused(n.input)
	}
	return n, err
}

// delivered has a user read a message.
func (s *sim) delivered(row OutboxRow) {
	m := row.Effect.Message
	if m.Action == message.ActionPayInvoice {
		if p, ok := m.Payload.(message.PaymentRequest); ok {
			d := simDecode(p.Invoice)
			t := s.store.trades[row.Trade]
			if t.Preimage.Hash() != d.Hash && s.owner[d.Hash] != row.Trade {
				s.fail("the seller of %s is shown an invoice of unknown preimage", row.Trade)
			}
			s.truth[row.Trade].shown[d.Hash] = true
		}
	}
	if ref, ok := m.Payload.(message.DisputeRef); ok && ref.Info != nil && ref.Info.Preimage != nil {
		s.fail("a solver of %s is shown a preimage", row.Trade)
	}
	if o, ok := m.Payload.(*message.SmallOrder); ok && o.BuyerInvoice != nil && m.Action != message.ActionNewOrder {
		s.fail("%s shows the buyer's invoice", m.Action)
	}
}

// watched is a state that a watch of the node reports.
type watched struct {
	trade   trade.OrderID
	hash    trade.Hash
	attempt uint32
	state   uint8
}

// watch simulates the subscriptions of the node. Each state is reported once, and sometimes
// again.
func (s *sim) watch(id trade.OrderID) {
	t := s.book.open[id]
	if t == nil {
		return
	}
	if h := t.HoldWatched(); h != (trade.Hash{}) {
		state, err := s.node.LookupHold(context.Background(), h)
		if w := (watched{trade: id, hash: h, state: uint8(state.Phase)}); err == nil && (!s.told[w] || s.rng.IntN(8) == 0) {
			if in, err := effect.SightedInput(context.Background(), s.node.Info, state); err == nil {
				s.told[w] = true
				s.applyInput(id, in)
			}
		}
	}
	if t = s.book.open[id]; t == nil {
		return
	}
	for n := range uint32(len(t.Outflows)) + 1 {
		h, attempt := t.OutflowWatched(n)
		if h == (trade.Hash{}) {
			continue
		}
		state, err := s.node.TrackPayment(context.Background(), h)
		if w := (watched{id, h, attempt, uint8(state.Status)}); err == nil && (!s.told[w] || s.rng.IntN(8) == 0) {
			s.told[w] = state.Status != trade.PaymentUnknown
			s.applyInput(id, paymentNotice(trade.OutflowKey{Trade: id, N: n}, h, attempt, state).input)
		}
	}
	s.batch()
}

// TestSimulationReplaysExactly checks that a seed determines everything that happens in a
// world.
func TestSimulationReplaysExactly(t *testing.T) {
	for seed := uint64(1); seed <= 3; seed++ {
		one, err := simulate(seed)
		if err != nil {
			t.Fatal(err)
		}
		two, err := simulate(seed)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(one, two) {
			t.Errorf("seed %d: once %+v, then %+v", seed, one, two)
		}
	}
}

// TestSimulationOnBadger runs the same worlds with the real store, which is read at every
// start and checked at the end.
func TestSimulationOnBadger(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	for seed := uint64(1); seed <= 3; seed++ {
		db, err := openDB(t.TempDir(), false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := simulateOn(seed, db); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		if err := db.Check(); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}
