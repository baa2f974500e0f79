package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/net/dns/dnsmessage"
)

// acmeDomain is the host name of the tests with an ACME server.
const acmeDomain = "relay.mostrodex.test"

// pebblePath returns the ACME server of Let's Encrypt for tests, which `make acme` builds.
func pebblePath(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cache, "mostrodex", "pebble", "pebble")
	if _, err := os.Stat(path); err != nil {
		t.Skip("NOT TESTED: pebble is not built: run make acme")
	}
	return path
}

// dnsAnswer returns the answer 127.0.0.1 to a question about a name.
func dnsAnswer(question []byte) []byte {
	var msg dnsmessage.Message
	if msg.Unpack(question) != nil || len(msg.Questions) != 1 {
		return nil
	}
	msg.Response, msg.Additionals = true, nil
	if q := msg.Questions[0]; q.Type == dnsmessage.TypeA {
		msg.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
	}
	packed, err := msg.Pack()
	if err != nil {
		return nil
	}
	return packed
}

// loopbackDNS runs a name server that answers 127.0.0.1 for every name, over TCP as pebble asks.
func loopbackDNS(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for {
					var size uint16
					if binary.Read(conn, binary.BigEndian, &size) != nil {
						return
					}
					question := make([]byte, size)
					if _, err := io.ReadFull(conn, question); err != nil {
						return
					}
					answer := dnsAnswer(question)
					if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// startPebble runs an ACME server that checks domains at tlsPort. It returns the URL of the
// directory, the file with the root of the server's own TLS, and a function that returns the
// root of the certificates.
func startPebble(t *testing.T, tlsPort string) (directory, rootsFile string, issuer func() *x509.CertPool) {
	t.Helper()
	path := pebblePath(t)
	dir := t.TempDir()
	certFile, keyFile, roots := selfSigned(t, dir)
	port, management := freePort(t), freePort(t)
	config := fmt.Sprintf(`{"pebble":{"listenAddress":"127.0.0.1:%s","managementListenAddress":"127.0.0.1:%s","certificate":%q,"privateKey":%q,"httpPort":1,"tlsPort":%s,"ocspResponderURL":"","externalAccountBindingRequired":false}}`,
		port, management, certFile, keyFile, tlsPort)
	configFile := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(configFile, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	startProxy(t, "127.0.0.1:"+port, path, "-config", configFile, "-dnsserver", loopbackDNS(t), "-strict")
	web := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	return "https://127.0.0.1:" + port + "/dir", certFile, func() *x509.CertPool {
		resp, err := web.Get("https://127.0.0.1:" + management + "/roots/0")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(raw) {
			t.Fatalf("no root in %s", raw)
		}
		return pool
	}
}

// TestOwnTLS: with relay.domain the program obtains a certificate from an ACME server, answers
// https and wss under the name of the domain alone, and uses the stored certificate after a
// restart.
func TestOwnTLS(t *testing.T) {
	data, port := t.TempDir(), freePort(t)
	directory, rootsFile, issuer := startPebble(t, port)
	var log syncBuffer
	run := func() (m *Main, stop func()) {
		cfg := defaultConfig()
		cfg.Data, cfg.Relay.Listen, cfg.Relay.Domain = data, "127.0.0.1:0", acmeDomain
		cfg.Relay.ACME = ACMEConfig{Listen: "127.0.0.1:" + port, Directory: directory, Roots: rootsFile}
		cfg.Relay.Contact = "mailto:operator@mostrodex.test"
		if err := cfg.validate(); err != nil {
			t.Fatal(err)
		}
		m = &Main{Config: cfg, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		return m, startMainUntil(t, m)
	}
	m, stop := run()
	defer func() {
		stop()
		if t.Failed() {
			t.Log(log.String())
		}
	}()
	ready(t, m)
	roots := issuer()
	clientOf := func(name string) *http.Client {
		return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: name}, DisableKeepAlives: true}}
	}
	web := clientOf(acmeDomain)
	var serial string
	answers := func() bool {
		resp, err := web.Get("https://127.0.0.1:" + port + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		serial = resp.TLS.PeerCertificates[0].SerialNumber.String()
		return resp.StatusCode == http.StatusOK
	}
	eventually(t, "a certificate of the ACME server", answers)
	first := serial
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "wss://127.0.0.1:"+port+"/", &websocket.DialOptions{HTTPClient: web})
	if err != nil {
		t.Fatal(err)
	}
	if err := ws.Write(ctx, websocket.MessageText, []byte(`["REQ","x",{"kinds":[38383],"limit":1}]`)); err != nil {
		t.Fatal(err)
	}
	if _, msg, err := ws.Read(ctx); err != nil || !json.Valid(msg) || !strings.Contains(string(msg), "EOSE") {
		t.Errorf("wss: %s %v", msg, err)
	}
	ws.CloseNow()
	// A client that never begins the handshake is cut off (below).
	silent, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	cut := make(chan error, 1)
	go func() {
		silent.SetReadDeadline(time.Now().Add(time.Minute))
		_, err := silent.Read(make([]byte, 1))
		cut <- err
	}()
	// A stranger who asks for the challenge's certificate gets none, and does no harm.
	for range 50 {
		conn, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{InsecureSkipVerify: true, ServerName: acmeDomain, NextProtos: []string{"acme-tls/1"}})
		if err == nil {
			conn.Close()
		}
	}
	// A name that is not the domain has no certificate, and orders none.
	for _, name := range []string{"other.mostrodex.test", ""} {
		conn, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{InsecureSkipVerify: true, ServerName: name})
		if err == nil {
			if cert := conn.ConnectionState().PeerCertificates[0]; cert.VerifyHostname(acmeDomain) != nil {
				t.Errorf("the name %q has a certificate for %v", name, cert.DNSNames)
			}
			conn.Close()
		}
	}
	if kept, err := filepath.Glob(filepath.Join(data, certificatesDir, "certificates", "*", "*")); err != nil || len(kept) != 1 {
		t.Errorf("the certificates of %v are kept", kept)
	}
	err = filepath.WalkDir(filepath.Join(data, certificatesDir), func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && strings.HasSuffix(path, ".key") && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if !answers() {
		t.Error("the server does not answer after the strangers")
	}
	if err := <-cut; !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a silent client is not cut off: %v", err)
	}
	if n := strings.Count(log.String(), "\n"); n > 20 {
		t.Errorf("the strangers wrote %d lines of the log", n)
	}
	stop()
	m, stop = run()
	ready(t, m)
	eventually(t, "the stored certificate", answers)
	if serial != first {
		t.Errorf("after a restart the certificate is %s, it was %s", serial, first)
	}
}

// TestDomainOfConfig: mistakes in the settings of the TLS listener are found before the start,
// and the domain is the public address unless another one is set.
func TestDomainOfConfig(t *testing.T) {
	for domain, good := range map[string]bool{"relay.example.org": true, "a-b.c": true, "relay": false, "Relay.example.org": false, "wss://relay.example.org": false,
		"127.0.0.1": false, "::1": false, "relay..org": false, "-a.org": false, "relay.example.org:443": false, "../../etc/passwd": false, strings.Repeat("a", 64) + ".org": false, "*.example.org": false} {
		c := defaultConfig()
		c.Relay.Domain = domain
		if err := c.validate(); (err == nil) != good {
			t.Errorf("%q: %v", domain, err)
		}
	}
	for name, c := range map[string]RelayConfig{
		"acme without domain":  {ACME: ACMEConfig{Listen: ":443"}},
		"listen without port":  {Domain: "a.b", ACME: ACMEConfig{Listen: "localhost"}},
		"directory over http":  {Domain: "a.b", ACME: ACMEConfig{Directory: "http://a.b/dir"}},
		"directory of nothing": {Domain: "a.b", ACME: ACMEConfig{Directory: "letsencrypt"}},
	} {
		if c.checkDomain() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	cfg, err := loadConfig("", []string{"MOSTRODEX_RELAY_DOMAIN=relay.example.org"})
	if err != nil || cfg.Relay.URL != "wss://relay.example.org" {
		t.Errorf("the public address is %q, %v", cfg.Relay.URL, err)
	}
	cfg, err = loadConfig("", []string{"MOSTRODEX_RELAY_DOMAIN=relay.example.org", "MOSTRODEX_RELAY_URL=wss://other.example.org"})
	if err != nil || cfg.Relay.URL != "wss://other.example.org" {
		t.Errorf("the public address is %q, %v", cfg.Relay.URL, err)
	}
	// A file of roots without a certificate is an error of the start.
	cfg = defaultConfig()
	cfg.Data, cfg.Relay.Listen, cfg.Relay.Domain = t.TempDir(), "127.0.0.1:0", acmeDomain
	cfg.Relay.ACME.Roots = filepath.Join(cfg.Data, "roots.pem")
	if err := os.WriteFile(cfg.Relay.ACME.Roots, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := &Main{Config: cfg}
	if err := m.Open(); err == nil || !strings.Contains(err.Error(), "relay.acme.roots") {
		t.Errorf("open: %v", err)
	}
}
