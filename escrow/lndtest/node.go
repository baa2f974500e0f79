package lndtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lnd"
)

// Node is one LND. A trade uses the node through Lightning. Tests use the node's REST
// interface with the admin macaroon for all other calls.
type Node struct {
	Name   string
	Pubkey string // set after the first start

	// Lightning is a client with a macaroon that grants lnd.Permissions only. It stays
	// valid after a restart of the node.
	Lightning *lnd.Client

	dir     string
	process *process
	peer    string // host:port for other nodes
	rpc     string // host:port of gRPC
	rest    string // host:port of REST
	client  *http.Client
	admin   string // macaroon in hex
}

func newNode(bin, dir, name string, c *chain) (*Node, error) {
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	at := func(i int) string { return "127.0.0.1:" + strconv.Itoa(ports[i]) }
	n := &Node{Name: name, dir: dir, peer: at(0), rpc: at(1), rest: at(2)}
	n.process = &process{
		path: filepath.Join(bin, "lnd"),
		log:  filepath.Join(dir, "output.log"),
		args: []string{
			"--lnddir=" + dir, "--noseedbackup", "--alias=" + name,
			"--bitcoin.regtest", "--bitcoin.node=btcd", "--bitcoin.defaultchanconfs=1",
			"--btcd.rpchost=" + c.rpc, "--btcd.rpcuser=" + rpcUser, "--btcd.rpcpass=" + rpcPass, "--btcd.rpccert=" + c.cert,
			"--listen=" + n.peer, "--rpclisten=" + n.rpc, "--restlisten=" + n.rest,
			"--nobootstrap", "--trickledelay=50", "--minbackoff=200ms", "--maxbackoff=2s",
			"--logging.console.disable", "--debuglevel=info", "--no-disconnect-on-pong-failure",
		},
	}
	return n, nil
}

// startTries is the number of attempts to start a node that ends before its first
// answer.
const startTries = 3

// Start runs the node and waits until the node is synced to the chain.
func (n *Node) Start(ctx context.Context) error {
	if err := n.process.start(); err != nil {
		return err
	}
	waiting, giveUp := context.WithCancel(ctx)
	defer giveUp()
	tries := 1
	var info struct {
		Pubkey string `json:"identity_pubkey"`
		Synced bool   `json:"synced_to_chain"`
	}
	err := poll(waiting, "the node's interface", func() (bool, error) {
		if !n.process.running() {
			why := fmt.Errorf("lnd ended, started %d times: %s", tries, n.process.lastWords())
			if tries++; tries > startTries {
				giveUp()
				return false, why
			}
			n.process.kill()
			return false, errors.Join(n.process.start(), why)
		}
		// The credentials are read until the first answer, because a file may exist
		// before its content is written.
		if n.Pubkey == "" {
			if err := n.readCredentials(); err != nil {
				return false, err
			}
		}
		if err := n.call(ctx, http.MethodGet, "/v1/getinfo", nil, &info); err != nil {
			return false, err
		}
		return info.Synced, nil
	})
	if err != nil {
		return err
	}
	n.Pubkey = info.Pubkey
	if n.Lightning == nil {
		n.Lightning, err = n.Dial(ctx, slices.Concat(lnd.Permissions(), lnd.OptionalPermissions()))
	}
	return err
}

// readCredentials reads the certificate and the macaroon that the node wrote at its
// first start.
func (n *Node) readCredentials() error {
	mac, err := os.ReadFile(filepath.Join(n.dir, "data", "chain", "bitcoin", "regtest", "admin.macaroon"))
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(filepath.Join(n.dir, "tls.cert"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) || len(mac) == 0 {
		return errors.New("no certificate or macaroon yet")
	}
	if n.client != nil {
		n.client.CloseIdleConnections()
	}
	n.admin = hex.EncodeToString(mac)
	n.client = &http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
	}
	return nil
}

// Config bakes a macaroon with the given permissions ("uri:/...") and returns a Config
// for a client of the node.
func (n *Node) Config(ctx context.Context, permissions []string) (lnd.Config, error) {
	return n.ConfigOfKey(ctx, permissions, 0)
}

// ConfigOfKey is like Config with a macaroon of the given root key. The default root
// key is 0. If rootKey is another key, RevokeKey can revoke the macaroon.
func (n *Node) ConfigOfKey(ctx context.Context, permissions []string, rootKey uint64) (lnd.Config, error) {
	type permission struct {
		Entity string `json:"entity"`
		Action string `json:"action"`
	}
	var in struct {
		Permissions []permission `json:"permissions"`
		RootKeyID   string       `json:"root_key_id"`
	}
	in.RootKeyID = strconv.FormatUint(rootKey, 10)
	for _, p := range permissions {
		entity, action, ok := strings.Cut(p, ":")
		if !ok {
			return lnd.Config{}, fmt.Errorf("permission %q", p)
		}
		in.Permissions = append(in.Permissions, permission{entity, action})
	}
	var out struct {
		Macaroon string `json:"macaroon"`
	}
	if err := n.call(ctx, http.MethodPost, "/v1/macaroon", in, &out); err != nil {
		return lnd.Config{}, fmt.Errorf("bake a macaroon: %w", err)
	}
	mac, err := hex.DecodeString(out.Macaroon)
	if err != nil {
		return lnd.Config{}, err
	}
	file, err := os.CreateTemp(n.dir, "baked-*.macaroon")
	if err != nil {
		return lnd.Config{}, err
	}
	_, err = file.Write(mac)
	if err := errors.Join(err, file.Close()); err != nil {
		return lnd.Config{}, err
	}
	return lnd.Config{Address: n.rpc, CertFile: filepath.Join(n.dir, "tls.cert"), MacaroonFile: file.Name()}, nil
}

// RevokeKey deletes a root key. This revokes every macaroon that was baked with the
// key.
func (n *Node) RevokeKey(ctx context.Context, rootKey uint64) error {
	var out struct{ Deleted bool }
	if err := n.call(ctx, http.MethodDelete, "/v1/macaroon/"+strconv.FormatUint(rootKey, 10), nil, &out); err != nil {
		return fmt.Errorf("revoke root key %d: %w", rootKey, err)
	}
	if !out.Deleted {
		return fmt.Errorf("root key %d was not deleted", rootKey)
	}
	return nil
}

// walletPaths are the paths below the node's directory that contain its identity and
// funds.
var walletPaths = []string{"data/chain/bitcoin/regtest/wallet.db", "data/chain/bitcoin/regtest/channel.backup", "data/graph"}

// NewWallet stops the node and starts it again with a new wallet, and so with another
// public key. Address, certificate and macaroons stay the same.
func (n *Node) NewWallet(ctx context.Context) error {
	if err := n.Stop(); err != nil {
		return err
	}
	for _, path := range walletPaths {
		path = filepath.Join(n.dir, filepath.FromSlash(path))
		if err := os.Rename(path, path+".before"); err != nil {
			return err
		}
	}
	return n.Start(ctx)
}

// OldWallet restores the wallet that NewWallet replaced. The new wallet is lost.
func (n *Node) OldWallet(ctx context.Context) error {
	if err := n.Stop(); err != nil {
		return err
	}
	for _, path := range walletPaths {
		path = filepath.Join(n.dir, filepath.FromSlash(path))
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		if err := os.Rename(path+".before", path); err != nil {
			return err
		}
	}
	return n.Start(ctx)
}

// Dial opens another client with the given permissions. The caller closes the client.
func (n *Node) Dial(ctx context.Context, permissions []string) (*lnd.Client, error) {
	cfg, err := n.Config(ctx, permissions)
	if err != nil {
		return nil, err
	}
	return lnd.Open(cfg)
}

// Running reports whether the process is alive.
func (n *Node) Running() bool { return n.process.running() }

// Stop ends the node with a clean shutdown.
func (n *Node) Stop() error { return n.process.stop() }

// Kill ends the node without a clean shutdown, as a power failure would.
func (n *Node) Kill() { n.process.kill() }

func (n *Node) close() error {
	var err error
	if n.Lightning != nil {
		err = n.Lightning.Close()
	}
	if n.client != nil {
		n.client.CloseIdleConnections()
	}
	return errors.Join(err, n.process.stop())
}

// call performs one REST method.
func (n *Node) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+n.rest+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Grpc-Metadata-macaroon", n.admin)
	resp, err := n.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		var problem struct{ Message string }
		_ = json.Unmarshal(text, &problem) // if the body is not JSON, the error contains the HTTP status only
		return fmt.Errorf("%s: %s: %s", path, resp.Status, problem.Message)
	}
	return json.Unmarshal(text, out)
}

func (n *Node) newAddress(ctx context.Context) (string, error) {
	var out struct{ Address string }
	err := n.call(ctx, http.MethodGet, "/v1/newaddress", nil, &out)
	return out.Address, err
}

// connect makes the other node a peer, if it is not a peer already.
func (n *Node) connect(ctx context.Context, other *Node) error {
	in := map[string]any{"addr": map[string]string{"pubkey": other.Pubkey, "host": other.peer}, "timeout": "5"}
	err := n.call(ctx, http.MethodPost, "/v1/peers", in, &struct{}{})
	if err != nil && strings.Contains(err.Error(), "already connected") {
		return nil
	}
	return err
}

// openChannel waits until the wallet has seen its coins and opens a channel. Half of
// the channel's funds are on the other side.
func (n *Node) openChannel(ctx context.Context, other *Node) error {
	key, err := hex.DecodeString(other.Pubkey)
	if err != nil {
		return err
	}
	err = poll(ctx, "coins in the wallet", func() (bool, error) {
		var out struct {
			Confirmed string `json:"confirmed_balance"`
		}
		err := n.call(ctx, http.MethodGet, "/v1/balance/blockchain", nil, &out)
		return out.Confirmed != "" && out.Confirmed != "0", err
	})
	if err != nil {
		return err
	}
	in := map[string]any{
		"node_pubkey":          base64.StdEncoding.EncodeToString(key),
		"local_funding_amount": strconv.Itoa(ChannelSats),
		"push_sat":             strconv.Itoa(ChannelSats / 2),
	}
	return poll(ctx, "the channel", func() (bool, error) {
		if err := n.connect(ctx, other); err != nil {
			return false, err
		}
		// LND refuses the call while either side is not synced. After LND has accepted
		// the call, poll does not repeat it.
		return true, n.call(ctx, http.MethodPost, "/v1/channels", in, &struct{}{})
	})
}

func (n *Node) activeChannels(ctx context.Context) (int, error) {
	var out struct{ Channels []struct{} }
	err := n.call(ctx, http.MethodGet, "/v1/channels?active_only=true", nil, &out)
	return len(out.Channels), err
}

// waitSynced waits until the node has seen the block at height.
func (n *Node) waitSynced(ctx context.Context, height uint32) error {
	return poll(ctx, fmt.Sprintf("block %d", height), func() (bool, error) {
		var out struct {
			Height uint32 `json:"block_height"`
			Synced bool   `json:"synced_to_chain"`
		}
		err := n.call(ctx, http.MethodGet, "/v1/getinfo", nil, &out)
		return out.Synced && out.Height >= height, err
	})
}

// waitGraph waits until the node knows both policies of the given number of channels.
func (n *Node) waitGraph(ctx context.Context, channels int) error {
	return poll(ctx, "the channel graph", func() (bool, error) {
		var out struct {
			Edges []struct {
				One *struct{} `json:"node1_policy"`
				Two *struct{} `json:"node2_policy"`
			}
		}
		if err := n.call(ctx, http.MethodGet, "/v1/graph", nil, &out); err != nil {
			return false, err
		}
		known := 0
		for _, e := range out.Edges {
			if e.One != nil && e.Two != nil {
				known++
			}
		}
		return known >= channels, nil
	})
}

// AddInvoice makes an ordinary invoice, as a buyer's wallet does. If amountSats is 0,
// the invoice has no amount.
func (n *Node) AddInvoice(ctx context.Context, amountSats int64, memo string, expiry time.Duration) (bolt11 string, err error) {
	in := map[string]string{
		"value":  strconv.FormatInt(amountSats, 10),
		"memo":   memo,
		"expiry": strconv.FormatInt(int64(expiry/time.Second), 10),
	}
	var out struct {
		PaymentRequest string `json:"payment_request"`
	}
	err = n.call(ctx, http.MethodPost, "/v1/invoices", in, &out)
	return out.PaymentRequest, err
}

// BalanceMsat returns the node's funds in its channels once no payment is pending in
// any of the channels. After the end of a payment its commitment takes a moment longer.
// The result excludes the opener's cost of the commitment transaction, so a test must
// compare differences.
func (n *Node) BalanceMsat(ctx context.Context) (msat int64, err error) {
	err = poll(ctx, "channels without pending payments", func() (bool, error) {
		var list struct {
			Channels []struct {
				Pending []struct{} `json:"pending_htlcs"`
			}
		}
		if err := n.call(ctx, http.MethodGet, "/v1/channels", nil, &list); err != nil {
			return false, err
		}
		for _, c := range list.Channels {
			if len(c.Pending) > 0 {
				return false, nil
			}
		}
		var balance struct {
			Local struct {
				Msat string `json:"msat"`
			} `json:"local_balance"`
		}
		if err := n.call(ctx, http.MethodGet, "/v1/balance/channels", nil, &balance); err != nil {
			return false, err
		}
		var err error
		msat, err = strconv.ParseInt(balance.Local.Msat, 10, 64)
		return err == nil, err
	})
	return msat, err
}

// Count returns the number of invoices and the number of payments, failed payments
// included, in the node's database.
func (n *Node) Count(ctx context.Context) (invoices, payments int, err error) {
	var in struct{ Invoices []struct{} }
	if err := n.call(ctx, http.MethodGet, "/v1/invoices?num_max_invoices=100000", nil, &in); err != nil {
		return 0, 0, err
	}
	var out struct{ Payments []struct{} }
	if err := n.call(ctx, http.MethodGet, "/v1/payments?include_incomplete=true&max_payments=100000", nil, &out); err != nil {
		return 0, 0, err
	}
	return len(in.Invoices), len(out.Payments), nil
}
