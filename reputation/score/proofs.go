package score

import (
	"bytes"
	"cmp"
	"errors"
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Proof is what a valid receipt shows.
type Proof struct {
	Grade     string // "R0" to "R3"
	Role      string // "buyer", "seller"; "" not told
	Action    string // R0: what the node's message said; "" else
	Nullifier string // what may be spent once
	OfOrder   bool   // it proves the order that the rating names; a blind one does not
	// PaymentHash is a payment that belongs to the order, by the node's word.
	// PaidSats and Payee are of the invoice that R3 opens.
	PaymentHash string
	PaidSats    int64
	Payee       string
}

// Proofs checks the receipts of ratings. An error is the reason for a
// refusal, fit for the audit. It must be a pure function of its arguments and
// safe for concurrent use.
type Proofs interface {
	Check(evt *nostr.Event, rating mostro.HostRating, keysets mostro.Keysets) (Proof, error)
}

// ErrNoReceipt says that a rating carries nothing that could prove it.
var ErrNoReceipt = errors.New("no receipt")

// Receipts is the Proofs of the protocol's receipts.
type Receipts struct{}

var _ Proofs = Receipts{}

// Check asks mostro.CheckReceipt.
func (Receipts) Check(evt *nostr.Event, rating mostro.HostRating, keysets mostro.Keysets) (Proof, error) {
	return proofOf(mostro.CheckReceipt(evt, rating, keysets))
}

// CheckAll asks mostro.CheckReceipts.
func (Receipts) CheckAll(list []mostro.Rated, keysets mostro.Keysets) ([]Proof, []error) {
	receipts, errs := mostro.CheckReceipts(list, keysets)
	proofs := make([]Proof, len(list))
	for i := range list {
		proofs[i], errs[i] = proofOf(receipts[i], errs[i])
	}
	return proofs, errs
}

// checkAll checks receipts together where that is offered. None of them needs
// a keyset.
func checkAll(by Proofs, list []mostro.Rated) (proofs []Proof, doubts []error) {
	if many, ok := by.(interface {
		CheckAll([]mostro.Rated, mostro.Keysets) ([]Proof, []error)
	}); ok {
		return many.CheckAll(list, nil)
	}
	proofs, doubts = make([]Proof, len(list)), make([]error, len(list))
	for i, r := range list {
		proofs[i], doubts[i] = by.Check(r.Event, r.Rating, nil)
	}
	return proofs, doubts
}

func proofOf(r mostro.Receipt, err error) (Proof, error) {
	if err != nil {
		return Proof{}, err
	}
	if r.Kind == mostro.ReceiptNone {
		return Proof{}, ErrNoReceipt
	}
	p := Proof{Grade: strings.ToUpper(r.Kind.String()), Role: r.Role, Action: string(r.Action), Nullifier: r.Nullifier,
		OfOrder: r.Order != "", PaymentHash: r.PaymentHash, Payee: r.Payee}
	if r.PaidSats != nil {
		p.PaidSats = *r.PaidSats
	}
	return p, nil
}

// keyset is the first key for blind receipts of a node and an epoch that was
// received. A second one could mark those to whom it is given.
type keyset struct {
	Sighting
	KeyID string
	Raw   *nostr.Event
}

// keysets finds the keysets that the ledger believes.
func (l *Ledger) keysets(pubkey, keyID string) *nostr.Event {
	if n := l.book.Nodes[pubkey]; n != nil {
		for _, k := range n.Keysets {
			if k.KeyID == keyID {
				return k.Raw
			}
		}
	}
	return nil
}

// keyset notes a keyset, and looks again at the blind receipts that came
// before it.
func (l *Ledger) keyset(k mostro.Keyset, evt *nostr.Event, s Sighting) {
	n := l.node(k.Pubkey)
	held, ok := n.Keysets[k.Epoch]
	if ok && cmp.Or(cmp.Compare(held.Received, s.Received), bytes.Compare(held.ID[:], s.ID[:])) <= 0 {
		return
	}
	n.Keysets[k.Epoch] = keyset{s, k.ID, evt}
	if held.KeyID == k.ID {
		return
	}
	for ratingID, raw := range n.Blind {
		r := n.Ratings[ratingID]
		if v, err := mostro.ParseHostRating(raw); err == nil && r != nil {
			proof, doubt := l.proofs.Check(raw, v, l.keysets)
			r.prove(v, proof, doubt)
		}
	}
	if len(n.Blind) > 0 && n.aggregates != nil {
		n.aggregates.ratings = nil
	}
}
