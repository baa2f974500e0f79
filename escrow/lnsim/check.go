package lnsim

import (
	"fmt"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

// Check returns an error if the world is unsound. In a sound world no msat was created
// or lost, no balance is negative, and each held payment is locked by exactly one
// payer.
func (w *World) Check() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return w.broken
	}
	total := w.routers
	for _, n := range w.nodes {
		if n.balance < 0 {
			return fmt.Errorf("the balance of %s is %d msat below zero", n.name, -n.balance)
		}
		total += n.balance
		for h, p := range n.payments {
			total += p.LockedMsat
			switch {
			case p.LockedMsat < 0:
				return fmt.Errorf("%s has locked %d msat for %s", n.name, p.LockedMsat, h)
			case p.Status != trade.PaymentInFlight && p.LockedMsat != 0:
				return fmt.Errorf("%s: payment %s is %s and locks %d msat", n.name, h, p.Status, p.LockedMsat)
			case p.Status == trade.PaymentSucceeded && p.Preimage.Hash() != h:
				return fmt.Errorf("%s: payment %s succeeded without its preimage", n.name, h)
			}
		}
		for h, held := range n.holds {
			if (held.Phase == trade.HoldAccepted) != (n.accepted[h] == held) {
				return fmt.Errorf("%s: hold %s is %s, but the list of held payments disagrees", n.name, h, held.Phase)
			}
			if held.Phase == trade.HoldSettled && held.Preimage.Hash() != h {
				return fmt.Errorf("%s: hold %s settled without its preimage", n.name, h)
			}
			if held.Phase != trade.HoldAccepted {
				continue
			}
			payer := w.nodeNamed(held.Payer)
			if payer == nil {
				return fmt.Errorf("%s: the payer of hold %s does not exist", n.name, h)
			}
			p := payer.payments[h]
			if p == nil || p.Attempt != held.Attempt || p.Status != trade.PaymentInFlight || p.LockedMsat < held.PaidMsat {
				return fmt.Errorf("%s: hold %s is not locked by %s", n.name, h, held.Payer)
			}
		}
	}
	if total != w.minted {
		return fmt.Errorf("the world has %d msat, want %d", total, w.minted)
	}
	return nil
}

// Purse is the distribution of all funds, in whole sats. The sum of the three fields is
// always the amount that the world was created with.
type Purse struct {
	WalletSats int64 `json:"wallet_sats"` // balance of the named node
	NodeSats   int64 `json:"node_sats"`   // balances of all other nodes, plus the fees of routes
	HeldSats   int64 `json:"held_sats"`   // in transit, owned by no node
}

// Purse returns the distribution of all funds from the view of the named node.
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
	// HeldSats includes the rounding remainders, so the sum never changes.
	out.HeldSats = w.minted/1000 - out.WalletSats - out.NodeSats
	return out
}

// LockedMsat returns the amount in transit. It belongs to no node until it arrives or
// is refunded.
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
