// Package lnd implements lightning.Node with an LND node. The node is reached over
// gRPC with a macaroon that allows the nine methods that an escrow needs, and two more that
// are optional, and no others.
//
// The package keeps the promises of lightning.Node. The outcome of a call is definite
// unless the error is lightning.ErrUnavailable or lightning.ErrRefused. A watch survives
// restarts of the node. No error contains an invoice, a preimage or the macaroon. The
// package keeps no state and makes no decisions about a trade. It is written against
// LND v0.21.2-beta.
package lnd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/lnd/wire"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"
)

const (
	// DefaultTimeout is the limit of one call if Config.Timeout is 0.
	DefaultTimeout = 15 * time.Second
	// DefaultHoldExpiryDelta is LND's default invoices.holdexpirydelta since 0.16, in
	// blocks. LND broadcasts its commitment transaction 16 blocks before an incoming
	// lock expires, and cancels the invoice two blocks before that.
	DefaultHoldExpiryDelta = 18
	// maxMemo is the largest memo in bytes that LND accepts. It is also the room of a
	// BOLT 11 description field.
	maxMemo = 639
)

// Config is the address and the credentials of the node.
type Config struct {
	Address      string // host:port of the gRPC listener
	CertFile     string // the node's tls.cert, the only root of trust
	MacaroonFile string // baked with Permissions or a superset

	Timeout         time.Duration // limit of one call; 0: DefaultTimeout
	HoldExpiryDelta uint32        // the node's invoices.holdexpirydelta, in blocks; 0: DefaultHoldExpiryDelta
}

// Client is a connection to one LND node. Its methods are safe for concurrent use.
type Client struct {
	conn            *grpc.ClientConn
	files           files
	timeout         time.Duration
	holdExpiryDelta uint32

	close  sync.Once
	closed chan struct{} // closed by Close, which ends the watches
}

var _ lightning.Node = (*Client)(nil)

// Open reads the certificate and the macaroon and returns an error if either is missing
// or malformed. It does not wait for the node. The client dials the node at the first
// call and again after each outage.
func Open(cfg Config) (*Client, error) {
	c := &Client{files: files{cert: cfg.CertFile, macaroon: cfg.MacaroonFile}, timeout: cfg.Timeout, holdExpiryDelta: cfg.HoldExpiryDelta, closed: make(chan struct{})}
	if err := c.files.load(); err != nil {
		return nil, err
	}
	retry := backoff.DefaultConfig
	retry.BaseDelay, retry.MaxDelay = 200*time.Millisecond, 5*time.Second
	conn, err := grpc.NewClient(cfg.Address,
		grpc.WithTransportCredentials(&c.files),
		grpc.WithPerRPCCredentials(macaroon{&c.files}),
		// The escrow looks up the state before each retry, so the gRPC library must not
		// retry a call by itself.
		grpc.WithDisableRetry(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: 5 * time.Second}),
		// A watch may stay silent for days. Only keepalive pings distinguish a quiet
		// node from a dead connection. LND allows one ping every five seconds.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)),
		// No proxy may read the traffic with the node.
		grpc.WithNoProxy(),
	)
	if err != nil {
		return nil, fmt.Errorf("lnd address %q: %w", cfg.Address, err)
	}
	c.conn = conn
	if c.timeout <= 0 {
		c.timeout = DefaultTimeout
	}
	if c.holdExpiryDelta == 0 {
		c.holdExpiryDelta = DefaultHoldExpiryDelta
	}
	return c, nil
}

// Reload reads the certificate and the macaroon again. Open connections stay open. If a file is
// missing or malformed, Reload returns an error, and the contents that were read before stay in
// use.
func (c *Client) Reload() error { return c.files.load() }

// Close ends every call and every watch with lightning.ErrUnavailable.
func (c *Client) Close() (err error) {
	c.close.Do(func() {
		close(c.closed)
		err = c.conn.Close()
	})
	return err
}

// Info implements lightning.Node.
func (c *Client) Info(ctx context.Context) (lightning.NodeInfo, error) {
	var out wire.GetInfoResponse
	if err := c.call(ctx, wire.GetInfo, &wire.GetInfoRequest{}, &out); err != nil {
		return lightning.NodeInfo{}, err
	}
	info := lightning.NodeInfo{
		Pubkey:          out.GetIdentityPubkey(),
		Alias:           out.GetAlias(),
		Version:         out.GetVersion(),
		Commit:          out.GetCommitHash(),
		URIs:            out.GetUris(),
		Height:          out.GetBlockHeight(),
		Synced:          out.GetSyncedToChain(),
		HoldExpiryDelta: c.holdExpiryDelta,
	}
	if chains := out.GetChains(); len(chains) > 0 {
		info.Chain = chains[0].GetChain()
		info.Network = lightning.Network(chains[0].GetNetwork())
	}
	return info, nil
}

// CreateHold implements lightning.Node.
func (c *Client) CreateHold(ctx context.Context, in lightning.HoldRequest) (string, error) {
	expiry := in.Expiry
	if expiry == 0 {
		expiry = lightning.DefaultHoldExpiry
	}
	switch {
	case in.AmountSats <= 0:
		return "", fmt.Errorf("create hold %s: %w: amount of %d sats", in.Hash, lightning.ErrInvoice, in.AmountSats)
	case len(in.Memo) > maxMemo:
		return "", fmt.Errorf("create hold %s: %w: memo of %d bytes", in.Hash, lightning.ErrInvoice, len(in.Memo))
	case expiry < time.Second:
		return "", fmt.Errorf("create hold %s: %w: expiry of %s", in.Hash, lightning.ErrInvoice, expiry)
	case in.CLTVBlocks <= c.holdExpiryDelta:
		// LND would accept the request and cancel the payment as soon as the payment is
		// accepted.
		return "", fmt.Errorf("create hold %s: %w: a lock of %d blocks, of which the node reserves %d", in.Hash, lightning.ErrInvoice, in.CLTVBlocks, c.holdExpiryDelta)
	}
	var out wire.AddHoldInvoiceResp
	err := c.call(ctx, wire.AddHoldInvoice, &wire.AddHoldInvoiceRequest{
		Memo:       in.Memo,
		Hash:       in.Hash[:],
		Value:      in.AmountSats,
		Expiry:     int64(expiry / time.Second),
		CltvExpiry: uint64(in.CLTVBlocks),
	}, &out)
	if err != nil {
		return "", fmt.Errorf("create hold %s: %w", in.Hash, err)
	}
	return out.GetPaymentRequest(), nil
}

// LookupHold implements lightning.Node.
func (c *Client) LookupHold(ctx context.Context, h trade.Hash) (lightning.HoldState, error) {
	var out wire.Invoice
	in := &wire.LookupInvoiceMsg{InvoiceRef: &wire.LookupInvoiceMsg_PaymentHash{PaymentHash: h[:]}}
	if err := c.call(ctx, wire.LookupInvoice, in, &out); err != nil {
		return lightning.HoldState{}, fmt.Errorf("look up hold %s: %w", h, err)
	}
	return holdState(&out)
}

// Settle implements lightning.Node.
func (c *Client) Settle(ctx context.Context, p trade.Preimage) error {
	err := c.call(ctx, wire.SettleInvoice, &wire.SettleInvoiceMsg{Preimage: p[:]}, &wire.SettleInvoiceResp{})
	if err != nil {
		return fmt.Errorf("settle hold %s: %w", p.Hash(), err)
	}
	return nil
}

// Cancel implements lightning.Node.
func (c *Client) Cancel(ctx context.Context, h trade.Hash) error {
	err := c.call(ctx, wire.CancelInvoice, &wire.CancelInvoiceMsg{PaymentHash: h[:]}, &wire.CancelInvoiceResp{})
	if err != nil {
		return fmt.Errorf("cancel hold %s: %w", h, err)
	}
	return nil
}

// Pay implements lightning.Node.
func (c *Client) Pay(ctx context.Context, p lightning.Payment) error {
	timeout := p.Timeout
	if timeout == 0 {
		timeout = lightning.DefaultPayTimeout
	}
	seconds := int64((timeout + time.Second - 1) / time.Second)
	if p.AmountSats < 0 || p.MaxFeeSats < 0 || seconds <= 0 || seconds > math.MaxInt32 {
		return fmt.Errorf("pay: %w: amount, fee or timeout out of range", lightning.ErrInvoice)
	}
	// If the request has no invoice, LND takes it for another kind of payment. For a
	// malformed invoice LND has many different error texts.
	invoice, err := lightning.ParseInvoice(p.Bolt11)
	if err != nil {
		return fmt.Errorf("pay: %w: malformed", lightning.ErrInvoice)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel() // ends the stream, not the payment, because the request is not marked as cancelable
	request := &wire.SendPaymentRequest{
		Amt:            p.AmountSats,
		PaymentRequest: invoice.Bolt11,
		TimeoutSeconds: int32(seconds),
		FeeLimitSat:    p.MaxFeeSats,
		CltvLimit:      int32(min(p.MaxCLTVBlocks, math.MaxInt32)),
	}
	// LND sends the first update once the payment is in its database.
	_, err = first[wire.Payment](ctx, c, wire.SendPayment, request)
	if said(err, "total time lock of", "exceeds max allowed") {
		// LND refuses a limit above its own max-cltv-expiry. In this case LND's limit
		// is the lower one and applies. LND has sent nothing yet.
		request.CltvLimit = 0
		_, err = first[wire.Payment](ctx, c, wire.SendPayment, request)
	}
	if err != nil {
		return fmt.Errorf("pay %s: %w", invoice.Hash, refusedInvoice(err))
	}
	return nil
}

// TrackPayment implements lightning.Node.
func (c *Client) TrackPayment(ctx context.Context, h trade.Hash) (lightning.PaymentState, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	out, err := first[wire.Payment](ctx, c, wire.TrackPayment, &wire.TrackPaymentRequest{PaymentHash: h[:]})
	if errors.Is(err, lightning.ErrNotFound) {
		return lightning.PaymentState{Hash: h, Status: trade.PaymentUnknown}, nil
	}
	if err != nil {
		return lightning.PaymentState{}, fmt.Errorf("track payment %s: %w", h, err)
	}
	return paymentState(out)
}

// call performs one unary method with the client's timeout.
func (c *Client) call(ctx context.Context, path string, in, out proto.Message) error {
	return c.callWithin(ctx, c.timeout, path, in, out)
}

func (c *Client) callWithin(ctx context.Context, timeout time.Duration, path string, in, out proto.Message) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return classify(ctx, c.conn.Invoke(ctx, path, in, out))
}

// stream starts a method with a stream of answers, and returns a function that waits
// for the next answer. The stream ends with ctx.
func stream[T any, M interface {
	*T
	proto.Message
}](ctx context.Context, c *Client, path string, in proto.Message) (func() (M, error), error) {
	s, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, path)
	if err != nil {
		return nil, classify(ctx, err)
	}
	// If the server has already answered, SendMsg returns io.EOF and RecvMsg returns
	// the answer.
	if err := s.SendMsg(in); err == nil {
		_ = s.CloseSend()
	}
	return func() (M, error) {
		out := M(new(T))
		if err := s.RecvMsg(out); err != nil {
			return nil, classify(ctx, err)
		}
		return out, nil
	}, nil
}

// first returns the first answer of a stream.
func first[T any, M interface {
	*T
	proto.Message
}](ctx context.Context, c *Client, path string, in proto.Message) (M, error) {
	next, err := stream[T, M](ctx, c, path, in)
	if err != nil {
		return nil, err
	}
	return next()
}

// holdState converts an invoice of LND. If LND reports a state that is unknown to this
// package, holdState returns lightning.ErrUnavailable, because the answer was not
// understood.
func holdState(in *wire.Invoice) (lightning.HoldState, error) {
	if len(in.GetRHash()) != len(trade.Hash{}) {
		return lightning.HoldState{}, fmt.Errorf("%w: an invoice without a hash", lightning.ErrUnavailable)
	}
	out := lightning.HoldState{
		Hash:       trade.Hash(in.GetRHash()),
		Bolt11:     in.GetPaymentRequest(),
		AmountSats: in.GetValue(),
		Memo:       in.GetMemo(),
		ExpiresAt:  time.Unix(in.GetCreationDate()+in.GetExpiry(), 0).UTC(),
	}
	switch in.GetState() {
	case wire.Invoice_OPEN:
		out.Phase = trade.HoldOpen
	case wire.Invoice_CANCELED:
		out.Phase = trade.HoldCanceled
	case wire.Invoice_SETTLED:
		out.Phase = trade.HoldSettled
		out.PaidMsat = in.GetAmtPaidMsat()
	case wire.Invoice_ACCEPTED:
		out.Phase = trade.HoldAccepted
		for _, part := range in.GetHtlcs() {
			if part.GetState() != wire.InvoiceHTLCState_ACCEPTED {
				continue // part of an earlier attempt
			}
			out.PaidMsat += int64(part.GetAmtMsat())
			// The part that expires first decides, because the node cancels all parts
			// at that height.
			out.ExpiryHeight = leastHeight(out.ExpiryHeight, part.GetExpiryHeight())
			out.AcceptHeight = leastHeight(out.AcceptHeight, part.GetAcceptHeight())
		}
	default:
		return lightning.HoldState{}, fmt.Errorf("%w: invoice state %d", lightning.ErrUnavailable, in.GetState())
	}
	return out, nil
}

// leastHeight returns the lesser of two heights; 0 stands for no height.
func leastHeight(have uint32, next int32) uint32 {
	if next <= 0 || have != 0 && have <= uint32(next) {
		return have
	}
	return uint32(next)
}

// failures maps LND's failure reasons to the escrow's.
var failures = map[wire.PaymentFailureReason]lightning.PaymentFailure{
	wire.PaymentFailureReason_FAILURE_REASON_NONE:                      lightning.FailureNotSpecified,
	wire.PaymentFailureReason_FAILURE_REASON_TIMEOUT:                   lightning.FailureTimeout,
	wire.PaymentFailureReason_FAILURE_REASON_NO_ROUTE:                  lightning.FailureNoRoute,
	wire.PaymentFailureReason_FAILURE_REASON_ERROR:                     lightning.FailureOther,
	wire.PaymentFailureReason_FAILURE_REASON_INCORRECT_PAYMENT_DETAILS: lightning.FailureDetails,
	wire.PaymentFailureReason_FAILURE_REASON_INSUFFICIENT_BALANCE:      lightning.FailureBalance,
	wire.PaymentFailureReason_FAILURE_REASON_CANCELED:                  lightning.FailureCanceled,
}

// paymentState converts a payment of LND. A payment that is neither succeeded nor
// failed counts as in flight, because waiting is always safe and paying again is not.
func paymentState(in *wire.Payment) (lightning.PaymentState, error) {
	hash, err := trade.ParseHash(strings.ToLower(in.GetPaymentHash()))
	if err != nil {
		return lightning.PaymentState{}, fmt.Errorf("%w: a payment without a hash", lightning.ErrUnavailable)
	}
	out := lightning.PaymentState{Hash: hash, Status: trade.PaymentInFlight, AmountMsat: in.GetValueMsat()}
	switch in.GetStatus() {
	case wire.Payment_SUCCEEDED:
		out.Status = trade.PaymentSucceeded
		out.FeeMsat = in.GetFeeMsat()
		if out.Preimage, err = trade.ParsePreimage(in.GetPaymentPreimage()); err != nil {
			return lightning.PaymentState{}, fmt.Errorf("%w: a success without a preimage", lightning.ErrUnavailable)
		}
	case wire.Payment_FAILED:
		out.Status = trade.PaymentFailed
		out.Failure = lightning.FailureOther
		if name, known := failures[in.GetFailureReason()]; known {
			out.Failure = name
		}
	}
	return out, nil
}

// ListHolds implements lightning.Node.
func (c *Client) ListHolds(ctx context.Context, since time.Time, fn func(lightning.HoldState) error) error {
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
			return fmt.Errorf("list holds: %w: the page after invoice %d ends at %d", lightning.ErrUnavailable, in.IndexOffset, page.GetLastIndexOffset())
		}
		in.IndexOffset = page.GetLastIndexOffset()
	}
}

// ListPayments implements lightning.Node.
func (c *Client) ListPayments(ctx context.Context, since time.Time, fn func(lightning.PaymentState) error) error {
	in := &wire.ListPaymentsRequest{
		IncludeIncomplete: true,
		MaxPayments:       listPage,
		CreationDateStart: uint64(max(since.Unix(), 0)),
	}
	for {
		page := &wire.ListPaymentsResponse{}
		err := c.callWithin(ctx, listTimeout, wire.ListPayments, in, page)
		if tooLarge(err) && in.MaxPayments > 1 {
			in.MaxPayments /= 2 // the parts of a payment decide the size of its record
			continue
		}
		if err != nil {
			return fmt.Errorf("list payments: %w", err)
		}
		if len(page.GetPayments()) == 0 {
			return nil
		}
		for _, p := range page.GetPayments() {
			state, err := paymentState(p)
			if err != nil {
				return fmt.Errorf("list payments: %w", err)
			}
			if err := fn(state); err != nil {
				return err
			}
		}
		if page.GetLastIndexOffset() <= in.IndexOffset {
			return fmt.Errorf("list payments: %w: the page after payment %d ends at %d", lightning.ErrUnavailable, in.IndexOffset, page.GetLastIndexOffset())
		}
		in.IndexOffset = page.GetLastIndexOffset()
	}
}

// tooLarge reports whether an answer exceeded the connection's largest message.
func tooLarge(err error) bool {
	var said *answer
	return errors.As(err, &said) && said.code == codes.ResourceExhausted
}

const (
	// listPage is the number of invoices or payments in one answer. An invoice takes 1 to 2 KiB,
	// plus some hundred bytes for each part of its payment.
	listPage = 200
	// listTimeout is the limit of one page. LND's key-value store reads every invoice
	// from the first one on to apply creation_date_start. Reading 20,000 invoices took
	// 0.8 s on a busy machine with two cores. The first page of a node with a million
	// invoices may take longer than DefaultTimeout.
	listTimeout = 2 * time.Minute
)

// listPage requests one page. If a page exceeds the connection's largest message,
// listPage repeats the request with half as many invoices. The payer of an invoice
// decides the number of parts, and so the size of the record.
func (c *Client) listPage(ctx context.Context, in *wire.ListInvoiceRequest) (*wire.ListInvoiceResponse, error) {
	for {
		out := &wire.ListInvoiceResponse{}
		err := c.callWithin(ctx, listTimeout, wire.ListInvoices, in, out)
		if tooLarge(err) && in.NumMaxInvoices > 1 {
			in.NumMaxInvoices /= 2
			continue
		}
		return out, err
	}
}

// Channels asks the node for its open channels. The permission is optional: Channels returns
// lightning.ErrPermission without it.
func (c *Client) Channels(ctx context.Context) (sum Channels, err error) {
	var list wire.ListChannelsResponse
	if err := c.call(ctx, wire.ListChannels, &wire.ListChannelsRequest{}, &list); err != nil {
		return sum, fmt.Errorf("list channels: %w", err)
	}
	for _, ch := range list.GetChannels() {
		sum.Channels++
		if !ch.GetActive() {
			continue
		}
		sum.Active++
		sum.InboundSats += max(0, ch.GetRemoteBalance()-int64(ch.GetRemoteConstraints().GetChanReserveSat()))
		sum.OutboundSats += max(0, ch.GetLocalBalance()-int64(ch.GetLocalConstraints().GetChanReserveSat()))
	}
	return sum, nil
}
