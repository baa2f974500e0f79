package mostro

// Standing is what a reputation says of a node in a few numbers. How it was
// come to is the reputation's business.
type Standing struct {
	Rank        int      // 0 to 100; of no meaning where Unranked says something
	Lo, Hi      float64  // 5 and 95 percent bounds of how well the node behaves, 0 to 100
	Provisional bool     // nothing of the node was witnessed yet: it has no rank
	Unranked    string   // why it has no rank: "unwitnessed", "watching", "clock"; "" where it has one
	WatchedDays int      // on which something of it was witnessed
	WatchDays   int      // that a rank needs
	Claim       float64  // where Provisional: 0 to 100, were all that it claims so
	Exposure    int64    // sats that the evidence can secure
	Trades      Evidence // that ended well
	VolumeSats  Evidence // of them
	Disputes    Evidence
	Flags       []string // names of warnings
}

// Evidence is one number in its three kinds: what the node signed, what a
// relay saw in time, and what somebody else confirms was paid.
type Evidence struct {
	Claimed   int64 `json:"claimed"`
	Witnessed int64 `json:"witnessed"`
	Costed    int64 `json:"costed"`
}
