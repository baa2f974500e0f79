package room

import (
	"context"
	"log/slog"
	"testing"
	"time"
)

func TestNilIsTheDefault(t *testing.T) {
	if l := Logger(nil); l == nil || l.Enabled(context.Background(), slog.LevelError) {
		t.Error("the logger for nil does not discard")
	}
	if now := Clock(nil); now == nil || time.Since(now()) > time.Hour || time.Since(now()) < 0 {
		t.Error("the clock for nil is not the time")
	}
	own, at := slog.Default(), time.Unix(1, 0)
	if Logger(own) != own || Clock(func() time.Time { return at })() != at {
		t.Error("a value that is set is not kept")
	}
}
