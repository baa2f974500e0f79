package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mostrodex/mostrodex/internal/clip"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
)

// health is the state of another relay. Any goroutine may update the counters; mu guards
// the other fields.
type health struct {
	url        string
	configured bool

	events, bytes, kept, held, refusedN, overQuota         atomic.Int64
	malformed, outside, pages, rounds, missing, incomplete atomic.Int64

	mu          sync.Mutex
	now         string // state
	since       time.Time
	everUp      bool
	connects    int
	failures    map[string]int
	lastError   string
	lastNotice  string
	lastClosed  string
	refusals    map[string]int64 // by prefix
	lastLive    time.Time        // time of the newest live event
	lag         time.Duration    // between created_at of that event and its receipt
	synced      time.Time
	how         string // negentropy or paging
	info        *relayInfo
	negBroken   string // why NIP-77 is not used on this connection
	forwarded   map[string]int64
	lastRefusal string // of an own event
}

func newHealth(url string, configured bool) *health {
	return &health{url: url, configured: configured, now: "new", failures: map[string]int{}, refusals: map[string]int64{}, forwarded: map[string]int64{}}
}

func (h *health) frame(n int) { h.bytes.Add(int64(n)) }

// state records a state and logs each change once.
func (h *health) state(to string, err error, log *slog.Logger) {
	h.mu.Lock()
	defer h.mu.Unlock()
	class := failure(err)
	if err != nil {
		h.failures[class]++
	}
	reason := ""
	if err != nil {
		reason = clip.Text(err.Error(), 300)
	}
	switch {
	case to == "waiting":
		if h.now != "down" || h.lastError != class {
			log.Warn("upstream relay lost", "relay", h.url, "class", class, "reason", reason)
		}
		h.now, h.lastError = "down", class
		h.lastClosed = reason
		h.since = time.Now()
	case to == "connecting":
		// A relay that was down counts as down until it is caught up again.
		if h.now == "new" {
			h.now, h.since = to, time.Now()
		}
	case to != h.now:
		if to == "live" && h.now != "live" && h.lastError != "" {
			log.Info("upstream relay is back", "relay", h.url)
		} else if to == "live" && h.connects == 1 && h.synced.IsZero() {
			log.Info("upstream relay caught up", "relay", h.url, "by", h.how)
		}
		if to == "live" {
			h.lastError = ""
		}
		h.now, h.since = to, time.Now()
	}
}

func (h *health) connected() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.connects++
	h.everUp = true
	h.negBroken = ""
}

func (h *health) connectedEver() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.everUp
}

func (h *health) caughtUp(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.synced = now
}

func (h *health) method(how string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.how = how
}

func (h *health) notice(text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lastNotice = strings.Clone(text)
}

func (h *health) closed(reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lastClosed = reason
}

func (h *health) sawLive(now time.Time, evt *nostr.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lastLive, h.lag = now, now.Sub(evt.CreatedAt.Time())
}

func (h *health) refuse(reason string) {
	h.refusedN.Add(1)
	prefix, _, ok := strings.Cut(reason, ":")
	if !ok || len(prefix) > 20 {
		prefix = "other"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refusals[prefix]++
}

func (h *health) forwardOutcome(outcome, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forwarded[outcome]++
	if reason != "" {
		h.lastRefusal = reason
	}
}

func (h *health) limits(info *relayInfo) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if info != nil {
		h.info = info
	}
}

// offersNeg reports whether to try NIP-77. It returns true unless NIP-11 or an earlier
// attempt says that the relay lacks it.
func (h *health) offersNeg() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.negBroken == "" && (h.info == nil || slices.Contains(h.info.SupportedNIPs, 77))
}

func (h *health) noNeg(why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.negBroken = clip.Text(why, 200)
}

func (h *health) pageLimit() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.info != nil && h.info.Limitation.MaxLimit > 0 {
		return min(pageLimit, h.info.Limitation.MaxLimit)
	}
	return pageLimit
}

// negLimit returns the largest message for the relay, in bytes before hex.
func (h *health) negLimit() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	limit := 64 << 10
	if h.info != nil && h.info.Limitation.MaxMessageLength > 0 {
		limit = h.info.Limitation.MaxMessageLength
	}
	return min(max(limit/2-1024, 4096), 240<<10)
}

// RelayList is the answer of GET /api/v1/relays.
type RelayList struct {
	Items []RelayHealth `json:"items" doc:"sorted by address"`
	Total int           `json:"total"`
}

// RelayHealth is the JSON object of one relay in GET /api/v1/relays.
type RelayHealth struct {
	URL           string           `json:"url" doc:"address of the relay"`
	Configured    bool             `json:"configured" doc:"named by the operator; false: found in events"`
	State         string           `json:"state" doc:"new, connecting, catching up, live or down"`
	StateSince    *int64           `json:"state_since" unit:"unix seconds" null:"unknown" doc:"begin of this state"`
	Reachable     bool             `json:"reachable" doc:"live or catching up"`
	Connects      int              `json:"connects" doc:"connections since the start of the program"`
	Failures      map[string]int   `json:"failures" doc:"connections that ended, by class"`
	LastReason    *string          `json:"last_reason" null:"no connection was closed with a reason"`
	LastNotice    *string          `json:"last_notice" null:"the relay sent no notice"`
	SyncedAt      *int64           `json:"synced_at" unit:"unix seconds" null:"none yet" doc:"last complete catching up"`
	Method        *string          `json:"method" null:"none yet" doc:"negentropy or paging"`
	LastLiveAt    *int64           `json:"last_live_at" unit:"unix seconds" null:"none yet" doc:"receipt of the last live event"`
	LagSeconds    *float64         `json:"lag_seconds" unit:"seconds" null:"none yet" doc:"age of the last live event at its receipt"`
	Events        RelayCounts      `json:"events" doc:"events of the relay since the start of the program"`
	Refused       map[string]int64 `json:"refused" doc:"refused events, by reason"`
	Forwarded     map[string]int64 `json:"forwarded" doc:"own events that were sent to the relay, by outcome"`
	ForwardReason *string          `json:"forward_reason" null:"none was refused" doc:"reason of the last refusal"`
	Software      *string          `json:"software" null:"the relay does not say"`
	NIPs          []int            `json:"nips" null:"the relay does not say" doc:"NIPs that the relay supports"`
	MaxLimit      *int             `json:"max_limit" null:"the relay does not say" doc:"greatest limit of a request"`
}

// RelayCounts counts the events from a relay since the start of the program.
type RelayCounts struct {
	Received   int64 `json:"received" unit:"events"`
	Kept       int64 `json:"kept" unit:"events"`
	Held       int64 `json:"held_already" unit:"events"`
	Refused    int64 `json:"refused"`
	OverQuota  int64 `json:"over_quota" unit:"events" doc:"above the rate that the operator allows"`
	Malformed  int64 `json:"malformed" unit:"events"`
	Outside    int64 `json:"outside_filter" unit:"events" doc:"not asked for"`
	Missing    int64 `json:"offered_and_not_given" unit:"events"`
	Incomplete int64 `json:"incomplete_seconds" unit:"seconds" doc:"seconds with more events than the relay answers at once"`
	Bytes      int64 `json:"bytes" unit:"bytes"`
}

func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func unixOrNull(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	s := t.Unix()
	return &s
}

func (h *health) report() RelayHealth {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := RelayHealth{
		URL: h.url, Configured: h.configured, State: h.now, StateSince: unixOrNull(h.since), Connects: h.connects,
		Reachable: h.now == "live" || h.now == "catching up", Failures: cloneMap(h.failures), Refused: cloneMap(h.refusals),
		Forwarded: cloneMap(h.forwarded), ForwardReason: orNull(h.lastRefusal), LastReason: orNull(h.lastClosed),
		LastNotice: orNull(h.lastNotice), SyncedAt: unixOrNull(h.synced), Method: orNull(h.how), LastLiveAt: unixOrNull(h.lastLive),
		Events: RelayCounts{
			Received: h.events.Load(), Kept: h.kept.Load(), Held: h.held.Load(), Refused: h.refusedN.Load(), OverQuota: h.overQuota.Load(),
			Malformed: h.malformed.Load(), Outside: h.outside.Load(), Missing: h.missing.Load(), Incomplete: h.incomplete.Load(), Bytes: h.bytes.Load(),
		},
	}
	if !h.lastLive.IsZero() {
		lag := h.lag.Seconds()
		r.LagSeconds = &lag
	}
	if h.info != nil {
		r.Software, r.NIPs, r.MaxLimit = orNull(h.info.Software), h.info.SupportedNIPs, orNull(h.info.Limitation.MaxLimit)
	}
	return r
}

func cloneMap[V any](m map[string]V) map[string]V {
	c := make(map[string]V, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

// Health returns the health of every relay, ordered by URL.
func (us *Upstreams) Health() []RelayHealth {
	list := []RelayHealth{}
	for _, u := range us.list() {
		list = append(list, u.health.report())
	}
	return list
}

// ClockSkew returns the median of the differences between our clock and those of the configured
// relays, and the number of relays whose clocks are known. One relay may be wrong, and a relay
// that an event has named may lie, so neither decides.
func (us *Upstreams) ClockSkew() (skew time.Duration, relays int) {
	var known []time.Duration
	for _, u := range us.list() {
		u.health.mu.Lock()
		if i := u.health.info; u.configured && i != nil && i.skew != nil {
			known = append(known, *i.skew)
		}
		u.health.mu.Unlock()
	}
	if len(known) == 0 {
		return 0, 0
	}
	slices.Sort(known)
	return known[len(known)/2].Round(time.Second), len(known)
}

// ServeRelays answers GET /api/v1/relays.
func (us *Upstreams) ServeRelays(w http.ResponseWriter, _ *http.Request) {
	items := us.Health()
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(RelayList{items, len(items)}) // a client that is gone needs no answer
}

// upstreamMetrics are computed from the health of the relays. Relays are summed up, so
// that labels stay few.
type upstreamMetrics struct {
	us                             *Upstreams
	relays, events, failures, sent *prometheus.Desc
	lag                            *prometheus.Desc
	queued                         *prometheus.Desc
}

func newUpstreamMetrics(us *Upstreams, reg prometheus.Registerer) *upstreamMetrics {
	name := func(s string) string { return "mostrodex_relay_upstream" + s }
	m := &upstreamMetrics{us: us,
		relays:   prometheus.NewDesc(name("s"), "Other relays, by state and origin.", []string{"state", "origin"}, nil),
		events:   prometheus.NewDesc(name("_events_total"), "Events from other relays, by outcome.", []string{"outcome"}, nil),
		failures: prometheus.NewDesc(name("_failures_total"), "Connections to other relays that ended, by class.", []string{"class"}, nil),
		sent:     prometheus.NewDesc("mostrodex_relay_forwarded_total", "Own events sent to other relays, by outcome.", []string{"outcome"}, nil),
		lag:      prometheus.NewDesc(name("_lag_seconds"), "Largest age of the newest live event at its receipt, over the live relays.", nil, nil),
		queued:   prometheus.NewDesc("mostrodex_relay_forward_queue", "Own events that await a relay, the longest queue.", nil, nil),
	}
	if reg != nil {
		reg.MustRegister(m)
	}
	return m
}

// Describe implements prometheus.Collector.
func (m *upstreamMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.relays, m.events, m.failures, m.sent, m.lag, m.queued} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. It sums the relays up.
func (m *upstreamMetrics) Collect(ch chan<- prometheus.Metric) {
	type kind struct{ state, origin string }
	relays := map[kind]int{}
	events, failures, sent := map[string]int64{}, map[string]int{}, map[string]int64{}
	lag := 0.0
	for _, r := range m.us.Health() {
		origin := "discovered"
		if r.Configured {
			origin = "configured"
		}
		relays[kind{strings.ReplaceAll(r.State, " ", "_"), origin}]++
		for outcome, n := range map[string]int64{"kept": r.Events.Kept, "held": r.Events.Held, "refused": r.Events.Refused, "over_quota": r.Events.OverQuota,
			"malformed": r.Events.Malformed, "outside_filter": r.Events.Outside, "missing": r.Events.Missing} {
			events[outcome] += n
		}
		for class, n := range r.Failures {
			failures[class] += n
		}
		for outcome, n := range r.Forwarded {
			sent[outcome] += n
		}
		if r.LagSeconds != nil && r.State == "live" {
			lag = max(lag, *r.LagSeconds)
		}
	}
	for k, n := range relays {
		ch <- prometheus.MustNewConstMetric(m.relays, prometheus.GaugeValue, float64(n), k.state, k.origin)
	}
	for outcome, n := range events {
		ch <- prometheus.MustNewConstMetric(m.events, prometheus.CounterValue, float64(n), outcome)
	}
	for class, n := range failures {
		ch <- prometheus.MustNewConstMetric(m.failures, prometheus.CounterValue, float64(n), class)
	}
	for outcome, n := range sent {
		ch <- prometheus.MustNewConstMetric(m.sent, prometheus.CounterValue, float64(n), outcome)
	}
	ch <- prometheus.MustNewConstMetric(m.lag, prometheus.GaugeValue, lag)
	ch <- prometheus.MustNewConstMetric(m.queued, prometheus.GaugeValue, float64(longestQueue(m.us.cfg.Store, m.us.list())))
}

// failure returns the class of an error, for metrics.
func failure(err error) string {
	var refused refusedError
	switch text := fmt.Sprint(err); {
	case err == nil:
		return "none"
	case errors.Is(err, errLying):
		return "lying"
	case errors.Is(err, errSilent), errors.Is(err, context.DeadlineExceeded):
		return "silent"
	case errors.As(err, &refused):
		return "refused"
	case strings.Contains(text, "no such host"), strings.Contains(text, "server misbehaving"), strings.Contains(text, "dial tcp: lookup"):
		return "dns"
	case strings.Contains(text, "tls:"), strings.Contains(text, "x509:"), strings.Contains(text, "HTTP response to HTTPS"):
		return "tls"
	case strings.Contains(text, "prohibited"), strings.Contains(text, "ssrf"):
		return "private"
	case strings.Contains(text, "connection refused"), strings.Contains(text, "unreachable"), strings.Contains(text, "i/o timeout"):
		return "unreachable"
	case strings.Contains(text, "expected handshake response"):
		return "handshake"
	}
	return "closed"
}
