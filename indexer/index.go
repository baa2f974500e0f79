package indexer

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer/market"
	"github.com/mostrodex/mostrodex/internal/room"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// Events returns raw events by id.
type Events interface {
	// Event returns the event if its body is readable, whether the event is live or not.
	// Otherwise Event returns mostro.ErrNotFound.
	Event(ctx context.Context, id string) (*nostr.Event, error)
}

// Config is the configuration of an Index. Dir, Log and Events are required.
type Config struct {
	Dir    string // the data directory; book/, search/ and the file statistics are made in it
	Log    Log
	Events Events // raw events, for GET /api/v1/events and NIP-50
	Rules  Rules  // the operator's rules of hidden events; nil: nothing is hidden

	Logger  *slog.Logger          // nil: log lines are discarded
	Metrics prometheus.Registerer // nil: metrics are not registered
	Now     func() time.Time      // nil: time.Now
}

// Index is the book and the search index of one log. A caller opens an Index, calls Run
// once, and calls Close after Run has returned. All other methods may be called
// concurrently between Open and Close.
type Index struct {
	*Finder    // queries for orders
	*Directory // the authors of orders
	*Figures   // statistics

	cfg      Config
	log      *slog.Logger
	book     *book
	search   *searchIndex
	metrics  *metrics
	health   *health
	books    *bookFollower   // owned by Run
	searches *searchFollower // owned by Run
	market   *market.Store
}

// Open opens the index in cfg.Dir, or creates it. If a store cannot be opened, Open logs
// the error, deletes the store and creates an empty one, which Run rebuilds from the log.
// If another process holds a store open, Open returns the error instead.
func Open(cfg Config) (*Index, error) {
	if cfg.Log == nil || cfg.Events == nil || cfg.Dir == "" {
		return nil, errors.New("index: Dir, Log and Events are required")
	}
	cfg.Logger, cfg.Now = room.Logger(cfg.Logger), room.Clock(cfg.Now)
	x := &Index{cfg: cfg, log: cfg.Logger.With("room", "indexer"), metrics: newMetrics(cfg.Metrics)}
	rules := &moderator{rules: cfg.Rules, events: cfg.Events}
	var bans func() (uint64, map[[32]byte]struct{})
	if cfg.Rules != nil {
		bans = rules.bans
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	if x.book, err = openBook(cfg.Dir, cfg.Now, bans); err != nil {
		if err = x.discard(storeBook, err); err == nil {
			x.book, err = openBook(cfg.Dir, cfg.Now, bans)
		}
	}
	if err != nil {
		return nil, err
	}
	if x.book.cursor.Load() > cfg.Log.Head() {
		// The log is a different log, or an older copy of this log.
		x.log.Error("book is ahead of the log, rebuilding it", "position", x.book.cursor.Load(), "head", cfg.Log.Head())
		if err := x.book.reset(); err != nil {
			return nil, errors.Join(err, x.book.close())
		}
	}
	if x.search, err = openSearch(cfg.Dir); err != nil {
		if err = x.discard(storeSearch, err); err == nil {
			x.search, err = openSearch(cfg.Dir)
		}
	}
	if err != nil {
		return nil, errors.Join(err, x.book.close())
	}
	if x.market, err = market.Open(context.Background(), market.Config{Dir: cfg.Dir, Log: cfg.Log, Logger: x.log, Now: cfg.Now, Banned: rules.bannedEvents()}); err != nil {
		return nil, errors.Join(err, x.search.close(), x.book.close())
	}
	x.health = &health{log: x.log, metrics: x.metrics, healed: map[string]time.Time{}}
	x.books = &bookFollower{entries: cfg.Log, book: x.book, health: x.health, metrics: x.metrics, now: cfg.Now}
	x.searches = &searchFollower{entries: cfg.Log, book: x.book, search: x.search, health: x.health,
		throttle: throttle{cfg.Log, cfg.Now}, metrics: x.metrics, log: x.log, now: cfg.Now}
	x.Directory = &Directory{book: x.book, rules: rules, now: cfg.Now}
	x.Figures = &Figures{market: x.market, log: cfg.Log, rules: rules, directory: x.Directory, now: cfg.Now}
	x.Finder = &Finder{book: x.book, search: x.search, rules: rules, directory: x.Directory, figures: x.Figures, log: cfg.Log, events: cfg.Events,
		metrics: x.metrics, now: cfg.Now, past: make(chan struct{}, 1)}
	registerGauges(cfg.Metrics, x)
	return x, nil
}

// discard deletes a store that cannot be opened. If another process holds the store open,
// discard returns err and deletes nothing.
func (x *Index) discard(store string, err error) error {
	if locked(err) {
		return err
	}
	x.metrics.rebuilds.WithLabelValues(store).Inc()
	x.log.Error("index store cannot be opened, rebuilding it from the log", "store", store, "error", err)
	return os.RemoveAll(filepath.Join(x.cfg.Dir, store))
}

// locked reports whether err says that another process holds the store open. The store is
// not damaged if so. Badger returns no typed error for this case, so the text is
// compared.
func locked(err error) bool {
	return err != nil && strings.Contains(err.Error(), "Cannot acquire directory lock")
}

// Run applies the log to both stores and to the statistics until ctx ends. Run returns nil if
// ctx has ended, and otherwise the error that stopped it.
func (x *Index) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return x.books.follow(ctx) })
	g.Go(func() error { return x.searches.follow(ctx) })
	g.Go(func() error { return x.market.Run(ctx) })
	err := g.Wait()
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// Close closes both stores, and writes the checkpoint of the statistics.
func (x *Index) Close() error {
	return errors.Join(x.search.close(), x.book.close(), x.market.Close())
}

// Ready reports whether both stores and the statistics have caught up with the log since
// Open.
func (x *Index) Ready() bool { return x.health.ready() && x.market.Ready() }

// CatchUp applies the current log to both stores and to the statistics, and returns. CatchUp
// is for programs that do not call Run.
func (x *Index) CatchUp(ctx context.Context) error {
	if err := x.market.CatchUp(ctx, nil); err != nil {
		return err
	}
	if err := x.books.pass(ctx); err != nil {
		return err
	}
	for {
		more, err := x.searches.pass(ctx)
		if err != nil || !more && x.search.state.cursor >= x.book.cursor.Load() {
			return err
		}
	}
}

// Progress is the progress of a rebuild.
type Progress struct {
	Stage string // "book", then "search", then "statistics"
	Done  uint64
	Total uint64
}

// Rebuild deletes both stores and the statistics, and rebuilds them from the log. Rebuild must not be called
// during Run. progress may be nil.
func (x *Index) Rebuild(ctx context.Context, progress func(Progress)) error {
	if progress == nil {
		progress = func(Progress) {}
	}
	x.health.searchReady.Store(false)
	if err := x.books.rebuild(ctx, progress); err != nil {
		return err
	}
	total := uint64(0)
	if err := x.searches.build(ctx, func(done int) { progress(Progress{storeSearch, uint64(done), total}) }); err != nil {
		return err
	}
	if err := x.market.Rebuild(ctx, func(done, total uint64) { progress(Progress{market.Name, done, total}) }); err != nil {
		return err
	}
	return x.CatchUp(ctx)
}

// Digest returns a hash over the content of both stores. Two indexes that have followed
// the same log to the same position return the same digest, regardless of restarts and
// rebuilds. Expired orders are hashed in the state of the last sweep.
func (x *Index) Digest(ctx context.Context) (string, error) {
	book, err := x.book.digest()
	if err != nil {
		return "", err
	}
	search, err := x.search.digest(ctx)
	if err != nil {
		return "", err
	}
	return book + search, nil
}

// Check returns an error if the data in memory differs from the book on disk.
func (x *Index) Check() error { return x.book.check() }

// Now returns the time of the index's clock.
func (x *Index) Now() time.Time { return x.cfg.Now() }
