package relay

import (
	"context"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
)

// Limits are the configured quotas and rates. 0: the default beside the field; negative:
// no limit.
type Limits struct {
	LiveAddressesPerKey      int // 50,000
	LiveAddressesPerPlatform int // no limit
	EventsPerMinutePerIP     int // 6,000
	EventsPerMinutePerKey    int // 3,000
	RequestsPerMinutePerIP   int // 6,000
}

// Defaults of Limits. The timers of a Mostro need two events a minute, and its busiest
// hours about a hundred. A wallet opens one request per trade. A relay that catches up
// asks for 200 events per request.
const (
	DefaultLivePerKey     = 50_000
	DefaultEventsPerIP    = 6000
	DefaultEventsPerKey   = 3000
	DefaultRequestsPerIP  = 6000
	maxBuckets            = 200_000
	bucketsKeptForSeconds = 120
)

func (l *Limits) setDefaults() {
	orDefault(&l.LiveAddressesPerKey, DefaultLivePerKey)
	orDefault(&l.EventsPerMinutePerIP, DefaultEventsPerIP)
	orDefault(&l.EventsPerMinutePerKey, DefaultEventsPerKey)
	orDefault(&l.RequestsPerMinutePerIP, DefaultRequestsPerIP)
}

// buckets are token buckets by key. A bucket fills in one minute. Memory is bounded,
// because full buckets are removed.
type buckets[K comparable] struct {
	mu  sync.Mutex
	all map[K]*bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

// take takes n tokens. take returns false if the bucket has fewer than n. If perMinute is
// 0 or negative, there is no limit.
func (b *buckets[K]) take(key K, n, perMinute int, now time.Time) bool {
	if perMinute <= 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.bucket(key, perMinute, now)
	cost := float64(min(n, perMinute)) // a full bucket pays for any cost
	if x.tokens < cost {
		return false
	}
	x.tokens -= cost
	return true
}

// charge takes n tokens for work that is done. If the bucket has fewer than n, the balance
// becomes negative, down to minus one minute.
func (b *buckets[K]) charge(key K, n, perMinute int, now time.Time) {
	if perMinute <= 0 || n <= 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.bucket(key, perMinute, now)
	x.tokens = max(x.tokens-float64(n), -float64(perMinute))
}

// bucket returns the bucket of a key, filled up to now. mu is held.
func (b *buckets[K]) bucket(key K, perMinute int, now time.Time) *bucket {
	if b.all == nil {
		b.all = make(map[K]*bucket)
	}
	x := b.all[key]
	if x == nil {
		if len(b.all) >= maxBuckets {
			b.sweep(now)
		}
		x = &bucket{tokens: float64(perMinute), at: now}
		b.all[key] = x
	}
	if passed := now.Sub(x.at); passed > 0 {
		x.tokens = min(float64(perMinute), x.tokens+passed.Minutes()*float64(perMinute))
		x.at = now
	}
	return x
}

// sweep removes the buckets that are full again. If no bucket is full, sweep removes all,
// because a bound on memory comes before a bound on rates.
func (b *buckets[K]) sweep(now time.Time) {
	for key, x := range b.all {
		if now.Sub(x.at) > bucketsKeptForSeconds*time.Second {
			delete(b.all, key)
		}
	}
	if len(b.all) >= maxBuckets {
		clear(b.all)
	}
}

// rates charges events and requests to their addresses and keys. The limits follow the
// rules. The buckets guard themselves.
type rates struct {
	rules *moderation
	now   func() time.Time
	byIP  buckets[netip.Addr] // events
	byKey buckets[[32]byte]   // events
	asked buckets[netip.Addr] // requests
}

// rateKey returns the address that is charged: for IPv6 the whole /64, which is the
// network of one customer.
func rateKey(ip netip.Addr) netip.Addr {
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return ip
}

// costShare is how many events or addresses named by a deletion request, and how many rows
// read for the request, count as one event.
const costShare = 16

// tagShare is how many tags of an event count as one more event, because each tag takes
// memory in the index. An order has about 17 tags.
const tagShare = 64

// eventCost returns how many events an event counts as.
func eventCost(evt *nostr.Event) int {
	if evt.Kind != mostro.KindDeletion {
		return 1 + len(evt.Tags)/tagShare
	}
	return 1 + int(eventlog.DeletionWeight(evt))/costShare
}

// chargeWalk charges a deletion request for the rows that were read, once their number is
// known.
func (r *rates) chargeWalk(a *Admission, walked int) {
	if a.source.Origin != mostro.OriginClient || a.local || walked < costShare {
		return
	}
	limits, now := r.rules.current().limits, r.now()
	if a.ip.IsValid() {
		r.byIP.charge(rateKey(a.ip), walked/costShare, limits.EventsPerMinutePerIP, now)
	}
	r.byKey.charge(hex32.OrZero(a.evt.PubKey), walked/costShare, limits.EventsPerMinutePerKey, now)
}

// deletionPending is a deletion request of a client that awaits the store.
type deletionPending struct {
	*eventlog.Enqueued
	rates *rates
	a     *Admission
}

func (p deletionPending) Wait(ctx context.Context) (uint64, eventlog.Outcome, error) {
	seq, out, err := p.Enqueued.Wait(ctx)
	if err == nil {
		p.rates.chargeWalk(p.a, p.Enqueued.Walked)
	}
	return seq, out, err
}

// refuseEvent charges a client's event to its address. refuseEvent returns a reason if the
// rate is used up.
func (r *rates) refuseEvent(a *Admission, rules *compiled) string {
	now := r.now()
	if a.ip.IsValid() && !r.byIP.take(rateKey(a.ip), eventCost(a.evt), rules.limits.EventsPerMinutePerIP, now) {
		return "rate-limited: too many events from this address, slow down"
	}
	return ""
}

// Costs of requests. A search counts as several filters. Each workUnit of time that an
// answer takes is charged as one more request afterwards.
const (
	maxSearches = 8 // per REQ
	searchCost  = 10
	workUnit    = 2 * time.Millisecond
	bytesOfOne  = 8 << 10 // bytes of a message that count as one more filter
)

// askedBy charges n filters to an address. askedBy returns false if the rate is used up.
func (r *rates) askedBy(ip netip.Addr, n int) bool {
	return r.asked.take(rateKey(ip), n, r.rules.current().limits.RequestsPerMinutePerIP, r.now())
}

// chargeWork charges the time that an answer took, if it took more than a workUnit.
func (r *rates) chargeWork(ip netip.Addr, took time.Duration) {
	if n := int(took / workUnit); n > 0 {
		r.asked.charge(rateKey(ip), n, r.rules.current().limits.RequestsPerMinutePerIP, r.now())
	}
}

const reasonAskedTooOften = "rate-limited: too many requests from this address, slow down"

// refuseKey charges an event to its author. The signature is verified before, so that
// a client cannot use up the rate of another key.
func (r *rates) refuseKey(a *Admission, rules *compiled) string {
	key := hex32.OrZero(a.evt.PubKey)
	if !r.byKey.take(key, eventCost(a.evt), rules.limits.EventsPerMinutePerKey, r.now()) {
		return "rate-limited: too many events by this key, slow down"
	}
	return ""
}

// HTTPRates limits the HTTP requests of each address, at the same rate as REQ and COUNT on
// sockets (RequestsPerMinutePerIP). Its token buckets are separate from those of sockets.
type HTTPRates struct {
	peers   *peers
	rules   *moderation
	now     func() time.Time
	buckets buckets[netip.Addr]
}

// NewHTTPRates returns rates that follow the server's rules.
func NewHTTPRates(s *Server) *HTTPRates {
	return &HTTPRates{peers: &s.peers, rules: &s.moderation, now: s.cfg.Now}
}

// Take charges a request to its address. cost is the number of requests of the cheapest
// kind that the request counts as. Take returns false if the address has used up its rate.
// A program on this machine, which sends no forwarding header and no Origin, is not
// charged.
func (h *HTTPRates) Take(r *http.Request, cost int) bool {
	ip, local := h.peers.clientIP(r)
	if !ip.IsValid() || local && r.Header.Get("Origin") == "" {
		return true
	}
	limits := h.rules.current().limits
	return h.buckets.take(rateKey(ip), cost, limits.RequestsPerMinutePerIP, h.now())
}
