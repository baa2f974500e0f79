package score

import (
	"fmt"
	"time"
)

// The sub-scores, in the order of Score.Sub.
const (
	SubUsers      = iota // U: ratings by users with a receipt
	SubCompletion        // C: the share of taken trades that ended well
	SubDisputes          // D: how often trades were disputed, and how soon disputes were resolved
	SubVolume            // V: the traded amount with confirmed cost
	SubLiveness          // L: the share of days on which the node was present
	SubLongevity         // G: the number of days on which the node was seen
	subScores
)

// SubNames are the names of the sub-scores in tags and JSON.
var SubNames = [subScores]string{"users", "completion", "disputes", "volume", "liveness", "longevity"}

// SubScore is one part of a score. Mean, Lo and Hi are the mean, the 5 percent bound and
// the 95 percent bound of a posterior distribution, each from 0 to 1.
type SubScore struct {
	Name   string `json:"name"`
	Weight Micro  `json:"weight" doc:"share of the component in the value"`
	Mean   Micro  `json:"mean" doc:"estimate, 0 to 1"`
	Lo     Micro  `json:"lo" doc:"lower bound of the estimate"`
	Hi     Micro  `json:"hi" doc:"upper bound of the estimate"`
	Why    string `json:"why" doc:"the numbers behind the component, as a sentence"`
}

// Score is the estimate of how one Mostro behaves, at one moment, with its reasons.
type Score struct {
	Pubkey string    `json:"pubkey"`
	Name   string    `json:"name"` // "" if the node publishes no name
	AsOf   time.Time `json:"as_of"`

	// Rank is the floor of Lo after the Gates, from 0 to 100. Rank says how well the node
	// behaves, as far as the evidence goes.
	Rank int `json:"rank"`
	// ExposureSats is the amount in sats that this evidence can secure: the sum that the
	// node demonstrably paid for the evidence, halved every year.
	ExposureSats int64 `json:"exposure_sats"`

	Value Micro `json:"value"` // 0 to 100, computed from the means
	Lo    Micro `json:"lo"`    // 5 percent bound
	Hi    Micro `json:"hi"`    // 95 percent bound
	N     int   `json:"n"`     // number of ratings with a weight
	NEff  Micro `json:"n_eff"` // effective number of ratings: the number of equal ratings with the same information
	Mu    Micro `json:"mu"`    // mean rating of the other nodes by their users, the prior of U

	Sub      [subScores]SubScore `json:"sub"`
	Gates    []string            `json:"gates"` // reasons why Rank is below the floor of Lo
	Flags    []Flag              `json:"flags"` // warnings that a user should read before a trade
	Linked   []string            `json:"linked"`
	Evidence Evidence            `json:"evidence"`
	Facts    Facts               `json:"-"` // follows from the same events; a bundle does not repeat it

	// Unranked is the reason why no rank is shown, one of the Unranked constants. Unranked
	// is "" if the rank is shown. If Unranked is UnrankedWatching, Rank is the rank that
	// the node would have. No page shows that rank and no event contains that rank.
	Unranked  string `json:"unranked"`
	WatchDays int    `json:"watch_days"` // number of witnessed days that a rank needs

	// Provisional is set if no event of this node was witnessed yet. Claim then orders
	// such nodes among themselves. Claim is the value that the node would have if all its
	// claims were witnessed. Claim is never a rank.
	Provisional bool  `json:"provisional"`
	Claim       Micro `json:"claim"`

	Algo string `json:"algo"`
	Root string `json:"root"` // Merkle root of the facts about the node, hex
}

// WatchProgress says for how many of the needed days the node was watched. The text makes
// sense only if the node has no rank.
func (s *Score) WatchProgress() string {
	return fmt.Sprintf("watched %d of %d days", s.Evidence.WitnessedDays, s.WatchDays)
}

// WhyUnranked returns a sentence that says why a node has no rank: the watch progress, or
// the clock of the node if nothing can be witnessed because the clock is off.
func (s *Score) WhyUnranked() string {
	if s.Unranked == UnrankedClock && len(s.Gates) > 0 {
		return s.Gates[len(s.Gates)-1]
	}
	return s.WatchProgress()
}

// Reasons why no rank of a node is shown.
const (
	UnrankedUnwitnessed = "unwitnessed" // no event of the node was witnessed
	UnrankedWatching    = "watching"    // witnessed on too few days
	UnrankedClock       = "clock"       // no event was witnessed, because the clock of the node is off
)

// Flag is a warning about a node.
type Flag struct {
	Name string `json:"name" doc:"such as equivocation, over-issue, omission"`
	Text string `json:"text" doc:"one sentence with the numbers"`
}

// Names of flags.
const (
	FlagEquivocation = "equivocation"  // the node signed two versions of one order for one second
	FlagOverIssue    = "over-issue"    // more receipts than trades
	FlagWhitewash    = "same-node"     // an older key names the same Lightning node
	FlagOrderSize    = "order-size"    // an open order is far above the usual trades of the node
	FlagOpenVolume   = "open-volume"   // the open amount is far above the usual open amount
	FlagRatingShift  = "rating-shift"  // the ratings of two days differ from all ratings before
	FlagOmission     = "omission"      // taken orders have no published end
	FlagExposure     = "exposure"      // the open amount is above the amount that the evidence can secure
	FlagErased       = "erased"        // the node asked to delete evidence
	FlagTestNetwork  = "test-network"  // trades without real bitcoin
	FlagSlotSparse   = "rare-presence" // the node announces itself too rarely for a judgement
	FlagClock        = "clock-off"     // the created_at of events differs from the time of receipt
)

// RatedBy is one rating of a node, with its weight and the reason of that weight.
type RatedBy struct {
	EventID    string    `json:"event_id"`
	Rater      string    `json:"rater"`
	OrderID    string    `json:"order_id"`
	Rating     Micro     `json:"rating"` // 0 to 1
	Role       string    `json:"role"`
	Text       string    `json:"text"`
	CreatedAt  time.Time `json:"created_at"`
	ReceivedAt time.Time `json:"received_at"`
	Source     string    `json:"source"`
	Platform   string    `json:"platform"`

	Proof  string `json:"proof"`  // "R0" to "R3"; "" if there is no proof
	Weight Micro  `json:"weight"` // 0 if the rating does not count
	Reason string `json:"reason"` // why the weight is 0 or reduced
	// Moves is the amount by which the value of the node (0 to 100) would fall without
	// this rating.
	Moves Micro `json:"moves"`
}

// Refusal is an event of an evidence kind that was refused as evidence.
type Refusal struct {
	EventID string `json:"event_id"`
	Kind    int    `json:"kind"`
	Host    string `json:"host"` // pubkey of the node that the event is about; "" if unreadable
	Reason  string `json:"reason"`
}
