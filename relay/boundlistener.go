package relay

import (
	"net"
	"net/netip"
	"sync"
)

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
