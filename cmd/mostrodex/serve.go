package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/mostrodex/mostrodex/escrow/price"
	"github.com/mostrodex/mostrodex/indexer/partitions"
	"github.com/mostrodex/mostrodex/internal/demowallet"
	"github.com/mostrodex/mostrodex/internal/opalert"
	"github.com/mostrodex/mostrodex/internal/room"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/mostrodex/mostrodex/relay/federation"
	"github.com/mostrodex/mostrodex/reputation"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// Main is the running program, which connects the rooms. Tests create the same value and
// listen on port 0.
type Main struct {
	Config Config
	Logger *slog.Logger     // nil: log lines are discarded
	Now    func() time.Time // nil: time.Now
	Demo   *Demo            // nil: the escrow, if enabled, uses LND

	// Reread reads the configuration again, with the flags. nil: SIGHUP changes nothing.
	Reread func() (Config, error)

	stores
	inherited sockets                 // listeners that were open before; nil: none
	sockets   map[string]net.Listener // the listeners, by name, without limits
	replaced  atomic.Bool             // another program takes over this process
	serving   chan struct{}           // closed when the listeners answer
	relay     *relay.Server
	upstreams *federation.Upstreams
	registry  *prometheus.Registry
	public    net.Listener
	private   net.Listener
	secure    *secureListener // of relay.domain; nil: none
	control   net.Listener    // the operator's socket; nil without an escrow if it cannot be made
	backups   *backupServer   // nil until the stores are open
	escrow    *escrowRoom     // nil: disabled
	tune      tuning          // of a test; nil: nothing is changed
	lowDisk   *lowDisk
	scores    *reputation.Service // nil: disabled
	alerts    *alertRoom          // nil: disabled
	prices    *price.Feed         // of reputation.prices; nil: none are named
	exports   *partitions.Store   // nil: disabled
	documents *publication        // nil: no statistics are published
	operator  *opalert.Service
	lookEvery time.Duration // of a test; 0: the default of opalert
	routes    route.Table
	web       http.Handler // of the public routes
}

// Open opens the stores and binds the listeners. If Open returns an error, no store and no
// listener stays open.
func (m *Main) Open() (err error) {
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	m.Logger, m.Now = room.Logger(m.Logger), room.Clock(m.Now)
	if m.Demo == nil {
		if err := refuseSimulated(m.Config.Data); err != nil {
			return err
		}
	}
	defer easeOpening()()
	m.serving = make(chan struct{})
	m.registry = prometheus.NewRegistry()
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	with := ambient{logger: m.Logger, registry: m.registry, now: m.Now, notice: m.Demo.notice()}

	if err := m.stores.open(&m.Config, with, false, m.serving); err != nil {
		return err
	}
	mail := newMail(m.Config.Relay.MailFor)
	cfg, err := relayConfig(&m.Config, &m.stores, mail, with)
	if err != nil {
		return err
	}
	m.lowDisk = &lowDisk{full: m.store.Full, spent: make(map[string]int)}
	cfg.Urgent = m.lowDisk.urgent
	cfg.Fallback = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.web.ServeHTTP(w, r) })
	var alertKey *envelope.Keys // of the relay: it takes commands for alerts
	if m.Config.Alerts.Enabled {
		if alertKey, err = alertKeys(m.Config.Data); err != nil {
			return err
		}
		cfg.Self, mail.alerts = alertKey.Pubkey(), alertKey.Pubkey()
	}
	if m.relay, err = relay.New(cfg); err != nil {
		return err
	}
	m.rules.relay = m.relay
	if m.Config.Reputation.Enabled {
		if m.scores, err = openReputation(&m.Config.Reputation, &m.stores, m.relay, with); err != nil {
			return fmt.Errorf("reputation: %w", err)
		}
		if m.prices, err = openPrices(m.Config.Reputation.Prices, with); err != nil {
			return fmt.Errorf("reputation: prices: %w", err)
		}
	}
	if m.upstreams, err = openUpstreams(&m.Config, m.relay, m.store, m.scores, mail, with); err != nil {
		return err
	}
	mail.mostros = m.upstreams
	if m.documents, err = openDocuments(&m.Config, &m.stores, m.relay, with); err != nil {
		return err
	}
	if m.Config.Escrow.Enabled {
		if m.escrow, err = openEscrow(&m.Config, m.Demo, m.store, m.relay, m.lowDisk, m.tune, with); err != nil {
			return fmt.Errorf("escrow: %w", err)
		}
		mail.escrow = m.escrow.pubkey
		m.escrow.engine.Relays = relaysOf(&m.Config, m.upstreams)
		m.escrow.openInbox(m.store, m.relay, m.Config.Escrow.Name, with)
	}
	if m.control, err = listenControl(m.Config.Data); err != nil {
		if m.escrow != nil {
			return err
		}
		m.Logger.Warn("no backup is possible while the server runs", "error", err)
	}
	if alertKey != nil {
		if m.alerts, err = openAlerts(&m.Config, alertKey, &m.stores, m.relay, m.scores != nil, with); err != nil {
			return err
		}
	}
	m.backups = newBackups(m)
	if m.exports, err = openExports(&m.Config, &m.stores, with); err != nil {
		return fmt.Errorf("exports: %w", err)
	}
	if m.operator, err = openOperator(m); err != nil {
		return err
	}
	wallet, err := openDemoWallet(m)
	if err != nil {
		return err
	}
	m.routes, m.web, err = surface{alerts: m.alerts, stores: &m.stores, url: m.Config.Relay.URL, onion: m.Config.Relay.Onion, relay: m.relay, upstreams: m.upstreams, scores: m.scores, seeds: m.Config.Reputation.Seeds, prices: m.prices, escrow: m.escrow, exports: m.exports, alone: m.Config.Role == roleEscrow, wallet: wallet, ambient: with}.table()
	if err != nil {
		return err
	}
	m.sockets = make(map[string]net.Listener)
	if m.public, err = m.inherited.listen(publicSocket, m.Config.Relay.Listen, "--listen"); err != nil {
		return err
	}
	m.sockets[publicSocket] = m.public
	limit := func(l net.Listener) net.Listener {
		return bound(l, m.Config.Relay.Quota.ConnectionsPerIP, cfg.TrustedProxies)
	}
	m.public = limit(m.public)
	if m.Config.Relay.Domain != "" {
		if m.sockets[secureSocket], err = m.inherited.listen(secureSocket, cmp.Or(m.Config.Relay.ACME.Listen, defaultSecureListen), "relay.acme.listen (deploy/mostrodex-tls.conf gives the right to port 443)"); err != nil {
			return fmt.Errorf("relay.domain: %w", err)
		}
		if m.secure, err = newSecureListener(&m.Config, m.Logger, m.sockets[secureSocket], limit); err != nil {
			m.sockets[secureSocket].Close()
			return err
		}
	}
	if m.Config.Relay.Private != "" {
		if m.private, err = m.inherited.listen(privateSocket, m.Config.Relay.Private, "--private"); err != nil {
			return err
		}
		m.sockets[privateSocket] = m.private
	}
	return m.inherited.close() // of a listener that the configuration has turned off
}

// Addr returns the address of the public listener.
func (m *Main) Addr() string { return m.public.Addr().String() }

// PrivateAddr returns the address of the private listener, or "" if there is none.
func (m *Main) PrivateAddr() string {
	if m.private == nil {
		return ""
	}
	return m.private.Addr().String()
}

// Run serves until ctx ends, or until an error occurs that a restart repairs.
func (m *Main) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return runMemoryLimit(ctx) })
	g.Go(func() error { return runThreads(ctx, m.store.Head) })
	g.Go(func() error { return runSupervisor(ctx, m) })
	g.Go(func() error { return m.relay.Run(ctx) })
	g.Go(func() error { return m.upstreams.Run(ctx) })
	g.Go(func() error { return runClock(ctx, m.upstreams, m.Logger) })
	g.Go(func() error {
		select {
		case <-m.store.Dead():
			return m.store.Err()
		case <-ctx.Done():
			return nil
		}
	})
	if m.Demo != nil && m.Demo.Market != nil {
		g.Go(func() error { return ended(ctx, m.playMarket(ctx, g)) })
	} else {
		m.runReaders(ctx, g)
		m.answer(ctx, g)
	}
	err := g.Wait()
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return err
}

// runReaders starts the readers of the log, except the escrow.
func (m *Main) runReaders(ctx context.Context, g *errgroup.Group) {
	if m.index != nil {
		g.Go(func() error { return m.index.Run(ctx) })
		if m.documents != nil {
			g.Go(func() error { return m.documents.run(ctx) })
		}
	}
	if m.exports != nil {
		g.Go(func() error { return m.exports.Run(ctx) })
	}
	if m.scores != nil {
		g.Go(func() error { return ended(ctx, m.scores.Run(ctx)) })
		if m.prices != nil {
			g.Go(func() error { return ended(ctx, m.prices.Run(ctx)) })
		}
	}
}

// answer starts the escrow and the servers.
func (m *Main) answer(ctx context.Context, g *errgroup.Group) {
	if m.escrow != nil {
		m.escrow.run(ctx, g, m.Addr())
	}
	if m.alerts != nil {
		g.Go(func() error { return ended(ctx, m.alerts.service.Run(ctx)) })
	}
	g.Go(func() error { return m.operator.Run(ctx) })
	var face http.Handler = m.relay
	if m.Config.Role == roleEscrow {
		face = m.web // without websockets
	}
	face = m.Demo.marked(rated(relay.NewHTTPRates(m.relay), face))
	public := func() *http.Server {
		return &http.Server{Handler: face, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	}
	serveHTTP(ctx, g, m.public, public())
	if m.secure != nil {
		server := public()
		server.ErrorLog = slog.NewLogLogger(room.Logger(nil).Handler(), slog.LevelError) // a line for each handshake that a stranger breaks off
		serveHTTP(ctx, g, m.secure, server)
		g.Go(func() error { return m.secure.run(ctx) })
	}
	if m.private != nil {
		serveHTTP(ctx, g, m.private, &http.Server{Handler: m.Demo.marked(relay.GuardPrivate(route.Mux{}.Private(m.routes), m.Config.Relay.PrivateHosts...)), ReadHeaderTimeout: 10 * time.Second})
	}
	if m.control != nil {
		srv := &http.Server{Handler: controlHandler(m), ReadHeaderTimeout: 10 * time.Second}
		srv.RegisterOnShutdown(m.backups.cancel)
		serveHTTP(ctx, g, m.control, srv)
	}
	close(m.serving)
}

// ended returns nil if ctx has ended. An interrupted reader of the log repeats its work at
// the next start, so the interruption is not an error.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Close closes everything that Open opened, readers before the log.
func (m *Main) Close() error {
	for _, l := range []net.Listener{m.public, m.private, m.control} {
		if l != nil {
			l.Close() // Serve has closed the listener already if Run was called
		}
	}
	if m.backups != nil {
		m.backups.stop()
	}
	if m.secure != nil {
		m.secure.Close()
	}
	var readers []io.Closer
	if m.escrow != nil {
		readers = append(readers, m.escrow)
	}
	if m.alerts != nil {
		readers = append(readers, m.alerts.service)
	}
	if m.scores != nil {
		readers = append(readers, m.scores)
	}
	return m.stores.close(readers...)
}

func newServeCmd() *cobra.Command {
	var configPath, listenAt, private, data string
	var upstreams []string
	var check bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the relay, the index and the explorer",
		Long: `Run the relay, the index and the explorer until interrupted.

Without a config it listens on 127.0.0.1:7777 and keeps its data in ./data.
Precedence: flags, MOSTRODEX_SECTION_KEY variables, the config file, defaults.

SIGHUP reloads the relay's policy and the files of LND. SIGUSR2 replaces the
process by the program in its file, without a refused connection: see
docs/running.md.`,
		Example: `  mostrodex serve
  mostrodex serve -c /etc/mostrodex.toml
  mostrodex serve --listen 127.0.0.1:8080 --private 127.0.0.1:8081 --data /var/lib/mostrodex
  MOSTRODEX_RELAY_NAME="my relay" mostrodex serve`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			inherited, err := inheritedSockets()
			if err != nil {
				return usageError{err}
			}
			read := func() (Config, error) {
				cfg, err := loadConfig(configPath, os.Environ())
				if err != nil {
					return cfg, configError{err}
				}
				for flag, to := range map[string]*string{"listen": &cfg.Relay.Listen, "private": &cfg.Relay.Private, "data": &cfg.Data} {
					if cmd.Flags().Changed(flag) {
						*to = cmd.Flag(flag).Value.String()
					}
				}
				if err := cfg.validate(); err != nil {
					return cfg, usageError{err}
				}
				if err := cfg.chooseUpstreams(upstreams); err != nil {
					return cfg, usageError{err}
				}
				return cfg, nil
			}
			cfg, err := read()
			if err != nil || check {
				return err
			}
			return (&Main{Config: cfg, Reread: read, inherited: inherited}).serve(cmd.Context(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&configPath, "config", "c", "", "config file (TOML)")
	f.StringVar(&listenAt, "listen", "127.0.0.1:7777", "address of the relay, the API and the explorer")
	f.StringVar(&private, "private", "", "address of /metrics and /debug/pprof (default: none)")
	f.StringVar(&data, "data", "./data", "data directory")
	f.BoolVar(&check, "check", false, "read the configuration and end")
	f.StringArrayVar(&upstreams, "upstream", nil, "relay to follow, ws:// or wss://, may be repeated; none: follow nobody (default: "+defaultUpstreamList()+")")
	return cmd
}

// serve opens the program, prints its addresses, runs it and closes it. At a handover serve
// returns only if the new program cannot be started.
func (m *Main) serve(ctx context.Context, stderr io.Writer) error {
	m.Logger = m.Config.Log.logger(stderr)
	hangup, replace, stop := signals()
	defer stop()
	next, err := thisProgram()
	if err != nil {
		return err
	}
	if err := m.Open(); err != nil {
		return errors.Join(err, m.inherited.close())
	}
	m.logStart()
	handed, err := m.runUntilReplaced(ctx, next, hangup, replace)
	if closeErr := m.Close(); err == nil {
		err = closeErr
	}
	if handed != nil {
		defer handed.close()
		if err == nil {
			return next.become(*handed)
		}
	}
	if err == nil {
		m.Logger.Info("stopped")
	}
	return err
}

// logStart says where the program serves, and what is wrong with its configuration.
func (m *Main) logStart() {
	m.Logger.Info("serving", "url", "http://"+m.Addr()+"/", "relay", "ws://"+m.Addr()+"/", "private", m.PrivateAddr(),
		"data", m.Config.Data, "events", m.store.Head(), "live", m.store.Live(), "version", programVersion())
	if m.escrow != nil {
		m.Logger.Info("this is a Mostro", "pubkey", m.escrow.engine.Events.Pubkey, "simulated", m.Demo != nil)
	}
	if m.Demo == nil {
		warn(m.Logger, advice(&m.Config))
	} else if m.private != nil {
		m.Logger.Info("a trade can be played in the browser", "wallet", "http://"+fromHere(m.PrivateAddr())+demowallet.Path)
	}
}
