package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/mostrodex/mostrodex/relay/federation"
)

// clockEvery is the interval at which the clock is compared with those of relays.
const clockEvery = time.Minute

// clockNotes returns a line for the operator if the clock differs from those of the relays that
// are followed. us may be nil.
func clockNotes(us *federation.Upstreams) []string {
	if us == nil {
		return nil
	}
	skew, relays := us.ClockSkew()
	if skew.Abs() < clockWarn {
		return nil
	}
	side := "ahead of"
	if skew < 0 {
		side = "behind"
	}
	return []string{fmt.Sprintf("the clock is %s %s those of %d relays: set the clock, for example by NTP", skew.Abs(), side, relays)}
}

// runClock logs a clock that is wrong, once, and when it is right again.
func runClock(ctx context.Context, us *federation.Upstreams, log *slog.Logger) error {
	tick := time.NewTicker(clockEvery)
	defer tick.Stop()
	wrong := false
	for {
		notes := clockNotes(us)
		if len(notes) > 0 && !wrong {
			log.Warn(notes[0])
		} else if len(notes) == 0 && wrong {
			log.Info("the clock agrees with those of relays again")
		}
		wrong = len(notes) > 0
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
