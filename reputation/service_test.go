package reputation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// paper is a Publisher that collects events and can refuse them.
type paper struct {
	mu     sync.Mutex
	events []*nostr.Event
	refuse error
}

func (p *paper) Publish(_ context.Context, evt *nostr.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse != nil {
		return p.refuse
	}
	p.events = append(p.events, evt)
	return nil
}

func (p *paper) kinds() map[int]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := map[int]int{}
	for _, e := range p.events {
		n[e.Kind]++
	}
	return n
}

// gradedProofs is a Proofs that accepts the grade that a receipt names.
type gradedProofs struct{}

func (gradedProofs) Check(_ *nostr.Event, r mostro.HostRating, _ receipt.Keysets) (score.Proof, error) {
	switch {
	case len(r.Receipt) == 0:
		return score.Proof{}, score.ErrNoReceipt
	case r.Receipt[0] == "forged":
		return score.Proof{}, errors.New("forged")
	}
	return score.Proof{Grade: r.Receipt[0], OfOrder: true, Nullifier: r.OrderID + r.Pubkey}, nil
}

// pen signs with a test key.
type pen struct{ *envelope.Keys }

func (p pen) Sign(evt *nostr.Event) error {
	secret := p.Secret()
	return evt.Sign(scoretest.Hex(secret[:]))
}

func openService(t *testing.T, cfg Config) *Service {
	t.Helper()
	if cfg.Proofs == nil {
		cfg.Proofs = gradedProofs{}
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func catchUp(t *testing.T, s *Service) {
	t.Helper()
	if err := s.CatchUp(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// After a restart the service continues at the cursor of the checkpoint. If the checkpoint
// is lost or damaged, the service rebuilds it. All three ways must lead to the same
// scores.
func TestRestartEqualsRebuild(t *testing.T) {
	w := &scoretest.World{T: t}
	for _, name := range []string{"a", "b", "c"} {
		w.Honest(scoretest.KeyOf(name), 0, 40, "0.8")
	}
	w.Order(scoretest.KeyOf("a"), 99_999, mostro.StatusSuccess, 1000, scoretest.At(39.9))
	w.Order(scoretest.KeyOf("a"), 99_999, mostro.StatusCanceled, 1000, scoretest.At(39.9)) // an equivocation
	w.Event(nostr.Event{Kind: 5, PubKey: scoretest.KeyOf("a"), Tags: nostr.Tags{{"a", "38383:" + scoretest.KeyOf("a") + ":" + scoretest.OrderID(3)}}}, scoretest.At(39.95), mostro.OriginClient)
	log := &scoretest.MemLog{}
	half := len(w.Entries) / 2
	log.Add(w.Entries[:half]...)
	dir := t.TempDir()
	now := func() time.Time { return scoretest.At(40) }

	s := openService(t, Config{Dir: dir, Log: log, Now: now})
	catchUp(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	log.Add(w.Entries[half:]...)

	resumed := openService(t, Config{Dir: dir, Log: log, Now: now})
	if err := resumed.restore(); err != nil {
		t.Fatal(err)
	}
	if got := resumed.ledger.Cursor(); got != uint64(half) {
		t.Fatalf("resumed at %d, want %d", got, half)
	}
	catchUp(t, resumed)
	rebuilt := openService(t, Config{Log: log, Now: now})
	catchUp(t, rebuilt)
	want := scoretest.JSON(t, rebuilt.Scores())
	if got := scoretest.JSON(t, resumed.Scores()); got != want {
		t.Errorf("after a restart the scores are other ones:\n%.300s\n%.300s", got, want)
	}
	for _, name := range []string{"a", "b"} {
		if got, want := scoretest.JSON(t, resumed.Ratings(scoretest.KeyOf(name))), scoretest.JSON(t, rebuilt.Ratings(scoretest.KeyOf(name))); got != want {
			t.Errorf("ratings differ: %.200s", got)
		}
	}
	if err := resumed.Close(); err != nil {
		t.Fatal(err)
	}

	path := filepath.Join(dir, checkpointName)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func() ([]byte, Config){
		"a damaged checkpoint": func() ([]byte, Config) {
			b := append([]byte(nil), raw...)
			b[len(b)/2] ^= 1
			return b, Config{Dir: dir, Log: log, Now: now}
		},
		"an empty checkpoint":   func() ([]byte, Config) { return nil, Config{Dir: dir, Log: log, Now: now} },
		"one cut off":           func() ([]byte, Config) { return raw[:len(raw)-9], Config{Dir: dir, Log: log, Now: now} },
		"one of another format": func() ([]byte, Config) { return append([]byte("{}\n"), raw...), Config{Dir: dir, Log: log, Now: now} },
		"one of other parameters": func() ([]byte, Config) {
			return raw, Config{Dir: dir, Log: log, Now: now, Params: score.Params{Funds: []string{scoretest.KeyOf("fund")}}}
		},
		"one that is ahead of its log": func() ([]byte, Config) { return raw, Config{Dir: dir, Log: &scoretest.MemLog{}, Now: now} },
	} {
		t.Run(name, func(t *testing.T) {
			b, cfg := damage()
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			s := openService(t, cfg)
			if s.ledger.Cursor() != 0 {
				t.Fatal("it was believed")
			}
			catchUp(t, s)
			if cfg.Log == log && len(cfg.Params.Funds) == 0 {
				if got := scoretest.JSON(t, s.Scores()); got != want {
					t.Error("the rebuilt scores differ")
				}
			}
		})
	}
}

// An event between two full computations changes the score of its node at once. The score
// must equal the score of a full computation.
func TestOneNewEventEqualsAll(t *testing.T) {
	w := &scoretest.World{T: t}
	a, b := scoretest.KeyOf("a"), scoretest.KeyOf("b")
	w.Honest(a, 0, 40, "1")
	w.Honest(b, 0, 40, "0.6")
	log := &scoretest.MemLog{}
	log.Add(w.Entries...)
	now := scoretest.At(40)
	s := openService(t, Config{Log: log, Now: func() time.Time { return now }})
	catchUp(t, s)
	before, _ := s.Score(a)
	more := &scoretest.World{T: t}
	for i := range 6 {
		more.Failure(a, 50_000+i, 30_000, scoretest.At(39.5))
	}
	log.Add(more.Entries...)
	catchUp(t, s)
	after, _ := s.Score(a)
	if after.Value >= before.Value {
		t.Errorf("six failures: value %s after %s", after.Value, before.Value)
	}
	fresh := openService(t, Config{Log: log, Now: func() time.Time { return now }})
	catchUp(t, fresh)
	if got, want := scoretest.JSON(t, s.Scores()), scoretest.JSON(t, fresh.Scores()); got != want {
		t.Error("the scores of changed nodes differ from a full computation")
	}
}

func TestPublishesOnChangeOnly(t *testing.T) {
	w := &scoretest.World{T: t}
	a := scoretest.KeyOf("a")
	w.Honest(a, 0, 40, "1")
	w.Event(mostro.Info{Pubkey: scoretest.KeyOf("unseen"), Version: "1", ProtocolVersion: 2}.Event(), scoretest.At(1), mostro.OriginBackfill)
	log := &scoretest.MemLog{}
	log.Add(w.Entries...)
	now := scoretest.At(40)
	out := &paper{}
	provider := pen{scoretest.Keys(t, "provider")}
	dir := t.TempDir()
	cfg := Config{Dir: dir, Log: log, Publisher: out, Signer: provider, Now: func() time.Time { return now }}
	s := openService(t, cfg)
	round := func() {
		t.Helper()
		catchUp(t, s)
		if err := s.publish(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	round()
	if k := out.kinds(); k[0] != 1 || k[KindAssertion] != 1 || len(out.events) != 2 {
		t.Fatalf("published %v: want a profile and one assertion, and no assertion of an unwitnessed node", k)
	}
	evt := out.events[1]
	if ok, err := evt.CheckSignature(); err != nil || !ok || !evt.CheckID() || evt.PubKey != provider.Pubkey() || evt.Tags.GetD() != a {
		t.Errorf("the assertion is not signed by the provider about the node: %v", evt)
	}
	scored, _ := s.Score(a)
	for name, want := range map[string]string{"rank": strconv.Itoa(scored.Rank), "root": scored.Root, "lo": scored.Lo.String(), "exposure": "0", "algo": score.AlgoName} {
		if tag := evt.Tags.Find(name); len(tag) < 2 || tag[1] != want {
			t.Errorf("tag %s is %v, want %s", name, tag, want)
		}
	}
	round()
	now = now.Add(time.Minute)
	round()
	if len(out.events) != 2 {
		t.Fatal("published without a change")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openService(t, cfg)
	round()
	if len(out.events) != 2 {
		t.Fatal("published again after a restart")
	}
	more := &scoretest.World{T: t}
	for i := range 12 {
		more.Failure(a, 60_000+i, 30_000, scoretest.At(39.9))
	}
	log.Add(more.Entries...)
	now = evt.CreatedAt.Time() // the clock was set back
	round()
	if k := out.kinds(); k[KindAssertion] != 2 {
		t.Fatalf("a change was not published: %v", k)
	}
	if last := out.events[len(out.events)-1]; last.CreatedAt <= evt.CreatedAt {
		t.Error("two assertions of one second: an equivocation of our own")
	}
	out.refuse = errors.New("full")
	log.Add(func() []mostro.Entry {
		w := &scoretest.World{T: t}
		w.Failure(a, 70_000, 1000, scoretest.At(39.9))
		w.Failure(a, 70_001, 1000, scoretest.At(39.9))
		w.Failure(a, 70_002, 1000, scoretest.At(39.9))
		return w.Entries
	}()...)
	catchUp(t, s)
	if err := s.publish(context.Background()); !errors.Is(err, out.refuse) {
		t.Errorf("a refusal of the relay is %v", err)
	}
	out.refuse = nil
	round()
	if k := out.kinds(); k[KindAssertion] != 3 {
		t.Errorf("a refused event was not published again: %v", k)
	}
}

// A node that was watched for too few days has no rank. No assertion about such a node is
// published.
func TestWatchedNodesAreNotPublished(t *testing.T) {
	a := scoretest.KeyOf("a")
	for days, published := range map[int]int{12: 0, 29: 0, 30: 1} {
		w := &scoretest.World{T: t}
		w.Honest(a, 0, days, "1")
		log, out := &scoretest.MemLog{}, &paper{}
		log.Add(w.Entries...)
		s := openService(t, Config{Log: log, Publisher: out, Signer: pen{scoretest.Keys(t, "provider")}, Now: func() time.Time { return scoretest.At(float64(days)) }})
		catchUp(t, s)
		if err := s.publish(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got := out.kinds()[KindAssertion]; got != published {
			t.Errorf("%d assertions of a node that was watched %d days, want %d", got, days, published)
		}
		f := &Handler{Known: s}
		score, _ := s.Score(a)
		v := f.scores().view(&score)
		if ranked := published > 0; (v.Rank != nil) != ranked || (v.Lo != nil) != ranked || (v.Reason == nil) != ranked || !ranked && (*v.Reason != "watching" || v.ClaimedValue != nil || *v.ReasonText != fmt.Sprintf("watched %d of 30 days", days)) ||
			v.WatchedDays != days || v.WatchDays != 30 {
			t.Errorf("after %d days: %s", days, scoretest.JSON(t, v))
		}
		if summary, _ := f.ReputationSummary(a); summary.Unranked != score.Unranked || summary.WatchedDays != days {
			t.Errorf("after %d days the index is told %+v", days, summary)
		}
	}
}

// both is a Pairs that reads a log in memory.
type both struct{ log *scoretest.MemLog }

func (b both) Equivocations(_ context.Context, fn func(first, second *nostr.Event) error) error {
	for i, e := range b.log.Entries {
		for _, f := range b.log.Entries[:i] {
			if e.Event.PubKey == f.Event.PubKey && e.Event.Kind == f.Event.Kind && e.Event.Tags.GetD() == f.Event.Tags.GetD() && e.Event.CreatedAt == f.Event.CreatedAt && e.Event.ID != f.Event.ID {
				if err := fn(f.Event, e.Event); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func TestRunFollowsAndShowsEquivocations(t *testing.T) {
	w := &scoretest.World{T: t}
	a := scoretest.KeyOf("a")
	w.Honest(a, 0, 35, "1")
	log, out := &scoretest.MemLog{}, &paper{}
	log.Add(w.Entries...)
	registry := prometheus.NewPedanticRegistry()
	s := openService(t, Config{Log: log, Pairs: both{log}, Publisher: out, Signer: pen{scoretest.Keys(t, "provider")}, Metrics: registry, Now: func() time.Time { return scoretest.At(36) }})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	until := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s did not happen in time", what)
			}
		}
	}
	until("the first assertion", func() bool { return out.kinds()[KindAssertion] == 1 })
	lie := &scoretest.World{T: t}
	lie.Order(a, 9, mostro.StatusSuccess, 1000, scoretest.At(35.9))
	lie.Order(a, 9, mostro.StatusCanceled, 1000, scoretest.At(35.9))
	log.Add(lie.Entries...)
	until("the proof", func() bool { return out.kinds()[KindAddressAssertion] == 1 })
	scored, ok := s.Score(a)
	if !ok || len(scored.Evidence.Equivocations) != 1 || scored.Flags[0].Name != score.FlagEquivocation || scored.Evidence.Failures.Witnessed != 1 {
		t.Errorf("the lie does not show: %v %v", scored.Flags, scored.Evidence.Equivocations)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Run ended with %v", err)
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, err)
	}
}

// Ratings must be safe while the follower reads the log and writes checkpoints.
func TestRatingsMeanwhile(t *testing.T) {
	w := &scoretest.World{T: t}
	a := scoretest.KeyOf("a")
	for i := range 20 { // open orders, which each computation reads again
		w.Order(a, 900_000+i, mostro.StatusPending, 1000, scoretest.At(59.9))
	}
	w.Honest(a, 0, 60, "0.8")
	log := &scoretest.MemLog{}
	var now atomic.Pointer[time.Time]
	now.Store(new(scoretest.At(60)))
	s := openService(t, Config{Dir: t.TempDir(), Log: log, Now: func() time.Time { return *now.Load() }})
	done := make(chan struct{})
	var asking sync.WaitGroup
	for range 3 {
		asking.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					s.Ratings(a)
					s.Score(a)
				}
			}
		})
	}
	for len(w.Entries) > 0 {
		k := min(50, len(w.Entries))
		log.Add(w.Entries[:k]...)
		w.Entries = w.Entries[k:]
		now.Store(new(now.Load().Add(checkpointAfter)))
		catchUp(t, s)
	}
	close(done)
	asking.Wait()
	if score, ok := s.Score(a); !ok || score.N != 60 || len(s.Ratings(a)) != 60 {
		t.Errorf("%d ratings count, %d are shown, want 60", score.N, len(s.Ratings(a)))
	}
}
