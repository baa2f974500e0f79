package score

import "time"

// Triple is one number of evidence in its three kinds. Claimed covers the signed events of
// the node, whenever they arrived. Witnessed covers the events that this relay received in
// time. Costed covers the events whose fee a development fund confirms.
type Triple struct {
	Claimed   int64 `json:"claimed" doc:"by all signed events of the node"`
	Witnessed int64 `json:"witnessed" doc:"by events that this relay received in time"`
	Costed    int64 `json:"costed" doc:"by events whose fee a development fund confirms"`
}

// Evidence is the sum of all facts about a node.
type Evidence struct {
	Orders    Triple `json:"orders"`    // order addresses
	Taken     Triple `json:"taken"`     // taken orders
	Successes Triple `json:"successes"` // trades that ended well
	Failures  Triple `json:"failures"`  // orders that were taken and then cancelled
	Omitted   Triple `json:"omitted"`   // taken orders without a published end
	Silent    Triple `json:"silent"`    // offers that expired without a published end
	Expired   Triple `json:"expired"`   // offers that were never taken
	// CancelledEarly are orders that were cancelled so soon after the take that no side
	// had to pay. EndedLate are orders whose end was received late. Both say nothing about
	// the node.
	CancelledEarly Triple `json:"cancelled_early"`
	EndedLate      Triple `json:"ended_late"`
	VolumeSats     Triple `json:"volume_sats"`  // of the successes
	Disputes       Triple `json:"disputes"`     //
	Resolved       Triple `json:"resolved"`     // resolved disputes
	Unresolved     Triple `json:"unresolved"`   // disputes that were open for longer than the allowed time
	DevFees        Triple `json:"dev_fees"`     // events
	DevFeeSats     Triple `json:"dev_fee_sats"` //
	Ratings        Triple `json:"ratings"`      // ratings of the node by users
	Proven         Triple `json:"proven"`       // ratings with a valid receipt
	UserRatings    Triple `json:"user_ratings"` // ratings of users by the node: shown, without weight
	Infos          Triple `json:"infos"`        // hours in which the node described itself
	OpenSats       Triple `json:"open_sats"`    // offered or taken now

	FirstClaimed   time.Time `json:"first_claimed"`   // zero if there is none
	FirstWitnessed time.Time `json:"first_witnessed"` // zero if there is none
	LastWitnessed  time.Time `json:"last_witnessed"`  // zero if there is none
	WitnessedDays  int       `json:"witnessed_days"`  // number of days with a witnessed event
	TakeSecondsP90 int64     `json:"take_seconds_p90"`

	Equivocations []Equivocation `json:"equivocations"`
}

// Equivocation is the proof that a key signed two versions of one address with one
// created_at.
type Equivocation struct {
	Address   string    `json:"address"`
	CreatedAt time.Time `json:"created_at"`
	IDs       [2]string `json:"ids"` // sorted
}
