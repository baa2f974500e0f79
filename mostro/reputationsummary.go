package mostro

// ReputationSummary is a short summary of a node's reputation. Package reputation computes it.
type ReputationSummary struct {
	Rank        int      // 0 to 100; without meaning if Unranked is set
	Lo, Hi      float64  // 5 and 95 percent bounds of the node's good behaviour, 0 to 100
	Provisional bool     // no event of the node was witnessed yet: it has no rank
	Unranked    string   // reason for having no rank: "unwitnessed", "watching", "clock"; "" if there is a rank
	Borrowed    *int     // rank by the receive logs of other relays; nil if there is none
	WatchedDays int      // days on which an event of the node was witnessed
	WatchDays   int      // days that a rank needs
	Claim       float64  // if Provisional: 0 to 100, the rank if all claims were true
	Exposure    int64    // sats that the evidence can secure
	Trades      Evidence // trades that ended well
	VolumeSats  Evidence // volume of Trades
	Disputes    Evidence
	Flags       []string // names of warnings
}

// Evidence is one number in three kinds: signed by the node, witnessed by a relay in
// time, and confirmed as paid by another party.
type Evidence struct {
	Claimed   int64 `json:"claimed"`
	Witnessed int64 `json:"witnessed"`
	Costed    int64 `json:"costed"`
}
