package reputation

import (
	"strconv"
	"time"

	"github.com/mostrodex/mostrodex/reputation/score"
)

// borrower is an optional interface of a Known that reads the receive logs of other relays.
// A Service implements borrower.
type borrower interface {
	SeenBy(pubkey string) []SeenBy
	Borrowed(pubkey string) (rank int, ok bool)
}

// seenByView is the score of a node as one witness saw the node.
type seenByView struct {
	Witness     string       `json:"witness" unit:"64 hex digits" doc:"key that signed the receive log"`
	Rank        *int         `json:"rank" null:"there is no rank; reason says why" doc:"0 to 100"`
	Reason      *string      `json:"reason" null:"there is a rank" doc:"unwitnessed, watching or clock"`
	Lo          *score.Micro `json:"lo" null:"there is no rank" doc:"lower bound of the value, 0 to 100"`
	Hi          *score.Micro `json:"hi" null:"there is no rank" doc:"upper bound"`
	WatchedDays int          `json:"watched_days" unit:"days" doc:"days on which the witness received events in time"`
	WatchDays   int          `json:"watch_days" unit:"days" doc:"witnessed days that a rank needs"`
	Trades      int64        `json:"trades" doc:"trades that ended well, by events that the witness received in time"`
	Disputes    int64        `json:"disputes" doc:"disputes that the witness received in time"`
	Until       int64        `json:"until" unit:"unix seconds" doc:"newest receipt that the witness stated"`
	UntilRFC    string       `json:"until_rfc3339"`
}

func seenByViews(known Known, pubkey string) []seenByView {
	out := []seenByView{}
	from, ok := known.(borrower)
	if !ok {
		return out
	}
	for _, x := range from.SeenBy(pubkey) {
		s := x.Score
		v := seenByView{Witness: x.Witness, Reason: wordsOrNull(s.Unranked), WatchedDays: s.Evidence.WitnessedDays, WatchDays: s.WatchDays,
			Trades: s.Evidence.Successes.Witnessed, Disputes: s.Evidence.Disputes.Witnessed, Until: x.Until.Unix(), UntilRFC: x.Until.UTC().Format(time.RFC3339)}
		if s.Unranked == "" {
			v.Rank, v.Lo, v.Hi = &s.Rank, &s.Lo, &s.Hi
		}
		out = append(out, v)
	}
	return out
}

// borrowedRank returns the rank of a node by the witnesses, or nil if there is none.
func borrowedRank(known Known, pubkey string) *int {
	if from, ok := known.(borrower); ok {
		if rank, ok := from.Borrowed(pubkey); ok {
			return &rank
		}
	}
	return nil
}

// seenByRow is one witness on the page of a node. All texts of the table stand here.
type seenByRow struct{ Witness, Rank, Trades, Disputes, Until string }

func seenByRows(list []seenByView) (rows []seenByRow) {
	for _, v := range list {
		r := seenByRow{Witness: v.Witness, Rank: "watched " + strconv.Itoa(v.WatchedDays) + " of " + strconv.Itoa(v.WatchDays) + " days",
			Trades: thousands(v.Trades), Disputes: thousands(v.Disputes), Until: time.Unix(v.Until, 0).UTC().Format("2 Jan 2006, 15:04 UTC")}
		if v.Rank != nil {
			r.Rank = strconv.Itoa(*v.Rank) + " (" + points(*v.Lo) + "–" + points(*v.Hi) + ")"
		}
		rows = append(rows, r)
	}
	return rows
}
