package disputes

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/internal/webpage"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// Distances to the margin from which a dispute is marked, in blocks. At 72 and 36 blocks the
// escrow warns the parties.
const (
	soonBlocks = 72
	dueBlocks  = 36
)

// left returns the blocks that a dispute has left before the margin, by ten minutes a block. ok
// is false if the rule does not act on the trade.
func left(t *trade.Trade, now time.Time) (blocks int64, due time.Time, ok bool) {
	if t.Status != message.TradeDispute || t.EscrowGone || t.Settling {
		return 0, time.Time{}, false
	}
	_, closes := t.Window(now.Unix())
	return max(0, (closes-now.Unix())/trade.BlockSeconds), time.Unix(closes, 0), true
}

// urgency returns the class of a number of blocks.
func urgency(blocks int64) string {
	switch {
	case blocks <= dueBlocks:
		return "due"
	case blocks <= soonBlocks:
		return "soon"
	}
	return "calm"
}

// row is one dispute of the list.
type row struct {
	Link, Sats, Fiat, Method, By string
	Blocks                       string // "" if the rule does not act
	Urgency                      string
	Opened                       webpage.Moment
	Holder, Taken                string // solver of the dispute, and time since the take
	Mine, Free                   bool
	Note                         string
	blocks                       int64
}

// noteOf returns a few words about a dispute if something is unusual.
func noteOf(t *trade.Trade) string {
	switch {
	case t.Frozen:
		return "frozen: the operator must look at the node"
	case t.EscrowGone:
		return "the escrow is gone: the seller has the sats back"
	case t.Settling && t.Dispute.Verdict != nil:
		return "decided for the buyer, being settled"
	case t.Settling:
		return "released by the seller, being settled"
	case t.CancelBy != "":
		return "the " + string(t.CancelBy) + " has asked to cancel"
	}
	return ""
}

// list shows the open disputes, the ones with the fewest blocks left first.
func (x *Inbox) list(w http.ResponseWriter, r *http.Request, v visitor) error {
	trades, err := x.cfg.Escrow.Disputes(r.Context())
	if err != nil {
		return err
	}
	now := x.cfg.Now()
	var d struct {
		Rows               []row
		Hidden, Free, Mine int
		Due                int
		Count              string
		Notes              []string
	}
	if x.cfg.Notes != nil && v.role == trade.RoleNode {
		d.Notes = x.cfg.Notes()
	}
	for i := range trades {
		t := &trades[i]
		if v.concerned(t) {
			d.Hidden++
			continue
		}
		o := row{
			Link: Path + "/" + t.ID.String(), Sats: satsText(t.AmountSats), Fiat: fiatText(t), Method: t.PaymentMethod, By: string(t.Dispute.By),
			Opened: webpage.MomentAt(time.Unix(t.Dispute.OpenedAt, 0), now), Note: noteOf(t), Urgency: "calm", blocks: 1 << 40,
			Mine: t.Dispute.Solver.Identity == v.key, Free: t.Dispute.Solver.Identity == "",
		}
		if !o.Free {
			o.Taken = webpage.Ago(now.Sub(time.Unix(t.Dispute.TakenAt, 0)))
		}
		switch {
		case o.Mine:
			o.Holder = "you"
			d.Mine++
		case o.Free:
			d.Free++
		default:
			o.Holder = solverText(t.Dispute.Solver.Identity, t.Dispute.SolverRole)
		}
		if blocks, _, acts := left(t, now); acts {
			o.blocks, o.Blocks, o.Urgency = blocks, webpage.Grouped(strconv.FormatInt(blocks, 10)), urgency(blocks)
			if o.Urgency == "due" {
				d.Due++
			}
		}
		d.Rows = append(d.Rows, o)
	}
	slices.SortStableFunc(d.Rows, func(a, b row) int { return cmp.Or(cmp.Compare(a.blocks, b.blocks), strings.Compare(a.Link, b.Link)) })
	d.Count = webpage.Plural(len(d.Rows), "open dispute", "open disputes")
	f := x.frame(v, "Disputes", d)
	f.Refresh = true
	x.render(w, http.StatusOK, "list", f)
	return nil
}

// closedRow is one dispute that is over.
type closedRow struct {
	Link, Sats, Fiat, By string
	Outcome, Who, Reason string
	Opened, Ended        webpage.Moment
}

// outcomeText says how a dispute ended.
var outcomeText = map[message.DisputeStatus]string{
	message.DisputeStatusSettled:               "for the buyer: settled",
	message.DisputeStatusSellerRefunded:        "for the seller: refunded",
	message.DisputeStatusReleased:              "the seller released",
	message.DisputeStatusCooperativelyCanceled: "both cancelled",
}

// closed shows the disputes that are over, the newest first.
func (x *Inbox) closed(w http.ResponseWriter, r *http.Request, v visitor) error {
	found, ok := x.cfg.Escrow.Closed(r.Context())
	if !ok {
		return &problem{http.StatusServiceUnavailable, "The list is not ready", "The escrow is still reading its store. Load the page again in a moment, or use 'mostrodex dispute list --closed'."}
	}
	now := x.cfg.Now()
	var d struct {
		Rows         []closedRow
		Hidden, More int
		Count        string
		At           webpage.Moment
	}
	d.More, d.At = found.More, webpage.MomentAt(found.At, now)
	for i := range found.Trades {
		t := &found.Trades[i]
		if v.concerned(t) {
			d.Hidden++
			continue
		}
		o := closedRow{Link: Path + "/" + t.ID.String(), Sats: satsText(t.AmountSats), Fiat: fiatText(t), By: string(t.Dispute.By),
			Outcome: orOf(outcomeText[t.Dispute.Status], string(t.Dispute.Status)), Who: "the parties",
			Opened: webpage.MomentAt(time.Unix(t.Dispute.OpenedAt, 0), now), Ended: webpage.MomentAt(time.Unix(ClosedAt(t), 0), now)}
		if verdict := t.Dispute.Verdict; verdict != nil {
			o.Who = judgeText(verdict)
			if !verdict.Overdue {
				o.Reason = verdict.Reason
			}
		}
		d.Rows = append(d.Rows, o)
	}
	d.Count = webpage.Plural(len(d.Rows), "dispute", "disputes")
	x.render(w, http.StatusOK, "closed", x.frame(v, "Closed disputes", d))
	return nil
}

// partyView is one side of a disputed trade.
type partyView struct {
	Side, Key string
	Opener    bool
	Private   bool
	Known     bool // Record is that of the identity
	Since     webpage.Moment
	Rating    string // "" without a vote
	Record    Record
}

func (x *Inbox) party(ctx context.Context, t *trade.Trade, side string, p trade.Party, now time.Time) (partyView, error) {
	o := partyView{Side: side, Key: short(p.Key), Opener: string(t.Dispute.By) == side, Private: p.Private()}
	if o.Private {
		return o, nil
	}
	r, err := x.cfg.Escrow.Record(ctx, p.Identity)
	if errors.Is(err, mostro.ErrNotFound) {
		return o, nil
	}
	if err != nil {
		return o, err
	}
	o.Known, o.Record, o.Since = true, r, webpage.MomentAt(time.Unix(r.Since, 0), now)
	if r.Reviews > 0 {
		o.Rating = fmt.Sprintf("%.2f of 5, by %s", r.Rating, webpage.Plural(int(r.Reviews), "vote", "votes"))
	}
	return o, nil
}

// showData is the data of the page of one dispute.
type showData struct {
	Sats, Fiat, Method, Kind, Status string
	Premium, Price                   string
	Lock, Payout, Fee                string
	Dispute, Order                   string
	Opened, Held, Taken              webpage.Moment
	Duty, Done                       string
	Open                             bool
	Blocks, Urgency, Rule            string
	Due                              webpage.Moment
	Acts                             bool // the rule acts if no decision comes
	Verdict                          string
	Reason                           string
	Parties                          []partyView
	Past                             past
	Chats                            []chatView
	Asked                            bool // a shared key was given in this session
	Write                            writeForm
	CanTake, CanDecide, CanSettle    bool
	WhyNot                           string
	Seen                             string
	Action                           string // address of the forms, without the verb
	Tokens                           map[string]string
}

// fingerprint changes with every fact about a dispute on which a decision rests.
func fingerprint(t *trade.Trade) string {
	d := &t.Dispute
	sum := sha256.Sum256(fmt.Appendf(nil, "%s|%s|%s|%s|%v|%v|%v|%v|%s", t.Status, d.Status, d.Solver.Identity, d.SolverRole, d.Verdict != nil, t.Settling, t.Frozen, t.EscrowGone, t.CancelBy))
	return hex.EncodeToString(sum[:8])
}

// dispute returns the trade of the address, if the visitor may see it.
func (x *Inbox) dispute(r *http.Request, v visitor) (trade.Trade, error) {
	id, err := message.ParseUUID(r.PathValue("id"))
	if err != nil {
		return trade.Trade{}, mostro.ErrNotFound
	}
	t, err := x.cfg.Escrow.Dispute(r.Context(), id)
	if err == nil && v.concerned(&t) {
		err = &problem{http.StatusForbidden, "You are a party of this trade", "A solver neither sees nor decides a dispute about a trade of its own."}
	}
	return t, err
}

// show shows one dispute.
func (x *Inbox) show(w http.ResponseWriter, r *http.Request, v visitor) error {
	t, err := x.dispute(r, v)
	if err != nil {
		return err
	}
	now := x.cfg.Now()
	d := showData{
		Sats: satsText(t.AmountSats), Fiat: fiatText(&t), Method: t.PaymentMethod, Kind: string(t.Kind), Status: string(t.Dispute.Status),
		Premium: strconv.FormatInt(t.Premium, 10) + " %", Lock: satsText(t.LockSats()), Payout: satsText(t.PayoutSats()), Fee: satsText(2 * t.FeeSats),
		Dispute: t.Dispute.ID.String(), Order: t.ID.String(), Open: t.Status == message.TradeDispute,
		Opened: webpage.MomentAt(time.Unix(t.Dispute.OpenedAt, 0), now), Held: webpage.MomentAt(time.Unix(t.HeldAt, 0), now), Taken: webpage.MomentAt(time.Unix(t.Dispute.TakenAt, 0), now),
		Duty: dutyOf(&t, v), Done: doneText[r.URL.Query().Get("done")], Seen: fingerprint(&t), Action: Path + "/" + t.ID.String(), Tokens: make(map[string]string),
		Asked: v.session.reader(t.ID) != nil,
	}
	if t.MarketPrice {
		d.Price = "at the market price"
	}
	blocks, due, acts := left(&t, now)
	if d.Acts = acts; acts {
		d.Blocks, d.Urgency, d.Due = webpage.Grouped(strconv.FormatInt(blocks, 10)), urgency(blocks), webpage.MomentAt(due, now)
		d.Rule = "returns the sats to the seller"
		if t.Terms.OverdueRule() == trade.OverdueSettle {
			d.Rule = "pays the buyer"
		}
	}
	if o := t.Dispute.Verdict; o != nil {
		d.Verdict, d.Reason = verdictText(o, now), o.Reason
		if o.Overdue {
			d.Reason = ""
		}
	}
	for _, p := range []struct {
		side string
		who  trade.Party
	}{{"buyer", t.Buyer}, {"seller", t.Seller}} {
		o, err := x.party(r.Context(), &t, p.side, p.who, now)
		if err != nil {
			return err
		}
		d.Parties = append(d.Parties, o)
	}
	if d.Past, err = history(r.Context(), x.cfg.Escrow, &t, now); err != nil {
		return err
	}
	if d.Chats, err = x.chat.chats(r.Context(), &t, v); err != nil {
		return err
	}
	d.rights(&t, v)
	d.Write = x.writeForm(&t, v, d.Chats)
	for _, verb := range []string{"take", "settle", "cancel", "chat", "write"} {
		d.Tokens[verb] = v.session.token(verb, t.ID.String(), d.Seen)
	}
	x.render(w, http.StatusOK, "show", x.frame(v, "Dispute about "+d.Fiat, d))
	return nil
}

func verdictText(o *trade.Verdict, now time.Time) string {
	side := "For the buyer"
	if o.Action == message.ActionAdminCancel {
		side = "For the seller"
	}
	return side + ", by " + judgeText(o) + ", " + webpage.MomentAt(time.Unix(o.At, 0), now).Text + "."
}

// judgeText names the solver of a verdict.
func judgeText(o *trade.Verdict) string {
	switch {
	case o.Overdue:
		return "the rule for overdue disputes"
	case o.By == "":
		return "the operator, who closed the trade by hand"
	}
	return solverText(o.By, o.Role)
}

// rights sets the verbs that the visitor has. The escrow decides again at each verb.
func (d *showData) rights(t *trade.Trade, v visitor) {
	holder := &t.Dispute.Solver
	switch {
	case t.Status != message.TradeDispute:
		return
	case t.Settling:
		d.WhyNot = "The sats are being settled: there is nothing to decide any more."
		return
	case t.Frozen:
		d.WhyNot = "The trade is frozen: a verdict would decide nothing."
		return
	case v.role == trade.RoleNode:
		d.CanTake, d.CanDecide = holder.Identity != v.key, true
	case holder.Identity == "":
		d.CanTake = true
		d.WhyNot = "A solver takes a dispute before deciding it."
	case holder.Identity == v.key && v.role == trade.RoleWrite:
		d.CanDecide = true
	case holder.Identity == v.key:
		d.WhyNot = "Your role reads and takes, and decides nothing."
	case v.role == trade.RoleWrite && t.Dispute.SolverRole == trade.RoleRead:
		d.CanTake = true
		d.WhyNot = "A solver who may only read has taken the dispute. You can take it over."
	default:
		d.WhyNot = "It was taken by " + solverText(holder.Identity, t.Dispute.SolverRole) + "."
	}
	if v.role == trade.RoleRead && holder.Identity == "" {
		d.WhyNot = "Your role reads and takes, and decides nothing."
	}
	d.CanSettle = d.CanDecide && !t.EscrowGone
}

// doneText is the text of a page after a form.
var doneText = map[string]string{
	"take":   "You have taken the dispute. Both parties are told your key.",
	"settle": "Decided for the buyer. The Lightning node is told to settle; the parties are told when it has.",
	"cancel": "Decided for the seller. The Lightning node is told to give the sats back.",
	"chat":   "The key is kept until you log out.",
	"send":   "The message is sent.",
}

var actionOf = map[string]message.Action{"take": message.ActionAdminTakeDispute, "settle": message.ActionAdminSettle, "cancel": message.ActionAdminCancel}

// act takes or decides a dispute, or keeps the shared key of a chat.
func (x *Inbox) act(w http.ResponseWriter, r *http.Request, v visitor) error {
	t, err := x.dispute(r, v)
	if err != nil {
		return err
	}
	verb, seen := r.PathValue("verb"), r.PostForm.Get("seen")
	action, decides := actionOf[verb]
	if !decides && verb != "chat" && verb != "write" && verb != "send" {
		return &problem{http.StatusNotFound, "No such verb", "Nothing was decided."}
	}
	if !v.session.holds(r.PostForm.Get("token"), verb, t.ID.String(), seen) {
		return errToken
	}
	done := func() error {
		http.Redirect(w, r, Path+"/"+t.ID.String()+"?done="+verb, http.StatusSeeOther)
		return nil
	}
	if verb == "chat" {
		if err := x.chat.keep(&t, v, r.PostForm.Get("key")); err != nil {
			return err
		}
		return done()
	}
	if !decides {
		sent, err := x.letter(w, r, &t, v, verb)
		if err != nil || !sent {
			return err
		}
		verb = "send"
		return done()
	}
	if did(&t, v, action) {
		return done() // a double click
	}
	if seen != fingerprint(&t) {
		return errChanged
	}
	reason := strings.TrimSpace(r.PostForm.Get("reason"))
	switch {
	case len(reason) > maxReason:
		return &problem{http.StatusBadRequest, "The reason is too long", fmt.Sprintf("It has %d bytes, the limit is %d. Nothing was decided.", len(reason), maxReason)}
	case verb != "take" && reason == "":
		return &problem{http.StatusBadRequest, "A reason is needed", "The reason stands in the journal of this Mostro, and no party reads it. Nothing was decided."}
	case verb != "take" && r.PostForm.Get("sure") != "yes":
		return &problem{http.StatusBadRequest, "Not confirmed", "Tick the box of the verdict: it cannot be taken back. Nothing was decided."}
	}
	if err := x.cfg.Escrow.DecideAs(r.Context(), v.key, t.Dispute.ID, action, reason); err != nil {
		if again, readErr := x.dispute(r, v); readErr == nil && did(&again, v, action) {
			return done()
		}
		return err
	}
	x.cfg.Logger.Info("a dispute was decided in the inbox", "dispute", t.Dispute.ID.String(), "trade", t.ID.String(), "verb", verb, "by", v.key)
	return done()
}

// maxReason is the longest reason, in bytes, as for the verbs of the command line.
const maxReason = 500

// errChanged reports a form of a page that is out of date.
var errChanged = &problem{http.StatusConflict, "The dispute has changed", "Something has happened since the page was made: another solver, a party or the Lightning node was faster. Nothing was decided. Look at the dispute again."}

// did reports whether the visitor has done this already.
func did(t *trade.Trade, v visitor, action message.Action) bool {
	d := &t.Dispute
	if action == message.ActionAdminTakeDispute {
		return t.Status == message.TradeDispute && d.Solver.Identity == v.key
	}
	return d.Verdict != nil && d.Verdict.By == v.key && d.Verdict.Action == action
}
