package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// shutdownGrace is the time that requests in progress get to end.
const shutdownGrace = 3 * time.Second

// serveHTTP runs a server until ctx ends. Then no connection is accepted, and the connections
// that were accepted are answered. net/http drops a request that it reads after Shutdown has
// begun, so Shutdown comes last.
func serveHTTP(ctx context.Context, g *errgroup.Group, l net.Listener, srv *http.Server) {
	busy := &busyConns{conns: make(map[net.Conn]struct{})}
	srv.ConnState = busy.changed
	served := make(chan struct{})
	g.Go(func() error {
		defer close(served)
		err := srv.Serve(l)
		if errors.Is(err, http.ErrServerClosed) || ctx.Err() != nil && errors.Is(err, net.ErrClosed) {
			return nil
		}
		return err
	})
	g.Go(func() error {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		l.Close()
		<-served // no connection is new afterwards
		busy.wait(grace)
		if err := srv.Shutdown(grace); err != nil {
			return srv.Close()
		}
		return nil
	})
}

// busyConns are the connections of a server whose request is read or answered.
type busyConns struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{} // guarded by mu
}

// changed is a hook of http.Server. It is called for a new connection before Serve returns.
func (b *busyConns) changed(c net.Conn, state http.ConnState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if state == http.StateNew || state == http.StateActive {
		b.conns[c] = struct{}{}
	} else {
		delete(b.conns, c)
	}
}

// wait waits until no connection is busy, or until ctx ends.
func (b *busyConns) wait(ctx context.Context) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		b.mu.Lock()
		n := len(b.conns)
		b.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
