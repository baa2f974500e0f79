package relay

import (
	"context"
	"net"
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

// BoundListener limits the connections of a listener, in total and per address, before a
// byte is read from a connection. A connection above a limit is closed at once. A
// connection counts until it is closed, also after a handler has taken it over.
//
// exempt reports whether an address has no limit of its own, such as the address of a
// proxy. If exempt is nil, no address is exempt.
func BoundListener(l net.Listener, most, perAddress int, exempt func(netip.Addr) bool) net.Listener {
	return &boundListener{Listener: l, most: most, perAddress: perAddress, exempt: exempt, byAddress: make(map[netip.Addr]int)}
}

type boundListener struct {
	net.Listener
	most, perAddress int
	exempt           func(netip.Addr) bool

	mu        sync.Mutex
	open      int
	byAddress map[netip.Addr]int
}

func (l *boundListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err // net/http waits and tries again if there are no descriptors
		}
		key := addressOfPeer(c)
		if !l.enter(key) {
			c.Close()
			continue
		}
		leave := sync.OnceFunc(func() { l.leave(key) })
		if tcp, ok := c.(*net.TCPConn); ok {
			return &boundTCP{tcp, leave}, nil
		}
		return &boundConn{c, leave}, nil
	}
}

func addressOfPeer(c net.Conn) netip.Addr {
	peer, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return rateKey(peer.Addr().Unmap().WithZone(""))
}

func (l *boundListener) enter(key netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	bound := l.perAddress > 0 && (l.exempt == nil || !l.exempt(key))
	if l.open >= l.most || bound && l.byAddress[key] >= l.perAddress {
		return false
	}
	l.open++
	l.byAddress[key]++
	return true
}

func (l *boundListener) leave(key netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.byAddress[key]--; l.byAddress[key] == 0 {
		delete(l.byAddress, key)
	}
}

// boundTCP keeps the methods of a TCP connection that net.Conn lacks: the raw connection
// for writes that do not block, and the close of one half.
type boundTCP struct {
	*net.TCPConn
	leave func()
}

func (c *boundTCP) Close() error {
	c.leave()
	return c.TCPConn.Close()
}

type boundConn struct {
	net.Conn
	leave func()
}

func (c *boundConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
