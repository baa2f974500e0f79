package relay

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// If a client reads nothing of its answers, few of their bodies are in memory.
func TestUnreadAnswersHoldLittle(t *testing.T) {
	st, err := eventlog.Open(eventlog.Config{Dir: t.TempDir(), BodyCache: -1})
	if err != nil {
		t.Fatal(err)
	}
	r := startRelayOn(t, st, nil)
	const events = 400
	var last eventlog.Pending
	for i := range events {
		evt := testkit.SignedBy(t, testkit.Secret, 38383, testkit.Now()-int64(i), strings.Repeat("x", 100<<10), nostr.Tag{"d", fmt.Sprint(i)})
		if last, err = st.Enqueue(context.Background(), eventlog.Arrival{Event: evt, ReceivedAt: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := last.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	const readers = 12
	for range readers {
		c := r.Dial()
		c.Send("REQ", "unread", testkit.Object{"kinds": []int{38383}, "limit": 5000})
	}
	testkit.Eventually(t, "all wait for their readers", func() bool {
		r.srv.conns.mu.Lock()
		defer r.srv.conns.mu.Unlock()
		waiting := 0
		for c := range r.srv.conns.all {
			if c.w.unsent() > 64<<10 {
				waiting++
			}
		}
		return waiting == readers
	})
	// The system holds little of the answers too: its buffers are full by now, or accept
	// no more bytes.
	taken, same := float64(-1), 0
	testkit.Eventually(t, "nothing more is taken by the system", func() bool {
		if now := testutil.ToFloat64(r.srv.met.sentBytes); now != taken {
			taken, same = now, 0
		}
		same++
		return same > 20
	})
	t.Logf("the system holds %d KiB of each", int(taken)/readers>>10)
	if runtime.GOOS == "linux" && taken > readers*2<<20 {
		t.Errorf("the system holds %d KiB of each unread answer", int(taken)/readers>>10)
	}
	grown := (heap() - before) >> 20
	t.Logf("%d unread answers of %d events of 100 KiB hold %d MB", readers, events, grown)
	if grown > 5*readers {
		t.Errorf("%d unread answers hold %d MB", readers, grown)
	}
}

// A request is charged to its address by its filters, its searches and the time of its
// answer.
func TestRequestsAreChargedByTheirFilters(t *testing.T) {
	r := startRelay(t, func(cfg *Config) {
		cfg.Limits.RequestsPerMinutePerIP = 240 // four requests of 50, and room for the time of their answers on a busy machine
		cfg.Search = noWords{}
		cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	ask := func(c *testkit.Client, n int, filter string) string {
		c.SendText(`["REQ","s"` + filtersOf(n, func(int) string { return filter }) + `]`)
		got := c.Next()
		return got[0] + " " + strings.Join(got[2:], " ")
	}
	for _, c := range []struct {
		filter    string
		n, passes int
	}{{`{"kinds":[1],"limit":1}`, 50, 4}, {`{"search":"word","limit":1}`, 5, 4}} {
		client := r.DialFrom(fmt.Sprintf("203.0.113.%d", c.n))
		for i := range c.passes + 1 {
			got := ask(client, c.n, c.filter)
			if refused := strings.HasPrefix(got, "CLOSED rate-limited:"); refused != (i == c.passes) {
				t.Errorf("request %d of %d filters %s: %s", i, c.n, c.filter, got)
			}
		}
	}
	long := r.DialFrom("203.0.113.201")
	for i := range 5 { // each counts as 50 requests by its length alone
		got := ask(long, 1, `{"#t":["`+strings.Repeat("x", 49*bytesOfOne)+`"],"limit":0}`)
		if refused := strings.HasPrefix(got, "CLOSED rate-limited: too many requests"); refused != (i == 4) {
			t.Errorf("long request %d: %.200s", i, got)
		}
		long.Send("CLOSE", "s")
	}
	if got := ask(r.DialFrom("203.0.113.200"), maxSearches+1, `{"search":"word"}`); !strings.HasPrefix(got, "CLOSED invalid:") {
		t.Errorf("too many searches: %s", got)
	}
}

type noWords struct{}

func (noWords) Search(context.Context, nostr.Filter) ([]string, error) { return nil, nil }
