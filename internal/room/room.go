// Package room holds the rules that are the same for the Config of every room. Each Config
// names these fields alike, and a zero value means the same everywhere:
//
//	Logger  *slog.Logger          // nil: log lines are discarded
//	Metrics prometheus.Registerer // nil: metrics are not registered
//	Now     func() time.Time      // nil: time.Now
//
// A room creates its metrics with promauto.With(cfg.Metrics), which accepts nil. Counters
// are registered when a room begins to open, because they count the repairs of Open. Gauges
// that read the room are registered when it is open. If opening fails, the registry must
// not be used for another attempt.
package room

import (
	"log/slog"
	"time"
)

// Logger returns l, or a logger that discards every line if l is nil.
func Logger(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}

// Clock returns now, or time.Now if now is nil.
func Clock(now func() time.Time) func() time.Time {
	if now == nil {
		return time.Now
	}
	return now
}
