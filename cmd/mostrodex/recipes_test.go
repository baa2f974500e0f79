package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// selfSigned writes a certificate for 127.0.0.1 and its key, and returns a pool that trusts it.
func selfSigned(t *testing.T, dir string) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	roots = x509.NewCertPool()
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(cert)
	return certFile, keyFile, roots
}

// freePort returns a port of loopback that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// startProxy runs a proxy until the test ends, and returns once it accepts connections.
func startProxy(t *testing.T, addr string, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "XDG_DATA_HOME="+t.TempDir(), "XDG_CONFIG_HOME="+t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		<-exited
		if t.Failed() {
			t.Logf("%s says:\n%s", name, out.String())
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-exited:
			t.Fatalf("%s has ended: %s", name, out.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen on %s: %s", name, addr, out.String())
		}
	}
}

// TestProxyRecipes runs nginx and Caddy with the recipes of deploy/. The relay sees the address
// of the client and not that of the proxy, also if the client claims another one; a websocket,
// a stream and the page of the explorer pass.
func TestProxyRecipes(t *testing.T) {
	m := mustRunConfig(t, t.TempDir(), func(c *Config) {
		c.Relay.TrustedProxies, c.Relay.ImportLocal = []string{"127.0.0.1"}, false
	})
	ready(t, m)
	var mu sync.Mutex
	var seen []string
	// The relay of the program, which notes for which client it works.
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, m.relay.ClientAddress(r)+" "+r.Host)
		mu.Unlock()
		m.relay.ServeHTTP(w, r)
	}))
	defer backend.Close()
	certFile, keyFile, roots := selfSigned(t, t.TempDir())
	for name, start := range map[string]func(t *testing.T, recipe, port string){
		"nginx": func(t *testing.T, recipe, port string) {
			dir := t.TempDir()
			for _, change := range [][2]string{
				{"listen 443 ssl http2;", "listen 127.0.0.1:" + port + " ssl http2;"}, {"listen [::]:443 ssl http2;", ""},
				{"listen 80;", "listen 127.0.0.1:" + freePort(t) + ";"}, {"listen [::]:80;", ""},
				{"/etc/letsencrypt/live/relay.example.org/fullchain.pem", certFile}, {"/etc/letsencrypt/live/relay.example.org/privkey.pem", keyFile},
				{"server 127.0.0.1:7777;", "server " + backend.Listener.Addr().String() + ";"},
			} {
				if strings.Count(recipe, change[0]) != 1 {
					t.Fatalf("deploy/nginx.conf does not have %q once", change[0])
				}
				recipe = strings.ReplaceAll(recipe, change[0], change[1])
			}
			text := fmt.Sprintf("daemon off; pid %[1]s/pid; error_log stderr; user root; worker_processes 1;\nevents {}\nhttp { access_log off; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;\n%[2]s\n}\n", dir, recipe)
			if os.Getuid() != 0 {
				text = strings.ReplaceAll(text, "user root; ", "")
			}
			path := filepath.Join(dir, "nginx.conf")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			startProxy(t, "127.0.0.1:"+port, "nginx", "-e", "stderr", "-c", path)
		},
		"caddy": func(t *testing.T, recipe, port string) {
			for _, change := range [][2]string{
				{"relay.example.org {", "https://127.0.0.1:" + port + " {\n\ttls " + certFile + " " + keyFile},
				{"reverse_proxy 127.0.0.1:7777 {", "reverse_proxy " + backend.Listener.Addr().String() + " {"},
			} {
				if strings.Count(recipe, change[0]) != 1 {
					t.Fatalf("deploy/Caddyfile does not have %q once", change[0])
				}
				recipe = strings.ReplaceAll(recipe, change[0], change[1])
			}
			path := filepath.Join(t.TempDir(), "Caddyfile")
			if err := os.WriteFile(path, []byte("{\n\tadmin off\n\tauto_https disable_redirects\n}\n"+recipe), 0o600); err != nil {
				t.Fatal(err)
			}
			startProxy(t, "127.0.0.1:"+port, "caddy", "run", "--adapter", "caddyfile", "--config", path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(name); err != nil {
				t.Skip("NOT TESTED: " + name + " is not installed")
			}
			recipe, err := os.ReadFile(filepath.Join("../../deploy", map[string]string{"nginx": "nginx.conf", "caddy": "Caddyfile"}[name]))
			if err != nil {
				t.Fatal(err)
			}
			port := freePort(t)
			start(t, string(recipe), port)
			const client = "127.0.0.3"
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(client)}}
			web := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{RootCAs: roots}}}
			mu.Lock()
			seen = nil
			mu.Unlock()
			host := "127.0.0.1:" + port
			for _, claimed := range []string{"", "203.0.113.9", "203.0.113.9, 127.0.0.1", "127.0.0.1"} {
				req, err := http.NewRequest(http.MethodGet, "https://"+host+"/api/v1/orders", nil)
				if err != nil {
					t.Fatal(err)
				}
				if claimed != "" {
					req.Header.Set("X-Forwarded-For", claimed)
				}
				resp, err := web.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("GET as %q: %s %s", claimed, resp.Status, body)
				}
			}
			// A page imports nothing from here, although the proxy connects from this machine.
			resp, err := web.Post("https://"+host+"/api/v1/import", "application/x-ndjson", strings.NewReader("{}\n"))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden {
				t.Errorf("an import through the proxy is answered %s", resp.Status)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			ws, answer, err := websocket.Dial(ctx, "wss://"+host+"/", &websocket.DialOptions{HTTPClient: web, HTTPHeader: http.Header{"X-Forwarded-For": {"203.0.113.9"}}})
			if err != nil {
				t.Fatal(err, answer)
			}
			defer ws.CloseNow()
			if err := ws.Write(ctx, websocket.MessageText, []byte(`["REQ","x",{"kinds":[38383],"limit":1}]`)); err != nil {
				t.Fatal(err)
			}
			for {
				_, msg, err := ws.Read(ctx)
				if err != nil {
					t.Fatal(err)
				}
				var frame []any
				if err := json.Unmarshal(msg, &frame); err != nil {
					t.Fatal(err)
				}
				if frame[0] == "EOSE" {
					break
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if len(seen) != 6 || slices.ContainsFunc(seen, func(s string) bool { return !strings.HasPrefix(s, client+" 127.0.0.1") }) {
				t.Errorf("the relay works for %q, want %s each time", seen, client)
			}
		})
	}
}

// TestOnionRecipe: Tor accepts the lines of deploy/torrc.
func TestOnionRecipe(t *testing.T) {
	if _, err := exec.LookPath("tor"); err != nil {
		t.Skip("NOT TESTED: tor is not installed")
	}
	dir := t.TempDir()
	raw, err := os.ReadFile("../../deploy/torrc")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "torrc")
	text := strings.ReplaceAll(string(raw), "/var/lib/tor/mostrodex/", filepath.Join(dir, "service")+"/") + "\nDataDirectory " + dir + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tor", "--verify-config", "--defaults-torrc", filepath.Join(dir, "none"), "--ignore-missing-torrc", "-f", path).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
