package score

import "time"

// Triple is one number of evidence in its three kinds. Claimed is what the
// node signed, whenever; Witnessed what this relay saw in time; Costed what a
// development fund confirms.
type Triple struct {
	Claimed   int64 `json:"claimed"`
	Witnessed int64 `json:"witnessed"`
	Costed    int64 `json:"costed"`
}

// Evidence is what is known of a node.
type Evidence struct {
	Orders    Triple `json:"orders"`    // addresses
	Taken     Triple `json:"taken"`     // orders that somebody took
	Successes Triple `json:"successes"` // trades that ended well
	Failures  Triple `json:"failures"`  // taken and cancelled
	Omitted   Triple `json:"omitted"`   // taken, and no end was ever published
	Silent    Triple `json:"silent"`    // offered, expired, and no end was ever published
	Expired   Triple `json:"expired"`   // offered, never taken
	// CancelledEarly are orders cancelled so soon after they were taken that no
	// side need have paid; EndedLate those whose end came here late. Neither
	// says anything of the node.
	CancelledEarly Triple `json:"cancelled_early"`
	EndedLate      Triple `json:"ended_late"`
	VolumeSats     Triple `json:"volume_sats"`  // of the successes
	Disputes       Triple `json:"disputes"`     //
	Resolved       Triple `json:"resolved"`     // of the disputes
	Unresolved     Triple `json:"unresolved"`   // for longer than the time allowed
	DevFees        Triple `json:"dev_fees"`     // events
	DevFeeSats     Triple `json:"dev_fee_sats"` //
	Ratings        Triple `json:"ratings"`      // by users, of the node
	Proven         Triple `json:"proven"`       // of them, with a valid receipt
	UserRatings    Triple `json:"user_ratings"` // by the node, of users: shown, never weighed
	Infos          Triple `json:"infos"`        // hours in which it described itself
	OpenSats       Triple `json:"open_sats"`    // on offer or under way now

	FirstClaimed   time.Time `json:"first_claimed"`   // zero: nothing
	FirstWitnessed time.Time `json:"first_witnessed"` // zero: nothing
	LastWitnessed  time.Time `json:"last_witnessed"`  // zero: nothing
	WitnessedDays  int       `json:"witnessed_days"`  // days on which something was witnessed
	TakeSecondsP90 int64     `json:"take_seconds_p90"`

	Equivocations []Equivocation `json:"equivocations"`
}

// Equivocation is proof that a key signed two versions of one address with
// one created_at.
type Equivocation struct {
	Address   string    `json:"address"`
	CreatedAt time.Time `json:"created_at"`
	IDs       [2]string `json:"ids"` // sorted
}
