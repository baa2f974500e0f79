package eventlog

import (
	"context"
	"encoding/json"
)

// UpstreamCursor is the progress of a backfill from another relay. All times but
// WalkedAt are created_at.
type UpstreamCursor struct {
	// Through is the time up to which all events of the relay were taken, as of
	// WalkedAt.
	Through  int64 `json:"through,omitempty"`
	WalkedAt int64 `json:"walked_at,omitempty"` // time of the last complete walk
	// An unfinished walk has taken all events from At to From. Whole is set if the walk
	// goes to the beginning.
	From  int64 `json:"from,omitempty"`
	At    int64 `json:"at,omitempty"`
	Whole bool  `json:"whole,omitempty"`
}

// upstreamCursors owns the keyspace spaceCursor, which only the committer writes. It has
// no fields of its own.
type upstreamCursors struct{ *parts }

// UpstreamCursor returns a relay's cursor for a filter. If there is no cursor, or if
// the stored cursor is not readable, the zero cursor is returned and the walk begins
// anew.
func (u *upstreamCursors) UpstreamCursor(relay, filter string) (cur UpstreamCursor, err error) {
	raw, err := u.keys.get(cursorKey(relay, filter))
	if err != nil {
		return UpstreamCursor{}, err
	}
	if raw != nil && json.Unmarshal(raw, &cur) != nil {
		return UpstreamCursor{}, nil
	}
	return cur, nil
}

// EnqueueUpstreamCursor commits a relay's cursor for a filter together with the events
// that the same goroutine enqueued before, or after these events.
func (u *upstreamCursors) EnqueueUpstreamCursor(ctx context.Context, relay, filter string, cur UpstreamCursor) error {
	b, err := json.Marshal(cur)
	if err != nil {
		return err
	}
	_, err = u.queue.putKeys(ctx, keyWrite{cursorKey(relay, filter), b})
	return err
}

// cursorKey returns the key of an upstream relay's cursor for one filter.
func cursorKey(relay, filter string) []byte {
	return append(append(append([]byte{spaceCursor}, relay...), 0), filter...)
}
