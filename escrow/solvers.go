package escrow

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/escrow/users"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// Solver is a key that may take disputes. The row of a removed solver stays in the store
// with an empty Role.
type Solver struct {
	Key     string     `json:"key"` // identity, hex
	Role    trade.Role `json:"role"`
	AddedAt int64      `json:"added_at"`            // unix seconds of the last change to a role
	GoneAt  int64      `json:"gone_at,omitzero"`    // unix seconds of the removal
	Static  bool       `json:"configured,omitzero"` // from the configuration, not from the store
}

// maxReason is the longest reason of a verdict, in bytes.
const maxReason = 500

// Errors of an operator's verbs about disputes and solvers.
var (
	ErrSolverKey  = errors.New("a solver's key is 64 characters of hex or an npub, and not the node's own key")
	ErrSolverRole = errors.New("a solver's role is read or read-write")
	ErrAssistant  = errors.New("the key is escrow.assistant of the config, which may only read: take it out of the config, or name another solver")
	ErrReason     = fmt.Errorf("a reason is needed, of at most %d bytes", maxReason)
	ErrUncompared = errors.New("the store was not compared with the Lightning node yet, so the trade may have gone on since: try again when /readyz names no reason")
	ErrUnderWay   = errors.New("a call for this trade is still under way: restart the program, which holds the calls of frozen trades back, and close the trade then")
)

// role returns the present role of a key.
func (b *TradeBook) role(key string) trade.Role {
	switch {
	case key == "":
		return ""
	case key == b.NodeKey:
		return trade.RoleNode
	}
	if s := b.solvers[key]; s.Role != "" {
		return s.Role
	}
	if key == b.Assistant {
		return trade.RoleRead
	}
	return ""
}

// checkAssistant returns an error if the announced assistant must not have its role: it is the
// node's own key, a solver that may decide, or a user of this node.
func (b *TradeBook) checkAssistant() error {
	switch key := b.Assistant; {
	case key == "":
		return nil
	case key == b.NodeKey:
		return errors.New("the assistant's key is the node's own key")
	case b.solvers[key].Role == trade.RoleWrite:
		return errors.New("the assistant's key is that of a solver who decides disputes: remove that solver first")
	default:
		u, err := b.store.User(key)
		if errors.Is(err, ErrNoRow) || err == nil && u.NeverTraded() {
			return nil
		}
		if err != nil {
			return err
		}
		return errors.New("the assistant's key is that of a user who has traded here")
	}
}

// Solvers returns the keys that may take disputes, in the order of their keys.
func (b *TradeBook) Solvers() []Solver {
	list := make([]Solver, 0, len(b.solvers)+1)
	for _, s := range b.solvers {
		if s.Role != "" {
			list = append(list, s)
		}
	}
	if b.Assistant != "" && b.solvers[b.Assistant].Role == "" {
		list = append(list, Solver{Key: b.Assistant, Role: trade.RoleRead, Static: true})
	}
	slices.SortFunc(list, func(a, b Solver) int { return strings.Compare(a.Key, b.Key) })
	return list
}

// SetSolver gives a key a role, or with the role "" removes it. A removed solver loses the
// disputes that it has taken: they are free again. SetSolver returns mostro.ErrNotFound if a
// key to be removed has no role in the store.
func (b *TradeBook) SetSolver(key string, role trade.Role, at int64) error {
	switch {
	case key == "" || key == b.NodeKey:
		return ErrSolverKey
	case role != "" && role != trade.RoleRead && role != trade.RoleWrite:
		return ErrSolverRole
	case role == trade.RoleWrite && key == b.Assistant:
		return ErrAssistant
	}
	s := b.solvers[key]
	if role == "" && s.Role == "" {
		return mostro.ErrNotFound
	}
	switch {
	case role == "":
		s.GoneAt = at
	case role != s.Role:
		s.AddedAt, s.GoneAt = at, 0
	}
	if (s.Role == "") != (role == "") {
		by := 1
		if role == "" {
			by = -1
		}
		b.keys.count(key, by)
	}
	s.Key, s.Role = key, role
	b.solvers[key] = s
	b.batch.commit.Solvers = append(b.batch.commit.Solvers, s)
	if err := b.batch.stepUser(key, users.Input{At: at, Kind: users.KindRole, Role: role}); err != nil {
		return err
	}
	if role != "" || b.role(key) != "" {
		return nil
	}
	return b.freeDisputes(at)
}

// freeAtOnce is the number of disputes of removed solvers that one call frees. A solver may have
// taken thousands, which no commit holds. The others follow at the next ticks, and until then the
// role that is gone decides nothing.
const freeAtOnce = 64

// freeDisputes frees disputes whose solver has no role any more.
func (b *TradeBook) freeDisputes(at int64) error {
	var held []trade.OrderID
	for _, id := range b.disputes {
		if t := b.open[id]; t.Status == message.TradeDispute && t.Dispute.Solver.Identity != "" && b.role(t.Dispute.Solver.Identity) == "" {
			held = append(held, id)
		}
	}
	slices.SortFunc(held, func(a, b trade.OrderID) int { return slices.Compare(a[:], b[:]) })
	freed := 0
	for _, id := range held {
		err := b.step(*b.open[id], trade.Input{At: at, Kind: trade.InSolverGone, Solver: b.open[id].Dispute.Solver.Identity})
		if errors.Is(err, trade.ErrNothing) {
			continue // being settled
		}
		if err != nil {
			return err
		}
		if freed++; freed == freeAtOnce {
			return nil
		}
	}
	return nil
}

// dueDisputes returns the number of open disputes of which the parties were told that their
// time ends.
func (b *TradeBook) dueDisputes() (n int) {
	for _, order := range b.disputes {
		if t := b.open[order]; t.Status == message.TradeDispute && t.Dispute.Told != 0 {
			n++
		}
	}
	return n
}

// addSolver decides about admin-add-solver, which only the node's key may send.
func (b *TradeBook) addSolver(msg InboundMessage, at int64) error {
	if msg.Identity != b.NodeKey {
		return errDrop
	}
	text, ok := msg.Message.Payload.(message.TextMessage)
	if !ok {
		return trade.Refuse(message.ReasonInvalidTextMessage)
	}
	key, role, err := trade.ParseSolver(string(text))
	if err != nil {
		return err
	}
	if err := b.SetSolver(key, role, at); errors.Is(err, ErrSolverKey) || errors.Is(err, ErrAssistant) {
		return trade.Refuse(message.ReasonInvalidParameters)
	} else if err != nil {
		return err
	}
	// The reference node answers without id and payload.
	b.reply(msg, message.Message{Wrapper: message.WrapperDispute, RequestID: msg.Message.RequestID, Action: message.ActionAdminAddSolver})
	return nil
}

// solve decides about a message of a solver. admin-take-dispute names the dispute; the other
// two name the order, or the dispute.
func (b *TradeBook) solve(msg InboundMessage, at int64) error {
	m := msg.Message.Message
	in := trade.Input{At: at, Kind: trade.InMessage, Role: b.role(msg.Identity)}
	if bonds, ok := m.Payload.(message.BondResolution); ok && in.Role != "" && (bonds.SlashBuyer || bonds.SlashSeller) {
		return trade.Refuse(message.ReasonInvalidPayload) // no party has locked a bond
	}
	request, err := trade.NewRequest(msg.from(), m)
	if err != nil {
		return err
	}
	in.Request = request
	return b.solveWith(in, *m.ID)
}

// Decide applies a decision of the operator about a dispute: admin-take-dispute,
// admin-settle or admin-cancel, under the node's own key. Its errors are those of DecideAs.
func (b *TradeBook) Decide(id trade.OrderID, action message.Action, reason string, at int64) error {
	return b.DecideAs(b.NodeKey, id, action, reason, at)
}

// DecideAs is like Decide, under the present role of a solver's key. id names the dispute or
// the order. A solver is answered by a message as well, as to a message of the solver. DecideAs
// returns mostro.ErrNotFound, ErrReason, or a message.CantDo if the key must not decide or the
// trade is not in a state for the decision.
func (b *TradeBook) DecideAs(by string, id trade.OrderID, action message.Action, reason string, at int64) error {
	if action != message.ActionAdminTakeDispute && reason == "" || len(reason) > maxReason {
		return ErrReason
	}
	in := trade.Input{At: at, Kind: trade.InMessage, Role: b.role(by), Reason: reason, Request: &trade.Request{
		From:    trade.Party{Identity: by},
		Message: message.Message{Wrapper: message.WrapperOrder, Version: 2, ID: &id, Action: action},
	}}
	if by != b.NodeKey {
		in.Request.From.Key, in.Request.From.Transport = by, envelope.TransportV2
	}
	err := b.solveWith(in, id)
	var refusal message.CantDo
	if errors.As(err, &refusal) && refusal.Reason == message.ReasonNotFound {
		return mostro.ErrNotFound
	}
	return err
}

func (b *TradeBook) solveWith(in trade.Input, id trade.OrderID) error {
	if order, ok := b.disputes[id]; ok {
		id = order
	} else if in.Request.Message.Action == message.ActionAdminTakeDispute && in.Request.From.Key != "" {
		return trade.Refuse(message.ReasonNotFound)
	}
	t, err := b.trade(id)
	if errors.Is(err, ErrNoRow) {
		return trade.Refuse(message.ReasonNotFound)
	}
	if err != nil {
		return err
	}
	in.Holder = b.role(t.Dispute.Solver.Identity)
	if in.Request.Message.Action == message.ActionAdminTakeDispute {
		if in.BuyerRecord, err = b.recordOf(t.Buyer, in.At); err != nil {
			return err
		}
		if in.SellerRecord, err = b.recordOf(t.Seller, in.At); err != nil {
			return err
		}
		if d := &t.Dispute; d.Solver.Identity == in.Request.From.Identity && d.SolverRole == in.Role {
			return b.answerAgain(t, in)
		}
	}
	return b.step(t, in)
}

// answerAgain answers a solver that takes what it has taken, in case that the first answer was
// lost. The trade does not change, so the journal has no row, however often a solver asks.
func (b *TradeBook) answerAgain(t trade.Trade, in trade.Input) error {
	in.Rules = trade.CurrentRules
	_, effects, err := trade.Step(t, in)
	if err != nil {
		return err
	}
	for _, e := range effects {
		if e.Kind == trade.FxSend && e.To.Identity == in.Request.From.Identity {
			b.row(OutboxRow{Effect: e}) // in the lane of answers, which holds up no party
		}
	}
	return nil
}

// Close ends a trade by hand, as an operator decides. withheld reports that the outbox holds
// the trade's calls back, so that the rows can be removed. Close returns mostro.ErrNotFound,
// ErrReason, ErrUnderWay, or trade.ErrNothing if the trade is not in a state for it.
func (b *TradeBook) Close(id trade.OrderID, outcome trade.Outcome, reason string, withheld bool, at int64) error {
	if reason == "" || len(reason) > maxReason {
		return ErrReason
	}
	t, err := b.trade(id)
	if errors.Is(err, ErrNoRow) {
		return mostro.ErrNotFound
	}
	if err != nil {
		return err
	}
	rows, err := b.moving(id, 0)
	if err != nil {
		return err
	}
	if len(rows) > 0 && !withheld {
		return ErrUnderWay
	}
	if err := b.step(t, trade.Input{At: at, Kind: trade.InClose, Outcome: outcome, Reason: reason}); err != nil {
		return err
	}
	for _, row := range rows {
		b.Done(row)
	}
	return nil
}

// maxOpenDisputes is the number of open disputes that one identity may have opened. A party
// in full privacy has one trade under its key.
const maxOpenDisputes = 5

// disputesOf returns the number of open disputes that an identity has opened.
func (b *TradeBook) disputesOf(identity string) (n int) {
	for id := range b.identities[identity] {
		t := b.open[id]
		opener := t.Buyer
		if t.Dispute.By == message.InitiatorSeller {
			opener = t.Seller
		}
		if t.Status == message.TradeDispute && opener.Identity == identity {
			n++
		}
	}
	return n
}

// Resolve applies a decision about an amount in suspense. reachable reports that the address of
// a refund answers. withheld reports that the outbox holds the trade's calls back. Resolve
// returns ErrReason, ErrRefundTo, ErrUnderWay if a call for an earlier refund may be performed,
// mostro.ErrNotFound if there is no such trade, and trade.ErrNothing if the amount has an owner
// already or its refund is in flight. last is the node's state of the last payment of an
// earlier refund of the amount: an earlier process may have sent a payment that the store does
// not know as sent, so Resolve returns ErrRefundMoves if the payment is in flight or succeeded.
func (b *TradeBook) Resolve(id trade.OrderID, r Resolution, reachable, withheld bool, last trade.PaymentStatus, at int64) error {
	if r.Reason == "" || len(r.Reason) > maxReason {
		return ErrReason
	}
	t, err := b.trade(id)
	if errors.Is(err, ErrNoRow) {
		return mostro.ErrNotFound
	}
	if err != nil {
		return err
	}
	in := trade.Input{At: at, Kind: trade.InResolve, Hash: r.Hash, Hold: trade.Hold{Phase: trade.HoldSettled, PaidMsat: r.Msat}, Outcome: r.Outcome, Reason: r.Reason}
	if r.Outcome == trade.OutcomeRefund {
		dest := b.Decode(r.To)
		if err := b.claimed(&dest, id); err != nil {
			return err
		}
		dest.Reachable = reachable
		in.Invoice = &dest
	}
	var rows []uint64
	if n := t.Refund(r.Hash); n != 0 {
		if rows, err = b.moving(id, n); err != nil {
			return err
		}
	}
	if len(rows) > 0 && !withheld {
		return ErrUnderWay
	}
	if last == trade.PaymentInFlight || last == trade.PaymentSucceeded {
		return ErrRefundMoves
	}
	err = b.step(t, in)
	var refusal message.CantDo
	if errors.As(err, &refusal) {
		return ErrRefundTo
	}
	if err != nil {
		return err
	}
	for _, row := range rows {
		b.Done(row)
	}
	return nil
}

// moving returns the rows of the outbox that may move money for one outflow of a trade: for the
// payout also those about the hold.
func (b *TradeBook) moving(id trade.OrderID, outflow uint32) (rows []uint64, err error) {
	err = b.store.Outbox(func(r OutboxRow) error {
		switch k := r.Effect.Kind; {
		case keyOf(r) != (trade.OutflowKey{Trade: id, N: outflow}):
		case k == trade.FxPay || k == trade.FxSettle || k == trade.FxMint || k == trade.FxCreateHold:
			rows = append(rows, r.ID)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	return rows, nil
}
