package reputation

import (
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Receipts is the Proofs of the protocol's receipts.
type Receipts struct{}

var _ Proofs = Receipts{}

// Check refuses every rating: which receipts there are is not known yet.
func (Receipts) Check(_ *nostr.Event, _ mostro.HostRating) (Proof, error) {
	return Proof{}, ErrNoReceipt
}
