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

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/errgroup"
)

// Events gives raw events by id.
type Events interface {
	// Event returns the event while its body is readable, live or not;
	// mostro.ErrNotFound otherwise.
	Event(ctx context.Context, id string) (*nostr.Event, error)
}

// Config is what an Index is opened with.
type Config struct {
	Dir    string // the data directory; book/ and search/ are made in it
	Log    Log
	Events Events           // raw events, for GET /api/v1/events and NIP-50
	Rules  Rules            // what is not shown; nil: everything is
	Logger *slog.Logger     // nil: slog.Default
	Now    func() time.Time // nil: time.Now
}

// Index is the book and search over one log. Open it, call Run once, Close it
// after Run has returned. Everything else may be called by any number of
// goroutines in between.
type Index struct {
	cfg     Config
	log     *slog.Logger
	book    *book
	search  *searchIndex
	metrics *metrics

	bookReady, searchReady atomic.Bool
	generation             atomic.Uint64 // batches that search has written
	descriptions           descriptionCache
	counted                facetCache
	moderated              moderationCache
	past                   chan struct{} // a place to read the whole history: one at a time

	healing sync.Mutex
	healed  map[string]time.Time // guarded by healing
}

// Open opens the index in cfg.Dir, or makes it. A store that cannot be opened
// is deleted and begun anew, with a line in the log.
func Open(cfg Config) (*Index, error) {
	if cfg.Log == nil || cfg.Events == nil || cfg.Dir == "" {
		return nil, errors.New("index: Dir, Log and Events must be given")
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
		// The log is another one, or an older copy.
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

// discard deletes a store that cannot be opened. One that another process
// holds open is left alone.
func (x *Index) discard(store string, err error) error {
	if locked(err) {
		return err
	}
	x.metrics.rebuilds.WithLabelValues(store).Inc()
	x.log.Error("index store cannot be opened, rebuilding it from the log", "store", store, "error", err)
	return os.RemoveAll(filepath.Join(x.cfg.Dir, store))
}

// Run follows the log until ctx ends, and returns nil then.
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

// Ready says whether both stores have caught up with the log since Open.
func (x *Index) Ready() bool { return x.bookReady.Load() && x.searchReady.Load() }

// CatchUp applies what the log holds now to both stores and returns. It is
// for programs that do not Run the index.
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

// Progress is how far a rebuild has come.
type Progress struct {
	Stage string // "book", then "search"
	Done  uint64
	Total uint64
}

// Rebuild deletes both stores and grows them again from the log. It must not
// be called while Run runs. progress may be nil.
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

// Digest is a hash over all that both stores say. Two indexes that followed
// the same log to the same position have the same, whatever restarts and
// rebuilds lay between; expired orders count as of the last sweep.
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

// Check proves that memory says what the book says on disk.
func (x *Index) Check() error { return x.book.check() }

// Order gives an order by its author and d, with all its versions, oldest
// first; mostro.ErrNotFound when it is not known.
func (x *Index) Order(pubkey, d string) (*Record, []*Version, error) {
	k := keyOf(addressOf(pubkey, d))
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

// History returns an order with up to limit of its versions, oldest first: the
// newest of those behind a cursor, "" from the newest of all. next is the cursor
// of older ones, "" for none. It returns mostro.ErrNotFound if the order is not
// known, or the rules hide it; with spam, orders in quarantine are shown.
func (x *Index) History(ctx context.Context, pubkey, d, cursor string, limit int, spam bool) (record *Record, versions []*Version, next string, err error) {
	k := keyOf(addressOf(pubkey, d))
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
	return record, slices.DeleteFunc(versions, func(v *Version) bool { return mod.hides(pubkey, v.Order.EventID, true) }), next, err
}

// Event returns a raw event. It returns mostro.ErrNotFound for mail, which the
// relay's subscribers alone are served, and for what the rules hide.
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

// Visible returns mostro.ErrNotFound if the rules hide an event of an author, or
// for id "" the author. With spam, keys in quarantine are visible.
func (x *Index) Visible(ctx context.Context, pubkey, id string, spam bool) error {
	mod, err := x.moderation(ctx)
	if err == nil && mod.hides(pubkey, id, spam) {
		err = mostro.ErrNotFound
	}
	return err
}

// MethodSpelling returns a folded payment method as it was first written.
func (x *Index) MethodSpelling(folded string) string { return x.book.live.Load().spelling(folded) }
