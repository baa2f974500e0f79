// Package fund requests invoices from the Lightning address of the development fund. Package
// devfee decides about the payments.
package fund

import (
	"context"
	"errors"
	"fmt"

	"github.com/mostrodex/mostrodex/escrow/devfee"
	"github.com/mostrodex/mostrodex/escrow/lnurl"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

// Fund is the development fund.
type Fund struct {
	// Address is the fund's Lightning address. If "", no fee is owed.
	Address string
	// Network is the network of the fund's invoices, as the Lightning node names it. A trade
	// that is settled on another network owes the fund nothing.
	Network string
	// Service requests invoices from Address.
	Service Service
	// Node is the public key of this Mostro in bech32. The comment of a payment names it.
	Node string
}

// Service requests an invoice of an amount from an address. The comment names the trade and
// the node, if the address accepts comments. A Service limits its own time. The error is an
// Error if the service answered.
type Service interface {
	FundInvoice(ctx context.Context, address string, sats int64, comment string) (Invoice, error)
}

// Invoice is an invoice of the fund.
type Invoice struct {
	Bolt11 string
	Hash   trade.Hash
	Verify string // URL of LUD-21; "" for none
	// The other fields are checked by LNURL and not used afterwards.
	AmountMsat      int64    // 0 if the invoice states none
	DescriptionHash [32]byte // zero if the invoice has none
}

// Error is the reason why an answer of the fund cannot be used.
type Error devfee.Problem

// Error returns the reason.
func (e Error) Error() string { return string(e) }

// LNURL is a Service that uses the network.
type LNURL struct {
	lnurl.Client
	// Parse parses a BOLT11 invoice.
	Parse func(text string) (Invoice, error)
}

// FundInvoice requests an invoice and checks its amount and its description. A description hash
// must be that of the address's metadata (LUD-06). A description in plain text proves nothing
// and is not compared.
func (s LNURL) FundInvoice(ctx context.Context, address string, sats int64, comment string) (Invoice, error) {
	answer, err := s.Request(ctx, address, sats, comment)
	if errors.Is(err, lnurl.ErrUnusable) {
		return Invoice{}, Error(devfee.ProblemService)
	}
	if err != nil {
		return Invoice{}, err
	}
	in, err := s.Parse(answer.Invoice)
	switch {
	case err != nil:
		return Invoice{}, Error(devfee.ProblemService)
	case in.AmountMsat != sats*1000:
		return Invoice{}, Error(devfee.ProblemAmount)
	case in.DescriptionHash != [32]byte{} && in.DescriptionHash != answer.Metadata:
		return Invoice{}, Error(devfee.ProblemDescription)
	}
	in.Verify = answer.Verify
	return in, nil
}

// Track returns the state of a payment of the Lightning node.
type Track func(ctx context.Context, h trade.Hash) (trade.Result, error)

// Request performs the effect devfee.FxInvoice of a trade: it requests an invoice, unless the
// payment of the last invoice has succeeded or is in flight. An invoice under whose hash the
// node has such a payment is not used, because it was paid before.
func (f Fund) Request(ctx context.Context, id trade.OrderID, e trade.Effect, track Track) (*devfee.Input, error) {
	begun := func(h trade.Hash) (bool, trade.Result, error) {
		r, err := track(ctx, h)
		return r.Status == trade.PaymentInFlight || r.Status == trade.PaymentSucceeded, r, err
	}
	if e.Hash != (trade.Hash{}) {
		switch yes, r, err := begun(e.Hash); {
		case err != nil:
			return nil, fmt.Errorf("look up a development fee: %w", err)
		case yes:
			return &devfee.Input{Kind: devfee.InPayment, Hash: e.Hash, Attempt: e.Attempt, Payment: r}, nil
		}
	}
	none := func(p devfee.Problem) (*devfee.Input, error) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return &devfee.Input{Kind: devfee.InNoInvoice, Attempt: e.Attempt, Problem: p}, nil
	}
	invoice, err := f.Service.FundInvoice(ctx, f.Address, e.AmountSats, fmt.Sprintf("mostro-dev-fee order=%s node=%s", id, f.Node))
	var unusable Error
	switch {
	case errors.As(err, &unusable):
		return none(devfee.Problem(unusable))
	case err != nil:
		return none(devfee.ProblemUnreachable)
	}
	switch yes, _, err := begun(invoice.Hash); {
	case err != nil:
		return none(devfee.ProblemNode) // a failed attempt, so that the fund is not asked again at once
	case yes:
		return none(devfee.ProblemUsed)
	}
	return &devfee.Input{Kind: devfee.InInvoice, Attempt: e.Attempt, Invoice: &trade.Destination{Text: invoice.Bolt11}, Verify: invoice.Verify}, nil
}
