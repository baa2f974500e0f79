package alerts

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

const (
	maxFailures    = 12 // calls in a row after which a webhook is off: some six hours
	maxConfirms    = 5
	maxPushRelays  = 3
	firstRetry     = 10 * time.Second
	longestRetry   = 2 * time.Hour
	maxPushTries   = 6
	maxFailingURLs = 10_000
)

// backoff returns the wait after a number of failures in a row.
func backoff(failures int) time.Duration {
	return min(firstRetry<<min(max(failures-1, 0), 20), longestRetry)
}

// work performs the rows of a lane until ctx ends.
func (s *Service) work(ctx context.Context, l *lane, do func(context.Context, *row) error) error {
	for {
		thin, err := l.next(ctx)
		if err != nil {
			return err
		}
		r, ok, err := s.store.row(thin.Seq)
		if err == nil && ok {
			if s.cfg.Now().Unix() > r.Until {
				err = s.finish(&r, "given_up")
			} else {
				err = do(ctx, &r)
			}
		}
		l.done(thin.Owner)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// finish deletes a row. more adds to the commit; mu is held then.
func (s *Service) finish(r *row, result string, more ...func(*change)) error {
	s.met.effects.WithLabelValues(r.Road, result).Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	c := change{done: []uint64{r.Seq}}
	for _, add := range more {
		add(&c)
	}
	s.rows--
	if o := s.owners[r.Owner]; o != nil {
		o.rows--
		s.leave(r.Owner)
	}
	return s.commit(&c)
}

// again keeps a row for a later try. more adds to the commit; mu is held then.
func (s *Service) again(r *row, wait time.Duration, more ...func(*change)) error {
	s.met.effects.WithLabelValues(r.Road, "retried").Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Tries++
	r.Due = s.cfg.Now().Add(wait).Unix()
	c := change{rows: []*row{r}}
	for _, add := range more {
		add(&c)
	}
	return s.commit(&c)
}

// sendMessage seals a message, stores the sealed event, and publishes it at our own relay. If
// the program ends in between, the same event is published again, which changes nothing.
func (s *Service) sendMessage(ctx context.Context, r *row) error {
	if r.Alert != "" && !s.wanted(r) {
		return s.finish(r, "given_up")
	}
	if r.Event == "" {
		if err := s.pace.Wait(ctx); err != nil {
			return err
		}
		evt, err := envelope.SealDirect(s.cfg.Keys, r.Owner, r.Text, s.cfg.Now(), nil)
		if err != nil {
			s.log.Warn("a message cannot be sealed", "error", err)
			return s.finish(r, "given_up")
		}
		r.Event, r.Text = string(mostro.EncodeEvent(evt)), ""
		if err := s.store.commit(&change{rows: []*row{r}}); err != nil {
			return err
		}
	}
	evt, err := message.DecodeEvent([]byte(r.Event))
	if err != nil {
		return s.finish(r, "given_up")
	}
	if err := s.cfg.Publish(ctx, evt); err != nil && !errors.Is(err, ErrFinal) {
		return s.again(r, min(backoff(r.Tries+1), time.Minute))
	}
	relays := s.cfg.Inbox(ctx, r.Owner)
	return s.finish(r, "done", func(c *change) {
		for _, relay := range relays[:min(len(relays), maxPushRelays)] {
			s.addRow(c, &row{Road: roadPush, Owner: r.Owner, Event: r.Event, Relay: relay, ID: r.ID, Due: s.cfg.Now().Unix(), Until: r.Until}, false)
		}
	})
}

// wanted reports whether the alert of a row exists.
func (s *Service) wanted(r *row) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[r.Alert] != nil
}

// sendAway performs a row that speaks to another machine.
func (s *Service) sendAway(ctx context.Context, r *row) error {
	if r.Road == roadPush {
		return s.push(ctx, r)
	}
	s.mu.Lock()
	a := s.byID[r.Alert]
	var now Alert
	if a != nil {
		now = a.Alert
	}
	s.mu.Unlock()
	switch {
	case a == nil || r.Road == roadConfirm && now.Hook != HookUnconfirmed || r.Road == roadWebhook && now.Hook != HookActive:
		return s.finish(r, "given_up")
	case r.Road == roadConfirm:
		return s.challenge(ctx, r, &now)
	}
	if wait := now.Next - s.cfg.Now().Unix(); wait > 0 { // another row has failed meanwhile
		s.mu.Lock()
		defer s.mu.Unlock()
		thin := r.slim()
		thin.Due = now.Next
		s.lane(thin).add(thin)
		return nil
	}
	return s.call(ctx, r, &now)
}

// push sends a message to a relay that its receiver has named.
func (s *Service) push(ctx context.Context, r *row) error {
	evt, err := message.DecodeEvent([]byte(r.Event))
	if err != nil {
		return s.finish(r, "given_up")
	}
	err = s.cfg.Push(ctx, r.Relay, evt)
	if ctx.Err() != nil {
		return nil
	}
	s.mu.Lock()
	if err == nil {
		delete(s.failing, r.Relay)
	} else if len(s.failing) < maxFailingURLs {
		s.failing[r.Relay]++
	}
	s.mu.Unlock()
	switch {
	case err == nil:
		return s.finish(r, "done")
	case errors.Is(err, ErrFinal) || r.Tries+1 >= maxPushTries:
		return s.finish(r, "given_up")
	}
	return s.again(r, backoff(r.Tries+1)*2)
}

// Headers of a call.
const (
	headerSignature = "Mostrodex-Signature"
	headerDelivery  = "Mostrodex-Delivery"
)

// Sign returns the value of the header Mostrodex-Signature: the time of the call, and the HMAC
// with SHA-256 of the time, a dot and the body.
func Sign(secret string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

func (s *Service) post(ctx context.Context, a *Alert, id string, body []byte) (int, []byte, error) {
	return s.cfg.Post(ctx, Call{URL: a.Webhook, Body: body, Header: map[string]string{headerSignature: Sign(a.Secret, s.cfg.Now(), body), headerDelivery: id}})
}

// challenge calls a webhook with a random text. The webhook becomes active if its answer
// repeats the text, so an alert cannot call a stranger's server again and again.
func (s *Service) challenge(ctx context.Context, r *row, a *Alert) error {
	text := randomHex(16)
	body, err := json.Marshal(webhookBody{Type: "confirm", Delivery: r.ID, Alert: a.ID, Filter: a.Filter, Challenge: text})
	if err != nil {
		return err
	}
	status, answer, err := s.post(ctx, a, r.ID, body)
	if ctx.Err() != nil {
		return nil
	}
	if err == nil && status/100 == 2 && bytes.Contains(answer, []byte(text)) {
		return s.finish(r, "done", s.setHook(a.ID, func(c *change, a *saved) { a.Hook, a.Failures, a.Next = HookActive, 0, 0 }))
	}
	if r.Tries+1 < maxConfirms {
		return s.again(r, backoff(2*r.Tries+1))
	}
	return s.finish(r, "given_up", s.setHook(a.ID, func(c *change, a *saved) {
		a.Hook = HookOff
		s.tell(c, a.Owner, "The webhook of alert "+a.ID+" is off: it did not answer its challenge ("+reason(status, err)+"). To try again, save the alert again.")
	}))
}

// setHook returns a part of a commit that changes an alert, if the alert still exists.
func (s *Service) setHook(id string, fn func(*change, *saved)) func(*change) {
	return func(c *change) {
		if a := s.byID[id]; a != nil {
			fn(c, a)
			c.alerts = append(c.alerts, &a.Alert)
		}
	}
}

func reason(status int, err error) string {
	if err != nil {
		return "not reached"
	}
	return fmt.Sprintf("status %d", status)
}

// call calls a webhook with an order.
func (s *Service) call(ctx context.Context, r *row, a *Alert) error {
	status, _, err := s.post(ctx, a, r.ID, r.Body)
	if ctx.Err() != nil {
		return nil
	}
	if err == nil && status/100 == 2 {
		return s.finish(r, "done", func(c *change) {
			if a := s.byID[r.Alert]; a != nil && a.Failures > 0 {
				a.Failures, a.Next = 0, 0
				c.alerts = append(c.alerts, &a.Alert)
			}
		})
	}
	if a.Failures+1 >= maxFailures || status == statusGone && err == nil {
		return s.finish(r, "given_up", s.setHook(a.ID, func(c *change, a *saved) {
			a.Hook = HookOff
			s.tell(c, a.Owner, "The webhook of alert "+a.ID+" is off: "+strconv.Itoa(a.Failures+1)+" calls in a row failed ("+reason(status, err)+"). To use it again, save the alert again.")
		}))
	}
	wait := backoff(a.Failures + 1)
	return s.again(r, wait, s.setHook(a.ID, func(_ *change, a *saved) {
		a.Failures++
		a.Next = s.cfg.Now().Add(wait).Unix()
	}))
}
