package reputation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/internal/room"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
)

// Log is the part of the event log that a Service reads.
type Log interface {
	score.Reader
	// Wait returns nil when the head is greater than seq. If ctx ends first, Wait returns
	// its error.
	Wait(ctx context.Context, seq uint64) error
	// Head returns the last position of the log.
	Head() uint64
}

// Pairs finds the events of equivocations. The relay keeps both versions of an address,
// although it serves only one.
type Pairs interface {
	Equivocations(ctx context.Context, fn func(first, second *nostr.Event) error) error
}

// Publisher publishes events. If Publish returns nil, the event is durable on this relay
// and queued for other relays.
type Publisher interface {
	Publish(ctx context.Context, evt *nostr.Event) error
}

// Signer signs with the key of this algorithm only.
type Signer interface {
	Pubkey() string
	Sign(evt *nostr.Event) error
}

// Config configures a Service. Log is required.
type Config struct {
	Dir       string // directory of the checkpoint; if "", no checkpoint is kept
	Log       Log
	Pairs     Pairs         // if nil, proofs of equivocation are not published
	Publisher Publisher     // if nil, no event is published
	Signer    Signer        // required if Publisher is set
	Proofs    score.Proofs  // if nil, score.Receipts
	Params    score.Params  // if zero (Draws is 0), score.DefaultParams with the given Funds and Payees
	Every     time.Duration // interval between two computations of all scores; 0: DefaultEvery
	Testify   bool          // publish the receive log, signed, so that other relays can use it (docs/witness.md)
	Witnesses []string      // keys of relays whose receive logs are read, at most MaxWitnesses
	Finder    Finder        // required if Witnesses is set
	Getter    Getter        // asks the payment services of Params.FeeAddresses; nil: none is asked

	Logger  *slog.Logger          // nil: log lines are discarded
	Metrics prometheus.Registerer // nil: metrics are not registered
	Now     func() time.Time      // nil: time.Now
}

// DefaultEvery is the interval between two computations of all scores.
const DefaultEvery = 10 * time.Minute

// Pace of the follower.
const (
	recomputeAfter  = time.Second      // shortest interval between two computations of changed scores
	readAfter       = time.Second / 4  // interval between two reads of the log
	computeShare    = 50               // at most one part in computeShare of the time is spent on computing
	checkpointAfter = 15 * time.Minute // shortest interval between two checkpoints
)

// Service follows the log and holds the scores. After Open has returned, the methods of a
// Service are safe for concurrent use, except that only one goroutine (the follower) may
// call Run, CatchUp or Close.
type Service struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics

	// mu guards ledger, scores, asOf and caught. Only the follower writes these fields.
	// The follower holds the lock for the time of one batch or one computation.
	mu     sync.RWMutex
	ledger *score.Ledger
	scores map[string]score.Score
	asOf   time.Time
	caught bool // the scores were up to date with the log at least once

	// deriving guards the caches of the ledger, for goroutines that hold mu for reading.
	deriving sync.Mutex

	// The fields below belong to the follower.
	columns    *columns
	stars      starLists
	graphs     trustGraphs // not of the follower: it has a lock of its own
	asker      *asker      // nil: no payment service is asked
	restored   bool        // restore was called, or is not needed
	saved      uint64      // cursor of the last checkpoint
	savedAt    time.Time
	assertions *assertions
	took       time.Duration // duration of the last computation of changed scores
}

// Open checks cfg and returns a Service without scores. Run or CatchUp reads the
// checkpoint and computes the scores.
func Open(cfg Config) (*Service, error) {
	if cfg.Log == nil {
		return nil, errors.New("reputation: Log is not set")
	}
	if cfg.Publisher != nil && cfg.Signer == nil {
		return nil, errors.New("reputation: Publisher is set without a Signer")
	}
	if cfg.Params.Draws == 0 {
		funds, payees := cfg.Params.Funds, cfg.Params.Payees
		cfg.Params = score.DefaultParams()
		cfg.Params.Funds, cfg.Params.Payees = funds, payees
	}
	if cfg.Every <= 0 {
		cfg.Every = DefaultEvery
	}
	cfg.Logger, cfg.Now = room.Logger(cfg.Logger), room.Clock(cfg.Now)
	if cfg.Proofs == nil {
		cfg.Proofs = score.Receipts{}
	}
	columns, err := newColumns(cfg.Witnesses, cfg.Finder, cfg.Params, cfg.Proofs)
	if err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, log: cfg.Logger, scores: map[string]score.Score{}, columns: columns}
	if cfg.Getter != nil && cfg.Publisher != nil && len(cfg.Params.FeeAddresses) > 0 {
		s.asker = newAsker(cfg.Params, cfg.Signer.Pubkey(), cfg.Getter, cfg.Now)
	}
	s.ledger = score.NewLedger(cfg.Params, cfg.Proofs)
	s.metrics = newMetrics(cfg.Metrics, s)
	s.assertions = &assertions{to: cfg.Publisher, signer: cfg.Signer, pairs: cfg.Pairs, algo: cfg.Params.Algo(), count: s.metrics.published, now: cfg.Now,
		said: published{Published: map[string]string{}, Announced: map[string]bool{}, Sent: map[string]nostr.Timestamp{}}}
	return s, nil
}

// Close writes the checkpoint if a fact changed. Run must have returned before.
func (s *Service) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.Dir == "" || s.ledger.Cursor() == s.saved && !s.assertions.unsaved {
		return nil
	}
	return s.save()
}

// Run follows the log until ctx ends, and returns the error of ctx or the first other
// error.
func (s *Service) Run(ctx context.Context) error {
	if s.asker != nil {
		asking, stop := context.WithCancel(ctx)
		var wait sync.WaitGroup
		wait.Go(func() { s.asker.run(asking) })
		defer wait.Wait()
		defer stop()
	}
	for {
		if err := s.CatchUp(ctx); err != nil {
			return err
		}
		if s.cfg.Publisher != nil {
			if err := s.publish(ctx); err != nil {
				return fmt.Errorf("reputation: %w", err)
			}
		}
		if err := s.rest(ctx); err != nil {
			return err
		}
	}
}

// publish publishes the assertions and proofs that changed, and the receive log.
func (s *Service) publish(ctx context.Context) error {
	if s.asker != nil {
		if err := record(ctx, s.assertions, s.asker.take()); err != nil {
			return err
		}
	}
	if s.cfg.Testify {
		if err := s.assertions.testify(ctx, s.cfg.Log, s.ledger.Cursor()); err != nil {
			return err
		}
	}
	if err := s.assertions.publish(ctx, s.Scores()); err != nil || s.cfg.Pairs == nil {
		return err
	}
	wanted := map[string]score.Equivocation{}
	s.mu.RLock()
	for e := range s.ledger.Equivocations() {
		if s.assertions.isNew(e) {
			wanted[e.IDs[0]+e.IDs[1]] = e
		}
	}
	s.mu.RUnlock()
	return s.assertions.publishProofs(ctx, wanted)
}

// rest returns when the log has new entries, or when the computation of all scores is due.
func (s *Service) rest(ctx context.Context) error {
	s.mu.RLock()
	cursor, due := s.ledger.Cursor(), s.asOf.Add(s.cfg.Every)
	s.mu.RUnlock()
	wait, cancel := context.WithTimeout(ctx, max(recomputeAfter, due.Sub(s.cfg.Now())))
	err := s.cfg.Log.Wait(wait, cursor)
	cancel()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("reputation: wait for the log: %w", err)
	}
	// New entries often arrive in bursts. The follower reads them while they are still in
	// the memory of the log, and computes the changed scores together. The longer a
	// computation takes, the longer the follower waits before the next one.
	enough := time.Now().Add(min(max(recomputeAfter, computeShare*s.took), s.cfg.Every))
	for time.Now().Before(enough) {
		t := time.NewTimer(readAfter)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		if err := s.read(ctx); err != nil {
			return err
		}
	}
	return nil
}

// CatchUp applies the entries that the log holds now, and computes the scores that
// changed. If the computation of all scores is due, CatchUp computes all scores.
func (s *Service) CatchUp(ctx context.Context) error {
	if s.cfg.Dir != "" && !s.restored {
		if err := s.restore(); err != nil {
			return err
		}
	}
	s.restored = true
	if err := s.read(ctx); err != nil {
		return err
	}
	start := s.cfg.Now()
	s.mu.Lock()
	full := !s.caught || start.Sub(s.asOf) >= s.cfg.Every || start.Before(s.asOf)
	s.compute(start, full)
	s.caught = true
	due := s.cfg.Dir != "" && (s.ledger.Cursor() != s.saved || s.assertions.unsaved) && start.Sub(s.savedAt) >= checkpointAfter
	s.mu.Unlock()
	if err := s.columns.follow(ctx, s.cfg.Log, start, full); err != nil {
		return err
	}
	if !due {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.save()
}

// restore reads the checkpoint. If the file is missing, damaged, of other parameters or
// ahead of the log, the service starts without a checkpoint. Then the log is read from the
// beginning, and the log also holds the facts of erased events. The follower calls restore
// once.
func (s *Service) restore() error {
	ledger := score.NewLedger(s.cfg.Params, s.cfg.Proofs)
	said, err := readCheckpoint(filepath.Join(s.cfg.Dir, checkpointName), ledger, s.cfg.Params.Hash(), s.cfg.Log.Head())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var onDisk *fs.PathError
	if errors.As(err, &onDisk) {
		return fmt.Errorf("reputation: %w", err)
	}
	if err != nil {
		s.log.Warn("reputation checkpoint is not usable, the log is read from the beginning", "reason", err)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger = ledger
	s.saved, s.savedAt = ledger.Cursor(), s.cfg.Now()
	have := &s.assertions.said
	if said.Published != nil {
		have.Published = said.Published
	}
	if said.Announced != nil {
		have.Announced = said.Announced
	}
	if said.Sent != nil {
		have.Sent = said.Sent
	}
	have.About, have.Stated = said.About, said.Stated
	return nil
}

// save writes the checkpoint. The caller holds mu and is the follower, or is Close after
// the follower has ended.
func (s *Service) save() error {
	if err := writeCheckpoint(s.cfg.Dir, s.cfg.Params.Hash(), s.ledger, s.assertions.said); err != nil {
		return fmt.Errorf("reputation: write the checkpoint: %w", err)
	}
	s.saved, s.savedAt, s.assertions.unsaved = s.ledger.Cursor(), s.cfg.Now(), false
	return nil
}

// read applies the entries of the log up to the head. While one batch is applied, the next
// batch is read.
func (s *Service) read(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	head := s.cfg.Log.Head()
	after := s.ledger.Cursor()
	batches := make(chan []mostro.Entry)
	var failed error
	go func() {
		defer close(batches)
		failed = score.EachBatch(ctx, s.cfg.Log, after, func(batch []mostro.Entry) error {
			select {
			case batches <- batch:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	for batch := range batches {
		s.asker.read(batch)
		prepared := s.ledger.PrepareAll(batch)
		s.mu.Lock()
		for i, e := range batch {
			s.ledger.Commit(e, prepared[i])
		}
		s.mu.Unlock()
		s.metrics.applied.Add(float64(len(batch)))
	}
	if failed != nil {
		return fmt.Errorf("reputation: read the log: %w", failed)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger.Advance(head) // the entries between were skipped by the log and cannot be read later
	return nil
}

// compute updates the scores: all scores if full is set, otherwise the scores whose facts
// changed. The caller holds mu.
func (s *Service) compute(now time.Time, full bool) {
	start := time.Now()
	scores := s.ledger.Update(now, full)
	if full {
		s.asOf = now.Truncate(time.Second).UTC()
	}
	if len(scores) == 0 {
		return
	}
	for _, score := range scores {
		s.scores[score.Pubkey] = score
	}
	took := time.Since(start)
	if !full {
		s.took = took
	}
	s.metrics.computed(full, took)
}

// Ready reports whether the scores were up to date with the log at least once.
func (s *Service) Ready() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.caught
}

// AsOf returns the time of the last computation of all scores. AsOf returns the zero time
// before the first computation.
func (s *Service) AsOf() time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.asOf
}

// Params returns the constants of the score.
func (s *Service) Params() score.Params { return s.cfg.Params }

// Pubkey returns the key that signs the assertions, or "" if there is no Signer.
func (s *Service) Pubkey() string {
	if s.cfg.Signer == nil {
		return ""
	}
	return s.cfg.Signer.Pubkey()
}

// BundleSigner returns the signer of the scores for bundles, or nil if there is none.
func (s *Service) BundleSigner() score.BundleSigner {
	if s.cfg.Signer == nil {
		return nil
	}
	return s.cfg.Signer
}

// Score returns the score of a node. ok is false if the key never described itself as a
// Mostro.
func (s *Service) Score(pubkey string) (score score.Score, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	score, ok = s.scores[pubkey]
	return score, ok
}

// Scores returns all scores, the best first (score.ByRank).
func (s *Service) Scores() []score.Score {
	s.mu.RLock()
	list := slices.Collect(maps.Values(s.scores))
	s.mu.RUnlock()
	slices.SortFunc(list, score.ByRank)
	return list
}

// Ratings returns all ratings of a host, the newest first, with the weight and the reason
// of each. A host need not be a Mostro.
func (s *Service) Ratings(pubkey string) []score.RatedBy {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.deriving.Lock()
	defer s.deriving.Unlock()
	at := s.cfg.Now().Unix()
	mu := s.cfg.Params.UsersMean
	if score, ok := s.scores[pubkey]; ok {
		mu = score.Mu
	}
	return s.ledger.Ratings(pubkey, mu, at)
}

// SeenBy returns the scores of a node as the witnesses saw the node, sorted by the key of
// the witness.
func (s *Service) SeenBy(pubkey string) []SeenBy { return s.columns.seenBy(pubkey) }

// Borrowed returns the rank of a node by the receive logs of the witnesses. ok is false if
// no more than half of the witnesses have a rank of the node.
func (s *Service) Borrowed(pubkey string) (rank int, ok bool) {
	return borrowed(s.columns.seenBy(pubkey), len(s.cfg.Witnesses))
}

// Refusals returns the events that are no evidence, each with its reason, and the number
// of all refusals by reason. The list is bounded, and the numbers are complete.
func (s *Service) Refusals() (list []score.Refusal, byReason map[string]int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ledger.Refused(), s.ledger.Reasons()
}
