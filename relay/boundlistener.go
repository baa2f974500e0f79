package relay

import (
	"net"
	"net/netip"
	"sync"
)

// BoundListener bounds the connections of a listener, in all and for each
// address, before a byte of them is read. What is beyond is closed at once. A
// connection counts until it is closed, whatever became of it in between.
//
// Exempt says which addresses have no bound of their own, such as those of
// proxies; nil: none.
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
			return nil, err // net/http waits where there are no descriptors, and tries again
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

// boundTCP keeps what a TCP connection can do besides: writing without waiting,
// closing one half.
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
