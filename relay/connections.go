package relay

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// openFilters counts the conditions and values of the open filters of an address.
type openFilters struct{ conditions, values int }

// connections are the open connections, and the counts that limit them.
type connections struct {
	cfg  *Config // not modified
	met  *metrics
	gone sync.WaitGroup // counts connections

	mu      sync.Mutex
	all     map[*conn]struct{}
	byIP    map[netip.Addr]int // opening by address
	open    map[netip.Addr]openFilters
	opening int // admitted upgrades, including connections
	closed  bool
}

func newConnections(cfg *Config, met *metrics) *connections {
	return &connections{cfg: cfg, met: met, all: make(map[*conn]struct{}), byIP: make(map[netip.Addr]int), open: make(map[netip.Addr]openFilters)}
}

// keep sends pings to silent clients and closes connections that are gone. All connections
// are checked every second, so pings are spread as the starts of the connections were.
func (cs *connections) keep(ctx context.Context) error {
	tick := time.NewTicker(min(time.Second, cs.cfg.PingEvery/4))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now().UnixMilli()
		cs.mu.Lock()
		for c := range cs.all {
			silent := now - c.lastRead.Load()
			switch {
			case c.w.unsent() > 0:
				// The write deadline decides here. A long answer on a slow line is not
				// silence.
			case silent > cs.cfg.IdleAfter.Milliseconds():
				cs.met.unresponsive.Inc()
				c.w.end(ws.StatusGoingAway, "no answer to pings", false)
			case silent > cs.cfg.PingEvery.Milliseconds() && now-c.lastPing > cs.cfg.PingEvery.Milliseconds():
				c.lastPing = now
				c.w.ping()
			}
		}
		cs.mu.Unlock()
	}
}

// admit counts a connection against the limits. admit returns the reason if a
// limit is reached. release or remove must be called afterwards.
func (cs *connections) admit(ip netip.Addr, local bool) (refusal string) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	key := rateKey(ip)
	switch {
	case cs.closed || cs.opening >= cs.cfg.MaxConnections:
		return "too many connections"
	case !local && !ip.IsLoopback() && cs.cfg.MaxConnsPerIP > 0 && cs.byIP[key] >= cs.cfg.MaxConnsPerIP:
		return "too many connections from this address"
	}
	cs.opening++
	cs.byIP[key]++
	return ""
}

func (cs *connections) release(ip netip.Addr) {
	cs.mu.Lock()
	cs.leave(ip)
	cs.mu.Unlock()
}

// leave removes a connection from the counts. mu is held.
func (cs *connections) leave(ip netip.Addr) {
	cs.opening--
	key := rateKey(ip)
	if cs.byIP[key]--; cs.byIP[key] <= 0 {
		delete(cs.byIP, key)
	}
}

// add registers a connection. add returns false if the server has closed.
func (cs *connections) add(c *conn) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.closed {
		return false
	}
	cs.gone.Add(1)
	cs.all[c] = struct{}{}
	cs.met.connections.Set(float64(len(cs.all)))
	cs.met.connectionsTotal.Inc()
	return true
}

func (cs *connections) remove(c *conn) {
	cs.mu.Lock()
	delete(cs.all, c)
	cs.leave(c.ip)
	cs.met.connections.Set(float64(len(cs.all)))
	cs.mu.Unlock()
	cs.gone.Done()
}

// holdOpen adds to the open filters of an address. holdOpen returns false if
// there would be too many. Negative numbers release filters and are always accepted.
func (cs *connections) holdOpen(ip netip.Addr, local bool, conditions, values int) bool {
	if local || !ip.IsValid() || ip.IsLoopback() {
		return true
	}
	key := rateKey(ip)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	o := cs.open[key]
	o.conditions, o.values = o.conditions+conditions, o.values+values
	if conditions > 0 && (o.conditions > openShare*maxOpenConditions || o.values > openShare*maxOpenValues) {
		return false
	}
	if o == (openFilters{}) {
		delete(cs.open, key)
	} else {
		cs.open[key] = o
	}
	return true
}

// close admits no further connection, closes all with a reason, and waits until they are
// gone.
func (cs *connections) close(reason string) {
	cs.mu.Lock()
	cs.closed = true
	open := make([]*conn, 0, len(cs.all))
	for c := range cs.all {
		open = append(open, c)
	}
	cs.mu.Unlock()
	for _, c := range open {
		c.w.end(ws.StatusGoingAway, reason, false)
	}
	cs.gone.Wait()
}
