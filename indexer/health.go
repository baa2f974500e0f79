package indexer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// health is the state of the two stores: whether they have caught up with the log since
// Open, and when a damaged store was rebuilt last. Both followers use one health.
type health struct {
	log     *slog.Logger
	metrics *metrics

	bookReady, searchReady atomic.Bool

	mu     sync.Mutex
	healed map[string]time.Time // time of the last rebuild by store; guarded by mu
}

func (h *health) ready() bool { return h.bookReady.Load() && h.searchReady.Load() }

// heal deletes a store of the index that failed, so that it is rebuilt from the log. If
// the store fails again within healAgain, the cause is most often outside the store (a
// full disk), and heal returns the error.
func (h *health) heal(ctx context.Context, err error, reset func() error, store string) error {
	var own *storeError
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !errors.As(err, &own) || errors.Is(err, ErrClosed) || errors.Is(err, badger.ErrDBClosed) {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if last, again := h.healed[store]; again && now.Sub(last) < healAgain {
		return fmt.Errorf("%s failed again after its rebuild at %s: %w", store, last.UTC().Format(time.RFC3339), err)
	}
	h.healed[store] = now
	h.metrics.rebuilds.WithLabelValues(store).Inc()
	h.log.Error("index store is damaged, rebuilding it from the log", "store", store, "error", err)
	if store == storeBook {
		h.bookReady.Store(false)
	}
	h.searchReady.Store(false)
	if err := reset(); err != nil {
		return fmt.Errorf("reset %s: %w", store, err)
	}
	return nil
}

// healAgain is the time after a rebuild within which a second failure of the store is
// returned as an error.
const healAgain = 10 * time.Minute
