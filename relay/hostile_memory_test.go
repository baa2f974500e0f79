package relay

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/relay/relaytest"
	"github.com/nbd-wtf/go-nostr"
)

// Clients that subscribe to all events and read nothing hold a bounded amount of memory in
// total. Clients that read get every event meanwhile.
func TestNeverReadersShareTheirRoom(t *testing.T) {
	const room = 32 << 20
	r := startRelay(t, func(cfg *Config) { cfg.MaxQueuedBytes = room })
	publisher, innocent := r.Dial(), r.Dial()
	innocent.Req("innocent", testkit.Object{"kinds": []int{38383}, "limit": 0})
	const idle = 60
	for range idle {
		c := r.Dial()
		c.Req("idle", testkit.Object{"kinds": []int{38383}, "limit": 0})
		c.WS = nil // no goroutine reads the connection any more; its socket stays open
	}
	most := int64(0)
	for n := range 150 {
		evt := testkit.SignedBy(t, testkit.Secret, 38383, testkit.Now(), strings.Repeat("x", 100<<10), nostr.Tag{"d", fmt.Sprint(n)})
		publisher.MustPublish(evt)
		innocent.Expect("EVENT", "innocent")
		waiting := int64(0)
		r.srv.conns.mu.Lock()
		for c := range r.srv.conns.all {
			waiting += int64(c.w.unsent())
		}
		r.srv.conns.mu.Unlock()
		most = max(most, waiting)
	}
	t.Logf("%d clients that read nothing hold at most %d KiB", idle, most>>10)
	if most > room+room/4 {
		t.Errorf("%d KiB wait for clients that read nothing", most>>10)
	}
}

// A reconciliation reserves its memory before it lists events.
func TestReconciliationsReserveFirst(t *testing.T) {
	clock := testkit.NewClock()
	st := relaytest.OpenStore(t, t.TempDir(), clock.Now)
	for i := range 40 {
		appendTo(t, st, testkit.Unsigned(1, 38383, int64(i+1), "", nostr.Tag{"d", fmt.Sprint(i)}), clock.Now())
	}
	n := &negSets{now: time.Now, items: negMaxItems - 30}
	if _, _, err := n.take(context.Background(), st, nostr.Filter{Kinds: []int{38383}}); err != errNegBusy {
		t.Errorf("a set of 40 events where 30 find room: %v", err)
	}
	set, done, err := n.take(context.Background(), st, nostr.Filter{Kinds: []int{38383}, Tags: nostr.TagMap{"d": {"1", "2"}}})
	if err != nil || len(set.Items) != 2 || n.items != negMaxItems-28 {
		t.Fatalf("%v, %d items are counted", err, n.items)
	}
	done()
	if _, _, err := n.take(context.Background(), st, nostr.Filter{Kinds: []int{38383}, Tags: nostr.TagMap{"d": {"3"}}}); err != nil || n.items != negMaxItems-27 {
		t.Errorf("%v, %d items are counted", err, n.items)
	}
}

// A listener limits connections before a byte is read from them. A closed connection frees
// its slot.
func TestBoundListener(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name             string
		most, perAddress int
		exempt           func(netip.Addr) bool
		want             int
	}{{"in all", 3, 0, nil, 3}, {"for an address", 100, 2, nil, 2}, {"exempt", 4, 2, netip.Addr.IsLoopback, 4}} {
		l := BoundListener(tcp, c.most, c.perAddress, c.exempt)
		accepted := make(chan net.Conn, 10)
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				if tcp, ok := conn.(interface{ CloseWrite() error }); !ok {
					t.Errorf("a %T cannot close one half", tcp)
				}
				if _, ok := conn.(syscall.Conn); !ok {
					t.Errorf("a %T has no descriptor", conn)
				}
				accepted <- conn
			}
		}()
		refused := 0
		for range c.want + 3 {
			conn, err := net.Dial("tcp", tcp.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if _, err := conn.Read(make([]byte, 1)); err == io.EOF || err != nil && !os.IsTimeout(err) {
				refused++
			}
		}
		if refused != 3 || len(accepted) != c.want {
			t.Errorf("%s: %d are refused, %d accepted", c.name, refused, len(accepted))
		}
		for len(accepted) > 0 {
			conn := <-accepted
			conn.Close()
			conn.Close() // the second Close frees no second slot
		}
		if b := l.(*boundListener); b.open != 0 || len(b.byAddress) != 0 {
			t.Errorf("%s: %d connections are counted and all are closed, %v", c.name, b.open, b.byAddress)
		}
		tcp.Close()
		if tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	tcp.Close()
}

func TestConnectionsOfAnAddressAreBounded(t *testing.T) {
	r := startRelay(t, func(cfg *Config) {
		cfg.MaxConnsPerIP = 3
		cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	upgrade := func(ip string) int {
		req, err := http.NewRequest(http.MethodGet, r.HTTP.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
			"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "X-Forwarded-For": ip} {
			req.Header.Set(name, value)
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp.StatusCode
	}
	for i := range 4 {
		want := http.StatusSwitchingProtocols
		if i == 3 {
			want = http.StatusServiceUnavailable
		}
		if got := upgrade("203.0.113.1"); got != want {
			t.Errorf("connection %d: %d", i, got)
		}
	}
	r.DialFrom("203.0.113.2").Quiet()
	r.DialFrom("203.0.113.2").WS.CloseNow()
	testkit.Eventually(t, "its place is given back", func() bool {
		r.srv.conns.mu.Lock()
		defer r.srv.conns.mu.Unlock()
		return r.srv.conns.byIP[netip.MustParseAddr("203.0.113.2")] == 1
	})
}

// An import with a slow body continues. An import whose body stops ends.
func TestImportsMustMakeProgress(t *testing.T) {
	r := startRelay(t, nil)
	began := time.Now()
	pr, pw := io.Pipe()
	go func() {
		for range 3 {
			io.WriteString(pw, "\n")
			time.Sleep(20 * time.Millisecond)
		}
		pw.Close()
	}()
	resp, err := http.Post(r.HTTP.URL+"/api/v1/import", "application/x-ndjson", pr)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if !strings.Contains(string(b), "summary") || strings.Contains(string(b), "error") {
		t.Errorf("%s after %v", b, time.Since(began))
	}
	body := &progressBody{body: strings.NewReader("x"), rc: http.NewResponseController(nothing{}), wait: time.Minute}
	body.end()
	if _, err := body.Read(make([]byte, 1)); err == nil {
		t.Error("an ended body is read")
	}
}

type nothing struct{}

func (nothing) Header() http.Header         { return nil }
func (nothing) Write(b []byte) (int, error) { return len(b), nil }
func (nothing) WriteHeader(int)             {}
