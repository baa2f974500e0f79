package relay

// pageCursor is how far a walk through a relay's past has come. All times are
// created_at.
type pageCursor struct {
	// Through: all that the relay held at or before it has been taken, at WalkedAt.
	Through  int64 `json:"through,omitempty"`
	WalkedAt int64 `json:"walked_at,omitempty"` // when the last walk through everything ended
	// An unfinished walk: all from At up to From has been taken; Whole says that
	// it goes to the beginning.
	From  int64 `json:"from,omitempty"`
	At    int64 `json:"at,omitempty"`
	Whole bool  `json:"whole,omitempty"`
}
