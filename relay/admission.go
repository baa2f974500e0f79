package relay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
)

// Admission is the state of one event while the relay decides about the event. khatru
// passes the Admission to the hooks as their context.
type Admission struct {
	context.Context
	evt    *nostr.Event
	text   string // source text of the event; "" if there is none
	json   []byte // canonical JSON, set once encoded; may share memory with Text
	size   int
	source mostro.Source
	ip     netip.Addr
	local  bool
	authd  map[string]bool
	here   bool                // the event is not forwarded to other relays
	was    *eventlog.Witnessed // the event's record in a backup; nil: the event arrives now

	seen bool // set by the first hook that khatru calls

	// The result: Pending if the store decides, else Ok and Reason.
	pending eventlog.Pending
	ok      bool
	reason  string
	out     eventlog.Outcome // Duplicate if the event was found before the store was asked
}

// admitter decides about events of all origins: it makes the checks, passes the event through
// khatru to the store or to the dispatcher, and waits for the outcome. Any goroutine may
// use it.
type admitter struct {
	cfg      *Config // not modified
	rules    *moderation
	rates    *rates
	dispatch *dispatcher
	met      *metrics
	khatru   *khatruRelay
	// checking has one slot per core. More checks at the same time do not admit events
	// faster, and take the cores from the readers of the log.
	checking chan struct{}
}

func newAdmitter(cfg *Config, rules *moderation, rates *rates, dispatch *dispatcher, met *metrics) *admitter {
	d := &admitter{cfg: cfg, rules: rules, rates: rates, dispatch: dispatch, met: met, checking: make(chan struct{}, runtime.NumCPU())}
	d.khatru = d.newKhatru()
	return d
}

// caught turns a panic during the admission of one event into a refusal, because one
// client's message must not end a process that holds the money of others. Caught is called
// by defer.
func (d *admitter) caught(refuse func(reason string)) {
	if p := recover(); p != nil {
		d.met.panics.Inc()
		d.cfg.Logger.Error("panic while admitting an event", "panic", p, "stack", string(debug.Stack()))
		refuse("error: internal error")
	}
}

// check makes every check that does not depend on the order of events: policy, quota, id,
// duplicates, signature. check returns true if the event may go on to submit. If check
// returns false, Ok and Reason hold the answer.
func (d *admitter) check(a *Admission) (more bool) {
	defer d.caught(func(reason string) { more = a.refuse(reason) })
	evt := a.evt
	rules := d.rules.current()
	client := a.source.Origin == mostro.OriginClient
	if client && rules.blocksIP(a.ip) {
		return a.refuse("blocked: this address may not publish here")
	}
	if client && d.cfg.ReadOnly {
		return a.refuse(reasonReadOnly)
	}
	if reason := rules.policy.refuse(evt, a.size, d.cfg.Now(), a.source.Origin); reason != "" {
		return a.refuse(reason)
	}
	if reason := rules.refuse(evt, a.source.Origin); reason != "" {
		return a.refuse(reason)
	}
	if reason := d.refuseMail(evt, a.source.Origin); reason != "" {
		return a.refuse(reason)
	}
	if client && !a.local {
		if reason := d.rates.refuseEvent(a, rules); reason != "" {
			return a.refuse(reason)
		}
	}
	if d.cfg.Quota != nil && a.source.Origin == mostro.OriginClient && !a.local {
		if reason := d.cfg.Quota(a.ip, evt); reason != "" {
			return a.refuse(reason)
		}
	}
	var intact bool
	if a.json, intact = mostro.CheckedText(evt, a.text); !intact {
		return a.refuse("invalid: the id is not the hash of the event")
	}
	if !nostr.IsEphemeralKind(evt.Kind) {
		// The id is proven, so a stored event with this id is this very event.
		held, err := d.cfg.Store.Has(a, evt.ID)
		if err != nil {
			return a.refuse("error: the store could not be asked")
		}
		if held {
			a.out, a.ok, a.reason = d.repeated(a, evt.ID, a.source.Origin)
			return false
		}
	}
	if !signatureHolds(evt) {
		return a.refuse("invalid: the signature is wrong")
	}
	if client && !a.local {
		if reason := d.rates.refuseKey(a, rules); reason != "" {
			return a.refuse(reason)
		}
	}
	return true
}

const (
	reasonDuplicate = "duplicate: already have this event"
	reasonOlder     = "duplicate: a newer version is held"
	reasonDeleted   = "blocked: deleted by its author"
	reasonGone      = "blocked: deleted by its author, or expired"
	reasonQuota     = "blocked: the quota of live addresses is used up"
	reasonStore     = "error: the event could not be stored"
	reasonFull      = "error: the disk is full"
	reasonReadOnly  = "blocked: this server only reads: publish to another relay"
	reasonMail      = "blocked: mail is taken for known Mostros and their trades only"
)

func (a *Admission) refuse(reason string) bool {
	a.ok, a.reason = false, reason
	return false
}

// checkClient is check for an event of a client, in one of the slots of checking.
func (d *admitter) checkClient(a *Admission) (more bool) {
	d.checking <- struct{}{}
	more = d.check(a)
	<-d.checking
	return more
}

// refuseProtected returns the reason if a protected event (NIP-70) comes from a sender
// that is not its authenticated author. This program signs as the author of its own
// events, so its own events pass.
func (d *admitter) refuseProtected(a *Admission) string {
	switch {
	case !isProtected(a.evt.Tags) || a.source.Origin == mostro.OriginSelf || a.authd[a.evt.PubKey]:
		return ""
	case len(a.authd) == 0 && a.source.Origin == mostro.OriginClient:
		return "auth-required: a protected event is taken from its author only"
	default:
		return "restricted: a protected event is taken from its author only"
	}
}

// enqueue hands an event to the store's queue. enqueue returns a reason if the store takes
// no event.
func (d *admitter) enqueue(a *Admission) (refusal string) {
	arrival := eventlog.Arrival{Event: a.evt, JSON: a.json, ReceivedAt: d.cfg.Now(), Source: a.source,
		Forward: d.cfg.Forwarding && a.source.Origin == mostro.OriginSelf && !a.here,
		Quota:   d.rules.current().quotas(a.source.Origin),
		Urgent:  d.cfg.Urgent != nil && d.cfg.Urgent(a.evt, a.size)}
	if a.was != nil {
		a.was.Restore(&arrival)
	}
	p, err := d.cfg.Store.Enqueue(a, arrival)
	if errors.Is(err, eventlog.ErrFull) {
		return reasonFull
	}
	if err != nil {
		return reasonStore
	}
	a.pending = p
	if p, ok := p.(*eventlog.Enqueued); ok && p.IsDeletion() {
		a.pending = deletionPending{p, d.rates, a}
	}
	return ""
}

// deliver offers an ephemeral event to the subscriptions. deliver returns a reason if the
// queue for ephemeral events is full.
func (d *admitter) deliver(a *Admission) (refusal string) {
	if !d.dispatch.offer(a.evt, a.json) {
		return "rate-limited: too many ephemeral events at once"
	}
	d.met.ephemeral.Inc()
	a.ok = true
	return ""
}

// settle waits for the outcome of a submitted event and returns the fields of the OK
// message.
func (d *admitter) settle(ctx context.Context, p eventlog.Pending, id string, origin mostro.Origin) (out eventlog.Outcome, ok bool, reason string) {
	_, out, err := p.Wait(ctx)
	if errors.Is(err, eventlog.ErrFull) {
		return 0, false, reasonFull
	}
	if err != nil {
		return 0, false, reasonStore
	}
	d.met.outcome(out)
	switch out {
	case eventlog.Added:
		return out, true, ""
	case eventlog.Duplicate:
		return d.repeated(ctx, id, origin)
	case eventlog.Archived:
		return out, true, reasonOlder
	case eventlog.Deleted:
		return out, false, reasonDeleted
	case eventlog.OverQuota:
		return out, false, reasonQuota
	}
	return out, false, reasonStore
}

// repeated returns the answer to an event that the store already holds. If the stored
// event cannot be read, the event was deleted or is expired mail, and is refused. The
// outbox of this program gets an acceptance instead, because nothing remains to be done.
func (d *admitter) repeated(ctx context.Context, id string, origin mostro.Origin) (out eventlog.Outcome, ok bool, reason string) {
	_, err := d.cfg.Store.Find(ctx, id)
	switch {
	case err == nil, errors.Is(err, mostro.ErrNotFound) && origin == mostro.OriginSelf:
		return eventlog.Duplicate, true, reasonDuplicate
	case eventlog.IsDamage(err):
		return 0, false, "error: the stored copy of this event is damaged"
	case errors.Is(err, mostro.ErrNotFound):
		return eventlog.Deleted, false, reasonGone
	default:
		return 0, false, "error: the store could not be asked"
	}
}

// refuseMail returns a reason if the operator accepts only mail of known keys, and neither
// the author nor a recipient is known.
func (d *admitter) refuseMail(evt *nostr.Event, origin mostro.Origin) string {
	if d.cfg.KnownMail == nil || origin == mostro.OriginSelf || !mostro.IsMail(evt.Kind) || d.cfg.KnownMail(evt.PubKey) {
		return ""
	}
	for _, tag := range evt.Tags {
		if len(tag) >= 2 && tag[0] == "p" && d.cfg.KnownMail(tag[1]) {
			return ""
		}
	}
	return reasonMail
}

// publish admits an event of this program. If publish returns nil, the event is in the
// log, or was in the log before and has been deleted or has expired. An error that wraps
// ErrRefused is final; any other error may be retried. If here is set, the event is not
// forwarded to other relays.
func (d *admitter) publish(ctx context.Context, evt *nostr.Event, here bool) error {
	a := &Admission{Context: ctx, evt: evt, here: here, source: mostro.Source{Origin: mostro.OriginSelf}}
	if d.check(a) {
		d.submit(a)
	}
	if a.pending != nil {
		_, a.ok, a.reason = d.settle(ctx, a.pending, evt.ID, mostro.OriginSelf)
	}
	switch {
	case a.ok:
		return nil
	case strings.HasPrefix(a.reason, "error:"), strings.HasPrefix(a.reason, "rate-limited:"):
		return fmt.Errorf("publish %s: %s", evt.ID, a.reason)
	}
	return fmt.Errorf("publish %s: %w: %s", evt.ID, ErrRefused, a.reason)
}

// outcome returns the outcome of an event, after the store has decided if the
// event was submitted. ok and reason are the fields of the OK message.
func (d *admitter) outcome(a *Admission) (out eventlog.Outcome, ok bool, reason string) {
	if a.pending == nil {
		return a.out, a.ok, a.reason
	}
	return d.settle(a, a.pending, a.evt.ID, a.source.Origin)
}

// ErrRefused says that the relay refuses an event for good. Publishing the event again
// returns the same error.
var ErrRefused = errors.New("refused")

// Event returns the event that is admitted.
func (a *Admission) Event() *nostr.Event { return a.evt }

// DiskFull reports whether the event was refused because the disk is full.
func (a *Admission) DiskFull() bool { return a.reason == reasonFull }

// Matcher reports whether events match a filter. It agrees with
// nostr.Filter.Matches.
type Matcher struct{ filter *liveFilter }

// NewMatcher prepares a filter that is matched against many events.
func NewMatcher(f nostr.Filter) Matcher { return Matcher{newLiveFilter(f)} }

// Matches reports whether an event matches the filter.
func (m Matcher) Matches(evt *nostr.Event) bool { return m.filter.matches(evt) }
