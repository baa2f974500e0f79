package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/nbd-wtf/go-nostr"
)

// syncBuffer is a log for concurrent writes.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestNodeDownAtStart checks that with a Lightning node that does not answer, the relay, the
// index and the explorer serve, /readyz names the problem, and the operator's verbs work.
func TestNodeDownAtStart(t *testing.T) {
	dir := t.TempDir()
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen, cfg.Relay.Private = filepath.Join(dir, "data"), "127.0.0.1:0", "127.0.0.1:0"
	if err := cfg.chooseUpstreams([]string{"none"}); err != nil {
		t.Fatal(err)
	}
	cfg.Escrow.Enabled = true
	cfg.Escrow.Key, cfg.Escrow.Witness = filepath.Join(dir, "key"), filepath.Join(dir, "state", "witness")
	cfg.Escrow.LND.Address = "127.0.0.1:1" // tcpmux, a port without a listener
	cfg.Escrow.LND.Cert, cfg.Escrow.LND.Macaroon = filepath.Join(dir, "tls.cert"), filepath.Join(dir, "macaroon")
	cfg.Escrow.Prices = nil
	if err := ensureKey(cfg.Escrow.Key); err != nil {
		t.Fatal(err)
	}
	writeCert(t, cfg.Escrow.LND.Cert)
	if err := os.WriteFile(cfg.Escrow.LND.Macaroon, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cfg.validate(); err != nil {
		t.Fatal(err)
	}
	var log syncBuffer
	m := &Main{Config: cfg, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	defer startMainUntil(t, m)()
	eventually(t, "/readyz names the node", func() bool {
		code, _, body := getBody(t, "http://"+m.Addr()+"/readyz")
		return code == http.StatusOK && strings.Contains(body, "escrow: no new orders: the Lightning node does not answer")
	})
	if events := mustREQ(t, m, nostr.Filter{Kinds: []int{38383}}); len(events) != 0 {
		t.Error("an empty relay returned", events)
	}
	if code, _, _ := getBody(t, "http://"+m.Addr()+"/"); code != http.StatusOK {
		t.Errorf("the explorer answers %d", code)
	}
	if out := mustProgram(t, "", "trade", "list", "--data", cfg.Data); !strings.Contains(out, "no ") && strings.Contains(out, "error") {
		t.Errorf("trade list printed %q", out)
	}
	if _, _, body := getBody(t, "http://"+m.PrivateAddr()+"/metrics"); !strings.Contains(body, `mostrodex_escrow_node_problem{problem="unavailable"} 1`) {
		t.Error("no metric reports the problem")
	}
	if n := strings.Count(log.String(), "the Lightning node cannot be used"); n != 1 {
		t.Errorf("the log reports the problem %d times: %s", n, log.String())
	}
}

func writeCert(t *testing.T, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestMainnetNeedsNoWord checks that the escrow works on mainnet as on any network, because every
// dispute has an end. A config of before, which confirmed that disputes had none, is named.
func TestMainnetNeedsNoWord(t *testing.T) {
	cfg := defaultConfig().Escrow
	terms, err := cfg.terms()
	if err != nil {
		t.Fatal(err)
	}
	info := lightning.NodeInfo{Network: lightning.Mainnet, Synced: true, HoldExpiryDelta: 18}
	ask := func() error { return new(escrowRoom).vet(terms)(context.Background(), info) }
	if err := ask(); err != nil {
		t.Errorf("on mainnet: %v", err)
	}
	var old Config
	if err := decodeConfig([]byte("[escrow]\ni_know_disputes_are_unsolved = true\n"), &old); err == nil || !strings.Contains(err.Error(), "delete the line") {
		t.Errorf("a config of before: %v", err)
	}
	info.Network = lightning.Signet
	if err := ask(); err != nil {
		t.Error(err)
	}
	info.HoldExpiryDelta = 24
	if err := ask(); err == nil || !strings.Contains(err.Error(), "margin_blocks") {
		t.Errorf("the error for a margin below that of the node is %v", err)
	}
}

// TestWitnessFile checks the default paths of the rollback guard: outside the data directory,
// in the state directory of the service or of the user, or as configured.
func TestWitnessFile(t *testing.T) {
	home, err := os.UserHomeDir()
	if err != nil {
		t.Skip("there is no home directory:", err)
	}
	for name, c := range map[string]struct {
		env  map[string]string
		file string
		want string
	}{
		"systemd":    {map[string]string{"STATE_DIRECTORY": "/var/lib/mostrodex:/x", "XDG_STATE_HOME": "/y"}, "", "/var/lib/mostrodex/PK.witness"},
		"XDG":        {map[string]string{"XDG_STATE_HOME": "/y"}, "", "/y/mostrodex/PK.witness"},
		"relative":   {map[string]string{"XDG_STATE_HOME": "y"}, "", filepath.Join(home, ".local/state/mostrodex/PK.witness")},
		"none":       {nil, "", filepath.Join(home, ".local/state/mostrodex/PK.witness")},
		"configured": {map[string]string{"STATE_DIRECTORY": "/var/lib/mostrodex"}, "/z", "/z"},
	} {
		cfg := EscrowConfig{Witness: c.file}
		if got, err := cfg.witnessFile("PK", func(k string) string { return c.env[k] }); err != nil || got != c.want {
			t.Errorf("%s: %s, %v, want %s", name, got, err, c.want)
		}
	}
}
