package relay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/mostrodex/mostrodex/relay/negentropy"
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
	was    *eventlog.Witnessed // the event's record in a backup; nil: the event arrives now

	seen bool // set by the first hook that khatru calls

	// The result: Pending if the store decides, else Ok and Reason.
	pending eventlog.Pending
	ok      bool
	reason  string
	out     eventlog.Outcome // Duplicate if the event was found before the store was asked
}

// caught turns a panic during the admission of one event into a refusal, because one
// client's message must not end a process that holds the money of others. Caught is called
// by defer.
func (s *Server) caught(refuse func(reason string)) {
	if p := recover(); p != nil {
		s.met.panics.Inc()
		s.cfg.Log.Error("panic while admitting an event", "panic", p, "stack", string(debug.Stack()))
		refuse("error: internal error")
	}
}

// Check makes every check that does not depend on the order of events: policy, quota, id,
// duplicates, signature. Check returns true if the event may go on to Submit. If Check
// returns false, Ok and Reason hold the answer.
func (s *Server) Check(a *Admission) (more bool) {
	defer s.caught(func(reason string) { more = a.refuse(reason) })
	evt := a.evt
	rules := s.moderation.rules.Load()
	policy := s.cfg.Policy
	policy.Kinds = rules.kinds(policy.Kinds)
	client := a.source.Road == mostro.RoadClient
	if client && rules.blocksIP(a.ip) {
		return a.refuse("blocked: this address may not publish here")
	}
	if reason := policy.refuse(evt, a.size, s.cfg.Now(), a.source.Road); reason != "" {
		return a.refuse(reason)
	}
	if reason := rules.refuse(evt, a.source.Road); reason != "" {
		return a.refuse(reason)
	}
	if reason := s.refuseMail(evt, a.source.Road); reason != "" {
		return a.refuse(reason)
	}
	if client && !a.local {
		if reason := s.refuseRate(a, rules); reason != "" {
			return a.refuse(reason)
		}
	}
	if s.cfg.Quota != nil && a.source.Road == mostro.RoadClient && !a.local {
		if reason := s.cfg.Quota(a.ip, evt); reason != "" {
			return a.refuse(reason)
		}
	}
	var intact bool
	if a.json, intact = mostro.CheckedText(evt, a.text); !intact {
		return a.refuse("invalid: the id is not the hash of the event")
	}
	if !nostr.IsEphemeralKind(evt.Kind) {
		// The id is proven, so a stored event with this id is this very event.
		held, err := s.cfg.Store.Has(a, evt.ID)
		if err != nil {
			return a.refuse("error: the store could not be asked")
		}
		if held {
			a.out, a.ok, a.reason = s.repeated(a, evt.ID, a.source.Road)
			return false
		}
	}
	if !signatureHolds(evt) {
		return a.refuse("invalid: the signature is wrong")
	}
	if client && !a.local {
		if reason := s.refuseKeyRate(a, rules); reason != "" {
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
)

func (a *Admission) refuse(reason string) bool {
	a.ok, a.reason = false, reason
	return false
}

// refuseProtected returns the reason if a protected event (NIP-70) comes from a sender
// that is not its authenticated author. This program signs as the author of its own
// events, so its own events pass.
func (s *Server) refuseProtected(a *Admission) string {
	switch {
	case !isProtected(a.evt.Tags) || a.source.Road == mostro.RoadSelf || a.authd[a.evt.PubKey]:
		return ""
	case len(a.authd) == 0 && a.source.Road == mostro.RoadClient:
		return "auth-required: a protected event is taken from its author only"
	default:
		return "restricted: a protected event is taken from its author only"
	}
}

// enqueue hands an event to the store's queue. enqueue returns a reason if the store takes
// no event.
func (s *Server) enqueue(a *Admission) (refusal string) {
	arrival := eventlog.Arrival{Event: a.evt, JSON: a.json, ReceivedAt: s.cfg.Now(), Source: a.source,
		Forward: s.cfg.Forwarding && a.source.Road == mostro.RoadSelf,
		Quota:   s.moderation.rules.Load().quotas(a.source.Road)}
	if a.was != nil {
		a.was.Restore(&arrival)
	}
	p, err := s.cfg.Store.Enqueue(a, arrival)
	if errors.Is(err, eventlog.ErrFull) {
		return reasonFull
	}
	if err != nil {
		return reasonStore
	}
	a.pending = p
	if p, ok := p.(*eventlog.Enqueued); ok && p.IsDeletion() {
		a.pending = deletionPending{p, s, a}
	}
	return ""
}

// deliver offers an ephemeral event to the subscriptions. deliver returns a reason if the
// queue for ephemeral events is full.
func (s *Server) deliver(a *Admission) (refusal string) {
	if !s.dispatch.offer(a.evt, a.json) {
		return "rate-limited: too many ephemeral events at once"
	}
	s.met.ephemeral.Inc()
	a.ok = true
	return ""
}

// settle waits for the outcome of a submitted event and returns the fields of the OK
// message.
func (s *Server) settle(ctx context.Context, p eventlog.Pending, id string, road mostro.Road) (out eventlog.Outcome, ok bool, reason string) {
	_, out, err := p.Wait(ctx)
	if errors.Is(err, eventlog.ErrFull) {
		return 0, false, reasonFull
	}
	if err != nil {
		return 0, false, reasonStore
	}
	s.met.outcome(out)
	switch out {
	case eventlog.Added:
		return out, true, ""
	case eventlog.Duplicate:
		return s.repeated(ctx, id, road)
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
func (s *Server) repeated(ctx context.Context, id string, road mostro.Road) (out eventlog.Outcome, ok bool, reason string) {
	_, err := s.cfg.Store.Find(ctx, id)
	switch {
	case err == nil, errors.Is(err, mostro.ErrNotFound) && road == mostro.RoadSelf:
		return eventlog.Duplicate, true, reasonDuplicate
	case eventlog.IsDamage(err):
		return 0, false, "error: the stored copy of this event is damaged"
	case errors.Is(err, mostro.ErrNotFound):
		return eventlog.Deleted, false, reasonGone
	default:
		return 0, false, "error: the store could not be asked"
	}
}

// ErrRefused says that the relay refuses an event for good. Publishing the event again
// returns the same error.
var ErrRefused = errors.New("refused")

// Publish admits an event of this program. If Publish returns nil, the event is in the
// log, or was in the log before and has been deleted or has expired. An error that wraps
// ErrRefused is final; any other error may be retried.
func (s *Server) Publish(ctx context.Context, evt *nostr.Event) error {
	a := &Admission{Context: ctx, evt: evt, source: mostro.Source{Road: mostro.RoadSelf}}
	if s.Check(a) {
		s.Submit(a)
	}
	if a.pending != nil {
		_, a.ok, a.reason = s.settle(ctx, a.pending, evt.ID, mostro.RoadSelf)
	}
	switch {
	case a.ok:
		return nil
	case strings.HasPrefix(a.reason, "error:"), strings.HasPrefix(a.reason, "rate-limited:"):
		return fmt.Errorf("publish %s: %s", evt.ID, a.reason)
	}
	return fmt.Errorf("publish %s: %w: %s", evt.ID, ErrRefused, a.reason)
}

// Federated returns the admission of an event that another relay sent. size is
// the length of its JSON in bytes. Rates of addresses and keys are not applied.
func (s *Server) Federated(ctx context.Context, evt *nostr.Event, size int, source mostro.Source) *Admission {
	return &Admission{Context: ctx, evt: evt, size: size, local: true, source: source}
}

// Event returns the event that is admitted.
func (a *Admission) Event() *nostr.Event { return a.evt }

// DiskFull reports whether the event was refused because the disk is full.
func (a *Admission) DiskFull() bool { return a.reason == reasonFull }

// Outcome returns the outcome of an event, after the store has decided if the
// event was submitted. ok and reason are the fields of the OK message.
func (s *Server) Outcome(a *Admission) (out eventlog.Outcome, ok bool, reason string) {
	if a.pending == nil {
		return a.out, a.ok, a.reason
	}
	return s.settle(a, a.pending, a.evt.ID, a.source.Road)
}

// Now returns the server's clock.
func (s *Server) Now() time.Time { return s.cfg.Now() }

// URL returns the public address of the relay, or "".
func (s *Server) URL() string { return s.cfg.URL }

// Kinds returns the kinds that are admitted by configuration.
func (s *Server) Kinds() []int { return s.cfg.Policy.Kinds }

// Snapshot returns the live events that match a filter as a set for
// reconciliation. The caller calls release when it is done with the set.
func (s *Server) Snapshot(ctx context.Context, f nostr.Filter) (set *negentropy.Set, release func(), err error) {
	return s.negs.take(ctx, s.cfg.Store, f)
}

// Matcher reports whether events match a filter. It agrees with
// nostr.Filter.Matches.
type Matcher struct{ filter *liveFilter }

// NewMatcher prepares a filter that is matched against many events.
func NewMatcher(f nostr.Filter) Matcher { return Matcher{newLiveFilter(f)} }

// Matches reports whether an event matches the filter.
func (m Matcher) Matches(evt *nostr.Event) bool { return m.filter.matches(evt) }
