package reputation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/nbd-wtf/go-nostr"
)

// Log is what reputation needs of the log.
type Log interface {
	score.Reader
	// Wait returns nil once the head is greater than seq.
	Wait(ctx context.Context, seq uint64) error
	// Head is the last position of the log.
	Head() uint64
}

// Pairs finds the events of equivocations: the relay keeps both versions,
// though it serves one.
type Pairs interface {
	Equivocations(ctx context.Context, fn func(first, second *nostr.Event) error) error
}

// Publisher makes an event public. When Publish returns nil the event is
// durable here and queued for other relays.
type Publisher interface {
	Publish(ctx context.Context, evt *nostr.Event) error
}

// Signer signs with the key of this algorithm, and no other key.
type Signer interface {
	Pubkey() string
	Sign(evt *nostr.Event) error
}

// Config is what a Service stands on.
type Config struct {
	Dir       string // of the checkpoint; "" keeps none
	Log       Log
	Pairs     Pairs        // nil: proofs of equivocation are not published
	Publisher Publisher    // nil: nothing is published
	Signer    Signer       // needed with Publisher
	Proofs    score.Proofs // nil: Receipts
	Params    score.Params // zero: DefaultParams
	Every     time.Duration
	Logger    *slog.Logger
	Now       func() time.Time
}

// DefaultEvery is how often all scores are computed anew.
const DefaultEvery = 10 * time.Minute

// How the follower takes its time.
const (
	recomputeAfter  = time.Second      // between two computations of what changed, at least
	readAfter       = time.Second / 4  // between two readings of the log
	computeShare    = 50               // of this many parts of the time one at most is spent computing
	checkpointAfter = 15 * time.Minute // between two checkpoints
)

// Service follows the log and knows the scores. Its methods are safe for
// concurrent use once Open returned.
type Service struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics

	// mu guards the ledger and the scores. The follower alone writes; it holds
	// the lock for a batch or a computation.
	mu     sync.RWMutex
	ledger *score.Ledger
	scores map[string]score.Score
	asOf   time.Time
	caught bool // up with the log at least once

	// deriving guards what deriving keeps beside the facts, for those that
	// hold mu for reading.
	deriving sync.Mutex

	// The follower's own.
	restored  bool   // the checkpoint was looked for
	saved     uint64 // cursor of the checkpoint
	unsaved   bool   // something else than the cursor changed since
	savedAt   time.Time
	published map[string]string          // by node: what was published last
	announced map[string]bool            // proofs of equivocation that were published
	sent      map[string]nostr.Timestamp // by address: created_at of what was published last
	about     string                     // what the key's profile said last
	took      time.Duration              // of the last computation of what changed
}

// Open checks what it is given. The checkpoint is read, and scores are
// computed, by Run or CatchUp.
func Open(cfg Config) (*Service, error) {
	if cfg.Log == nil {
		return nil, errors.New("reputation: no log")
	}
	if cfg.Publisher != nil && cfg.Signer == nil {
		return nil, errors.New("reputation: a publisher without a key")
	}
	if cfg.Params.Draws == 0 {
		funds, payees := cfg.Params.Funds, cfg.Params.Payees
		cfg.Params = score.DefaultParams()
		cfg.Params.Funds, cfg.Params.Payees = funds, payees
	}
	if cfg.Every <= 0 {
		cfg.Every = DefaultEvery
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Proofs == nil {
		cfg.Proofs = score.Receipts{}
	}
	s := &Service{cfg: cfg, log: cfg.Logger, scores: map[string]score.Score{}, published: map[string]string{}, announced: map[string]bool{}, sent: map[string]nostr.Timestamp{}}
	s.ledger = score.NewLedger(cfg.Params, cfg.Proofs)
	s.metrics = newMetrics(s)
	return s, nil
}

// Close writes the checkpoint. Run must have ended.
func (s *Service) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.Dir == "" || s.ledger.Cursor() == s.saved && !s.unsaved {
		return nil
	}
	return s.save()
}

// Run follows the log until ctx ends.
func (s *Service) Run(ctx context.Context) error {
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

// rest waits for news of the log, or until all scores are due.
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
	// News come in crowds. They are noted while the log still has them in memory,
	// and computed together: the more there is to compute, the more rarely.
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

// CatchUp applies what the log holds now and computes what it changed; all
// scores when they are due.
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
	due := s.cfg.Dir != "" && (s.ledger.Cursor() != s.saved || s.unsaved) && start.Sub(s.savedAt) >= checkpointAfter
	s.mu.Unlock()
	if !due {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.save()
}

// read applies what the log holds. One batch is read while the one before it
// is applied.
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
	s.ledger.Advance(head) // nobody can read any more what lies between
	return nil
}

// compute brings the scores up to date: all of them, or those whose facts
// changed. The caller holds the lock.
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

// Ready says whether the scores have been up with the log.
func (s *Service) Ready() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.caught
}

// AsOf is when all scores were computed last; zero: not yet.
func (s *Service) AsOf() time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.asOf
}

// Params are the constants of the score.
func (s *Service) Params() score.Params { return s.cfg.Params }

// Pubkey is the key under which scores are published; "" for none.
func (s *Service) Pubkey() string {
	if s.cfg.Signer == nil {
		return ""
	}
	return s.cfg.Signer.Pubkey()
}

// Score gives the score of a node; ok is false for a key that never described
// itself as a Mostro.
func (s *Service) Score(pubkey string) (score score.Score, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	score, ok = s.scores[pubkey]
	return score, ok
}

// Scores gives all scores, the best first (ByRank).
func (s *Service) Scores() []score.Score {
	s.mu.RLock()
	list := slices.Collect(maps.Values(s.scores))
	s.mu.RUnlock()
	slices.SortFunc(list, score.ByRank)
	return list
}

// Ratings gives all ratings of a host, the newest first, with what each counts
// for and why. A host need not be a Mostro.
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

// Refusals gives the events that are no evidence, each with its reason, and
// the count of all by reason. The list holds the first of them.
func (s *Service) Refusals() (list []score.Refusal, byReason map[string]int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ledger.Refused(), s.ledger.Reasons()
}
