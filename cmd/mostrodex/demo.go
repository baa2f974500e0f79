package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/lnsim"
	"github.com/spf13/cobra"
)

// Demo makes the Mostro use a simulated Lightning network.
type Demo struct {
	Seed uint64 // seed of the simulation
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
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Serve, with a Mostro of one's own on a simulated Lightning network",
		Long: `Run the relay, the index, the explorer and one Mostro whose Lightning network is
simulated, so that any client can trade on one machine. No sat is real, prices
are invented, and nobody trades by himself.

The private listener offers a simulated wallet in JSON:
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
			cfg.Relay.Name = "mostrodex demo"
			if err := cfg.validate(); err != nil {
				return usageError{err}
			}
			m, err := demoMain(cfg, seed)
			if err != nil {
				return err
			}
			return m.serve(cmd.Context(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&listenAt, "listen", "127.0.0.1:7777", "address of the relay, the API and the explorer")
	f.StringVar(&private, "private", "127.0.0.1:7779", "address of the simulated wallet, /metrics and /debug/pprof")
	f.StringVar(&data, "data", "./demo-data", "data directory")
	f.Uint64Var(&seed, "seed", 1, "seed of the simulated network")
	return cmd
}

// demoMain returns a program with a Mostro on the simulator, with all three transports and a
// key of its own.
func demoMain(cfg Config, seed uint64) (*Main, error) {
	cfg.Escrow.Enabled = true
	cfg.Escrow.Name = "Mostrodex demo"
	cfg.Escrow.About = "A Mostro on a simulated Lightning network: no sat here is real"
	cfg.Escrow.Transports = []string{"v2", "v1", "legacy"}
	cfg.Escrow.Witness = filepath.Join(cfg.Data, "escrow.witness") // a demo is deleted with one directory, and holds no real money
	cfg.Escrow.Key = filepath.Join(cfg.Data, "keys", "mostro.key")
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("create %s: %w", cfg.Data, err)
	}
	if err := ensureKey(cfg.Escrow.Key); err != nil {
		return nil, fmt.Errorf("the demo's key: %w", err)
	}
	return &Main{Config: cfg, Demo: &Demo{Seed: seed}}, nil
}
