package eventlog

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/mostrodex/mostrodex/relay/eventlog/recordlog"
)

// damageReport counts and logs damaged records, each record once.
type damageReport struct {
	logger  *slog.Logger
	metrics *metrics

	mu   sync.Mutex // guards seqs
	seqs map[uint64]struct{}
}

// report counts and logs a damaged entry, unless report was called for the entry before.
func (d *damageReport) report(seq uint64, err error) {
	const maxReported = 10_000
	d.mu.Lock()
	_, known := d.seqs[seq]
	if !known && len(d.seqs) < maxReported {
		if d.seqs == nil {
			d.seqs = make(map[uint64]struct{})
		}
		d.seqs[seq] = struct{}{}
		d.metrics.damaged.Inc()
	}
	known = known || len(d.seqs) >= maxReported
	d.mu.Unlock()
	if !known {
		d.logger.Error("log entry damaged: it is skipped; mostrodex log verify lists all damage", "entry", seq, "err", err)
	}
}

// IsDamage reports whether err says that the disk returned other bytes than the store
// had written.
func IsDamage(err error) bool { return recordlog.IsDamage(err) }

// failure holds the error that has put the store in doubt.
type failure struct {
	logger *slog.Logger
	once   sync.Once
	err    error         // set before dead is closed
	dead   chan struct{} // closed if the store can no longer be trusted
}

// fail puts the store in doubt. Only the first error is kept.
func (f *failure) fail(err error) {
	f.once.Do(func() {
		f.err = fmt.Errorf("the event log is in doubt: %w", err)
		f.logger.Error("event log in doubt", "err", err)
		close(f.dead)
	})
}

// get returns the error, or nil if the store is sound.
func (f *failure) get() error {
	select {
	case <-f.dead:
		return f.err
	default:
		return nil
	}
}
