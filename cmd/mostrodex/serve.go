package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/price"
	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/mostrodex/mostrodex/relay/eventlog"
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
	Log    *slog.Logger
	Now    func() time.Time // nil: time.Now
	Demo   *Demo            // nil: the escrow, if enabled, uses LND

	bulk      bool          // opened to import a file
	serving   chan struct{} // closed when the listeners answer; nil without listeners
	store     *eventlog.Store
	index     *indexer.Index // nil if disabled
	relay     *relay.Server
	upstreams *federation.Upstreams
	registry  *prometheus.Registry
	public    net.Listener
	private   net.Listener
	control   net.Listener        // the operator's socket; nil without an escrow
	escrow    *escrowRoom         // nil when disabled
	addresses escrow.Addresses    // nil: of the network; a test's are on loopback
	scores    *reputation.Service // nil when disabled
	prices    *price.Feed         // of reputation.prices; nil: none are named
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
	if m.Log == nil {
		m.Log = slog.New(slog.DiscardHandler)
	}
	if m.Now == nil {
		m.Now = time.Now
	}
	defer easeOpening()()
	m.serving = make(chan struct{})
	m.registry = prometheus.NewRegistry()
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	if err := m.openStores(); err != nil {
		return err
	}
	proxies, err := m.Config.proxies()
	if err != nil {
		return err
	}
	cfg := relay.Config{
		Store:    m.store,
		Fallback: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.web.ServeHTTP(w, r) }),
		Policy:   relay.Policy{MaxEventBytes: m.Config.Relay.MaxEventBytes, MinPow: m.Config.Relay.MinPow},
		Name:     m.Config.Relay.Name, Description: m.Config.Relay.Description, Contact: m.Config.Relay.Contact,
		URL: m.Config.Relay.URL, Version: programVersion(), TrustedProxies: proxies, Admins: m.Config.Relay.Admins,
		NobodyIsLocal: !m.Config.Relay.ImportLocal,
		Registerer:    m.registry, Log: m.Log, Now: m.Now,
	}
	cfg.Policy.Kinds = m.Config.Relay.admitted()
	if m.index != nil {
		cfg.Search = m.index
	}
	if m.Config.Reputation.Enabled {
		if m.scores, err = m.openReputation(publisher{m}); err != nil {
			return fmt.Errorf("reputation: %w", err)
		}
		if err := m.scores.Register(m.registry); err != nil {
			return err
		}
		if err := m.openPrices(); err != nil {
			return fmt.Errorf("reputation: prices: %w", err)
		}
	}
	m.federate(&cfg)
	if m.relay, err = relay.New(cfg); err != nil {
		return err
	}
	if err := m.openUpstreams(); err != nil {
		return err
	}
	if m.Config.Escrow.Enabled {
		if m.escrow, err = m.openEscrow(); err != nil {
			return fmt.Errorf("escrow: %w", err)
		}
		if m.control, err = listenControl(m.Config.Data); err != nil {
			return err
		}
	}
	if err := m.openRoutes(); err != nil {
		return err
	}
	if m.public, err = listen(m.Config.Relay.Listen, "--listen"); err != nil {
		return err
	}
	m.public = m.bound(m.public, proxies)
	if m.Config.Relay.Private != "" {
		m.private, err = listen(m.Config.Relay.Private, "--private")
	}
	return err
}

func listen(addr, flag string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w: stop what listens there, or choose another address with %s", err, flag)
	}
	return l, nil
}

// bound limits the connections of a listener, so that file descriptors remain for files. The
// limit per address does not apply to loopback and trusted proxies, because such an address
// carries the connections of many clients.
func (m *Main) bound(l net.Listener, proxies []netip.Prefix) net.Listener {
	exempt := func(ip netip.Addr) bool {
		return ip.IsLoopback() || slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(ip) })
	}
	perAddress := m.Config.Relay.Quota.ConnectionsPerIP
	if perAddress == 0 {
		perAddress = relay.DefaultConnsPerIP
	}
	return relay.BoundListener(l, maxConnections(), perAddress, exempt)
}

// maxConnections returns the limit of connections, which leaves half of the descriptors, at
// most 1,024, to files.
func maxConnections() int {
	limit := descriptorLimit()
	return limit - min(limit/2, 1024)
}

// openStores opens the log and its readers. The verbs on a data directory need no more.
func (m *Main) openStores() (err error) {
	budget := m.Config.Relay.BodyCacheMiB << 20
	if budget == 0 {
		budget = -1
	}
	metrics := eventlog.NewMetrics()
	m.store, err = eventlog.Open(eventlog.Config{Dir: m.Config.Data, Bulk: m.bulk, BodyCache: budget, Now: m.Now, Logger: m.Log, Metrics: metrics, Settled: m.serving,
		DiskReserve: int64(m.Config.Relay.DiskReserveMiB) << 20,
		Progress:    func(n int) { m.Log.Info("loading the live index", "events", n) }})
	if err != nil {
		return err
	}
	m.registry.MustRegister(metrics.Collectors(m.store)...)
	if !m.Config.Indexer.Enabled {
		return nil
	}
	m.index, err = indexer.Open(indexer.Config{Dir: m.Config.Data, Log: m.store, Events: m.store, Rules: rulesOf{m}, Prices: ownPrices{m}, Logger: m.Log, Now: m.Now})
	if err != nil {
		return err
	}
	return m.index.Register(m.registry)
}

// rulesOf lets the index query the relay's rules. The relay is created after the index. The
// verbs on a data directory have no rules and show all events.
type rulesOf struct{ *Main }

func (m rulesOf) Hidden() (version uint64, never, onDemand, events map[[32]byte]struct{}) {
	if m.relay == nil {
		return 0, nil, nil, nil
	}
	return m.relay.Moderated()
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
	g.Go(func() error { return tendMemory(ctx) })
	g.Go(func() error { return tendThreads(ctx, m.store.Head) })
	g.Go(func() error { return m.relay.Run(ctx) })
	g.Go(func() error { return m.upstreams.Run(ctx) })
	if m.index != nil {
		g.Go(func() error { return m.index.Run(ctx) })
	}
	if m.scores != nil {
		g.Go(func() error { return ended(ctx, m.scores.Run(ctx)) })
		if m.prices != nil {
			g.Go(func() error { return ended(ctx, m.prices.Run(ctx)) })
		}
	}
	if m.escrow != nil {
		m.escrow.run(ctx, g, m.Addr())
	}
	g.Go(func() error {
		select {
		case <-m.store.Dead():
			return m.store.Err()
		case <-ctx.Done():
			return nil
		}
	})
	serveHTTP(ctx, g, m.public, &http.Server{Handler: rated(relay.NewHTTPRates(m.relay), m.relay), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10})
	if m.private != nil {
		serveHTTP(ctx, g, m.private, &http.Server{Handler: relay.GuardPrivate(route.Mux{}.Private(m.routes), m.Config.Relay.PrivateHosts...), ReadHeaderTimeout: 10 * time.Second})
	}
	if m.control != nil {
		serveHTTP(ctx, g, m.control, &http.Server{Handler: m.escrow.controlHandler(), ReadHeaderTimeout: 10 * time.Second})
	}
	close(m.serving)
	err := g.Wait()
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return err
}

// serveHTTP runs a server until ctx ends. Requests in progress get three seconds to end.
func serveHTTP(ctx context.Context, g *errgroup.Group, l net.Listener, srv *http.Server) {
	g.Go(func() error {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		if err := srv.Shutdown(grace); err != nil {
			return srv.Close()
		}
		return nil
	})
}

// closeLook is how long closing may take before the data directory is looked at.
const closeLook = 3 * time.Second

// Close closes everything that Open opened, readers before the log. Badger retries the write
// of its tables without end. If the data directory accepts no writes, for example on a disk
// that became read-only, Close returns an error and leaves the stores as after a crash.
func (m *Main) Close() error {
	if m.store != nil {
		m.store.GiveUpRoom() // the reserve is for the writes of the other stores when they close
	}
	for _, l := range []net.Listener{m.public, m.private, m.control} {
		if l != nil {
			l.Close() // Serve has closed the listener already if Run was called
		}
	}
	closed := make(chan error, 1)
	go func() { closed <- m.closeStores() }()
	look := time.NewTicker(closeLook)
	defer look.Stop()
	for {
		select {
		case err := <-closed:
			return err
		case <-look.C:
			if err := takesWrites(m.Config.Data); err != nil {
				return fmt.Errorf("the stores are left as they are, and finished at the next start: %w", err)
			}
		}
	}
}

func (m *Main) closeStores() error {
	var errs []error
	if m.escrow != nil {
		errs = append(errs, m.escrow.close())
	}
	if m.scores != nil {
		errs = append(errs, m.scores.Close())
	}
	if m.index != nil {
		errs = append(errs, m.index.Close())
	}
	if m.store != nil {
		errs = append(errs, m.store.Close())
	}
	return errors.Join(errs...)
}

// takesWrites returns the error of creating a file in dir, or nil.
func takesWrites(dir string) error {
	f, err := os.CreateTemp(dir, ".look-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func newServeCmd() *cobra.Command {
	var configPath, listenAt, private, data string
	var upstreams []string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the relay, the index and the explorer",
		Long: `Run the relay, the index and the explorer until interrupted.

Without a config it listens on 127.0.0.1:7777 and keeps its data in ./data.
Precedence: flags, MOSTRODEX_SECTION_KEY variables, the config file, defaults.`,
		Example: `  mostrodex serve
  mostrodex serve -c /etc/mostrodex.toml
  mostrodex serve --listen 127.0.0.1:8080 --private 127.0.0.1:8081 --data /var/lib/mostrodex
  MOSTRODEX_RELAY_NAME="my relay" mostrodex serve`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(configPath, os.Environ())
			if err != nil {
				return err
			}
			for flag, to := range map[string]*string{"listen": &cfg.Relay.Listen, "private": &cfg.Relay.Private, "data": &cfg.Data} {
				if cmd.Flags().Changed(flag) {
					*to = cmd.Flag(flag).Value.String()
				}
			}
			if err := cfg.validate(); err != nil {
				return usageError{err}
			}
			if err := cfg.chooseUpstreams(upstreams); err != nil {
				return usageError{err}
			}
			return (&Main{Config: cfg}).serve(cmd.Context(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&configPath, "config", "c", "", "config file (TOML)")
	f.StringVar(&listenAt, "listen", "127.0.0.1:7777", "address of the relay, the API and the explorer")
	f.StringVar(&private, "private", "", "address of /metrics and /debug/pprof (default: none)")
	f.StringVar(&data, "data", "./data", "data directory")
	f.StringArrayVar(&upstreams, "upstream", nil, "relay to follow, ws:// or wss://, may be repeated; none: follow nobody (default: "+defaultUpstreamList()+")")
	return cmd
}

// serve opens the program, prints its addresses, runs it and closes it.
func (m *Main) serve(ctx context.Context, stderr io.Writer) error {
	m.Log = slog.New(slog.NewTextHandler(stderr, nil))
	if err := m.Open(); err != nil {
		return err
	}
	m.Log.Info("serving", "url", "http://"+m.Addr()+"/", "relay", "ws://"+m.Addr()+"/", "private", m.PrivateAddr(),
		"data", m.Config.Data, "events", m.store.Head(), "live", m.store.Live(), "version", programVersion())
	if m.escrow != nil {
		m.Log.Info("this is a Mostro", "pubkey", m.escrow.engine.Events.Pubkey, "simulated", m.Demo != nil)
	}
	err := m.Run(ctx)
	if closeErr := m.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		m.Log.Info("stopped")
	}
	return err
}
