package effect

import (
	"context"
	"fmt"

	"github.com/mostrodex/mostrodex/escrow/fund"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/lnurl"
)

// Services calls Lightning addresses and LNURLs over the network.
type Services struct{ lnurl.Client }

// Mint returns an invoice of exactly that amount. Destination.Payable checks the network, the
// expiry and the lock.
func (s Services) Mint(ctx context.Context, address string, amountSats int64) (string, error) {
	text, err := s.Invoice(ctx, address, amountSats, "")
	if err != nil {
		return "", err
	}
	in, err := lightning.ParseInvoice(text)
	if err != nil {
		return "", fmt.Errorf("%w: the service's invoice is malformed", lnurl.ErrUnusable)
	}
	if in.AmountMsat != amountSats*1000 {
		return "", fmt.Errorf("%w: the service's invoice is for another amount", lnurl.ErrUnusable)
	}
	return in.Bolt11, nil
}

// FundInvoice implements fund.Service.
func (s Services) FundInvoice(ctx context.Context, address string, sats int64, comment string) (fund.Invoice, error) {
	parse := func(text string) (fund.Invoice, error) {
		in, err := lightning.ParseInvoice(text)
		return fund.Invoice{Bolt11: in.Bolt11, Hash: in.Hash, AmountMsat: in.AmountMsat, DescriptionHash: in.DescriptionHash}, err
	}
	return fund.LNURL{Client: s.Client, Parse: parse}.FundInvoice(ctx, address, sats, comment)
}

var _ Addresses = Services{}
