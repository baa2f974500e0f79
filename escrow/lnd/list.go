package lnd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/lnd/wire"
)

const (
	// listPage is the number of invoices in one answer. An invoice takes 1 to
	// 2 KiB, and some hundred bytes more for each part of its payment.
	listPage = 200
	// listTimeout bounds one page. To apply creation_date_start, LND's key-value
	// store reads every invoice from the first one on: 20,000 of them took 0.8 s
	// on a busy machine with two cores. The first page of a node with a million
	// invoices may take longer than DefaultTimeout.
	listTimeout = 2 * time.Minute
)

// ListHolds implements escrow.Lightning.
func (c *Client) ListHolds(ctx context.Context, since time.Time, fn func(escrow.HoldState) error) error {
	in := &wire.ListInvoiceRequest{
		NumMaxInvoices:    listPage,
		CreationDateStart: uint64(max(since.Unix(), 0)),
	}
	for {
		page, err := c.listPage(ctx, in)
		if err != nil {
			return fmt.Errorf("list holds: %w", err)
		}
		// A page may be short for reasons of the node's own: only an empty one
		// is the end.
		if len(page.GetInvoices()) == 0 {
			return nil
		}
		for _, invoice := range page.GetInvoices() {
			if len(invoice.GetRHash()) != len(escrow.Hash{}) {
				continue // not payable by a hash, so not a hold invoice
			}
			state, err := holdState(invoice)
			if err != nil {
				return fmt.Errorf("list holds: %w", err)
			}
			if err := fn(state); err != nil {
				return err
			}
		}
		// A node that does not move on would be asked for ever.
		if page.GetLastIndexOffset() <= in.IndexOffset {
			return fmt.Errorf("list holds: %w: the page after invoice %d ends at %d", escrow.ErrUnavailable, in.IndexOffset, page.GetLastIndexOffset())
		}
		in.IndexOffset = page.GetLastIndexOffset()
	}
}

// listPage asks for one page. A page that exceeds the largest message of the
// connection is asked for again with half as many invoices: the payer of an
// invoice decides how many parts, and how many bytes, its record has.
func (c *Client) listPage(ctx context.Context, in *wire.ListInvoiceRequest) (*wire.ListInvoiceResponse, error) {
	for {
		out := &wire.ListInvoiceResponse{}
		err := c.callWithin(ctx, listTimeout, wire.ListInvoices, in, out)
		var said *answer
		if errors.As(err, &said) && said.code == codes.ResourceExhausted && in.NumMaxInvoices > 1 {
			in.NumMaxInvoices /= 2
			continue
		}
		return out, err
	}
}
