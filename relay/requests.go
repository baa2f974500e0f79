package relay

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/mostrodex/mostrodex/internal/clip"
	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/internal/jsonscan"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip42"
)

const (
	maxSubIDLength = 64 // NIP-01

	// maxOpenBytes limits the REQ messages that the open subscriptions of a connection
	// keep in memory: about 25,000 keys.
	maxOpenBytes = 2 << 20

	// maxOpenConditions and maxOpenValues limit the conditions of the open subscriptions
	// of a connection, each filter counted as one more, and their distinct values. An
	// event may be compared with all of them.
	maxOpenConditions = 16 << 10
	maxOpenValues     = 64 << 10
	// openShare is how many times these limits may be open for one address, on all of its
	// connections.
	openShare = 2

	// maxAnswers times MaxLimit is the largest number of events that answer one REQ, for
	// any number of filters.
	maxAnswers = 4
)

// handle processes one message. handle returns before the store has answered an EVENT.
func (c *conn) handle(msg string) {
	t := &c.text
	t.Reset(msg)
	var verb string
	err := jsonscan.ErrSyntax
	if t.Take('[') {
		verb, err = t.Str()
	}
	if err != nil {
		c.srv.met.verbs["malformed"].Inc()
		c.srv.met.refused("notice", "invalid")
		c.notice("invalid: the message is not a JSON array that starts with a verb")
		return
	}
	counted := verb
	if strings.HasPrefix(verb, "NEG-") {
		counted = "NEG"
	}
	if n, ok := c.srv.met.verbs[counted]; ok {
		n.Inc()
	} else {
		c.srv.met.verbs["unknown"].Inc()
	}
	switch verb {
	case "EVENT":
		c.handleEvent()
	case "REQ":
		c.handleReq()
	case "COUNT":
		c.handleCount()
	case "CLOSE":
		c.handleClose()
	case "AUTH":
		c.handleAuth()
	case "NEG-OPEN", "NEG-MSG", "NEG-CLOSE":
		c.handleNeg(verb)
	default:
		c.srv.met.refused("notice", "unsupported")
		c.notice("unsupported: " + clip.Text(verb, 32) + " is not a verb of this relay")
	}
}

// readEvent parses the event of an EVENT or AUTH message, and returns its text too. If the
// event is nil, readEvent has sent the answer.
func (c *conn) readEvent() (evt *nostr.Event, text string) {
	t := &c.text
	evt = new(nostr.Event)
	err := jsonscan.ErrSyntax
	if t.Take(',') {
		t.Next()
		from := t.Pos
		err = t.Event(evt)
		text = t.Text[from:t.Pos]
		if err == nil && !t.Take(']') {
			err = jsonscan.ErrSyntax
		}
		if err == nil {
			err = t.AtEnd()
		}
	}
	if err == nil {
		return evt, text
	}
	reason := "invalid: " + err.Error()
	if hex32.Valid(evt.ID) {
		c.answer(ack{id: evt.ID, reason: reason})
	} else {
		c.srv.met.refused("notice", reason)
		c.notice(reason)
	}
	return nil, ""
}

func (c *conn) handleEvent() {
	started := time.Now()
	evt, text := c.readEvent()
	if evt == nil {
		return
	}
	s := c.srv
	a := &Admission{
		Context: s.ctx, evt: evt, text: text, size: len(text), source: mostro.Source{Origin: mostro.OriginClient},
		ip: c.ip, local: c.local, authd: c.authd,
	}
	if s.admit.checkClient(a) {
		s.admit.submit(a)
	}
	if a.out == eventlog.Duplicate {
		s.met.outcome(eventlog.Duplicate)
	}
	if strings.HasPrefix(a.reason, "auth-required:") {
		c.w.reply(func(dst []byte) []byte { return appendReply(dst, "AUTH", c.challenge) })
	}
	c.answer(ack{id: evt.ID, pending: a.pending, ok: a.ok, reason: a.reason, started: started})
}

// answer queues an OK behind those that are pending, so that answers are in the order of
// the events.
func (c *conn) answer(k ack) {
	if k.pending == nil && c.acks == nil {
		c.sendOK(k)
		return
	}
	if c.acks == nil {
		c.acks = make(chan ack, c.srv.cfg.MaxInFlight) // if full, the reader waits, and so does the client
		c.ackerDone = make(chan struct{})
		c.br = bufio.NewReaderSize(c.br, publisherBufferBytes) // several events per system call
		go c.acknowledge()
	}
	c.unanswered.Add(1)
	c.acks <- k
}

// acknowledge waits for the store, one event after another, while the reader goes on.
func (c *conn) acknowledge() {
	defer close(c.ackerDone)
	for k := range c.acks {
		if k.pending != nil {
			_, k.ok, k.reason = c.srv.admit.settle(c.srv.ctx, k.pending, k.id, mostro.OriginClient)
			c.srv.met.appendSeconds.Observe(time.Since(k.started).Seconds())
		}
		c.sendOK(k)
		c.unanswered.Done()
		c.w.written(len(c.acks) > 0)
	}
}

func (c *conn) sendOK(k ack) {
	if !k.ok {
		c.srv.met.refused("ok", k.reason)
	}
	id := k.id
	if !hex32.Valid(id) {
		id = clip.Text(id, 64)
	}
	c.w.reply(func(dst []byte) []byte { return appendOK(dst, id, k.ok, k.reason) })
}

// readRequest parses the common part of REQ and COUNT. If ok is false, readRequest has
// sent the answer.
func (c *conn) readRequest() (sub string, filters []nostr.Filter, ok bool) {
	t := &c.text
	err := jsonscan.ErrSyntax
	if t.Take(',') {
		sub, err = t.Str()
	}
	if err != nil || !validSubID(sub) {
		c.srv.met.refused("notice", "invalid")
		c.notice("invalid: a subscription id is a string of 1 to 64 characters")
		return "", nil, false
	}
	// The charge comes before the filters are parsed, because parsing is most of the work
	// of a long message.
	if n := len(t.Text) / bytesOfOne; n > 0 && !c.mayAsk(n) {
		c.refuseRequest(sub, reasonAskedTooOften)
		return "", nil, false
	}
	for {
		more, err := t.More(false, ']')
		if err == nil && more {
			var f nostr.Filter
			if len(filters) == c.srv.cfg.MaxFilters {
				err = errors.New("invalid: too many filters")
			} else {
				err = t.Filter(&f)
				filters = append(filters, f)
			}
		} else if err == nil {
			if err = t.AtEnd(); err == nil {
				break
			}
		}
		if err != nil {
			reason := err.Error()
			if !strings.Contains(reason, ": ") {
				reason = "invalid: " + reason
			}
			c.refuseRequest(sub, reason)
			return "", nil, false
		}
	}
	if len(filters) == 0 {
		c.refuseRequest(sub, "invalid: no filter")
		return "", nil, false
	}
	cost, searches := 0, 0
	for i := range filters {
		cost++
		if filters[i].Search != "" {
			cost, searches = cost+searchCost-1, searches+1
		}
	}
	if searches > maxSearches {
		c.refuseRequest(sub, fmt.Sprintf("invalid: more than %d searches", maxSearches))
		return "", nil, false
	}
	if !c.mayAsk(cost) {
		c.refuseRequest(sub, reasonAskedTooOften)
		return "", nil, false
	}
	return sub, filters, true
}

// refuseRequest answers CLOSED and closes an open subscription of that id, because the
// client has replaced the subscription and believes CLOSED.
func (c *conn) refuseRequest(sub, reason string) {
	c.closeSub(sub)
	c.closed(sub, reason)
}

func validSubID(id string) bool {
	return id != "" && (len(id) <= maxSubIDLength || len(id) <= 4*maxSubIDLength && utf8.RuneCountInString(id) <= maxSubIDLength)
}

// mayAsk charges n filters to the address of the connection. mayAsk returns false if the
// rate is used up. A program on this machine is not charged.
func (c *conn) mayAsk(n int) bool {
	return c.local || !c.ip.IsValid() || c.srv.rates.askedBy(c.ip, n)
}

// chargeWork charges the time that an answer took to the address of the connection.
func (c *conn) chargeWork(took time.Duration) {
	if !c.local && c.ip.IsValid() {
		c.srv.rates.chargeWork(c.ip, took)
	}
}

// handleReq registers the subscription first. The stored events up to the registered log
// position follow, then EOSE, then the events that arrived meanwhile. Each event is sent
// once.
func (c *conn) handleReq() {
	id, filters, ok := c.readRequest()
	if !ok {
		return
	}
	s := c.srv
	c.unanswered.Wait() // own events sent before are part of the answer
	started := time.Now()
	c.closeSub(id)
	if len(c.subs) >= s.cfg.MaxSubscriptions {
		c.closed(id, "rate-limited: too many open subscriptions on this connection")
		return
	}
	if c.openBytes+len(c.text.Text) > maxOpenBytes {
		c.closed(id, "rate-limited: the open filters of this connection are too large")
		return
	}
	for i := range filters {
		if filters[i].Search != "" && s.cfg.Search == nil {
			c.closed(id, "unsupported: this relay has no search")
			return
		}
	}
	sub := &subscription{w: &c.w, id: id, prefix: eventPrefix(id), bytes: len(c.text.Text), holding: true}
	sub.filters = make([]*liveFilter, len(filters))
	for i, f := range filters {
		sub.filters[i] = newRequestFilter(f)
		conditions, values := sub.filters[i].cost()
		sub.conditions, sub.values = sub.conditions+conditions, sub.values+values
	}
	if c.openConditions+sub.conditions > maxOpenConditions || c.openValues+sub.values > maxOpenValues {
		c.closed(id, "rate-limited: the open filters of this connection have too many conditions")
		return
	}
	if !s.conns.holdOpen(c.ip, c.local, sub.conditions, sub.values) {
		c.closed(id, "rate-limited: the open filters of this address have too many conditions")
		return
	}
	c.openBytes, c.openConditions, c.openValues = c.openBytes+sub.bytes, c.openConditions+sub.conditions, c.openValues+sub.values
	for _, f := range sub.filters {
		f.chooseNewKeys(s.cfg.Store)
	}
	upTo := s.dispatch.register(sub)
	c.subs[id] = sub

	answer := answers.Get().(*[]eventlog.Hit)
	found, err := s.query.stored(s.ctx, (*answer)[:0], sub.filters, upTo)
	c.chargeWork(time.Since(started))
	if err == nil {
		err = c.sendStored(sub, found)
	}
	if err != nil {
		c.closeSub(id)
		s.cfg.Logger.Error("request not answered", "err", err)
		c.closed(id, "error: the store could not be asked")
	}
	if cap(found) <= 8192 {
		*answer = found[:0]
		answers.Put(answer)
	}
	s.met.querySeconds.Observe(time.Since(started).Seconds())
}

var (
	answers = sync.Pool{New: func() any { return new([]eventlog.Hit) }}
	rooms   = sync.Pool{New: func() any { return new([eventlog.BodiesAtOnce]eventlog.Found) }}
)

// sendStored queues the stored events, EOSE, and the live events held since the
// registration. Bodies are read as the client takes them, so that few bodies are in memory
// for a client that reads nothing.
func (c *conn) sendStored(sub *subscription, found []eventlog.Hit) error {
	room := rooms.Get().(*[eventlog.BodiesAtOnce]eventlog.Found)
	defer rooms.Put(room)
	for len(found) > 0 {
		if !c.w.hasRoom() {
			return nil
		}
		bodies, n, err := c.srv.cfg.Store.Bodies(room[:0], found)
		if err != nil {
			return err
		}
		found = found[n:]
		c.w.stored(sub, bodies)
		clear(bodies)
	}
	c.w.storedEnd(sub)
	return nil
}

func (c *conn) handleCount() {
	id, filters, ok := c.readRequest()
	if !ok {
		return
	}
	for i := range filters {
		if filters[i].Search != "" {
			c.refuseRequest(id, "unsupported: searches are not counted")
			return
		}
	}
	c.unanswered.Wait()
	started := time.Now()
	n, err := c.srv.cfg.Store.Count(c.srv.ctx, filters)
	c.chargeWork(time.Since(started))
	if err != nil {
		c.srv.cfg.Logger.Error("count not answered", "err", err)
		c.refuseRequest(id, "error: the store could not be asked")
		return
	}
	c.w.reply(func(dst []byte) []byte { return appendCount(dst, id, n) })
}

func (c *conn) handleClose() {
	t := &c.text
	err := jsonscan.ErrSyntax
	var id string
	if t.Take(',') {
		if id, err = t.Str(); err == nil && !t.Take(']') {
			err = jsonscan.ErrSyntax
		}
	}
	if err != nil {
		c.srv.met.refused("notice", "invalid")
		c.notice("invalid: CLOSE names one subscription")
		return
	}
	c.closeSub(id)
}

func (c *conn) closeSub(id string) {
	if sub, ok := c.subs[id]; ok {
		delete(c.subs, id)
		c.drop(sub)
	}
}

// drop ends a subscription. No frame is queued for the subscription afterwards.
func (c *conn) drop(sub *subscription) {
	c.srv.conns.holdOpen(c.ip, c.local, -sub.conditions, -sub.values)
	c.openBytes, c.openConditions, c.openValues = c.openBytes-sub.bytes, c.openConditions-sub.conditions, c.openValues-sub.values
	c.srv.dispatch.unregister(sub)
	c.w.forget(sub)
}

// authCost is how many requests a proof counts as, because its signature is verified.
const authCost = 5

// maxAuthKeys is how many keys one connection may prove.
const maxAuthKeys = 32

// handleAuth takes NIP-42 proofs. A proof is required only to publish protected events.
// The challenge is sent when such an event is refused.
func (c *conn) handleAuth() {
	evt, text := c.readEvent()
	if evt == nil {
		return
	}
	k := ack{id: evt.ID}
	switch reason := WellFormed(evt); {
	case !c.mayAsk(authCost):
		k.reason = reasonAskedTooOften
	case reason != "":
		k.reason = reason
	case len(text) > c.srv.moderation.current().policy.MaxEventBytes:
		k.reason = "invalid: the event is too large"
	case c.base == "":
		k.reason = "restricted: " + c.srv.own.refuse(c.host)
	case !authTagsWhole(evt.Tags) || !evt.CheckID() || !c.provesKey(evt):
		k.reason = "restricted: the proof is not for this connection, this time or " + c.relayURL() + c.srv.own.hint()
	case len(c.authd) >= maxAuthKeys && !c.authd[evt.PubKey]:
		k.reason = "restricted: too many keys on one connection"
	default:
		if c.authd == nil {
			c.authd = make(map[string]bool)
		}
		c.authd[strings.Clone(evt.PubKey)] = true
		k.ok = true
	}
	c.answer(k)
}

// authTagsWhole reports whether tags are long enough for package nip42, which indexes into
// tags without a check.
func authTagsWhole(tags nostr.Tags) bool {
	for _, tag := range tags {
		if len(tag) < 2 && (tag[0] == "relay" || tag[0] == "challenge") {
			return false
		}
	}
	return true
}

// relayURL returns the ws:// or wss:// address that a NIP-42 proof has to name.
func (c *conn) relayURL() string { return "ws" + strings.TrimPrefix(c.base, "http") }

func (c *conn) provesKey(evt *nostr.Event) bool {
	_, ok := nip42.ValidateAuthEvent(evt, c.challenge, c.relayURL())
	return ok
}

// negRequest is a NEG-OPEN, NEG-MSG or NEG-CLOSE message.
type negRequest struct {
	id     string
	filter nostr.Filter // of NEG-OPEN
	msg    []byte       // of NEG-OPEN and NEG-MSG
}

// readNeg parses the rest of a NIP-77 message. If even the id is invalid, q.id is "".
func readNeg(t *jsonscan.Scanner, verb string) (q negRequest, err error) {
	err = jsonscan.ErrSyntax
	if t.Take(',') {
		q.id, err = t.Str()
	}
	if err != nil || !validSubID(q.id) {
		return negRequest{}, jsonscan.ErrSyntax
	}
	var msg string
	if verb == "NEG-OPEN" {
		if err = jsonscan.ErrSyntax; t.Take(',') {
			err = t.Filter(&q.filter)
		}
	}
	if err == nil && verb != "NEG-CLOSE" {
		if err = jsonscan.ErrSyntax; t.Take(',') {
			msg, err = t.Str()
		}
	}
	if err == nil {
		if err = jsonscan.ErrSyntax; t.Take(']') {
			err = t.AtEnd()
		}
	}
	if err == nil {
		q.msg, err = hex.DecodeString(msg)
	}
	return q, err
}

// handleNeg answers NEG-OPEN, NEG-MSG and NEG-CLOSE (NIP-77).
func (c *conn) handleNeg(verb string) {
	q, err := readNeg(&c.text, verb)
	if q.id == "" {
		c.srv.met.refused("notice", "invalid")
		c.notice("invalid: " + verb + " begins with a subscription id of 1 to 64 characters")
		return
	}
	if verb != "NEG-MSG" || err != nil {
		c.negs.close(q.id)
	}
	if verb == "NEG-CLOSE" {
		if err != nil {
			c.notice("invalid: NEG-CLOSE names one subscription")
		}
		return
	}
	if err != nil {
		c.negError(q.id, negMalformed)
		return
	}
	if verb == "NEG-OPEN" {
		if refusal := c.openNeg(q); refusal != "" {
			c.negError(q.id, refusal)
			return
		}
	}
	out, refusal := c.negs.answer(q.id, q.msg)
	if refusal != "" {
		c.negError(q.id, refusal)
		return
	}
	c.w.reply(func(dst []byte) []byte { return appendReply(dst, "NEG-MSG", q.id, hex.EncodeToString(out)) })
}

// openNeg opens a session. openNeg returns the reason if the session is not open.
func (c *conn) openNeg(q negRequest) (refusal string) {
	switch {
	case len(c.negs) >= maxNegSessions:
		return "blocked: too many reconciliations on this connection"
	case q.filter.Search != "":
		return "blocked: searches are not reconciled"
	case !c.mayAsk(1):
		return reasonAskedTooOften
	}
	c.unanswered.Wait()
	return c.negs.open(c.srv.ctx, &c.srv.negs, c.srv.cfg.Store, q.id, q.filter)
}

func (c *conn) negError(id, reason string) {
	c.srv.met.refused("neg", reason)
	c.w.reply(func(dst []byte) []byte { return appendReply(dst, "NEG-ERR", id, reason) })
}
