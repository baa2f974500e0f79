package indexer

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
)

// pouringLog is a log whose head grows by step at each of the first n calls of Head.
type pouringLog struct {
	head, step, n atomic.Int64
}

func (l *pouringLog) Head() uint64 {
	if l.n.Add(-1) >= 0 {
		l.head.Add(l.step.Load())
	}
	return uint64(l.head.Load())
}

func (l *pouringLog) Read(context.Context, uint64, func(mostro.Entry) error) error { return nil }
func (l *pouringLog) ReadEvidence(context.Context, uint64, func(mostro.Entry) error) error {
	return nil
}
func (l *pouringLog) EntryAt(context.Context, uint64) (mostro.Entry, error) {
	return mostro.Entry{}, mostro.ErrNotFound
}
func (l *pouringLog) Wait(context.Context, uint64) error { return nil }

func TestThrottle(t *testing.T) {
	for name, c := range map[string]struct {
		step, asked int64 // growth per call, and number of calls with growth
		tick        time.Duration
		wantLooks   int64
	}{
		"NothingWaits":    {step: 10, asked: 10, wantLooks: 1},
		"QuietAtOnce":     {step: 0, asked: 0, wantLooks: 2},
		"PourThenQuiet":   {step: 5000, asked: 4, wantLooks: 6},
		"PatienceRunsOut": {step: 5000, asked: 1 << 40, tick: throttleLimit, wantLooks: 2},
	} {
		t.Run(name, func(t *testing.T) {
			log := &pouringLog{}
			log.step.Store(c.step)
			log.n.Store(c.asked)
			if name != "NothingWaits" {
				log.head.Store(10_000)
			}
			looks := int64(0)
			now := time.Unix(1_780_000_000, 0)
			slow := throttle{log: countingLog{log, &looks}, now: func() time.Time { now = now.Add(c.tick); return now }}
			if err := slow.wait(context.Background(), 0); err != nil {
				t.Fatal(err)
			}
			if looks != c.wantLooks {
				t.Errorf("looked %d times, want %d", looks, c.wantLooks)
			}
		})
	}
	t.Run("CtxEnds", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		log := &pouringLog{}
		log.head.Store(10_000)
		if err := (throttle{log: log, now: time.Now}).wait(ctx, 0); err == nil {
			t.Error("no error")
		}
	})
}

type countingLog struct {
	*pouringLog
	looks *int64
}

func (l countingLog) Head() uint64 { *l.looks++; return l.pouringLog.Head() }
