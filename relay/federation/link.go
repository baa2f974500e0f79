package federation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/coder/websocket"
	"github.com/mostrodex/mostrodex/internal/clip"
	"github.com/mostrodex/mostrodex/internal/jsonscan"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
)

// link is one connection to an upstream. The reader takes frames in order. Events go
// through a pipeline of bounded size, so that a busy store slows the upstream down by TCP
// and events do not pile up in memory.
type link struct {
	up  *upstream
	ws  *websocket.Conn
	ctx context.Context // ends with the connection; the cause is the reason

	mu        sync.Mutex
	subs      map[string]*linkSub
	challenge string // of the last AUTH message
	authID    string // of the proof whose OK is awaited
	authDone  chan error
	forwards  map[string]chan forwardOK
	nextSub   int

	order     chan *arrival // events and marks, in the order of their frames; if full, the reader waits
	lastFrame atomic.Int64  // Unix milliseconds

	// Owned by the reader. outside counts events outside their filter, minus one for each
	// goodForOne events within their filter.
	outside, good int
}

// goodForOne is how many events within their filter offset one event outside.
const goodForOne = 5

// linkSub is one request to the upstream. Only the reader writes its counts. The counts of
// a page are complete when done receives a value, because a page ends with EOSE.
type linkSub struct {
	id     string
	filter relay.Matcher
	live   bool // continues after EOSE
	wide   bool // for everyDeletion; owned by keepUp
	eose   bool
	done   chan reqEnd // capacity 1; if full, the end is already known
	neg    chan negFrame

	n        int   // events within the filter
	outside  int   // events outside the filter
	newest   int64 // created_at
	oldest   int64
	atOldest int // events with the time oldest
	stats    *settled
}

// reqEnd is the end of a request: EOSE, or CLOSED with a reason.
type reqEnd struct {
	closed bool
	reason string
}

type negFrame struct {
	msg string
	err string
}

type forwardOK struct {
	ok     bool
	reason string
}

// settled counts the outcomes of the events of one request. The counts are complete behind
// a mark.
type settled struct {
	kept, held, refused atomic.Int64
}

// arrival is an event between an upstream and the log, or a mark between events.
type arrival struct {
	a       *relay.Admission
	stats   *settled
	checked chan struct{} // closed by a worker
	going   bool

	cursor *cursorWrite  // committed after the events before it
	mark   chan struct{} // closed after all events before it are settled
}

// cursorWrite is the progress of a walk through the past of a filter.
type cursorWrite struct {
	filter string
	at     eventlog.UpstreamCursor
}

const (
	linkInFlight    = 1024
	linkReadLimit   = 1 << 20 // bytes of one message
	dialTimeout     = 15 * time.Second
	frameTimeout    = 20 * time.Second // longest silence during an answer
	pingEvery       = 25 * time.Second
	pingTimeout     = 15 * time.Second
	maxOutsideEvent = 50 // events outside their filter before the connection is closed
)

// Errors that end a connection, besides network errors.
var (
	errLying  = errors.New("the relay sends events that were not requested")
	errSilent = errors.New("the relay does not answer")
)

// dialLink connects, and starts the goroutines of the pipeline by run.
func dialLink(ctx context.Context, u *upstream, run func(func() error)) (*link, error) {
	dctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	ws, _, err := websocket.Dial(dctx, u.url, &websocket.DialOptions{
		HTTPClient: u.client, HTTPHeader: http.Header{"User-Agent": {"mostrodex"}}, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(linkReadLimit)
	l := &link{up: u, ws: ws, ctx: ctx, subs: make(map[string]*linkSub), order: make(chan *arrival, linkInFlight),
		forwards: make(map[string]chan forwardOK)}
	l.lastFrame.Store(time.Now().UnixMilli())
	waiting := make(chan *arrival, linkInFlight)
	run(l.read)
	run(l.keepAlive)
	run(func() error { return l.submit(waiting) })
	run(func() error { return l.settle(waiting) })
	return l, nil
}

// read takes frames until the connection ends.
func (l *link) read() error {
	var t jsonscan.Scanner
	for {
		kind, b, err := l.ws.Read(l.ctx)
		if err != nil {
			if l.ctx.Err() != nil {
				return context.Cause(l.ctx)
			}
			return err
		}
		l.lastFrame.Store(time.Now().UnixMilli())
		l.up.health.frame(len(b))
		if kind != websocket.MessageText || !utf8.Valid(b) || len(b) == 0 {
			l.up.health.malformed.Add(1)
			continue
		}
		if err := l.handle(&t, unsafe.String(unsafe.SliceData(b), len(b))); err != nil {
			return err
		}
	}
}

// keepAlive ends the connection if the relay answers no ping: the relay is gone, or hangs
// in the middle of a frame.
func (l *link) keepAlive() error {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-l.ctx.Done():
			return nil
		}
		if time.Now().UnixMilli()-l.lastFrame.Load() < pingEvery.Milliseconds()/2 {
			continue
		}
		ctx, cancel := context.WithTimeout(l.ctx, pingTimeout)
		err := l.ws.Ping(ctx)
		cancel()
		if err != nil && l.ctx.Err() == nil {
			return fmt.Errorf("%w: no answer to a ping", errSilent)
		}
	}
}

func (l *link) handle(t *jsonscan.Scanner, msg string) error {
	t.Reset(msg)
	if !t.Take('[') {
		l.up.health.malformed.Add(1)
		return nil
	}
	verb, err := t.Str()
	var word string
	if err == nil && t.Take(',') {
		if verb != "EVENT" && verb != "EOSE" && verb != "CLOSED" && verb != "OK" && verb != "NOTICE" && verb != "AUTH" &&
			verb != "NEG-MSG" && verb != "NEG-ERR" {
			return nil // COUNT, and verbs of the future
		}
		word, err = t.Str()
	}
	if err != nil {
		l.up.health.malformed.Add(1)
		return nil
	}
	if verb == "EVENT" {
		return l.event(t, word)
	}
	rest := func() string {
		if !t.Take(',') {
			return ""
		}
		s, err := t.Str()
		if err != nil {
			return ""
		}
		return clip.Text(s, 200)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	sub := l.subs[word]
	switch verb {
	case "EOSE":
		if sub != nil && !sub.eose {
			sub.eose = true
			sub.finish(reqEnd{})
		}
	case "CLOSED":
		if sub != nil {
			delete(l.subs, word)
			sub.finish(reqEnd{closed: true, reason: rest()})
		}
	case "NEG-MSG", "NEG-ERR":
		if sub == nil || sub.neg == nil {
			return nil
		}
		f := negFrame{}
		if verb == "NEG-MSG" {
			if t.Take(',') {
				f.msg, _ = t.Str()
				f.msg = strings.Clone(f.msg)
			}
		} else if f.err = rest(); f.err == "" {
			f.err = "error: without a reason"
		}
		select {
		case sub.neg <- f:
		default: // answers that were not requested
			l.up.health.malformed.Add(1)
		}
	case "NOTICE":
		l.up.health.notice(clip.Text(word, 200))
		// Relays without NIP-77 answer its verbs by a NOTICE, or not at all.
		for _, s := range l.subs {
			if s.neg != nil {
				select {
				case s.neg <- negFrame{err: "notice: " + strings.Clone(clip.Text(word, 200))}:
				default:
				}
			}
		}
	case "AUTH":
		l.challenge = strings.Clone(clip.Text(word, 256))
	case "OK":
		t.Take(',')
		t.Next() // skips white space
		ok := strings.HasPrefix(t.Text[t.Pos:], "true")
		t.Skip(0)
		reason := strings.Clone(rest())
		if word == l.authID && l.authDone != nil {
			var err error
			if !ok {
				err = errors.New(reason)
			}
			l.authDone <- err
			l.authDone, l.authID = nil, ""
		} else if c := l.forwards[word]; c != nil {
			delete(l.forwards, word)
			c <- forwardOK{ok, reason}
		}
	}
	return nil
}

func (s *linkSub) finish(end reqEnd) {
	end.reason = strings.Clone(end.reason)
	select {
	case s.done <- end:
	default:
	}
}

// event passes one EVENT frame to the pipeline.
func (l *link) event(t *jsonscan.Scanner, id string) error {
	l.mu.Lock()
	sub := l.subs[id]
	l.mu.Unlock()
	if sub == nil {
		return nil // closed in the meantime
	}
	evt := new(nostr.Event)
	err := jsonscan.ErrSyntax
	from := 0
	if t.Take(',') {
		t.Next()
		from = t.Pos
		err = t.Event(evt)
	}
	h := l.up.health
	h.events.Add(1)
	if err != nil || relay.WellFormed(evt) != "" {
		h.malformed.Add(1)
		return nil
	}
	if !sub.filter.Matches(evt) {
		h.outside.Add(1)
		if l.outside++; l.outside >= maxOutsideEvent {
			return fmt.Errorf("%w: %d events outside their filter", errLying, l.outside)
		}
		if !sub.eose {
			sub.outside++
		}
		return nil
	}
	// A relay that sends many good events and a few wrong ones is not a liar.
	if l.good++; l.good%goodForOne == 0 {
		l.outside = max(l.outside-1, 0)
	}
	if !sub.eose {
		at := int64(evt.CreatedAt)
		if sub.n == 0 || at < sub.oldest {
			sub.oldest, sub.atOldest = at, 0
		}
		if at == sub.oldest {
			sub.atOldest++
		}
		sub.newest = max(sub.newest, at)
		sub.n++
	}
	origin := mostro.OriginBackfill
	now := l.up.srv.Now()
	// An old event that a relay sends late is history, also on a live subscription. Mail
	// is excepted, because its dates are set back on purpose.
	if sub.live && sub.eose && (mostro.IsMail(evt.Kind) || now.Unix()-int64(evt.CreatedAt) < int64(liveWindow/time.Second)) {
		origin = mostro.OriginLive
		h.sawLive(now, evt)
	}
	switch evt.Kind {
	case mostro.KindOrder:
		l.up.owner.noteAuthor(evt.PubKey) // its deletion may be in the next frame
	case mostro.KindDeletion:
		if !l.up.concerns(evt) {
			return nil
		}
	}
	if !l.up.allows(evt, now) {
		h.overQuota.Add(1)
		sub.stats.refused.Add(1)
		return nil
	}
	return l.push(&arrival{stats: sub.stats, checked: make(chan struct{}), a: l.up.srv.Federated(l.ctx, evt, t.Pos-from, mostro.Source{Origin: origin, Relay: l.up.url})})
}

// liveWindow is the largest age at which an event counts as witnessed when it was made.
const liveWindow = 10 * time.Minute

// push passes an arrival to a worker and to the pipeline.
func (l *link) push(x *arrival) error {
	if x.a != nil {
		select {
		case l.up.owner.work <- x:
		case <-l.ctx.Done():
			return context.Cause(l.ctx)
		}
	}
	select {
	case l.order <- x:
		return nil
	case <-l.ctx.Done():
		return context.Cause(l.ctx)
	}
}

// barrier waits until all events that arrived before are in the log or refused.
func (l *link) barrier() error {
	x := &arrival{mark: make(chan struct{})}
	if err := l.push(x); err != nil {
		return err
	}
	select {
	case <-x.mark:
		return nil
	case <-l.ctx.Done():
		return context.Cause(l.ctx)
	}
}

// submit enqueues checked events in the order of their frames.
func (l *link) submit(waiting chan<- *arrival) error {
	for {
		var x *arrival
		select {
		case x = <-l.order:
		case <-l.ctx.Done():
			return nil
		}
		switch {
		case x.a != nil:
			select {
			case <-x.checked:
			case <-l.ctx.Done():
				return nil
			}
			if x.going {
				l.up.srv.Submit(x.a)
			}
			if x.a.DiskFull() {
				return eventlog.ErrFull // before a cursor passes the event
			}
		case x.cursor != nil:
			if err := l.up.store.EnqueueUpstreamCursor(l.ctx, l.up.url, x.cursor.filter, x.cursor.at); err != nil && l.ctx.Err() == nil {
				return err
			}
		}
		select {
		case waiting <- x:
		case <-l.ctx.Done():
			return nil
		}
	}
}

// settle waits for the store and counts the outcomes.
func (l *link) settle(waiting <-chan *arrival) error {
	for {
		var x *arrival
		select {
		case x = <-waiting:
		case <-l.ctx.Done():
			return nil
		}
		if x.a == nil {
			if x.mark != nil {
				close(x.mark)
			}
			continue
		}
		out, ok, reason := l.up.srv.Outcome(x.a)
		if l.ctx.Err() != nil {
			return nil
		}
		l.up.took(x, out, ok, reason)
	}
}

// send writes one message.
func (l *link) send(msg []byte) error {
	ctx, cancel := context.WithTimeout(l.ctx, frameTimeout)
	defer cancel()
	return l.ws.Write(ctx, websocket.MessageText, msg)
}

// open sends a request and returns its handle.
func (l *link) open(verb string, f nostr.Filter, live bool, extra string) (*linkSub, error) {
	l.mu.Lock()
	l.nextSub++
	sub := &linkSub{id: fmt.Sprintf("%c%d", verb[0]|0x20, l.nextSub), filter: relay.NewMatcher(f), live: live, done: make(chan reqEnd, 1), stats: new(settled)}
	if verb == "NEG-OPEN" {
		sub.neg = make(chan negFrame, 1)
	}
	l.subs[sub.id] = sub
	l.mu.Unlock()
	body, err := f.MarshalJSON()
	if err != nil {
		return nil, err
	}
	msg := append(jsonscan.AppendQuoted(append(append([]byte(`["`), verb...), `",`...), sub.id), ',')
	msg = append(msg, body...)
	if extra != "" {
		msg = jsonscan.AppendQuoted(append(msg, ','), extra)
	}
	return sub, l.send(append(msg, ']'))
}

// close ends a request.
func (l *link) close(verb string, sub *linkSub) error {
	l.mu.Lock()
	_, open := l.subs[sub.id]
	delete(l.subs, sub.id)
	l.mu.Unlock()
	if !open {
		return nil // closed by the relay
	}
	return l.send(append(jsonscan.AppendQuoted(append(append([]byte(`["`), verb...), `",`...), sub.id), ']'))
}

// await waits for the end of a request. A relay that sends frames is not silent.
func (l *link) await(sub *linkSub) (reqEnd, error) {
	began := time.Now()
	timer := time.NewTimer(frameTimeout)
	defer timer.Stop()
	for {
		select {
		case end := <-sub.done:
			return end, nil
		case <-l.ctx.Done():
			return reqEnd{}, context.Cause(l.ctx)
		case <-timer.C:
			quiet := time.Since(time.UnixMilli(l.lastFrame.Load()))
			// If our own store is the bottleneck, the relay is not silent.
			if quiet >= frameTimeout && len(l.order) == 0 || time.Since(began) > maxPageTime {
				return reqEnd{}, fmt.Errorf("%w: no EOSE", errSilent)
			}
			timer.Reset(max(frameTimeout-quiet, time.Second))
		}
	}
}

// maxPageTime is the longest time for one page, also if frames arrive all the time.
const maxPageTime = 10 * time.Minute

// ask calls open and await. If the relay requires a proof of a key (NIP-42) or asks for a
// later attempt, ask does so and tries again.
func (l *link) ask(f nostr.Filter, live bool) (*linkSub, error) {
	authed := false
	for wait := time.Second; ; wait *= 2 {
		sub, err := l.open("REQ", f, live, "")
		if err != nil {
			return nil, err
		}
		end, err := l.await(sub)
		if err != nil {
			return nil, err
		}
		if !end.closed {
			return sub, nil
		}
		l.up.health.closed(end.reason)
		switch prefix, _, _ := strings.Cut(end.reason, ":"); {
		case (prefix == "auth-required" || prefix == "restricted") && !authed:
			if err := l.authenticate(); err != nil {
				return nil, fmt.Errorf("%w (requested by: %s)", err, end.reason)
			}
			authed = true
		case prefix == "rate-limited" && wait <= time.Minute:
			if err := pause(l.ctx, jitter(wait)); err != nil {
				return nil, err
			}
		default:
			return nil, refusedError(end.reason)
		}
	}
}

// refusedError is a CLOSED that stays the same if the request is repeated.
type refusedError string

func (e refusedError) Error() string { return "the relay refuses the request: " + string(e) }

// authenticate proves our key to the relay (NIP-42).
func (l *link) authenticate() error {
	key := l.up.owner.cfg.Key
	l.mu.Lock()
	challenge := l.challenge
	l.mu.Unlock()
	if key == "" || challenge == "" {
		return errors.New("the relay requires a proof of identity, but there is no key or no challenge")
	}
	evt := nostr.Event{Kind: nostr.KindClientAuthentication, CreatedAt: nostr.Timestamp(l.up.srv.Now().Unix()),
		Tags: nostr.Tags{{"relay", l.up.url}, {"challenge", challenge}}}
	if err := evt.Sign(key); err != nil {
		return err
	}
	done := make(chan error, 1)
	l.mu.Lock()
	l.authID, l.authDone = evt.ID, done
	l.mu.Unlock()
	if err := l.send(append(append([]byte(`["AUTH",`), mostro.EncodeEvent(&evt)...), ']')); err != nil {
		return err
	}
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("the relay refuses our proof of identity: %w", err)
		}
		return nil
	case <-time.After(frameTimeout):
		return fmt.Errorf("%w: no OK for a proof of identity", errSilent)
	case <-l.ctx.Done():
		return context.Cause(l.ctx)
	}
}

// publish sends an event and waits for its OK.
func (l *link) publish(id string, body []byte) (forwardOK, error) {
	c := make(chan forwardOK, 1)
	l.mu.Lock()
	l.forwards[id] = c
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.forwards, id)
		l.mu.Unlock()
	}()
	if err := l.send(append(append([]byte(`["EVENT",`), body...), ']')); err != nil {
		return forwardOK{}, err
	}
	timer := time.NewTimer(frameTimeout)
	defer timer.Stop()
	select {
	case r := <-c:
		return r, nil
	case <-timer.C:
		return forwardOK{}, fmt.Errorf("%w: no OK for an event", errSilent)
	case <-l.ctx.Done():
		return forwardOK{}, context.Cause(l.ctx)
	}
}
