package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// runUntilReplaced runs until ctx ends or until SIGUSR2 asks for a handover to the program that
// has replaced this one. It returns the listeners that the new program takes over; nil if there
// is no handover. hangup and replace receive the signals.
func (m *Main) runUntilReplaced(ctx context.Context, next successor, hangup, replace <-chan os.Signal) (handed *kept, err error) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	var watchers sync.WaitGroup
	again := &reloader{logger: m.Logger, reread: m.Reread, inForce: m.Config, relay: m.relay}
	if m.escrow != nil {
		again.lnd = m.escrow.lnd
	}
	watchers.Go(func() { again.run(ctx, hangup) })
	watchers.Go(func() {
		for handed == nil {
			select {
			case <-replace:
				handed = m.handOver(ctx, next)
			case <-ctx.Done():
				return
			}
		}
		end()
	})
	err = m.Run(ctx)
	end()
	watchers.Wait()
	return handed, err
}

// handOver checks the new program and keeps the listeners open. It returns nil if this program
// goes on.
func (m *Main) handOver(ctx context.Context, next successor) *kept {
	if err := next.check(ctx); err != nil {
		m.Logger.Error("the new program is not started, the old one goes on", "program", next.path, "err", err)
		return nil
	}
	// A listener whose address has changed is left to the new program.
	moved := map[string]bool{}
	if m.Reread != nil {
		if cfg, err := m.Reread(); err == nil { // the check has read the same
			moved[publicSocket] = cfg.Relay.Listen != m.Config.Relay.Listen
			moved[privateSocket] = cfg.Relay.Private != m.Config.Relay.Private
			moved[secureSocket] = cfg.Relay.Domain == "" || cfg.Relay.ACME.Listen != m.Config.Relay.ACME.Listen
		}
	}
	k := new(kept)
	for name, l := range m.sockets {
		if moved[name] {
			continue
		}
		if err := k.keep(name, l); err != nil {
			k.close()
			m.Logger.Error("the new program is not started, the old one goes on", "err", err)
			return nil
		}
	}
	m.replaced.Store(true)
	m.Logger.Info("handing over to the new program: connections wait", "program", next.path)
	return k
}

// signals returns the channels of SIGHUP, which reloads, and of SIGUSR2, which hands over. stop
// ends both. Without a channel either signal ends the process, so they are made before the
// stores are opened.
func signals() (hangup, replace chan os.Signal, stop func()) {
	hangup, replace = make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	notifyRestart(replace)
	return hangup, replace, func() { signal.Stop(hangup); signal.Stop(replace) }
}
