package score

import (
	"errors"
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/nbd-wtf/go-nostr"
)

// Proof is the result of a valid receipt.
type Proof struct {
	Grade     string // "R0" to "R3"
	Role      string // "buyer", "seller"; "" if unknown
	Action    string // R0: the action of the node's message; "" for other grades
	Dispute   string // R0: the id of the dispute that the node's message names; "" if there is none
	Nullifier string // a value that may be used only once
	OfOrder   bool   // set if the receipt proves the order that the rating names; never set for a blind receipt
	// PaymentHash is the hash of a payment that belongs to the order, as the node claims.
	// PaidSats (in sats) and Payee come from the invoice of an R3 receipt.
	PaymentHash string
	PaidSats    int64
	Payee       string
}

// Proofs checks the receipts of ratings. The error of Check is the reason of the refusal,
// and is shown in the audit. Check must be a pure function of its arguments and safe for
// concurrent use.
type Proofs interface {
	Check(evt *nostr.Event, rating mostro.HostRating, keysets receipt.Keysets) (Proof, error)
}

// ErrNoReceipt means that a rating has no receipt.
var ErrNoReceipt = errors.New("no receipt")

// Receipts implements Proofs for the receipts of the protocol.
type Receipts struct{}

var _ Proofs = Receipts{}

// Check calls receipt.Check. If the rating has no receipt, Check returns
// ErrNoReceipt.
func (Receipts) Check(evt *nostr.Event, rating mostro.HostRating, keysets receipt.Keysets) (Proof, error) {
	return proofOf(receipt.Check(evt, rating, keysets))
}

// CheckAll calls receipt.CheckAll. The results are in the order of the list.
func (Receipts) CheckAll(list []receipt.Rated, keysets receipt.Keysets) ([]Proof, []error) {
	receipts, errs := receipt.CheckAll(list, keysets)
	proofs := make([]Proof, len(list))
	for i := range list {
		proofs[i], errs[i] = proofOf(receipts[i], errs[i])
	}
	return proofs, errs
}

// checkAll checks receipts together if the Proofs has a CheckAll method. The receipts must
// not need a keyset.
func checkAll(by Proofs, list []receipt.Rated) (proofs []Proof, doubts []error) {
	if many, ok := by.(interface {
		CheckAll([]receipt.Rated, receipt.Keysets) ([]Proof, []error)
	}); ok {
		return many.CheckAll(list, nil)
	}
	proofs, doubts = make([]Proof, len(list)), make([]error, len(list))
	for i, r := range list {
		proofs[i], doubts[i] = by.Check(r.Event, r.Rating, nil)
	}
	return proofs, doubts
}

func proofOf(r receipt.Receipt, err error) (Proof, error) {
	if err != nil {
		return Proof{}, err
	}
	if r.Kind == receipt.None {
		return Proof{}, ErrNoReceipt
	}
	p := Proof{Grade: strings.ToUpper(r.Kind.String()), Role: r.Role, Action: string(r.Action), Dispute: r.Dispute, Nullifier: r.Nullifier,
		OfOrder: r.Order != "", PaymentHash: r.PaymentHash, Payee: r.Payee}
	if r.PaidSats != nil {
		p.PaidSats = *r.PaidSats
	}
	return p, nil
}
