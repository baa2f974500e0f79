package eventlog

import (
	"context"
	"encoding/json"
)

// UpstreamCursor is how far a walk through a relay's past has come. All times are
// created_at.
type UpstreamCursor struct {
	// Through: all that the relay held at or before it has been taken, at WalkedAt.
	Through  int64 `json:"through,omitempty"`
	WalkedAt int64 `json:"walked_at,omitempty"` // when the last walk through everything ended
	// An unfinished walk: all from At up to From has been taken; Whole says that
	// it goes to the beginning.
	From  int64 `json:"from,omitempty"`
	At    int64 `json:"at,omitempty"`
	Whole bool  `json:"whole,omitempty"`
}

// UpstreamCursor returns a relay's cursor for a filter. The cursor is zero if there
// is none, or if the stored one cannot be read: the walk begins anew.
func (st *Store) UpstreamCursor(relay, filter string) (cur UpstreamCursor, err error) {
	raw, err := st.getKey(cursorKey(relay, filter))
	if err != nil {
		return UpstreamCursor{}, err
	}
	if raw != nil && json.Unmarshal(raw, &cur) != nil {
		return UpstreamCursor{}, nil
	}
	return cur, nil
}

// EnqueueUpstreamCursor has a relay's cursor for a filter committed with the events
// that the same goroutine enqueued before, or after them.
func (st *Store) EnqueueUpstreamCursor(ctx context.Context, relay, filter string, cur UpstreamCursor) error {
	b, err := json.Marshal(cur)
	if err != nil {
		return err
	}
	_, err = st.enqueueKeys(ctx, keyWrite{cursorKey(relay, filter), b})
	return err
}
