package lnd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mostrodex/mostrodex/escrow"
)

// LND answers most calls with code Unknown, so its words are all there is to go
// by. Every phrase that means something is here, and the contract suite says
// each of them against the real node. An answer with other words is
// escrow.ErrRefused, or escrow.ErrUnavailable if LND starts, stops or cannot
// reach its database.
var phrases = []struct {
	text string // lower case
	err  error
}{
	{"invoice with payment hash already exists", escrow.ErrExists},
	{"payment is in transition", escrow.ErrExists},
	{"invoice is already paid", escrow.ErrExists},
	{"unable to locate invoice", escrow.ErrNotFound},
	{"there are no existing invoices", escrow.ErrNotFound},
	{"payment isn't initiated", escrow.ErrNotFound},
	{"invoice already settled", escrow.ErrSettled},
	{"invoice already canceled", escrow.ErrCanceled},
	{"invoice still open", escrow.ErrOpen},
	{"permission denied", escrow.ErrPermission},
	{"verification failed", escrow.ErrPermission}, // a macaroon of another node
	{"root key with id", escrow.ErrPermission},    // "... doesn't exist": the macaroon was revoked
	{"macaroon has expired", escrow.ErrPermission},
	{"not satisfied", escrow.ErrPermission}, // a caveat of the macaroon
	{"macaroon has been revoked", escrow.ErrPermission},
	{"expected 1 macaroon", escrow.ErrPermission},
	{"unknown macaroon version", escrow.ErrPermission},
	// Refusals of a request that will be refused again.
	{"memo too large", escrow.ErrInvoice},
	{"cltv delta of", escrow.ErrInvoice},
	{"payments of negative value", escrow.ErrInvoice},
	{"expiry of", escrow.ErrInvoice},
}

// refusals are LND's words for an invoice that it will not try to pay. They are
// looked for in the answer to SendPaymentV2 alone: nothing has been sent then.
var refusals = []string{
	"amount must be specified",
	"amount must not be specified",
	"self-payments not allowed",
	"invoice expired",
	"not for current active network",
	"payment request must contain",
	"amp flag",
	"feature bit",
	"exceeds maximum possible amount",
	"cltv limit", // "... 100 should be greater than 143": the last hop alone exceeds it
}

// outage matches the words of an LND that starts, stops, is locked, or lost its
// database: whether the call took effect is unknown.
var outage = regexp.MustCompile(`(?i)wallet locked|wallet not created|wallet already unlocked|waiting to start|` +
	`process of starting|not yet ready|rpc services not|not active|shutting down|exiting|store is locked|` +
	`database not open|tx closed|bad connection|connection (refused|reset)|broken pipe|` +
	`\btime(d )?out\b|\beof\b|context (canceled|deadline exceeded)`)

// transport matches the words of the gRPC library on either side, which uses
// codes Internal and Unknown for a connection that broke in the middle of an
// answer. "internal server error" is LND's answer after a panic.
var transport = regexp.MustCompile(`(?i)\bgrpc: |\btransport: |internal server error|stream terminated|` +
	`cardinality violation|server closed the stream|unexpected http status|unexpected content-type|` +
	`malformed|header list|headers? frame|rst_stream|http2|goaway|flow control|codec`)

// longWord is what an invoice, a hash, a preimage or a macaroon looks like.
var longWord = regexp.MustCompile(`[0-9A-Za-z+/=]{32,}`)

// classify turns what gRPC says into an error of the escrow's closed set. The
// context's own error stays visible beside ErrUnavailable: to have stopped
// waiting says nothing of the outcome.
func classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		return fmt.Errorf("%w: %w", escrow.ErrUnavailable, ctxErr)
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: the stream ended", escrow.ErrUnavailable)
	}
	said := status.Convert(err)
	a := &answer{class: escrow.ErrUnavailable, code: said.Code(), text: said.Message()}
	switch said.Code() {
	case codes.NotFound:
		return escrow.ErrNotFound
	case codes.AlreadyExists:
		return escrow.ErrExists
	case codes.PermissionDenied, codes.Unauthenticated:
		return escrow.ErrPermission
	case codes.DeadlineExceeded:
		// The context has run out, though it may not say so yet.
		return fmt.Errorf("%w: %w", escrow.ErrUnavailable, context.DeadlineExceeded)
	case codes.Unknown, codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange, codes.Internal:
		if transport.MatchString(a.text) {
			return a
		}
		text := strings.ToLower(a.text)
		for _, p := range phrases {
			if strings.Contains(text, p.text) {
				return fmt.Errorf("%w (%s)", p.err, p.text)
			}
		}
		if !outage.MatchString(a.text) {
			a.class = escrow.ErrRefused
		}
	}
	// Any other code is of the connection, whatever the words are.
	return a
}

// answer is an error whose words are not known. It keeps the words for
// refusedInvoice, and for the operator without anything that might be a secret.
type answer struct {
	class error // escrow.ErrRefused or escrow.ErrUnavailable
	code  codes.Code
	text  string
}

func (e *answer) Error() string {
	return fmt.Sprintf("%v: %s: %s", e.class, e.code, longWord.ReplaceAllString(e.text, "[...]"))
}

func (e *answer) Unwrap() error { return e.class }

// said reports whether err is LND's own answer with all of these words in it.
func said(err error, words ...string) bool {
	var a *answer
	if !errors.As(err, &a) || a.class != escrow.ErrRefused {
		return false
	}
	for _, word := range words {
		if !strings.Contains(strings.ToLower(a.text), word) {
			return false
		}
	}
	return true
}

// refusedInvoice looks closer at an answer to SendPaymentV2.
func refusedInvoice(err error) error {
	for _, phrase := range refusals {
		if said(err, phrase) {
			return fmt.Errorf("%w (%s)", escrow.ErrInvoice, phrase)
		}
	}
	return err
}
