package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/audit"
	"github.com/mostrodex/mostrodex/escrow/devfee"
	"github.com/mostrodex/mostrodex/escrow/disputes"
	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/fund"
	"github.com/mostrodex/mostrodex/escrow/health"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/lnd"
	"github.com/mostrodex/mostrodex/escrow/lnsim"
	"github.com/mostrodex/mostrodex/escrow/nodecard"
	"github.com/mostrodex/mostrodex/escrow/price"
	"github.com/mostrodex/mostrodex/escrow/rating"
	"github.com/mostrodex/mostrodex/escrow/rollback"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/mostrodex/mostrodex/relay/federation"
	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/errgroup"
)

// escrowRoom is the escrow daemon with its dependencies.
type escrowRoom struct {
	engine  *escrow.Engine
	db      *escrow.DB
	feed    *commitFeed    // the same store
	auditor *audit.Auditor // compares the ledger with the node
	prices  *price.Feed    // nil: fixed prices
	lnd     *lnd.Client    // nil: a simulated node
	world   *lnsim.World   // nil: a real node
	wallet  http.Handler   // wallet of the simulated network; nil: no wallet
	relays  bool           // if set, the relays of the node's events were configured
	pubkey  string         // public key of the node
	keys    *envelope.Keys
	inbox   *disputes.Inbox
	counter *tradeCounter // counts the trades that the inbox shows
	now     func() time.Time
}

// rememberedPeers is the number of trade keys whose shared secret is cached, so that later
// messages of a trade need no Diffie-Hellman computation.
const rememberedPeers = 20_000

func (c *EscrowConfig) validate() error {
	if _, err := c.transports(); err != nil {
		return err
	}
	if _, err := c.policy(); err != nil {
		return err
	}
	switch {
	case c.Key == "":
		return errors.New("key: name the file of the node's key (make one with 'mostrodex keys new --key FILE')")
	case c.LND.Address == "":
		return errors.New("lnd.address: name LND's gRPC listener, host:port")
	case c.LND.Cert == "":
		return errors.New("lnd.cert: name LND's tls.cert")
	case c.LND.Macaroon == "":
		return errors.New("lnd.macaroon: name a macaroon file")
	case c.LND.MaxHolds < 0:
		return errors.New("lnd.max_holds: at least 0")
	case c.LND.MaxPayouts < 0 || c.LND.MaxPayoutsOf < 0:
		return errors.New("lnd.max_inflight_payouts and lnd.max_inflight_payouts_per_destination: not below 0")
	case c.LND.UnsyncedSeconds < 0 || c.LND.UnsyncedSeconds > 0 && c.LND.UnsyncedSeconds <= 60:
		return errors.New("lnd.maintenance_unsynced_seconds: more than 60, or 0")
	case c.LND.SyncedSeconds < 1:
		return errors.New("lnd.maintenance_synced_seconds: at least 1")
	case c.HealthSeconds != 0 && (time.Duration(c.HealthSeconds)*time.Second < health.MinInterval || time.Duration(c.HealthSeconds)*time.Second > health.MaxInterval):
		return errors.New("health_seconds: from 30 to 3600, or 0")
	case c.MaxPending < 1:
		return errors.New("max_pending_orders: at least 1")
	case c.Pow < 0 || c.Pow > 256 || c.PowFirstContact < 0 || c.PowFirstContact > 256:
		return errors.New("pow: not in 0..256")
	}
	if _, err := c.assistant(); err != nil {
		return err
	}
	if _, err := c.watchdog(); err != nil {
		return err
	}
	if _, err := c.Reputation.policy("", ""); err != nil {
		return fmt.Errorf("reputation: %w", err)
	}
	for _, p := range c.Prices {
		if err := c.priceSource(p).Check(); err != nil {
			return fmt.Errorf("prices: %w", err)
		}
	}
	if err := price.CheckPegged(c.Pegged); err != nil {
		return fmt.Errorf("pegged: %w", err)
	}
	return nil
}

// priceSource returns a source of the configuration. The token of El Toque is a secret, so the
// configuration names only the environment variable that holds it.
func (c *EscrowConfig) priceSource(provider string) price.HTTPSource {
	s := price.HTTPSource{Provider: provider}
	if provider == price.ElToque {
		s.Token = os.Getenv(c.ElToqueToken)
	}
	return s
}

// policy returns the operator's decisions, or an error that names the key.
func (c *EscrowConfig) policy() (escrow.Policy, error) {
	terms, err := c.terms()
	p := escrow.DefaultPolicy()
	p.Terms, p.Currencies, p.MaxPending, p.PayoutBlocks = terms, c.Currencies, c.MaxPending, c.LND.PaymentCLTV
	p.MaxHolds = c.LND.MaxHolds
	p.MaxPayouts, p.MaxPayoutsOfPayee = c.LND.MaxPayouts, c.LND.MaxPayoutsOf
	p.MaintenanceAfter, p.MaintenanceClear = time.Duration(c.LND.UnsyncedSeconds)*time.Second, time.Duration(c.LND.SyncedSeconds)*time.Second
	if err == nil {
		if err = p.Check(); err != nil {
			err = fmt.Errorf("lnd.payment_cltv_limit: %w", err)
		}
	}
	return p, err
}

func (c *EscrowConfig) terms() (trade.Terms, error) {
	t := trade.DefaultTerms()
	for name, f := range map[string]struct {
		text string
		to   *trade.Fraction
	}{"fee": {c.Fee, &t.Fee}, "dev_fee": {c.DevFee, &t.DevFee}, "lnd.max_routing_fee": {c.LND.MaxRoutingFee, &t.MaxRoutingFee}} {
		d, err := mostro.ParseDecimal(f.text)
		if err == nil {
			*f.to, err = trade.FractionOf(d)
		}
		if err != nil {
			return t, fmt.Errorf("%s: %q is not a fraction such as \"0.006\"", name, f.text)
		}
	}
	if c.MinSats <= 0 || c.MaxSats < c.MinSats {
		return t, fmt.Errorf("min_sats %d and max_sats %d are not a range", c.MinSats, c.MaxSats)
	}
	if c.OrderHours <= 0 || c.WaitSeconds < 60 {
		return t, errors.New("order_hours is at least 1, wait_seconds at least 60")
	}
	t.MinSats, t.MaxSats, t.LifeSeconds, t.WaitSeconds = c.MinSats, c.MaxSats, c.OrderHours*3600, c.WaitSeconds
	t.MinSats = t.LeastSats()
	t.MaxLifeSeconds = max(t.MaxLifeSeconds, t.LifeSeconds)
	t.CLTVBlocks, t.MarginBlocks = c.HoldBlocks, c.MarginBlocks
	if t.Overdue = trade.Overdue(c.Overdue); t.Overdue != trade.OverdueCancel && t.Overdue != trade.OverdueSettle {
		return t, fmt.Errorf("overdue: %q is neither cancel nor settle", c.Overdue)
	}
	if err := t.Check(); err != nil {
		return t, err
	}
	// LND does not report its own margin. The config repeats the margin, so the check is
	// possible before LND answers.
	if err := t.CheckNode(c.LND.HoldExpiryDelta); err != nil {
		return t, fmt.Errorf("margin_blocks: %w", err)
	}
	return t, nil
}

// policy returns the policy about the reputation of users. node and own are the node's key and
// its key for attestations, "" for none.
func (c *UserReputationConfig) policy(node, own string) (rating.Policy, error) {
	p := rating.Policy{Import: c.Import, ImportLifetime: c.ImportLifetimeSeconds, ExportLifetime: c.ExportLifetimeSeconds, PayerHistory: c.PayerDeclarations}
	for _, text := range c.Issuers {
		fields := strings.Fields(text)
		if len(fields) < 2 {
			return p, fmt.Errorf("issuers: %q is not a name and its keys", text)
		}
		issuer := rating.TrustedIssuer{Name: fields[0]}
		for _, name := range fields[1:] {
			key, err := message.ParsePubkey(name)
			if err != nil {
				return p, fmt.Errorf("issuers: %q of %s is not a public key: name an npub, or 64 hex digits", name, issuer.Name)
			}
			issuer.Keys = append(issuer.Keys, key)
		}
		p.Issuers = append(p.Issuers, issuer)
	}
	switch {
	case c.ImportLifetimeSeconds < 1 || c.ExportLifetimeSeconds < 1:
		return p, errors.New("import_lifetime_seconds and export_lifetime_seconds: at least 1")
	case c.Export && c.ExportKey == "":
		return p, errors.New("export_key: name the file of the key for attestations (make one with 'mostrodex keys new --key FILE')")
	}
	return p, p.Check(node, own)
}

// assistant returns the assistant's key in hex, or "".
func (c *EscrowConfig) assistant() (string, error) {
	if c.Assistant == "" {
		return "", nil
	}
	key, err := message.ParsePubkey(c.Assistant)
	if err != nil {
		return "", fmt.Errorf("assistant: %q is not a public key: name an npub, or 64 hex digits", c.Assistant)
	}
	return key, nil
}

// watchdog returns the watchdog's key in hex, or "".
func (c *EscrowConfig) watchdog() (string, error) {
	if c.Watchdog == "" {
		return "", nil
	}
	key, err := message.ParsePubkey(c.Watchdog)
	if err == nil {
		_, err = message.ParsePoint(key)
	}
	if err != nil {
		return "", fmt.Errorf("watchdog: %q is not a public key: name an npub, or 64 hex digits", c.Watchdog)
	}
	return key, nil
}

func (c *EscrowConfig) transports() (list []envelope.Transport, err error) {
	known := map[string]envelope.Transport{"v2": envelope.TransportV2, "v1": envelope.TransportV1, "legacy": envelope.TransportLegacy}
	for _, name := range c.Transports {
		t, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("transports: %q is none of v2, v1, legacy", name)
		}
		list = append(list, t)
	}
	if len(list) == 0 {
		return nil, errors.New("transports: name at least one of v2, v1, legacy")
	}
	return list, nil
}

// tuning changes the configuration of the escrow of a test.
type tuning func(*escrow.Config)

// openEscrow opens the daemon's store and its Lightning node, which is simulated if demo is
// set. space says when no trade may begin. If tune is not nil, it changes the configuration of the escrow before it is opened.
func openEscrow(c *Config, demo *Demo, log escrow.Log, server *relay.Server, space *lowDisk, tune tuning, with ambient) (room *escrowRoom, err error) {
	cfg := &c.Escrow
	policy, err := cfg.policy()
	if err != nil {
		return nil, err
	}
	terms := policy.Terms
	transports, err := cfg.transports()
	if err != nil {
		return nil, err
	}
	assistant, err := cfg.assistant()
	if err != nil {
		return nil, err
	}
	watchdog, err := cfg.watchdog()
	if err != nil {
		return nil, err
	}
	keys, err := loadKeys(cfg.Key)
	if err != nil {
		return nil, configError{fmt.Errorf("key: %w: name the file of the node's key in escrow.key", err)}
	}
	keys = keys.Remembering(rememberedPeers)
	if terms.MinSats > cfg.MinSats {
		with.logger.Info("escrow.min_sats is raised: smaller trades earn less than their payout may cost", "min_sats", cfg.MinSats, "least", terms.MinSats, "fee", cfg.Fee)
	}
	witness, err := cfg.witnessFile(keys.Pubkey(), os.Getenv)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(witness), 0o700); err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	var attester rating.Issuer // nil: no reputation is exported
	own := ""
	if cfg.Reputation.Export {
		key, err := loadKeys(cfg.Reputation.ExportKey)
		if err != nil {
			return nil, configError{fmt.Errorf("reputation.export_key: %w", err)}
		}
		attester, own = escrow.KeysSealer{Keys: key}, key.Pubkey()
	}
	if policy.Ratings, err = cfg.Reputation.policy(keys.Pubkey(), own); err != nil {
		return nil, fmt.Errorf("escrow.reputation: %w", err)
	}
	first := max(cfg.Pow, cfg.PowFirstContact)
	sealer := escrow.KeysSealer{Keys: keys, MailDays: policy.MailDays}
	events := escrow.EventBuilder{Pubkey: keys.Pubkey(), Name: cfg.Name, About: cfg.About, Picture: cfg.Picture, Website: cfg.Website,
		Version: programVersion(), Commit: programVersion(), Pow: cfg.Pow, PowFirstContact: first, Transports: transports}
	events.Relays = c.announced()
	room = &escrowRoom{relays: events.Relays != nil, pubkey: keys.Pubkey(), keys: keys, now: with.now}
	opened := room // a return of nil does not change opened
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.Close())
		}
	}()
	ec := escrow.Config{
		Card:   &nodecard.Card{LowDisk: space.reason},
		Policy: policy, Log: log, Publisher: escrowPublisher{server}, Addresses: effect.Services{},
		Opener: escrow.KeysOpener{Keys: keys}, Sealer: sealer, Signer: sealer, ReceiptSigner: sealer, Attester: attester,
		Prefilter: &escrow.Prefilter{Transports: transports, Pow: cfg.Pow, PowFirstContact: first},
		Events:    events, RollbackGuard: &rollback.Guard{Path: witness, Old: filepath.Join(c.Data, "escrow.witness")},
		Fund:      fund.Fund{Address: devfee.Address, Network: string(lightning.Mainnet), Service: effect.Services{}, Node: keys.Npub()},
		Assistant: assistant, HealthEvery: time.Duration(cfg.HealthSeconds) * time.Second, Watchdog: watchdog, EncryptTo: sealer.EncryptTo, Secret: trade.NodeSecretOf(keys), Logger: with.logger, Metrics: with.registry, Now: with.now,
	}
	if demo != nil {
		err = room.simulate(demo, c.Data, &ec)
	} else {
		err = room.connect(cfg, &ec)
	}
	if err != nil {
		return nil, err
	}
	ec.Vet = room.vet(terms)
	if tune != nil {
		tune(&ec)
	}
	if room.db, err = escrow.OpenDB(filepath.Join(c.Data, "escrow")); err != nil {
		return nil, err
	}
	room.feed = &commitFeed{DB: room.db}
	ec.Store = room.feed
	copied := filepath.Join(c.Data, "escrow", copiedFile)
	ec.Reconcile = ec.Reconcile || exists(copied)
	if room.engine, err = escrow.Open(ec); err != nil {
		return nil, err
	}
	// The store itself says now that it is a copy.
	if err := os.Remove(copied); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	space.knows, space.node = ec.Prefilter.Knows, keys.Pubkey()
	room.auditor = audit.New(audit.Config{Store: room.db, Node: ec.Node, Secret: ec.Secret, DevFee: room.db.DevFeeClaimed, Logger: with.logger, Metrics: with.registry, Now: with.now})
	return room, nil
}

// connect connects the escrow to LND and to prices from the network.
func (r *escrowRoom) connect(cfg *EscrowConfig, ec *escrow.Config) error {
	client, err := lnd.Open(lnd.Config{Address: cfg.LND.Address, CertFile: cfg.LND.Cert, MacaroonFile: cfg.LND.Macaroon, HoldExpiryDelta: cfg.LND.HoldExpiryDelta})
	if err != nil {
		return configError{fmt.Errorf("%w: name LND's files in escrow.lnd", err)}
	}
	r.lnd = client
	ec.Node = client
	feed := price.Config{Nodes: cfg.PriceNodes, Pegged: cfg.Pegged, Publish: cfg.PublishPrices, Logger: ec.Logger, Now: ec.Now}
	for _, p := range cfg.Prices {
		feed.Sources = append(feed.Sources, cfg.priceSource(p))
	}
	r.prices = price.New(feed)
	ec.Quote, ec.Heard, ec.Events.Rates = r.prices.Quote, r.prices.Hear, r.prices.Rates
	return nil
}

// vet returns the check of a Lightning node, which returns an error if the escrow must not
// work with that node.
func (r *escrowRoom) vet(terms trade.Terms) func(context.Context, lightning.NodeInfo) error {
	return func(ctx context.Context, info lightning.NodeInfo) error {
		if err := terms.CheckNode(info.HoldExpiryDelta); err != nil {
			return fmt.Errorf("escrow.margin_blocks: %w", err)
		}
		if r.lnd != nil {
			return r.lnd.CheckPermissions(ctx)
		}
		return nil
	}
}

// witnessFile returns the path of the rollback guard's file: the configured path, or a path
// in the state directory of the service or the user. A backup of the data directory does not
// contain that directory.
func (c *EscrowConfig) witnessFile(pubkey string, getenv func(string) string) (string, error) {
	if c.Witness != "" {
		return c.Witness, nil
	}
	name := pubkey + ".witness"
	if dir, _, _ := strings.Cut(getenv("STATE_DIRECTORY"), ":"); dir != "" {
		return filepath.Join(dir, name), nil // the state directory that systemd sets for this service
	}
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "mostrodex", name), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("witness: name a file outside of the data directory: %w", err)
	}
	return filepath.Join(home, ".local", "state", "mostrodex", name), nil
}

// escrowPublisher publishes through the relay, and reports to the escrow the events that the
// relay refuses for good.
type escrowPublisher struct{ relay *relay.Server }

func (p escrowPublisher) Publish(ctx context.Context, evt *nostr.Event) error {
	err := p.relay.Publish(ctx, evt)
	if errors.Is(err, relay.ErrRefused) {
		return fmt.Errorf("%w: %w", escrow.ErrEventRefused, err)
	}
	return err
}

// relaysOf returns a function that returns the number of other relays that receive the Mostro's
// events, and how many of them are connected.
func relaysOf(c *Config, upstreams *federation.Upstreams) func() (configured, connected int) {
	to := make(map[string]bool)
	for _, u := range c.forwardTo() {
		to[nostr.NormalizeURL(u)] = true
	}
	return func() (configured, connected int) {
		if len(to) == 0 {
			return 0, 0
		}
		for _, r := range upstreams.Health() {
			if to[nostr.NormalizeURL(r.URL)] && r.Reachable {
				connected++
			}
		}
		return len(to), connected
	}
}

// run starts the escrow's goroutines. addr is the address of our own relay.
func (r *escrowRoom) run(ctx context.Context, g *errgroup.Group, addr string) {
	if !r.relays {
		r.engine.Events.Relays = []string{"ws://" + addr}
	}
	if r.world != nil {
		g.Go(func() error { return r.world.Run(ctx, r.now) })
	}
	if r.prices != nil {
		g.Go(func() error { return r.prices.Run(ctx) })
	}
	g.Go(func() error { return r.engine.Run(ctx) })
	g.Go(func() error { return r.counter.run(ctx) })
	g.Go(func() error {
		select {
		case <-r.engine.Surveyed():
			return r.auditor.Run(ctx)
		case <-ctx.Done():
			return nil
		}
	})
}

// notes returns the lines of /readyz about the escrow: why it takes no new orders, and what
// its operator should look at. Relay, index and explorer serve without it. r may be nil.
func (r *escrowRoom) notes() (lines []string) {
	if r == nil {
		return nil
	}
	status := r.engine.Status()
	for _, why := range status.Closed {
		lines = append(lines, "escrow: no new orders: "+why)
	}
	for _, why := range slices.Concat(status.Warnings, r.auditor.Warnings()) {
		lines = append(lines, "escrow: "+why)
	}
	return lines
}

// Close closes the store and the connection to the Lightning node.
func (r *escrowRoom) Close() error {
	var errs []error
	if r.db != nil {
		errs = append(errs, r.db.Close())
	}
	if r.lnd != nil {
		errs = append(errs, r.lnd.Close())
	}
	return errors.Join(errs...)
}

// ensureKey creates a key file if the file does not exist.
func ensureKey(file string) error {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	keys, err := envelope.NewKeys(rand.Reader)
	if err != nil {
		return err
	}
	return writeSecret(file, keys.Nsec())
}

// demoPrices are invented prices of one bitcoin by currency, because a demo polls no source.
var demoPrices = map[string]float64{"USD": 100_000, "EUR": 90_000, "ARS": 140_000_000, "VES": 25_000_000, "CUP": 40_000_000, "BRL": 550_000, "COP": 400_000_000, "MXN": 1_900_000}

func demoQuote(fiat string, _ int64) trade.Quote {
	return trade.Quote{Price: demoPrices[strings.ToUpper(fiat)]}
}
