package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// oneSentence checks an error of the program for its operator: one line, which names the problem
// and a remedy.
func oneSentence(t *testing.T, name, errs string, wants ...string) {
	t.Helper()
	line, rest, _ := strings.Cut(strings.TrimSpace(errs), "\n")
	if rest != "" || !strings.HasPrefix(line, "mostrodex: ") {
		t.Errorf("%s: more than one line: %s", name, errs)
	}
	for _, want := range wants {
		if !strings.Contains(line, want) {
			t.Errorf("%s: %q does not say %q", name, line, want)
		}
	}
}

// lastLine returns the last line of the output of serve, which also logs.
func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// serveFails runs serve, which must end by itself.
func serveFails(t *testing.T, args ...string) (last string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, errs syncBuffer
	code = run(ctx, append([]string{"serve", "--upstream", "none"}, args...), strings.NewReader(""), &out, &errs)
	if ctx.Err() != nil {
		t.Fatalf("serve %v does not end: %s", args, errs.String())
	}
	return lastLine(errs.String()), code
}

// TestBadInput gives serve each kind of bad input that its operator may give, and checks the exit
// code and the sentence.
func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	held := filepath.Join(dir, "held")
	m := MustRunMain(t, held)
	mostro := func(name, change string) string {
		cert, key := filepath.Join(dir, name+".cert"), filepath.Join(dir, name+".key")
		writeCert(t, cert)
		if err := ensureKey(key); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("data = %q\n[relay]\nlisten = \"127.0.0.1:0\"\n[escrow]\nenabled = true\nwitness = %q\nprices = []\nkey = %q\n[escrow.lnd]\naddress = \"127.0.0.1:1\"\ncert = %q\nmacaroon = %q\n",
			filepath.Join(dir, name), filepath.Join(dir, name+".witness"), key, cert, write(name+".macaroon", "none"))
		switch change {
		case "no key":
			os.Remove(key)
		case "bad key":
			write(name+".key", "nsec1nonsense")
		case "no cert":
			os.Remove(cert)
		case "no PEM":
			write(name+".cert", "x")
		case "empty macaroon":
			write(name+".macaroon", "")
		}
		return write(name+".toml", text)
	}
	file := write("file", "x")
	for name, c := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"typo":             {[]string{"-c", write("typo", "[relay]\nlissten = \"127.0.0.1:1\"\n")}, exitConfig, []string{"line 2", "is relay.listen meant?"}},
		"wrong type":       {[]string{"-c", write("type", "[relay]\nlisten = 7\n")}, exitConfig, []string{"line 2"}},
		"wrong value":      {[]string{"-c", write("value", "[relay]\nurl = \"https://x\"\n")}, exitConfig, []string{"relay.url", "wss://"}},
		"no file":          {[]string{"-c", filepath.Join(dir, "none")}, exitConfig, []string{"there is no config file"}},
		"wrong flag":       {[]string{"--listen", "x"}, exitUsage, nil},
		"no key":           {[]string{"-c", mostro("a", "no key")}, exitConfig, []string{"escrow", "a.key", "name the file"}},
		"bad key":          {[]string{"-c", mostro("b", "bad key")}, exitConfig, []string{"b.key"}},
		"no certificate":   {[]string{"-c", mostro("c", "no cert")}, exitConfig, []string{"c.cert", "escrow.lnd"}},
		"no PEM":           {[]string{"-c", mostro("d", "no PEM")}, exitConfig, []string{"no PEM certificate", "escrow.lnd"}},
		"empty macaroon":   {[]string{"-c", mostro("e", "empty macaroon")}, exitConfig, []string{"is empty", "escrow.lnd"}},
		"address in use":   {[]string{"--data", filepath.Join(dir, "free"), "--listen", m.Addr()}, exitInUse, []string{"address already in use", "--listen"}},
		"directory in use": {[]string{"--data", held, "--listen", "127.0.0.1:0"}, exitInUse, []string{"in use by another mostrodex process", "stop it"}},
		"data is a file":   {[]string{"--data", file, "--listen", "127.0.0.1:0"}, exitError, []string{file}},
	} {
		last, code := serveFails(t, c.args...)
		if code != c.code {
			t.Errorf("%s: exit code %d, want %d: %s", name, code, c.code, last)
		}
		if c.code != exitUsage {
			oneSentence(t, name, last, c.want...)
		}
	}
}

// TestDataOfAnotherVersion: a store of a newer version is not opened and not changed, neither the
// log nor the escrow's.
func TestDataOfAnotherVersion(t *testing.T) {
	newer := func(store string, key, value []byte) string {
		dir := t.TempDir()
		_, stop := runDemo(t, dir, nil)
		stop()
		db, err := badger.Open(badger.DefaultOptions(filepath.Join(dir, store)).WithLogger(nil))
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Update(func(txn *badger.Txn) error { return txn.Set(key, value) }); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	for store, at := range map[string]struct{ key, value []byte }{"escrow": {[]byte{'s'}, []byte{200}}} {
		dir := newer(store, at.key, at.value)
		_, errs, code := runProgram(t, "", "demo", "--days", "0", "--data", dir, "--listen", "127.0.0.1:0", "--private", "127.0.0.1:0")
		if code != exitData {
			t.Errorf("%s: exit code %d: %s", store, code, errs)
		}
		oneSentence(t, store, lastLine(errs), "newer version", "upgrade")
	}
}

// TestReadOnlyData serves from a data directory on a file system that was mounted read-only.
func TestReadOnlyData(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: no file system can be mounted: %v: %s", err, out)
	}
	defer exec.Command("umount", "-l", dir).Run()
	t.Setenv("MOSTRODEX_RELAY_DISK_RESERVE_MIB", "4")
	data := filepath.Join(dir, "data")
	stop := startMainUntil(t, mustMain(t, data))
	stop()
	if out, err := exec.Command("mount", "-o", "remount,ro", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, data := range map[string]string{"data that exist": data, "no data yet": filepath.Join(dir, "new")} {
		last, code := serveFails(t, "--data", data, "--listen", "127.0.0.1:0")
		if code != exitDisk {
			t.Errorf("%s: exit code %d: %s", name, code, last)
		}
		oneSentence(t, name, last, "not writable", "--data")
	}
}

// mustMain returns a program on port 0 that is not open yet.
func mustMain(t *testing.T, dir string) *Main {
	t.Helper()
	cfg, err := loadConfig("", os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Data, cfg.Relay.Listen = dir, "127.0.0.1:0"
	if err := cfg.chooseUpstreams([]string{"none"}); err != nil {
		t.Fatal(err)
	}
	return &Main{Config: cfg}
}

// TestFullDiskAtStart starts serve on a disk with less space than the stores need.
func TestFullDiskAtStart(t *testing.T) {
	dir := t.TempDir()
	m := mustMain(t, dir)
	m.freeSpace = func(string) (int64, error) { return 1 << 20, nil }
	err := m.Open()
	if code := exitCode(err); code != exitDisk {
		t.Errorf("exit code %d: %v", code, err)
	}
	oneSentence(t, "full disk", fmt.Sprint("mostrodex: ", err), "the disk is full", "free some disk space")
}

// TestExpiredCertificate asks a server whose certificate has expired, as an LND does whose
// tls.cert is 14 months old. serve goes on, because LND may get a new one; the log, /readyz and
// doctor name the cause.
func TestExpiredCertificate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(0, 0, -1), DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.StartTLS()
	defer server.Close()
	cfg := soundConfig(t)
	cfg.Escrow.Prices = nil
	cfg.Escrow.Witness = filepath.Join(t.TempDir(), "witness")
	cfg.Escrow.LND.Address = server.Listener.Addr().String()
	if err := os.WriteFile(cfg.Escrow.LND.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Escrow.Publish.Relays, cfg.Relay.URL = nil, ""
	list := (&doctor{config: &cfg, client: http.DefaultClient, now: time.Now, limit: 5 * time.Second}).examine(t.Context())
	if got := said(list, "certificate"); !strings.Contains(got, "has expired on") {
		t.Errorf("doctor says %q", got)
	}
	cfg.Relay.Listen, cfg.Relay.Private = "127.0.0.1:0", ""
	if err := cfg.chooseUpstreams([]string{"none"}); err != nil {
		t.Fatal(err)
	}
	m := &Main{Config: cfg}
	startMain(t, m)
	eventually(t, "/readyz names the certificate", func() bool {
		_, _, body := getBody(t, "http://"+m.Addr()+"/readyz")
		return strings.Contains(body, "certificate has expired") && strings.Contains(body, "docs/lightning.md")
	})
}

// TestClockTenMinutesOff compares the clock of doctor with that of a relay.
func TestClockTenMinutesOff(t *testing.T) {
	m := MustRunMain(t, t.TempDir())
	for _, off := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
		cfg := soundConfig(t)
		cfg.Relay.URL, cfg.Escrow.Enabled = "ws://"+m.Addr(), false
		// A second more, because the header of the relay has whole seconds.
		clock := func() time.Time { return time.Now().Add(off + off/600) }
		list := (&doctor{config: &cfg, client: http.DefaultClient, now: clock, limit: doctorTimeout}).examine(t.Context())
		if got := said(list, "clock"); !strings.Contains(got, "differs by") || failures(list) != 1 {
			t.Errorf("%s: %q, %d failures: %+v", off, got, failures(list), list)
		}
	}
}
