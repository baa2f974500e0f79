package lnd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/lnd/wire"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// Permissions returns the permissions that the macaroon must grant, in the form that
// `lncli bakemacaroon` accepts: "uri:/lnrpc.Lightning/GetInfo" and so on.
func Permissions() []string { return permissions(false) }

// OptionalPermissions returns the permissions without which an escrow works. Without
// ListPayments, payments that the escrow does not know are not found. Without ListChannels,
// `mostrodex doctor` cannot check the liquidity.
func OptionalPermissions() []string { return permissions(true) }

func permissions(optional bool) (out []string) {
	for _, m := range wire.Methods() {
		if m.Optional == optional {
			out = append(out, "uri:"+m.Path)
		}
	}
	return out
}

// CheckPermissions calls each method that is not optional once with a request that LND refuses for its
// content, after LND has checked the macaroon. The calls have no effect. (LND has a
// method that answers the question directly, but that method needs one more
// permission.) The error wraps lightning.ErrPermission and names the missing permissions.
// If the node gave no usable answer, the error wraps lightning.ErrUnavailable or
// lightning.ErrRefused.
func (c *Client) CheckPermissions(ctx context.Context) error {
	// One byte is neither a hash nor a preimage nor an invoice. No time is both after
	// second 2 and before second 1.
	broken := []byte{0}
	requests := map[string]proto.Message{
		wire.GetInfo:                &wire.GetInfoRequest{},
		wire.AddHoldInvoice:         &wire.AddHoldInvoiceRequest{Hash: broken},
		wire.LookupInvoice:          &wire.LookupInvoiceMsg{InvoiceRef: &wire.LookupInvoiceMsg_PaymentHash{PaymentHash: broken}},
		wire.ListInvoices:           &wire.ListInvoiceRequest{CreationDateStart: 2, CreationDateEnd: 1},
		wire.SubscribeSingleInvoice: &wire.SubscribeSingleInvoiceRequest{RHash: broken},
		wire.SettleInvoice:          &wire.SettleInvoiceMsg{Preimage: broken},
		wire.CancelInvoice:          &wire.CancelInvoiceMsg{PaymentHash: broken},
		wire.SendPayment:            &wire.SendPaymentRequest{PaymentRequest: "x"},
		wire.TrackPayment:           &wire.TrackPaymentRequest{PaymentHash: broken},
	}
	var missing []string
	for _, m := range wire.Methods() {
		if m.Optional {
			continue
		}
		err := c.probe(ctx, m, requests[m.Path])
		if errors.Is(err, lightning.ErrPermission) {
			missing = append(missing, "uri:"+m.Path)
			continue
		}
		var said *answer
		switch {
		case err == nil && m.Path != wire.GetInfo:
			return fmt.Errorf("check permissions: %w: %s accepted a broken request", lightning.ErrUnavailable, m.Path)
		case errors.As(err, &said) && said.code == codes.Unimplemented:
			return fmt.Errorf("check permissions: %w: the node does not offer %s", lightning.ErrPermission, m.Path)
		case errors.Is(err, lightning.ErrRefused) && m.Path != wire.GetInfo:
			// LND has refused the broken request for its content, so the macaroon
			// grants the permission.
		case errors.Is(err, lightning.ErrUnavailable), errors.Is(err, lightning.ErrRefused):
			return fmt.Errorf("check permissions: %w", err)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: the macaroon does not allow %s", lightning.ErrPermission, strings.Join(missing, ", "))
	}
	return nil
}

// probe calls one method with a request that LND is expected to refuse.
func (c *Client) probe(ctx context.Context, m wire.Method, in proto.Message) error {
	if !m.Streams {
		return c.call(ctx, m.Path, in, m.Response)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	_, err := first[wire.Payment](ctx, c, m.Path, in)
	return err
}
