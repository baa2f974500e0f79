package indexer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
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
	Dir    string // the data directory; book/ and search/ are made in it
	Log    Log
	Events Events           // raw events, for GET /api/v1/events and NIP-50
	Rules  Rules            // the operator's rules of hidden events; nil: nothing is hidden
	Logger *slog.Logger     // nil: slog.Default
	Now    func() time.Time // nil: time.Now
}

// Index is the book and the search index of one log. A caller opens an Index, calls Run
// once, and calls Close after Run has returned. All other methods may be called
// concurrently between Open and Close.
type Index struct {
	cfg     Config
	log     *slog.Logger
	book    *book
	search  *searchIndex
	metrics *metrics

	bookReady, searchReady atomic.Bool
	generation             atomic.Uint64 // number of batches that search has written
	descriptions           descriptionCache
	moderated              moderationCache
	past                   chan struct{} // semaphore of one: only one query at a time reads the whole history

	healing sync.Mutex
	healed  map[string]time.Time // guarded by healing
}

// Open opens the index in cfg.Dir, or creates it. If a store cannot be opened, Open logs
// the error, deletes the store and creates an empty one, which Run rebuilds from the log.
// If another process holds a store open, Open returns the error instead.
func Open(cfg Config) (*Index, error) {
	if cfg.Log == nil || cfg.Events == nil || cfg.Dir == "" {
		return nil, errors.New("index: Dir, Log and Events are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	x := &Index{cfg: cfg, log: cfg.Logger.With("room", "indexer"), healed: map[string]time.Time{}, past: make(chan struct{}, 1)}
	x.metrics = newMetrics(x)
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	if x.book, err = openBook(cfg.Dir, cfg.Now); err != nil {
		if err = x.discard(storeBook, err); err == nil {
			x.book, err = openBook(cfg.Dir, cfg.Now)
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

// Run applies the log to both stores until ctx ends. Run returns nil if ctx has ended,
// and otherwise the error that stopped it.
func (x *Index) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return x.followBook(ctx) })
	g.Go(func() error { return x.followSearch(ctx) })
	err := g.Wait()
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// Close closes both stores.
func (x *Index) Close() error { return errors.Join(x.search.close(), x.book.close()) }

// Ready reports whether both stores have caught up with the log since Open.
func (x *Index) Ready() bool { return x.bookReady.Load() && x.searchReady.Load() }

// CatchUp applies the current log to both stores and returns. CatchUp is for programs
// that do not call Run.
func (x *Index) CatchUp(ctx context.Context) error {
	if err := x.bookPass(ctx); err != nil {
		return err
	}
	for {
		more, err := x.searchPass(ctx)
		if err != nil || !more && x.search.state.cursor >= x.book.cursor.Load() {
			return err
		}
	}
}

// Progress is the progress of a rebuild.
type Progress struct {
	Stage string // "book", then "search"
	Done  uint64
	Total uint64
}

// Rebuild deletes both stores and rebuilds them from the log. Rebuild must not be called
// during Run. progress may be nil.
func (x *Index) Rebuild(ctx context.Context, progress func(Progress)) error {
	if progress == nil {
		progress = func(Progress) {}
	}
	x.bookReady.Store(false)
	x.searchReady.Store(false)
	if err := x.book.reset(); err != nil {
		return err
	}
	head := x.cfg.Log.Head()
	for x.book.cursor.Load() < head {
		after := x.book.cursor.Load()
		batch, upTo, err := x.readBatch(ctx, after, bookBatch, bookBytes)
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if err := x.book.apply(batch, upTo); err != nil {
			return err
		}
		progress(Progress{storeBook, upTo, head})
	}
	x.bookReady.Store(true)
	total := uint64(0)
	if err := x.buildSearch(ctx, func(done int) { progress(Progress{storeSearch, uint64(done), total}) }); err != nil {
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

// Order returns an order by its author and d tag, with all its versions, oldest first. If
// the order is unknown, Order returns mostro.ErrNotFound.
func (x *Index) Order(pubkey, d string) (*orders.Record, []*orders.Version, error) {
	k := orders.KeyOf(orders.Address(pubkey, d))
	record, err := x.book.record(k)
	if err != nil {
		return nil, nil, err
	}
	versions, err := x.book.history(k)
	if errors.Is(err, mostro.ErrNotFound) {
		return nil, nil, err
	}
	return record, versions, err
}

// Now returns the time of the index's clock.
func (x *Index) Now() time.Time { return x.cfg.Now() }

// History returns an order with up to limit of its versions, oldest first. The versions
// are the newest ones before cursor, or the newest of all if cursor is "". next is the
// cursor of the older versions, or "" if there are none. History returns
// mostro.ErrNotFound if the order is unknown or hidden by the rules. If spam is set,
// orders of quarantined keys are returned.
func (x *Index) History(ctx context.Context, pubkey, d, cursor string, limit int, spam bool) (record *orders.Record, versions []*orders.Version, next string, err error) {
	k := orders.KeyOf(orders.Address(pubkey, d))
	if record, err = x.book.record(k); err != nil {
		return nil, nil, "", err
	}
	if err = x.Visible(ctx, pubkey, record.Order.EventID, spam); err != nil {
		return nil, nil, "", err
	}
	if versions, next, err = x.book.historyPage(k, cursor, limit); err != nil {
		return nil, nil, "", err
	}
	mod, err := x.moderation(ctx)
	return record, slices.DeleteFunc(versions, func(v *orders.Version) bool { return mod.Hides(pubkey, v.Order.EventID, true) }), next, err
}

// Event returns a raw event. Event returns mostro.ErrNotFound for private messages, which
// only subscribers of the relay receive, and for events that the rules hide. If spam is
// set, events of quarantined keys are returned.
func (x *Index) Event(ctx context.Context, id string, spam bool) (*nostr.Event, error) {
	evt, err := x.cfg.Events.Event(ctx, id)
	if err != nil {
		return nil, err
	}
	if mostro.IsMail(evt.Kind) {
		return nil, mostro.ErrNotFound
	}
	return evt, x.Visible(ctx, evt.PubKey, evt.ID, spam)
}

// Visible returns mostro.ErrNotFound if the rules hide the event of an author. If id is
// "", Visible asks about the author alone. If spam is set, quarantined keys are visible.
func (x *Index) Visible(ctx context.Context, pubkey, id string, spam bool) error {
	mod, err := x.moderation(ctx)
	if err == nil && mod.Hides(pubkey, id, spam) {
		err = mostro.ErrNotFound
	}
	return err
}

// MethodSpelling returns the original spelling of a folded payment method.
func (x *Index) MethodSpelling(folded string) string { return x.book.live.Load().Spelling(folded) }
