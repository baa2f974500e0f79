package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lnsim"
	"github.com/mostrodex/mostrodex/internal/demowallet"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/nbd-wtf/go-nostr"
)

// demoRelay is the demo's own relay, reached over its socket as by any client.
type demoRelay struct{ addr func() string }

// ask calls fn with a connection.
func (d demoRelay) ask(ctx context.Context, fn func(context.Context, *relayClient) error) error {
	return withTimeout(ctx, 10*time.Second, func(ctx context.Context) error {
		w, err := dialRelay(ctx, "ws://"+fromHere(d.addr()))
		if err != nil {
			return err
		}
		defer w.close()
		return fn(ctx, w)
	})
}

func (d demoRelay) Publish(ctx context.Context, evt *nostr.Event) error {
	return d.ask(ctx, func(ctx context.Context, w *relayClient) error { return w.publish(ctx, evt) })
}

func (d demoRelay) Stored(ctx context.Context, f nostr.Filter) (list []*nostr.Event, err error) {
	err = d.ask(ctx, func(ctx context.Context, w *relayClient) (err error) {
		list, err = w.stored(ctx, f)
		return err
	})
	return list, err
}

// demoPurse is the simulated wallet of the demo's visitors.
type demoPurse struct{ world *lnsim.World }

// visitorNode is the name of the node of the demo's visitors.
const visitorNode = "wallet"

func (p demoPurse) Invoice(ctx context.Context, sats int64, memo string) (string, error) {
	return p.world.Node(visitorNode).AddInvoice(ctx, sats, memo, 24*time.Hour)
}

func (p demoPurse) Pay(ctx context.Context, bolt11 string) error {
	state, err := lnsim.PayFrom(ctx, p.world, visitorNode, bolt11, 0)
	if err == nil && state == "failed" {
		err = fmt.Errorf("the payment has failed")
	}
	return err
}

func (p demoPurse) Sats() int64 { return p.world.Purse(visitorNode).WalletSats }

// openDemoWallet returns the rows of the wallet of a demo, or none.
func openDemoWallet(m *Main) ([]route.Route, error) {
	if m.Demo == nil || m.escrow == nil || m.escrow.world == nil {
		return nil, nil
	}
	w, err := demowallet.New(demowallet.Config{Relay: demoRelay{m.Addr}, Purse: demoPurse{m.escrow.world}, Node: m.escrow.pubkey,
		File: filepath.Join(m.Config.Data, "keys", "demo-wallet.json"), Notice: m.Demo.notice(), Logger: m.Logger, Now: m.Now})
	if err != nil {
		return nil, err
	}
	return w.Routes(), nil
}
