package main

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// link is a proxy from one relay to another that can be cut.
type link struct {
	to *process
	l  net.Listener

	moved atomic.Int64 // bytes in both directions

	mu    sync.Mutex
	cut   bool
	first time.Time // time of the first connection
	conns map[net.Conn]bool
}

// link starts a proxy to a relay.
func (w *world) link(to *process) (*link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &link{to: to, l: l, conns: map[net.Conn]bool{}}
	w.links = append(w.links, k)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go k.carry(c)
		}
	}()
	return k, nil
}

func (k *link) carry(from net.Conn) {
	defer from.Close()
	k.mu.Lock()
	cut := k.cut
	k.mu.Unlock()
	addr := k.to.address()
	if cut || addr == "" {
		return
	}
	to, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer to.Close()
	k.mu.Lock()
	k.conns[from], k.conns[to] = true, true
	if k.first.IsZero() {
		k.first = time.Now()
	}
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		delete(k.conns, from)
		delete(k.conns, to)
		k.mu.Unlock()
	}()
	go func() {
		io.Copy(counting{to, &k.moved}, from)
		to.Close()
	}()
	io.Copy(counting{from, &k.moved}, to)
}

type counting struct {
	io.Writer
	n *atomic.Int64
}

// Write writes b and adds the number of written bytes to n.
func (c counting) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.n.Add(int64(n))
	return n, err
}

// opened returns the time of the link's first connection.
func (k *link) opened() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.first
}

// set cuts the link if cut is true, and heals it if not.
func (k *link) set(cut bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut = cut
	if cut {
		for c := range k.conns {
			c.Close()
		}
	}
}
