package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// TestProofsForOtherNames sends a NIP-42 and a NIP-98 proof for the given address to a
// relay on a real socket, directly or through a reverse proxy.
func TestProofsForOtherNames(t *testing.T) {
	const public, hint = "wss://relay.example", "relay.url"
	for name, c := range map[string]struct {
		url    string // relay.url of the config
		host   string // Host of the request; "": the address that is dialled; localhost: the same by name
		names  string // ws URL in the proofs; "": from host
		proxy  string // "": no proxy; "keeps" or "rewrites": how the proxy treats Host
		silent bool   // the proxy sends no forwarding header
		want   string // "": accepted; otherwise a part of the refusal
	}{
		"operator on 127.0.0.1":                        {},
		"operator on localhost":                        {host: "localhost"},
		"replay of a proof for another relay":          {host: "other.example", names: "ws://other.example", want: hint},
		"replay for another TLS relay":                 {host: "other.example", names: "wss://other.example", want: hint},
		"replay for the loopback name of another port": {host: "127.0.0.1:1", names: "ws://127.0.0.1:1", want: hint},
		"replay for another loopback address":          {host: "127.0.0.2", names: "ws://127.0.0.2", want: hint},
		"replay for a private address":                 {host: "10.0.0.1", names: "ws://10.0.0.1", want: hint},
		"own address, proof for another relay":         {names: "wss://other.example", want: hint},
		"own address, proof for TLS":                   {names: "wss", want: hint},
		"behind a proxy that keeps Host":               {proxy: "keeps", host: "relay.example", names: public, want: hint},
		"behind a proxy that rewrites Host":            {proxy: "rewrites", host: "relay.example", names: public, want: hint},
		"behind a silent proxy that keeps Host":        {proxy: "keeps", silent: true, host: "relay.example", names: public, want: hint},
		"behind a silent proxy that rewrites Host":     {proxy: "rewrites", silent: true, host: "relay.example", names: public, want: hint},
		"a proof for the address behind the proxy":     {proxy: "rewrites", host: "relay.example", names: "inner", want: hint},
		"configured, behind a proxy that keeps Host":   {url: public, proxy: "keeps", host: "relay.example", names: public},
		"configured, behind one that rewrites Host":    {url: public, proxy: "rewrites", host: "relay.example", names: public},
		"configured, by any name":                      {url: public, names: public},
		"configured, replay for another relay":         {url: public, host: "other.example", names: "wss://other.example", want: hint},
		"configured, replay for its plain address":     {url: public, names: "", want: hint},
	} {
		t.Run(name, func(t *testing.T) {
			lines := &testkit.LogLines{}
			r := startRelay(t, func(cfg *Config) {
				cfg.URL, cfg.Admins, cfg.NobodyIsLocal, cfg.Logger = c.url, []string{testkit.Signed(t, 1, 0).PubKey}, true, slog.New(slog.NewTextHandler(lines, nil))
			})
			inner, err := url.Parse(r.HTTP.URL)
			if err != nil {
				t.Fatal(err)
			}
			dial := inner.Host
			if c.proxy != "" {
				front := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
					p.SetURL(inner)
					if c.proxy == "keeps" {
						p.Out.Host = p.In.Host
					}
					if !c.silent {
						p.SetXForwarded()
					}
				}})
				defer front.Close()
				dial = strings.TrimPrefix(front.URL, "http://")
			}
			host, names := c.host, c.names
			switch {
			case host == "":
				host = dial
			case host == "localhost", strings.HasPrefix(host, "127.0.0.2"), strings.HasPrefix(host, "10."):
				_, port, _ := net.SplitHostPort(dial)
				host += ":" + port
				names = ""
			}
			switch names {
			case "":
				names = "ws://" + host
			case "wss":
				names = "wss://" + host
			case "inner":
				names = "ws://" + inner.Host
			}
			check := func(what string, ok bool, reason string) {
				t.Helper()
				if ok != (c.want == "") || !ok && !strings.Contains(reason, c.want) {
					t.Errorf("%s for %s at Host %s: taken %v %q", what, names, host, ok, reason)
				}
			}

			ws, _, err := websocket.Dial(t.Context(), "ws://"+dial, &websocket.DialOptions{Host: host})
			if err != nil {
				t.Fatal(err)
			}
			client := &testkit.Client{TB: t, WS: ws}
			client.NeedChallenge()
			ok, reason := authenticate(client, names, client.Challenge, nil)
			check("AUTH", ok, reason)
			ws.CloseNow()

			body := testkit.NDJSON(t, testkit.Order(t, "x", testkit.Now(), "pending"))
			hash := sha256.Sum256([]byte(body))
			proof := testkit.Signed(t, kindHTTPAuth, testkit.Now(), nostr.Tag{"u", "http" + strings.TrimPrefix(names, "ws") + "/api/v1/import"}, nostr.Tag{"method", "POST"}, nostr.Tag{"payload", hex.EncodeToString(hash[:])})
			req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+dial+"/api/v1/import", bytes.NewReader([]byte(body)))
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			req.Header.Set("Authorization", "Nostr "+base64.StdEncoding.EncodeToString(mostro.EncodeEvent(proof)))
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusUnauthorized {
				t.Fatalf("%s %v %s", resp.Status, err, answer)
			}
			check("NIP-98", resp.StatusCode == http.StatusOK, string(answer))
			if n := lines.Count("relay.url is not set"); n > 1 {
				t.Errorf("%d log lines", n)
			}
		})
	}
}
