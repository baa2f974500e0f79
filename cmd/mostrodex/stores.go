package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/prometheus/client_golang/prometheus"
)

// ambient holds the logger, the metrics and the clock with which all rooms of a program are
// opened. No field is nil.
type ambient struct {
	logger   *slog.Logger
	registry *prometheus.Registry
	now      func() time.Time
	notice   string // on every page; "": none
}

// stores are the log of a data directory and its index. The verbs on the data directory of
// a stopped server need no more.
type stores struct {
	data  string
	store *eventlog.Store
	index *indexer.Index // nil: disabled
	rules relayRules

	freeSpace func(dir string) (int64, error) // of a test; nil: statfs
}

// relayRules lets the index query the rules of the relay, which is created after the index.
// The verbs on a data directory have no relay and show all events.
type relayRules struct{ relay *relay.Server }

func (r *relayRules) Hidden() (version uint64, never, onDemand, events map[[32]byte]struct{}) {
	if r.relay == nil {
		return 0, nil, nil, nil
	}
	return r.relay.Moderated()
}

// open opens the log and the index. If bulk is set, the log is opened to import a file.
// serving is closed when the program serves; nil if it never does. If open returns an error,
// close closes the stores that were opened.
func (s *stores) open(c *Config, with ambient, bulk bool, serving <-chan struct{}) (err error) {
	s.data = c.Data
	if exists(filepath.Join(c.Data, unfinishedFile)) {
		return fmt.Errorf("%s: %w", c.Data, errUnfinished)
	}
	budget := c.Relay.BodyCacheMiB << 20
	if budget == 0 {
		budget = -1
	}
	s.store, err = eventlog.Open(eventlog.Config{Dir: c.Data, Bulk: bulk, BodyCache: budget, Settled: serving, DiskReserve: int64(c.Relay.DiskReserveMiB) << 20, FreeSpace: s.freeSpace,
		Progress: func(n int) { with.logger.Info("loading the live index", "events", n) }, Logger: with.logger, Metrics: with.registry, Now: with.now})
	if err != nil || !c.Indexer.Enabled {
		return err
	}
	s.index, err = indexer.Open(indexer.Config{Dir: c.Data, Log: s.store, Events: s.store, Rules: &s.rules, Logger: with.logger, Metrics: with.registry, Now: with.now})
	return err
}

// closeLook is how long closing may take before the data directory is looked at.
const closeLook = 3 * time.Second

// close closes the readers in their order, then the index and the log. Badger retries the
// write of its tables without end. If the data directory accepts no writes, for example on a
// disk that became read-only, close returns an error and leaves the stores as after a crash.
func (s *stores) close(readers ...io.Closer) error {
	if s.store != nil {
		s.store.GiveUpRoom() // the reserve is for the writes of the other stores when they close
	}
	closed := make(chan error, 1)
	go func() {
		var errs []error
		for _, r := range readers {
			errs = append(errs, r.Close())
		}
		if s.index != nil {
			errs = append(errs, s.index.Close())
		}
		if s.store != nil {
			errs = append(errs, s.store.Close())
		}
		closed <- errors.Join(errs...)
	}()
	look := time.NewTicker(closeLook)
	defer look.Stop()
	for {
		select {
		case err := <-closed:
			return err
		case <-look.C:
			if err := takesWrites(s.data); err != nil {
				return fmt.Errorf("the stores are left as they are, and finished at the next start: %w", err)
			}
		}
	}
}

// takesWrites returns the error of creating a file in dir, or nil.
func takesWrites(dir string) error {
	f, err := os.CreateTemp(dir, ".look-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
