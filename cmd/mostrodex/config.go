package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/pelletier/go-toml/v2"
)

// Config holds every setting of an operator. A flag takes precedence over the environment
// (MOSTRODEX_SECTION_KEY), the environment over the file, and the file over the defaults.
// Config holds no secret: keys are given as paths of files.
type Config struct {
	Data     string           `toml:"data"` // directory of all stored data
	Role     string           `toml:"role"` // relay, index or escrow: only this part runs; "": the sections decide
	Relay    RelayConfig      `toml:"relay"`
	Upstream []UpstreamConfig `toml:"upstream"` // relays to follow; empty: the default relays
	Indexer  IndexerConfig    `toml:"indexer"`
	Export   ExportConfig     `toml:"export"`
	Escrow   EscrowConfig     `toml:"escrow"`

	Reputation ReputationConfig `toml:"reputation"`
	Alerts     AlertsConfig     `toml:"alerts"`
	Operator   OperatorConfig   `toml:"operator"`
	Log        LogConfig        `toml:"log"`
}

// RelayConfig is section [relay].
type RelayConfig struct {
	Listen         string   `toml:"listen"`           // host:port of the relay, the API and the explorer
	Private        string   `toml:"private"`          // host:port of /metrics and /debug/pprof; "": no private listener
	Name           string   `toml:"name"`             // NIP-11
	Description    string   `toml:"description"`      // NIP-11
	URL            string   `toml:"url"`              // public wss:// address; "": proofs of keys (NIP-42, NIP-98) are valid only for the listener's own address
	Domain         string   `toml:"domain"`           // host name for which the program has TLS of its own; "": no TLS
	Onion          string   `toml:"onion"`            // http://….onion address of the pages in the Tor network, named to Tor Browser (Onion-Location); "": none
	Contact        string   `toml:"contact"`          // NIP-11, e.g. mailto:
	MaxEventBytes  int      `toml:"max_event_bytes"`  // of an event's JSON; 0: relay.DefaultMaxEventBytes
	MinPow         int      `toml:"min_pow"`          // NIP-13 bits required of every event
	Kinds          []int    `toml:"kinds"`            // kinds that are admitted besides ephemeral ones, never 38388; empty: the default list
	PrivateHosts   []string `toml:"private_hosts"`    // host names that the private listener accepts, besides addresses and localhost
	ImportLocal    bool     `toml:"import_local"`     // if true, a program on this machine may import and has no rate limits; set false behind a proxy or Tor that does not name the client
	TrustedProxies []string `toml:"trusted_proxies"`  // addresses or CIDRs whose X-Forwarded-For header is trusted
	Admins         []string `toml:"admins"`           // hex public keys that may import remotely (NIP-98) and manage (NIP-86)
	BodyCacheMiB   int      `toml:"body_cache_mib"`   // memory for the JSON of live events
	DiskReserveMiB int      `toml:"disk_reserve_mib"` // free space below which no event is accepted; 0: the default; negative: no check
	MailFor        []string `toml:"mail_for"`         // hex keys; if not empty, mail is accepted only by or for these keys and known Mostros

	ACME       ACMEConfig       `toml:"acme"`
	Quota      QuotaConfig      `toml:"quota"`
	Federation FederationConfig `toml:"federation"`
}

// admitted returns the kinds that the relay accepts; nil is the default list. A list from
// before November 2026 names the keysets for blind receipts by their former kind. In that
// case the present kind is added, because without it the relay would refuse the keysets of
// its own escrow.
func (c *RelayConfig) admitted() []int {
	switch {
	case len(c.Kinds) == 0:
		return nil
	case slices.Contains(c.Kinds, mostro.KindAnnouncement) && !slices.Contains(c.Kinds, mostro.KindReceiptKeys):
		return append(slices.Clip(c.Kinds), mostro.KindReceiptKeys)
	}
	return c.Kinds
}

// IndexerConfig is section [indexer].
type IndexerConfig struct {
	Enabled bool   `toml:"enabled"`
	Publish string `toml:"publish"` // interval between publications of statistics (kind 30666), e.g. "1h"; "": none
	Key     string `toml:"key"`     // file of the key that signs them; "": DATA/keys/statistics, created at the first start
}

// every returns the interval of Publish, which is not "".
func (c *IndexerConfig) every() (time.Duration, error) {
	every, err := time.ParseDuration(c.Publish)
	if err != nil || every < 10*time.Minute {
		return 0, fmt.Errorf("indexer.publish: %q is not a duration of at least ten minutes, such as \"1h\"", c.Publish)
	}
	return every, nil
}

// ExportConfig is section [export].
type ExportConfig struct {
	Partitions bool `toml:"partitions"` // if true, the Parquet files of closed months are kept in the data directory
}

// EscrowConfig is section [escrow], which sets up the operator's own Mostro.
type EscrowConfig struct {
	Enabled         bool     `toml:"enabled"`
	Key             string   `toml:"key"` // file with the node's secret key (hex or nsec), mode 0600
	Name            string   `toml:"name"`
	About           string   `toml:"about"`
	Picture         string   `toml:"picture"`
	Website         string   `toml:"website"`
	Transports      []string `toml:"transports"`        // v2, v1, legacy
	Fee             string   `toml:"fee"`               // fraction of the amount, for both sides together, e.g. "0.006"
	DevFee          string   `toml:"dev_fee"`           // fraction of the fees for the development fund, from 0.10 to 1, e.g. "0.30"
	MinSats         int64    `toml:"min_sats"`          // minimum amount of an order
	MaxSats         int64    `toml:"max_sats"`          // maximum amount of an order
	Currencies      []string `toml:"currencies"`        // empty: all
	Pow             int      `toml:"pow"`               // NIP-13 bits required of every message
	PowFirstContact int      `toml:"pow_first_contact"` // bits required of a key that has no open trade; 0: the value of pow
	OrderHours      int64    `toml:"order_hours"`       // lifetime of an order without an expiry
	WaitSeconds     int64    `toml:"wait_seconds"`      // time limit of each duty in a waiting state
	HoldBlocks      uint32   `toml:"hold_blocks"`       // minimum number of blocks for which a seller's payment can be held
	MarginBlocks    uint32   `toml:"margin_blocks"`     // a trade must be resolved this many blocks before the hold ends; from 18 to less than hold_blocks
	Prices          []string `toml:"prices"`            // yadio, coingecko, currency_api, blockchain, eltoque
	ElToqueToken    string   `toml:"eltoque_token_env"` // name of the environment variable that holds the token of eltoque
	Pegged          []string `toml:"pegged"`            // codes quoted by their peg: USDT, USDC, DOC, BTC, LBTC, RBTC
	PriceNodes      []string `toml:"price_nodes"`       // hex keys whose published rates are used for currencies without a source
	PublishPrices   bool     `toml:"publish_prices"`
	MaxPending      int      `toml:"max_pending_orders"` // orders of one identity in the book at the same time
	// Witness is the file of the rollback guard. It stores the progress of the trades, so
	// that a restored older copy of the store is detected. The file is outside the data
	// directory and must not be part of a backup. If Witness is "", the file is in the user's
	// state directory.
	Witness string `toml:"witness"`
	// Assistant is the key (npub or hex) of a program such as Serbero, which may take disputes
	// and see their trades, and decides nothing. The key is public in the node's description.
	Assistant string `toml:"assistant"`
	// Overdue is the rule for a dispute that no solver decides in time: cancel or settle.
	Overdue string `toml:"overdue"`
	// HealthSeconds is the interval at which this Mostro publishes its health (kind 38389), from
	// 30 to 3600 seconds; 0: never.
	HealthSeconds int64 `toml:"health_seconds"`
	// Watchdog is the key (npub or hex) of a program that watches this Mostro. The details of the
	// health are encrypted to it. If empty, the health has no details.
	Watchdog string `toml:"watchdog"`

	Reputation UserReputationConfig `toml:"reputation"`

	LND     LNDConfig     `toml:"lnd"`
	Publish PublishConfig `toml:"publish"`
}

// UserReputationConfig is section [escrow.reputation]: what users may bring from other nodes,
// take to other nodes, and declare.
type UserReputationConfig struct {
	Import bool `toml:"import"`
	// Issuers are the nodes whose attestations are imported: a name and one or more keys (npub
	// or hex), separated by spaces. Imports are recorded under the name, so it must not change.
	Issuers               []string `toml:"issuers"`
	ImportLifetimeSeconds int64    `toml:"import_lifetime_seconds"` // longest life of an attestation that is imported; at most 30 days
	Export                bool     `toml:"export"`
	ExportKey             string   `toml:"export_key"`              // file with the key that signs attestations, mode 0600; not the node's key
	ExportLifetimeSeconds int64    `toml:"export_lifetime_seconds"` // life of an attestation of this node; at most 7 days
	PayerDeclarations     bool     `toml:"payer_declarations"`      // buyers may declare the hash of the fiat account that they pay from
}

// PublishConfig is section [escrow.publish].
type PublishConfig struct {
	Relays []string `toml:"relays"` // relays that receive this Mostro's events, besides relay.federation.forward
}

// LNDConfig is section [escrow.lnd].
type LNDConfig struct {
	Address       string `toml:"address"`         // host:port of the gRPC listener
	Cert          string `toml:"cert"`            // file: tls.cert
	Macaroon      string `toml:"macaroon"`        // file
	MaxRoutingFee string `toml:"max_routing_fee"` // fraction of a payout, e.g. "0.002"
	// HoldExpiryDelta repeats LND's own setting invoices.holdexpirydelta, which LND does not
	// report. LND cancels a held payment by itself this many blocks before its expiry.
	HoldExpiryDelta uint32 `toml:"hold_expiry_delta"`
	MaxHolds        int    `toml:"max_holds"`                            // payments held for trades, above which no order can be taken; 0: no limit
	MaxPayouts      int    `toml:"max_inflight_payouts"`                 // payouts in flight; more payouts wait; 0: no limit
	MaxPayoutsOf    int    `toml:"max_inflight_payouts_per_destination"` // the same to one Lightning node
	UnsyncedSeconds int64  `toml:"maintenance_unsynced_seconds"`         // unsynced so long, LND causes maintenance; 0: never
	SyncedSeconds   int64  `toml:"maintenance_synced_seconds"`           // synced so long, LND ends that maintenance
	PaymentCLTV     uint32 `toml:"payment_cltv_limit"`                   // blocks for which a payout may be locked, over all hops; 0: LND's own limit
}

func defaultConfig() Config {
	return Config{
		Data: "./data",
		Relay: RelayConfig{Listen: "127.0.0.1:7777", Name: "mostrodex", BodyCacheMiB: 256, ImportLocal: true,
			Federation: FederationConfig{Discover: defaultDiscover}},
		Indexer:    IndexerConfig{Enabled: true},
		Alerts:     AlertsConfig{Webhooks: true, PerKey: 10, InAll: 10_000, PerHour: 30, PerMinute: 600, Days: 30},
		Operator:   OperatorConfig{RepeatHours: 4, PerHour: 30, MarginBlocks: 12, PayoutMinutes: 30, OutboxMinutes: 10, BackupHours: 26},
		Log:        LogConfig{Format: "text"},
		Export:     ExportConfig{Partitions: true},
		Reputation: ReputationConfig{Enabled: true, Every: "10m", Publish: true},
		Escrow: EscrowConfig{Transports: []string{"v2"}, ElToqueToken: "ELTOQUE_TOKEN", Fee: "0.006", DevFee: "0.30", MinSats: 100, MaxSats: 1_000_000, OrderHours: 24, WaitSeconds: 900, HoldBlocks: 144, MarginBlocks: 24,
			Prices: []string{"yadio", "coingecko", "blockchain", "currency_api"}, PublishPrices: true, MaxPending: 20, Overdue: "cancel", HealthSeconds: 60, Reputation: UserReputationConfig{ImportLifetimeSeconds: 604800, ExportLifetimeSeconds: 604800}, LND: LNDConfig{MaxRoutingFee: "0.002", HoldExpiryDelta: 18, PaymentCLTV: 1008, MaxHolds: 400, MaxPayouts: 100, MaxPayoutsOf: 10, UnsyncedSeconds: 600, SyncedSeconds: 300}},
	}
}

// loadConfig applies the defaults, then the file (unless path is ""), then the environment in
// environ.
func loadConfig(path string, environ []string) (Config, error) {
	cfg := defaultConfig()
	if path != "" {
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return cfg, fmt.Errorf("there is no config file %s", path)
		}
		if err != nil {
			return cfg, fmt.Errorf("read the config: %w", err)
		}
		if err := decodeConfig(b, &cfg); err != nil {
			return cfg, fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := applyEnviron(&cfg, environ); err != nil {
		return cfg, err
	}
	cfg.Relay.applyDomain()
	return cfg, cfg.settle()
}

// settle applies the role and validates.
func (c *Config) settle() error {
	if err := c.applyRole(); err != nil {
		return err
	}
	return c.validate()
}

// decodeConfig is strict: it returns an error if the file has an unknown key.
func decodeConfig(b []byte, cfg *Config) error {
	d := toml.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	err := d.Decode(cfg)
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		var keys []string
		for _, e := range strict.Errors {
			row, _ := e.Position()
			key := strings.Join(e.Key(), ".")
			if key == "escrow.i_know_disputes_are_unsolved" { // a key until November 2026
				key += " (delete the line: solvers, the operator or a rule end every dispute now)"
			} else if meant := nearestKey(key); meant != "" {
				key += " (is " + meant + " meant?)"
			}
			keys = append(keys, fmt.Sprintf("line %d: %s", row, key))
		}
		return fmt.Errorf("unknown keys: %s", strings.Join(keys, ", "))
	}
	var at *toml.DecodeError
	if errors.As(err, &at) {
		row, col := at.Position()
		return fmt.Errorf("line %d, column %d: %w", row, col, err)
	}
	return err
}

const envPrefix = "MOSTRODEX_"

// applyEnviron sets MOSTRODEX_DATA and MOSTRODEX_SECTION_KEY. Commas separate the entries of
// a list. A variable with the prefix MOSTRODEX_ that names no key is an error, except for the
// variables of tests and tools (MOSTRODEX_SHARED, MOSTRODEX_INTEROP_*).
func applyEnviron(cfg *Config, environ []string) error {
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) || name == "MOSTRODEX_SHARED" || strings.HasPrefix(name, "MOSTRODEX_INTEROP_") {
			continue
		}
		field, ok := fieldFor(reflect.ValueOf(cfg).Elem(), strings.ToLower(strings.TrimPrefix(name, envPrefix)))
		if !ok {
			return fmt.Errorf("environment: %s names no key of the config", name)
		}
		if err := setField(field, value); err != nil {
			return fmt.Errorf("environment: %s: %w", name, err)
		}
	}
	return nil
}

// fieldFor returns the field of a lower-case path such as "data" or "relay_listen".
func fieldFor(v reflect.Value, path string) (reflect.Value, bool) {
	for i := range v.NumField() {
		key := v.Type().Field(i).Tag.Get("toml")
		if v.Field(i).Kind() == reflect.Struct {
			if rest, ok := strings.CutPrefix(path, key+"_"); ok {
				return fieldFor(v.Field(i), rest)
			}
		} else if key == path {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

func setField(v reflect.Value, s string) error {
	switch v.Interface().(type) {
	case string:
		v.SetString(s)
	case int, int64:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", s)
		}
		v.SetInt(n)
	case uint32:
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return fmt.Errorf("%q is not a whole number, 0 or more", s)
		}
		v.SetUint(n)
	case bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", s)
		}
		v.SetBool(b)
	case []string:
		v.Set(reflect.ValueOf(splitList(s)))
	case []int:
		var ns []int
		for _, part := range splitList(s) {
			n, err := strconv.Atoi(part)
			if err != nil {
				return fmt.Errorf("%q is not a whole number", part)
			}
			ns = append(ns, n)
		}
		v.Set(reflect.ValueOf(ns))
	default:
		return fmt.Errorf("cannot be set from the environment")
	}
	return nil
}

func splitList(s string) (list []string) {
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// validate returns an error that names the key if a value is invalid.
func (c *Config) validate() error {
	if c.Data == "" {
		return errors.New("data: name a directory")
	}
	if _, _, err := net.SplitHostPort(c.Relay.Listen); err != nil {
		return fmt.Errorf("relay.listen: %q is not host:port", c.Relay.Listen)
	}
	if c.Indexer.Publish != "" {
		if _, err := c.Indexer.every(); err != nil {
			return err
		}
	}
	if c.Relay.Private != "" {
		if _, _, err := net.SplitHostPort(c.Relay.Private); err != nil {
			return fmt.Errorf("relay.private: %q is not host:port", c.Relay.Private)
		}
	}
	if u := c.Relay.URL; u != "" && !strings.HasPrefix(u, "wss://") && !strings.HasPrefix(u, "ws://") {
		return fmt.Errorf("relay.url: %q does not begin with wss:// or ws://", u)
	}
	if err := c.Relay.checkDomain(); err != nil {
		return err
	}
	if c.Relay.Onion != "" {
		if err := checkOnion(c.Relay.Onion); err != nil {
			return err
		}
	}
	if c.Relay.MinPow < 0 || c.Relay.MinPow > 256 {
		return fmt.Errorf("relay.min_pow: %d is not in 0..256", c.Relay.MinPow)
	}
	if c.Relay.MaxEventBytes < 0 || c.Relay.MaxEventBytes > relay.LargestMaxEventBytes {
		return fmt.Errorf("relay.max_event_bytes: %d is not in 0..%d", c.Relay.MaxEventBytes, relay.LargestMaxEventBytes)
	}
	for _, k := range c.Relay.Kinds {
		if k < 0 || k > 65535 {
			return fmt.Errorf("relay.kinds: %d is not in 0..65535", k)
		}
	}
	for _, a := range c.Relay.Admins {
		if len(a) != 64 || strings.Trim(a, "0123456789abcdef") != "" {
			return fmt.Errorf("relay.admins: %q is not a public key in lower-case hex", a)
		}
	}
	if err := c.validateUpstreams(); err != nil {
		return err
	}
	if c.Escrow.Enabled {
		if err := c.Escrow.validate(); err != nil {
			return fmt.Errorf("escrow.%w", err)
		}
	}
	if err := c.Reputation.validate(); err != nil {
		return fmt.Errorf("reputation.%w", err)
	}
	if err := c.Alerts.validate(c.Indexer.Enabled); err != nil {
		return fmt.Errorf("alerts.%w", err)
	}
	if err := c.Operator.validate(); err != nil {
		return fmt.Errorf("operator.%w", err)
	}
	if c.Role == roleEscrow && c.Operator.Nostr != "" && len(c.Operator.NostrRelays) == 0 {
		return errors.New("operator.nostr_relays: name a relay for the private messages, because an escrow alone serves none")
	}
	if err := c.Log.validate(); err != nil {
		return fmt.Errorf("log.%w", err)
	}
	_, err := c.proxies()
	return err
}

// proxies parses relay.trusted_proxies.
func (c *Config) proxies() (list []netip.Prefix, err error) {
	for _, s := range c.Relay.TrustedProxies {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return nil, fmt.Errorf("relay.trusted_proxies: %q is neither an address nor a CIDR", s)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		list = append(list, p)
	}
	return list, nil
}
