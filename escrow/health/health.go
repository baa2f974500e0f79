// Package health decides what a Mostro states about itself in kind 38389, and when. The rules
// are those of mostrod 0.20.2 (docs/HEALTH.md there). The package is pure: it reads no clock,
// no store and no node.
package health

import (
	"slices"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

const (
	// evaluateEvery is the interval at which the facts are looked at, and least the smallest
	// distance between two events.
	evaluateEvery = 15 * time.Second
	least         = 10 * time.Second
	// A reader takes a node for down once its event has expired, after three intervals.
	intervals = 3
)

// MinInterval and MaxInterval are the limits of the interval, from the protocol.
const (
	MinInterval = 30 * time.Second
	MaxInterval = time.Hour
)

// Facts is the state of the node at one moment.
type Facts struct {
	At          int64 // unix seconds
	LND         mostro.CheckState
	Node        *mostro.HealthLND // nil: the Lightning node does not answer
	Payouts     PayoutFacts
	Maintenance bool
	// Configured and Connected count the relays of the node's events, the own one among them.
	Configured, Connected int
}

// PayoutFacts are the facts about the payments to buyers.
type PayoutFacts struct {
	// Oldest is the age in seconds of the oldest settled trade whose buyer is not paid, without
	// trades that wait for an invoice of the buyer.
	Oldest int64
	PaidAt int64 // time of the last payout; 0: none is known
	// Paid and Failed count the attempts of the last hour, and FailedTrades the trades of the
	// failed ones. A failure because of the node's state of sync is no attempt.
	Paid, Failed, FailedTrades int
}

const (
	stuckWarn   = 1800
	stuckFail   = 7200
	minAttempts = 3
	// minFailedTrades is the number of trades with a failed payout from which the rate counts:
	// a bad invoice of one buyer says nothing about the node.
	minFailedTrades = 2
	// missingWarn is the time in seconds for which a relay may be disconnected.
	missingWarn = 300
)

// check returns the state of the payouts.
func (p PayoutFacts) check(at int64) mostro.CheckState {
	stuck := p.Oldest > stuckFail && (p.PaidAt == 0 || at-p.PaidAt > stuckFail)
	attempts := p.Paid + p.Failed
	if stuck || attempts >= minAttempts && p.FailedTrades >= minFailedTrades && 2*p.Failed > attempts {
		return mostro.CheckFail
	}
	if p.Oldest > stuckWarn {
		return mostro.CheckWarn
	}
	return mostro.CheckOK
}

// Publisher decides when the health is published. The zero value never publishes. A Publisher
// is not safe for concurrent use.
type Publisher struct {
	Interval time.Duration // 0: never

	evaluatedAt, publishedAt int64 // unix seconds; 0: never
	missingSince             int64 // a relay is disconnected since; 0: none is
	since                    map[string]nostr.Timestamp
	checks                   []mostro.HealthCheck // as seen last
	published                []mostro.HealthCheck // as published last
	maintenance              bool                 // as published last
}

// Watches reports whether the facts have to be looked at now. maintenance is that of Facts.
func (p *Publisher) Watches(at int64, maintenance bool) bool {
	return p.Interval > 0 && (p.evaluatedAt == 0 || at < p.evaluatedAt || at-p.evaluatedAt >= int64(evaluateEvery/time.Second) || maintenance != p.maintenance)
}

// Due returns the health to publish, or ok false if none is due. It is due at each interval, and
// at once if a check or the maintenance has changed. The caller sets the author, the date, the
// version and the number of the event, and then calls Expire.
func (p *Publisher) Due(f Facts) (h mostro.Health, ok bool) {
	if p.Interval <= 0 {
		return h, false
	}
	p.evaluatedAt = f.At
	p.check(f)
	gone := f.At - p.publishedAt
	changed := f.Maintenance != p.maintenance || !slices.EqualFunc(p.checks, p.published, func(a, b mostro.HealthCheck) bool { return a.State == b.State })
	// If the clock was set back, the distance is unknown.
	due := p.publishedAt == 0 || gone < 0 || gone >= int64(p.Interval/time.Second) || changed && gone >= int64(least/time.Second)
	if !due {
		return h, false
	}
	p.publishedAt, p.published, p.maintenance = f.At, slices.Clone(p.checks), f.Maintenance
	seconds := int64(p.Interval / time.Second)
	return mostro.Health{
		Status: mostro.StatusOf(p.checks, f.Maintenance), Checks: slices.Clone(p.checks), EscrowMode: "lightning",
		LND: f.Node, Maintenance: &f.Maintenance, IntervalSeconds: &seconds,
	}, true
}

// Expire sets the end of a health by its date.
func Expire(h *mostro.Health) {
	h.Expiration = h.CreatedAt + nostr.Timestamp(intervals**h.IntervalSeconds)
}

// check sets checks. The begin of a state is the time at which it was first seen.
func (p *Publisher) check(f Facts) {
	if f.Connected >= f.Configured {
		p.missingSince = 0
	} else if p.missingSince == 0 {
		p.missingSince = f.At
	}
	relays := mostro.CheckOK
	switch {
	case f.Connected == 0:
		relays = mostro.CheckFail
	case p.missingSince != 0 && f.At-p.missingSince >= missingWarn:
		relays = mostro.CheckWarn
	}
	if p.since == nil {
		p.since = make(map[string]nostr.Timestamp)
	}
	before := p.checks
	p.checks = nil
	for _, c := range []mostro.HealthCheck{
		{Name: mostro.CheckLNDSync, State: f.LND}, {Name: mostro.CheckPayouts, State: f.Payouts.check(f.At)},
		{Name: mostro.CheckRelays, State: relays},
		// If the store did not take a commit, the program would have ended.
		{Name: mostro.CheckDatabase, State: mostro.CheckOK},
	} {
		i := slices.IndexFunc(before, func(b mostro.HealthCheck) bool { return b.Name == c.Name })
		if i < 0 || before[i].State != c.State {
			p.since[c.Name] = nostr.Timestamp(f.At)
		}
		c.Since = p.since[c.Name]
		p.checks = append(p.checks, c)
	}
}
