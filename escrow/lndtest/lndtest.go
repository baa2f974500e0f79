// Package lndtest runs real Lightning nodes for tests: one btcd on a regression test
// network of its own, and three LND nodes with two channels,
//
//	seller ── mostro ── buyer
//
// all on loopback and in a temporary directory. `make lnd` builds the programs into the
// user's cache. A test that needs the nodes calls Require, which skips the test if the
// programs are missing.
package lndtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// Version is the version of LND that tools/lnd/go.mod requires.
const Version = "v0.21.2-beta"

const (
	// ChannelSats is the size of each channel. At the start, each side has half of it.
	ChannelSats = 16_000_000
	// walletSats is the on-chain amount for a node that opens a channel.
	walletSats = 50_000_000
	// bootBlocks is the number of blocks until segwit is active: three periods of 144
	// blocks, and a few more.
	bootBlocks = 440
)

// Binaries returns the directory of lnd and btcd: MOSTRODEX_LND_DIR, or a folder in the
// user's cache. ok is false if either program is missing.
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

// Require skips the test if the programs are missing, and logs the reason. The nodes
// need 15 to 30 seconds to start, so Require also skips the test if -short is set.
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
	Mostro *Node // the node between Seller and Buyer
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

// StartIn is like Start, with a directory of the caller. The data of the Mostro's node
// are in its folder "mostro".
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

// SmallDisk makes dir a file system of its own with the given size, so that a test can
// fill the disk. ok is false if the test may not mount a file system. dir must not exist.
func SmallDisk(tb testing.TB, dir string, bytes int) (ok bool) {
	tb.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	if exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", bytes), "tmpfs", dir).Run() != nil {
		return false
	}
	tb.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			tb.Errorf("umount: %v: %s", err, out)
		}
	})
	return true
}

// StartNode calls Require and starts one node without channels. The node is the Mostro
// of the returned network. The data of the node are in dir.
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
	// A node without channels is in sync after two blocks.
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

// Open starts all processes under dir and returns once a payment can go from Seller to
// Buyer. The processes end with Close, or when the calling process ends.
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
	// The blocks are mined before the nodes start, so each node finds a complete chain.
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

// Nodes returns the nodes that have been started.
func (n *Network) Nodes() []*Node {
	var out []*Node
	for _, node := range []*Node{n.Mostro, n.Seller, n.Buyer} {
		if node != nil {
			out = append(out, node)
		}
	}
	return out
}

// Mine adds blocks to the chain and waits until every running node has seen the blocks.
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

// Restart ends a node, starts it again and reconnects its peers, because LND does not
// always reconnect by itself. If kill is set, the node is killed without a clean
// shutdown.
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

// WaitChannels reconnects the peers and waits until both channels are active on both
// sides.
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

// poll calls done until it returns true. An error of done does not end poll, because a
// starting node refuses most calls. If ctx ends first, poll returns an error that
// contains the last error of done.
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

// freePorts returns n loopback ports that are free at this moment. The ports are below
// the range that Linux uses for outgoing connections. A connection could otherwise take
// a port before the daemon does.
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
			defer l.Close() // all listeners close at the end, so that no port is returned twice
			ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		}
	}
	return nil, fmt.Errorf("no free ports in %d..%d: %w", from, to, err)
}
