package downloads

import (
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// gate bounds the requests at the same time, of all clients and of one network.
type gate struct {
	all, each int

	mu  sync.Mutex
	now map[string]int // guarded by mu
	sum int
}

func newGate(all, each int) *gate { return &gate{all: all, each: each, now: map[string]int{}} }

// enter returns the function that gives the place back. If there is no place, leave is nil, and
// status and detail are the answer.
func (g *gate) enter(address string) (leave func(), status int, detail string) {
	key := network(address)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.now[key] >= g.each:
		return nil, http.StatusTooManyRequests, "Your address has as many downloads of this kind under way as it may have. Wait until one has ended."
	case g.sum >= g.all:
		return nil, http.StatusServiceUnavailable, "This server has as many downloads of this kind under way as it allows. Try again in a minute."
	}
	g.now[key]++
	g.sum++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.now[key]--; g.now[key] == 0 {
			delete(g.now, key)
		}
		g.sum--
	}, 0, ""
}

// network returns the network that is charged for an address: for IPv6 the /64, which is that
// of one customer.
func network(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	if ip = ip.Unmap(); ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}

// A client that takes nothing for writeWait, or fewer than slowest bytes a second over the time
// for which the server waited for the client, is dropped. The first writeWait is free.
const (
	writeWait = 30 * time.Second
	slowest   = 16 << 10
)

var errSlow = errors.New("the client reads too slowly")

// patient writes an answer that may take longer than others, and drops clients that read too
// slowly.
type patient struct {
	http.ResponseWriter
	rc     *http.ResponseController
	began  bool
	waited time.Duration // for the client
	bytes  int64
}

func newPatient(w http.ResponseWriter) *patient {
	return &patient{ResponseWriter: w, rc: http.NewResponseController(w)}
}

// Write writes in pieces, each with a deadline of its own.
func (p *patient) Write(b []byte) (n int, err error) {
	p.began = true
	for len(b) > 0 {
		piece := b[:min(len(b), 256<<10)]
		start := time.Now()
		p.rc.SetWriteDeadline(start.Add(writeWait)) // some writers of tests have no deadline
		k, err := p.ResponseWriter.Write(piece)
		n += k
		p.bytes += int64(k)
		if p.waited += time.Since(start); err != nil {
			return n, err
		}
		if p.waited > writeWait+time.Duration(p.bytes/slowest)*time.Second {
			return n, errSlow
		}
		b = b[len(piece):]
	}
	return n, nil
}

// Unwrap returns the wrapped writer for http.ResponseController.
func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }
