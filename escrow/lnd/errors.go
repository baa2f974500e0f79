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
// each of them against the real node. Words that are not here are
// escrow.ErrUnavailable: the caller looks up and loses nothing but time.
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
	{"cannot get macaroon", escrow.ErrPermission},
	{"macaroon has been revoked", escrow.ErrPermission},
	{"expected 1 macaroon", escrow.ErrPermission},
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
	case codes.Unavailable, codes.Canceled:
		// Of the connection, whatever the words are.
	default:
		text := strings.ToLower(said.Message())
		for _, p := range phrases {
			if strings.Contains(text, p.text) {
				return fmt.Errorf("%w (%s)", p.err, p.text)
			}
		}
	}
	return &answer{code: said.Code(), text: said.Message()}
}

// answer is an error that was not understood. It keeps the node's words for
// refusedInvoice, and for the operator without anything that might be a secret.
type answer struct {
	code codes.Code
	text string
}

func (e *answer) Error() string {
	return fmt.Sprintf("%v: %s: %s", escrow.ErrUnavailable, e.code, longWord.ReplaceAllString(e.text, "[...]"))
}

func (e *answer) Unwrap() error { return escrow.ErrUnavailable }

// said reports whether err is LND's own answer with all of these words in it.
func said(err error, words ...string) bool {
	var a *answer
	if !errors.As(err, &a) || a.code != codes.Unknown && a.code != codes.InvalidArgument {
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
