package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/lnsim"
	"github.com/mostrodex/mostrodex/internal/demomarket"
	"github.com/spf13/cobra"
)

// Demo makes the Mostro use a simulated Lightning network. Every page says that the program is a
// demo. Only the verb demo sets it: no key of the configuration and no flag of another verb does.
type Demo struct {
	Seed   uint64      // seed of the simulation
	Market *demoMarket // nil: there are no traders, and the clock is the real time
}

// These are the initial balances of the demo's two nodes, in sats.
const (
	demoNodeSats   = 10_000_000
	demoWalletSats = 10_000_000
)

// simulate connects the escrow to a simulated network of two nodes: the Mostro's node, and a
// wallet that any client may use over the private listener. Both survive a restart, because
// the simulated network is stored in a file beside the trades.
func (r *escrowRoom) simulate(demo *Demo, data string, ec *escrow.Config) error {
	world, err := lnsim.Open(lnsim.Config{Seed: demo.Seed, Now: ec.Now()}, filepath.Join(data, "lnsim.json"))
	if err != nil {
		return err
	}
	for name, sats := range map[string]int64{"mostro": demoNodeSats, "wallet": demoWalletSats} {
		if world.Node(name) == nil {
			world.AddNode(name, sats)
		}
	}
	world.AdvanceTo(ec.Now())
	r.world, r.wallet = world, world.Wallet("wallet")
	ec.Node, ec.Quote = world.Node("mostro"), demoQuote
	return nil
}

func newDemoCmd() *cobra.Command {
	var listenAt, private, data string
	var seed uint64
	var days int
	var speed float64
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Serve, with a Mostro of one's own on a simulated Lightning network",
		Long: `Run the relay, the index, the explorer and one Mostro whose Lightning network is
simulated, so that any client can trade on one machine. No sat is real.

Around the Mostro is an invented market: five other Mostros of different quality,
two other platforms and forty traders. The first start plays its last days, as if
the relay had received every event in its time, and then opens the doors. All of
the process is on one clock, which is never ahead of the real time. At --speed 1
the clock is the real time from then on, so that real clients can trade at once. A
higher speed begins further back and meets the real time after an hour; until then
events of real clients are refused, because they come from the clock's future.

The private listener has pages at /wallet on which a visitor plays both sides of a
trade, and offers a simulated wallet in JSON:
  POST /lnsim/invoice  {"amount_sats":1000,"memo":"payout"}  -> {"bolt11":"..."}
  POST /lnsim/pay      {"bolt11":"..."}                      -> {"state":"accepted"}
  POST /lnsim/blocks   {"n":6}                               -> {"height":506}
  GET  /lnsim/balance                                        -> {"wallet_sats":..,"node_sats":..,"held_sats":..}`,
		Example: `  mostrodex demo
  mostrodex demo --listen 127.0.0.1:8080 --private 127.0.0.1:8081 --data /tmp/demo
  curl -s 127.0.0.1:7779/lnsim/balance`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg := defaultConfig()
			cfg.Data, cfg.Relay.Listen, cfg.Relay.Private = data, listenAt, private
			if err := cfg.validate(); err != nil {
				return usageError{err}
			}
			if days < 0 || days > maxDemoDays {
				return usagef("--days %d is not in 0..%d", days, maxDemoDays)
			}
			if !(speed >= 1 && speed <= maxDemoSpeed) {
				return usagef("--speed %v is not in 1..%d", speed, maxDemoSpeed)
			}
			m, err := demoMain(cfg, seed, days, speed)
			if err != nil {
				return err
			}
			if m.Demo.Market != nil {
				m.Demo.Market.progress = cmd.ErrOrStderr()
			}
			return m.serve(cmd.Context(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&listenAt, "listen", "127.0.0.1:7777", "address of the relay, the API and the explorer")
	f.StringVar(&private, "private", "127.0.0.1:7779", "address of the simulated wallet, /metrics and /debug/pprof")
	f.StringVar(&data, "data", "./demo-data", "data directory")
	f.Uint64Var(&seed, "seed", 1, "seed of the simulated network and market")
	f.IntVar(&days, "days", 40, "days of the market that are played at the first start; 0: no market")
	f.Float64Var(&speed, "speed", 1, "speed of the clock after that, until it meets the real time")
	return cmd
}

// These are the bounds of --days and --speed.
const (
	maxDemoDays  = 400
	maxDemoSpeed = 600
)

// demoMain returns a program with a Mostro on the simulator, with all three transports and a
// key of its own. If days is above 0, a market of so many days is around the Mostro.
func demoMain(cfg Config, seed uint64, days int, speed float64) (*Main, error) {
	cfg.Relay.Name = "mostrodex demo (simulated)"
	cfg.Relay.Description = demoNotice
	cfg.Upstream, cfg.Relay.Federation = nil, FederationConfig{} // a demo speaks with no other relay
	cfg.Alerts.Enabled, cfg.Alerts.Webhooks = true, false        // alerts come as messages to the demo itself
	cfg.Escrow.Enabled = true
	cfg.Escrow.Name = "Mostrodex demo"
	cfg.Escrow.About = "A Mostro on a simulated Lightning network: no sat here is real"
	cfg.Escrow.Transports = []string{"v2", "v1", "legacy"}
	cfg.Escrow.Witness = filepath.Join(cfg.Data, "escrow.witness") // a demo is deleted with one directory, and holds no real money
	cfg.Escrow.Key = filepath.Join(cfg.Data, "keys", "mostro.key")
	market, err := openMarket(cfg.Data, cfg.Relay.Listen, seed, days, speed, time.Now())
	if err != nil {
		return nil, err
	}
	if err := ensureKey(cfg.Escrow.Key); err != nil {
		return nil, fmt.Errorf("the demo's key: %w", err)
	}
	m := &Main{Demo: &Demo{Seed: seed, Market: market}}
	if market != nil {
		m.Now = market.clock.Now
		cfg.Reputation.Funds = []string{demomarket.Fund(market.state.Seed)}
	}
	m.Config = cfg
	return m, nil
}
