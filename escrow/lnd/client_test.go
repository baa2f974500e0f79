package lnd_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/lnd"
	"github.com/mostrodex/mostrodex/escrow/lnd/wire"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// node is a gRPC server that plays the LND of a test. It returns answers that a real
// LND returns only in rare situations.
type node struct {
	mu       sync.Mutex
	handle   map[string]func(in []byte, send func(proto.Message) error, ctx context.Context) error
	asked    []string
	macaroon []string
}

// raw holds a request as its bytes on the wire.
type raw struct{ bytes []byte }

// codec passes requests on as bytes and marshals answers.
type codec struct{}

func (codec) Name() string { return "proto" }
func (codec) Marshal(v any) ([]byte, error) {
	return proto.Marshal(v.(proto.Message))
}
func (codec) Unmarshal(data []byte, v any) error {
	v.(*raw).bytes = bytes.Clone(data)
	return nil
}

func (n *node) on(path string, fn func(in []byte, send func(proto.Message) error, ctx context.Context) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.handle[path] = fn
}

// says sets the answer of a method: messages, then an error unless err is nil.
func (n *node) says(path string, err error, messages ...proto.Message) {
	n.on(path, func(_ []byte, send func(proto.Message) error, _ context.Context) error {
		for _, m := range messages {
			if err := send(m); err != nil {
				return err
			}
		}
		return err
	})
}

func (n *node) serve(_ any, s grpc.ServerStream) error {
	path, _ := grpc.MethodFromServerStream(s)
	var in raw
	if err := s.RecvMsg(&in); err != nil {
		return err
	}
	n.mu.Lock()
	fn := n.handle[path]
	n.asked = append(n.asked, path)
	if md, ok := metadata.FromIncomingContext(s.Context()); ok {
		n.macaroon = md.Get("macaroon")
	}
	n.mu.Unlock()
	if fn == nil {
		return status.Error(codes.Unimplemented, "unknown method")
	}
	return fn(in.bytes, func(m proto.Message) error { return s.SendMsg(m) }, s.Context())
}

var testMacaroon = bytes.Repeat([]byte("macaroon"), 20)

func selfSigned(t testing.TB) (tls.Certificate, string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// start returns a node and a client that is connected to it.
func start(t *testing.T, timeout time.Duration) (*node, *lnd.Client) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	cert, pemText := selfSigned(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{handle: map[string]func([]byte, func(proto.Message) error, context.Context) error{}}
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&cert)), grpc.UnknownServiceHandler(n.serve), grpc.ForceServerCodec(codec{}))
	served := make(chan struct{})
	go func() { _ = server.Serve(l); close(served) }()
	t.Cleanup(func() { server.Stop(); <-served })
	c, err := lnd.Open(config(t, l.Addr().String(), pemText, timeout))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return n, c
}

func config(t *testing.T, address, cert string, timeout time.Duration) lnd.Config {
	dir := t.TempDir()
	for name, text := range map[string][]byte{"tls.cert": []byte(cert), "m": testMacaroon} {
		if err := os.WriteFile(dir+"/"+name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return lnd.Config{Address: address, CertFile: dir + "/tls.cert", MacaroonFile: dir + "/m", Timeout: timeout}
}

// payable returns an invoice for calls that need any invoice, and its hash.
func payable(t testing.TB) (string, trade.Hash) {
	text, err := lightning.InvoiceDraft{Hash: trade.Hash{5}, AmountMsat: 1000, Network: lightning.Regtest, CreatedAt: time.Now(), Expiry: time.Hour, MinFinalCLTV: 18}.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	return text, trade.Hash{5}
}

func TestAnswersBecomeTheClosedSet(t *testing.T) {
	n, c := start(t, 10*time.Second)
	ctx := t.Context()
	bolt11, _ := payable(t)
	secret := strings.Repeat("5ecre7", 10)
	calls := map[string]func() error{
		wire.AddHoldInvoice: func() error {
			_, err := c.CreateHold(ctx, lightning.HoldRequest{AmountSats: 1, CLTVBlocks: 40})
			return err
		},
		wire.LookupInvoice: func() error { _, err := c.LookupHold(ctx, trade.Hash{}); return err },
		wire.ListInvoices:  func() error { return c.ListHolds(ctx, time.Time{}, nil) },
		wire.SettleInvoice: func() error { return c.Settle(ctx, trade.Preimage{}) },
		wire.CancelInvoice: func() error { return c.Cancel(ctx, trade.Hash{}) },
		wire.SendPayment:   func() error { return c.Pay(ctx, lightning.Payment{Bolt11: bolt11}) },
		wire.TrackPayment:  func() error { _, err := c.TrackPayment(ctx, trade.Hash{}); return err },
		wire.GetInfo:       func() error { _, err := c.Info(ctx); return err },
	}
	for _, test := range []struct {
		path string
		code codes.Code
		text string
		want error
	}{
		{wire.AddHoldInvoice, codes.Unknown, "invoice with payment hash already exists", lightning.ErrExists},
		{wire.AddHoldInvoice, codes.Unknown, "memo too large: 640 bytes (maxsize=639)", lightning.ErrInvoice},
		{wire.AddHoldInvoice, codes.Unknown, "CLTV delta of 3000 is too large, max is 2016", lightning.ErrInvoice},
		{wire.AddHoldInvoice, codes.Unknown, "something new", lightning.ErrRefused},
		{wire.AddHoldInvoice, codes.InvalidArgument, "hash must be 32 bytes", lightning.ErrRefused},
		{wire.AddHoldInvoice, codes.FailedPrecondition, "something new", lightning.ErrRefused},
		{wire.AddHoldInvoice, codes.OutOfRange, "something new", lightning.ErrRefused},
		{wire.AddHoldInvoice, codes.Unknown, "write /lnd/channel.db: no space left on device", lightning.ErrRefused},
		// Errors of the gRPC library on either side, and LND's answer after a panic.
		{wire.AddHoldInvoice, codes.Internal, "internal server error", lightning.ErrUnavailable},
		{wire.AddHoldInvoice, codes.Internal, "stream terminated by RST_STREAM with error code: INTERNAL_ERROR", lightning.ErrUnavailable},
		{wire.AddHoldInvoice, codes.Internal, "server closed the stream without sending trailers", lightning.ErrUnavailable},
		{wire.AddHoldInvoice, codes.Internal, "grpc: failed to unmarshal the received message: proto: cannot parse", lightning.ErrUnavailable},
		{wire.AddHoldInvoice, codes.Unknown, "unexpected HTTP status code received from server: 502 (Bad Gateway); transport: received unexpected content-type", lightning.ErrUnavailable},
		{wire.AddHoldInvoice, codes.ResourceExhausted, "grpc: received message larger than max", lightning.ErrUnavailable},
		{wire.AddHoldInvoice, codes.Aborted, "something new", lightning.ErrUnavailable},
		{wire.AddHoldInvoice, codes.DataLoss, "something new", lightning.ErrUnavailable},
		// Errors of an LND that starts, stops or has lost its database.
		{wire.AddHoldInvoice, codes.Unknown, "server is still in the process of starting", lightning.ErrUnavailable},
		{wire.AddHoldInvoice, codes.Unknown, "waiting to start, RPC services not available", lightning.ErrUnavailable},
		{wire.AddHoldInvoice, codes.Unknown, "wallet not created, create one to enable full RPC access", lightning.ErrUnavailable},
		{wire.AddHoldInvoice, codes.Unknown, "invoice registry shutting down", lightning.ErrUnavailable},
		{wire.AddHoldInvoice, codes.Unknown, "database not open", lightning.ErrUnavailable},
		{wire.AddHoldInvoice, codes.Unknown, "driver: bad connection", lightning.ErrUnavailable},
		{wire.AddHoldInvoice, codes.Unknown, "etcdserver: request timed out", lightning.ErrUnavailable},
		{wire.SendPayment, codes.Unknown, "timeout_seconds must be specified", lightning.ErrRefused},
		{wire.LookupInvoice, codes.NotFound, "unable to locate invoice", lightning.ErrNotFound},
		{wire.LookupInvoice, codes.Unknown, "there are no existing invoices", lightning.ErrNotFound},
		{wire.SettleInvoice, codes.Unknown, "invoice still open", lightning.ErrOpen},
		{wire.SettleInvoice, codes.Unknown, "invoice already canceled", lightning.ErrCanceled},
		{wire.SettleInvoice, codes.Unknown, "unable to locate invoice", lightning.ErrNotFound},
		{wire.CancelInvoice, codes.Unknown, "invoice already settled", lightning.ErrSettled},
		{wire.CancelInvoice, codes.Internal, "disk full", lightning.ErrRefused},
		// An error text of the connection never counts as an answer of LND.
		{wire.CancelInvoice, codes.Unavailable, "invoice already settled", lightning.ErrUnavailable},
		{wire.SettleInvoice, codes.Unknown, "permission denied", lightning.ErrPermission},
		{wire.SettleInvoice, codes.Unknown, "verification failed: signature mismatch after caveat verification", lightning.ErrPermission},
		{wire.SettleInvoice, codes.Unknown, `caveat "time-before 2026-11-30T00:00:00Z" not satisfied: macaroon has expired`, lightning.ErrPermission},
		{wire.SettleInvoice, codes.Unknown, `caveat "ipaddr 10.0.0.1" not satisfied: macaroon locked to different IP address`, lightning.ErrPermission},
		{wire.SettleInvoice, codes.Unknown, "cannot retrieve macaroon: cannot get macaroon: root key with id 7 doesn't exist", lightning.ErrPermission},
		{wire.SettleInvoice, codes.Unknown, "cannot retrieve macaroon: cannot get macaroon: macaroon store is locked", lightning.ErrUnavailable},
		{wire.SettleInvoice, codes.Unknown, "cannot retrieve macaroon: cannot get macaroon: database not open", lightning.ErrUnavailable},
		{wire.SettleInvoice, codes.Unknown, "wallet locked, unlock it to enable full RPC access", lightning.ErrUnavailable},
		{wire.SettleInvoice, codes.Unknown, "the RPC server is in the process of starting up, but not yet ready to accept calls", lightning.ErrUnavailable},
		{wire.SendPayment, codes.AlreadyExists, "payment is in transition", lightning.ErrExists},
		{wire.SendPayment, codes.AlreadyExists, "invoice is already paid", lightning.ErrExists},
		{wire.SendPayment, codes.Unknown, "invoice expired. Valid until 2020-01-01", lightning.ErrInvoice},
		{wire.SendPayment, codes.Unknown, "self-payments not allowed", lightning.ErrInvoice},
		{wire.SendPayment, codes.Unknown, "amount must not be specified when paying a non-zero amount invoice", lightning.ErrInvoice},
		{wire.SendPayment, codes.Unknown, "routerrpc server shutting down", lightning.ErrUnavailable},
		{wire.SendPayment, codes.Unknown, "EOF", lightning.ErrUnavailable},
		{wire.SendPayment, codes.Unavailable, "invoice expired", lightning.ErrUnavailable},
		{wire.SendPayment, codes.Unknown, "cltv limit 100 should be greater than 143", lightning.ErrInvoice},
		{wire.SendPayment, codes.Unknown, "something new", lightning.ErrRefused},
		{wire.ListInvoices, codes.Unknown, "unable to query invoices: something new", lightning.ErrRefused},
		{wire.SendPayment, codes.OK, "", lightning.ErrUnavailable}, // a stream that ends without a message
		{wire.TrackPayment, codes.Unknown, "EOF", lightning.ErrUnavailable},
		{wire.GetInfo, codes.Unimplemented, "unknown service lnrpc.Lightning", lightning.ErrUnavailable},
	} {
		n.says(test.path, status.Error(test.code, test.text+" "+secret))
		if test.code == codes.OK {
			n.says(test.path, nil)
		}
		err := calls[test.path]()
		if !errors.Is(err, test.want) {
			t.Errorf("after %s returned %s %q: got %v, want %v", test.path, test.code, test.text, err, test.want)
			continue
		}
		set := []error{lightning.ErrUnavailable, lightning.ErrRefused, lightning.ErrExists, lightning.ErrNotFound, lightning.ErrInvoice, lightning.ErrOpen, lightning.ErrSettled, lightning.ErrCanceled, lightning.ErrPermission}
		matches := 0
		for _, e := range set {
			if errors.Is(err, e) {
				matches++
			}
		}
		if matches != 1 {
			t.Errorf("%v wraps %d errors of the closed set, want 1", err, matches)
		}
		for _, leak := range []string{secret, bolt11, hex.EncodeToString(testMacaroon)} {
			if strings.Contains(err.Error(), leak) {
				t.Errorf("the error quotes a secret: %v", err)
			}
		}
	}
	if got := strings.Join(n.macaroon, ","); got != hex.EncodeToString(testMacaroon) {
		t.Errorf("macaroon header %q", got)
	}
	// If LND does not know the hash, TrackPayment returns PaymentUnknown, not an error.
	n.says(wire.TrackPayment, status.Error(codes.NotFound, "payment isn't initiated"))
	state, err := c.TrackPayment(ctx, trade.Hash{1})
	if err != nil || state != (lightning.PaymentState{Hash: trade.Hash{1}, Status: trade.PaymentUnknown}) {
		t.Errorf("%+v, %v", state, err)
	}
}

func TestStatesAreReadWithCare(t *testing.T) {
	n, c := start(t, 10*time.Second)
	h := trade.Hash{7}
	invoice := func(state wire.Invoice_InvoiceState, parts ...*wire.InvoiceHTLC) *wire.Invoice {
		return &wire.Invoice{RHash: h[:], Value: 10, CreationDate: 100, Expiry: 60, PaymentRequest: "x", AmtPaidMsat: 9_000, State: state, Htlcs: parts}
	}
	base := lightning.HoldState{Hash: h, Bolt11: "x", AmountSats: 10, ExpiresAt: time.Unix(160, 0).UTC()}
	with := func(phase trade.HoldPhase, paid int64, expiry, accept uint32) lightning.HoldState {
		out := base
		out.Phase, out.PaidMsat, out.ExpiryHeight, out.AcceptHeight = phase, paid, expiry, accept
		return out
	}
	const held, taken, back = wire.InvoiceHTLCState_ACCEPTED, wire.InvoiceHTLCState_SETTLED, wire.InvoiceHTLCState_CANCELED
	for name, test := range map[string]struct {
		in   *wire.Invoice
		want lightning.HoldState
		err  error
	}{
		"open":     {invoice(wire.Invoice_OPEN), with(trade.HoldOpen, 0, 0, 0), nil},
		"canceled": {invoice(wire.Invoice_CANCELED, &wire.InvoiceHTLC{AmtMsat: 5, State: back, ExpiryHeight: 9}), with(trade.HoldCanceled, 0, 0, 0), nil},
		"settled":  {invoice(wire.Invoice_SETTLED, &wire.InvoiceHTLC{AmtMsat: 5, State: taken, ExpiryHeight: 9}), with(trade.HoldSettled, 9_000, 0, 0), nil},
		"accepted in parts": {invoice(wire.Invoice_ACCEPTED,
			&wire.InvoiceHTLC{AmtMsat: 1_000, State: back, ExpiryHeight: 1, AcceptHeight: 1},
			&wire.InvoiceHTLC{AmtMsat: 4_000, State: held, ExpiryHeight: 560, AcceptHeight: 501},
			&wire.InvoiceHTLC{AmtMsat: 6_000, State: held, ExpiryHeight: 540, AcceptHeight: 500},
		), with(trade.HoldAccepted, 10_000, 540, 500), nil},
		"accepted without parts": {invoice(wire.Invoice_ACCEPTED), with(trade.HoldAccepted, 0, 0, 0), nil},
		"a state of the future":  {invoice(77), lightning.HoldState{}, lightning.ErrUnavailable},
		"without a hash":         {&wire.Invoice{}, lightning.HoldState{}, lightning.ErrUnavailable},
	} {
		n.says(wire.LookupInvoice, nil, test.in)
		got, err := c.LookupHold(t.Context(), h)
		if !errors.Is(err, test.err) || got != test.want {
			t.Errorf("%s: got %+v, %v; want %+v, %v", name, got, err, test.want, test.err)
		}
	}
	p := trade.Preimage{3}
	payment := func(s wire.Payment_PaymentStatus) *wire.Payment {
		return &wire.Payment{PaymentHash: p.Hash().String(), PaymentPreimage: p.Hex(), ValueMsat: 5, Status: s, FeeMsat: 2, FailureReason: wire.PaymentFailureReason_FAILURE_REASON_NO_ROUTE}
	}
	flying := lightning.PaymentState{Hash: p.Hash(), Status: trade.PaymentInFlight, AmountMsat: 5}
	for name, test := range map[string]struct {
		in   *wire.Payment
		want lightning.PaymentState
		err  error
	}{
		"initiated":             {payment(wire.Payment_INITIATED), flying, nil},
		"in flight":             {payment(wire.Payment_IN_FLIGHT), flying, nil},
		"without a status":      {payment(wire.Payment_UNKNOWN), flying, nil},
		"a status of tomorrow":  {payment(77), flying, nil}, // waiting is safe
		"succeeded":             {payment(wire.Payment_SUCCEEDED), lightning.PaymentState{Hash: p.Hash(), Status: trade.PaymentSucceeded, AmountMsat: 5, FeeMsat: 2, Preimage: p}, nil},
		"failed":                {payment(wire.Payment_FAILED), lightning.PaymentState{Hash: p.Hash(), Status: trade.PaymentFailed, AmountMsat: 5, Failure: lightning.FailureNoRoute}, nil},
		"success without proof": {&wire.Payment{PaymentHash: p.Hash().String(), Status: wire.Payment_SUCCEEDED}, lightning.PaymentState{}, lightning.ErrUnavailable},
		"without a hash":        {&wire.Payment{Status: wire.Payment_FAILED}, lightning.PaymentState{}, lightning.ErrUnavailable},
	} {
		n.says(wire.TrackPayment, nil, test.in)
		got, err := c.TrackPayment(t.Context(), p.Hash())
		if !errors.Is(err, test.err) || got != test.want {
			t.Errorf("%s: got %+v, %v; want %+v, %v", name, got, err, test.want, test.err)
		}
	}
}

// If a node takes a payment and then does not answer, the outcome is unknown, and the
// client has sent one request.
func TestPayWithoutAnAnswerIsUnavailable(t *testing.T) {
	n, c := start(t, 300*time.Millisecond)
	taken := make(chan *wire.SendPaymentRequest, 10)
	n.on(wire.SendPayment, func(in []byte, _ func(proto.Message) error, ctx context.Context) error {
		var request wire.SendPaymentRequest
		if err := proto.Unmarshal(in, &request); err != nil {
			return err
		}
		taken <- &request
		<-ctx.Done()
		// The deadline reaches the node too. An end without an error would race with the
		// client's own deadline.
		return status.FromContextError(ctx.Err()).Err()
	})
	bolt11, _ := payable(t)
	err := c.Pay(t.Context(), lightning.Payment{Bolt11: "lightning:" + strings.ToUpper(bolt11), MaxFeeSats: 7, Timeout: 1500 * time.Millisecond})
	if !errors.Is(err, lightning.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	want := &wire.SendPaymentRequest{PaymentRequest: bolt11, FeeLimitSat: 7, TimeoutSeconds: 2}
	if got := <-taken; !proto.Equal(got, want) {
		t.Errorf("asked %v, want %v", got, want)
	}
	if len(taken) != 0 {
		t.Error("the client sent more than one request")
	}
}

// Pay returns after the first update and does not cancel the payment.
func TestPayReturnsOnceTaken(t *testing.T) {
	n, c := start(t, 10*time.Second)
	bolt11, h := payable(t)
	n.on(wire.SendPayment, func(_ []byte, send func(proto.Message) error, ctx context.Context) error {
		if err := send(&wire.Payment{PaymentHash: h.String(), Status: wire.Payment_IN_FLIGHT}); err != nil {
			return err
		}
		<-ctx.Done() // the stream ends because the client closes it
		return nil
	})
	began := time.Now()
	if err := c.Pay(t.Context(), lightning.Payment{Bolt11: bolt11}); err != nil || time.Since(began) > 5*time.Second {
		t.Fatalf("after %s: %v", time.Since(began), err)
	}
}

func TestWatchHoldLivesThroughBrokenStreams(t *testing.T) {
	n, c := start(t, 10*time.Second)
	p := trade.Preimage{9}
	h := p.Hash()
	at := func(s wire.Invoice_InvoiceState) *wire.Invoice { return &wire.Invoice{RHash: h[:], State: s} }
	lookups := []struct {
		state *wire.Invoice
		err   error
	}{
		{nil, status.Error(codes.Unavailable, "not yet")},
		{at(wire.Invoice_OPEN), nil},
		{nil, status.Error(codes.Unknown, "EOF")},
		{nil, status.Error(codes.Unknown, "an unknown error text")},
		{at(wire.Invoice_OPEN), nil},
		{at(wire.Invoice_ACCEPTED), nil},
	}
	subscriptions := []struct {
		states []*wire.Invoice
		err    error
	}{
		{[]*wire.Invoice{at(wire.Invoice_OPEN)}, status.Error(codes.Unknown, "EOF")},
		{nil, nil},
		{[]*wire.Invoice{at(wire.Invoice_ACCEPTED), at(wire.Invoice_ACCEPTED), at(wire.Invoice_SETTLED)}, status.Error(codes.Internal, "too late to matter")},
	}
	looked, subscribed := 0, 0
	n.on(wire.LookupInvoice, func(_ []byte, send func(proto.Message) error, _ context.Context) error {
		i := min(looked, len(lookups)-1)
		looked++
		if lookups[i].err != nil {
			return lookups[i].err
		}
		return send(lookups[i].state)
	})
	n.on(wire.SubscribeSingleInvoice, func(_ []byte, send func(proto.Message) error, _ context.Context) error {
		i := min(subscribed, len(subscriptions)-1)
		subscribed++
		for _, s := range subscriptions[i].states {
			if err := send(s); err != nil {
				return err
			}
		}
		return subscriptions[i].err
	})
	var told []trade.HoldPhase
	err := c.WatchHold(t.Context(), h, func(s lightning.HoldState) error { told = append(told, s.Phase); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if len(told) != 3 || told[0] != trade.HoldOpen || told[1] != trade.HoldAccepted || told[2] != trade.HoldSettled {
		t.Errorf("reported %v", told)
	}
	if looked != 6 || subscribed != 3 {
		t.Errorf("looked up %d times, subscribed %d times", looked, subscribed)
	}
}

// A watch ends if the hash is unknown, if the macaroon does not suffice, or if the
// callback returns an error.
func TestWatchEndsOnDefiniteAnswers(t *testing.T) {
	n, c := start(t, 10*time.Second)
	n.says(wire.LookupInvoice, status.Error(codes.NotFound, "unable to locate invoice"))
	if err := c.WatchHold(t.Context(), trade.Hash{}, nil); !errors.Is(err, lightning.ErrNotFound) {
		t.Error(err)
	}
	h := trade.Hash{1}
	n.says(wire.LookupInvoice, nil, &wire.Invoice{RHash: h[:]})
	n.says(wire.SubscribeSingleInvoice, status.Error(codes.Unknown, "permission denied"))
	if err := c.WatchHold(t.Context(), h, func(lightning.HoldState) error { return nil }); !errors.Is(err, lightning.ErrPermission) {
		t.Error(err)
	}
	n.says(wire.TrackPayment, status.Error(codes.NotFound, "payment isn't initiated"))
	if err := c.WatchPayment(t.Context(), h, nil); !errors.Is(err, lightning.ErrNotFound) {
		t.Error(err)
	}
	n.says(wire.TrackPayment, status.Error(codes.Unavailable, "gone"))
	ctx, cancel := context.WithTimeout(t.Context(), 350*time.Millisecond)
	defer cancel()
	if err := c.WatchPayment(ctx, h, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestCloseEndsCallsAndWatches(t *testing.T) {
	n, c := start(t, 10*time.Second)
	h := trade.Hash{1}
	n.says(wire.LookupInvoice, nil, &wire.Invoice{RHash: h[:]})
	subscribed := make(chan struct{}, 1)
	n.on(wire.SubscribeSingleInvoice, func(_ []byte, _ func(proto.Message) error, ctx context.Context) error {
		subscribed <- struct{}{}
		<-ctx.Done()
		return nil
	})
	ended := make(chan error)
	go func() {
		ended <- c.WatchHold(context.Background(), h, func(lightning.HoldState) error { return nil })
	}()
	<-subscribed
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; !errors.Is(err, lightning.ErrUnavailable) {
		t.Error(err)
	}
	if _, err := c.Info(t.Context()); !errors.Is(err, lightning.ErrUnavailable) {
		t.Error(err)
	}
}

// If the server's certificate is not the configured one, the client must not send the
// macaroon.
func TestForeignCertificateIsRefused(t *testing.T) {
	n, _ := start(t, time.Second)
	// The server of start has one certificate. This client trusts another one.
	cert, _ := selfSigned(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan int, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buffer := make([]byte, 4096)
		got, _ := conn.Read(buffer) // returns when the handshake fails
		heard <- got
	}()
	_, other := selfSigned(t)
	c, err := lnd.Open(config(t, l.Addr().String(), other, time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Info(t.Context()); !errors.Is(err, lightning.ErrUnavailable) {
		t.Error(err)
	}
	if got := <-heard; got != 0 {
		t.Errorf("%d bytes were sent to an untrusted server", got)
	}
	if len(n.asked) != 0 {
		t.Error("the untrusted server received a call")
	}
}

// If a page exceeds the message limit, ListHolds asks for smaller pages. A short page
// does not end the list. If a node repeats a page, ListHolds returns an error and does
// not loop.
func TestListHoldsPages(t *testing.T) {
	n, c := start(t, 10*time.Second)
	const total = 450
	invoice := func(i uint64) *wire.Invoice {
		h := trade.Hash{byte(i), byte(i >> 8), 1}
		return &wire.Invoice{RHash: h[:], Memo: fmt.Sprint(i), State: wire.Invoice_ACCEPTED}
	}
	var asked []uint64
	n.on(wire.ListInvoices, func(in []byte, send func(proto.Message) error, _ context.Context) error {
		var request wire.ListInvoiceRequest
		if err := proto.Unmarshal(in, &request); err != nil {
			return err
		}
		if request.CreationDateStart != 1_790_000_000 {
			return status.Errorf(codes.InvalidArgument, "from %d", request.CreationDateStart)
		}
		asked = append(asked, request.NumMaxInvoices)
		if request.NumMaxInvoices > 100 {
			return status.Error(codes.ResourceExhausted, "grpc: received message larger than max (20000000 vs. 16777216)")
		}
		page := &wire.ListInvoiceResponse{}
		// Invoice 7 has no hash. Each page has at least one invoice less than the
		// client asked for.
		for i := request.IndexOffset + 1; i <= total && len(page.Invoices) < int(request.NumMaxInvoices)-1; i++ {
			one := invoice(i)
			if i == 7 {
				one.RHash = nil
			}
			page.Invoices, page.LastIndexOffset = append(page.Invoices, one), i
		}
		return send(page)
	})
	since := time.Unix(1_790_000_000, 999_999_999)
	var told []lightning.HoldState
	if err := c.ListHolds(t.Context(), since, func(s lightning.HoldState) error { told = append(told, s); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(told) != total-1 {
		t.Fatalf("the callback saw %d invoices, want %d", len(told), total-1)
	}
	for i, s := range told {
		number := i + 1
		if number >= 7 {
			number++
		}
		if s.Memo != fmt.Sprint(number) || s.Phase != trade.HoldAccepted {
			t.Fatalf("the callback saw %+v in place %d", s, number)
		}
	}
	if len(asked) != 7 || asked[0] != 200 || asked[1] != 100 || asked[6] != 100 {
		t.Errorf("asked for %v", asked)
	}
	enough, calls := errors.New("enough"), 0
	if err := c.ListHolds(t.Context(), since, func(lightning.HoldState) error { calls++; return enough }); err != enough || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}

	n.says(wire.ListInvoices, nil, &wire.ListInvoiceResponse{Invoices: []*wire.Invoice{invoice(1)}, LastIndexOffset: 5})
	if err := c.ListHolds(t.Context(), since, func(lightning.HoldState) error { return nil }); !errors.Is(err, lightning.ErrUnavailable) {
		t.Errorf("a node that repeats itself: %v", err)
	}
	n.says(wire.ListInvoices, nil, &wire.ListInvoiceResponse{Invoices: []*wire.Invoice{{RHash: make([]byte, 32), State: 77}}, LastIndexOffset: 5})
	if err := c.ListHolds(t.Context(), since, func(lightning.HoldState) error { return nil }); !errors.Is(err, lightning.ErrUnavailable) {
		t.Errorf("a state of the future: %v", err)
	}
}

// ListPayments reads pages as ListHolds does, and lists payments in flight and failed payments.
func TestListPaymentsPages(t *testing.T) {
	n, c := start(t, 10*time.Second)
	const total = 450
	var asked []uint64
	n.on(wire.ListPayments, func(in []byte, send func(proto.Message) error, _ context.Context) error {
		var request wire.ListPaymentsRequest
		if err := proto.Unmarshal(in, &request); err != nil {
			return err
		}
		if request.CreationDateStart != 1_790_000_000 || !request.IncludeIncomplete {
			return status.Errorf(codes.InvalidArgument, "asked for %v", &request)
		}
		asked = append(asked, request.MaxPayments)
		if request.MaxPayments > 100 {
			return status.Error(codes.ResourceExhausted, "grpc: received message larger than max (20000000 vs. 16777216)")
		}
		page := &wire.ListPaymentsResponse{}
		for i := request.IndexOffset + 1; i <= total && len(page.Payments) < int(request.MaxPayments)-1; i++ {
			h := trade.Hash{byte(i), byte(i >> 8), 1}
			page.Payments, page.LastIndexOffset = append(page.Payments, &wire.Payment{PaymentHash: h.String(), Status: wire.Payment_IN_FLIGHT, ValueMsat: int64(i)}), i
		}
		return send(page)
	})
	since := time.Unix(1_790_000_000, 999_999_999)
	var told []lightning.PaymentState
	if err := c.ListPayments(t.Context(), since, func(s lightning.PaymentState) error { told = append(told, s); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(told) != total {
		t.Fatalf("the callback saw %d payments, want %d", len(told), total)
	}
	for i, s := range told {
		if s.AmountMsat != int64(i+1) || s.Status != trade.PaymentInFlight {
			t.Fatalf("the callback saw %+v in place %d", s, i)
		}
	}
	if len(asked) != 7 || asked[0] != 200 || asked[1] != 100 {
		t.Errorf("asked for %v", asked)
	}
	enough, calls := errors.New("enough"), 0
	if err := c.ListPayments(t.Context(), since, func(lightning.PaymentState) error { calls++; return enough }); err != enough || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
	n.says(wire.ListPayments, nil, &wire.ListPaymentsResponse{Payments: []*wire.Payment{{PaymentHash: trade.Hash{1}.String()}}, LastIndexOffset: 0})
	if err := c.ListPayments(t.Context(), since, func(lightning.PaymentState) error { return nil }); !errors.Is(err, lightning.ErrUnavailable) {
		t.Errorf("a node that repeats itself: %v", err)
	}
	n.says(wire.ListPayments, status.Error(codes.Unknown, "permission denied"))
	if err := c.ListPayments(t.Context(), since, func(lightning.PaymentState) error { return nil }); !errors.Is(err, lightning.ErrPermission) {
		t.Errorf("a macaroon without the permission: %v", err)
	}
}

// LND refuses a limit above its own, which then is the one that holds.
func TestPayLowersItsTimeLockLimit(t *testing.T) {
	n, c := start(t, 10*time.Second)
	bolt11, h := payable(t)
	var limits []int32
	n.on(wire.SendPayment, func(in []byte, send func(proto.Message) error, _ context.Context) error {
		var request wire.SendPaymentRequest
		if err := proto.Unmarshal(in, &request); err != nil {
			return err
		}
		limits = append(limits, request.CltvLimit)
		if request.CltvLimit > 500 {
			return errors.New("total time lock of 1008 exceeds max allowed 500")
		}
		return send(&wire.Payment{PaymentHash: h.String(), Status: wire.Payment_IN_FLIGHT})
	})
	for _, limit := range []uint32{0, 400, 1008, math.MaxUint32} {
		if err := c.Pay(t.Context(), lightning.Payment{Bolt11: bolt11, MaxCLTVBlocks: limit}); err != nil {
			t.Errorf("within %d blocks: %v", limit, err)
		}
	}
	if want := []int32{0, 400, 1008, 0, math.MaxInt32, 0}; !slices.Equal(limits, want) {
		t.Errorf("asked with limits %v, want %v", limits, want)
	}
}

func TestCheckPermissionsNeedsAnAnswer(t *testing.T) {
	n, c := start(t, 10*time.Second)
	for _, m := range wire.Methods() {
		n.says(m.Path, status.Error(codes.Unknown, "invalid hash length of 1, want 32"))
	}
	n.says(wire.GetInfo, nil, &wire.GetInfoResponse{})
	if err := c.CheckPermissions(t.Context()); err != nil {
		t.Error(err)
	}
	n.says(wire.SettleInvoice, status.Error(codes.Unimplemented, "unknown service invoicesrpc.Invoices"))
	if err := c.CheckPermissions(t.Context()); !errors.Is(err, lightning.ErrPermission) || !strings.Contains(err.Error(), "does not offer") {
		t.Error(err)
	}
	n.says(wire.SettleInvoice, status.Error(codes.Unavailable, "gone"))
	if err := c.CheckPermissions(t.Context()); !errors.Is(err, lightning.ErrUnavailable) {
		t.Error(err)
	}
	n.says(wire.SettleInvoice, status.Error(codes.Unknown, "wallet locked, unlock it to enable full RPC access"))
	if err := c.CheckPermissions(t.Context()); !errors.Is(err, lightning.ErrUnavailable) {
		t.Error(err)
	}
	// If a node accepts a broken request, CheckPermissions returns an error.
	n.says(wire.SettleInvoice, nil, &wire.SettleInvoiceResp{})
	if err := c.CheckPermissions(t.Context()); !errors.Is(err, lightning.ErrUnavailable) {
		t.Error(err)
	}
}
