package lnd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/lnd/wire"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

const (
	// listPage is the number of invoices in one answer. An invoice takes 1 to 2 KiB,
	// plus some hundred bytes for each part of its payment.
	listPage = 200
	// listTimeout is the limit of one page. LND's key-value store reads every invoice
	// from the first one on to apply creation_date_start. Reading 20,000 invoices took
	// 0.8 s on a busy machine with two cores. The first page of a node with a million
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
		// LND may return a short page before the end of the list. Only an empty page is
		// the end.
		if len(page.GetInvoices()) == 0 {
			return nil
		}
		for _, invoice := range page.GetInvoices() {
			if len(invoice.GetRHash()) != len(trade.Hash{}) {
				continue // no hash: the invoice is not a hold invoice
			}
			state, err := holdState(invoice)
			if err != nil {
				return fmt.Errorf("list holds: %w", err)
			}
			if err := fn(state); err != nil {
				return err
			}
		}
		// If the node repeats a page, the loop would not end.
		if page.GetLastIndexOffset() <= in.IndexOffset {
			return fmt.Errorf("list holds: %w: the page after invoice %d ends at %d", escrow.ErrUnavailable, in.IndexOffset, page.GetLastIndexOffset())
		}
		in.IndexOffset = page.GetLastIndexOffset()
	}
}

// listPage requests one page. If a page exceeds the connection's largest message,
// listPage repeats the request with half as many invoices. The payer of an invoice
// decides the number of parts, and so the size of the record.
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
