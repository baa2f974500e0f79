// Package users holds the state of a user of the escrow: an identity that trades here, or a
// solver. As for a trade, a journal of inputs is the source of truth, and Step computes the
// state from it.
//
// The package does no I/O and reads no clock. The escrow's store keeps the newest state and
// the journal of each user, written in one commit.
package users

import (
	"errors"
	"fmt"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

// User is the state of one identity at this node. A User is a value: Step returns a new one.
type User struct {
	Identity  string `json:"identity"`
	LastIndex int64  `json:"last_index"` // largest trade index that was used
	CreatedAt int64  `json:"created_at"` // time of the first trade, unix seconds; 0 for a solver that never traded
	// Steps is the number of journal rows behind this value. It is 0 for a user of a store
	// from before December 2026 that has not changed since: such users have no journal.
	Steps uint32 `json:"steps,omitzero"`

	Role   trade.Role `json:"role,omitempty"`   // as a solver; "" if none
	RoleAt int64      `json:"role_at,omitzero"` // time of the last change of Role
}

// NeverTraded reports whether the row exists only because the identity is or was a solver.
func (u User) NeverTraded() bool { return u.RoleAt != 0 && u.LastIndex == 0 && u.CreatedAt == 0 }

// Kind names the event of an input.
type Kind string

// The kinds. A new kind is added here together with its case in Step. A kind never changes its
// meaning, because old journals are replayed.
const (
	KindBase  Kind = "base"  // the state from before the user had a journal; only as the first row
	KindIndex Kind = "index" // a trade key was used
	KindRole  Kind = "role"  // an operator has made the identity a solver, or no solver any more
)

// Input is one event in the life of a user, with every fact that Step needs.
type Input struct {
	At   int64 `json:"at"` // unix seconds
	Kind Kind  `json:"kind"`

	Trade  trade.OrderID `json:"trade,omitzero"`   // trade that caused the event; zero if none
	Index  int64         `json:"index,omitzero"`   // KindIndex
	Role   trade.Role    `json:"role,omitempty"`   // KindRole; "" for a removal
	Base   *User         `json:"base,omitempty"`   // KindBase
	Reason string        `json:"reason,omitempty"` // text of a person
}

// ErrNothing reports that an input changes nothing. Such an input is not journaled.
var ErrNothing = errors.New("nothing changes for the user")

// errKind reports a kind that this program does not know.
var errKind = errors.New("unknown kind of input about a user")

// Step returns the state of a user after an input. The zero User is an identity without a row.
// If Step returns an error, the user is unchanged. Step is pure.
func Step(u User, in Input) (User, error) {
	next := u
	switch in.Kind {
	case KindBase:
		if in.Base == nil || u.Steps != 0 {
			return u, ErrNothing
		}
		next = *in.Base
	case KindIndex:
		if in.Index <= u.LastIndex {
			return u, ErrNothing
		}
		next.LastIndex = in.Index
		if next.CreatedAt == 0 {
			next.CreatedAt = in.At
		}
	case KindRole:
		if in.Role == u.Role {
			return u, ErrNothing
		}
		next.Role, next.RoleAt = in.Role, in.At
	default:
		return u, fmt.Errorf("%w: %q", errKind, in.Kind)
	}
	next.Identity = u.Identity
	next.Steps = u.Steps + 1
	return next, nil
}
