package rating

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/attestation"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// Record is the reputation of an identity. Times are unix seconds; 0 means never.
type Record struct {
	Identity string `json:"identity"`
	// CreatedAt is the time from which the age of the user is counted. An import moves
	// CreatedAt back.
	CreatedAt int64  `json:"created_at"`
	Steps     uint32 `json:"steps"` // number of journal rows behind this value

	Reviews         int64   `json:"reviews,omitzero"`
	Mean            float64 `json:"mean,omitzero"` // published mean: half the first vote after one vote
	Last            int64   `json:"last,omitzero"`
	Max             int64   `json:"max,omitzero"`
	Min             int64   `json:"min,omitzero"`
	SeededReviews   int64   `json:"seeded_reviews,omitzero"`
	SeededSum       float64 `json:"seeded_sum,omitzero"`
	NativeSum       float64 `json:"native_sum,omitzero"`
	NativeCreatedAt *int64  `json:"native_created_at,omitempty"` // CreatedAt without imports; nil: no import has moved it

	Trades     int64 `json:"trades,omitzero"`      // trades that ended in success
	FirstTrade int64 `json:"first_trade,omitzero"` // start of the first of these, not before attestation.MinSince

	ExportedTo string   `json:"exported_to,omitzero"` // identity to which the reputation is bound; "" for none
	ExportedAt int64    `json:"exported_at,omitzero"` // day of the last export
	Imports    []Import `json:"imports,omitempty"`    // at most one of each issuer

	StampedAt int64 `json:"stamped_at,omitzero"` // created_at of the last rating event
}

// Import is an attestation that was added to a user's ratings.
type Import struct {
	Attestation string `json:"attestation"` // event id
	Issuer      string `json:"issuer"`      // name in the trust list
	IssuerKey   string `json:"issuer_key"`  // hex
	Subject     string `json:"subject"`
	Trade       string `json:"trade"` // trade key that asked for the import, hex
	Reviews     uint32 `json:"reviews"`
	Hundredths  uint16 `json:"hundredths"`
	Since       int64  `json:"since"`
	At          int64  `json:"at"` // time of the import by this node's clock
}

func (i Import) figures() attestation.Figures {
	return attestation.Figures{Reviews: i.Reviews, Hundredths: i.Hundredths, Since: i.Since}
}

// Change is one row of a record's journal. Kind says which fields are set.
type Change struct {
	At   int64      `json:"at"`
	Kind ChangeKind `json:"kind"`
	// Known is the time since which the node knows the identity, in the first row.
	Known int64 `json:"known,omitzero"`

	Order   trade.OrderID `json:"order,omitzero"` // Traded, Voted
	Started int64         `json:"started,omitzero"`
	By      Role          `json:"by,omitzero"` // Voted: the party that voted
	Stars   uint8         `json:"stars,omitzero"`

	Import      *Import `json:"import,omitempty"`     // Imported
	Attestation string  `json:"attestation,omitzero"` // Revoked
	To          string  `json:"to,omitzero"`          // Exported
	Rebind      string  `json:"rebind,omitzero"`      // Exported: event id of the rebind that moved the binding
	Reason      string  `json:"reason,omitzero"`      // Rebound, Revoked: text of the operator
}

// ChangeKind names a change of a user.
type ChangeKind string

// The kinds of changes.
const (
	Traded   ChangeKind = "traded" // a trade ended in success
	Voted    ChangeKind = "voted"  // the other party of a trade voted
	Imported ChangeKind = "imported"
	Revoked  ChangeKind = "revoked"  // an import was taken back
	Exported ChangeKind = "exported" // an attestation was signed, and the reputation is bound
	Rebound  ChangeKind = "rebound"  // the operator moved the binding
)

// Role is a side of a trade.
type Role string

// The roles.
const (
	Buyer  Role = "buyer"
	Seller Role = "seller"
)

var errChange = errors.New("the change does not apply to the record")

// Apply returns the record after a change. The zero Record with an Identity is an identity
// without a record. The memory behind the slices of u is never written.
func (u Record) Apply(c Change) (Record, error) {
	if u.Steps == 0 {
		u.CreatedAt = cmp.Or(c.Known, c.At)
	}
	switch c.Kind {
	case Traded:
		u.Trades++
		if c.Started >= attestation.MinSince && (u.FirstTrade == 0 || c.Started < u.FirstTrade) {
			u.FirstTrade = c.Started
		}
	case Voted:
		u = u.rated(u.ratings().Vote(c.Stars), c.At)
	case Imported:
		if c.Import == nil {
			return u, fmt.Errorf("%w: %s", errChange, c.Kind)
		}
		u = u.rated(u.ratings().Import(c.Import.figures()), c.At)
		u.Imports = append(slices.Clip(u.Imports), *c.Import)
	case Revoked:
		i := slices.IndexFunc(u.Imports, func(i Import) bool { return i.Attestation == c.Attestation })
		if i < 0 {
			return u, fmt.Errorf("%w: %s", errChange, c.Kind)
		}
		gone := u.Imports[i]
		u.Imports = slices.Delete(slices.Clone(u.Imports), i, i+1)
		var earliest *int64
		for _, left := range u.Imports {
			if earliest == nil || left.Since < *earliest {
				earliest = &left.Since
			}
		}
		if len(u.Imports) == 0 {
			u.Imports = nil
		}
		u = u.rated(u.ratings().Revert(gone.figures(), earliest), c.At)
	case Exported, Rebound:
		u.ExportedTo, u.ExportedAt = c.To, c.At-c.At%86400
	default:
		return u, fmt.Errorf("%w: unknown kind %q", errChange, c.Kind)
	}
	u.Steps++
	return u, nil
}

func (u Record) ratings() attestation.Ratings {
	return attestation.Ratings{
		Reviews: u.Reviews, Mean: u.Mean, Last: u.Last, Max: u.Max, Min: u.Min, CreatedAt: u.CreatedAt,
		SeededReviews: u.SeededReviews, SeededSum: u.SeededSum, NativeSum: u.NativeSum, NativeCreatedAt: u.NativeCreatedAt,
	}
}

// rated returns the user with other ratings. created_at of the event that publishes the
// ratings is set here, and is never used twice: of two events with the same created_at a
// relay keeps the one with the lower id, which is chance.
func (u Record) rated(r attestation.Ratings, at int64) Record {
	u.Reviews, u.Mean, u.Last, u.Max, u.Min, u.CreatedAt = r.Reviews, r.Mean, r.Last, r.Max, r.Min, r.CreatedAt
	u.SeededReviews, u.SeededSum, u.NativeSum, u.NativeCreatedAt = r.SeededReviews, r.SeededSum, r.NativeSum, r.NativeCreatedAt
	u.StampedAt = max(at, u.StampedAt+1)
	return u
}

// days returns the age of the user in whole days.
func (u Record) days(at int64) int64 {
	if u.CreatedAt <= 0 || at <= u.CreatedAt {
		return 0
	}
	return (at - u.CreatedAt) / 86400
}

// Info returns the record as messages carry it. The zero Record is that of an identity that
// the node does not know.
func (u Record) Info(at int64) *message.UserInfo {
	info := &message.UserInfo{Rating: u.Mean, Reviews: u.Reviews, OperatingDays: uint64(u.days(at))}
	if u.CreatedAt > 0 {
		since := uint64(u.CreatedAt - u.CreatedAt%86400)
		info.Since = &since
	}
	return info
}

// Maker returns the record as an order shows it.
func (u Record) Maker(at int64) *mostro.MakerRating {
	mean, reviews, days := u.Mean, u.Reviews, u.days(at)
	r := &mostro.MakerRating{Mean: &mean, Reviews: &reviews, Days: &days, Max: 5}
	if u.CreatedAt > 0 {
		r.Since = nostr.Timestamp(u.CreatedAt - u.CreatedAt%86400)
	}
	return r
}

// event returns the event that publishes the user's ratings under a trade key, unsigned.
func (u Record) event(node, key string, at int64, days int64) *nostr.Event {
	whole := func(n int64) *int64 { return &n }
	stamp := max(at, u.StampedAt)
	evt := mostro.UserRating{
		Pubkey: node, D: key, CreatedAt: nostr.Timestamp(stamp), TotalReviews: whole(u.Reviews), TotalRating: &u.Mean,
		LastRating: whole(u.Last), MaxRate: whole(u.Max), MinRate: whole(u.Min), Days: whole(u.days(at)),
		Since: nostr.Timestamp(max(u.CreatedAt, 0)), Expiration: nostr.Timestamp(stamp + days*86400),
	}.Event()
	return &evt
}
