// Package lndtest runs real Lightning nodes for tests: one btcd on a regression
// test network of its own, and three LND nodes with two channels,
//
//	seller ── mostro ── buyer
//
// all on loopback, in a temporary directory. The programs are built by
// `make lnd` and found in the user's cache; tests that need them call Require,
// which skips while they are absent.
package lndtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// Version is the LND that tools/lnd pins.
const Version = "v0.21.2-beta"

const (
	// ChannelSats is the size of each channel; half of it is on either side.
	ChannelSats = 16_000_000
	// walletSats is what a node that opens a channel gets on chain.
	walletSats = 50_000_000
	// bootBlocks is what it takes until segwit is active: three periods of 144
	// blocks, and a few more.
	bootBlocks = 440
)

// Binaries gives the directory that holds lnd and btcd: MOSTRODEX_LND_DIR, or
// the user's cache. ok is false while either of them is missing.
func Binaries() (dir string, ok bool) {
	dir = os.Getenv("MOSTRODEX_LND_DIR")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", false
		}
		dir = filepath.Join(cache, "mostrodex", "lnd-"+Version)
	}
	for _, name := range []string{"lnd", "btcd"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode()&0o111 == 0 {
			return dir, false
		}
	}
	return dir, true
}

// Require skips the test when there are no real nodes to run it with, and says
// so loudly. The nodes take 15 to 30 seconds to come up, so -short skips too.
func Require(tb testing.TB) {
	tb.Helper()
	if testing.Short() {
		tb.Skip("SKIPPED: real Lightning nodes are not started with -short")
	}
	if dir, ok := Binaries(); !ok {
		tb.Skipf("SKIPPED: no lnd and btcd in %s: run `make lnd` (once, about seven minutes)", dir)
	}
}

// Network is three nodes and their chain.
type Network struct {
	Mostro *Node // in the middle
	Seller *Node // has a channel to Mostro
	Buyer  *Node // has a channel from Mostro

	chain *chain
	logf  func(format string, args ...any)
}

// Start calls Require and Open, and closes the network when the test ends.
func Start(tb testing.TB) *Network {
	tb.Helper()
	return StartIn(tb, tb.TempDir())
}

// StartIn is Start under a directory of the caller's. The data of the Mostro's
// node lie in its folder "mostro".
func StartIn(tb testing.TB, dir string) *Network {
	tb.Helper()
	Require(tb)
	ctx, cancel := context.WithTimeout(tb.Context(), 3*time.Minute)
	defer cancel()
	n, err := Open(ctx, dir, tb.Logf)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := n.Close(); err != nil {
			tb.Error(err)
		}
	})
	return n
}

// StartNode calls Require and starts one node without channels, the Mostro of
// the network that is returned. The data of the node lie under dir.
func StartNode(tb testing.TB, dir string) *Network {
	tb.Helper()
	Require(tb)
	ctx, cancel := context.WithTimeout(tb.Context(), 2*time.Minute)
	defer cancel()
	n := &Network{logf: tb.Logf}
	tb.Cleanup(func() {
		if err := n.Close(); err != nil {
			tb.Error(err)
		}
	})
	bin, _ := Binaries()
	var err error
	if n.chain, err = startChain(ctx, bin, filepath.Join(tb.TempDir(), "btcd")); err != nil {
		tb.Fatalf("btcd: %v", err)
	}
	// Two blocks are enough for a node without channels to be in sync.
	if err := n.chain.mine(ctx, 2); err != nil {
		tb.Fatalf("mine: %v", err)
	}
	if n.Mostro, err = newNode(bin, filepath.Join(dir, "mostro"), "mostro", n.chain); err != nil {
		tb.Fatal(err)
	}
	if err := n.Mostro.Start(ctx); err != nil {
		tb.Fatalf("mostro: %v", err)
	}
	return n
}

// Open starts everything under dir and returns once a payment can go from
// Seller to Buyer. The processes end with Close, or with the calling process.
func Open(ctx context.Context, dir string, logf func(string, ...any)) (_ *Network, err error) {
	bin, ok := Binaries()
	if !ok {
		return nil, fmt.Errorf("no lnd and btcd in %s", bin)
	}
	began := time.Now()
	n := &Network{logf: logf}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	if n.chain, err = startChain(ctx, bin, filepath.Join(dir, "btcd")); err != nil {
		return nil, fmt.Errorf("btcd: %w", err)
	}
	// Before the nodes start: each then finds its chain complete.
	if err := n.chain.mine(ctx, bootBlocks); err != nil {
		return nil, fmt.Errorf("mine: %w", err)
	}
	logf("btcd up with %d blocks after %s", bootBlocks, since(began))

	start, startCtx := errgroup.WithContext(ctx)
	for _, each := range []struct {
		name string
		node **Node
	}{{"mostro", &n.Mostro}, {"seller", &n.Seller}, {"buyer", &n.Buyer}} {
		node, err := newNode(bin, filepath.Join(dir, each.name), each.name, n.chain)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", each.name, err)
		}
		*each.node = node
		start.Go(func() error {
			if err := node.Start(startCtx); err != nil {
				return fmt.Errorf("%s: %w", node.Name, err)
			}
			return nil
		})
	}
	if err := start.Wait(); err != nil {
		return nil, err
	}
	logf("three nodes synced after %s", since(began))

	for _, node := range []*Node{n.Seller, n.Mostro} {
		address, err := node.newAddress(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: address: %w", node.Name, err)
		}
		if err := n.chain.send(ctx, address, walletSats); err != nil {
			return nil, fmt.Errorf("fund %s: %w", node.Name, err)
		}
	}
	if err := n.Mine(ctx, 1); err != nil {
		return nil, err
	}
	open, openCtx := errgroup.WithContext(ctx)
	for _, pair := range [][2]*Node{{n.Seller, n.Mostro}, {n.Mostro, n.Buyer}} {
		open.Go(func() error {
			if err := pair[0].openChannel(openCtx, pair[1]); err != nil {
				return fmt.Errorf("channel from %s to %s: %w", pair[0].Name, pair[1].Name, err)
			}
			return nil
		})
	}
	if err := open.Wait(); err != nil {
		return nil, err
	}
	if err := n.Mine(ctx, 6); err != nil {
		return nil, err
	}
	if err := n.WaitChannels(ctx); err != nil {
		return nil, err
	}
	if err := n.Seller.waitGraph(ctx, 2); err != nil {
		return nil, err
	}
	logf("two channels usable after %s", since(began))
	return n, nil
}

func since(t time.Time) time.Duration { return time.Since(t).Round(10 * time.Millisecond) }

// Nodes lists the nodes that have been started.
func (n *Network) Nodes() []*Node {
	var out []*Node
	for _, node := range []*Node{n.Mostro, n.Seller, n.Buyer} {
		if node != nil {
			out = append(out, node)
		}
	}
	return out
}

// Mine adds blocks to the chain and waits until every running node has seen
// them.
func (n *Network) Mine(ctx context.Context, blocks int) error {
	if err := n.chain.mine(ctx, blocks); err != nil {
		return fmt.Errorf("mine %d blocks: %w", blocks, err)
	}
	for _, node := range n.Nodes() {
		if !node.Running() {
			continue
		}
		if err := node.waitSynced(ctx, n.chain.height); err != nil {
			return fmt.Errorf("%s: %w", node.Name, err)
		}
	}
	return nil
}

// Restart ends a node, by force when kill is set, starts it again and
// reconnects it: LND does not always do so by itself.
func (n *Network) Restart(ctx context.Context, node *Node, kill bool) error {
	if kill {
		node.Kill()
	} else if err := node.Stop(); err != nil {
		return fmt.Errorf("stop %s: %w", node.Name, err)
	}
	if err := node.Start(ctx); err != nil {
		return fmt.Errorf("start %s again: %w", node.Name, err)
	}
	return n.WaitChannels(ctx)
}

// WaitChannels reconnects the peers and waits until both channels are active on
// both sides.
func (n *Network) WaitChannels(ctx context.Context) error {
	return poll(ctx, "both channels active", func() (bool, error) {
		for _, side := range []*Node{n.Seller, n.Buyer} {
			if err := side.connect(ctx, n.Mostro); err != nil {
				return false, err
			}
		}
		for _, want := range []struct {
			node     *Node
			channels int
		}{{n.Seller, 1}, {n.Mostro, 2}, {n.Buyer, 1}} {
			active, err := want.node.activeChannels(ctx)
			if err != nil || active != want.channels {
				return false, err
			}
		}
		return true, nil
	})
}

// Close ends all processes.
func (n *Network) Close() error {
	var errs []error
	for _, node := range n.Nodes() {
		if err := node.close(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", node.Name, err))
		}
	}
	if n.chain != nil {
		if err := n.chain.process.stop(); err != nil {
			errs = append(errs, fmt.Errorf("btcd: %w", err))
		}
	}
	return errors.Join(errs...)
}

// poll asks done until it says yes. An error of done is remembered for the
// report, not fatal: nodes that start refuse most questions.
func poll(ctx context.Context, what string, done func() (bool, error)) error {
	var last error
	for {
		ok, err := done()
		if ok && err == nil {
			return nil
		}
		if err != nil {
			last = err
		}
		timer := time.NewTimer(25 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("waiting for %s: %w (last: %w)", what, ctx.Err(), orNone(last))
		case <-timer.C:
		}
	}
}

func orNone(err error) error {
	if err == nil {
		return errors.New("no error")
	}
	return err
}

// freePorts gives n loopback ports that were free a moment ago. They lie below
// those that Linux gives to outgoing connections, one of which could have taken
// such a port before its daemon does.
func freePorts(n int) ([]int, error) {
	const from, to, tries = 15_000, 32_000, 1000
	var ports []int
	var err error
	for range tries {
		if len(ports) == n {
			return ports, nil
		}
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(from+rand.IntN(to-from))); err == nil {
			defer l.Close() // all together, so that no port is given twice
			ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		}
	}
	return nil, fmt.Errorf("no free ports in %d..%d: %w", from, to, err)
}
