package lnd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/lnd/wire"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"google.golang.org/protobuf/proto"
)

// firstPause and lastPause bound the time between two attempts of a watch. The first
// pause is short, because most outages are a restart of the node. No pause exceeds
// lastPause, because a payment may be waiting.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

// callbackError wraps an error of the caller's callback. Such an error ends a watch.
type callbackError struct{ error }

func (e callbackError) Unwrap() error { return e.error }

// WatchHold implements lightning.Node. LND accepts a subscription to an unknown hash
// and then stays silent for ever, so each attempt starts with a look-up.
func (c *Client) WatchHold(ctx context.Context, h trade.Hash, fn func(lightning.HoldState) error) error {
	w := watch[lightning.HoldState]{fn: fn, closed: c.closed, final: func(s lightning.HoldState) bool { return s.Phase.Final() }}
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

// WatchPayment implements lightning.Node. It needs no look-up, because TrackPaymentV2
// begins with the present state, or returns NotFound if the hash is unknown.
func (c *Client) WatchPayment(ctx context.Context, h trade.Hash, fn func(lightning.PaymentState) error) error {
	w := watch[lightning.PaymentState]{fn: fn, closed: c.closed, final: func(s lightning.PaymentState) bool { return s.Status.Final() }}
	err := w.run(ctx, func(ctx context.Context) error {
		return follow[wire.Payment](ctx, c, wire.TrackPayment,
			&wire.TrackPaymentRequest{PaymentHash: h[:]}, &w, paymentState)
	})
	if err != nil {
		return fmt.Errorf("watch payment %s: %w", h, err)
	}
	return nil
}

// follow reads a subscription until the subscription ends or has reported a final
// state.
func follow[T any, S comparable, M interface {
	*T
	proto.Message
}](ctx context.Context, c *Client, path string, in proto.Message, w *watch[S], read func(M) (S, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the server's side of the stream
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

// watch reports the states of one hash to one caller and drops repeated states.
type watch[S comparable] struct {
	fn     func(S) error
	final  func(S) bool
	closed <-chan struct{} // closed with the client

	last  S
	told  bool // last was reported
	ended bool // last was final
	heard bool // a state arrived in the latest attempt
}

// tell reports a state to the caller if it differs from the last one. It returns
// whether the last reported state is final.
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

// run repeats attempt after every outage, and after every refusal for an unknown
// reason, because a watch that ended would miss the end of a trade. Errors of an outage
// are not logged here. Hundreds of watches would log the same error, and the engine
// learns of the outage from Info.
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
		case err != nil && !errors.Is(err, lightning.ErrUnavailable) && !errors.Is(err, lightning.ErrRefused):
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
			return fmt.Errorf("%w: the client was closed", lightning.ErrUnavailable)
		case <-timer.C:
		}
		pause = min(pause*2, lastPause)
	}
}
