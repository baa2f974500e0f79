package lnsim

import (
	"fmt"

	"github.com/mostrodex/mostrodex/escrow"
)

// Check proves that the world is sound: no msat was made or lost, nobody owes,
// and every held payment is locked by exactly one payer.
func (w *World) Check() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return w.broken
	}
	total := w.routers
	for _, n := range w.nodes {
		if n.balance < 0 {
			return fmt.Errorf("%s owes %d msat", n.name, -n.balance)
		}
		total += n.balance
		for h, p := range n.payments {
			total += p.LockedMsat
			switch {
			case p.LockedMsat < 0:
				return fmt.Errorf("%s has locked %d msat for %s", n.name, p.LockedMsat, h)
			case p.Status != escrow.PaymentInFlight && p.LockedMsat != 0:
				return fmt.Errorf("%s: payment %s is %s and locks %d msat", n.name, h, p.Status, p.LockedMsat)
			case p.Status == escrow.PaymentSucceeded && p.Preimage.Hash() != h:
				return fmt.Errorf("%s: payment %s succeeded without its preimage", n.name, h)
			}
		}
		for h, held := range n.holds {
			if (held.Phase == escrow.HoldAccepted) != (n.accepted[h] == held) {
				return fmt.Errorf("%s: hold %s is %s, against the list of what is held", n.name, h, held.Phase)
			}
			if held.Phase == escrow.HoldSettled && held.Preimage.Hash() != h {
				return fmt.Errorf("%s: hold %s settled without its preimage", n.name, h)
			}
			if held.Phase != escrow.HoldAccepted {
				continue
			}
			payer := w.nodeNamed(held.Payer)
			if payer == nil {
				return fmt.Errorf("%s: hold %s is paid by nobody", n.name, h)
			}
			p := payer.payments[h]
			if p == nil || p.Attempt != held.Attempt || p.Status != escrow.PaymentInFlight || p.LockedMsat < held.PaidMsat {
				return fmt.Errorf("%s: hold %s is not locked by %s", n.name, h, held.Payer)
			}
		}
	}
	if total != w.minted {
		return fmt.Errorf("there are %d msat, and there were %d", total, w.minted)
	}
	return nil
}

// Purse is who has what, in whole sats. The three always add up to what the
// world was made with.
type Purse struct {
	WalletSats int64 `json:"wallet_sats"` // the named node's own
	NodeSats   int64 `json:"node_sats"`   // of all others, fees of routes included
	HeldSats   int64 `json:"held_sats"`   // on the way: nobody's
}

// Purse gives who has what, seen from one node.
func (w *World) Purse(name string) Purse {
	w.mu.Lock()
	defer w.mu.Unlock()
	others := w.routers
	var wallet int64
	for _, n := range w.nodes {
		if n.name == name {
			wallet += n.balance
		} else {
			others += n.balance
		}
	}
	out := Purse{WalletSats: wallet / 1000, NodeSats: others / 1000}
	// Parts of a sat go to what is held, so that the sum never changes.
	out.HeldSats = w.minted/1000 - out.WalletSats - out.NodeSats
	return out
}

// LockedMsat gives what is on its way, nobody's until it arrives or comes back.
func (w *World) LockedMsat() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var total int64
	for _, n := range w.nodes {
		for _, p := range n.payments {
			total += p.LockedMsat
		}
	}
	return total
}
