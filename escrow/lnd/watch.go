package lnd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/lnd/wire"
)

// Pauses between two attempts of a watch: short at first, because most outages
// are a restart of the node; never longer than the last one, because a payment
// may be waiting.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

// callbackError is an error of the caller's own function, which ends a watch.
type callbackError struct{ error }

func (e callbackError) Unwrap() error { return e.error }

// WatchHold implements escrow.Lightning. A subscription to a hash that LND does
// not know would stay silent for ever, so each attempt starts with a look-up.
func (c *Client) WatchHold(ctx context.Context, h escrow.Hash, fn func(escrow.HoldState) error) error {
	w := watch[escrow.HoldState]{fn: fn, closed: c.closed, final: func(s escrow.HoldState) bool { return s.Phase.Final() }}
	err := w.run(ctx, func(ctx context.Context) error {
		state, err := c.LookupHold(ctx, h)
		if err != nil {
			return err
		}
		if done, err := w.tell(state); done || err != nil {
			return err
		}
		return follow[wire.Invoice](ctx, c, wire.SubscribeSingleInvoice,
			&wire.SubscribeSingleInvoiceRequest{RHash: h[:]}, &w, holdState)
	})
	if err != nil {
		return fmt.Errorf("watch hold %s: %w", h, err)
	}
	return nil
}

// WatchPayment implements escrow.Lightning. TrackPaymentV2 looks up by itself:
// it begins with the present state, and with NotFound for an unknown hash.
func (c *Client) WatchPayment(ctx context.Context, h escrow.Hash, fn func(escrow.PaymentState) error) error {
	w := watch[escrow.PaymentState]{fn: fn, closed: c.closed, final: func(s escrow.PaymentState) bool { return s.Status.Final() }}
	err := w.run(ctx, func(ctx context.Context) error {
		return follow[wire.Payment](ctx, c, wire.TrackPayment,
			&wire.TrackPaymentRequest{PaymentHash: h[:]}, &w, paymentState)
	})
	if err != nil {
		return fmt.Errorf("watch payment %s: %w", h, err)
	}
	return nil
}

// follow reads a subscription until it ends or has told a final state.
func follow[T any, S comparable, M interface {
	*T
	proto.Message
}](ctx context.Context, c *Client, path string, in proto.Message, w *watch[S], read func(M) (S, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the server's end of the stream
	next, err := stream[T, M](ctx, c, path, in)
	if err != nil {
		return err
	}
	for {
		message, err := next()
		if err != nil {
			return err
		}
		state, err := read(message)
		if err != nil {
			return err
		}
		if done, err := w.tell(state); done || err != nil {
			return err
		}
	}
}

// watch tells one caller of the states of one hash, each change once.
type watch[S comparable] struct {
	fn     func(S) error
	final  func(S) bool
	closed <-chan struct{} // the client's

	last  S
	told  bool // last was told
	ended bool // last was final
	heard bool // since the latest attempt began
}

// tell hands on a state that differs from the last one, and says whether it
// was final.
func (w *watch[S]) tell(state S) (done bool, err error) {
	w.heard = true
	if w.told && state == w.last {
		return w.ended, nil
	}
	if err := w.fn(state); err != nil {
		return false, callbackError{err}
	}
	w.last, w.told, w.ended = state, true, w.final(state)
	return w.ended, nil
}

// run repeats attempt through every outage, and through refusals for a reason
// that is not known: a watch that ended would miss the end of a trade. What the node says of an outage is
// not logged here: hundreds of watches would each say the same, and Info tells
// the engine.
func (w *watch[S]) run(ctx context.Context, attempt func(context.Context) error) error {
	pause := firstPause
	for {
		w.heard = false
		err := attempt(ctx)
		var own callbackError
		switch {
		case w.ended:
			return nil
		case errors.As(err, &own):
			return own.error
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !errors.Is(err, escrow.ErrUnavailable) && !errors.Is(err, escrow.ErrRefused):
			return err
		}
		if w.heard {
			pause = firstPause
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-w.closed:
			timer.Stop()
			return fmt.Errorf("%w: the client was closed", escrow.ErrUnavailable)
		case <-timer.C:
		}
		pause = min(pause*2, lastPause)
	}
}
