package lndtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcutil"
	"github.com/btcsuite/btcd/chaincfg"
	"github.com/btcsuite/btcd/txscript"
	"github.com/btcsuite/btcd/wire"
)

const (
	rpcUser = "mostrodex"
	rpcPass = "regtest" // password of a chain without value, on loopback
	// feeSats is far above btcd's minimum fee for a transaction of this size.
	feeSats = 10_000
)

// chain is a btcd that mines to a key of this package. A payment from that key needs no
// restart of btcd. Mining to a node's wallet would need one.
type chain struct {
	process  *process
	rpc      string // host:port
	cert     string // path of the certificate
	client   *http.Client
	key      *btcec.PrivateKey
	script   []byte // output script of the key's address
	height   uint32
	coinbase uint32 // height of the next block whose reward is spent
}

func startChain(ctx context.Context, bin, dir string) (*chain, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	key, err := btcec.NewPrivateKey()
	if err != nil {
		return nil, err
	}
	address, err := btcutil.NewAddressPubKeyHash(btcutil.Hash160(key.PubKey().SerializeCompressed()), &chaincfg.RegressionNetParams)
	if err != nil {
		return nil, err
	}
	script, err := txscript.PayToAddrScript(address)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	c := &chain{
		rpc:      "127.0.0.1:" + strconv.Itoa(ports[0]),
		cert:     filepath.Join(dir, "rpc.cert"),
		key:      key,
		script:   script,
		coinbase: 1,
	}
	config := filepath.Join(dir, "btcd.conf") // without this option btcd reads the user's own configuration
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		return nil, err
	}
	c.process = &process{
		path: filepath.Join(bin, "btcd"),
		log:  filepath.Join(dir, "output.log"),
		args: []string{
			"--regtest", "--txindex", "--nodnsseed", "--configfile=" + config,
			"--datadir=" + filepath.Join(dir, "data"), "--logdir=" + filepath.Join(dir, "logs"),
			"--rpcuser=" + rpcUser, "--rpcpass=" + rpcPass, "--rpclisten=" + c.rpc,
			"--rpccert=" + c.cert, "--rpckey=" + filepath.Join(dir, "rpc.key"),
			"--listen=127.0.0.1:" + strconv.Itoa(ports[1]), "--miningaddr=" + address.EncodeAddress(),
		},
	}
	if err := c.process.start(); err != nil {
		return nil, err
	}
	err = poll(ctx, "btcd's interface", func() (bool, error) {
		if !c.process.running() {
			return false, fmt.Errorf("btcd ended: see %s", c.process.log)
		}
		if c.client == nil {
			pem, err := os.ReadFile(c.cert)
			if err != nil {
				return false, err
			}
			roots := x509.NewCertPool()
			if !roots.AppendCertsFromPEM(pem) {
				return false, errors.New("no certificate yet")
			}
			c.client = &http.Client{
				Timeout:   time.Minute,
				Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
			}
		}
		var height uint32
		return true, c.call(ctx, &height, "getblockcount")
	})
	if err != nil {
		return nil, errors.Join(err, c.process.stop())
	}
	return c, nil
}

// call performs one JSON-RPC method.
func (c *chain) call(ctx context.Context, result any, method string, params ...any) error {
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "1.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+c.rpc, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.SetBasicAuth(rpcUser, rpcPass)
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return err
	}
	var answer struct {
		Result json.RawMessage
		Error  *struct{ Message string }
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return fmt.Errorf("%s: %s: %w", method, resp.Status, err)
	}
	if answer.Error != nil {
		return fmt.Errorf("%s: %s", method, answer.Error.Message)
	}
	return json.Unmarshal(answer.Result, result)
}

// mine adds n blocks to the chain.
func (c *chain) mine(ctx context.Context, n int) error {
	var hashes []string
	if err := c.call(ctx, &hashes, "generate", n); err != nil {
		return err
	}
	c.height += uint32(len(hashes))
	return nil
}

// send pays sats to an address from the reward of one block. The rest of the reward
// returns to the chain's key and is not used again.
func (c *chain) send(ctx context.Context, address string, sats int64) error {
	to, err := btcutil.DecodeAddress(address, &chaincfg.RegressionNetParams)
	if err != nil {
		return err
	}
	toScript, err := txscript.PayToAddrScript(to)
	if err != nil {
		return err
	}
	var blockHash, blockHex string
	if err := c.call(ctx, &blockHash, "getblockhash", c.coinbase); err != nil {
		return err
	}
	if err := c.call(ctx, &blockHex, "getblock", blockHash, 0); err != nil {
		return err
	}
	raw, err := hex.DecodeString(blockHex)
	if err != nil {
		return err
	}
	var block wire.MsgBlock
	if err := block.Deserialize(bytes.NewReader(raw)); err != nil {
		return err
	}
	c.coinbase++
	reward := block.Transactions[0]
	source := wire.OutPoint{Hash: reward.TxHash(), Index: 0}
	tx := wire.NewMsgTx(2)
	tx.AddTxIn(wire.NewTxIn(&source, nil, nil))
	tx.AddTxOut(wire.NewTxOut(sats, toScript))
	tx.AddTxOut(wire.NewTxOut(reward.TxOut[0].Value-sats-feeSats, c.script))
	if tx.TxIn[0].SignatureScript, err = txscript.SignatureScript(tx, 0, c.script, txscript.SigHashAll, c.key, true); err != nil {
		return err
	}
	var out bytes.Buffer
	if err := tx.Serialize(&out); err != nil {
		return err
	}
	var id string
	return c.call(ctx, &id, "sendrawtransaction", hex.EncodeToString(out.Bytes()))
}
