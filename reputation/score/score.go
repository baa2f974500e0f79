package score

import (
	"fmt"
	"time"
)

// The sub-scores, in the order of Score.Sub.
const (
	SubUsers      = iota // U: what users with a receipt say
	SubCompletion        // C: trades that ended well, of those taken
	SubDisputes          // D: how often they were disputed, and how soon that was resolved
	SubVolume            // V: how much was traded, with confirmed cost
	SubLiveness          // L: whether the node was there
	SubLongevity         // G: for how many days it was seen
	subScores
)

// SubNames are the sub-scores' names, as tags and JSON spell them.
var SubNames = [subScores]string{"users", "completion", "disputes", "volume", "liveness", "longevity"}

// SubScore is one part of a score: the mean and the 5 and 95 percent bounds of
// what is believed of it, each from 0 to 1.
type SubScore struct {
	Name   string `json:"name"`
	Weight Micro  `json:"weight"`
	Mean   Micro  `json:"mean"`
	Lo     Micro  `json:"lo"`
	Hi     Micro  `json:"hi"`
	Why    string `json:"why"` // the numbers that it rests on, in words
}

// Score is what is believed of one Mostro at one moment, and why.
type Score struct {
	Pubkey string    `json:"pubkey"`
	Name   string    `json:"name"` // "" for a node that names itself nothing
	AsOf   time.Time `json:"as_of"`

	// Rank is the floor of Lo, less what Gates take: how well the node
	// behaves, as far as the evidence goes. 0 to 100.
	Rank int `json:"rank"`
	// ExposureSats is how much this evidence can secure: what the node
	// demonstrably gave up for it, halved every year.
	ExposureSats int64 `json:"exposure_sats"`

	Value Micro `json:"value"` // 0 to 100, at the means
	Lo    Micro `json:"lo"`    // 5 percent bound
	Hi    Micro `json:"hi"`    // 95 percent bound
	N     int   `json:"n"`     // ratings that count
	NEff  Micro `json:"n_eff"` // as many equal ratings
	Mu    Micro `json:"mu"`    // what users say of other nodes, the prior of U

	Sub      [subScores]SubScore `json:"sub"`
	Gates    []string            `json:"gates"` // why Rank is below the floor of Lo
	Flags    []Flag              `json:"flags"` // what a user should know before trading
	Linked   []string            `json:"linked"`
	Evidence Evidence            `json:"evidence"`

	// Unranked says why no rank is shown, one of the Unranked constants; "" where
	// one is. Rank of a node that is watched is the one it would have: it is
	// shown to nobody and published nowhere.
	Unranked  string `json:"unranked"`
	WatchDays int    `json:"watch_days"` // witnessed days that a rank needs

	// Provisional says that nothing of this node was witnessed yet. Then Claim
	// orders such nodes among themselves: the value that it would have if all
	// that it claims were witnessed. It is never a rank.
	Provisional bool  `json:"provisional"`
	Claim       Micro `json:"claim"`

	Algo string `json:"algo"`
	Root string `json:"root"` // Merkle root of the node's inputs, hex
}

// WatchProgress says for how long a node was watched, where that is too short.
func (s *Score) WatchProgress() string {
	return fmt.Sprintf("watched %d of %d days", s.Evidence.WitnessedDays, s.WatchDays)
}

// WhyUnranked says in words why a node has no rank: its last gate does.
func (s *Score) WhyUnranked() string {
	if len(s.Gates) == 0 {
		return s.Unranked
	}
	if s.Unranked == UnrankedWatching {
		return s.WatchProgress()
	}
	return s.Gates[len(s.Gates)-1]
}

// Reasons why a node has no rank that is shown.
const (
	UnrankedUnwitnessed = "unwitnessed" // nothing of it was witnessed
	UnrankedWatching    = "watching"    // witnessed on too few days
	UnrankedClock       = "clock"       // nothing was witnessed, because its clock is off
)

// Flag is a warning about a node.
type Flag struct {
	Name string `json:"name"` // one of the Flag constants
	Text string `json:"text"` // one sentence with the numbers
}

// Names of flags.
const (
	FlagEquivocation = "equivocation"  // signed two versions of one order for one second
	FlagOverIssue    = "over-issue"    // more receipts than trades
	FlagWhitewash    = "same-node"     // an older key names the same Lightning node
	FlagOrderSize    = "order-size"    // an order under way far above what the node traded so far
	FlagOpenVolume   = "open-volume"   // far more under way than usual
	FlagRatingShift  = "rating-shift"  // ratings of two days unlike all before
	FlagOmission     = "omission"      // taken orders that never ended
	FlagExposure     = "exposure"      // more is under way than the evidence can secure
	FlagErased       = "erased"        // the node asked to delete evidence
	FlagTestNetwork  = "test-network"  // trades without real bitcoin
	FlagSlotSparse   = "rare-presence" // it announces itself too rarely to judge
	FlagClock        = "clock-off"     // its events bear another time than that of their receipt
)

// RatedBy is one rating of a node, and what became of it.
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

	Proof  string `json:"proof"`  // "R0" to "R3"; "" none
	Weight Micro  `json:"weight"` // 0: it does not count
	Reason string `json:"reason"` // why it does not, or what lessens it
	// Moves is by how much the node's value (0 to 100) would fall without
	// this rating.
	Moves Micro `json:"moves"`
}

// Refusal is an event that meant to be evidence and is not.
type Refusal struct {
	EventID string `json:"event_id"`
	Kind    int    `json:"kind"`
	Host    string `json:"host"` // whom it was about, where that could be read
	Reason  string `json:"reason"`
}
