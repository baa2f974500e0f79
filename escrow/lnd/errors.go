package lnd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// phrases maps LND's error texts to the escrow's errors. LND answers most calls with
// code Unknown, so the text is the only information. The list has every phrase that has
// a meaning here, and the contract suite provokes each of them on a real node. An error
// with any other text is lightning.ErrRefused, or lightning.ErrUnavailable if LND starts,
// stops or cannot reach its database.
var phrases = []struct {
	text string // lower case
	err  error
}{
	{"invoice with payment hash already exists", lightning.ErrExists},
	{"payment is in transition", lightning.ErrExists},
	{"invoice is already paid", lightning.ErrExists},
	{"unable to locate invoice", lightning.ErrNotFound},
	{"there are no existing invoices", lightning.ErrNotFound},
	{"payment isn't initiated", lightning.ErrNotFound},
	{"invoice already settled", lightning.ErrSettled},
	{"invoice already canceled", lightning.ErrCanceled},
	{"invoice still open", lightning.ErrOpen},
	{"permission denied", lightning.ErrPermission},
	{"verification failed", lightning.ErrPermission}, // the macaroon belongs to another node
	{"root key with id", lightning.ErrPermission},    // "... doesn't exist": the macaroon was revoked
	{"macaroon has expired", lightning.ErrPermission},
	{"not satisfied", lightning.ErrPermission}, // a caveat of the macaroon
	{"macaroon has been revoked", lightning.ErrPermission},
	{"expected 1 macaroon", lightning.ErrPermission},
	{"unknown macaroon version", lightning.ErrPermission},
	// LND will refuse these requests again if they are repeated.
	{"memo too large", lightning.ErrInvoice},
	{"cltv delta of", lightning.ErrInvoice},
	{"payments of negative value", lightning.ErrInvoice},
	{"expiry of", lightning.ErrInvoice},
}

// refusals are LND's error texts for an invoice that LND will not try to pay. The list
// applies only to the answer of SendPaymentV2. LND has sent nothing if it returns one of
// these answers.
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
	"cltv limit", // "... 100 should be greater than 143": the last hop alone exceeds the limit
}

// outage matches the error texts of an LND that starts, stops, is locked, or has lost
// its database. If a text matches, the effect of the call is unknown.
var outage = regexp.MustCompile(`(?i)wallet locked|wallet not created|wallet already unlocked|waiting to start|` +
	`process of starting|not yet ready|rpc services not|not active|shutting down|exiting|store is locked|` +
	`database not open|tx closed|bad connection|connection (refused|reset)|broken pipe|` +
	`\btime(d )?out\b|\beof\b|context (canceled|deadline exceeded)`)

// transport matches the error texts of the gRPC library on either side. The library
// uses codes Internal and Unknown if a connection breaks in the middle of an answer.
// "internal server error" is LND's answer after a panic.
var transport = regexp.MustCompile(`(?i)\bgrpc: |\btransport: |internal server error|stream terminated|` +
	`cardinality violation|server closed the stream|unexpected http status|unexpected content-type|` +
	`malformed|header list|headers? frame|rst_stream|http2|goaway|flow control|codec`)

// longWord matches a word that may be an invoice, a hash, a preimage or a macaroon.
var longWord = regexp.MustCompile(`[0-9A-Za-z+/=]{32,}`)

// classify converts a gRPC error to an error of the escrow's closed set. If ctx has
// ended, the result wraps the error of ctx and lightning.ErrUnavailable, because the
// outcome of an abandoned call is unknown.
func classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		return fmt.Errorf("%w: %w", lightning.ErrUnavailable, ctxErr)
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: the stream ended", lightning.ErrUnavailable)
	}
	said := status.Convert(err)
	a := &answer{class: lightning.ErrUnavailable, code: said.Code(), text: said.Message()}
	switch said.Code() {
	case codes.NotFound:
		return lightning.ErrNotFound
	case codes.AlreadyExists:
		return lightning.ErrExists
	case codes.PermissionDenied, codes.Unauthenticated:
		return lightning.ErrPermission
	case codes.DeadlineExceeded:
		// The deadline of ctx has passed, although ctx.Err may still return nil.
		return fmt.Errorf("%w: %w", lightning.ErrUnavailable, context.DeadlineExceeded)
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
			a.class = lightning.ErrRefused
		}
	}
	// Any other code comes from the connection. The text does not matter.
	return a
}

// answer is an error with an unknown text. refusedInvoice searches the text. Error
// returns the text for the operator and replaces every word that may be a secret.
type answer struct {
	class error // lightning.ErrRefused or lightning.ErrUnavailable
	code  codes.Code
	text  string
}

func (e *answer) Error() string {
	return fmt.Sprintf("%v: %s: %s", e.class, e.code, longWord.ReplaceAllString(e.text, "[...]"))
}

func (e *answer) Unwrap() error { return e.class }

// said reports whether err is LND's own answer and its text contains all of the words.
func said(err error, words ...string) bool {
	var a *answer
	if !errors.As(err, &a) || a.class != lightning.ErrRefused {
		return false
	}
	for _, word := range words {
		if !strings.Contains(strings.ToLower(a.text), word) {
			return false
		}
	}
	return true
}

// refusedInvoice returns lightning.ErrInvoice if err, an answer to SendPaymentV2, is one
// of refusals. If not, it returns err.
func refusedInvoice(err error) error {
	for _, phrase := range refusals {
		if said(err, phrase) {
			return fmt.Errorf("%w (%s)", lightning.ErrInvoice, phrase)
		}
	}
	return err
}
