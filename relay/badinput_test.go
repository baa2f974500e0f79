package relay

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gobwas/ws"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/relaytest"
	"github.com/nbd-wtf/go-nostr"
)

// rawClient writes frames that a websocket library would not write.
type rawClient struct {
	tb testing.TB
	nc net.Conn
	br *bufio.Reader
}

func dialRaw(tb testing.TB, r *testRelay, headers string) *rawClient {
	tb.Helper()
	if headers == "" {
		headers = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
	}
	nc, err := net.Dial("tcp", r.HTTP.Listener.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(nc, "GET / HTTP/1.1\r\nHost: relay.test\r\n%sSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", headers)
	c := &rawClient{tb: tb, nc: nc, br: bufio.NewReader(nc)}
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		tb.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		tb.Fatalf("handshake answered %s %v", resp.Status, resp.Header)
	}
	return c
}

func (c *rawClient) frame(op ws.OpCode, fin bool, payload []byte) {
	c.tb.Helper()
	f := ws.NewFrame(op, fin, append([]byte(nil), payload...))
	if err := ws.WriteFrame(c.nc, ws.MaskFrame(f)); err != nil {
		c.tb.Fatal(err)
	}
}

func (c *rawClient) text(s string) { c.tb.Helper(); c.frame(ws.OpText, true, []byte(s)) }

// next reads one frame from the server.
func (c *rawClient) next() (ws.OpCode, string) {
	c.tb.Helper()
	f, err := ws.ReadFrame(c.br)
	if err != nil {
		c.tb.Fatal(err)
	}
	if f.Header.Masked || !f.Header.Fin {
		c.tb.Fatalf("frame header %+v", f.Header)
	}
	return f.Header.OpCode, string(f.Payload)
}

// closedWith reads up to the close frame. closedWith returns its code and the notices
// before it.
func (c *rawClient) closedWith() (code ws.StatusCode, notices string) {
	c.tb.Helper()
	for {
		op, payload := c.next()
		switch op {
		case ws.OpText:
			notices += payload
		case ws.OpClose:
			if _, err := c.br.ReadByte(); err != io.EOF {
				c.tb.Errorf("after the close frame: %v", err)
			}
			return ws.StatusCode(binary.BigEndian.Uint16([]byte(payload))), notices
		}
	}
}

func TestBadEvents(t *testing.T) {
	r := startRelay(t, nil)
	c := r.Dial()
	at := testkit.Now()
	change := func(f func(*nostr.Event)) *nostr.Event {
		evt := testkit.Order(t, "a", at, "pending")
		f(evt)
		return evt
	}
	tags := func(kind int, tags ...nostr.Tag) *nostr.Event { return testkit.Signed(t, kind, at, tags...) }
	many := make([]nostr.Tag, 3000)
	for i := range many {
		many[i] = nostr.Tag{"p", fmt.Sprint(i)}
	}
	for name, tc := range map[string]struct {
		evt    *nostr.Event
		reason string
	}{
		"wrong id":                 {change(func(e *nostr.Event) { e.ID = strings.Repeat("0", 64) }), "invalid: the id"},
		"changed content":          {change(func(e *nostr.Event) { e.Content = "x" }), "invalid: the id"},
		"wrong signature":          {change(func(e *nostr.Event) { e.Sig = strings.Repeat("0", 128) }), "invalid: the signature"},
		"another's key":            {change(func(e *nostr.Event) { e.PubKey = strings.Repeat("a", 64); e.ID = e.GetID() }), "invalid: the signature"},
		"short signature":          {change(func(e *nostr.Event) { e.Sig = e.Sig[:126] }), "invalid: sig"},
		"upper-case key":           {change(func(e *nostr.Event) { e.PubKey = strings.ToUpper(e.PubKey); e.ID = e.GetID() }), "invalid: pubkey"},
		"oversized":                {testkit.SignedBy(t, testkit.Secret, 14, at, strings.Repeat("x", 200<<10)), "invalid: the event is larger"},
		"three thousand tags":      {tags(14, many...), "invalid: the event has more than 2000 tags"},
		"bare d, addressable":      {tags(38383, nostr.Tag{"d"}), "invalid: a d tag"},
		"bare d after another":     {tags(38383, nostr.Tag{"d", "a"}, nostr.Tag{"d"}), "invalid: a d tag"},
		"bare d, replaceable":      {tags(10002, nostr.Tag{"d"}), "invalid: a d tag"},
		"bare d, kind 0":           {tags(0, nostr.Tag{"d"}), "invalid: a d tag"},
		"bare d, kind above 40000": {tags(40001, nostr.Tag{"d"}), "invalid: a d tag"},
		"tag without elements":     {tags(14, nostr.Tag{}), "invalid: a tag has no name"},
		"tag without a name":       {tags(14, nostr.Tag{"", "x"}), "invalid: a tag has no name"},
		"far future":               {testkit.Signed(t, 14, at+3600), "invalid: created_at"},
		"64-bit future":            {testkit.Signed(t, 14, 1<<62), "invalid: created_at"},
		"before 1970":              {testkit.Signed(t, 14, -1), "invalid: created_at"},
		"kind out of range":        {testkit.Signed(t, 65536, at), "invalid: kind"},
		"negative kind":            {testkit.Signed(t, -1, at), "invalid: kind"},
		"kind not kept":            {testkit.Signed(t, 1, at), "blocked: kind 1"},
		"expired":                  {tags(14, nostr.Tag{"expiration", fmt.Sprint(at - 1)}), "invalid: expired"},
		"protected":                {tags(14, nostr.Tag{"-"}), "auth-required:"},
	} {
		t.Run(name, func(t *testing.T) {
			c := r.Dial()
			c.Send("EVENT", tc.evt)
			got := c.Next()
			if got[0] == "AUTH" {
				got = c.Next()
			}
			if got[0] != "OK" || got[1] != tc.evt.ID || got[2] != "false" || !strings.HasPrefix(got[3], tc.reason) {
				t.Errorf("got %.300q", got)
			}
			c.Quiet()
		})
	}
	if r.Store.Head() != 0 {
		t.Errorf("%d events were logged", r.Store.Head())
	}
	// Odd but valid events are taken: one-element tags, gift wraps dated two days back.
	c.MustPublish(tags(14, nostr.Tag{"d"}, nostr.Tag{"x"}, nostr.Tag{"p", ""}))
	c.MustPublish(testkit.Signed(t, mostro.KindGiftWrap, at-2*24*3600))
	c.MustPublish(testkit.SignedBy(t, testkit.Secret, 14, at, "\b\t\n\f\r\"\\/ \x00\x1f\x7f \u2028\ufffe\U0010ffff é"))
	c.MustPublish(tags(38383)) // an event without a d tag has d ""
}

func TestMalformedFrames(t *testing.T) {
	r := startRelay(t, nil)
	id := strings.Repeat("ab", 32)
	long := strings.Repeat("s", 65)
	for name, tc := range map[string]struct{ frame, verb, first, reason string }{
		"nothing":               {``, "NOTICE", "invalid:", ""},
		"no JSON":               {`hello`, "NOTICE", "invalid:", ""},
		"an object":             {`{}`, "NOTICE", "invalid:", ""},
		"an empty array":        {`[]`, "NOTICE", "invalid:", ""},
		"no verb":               {`[1]`, "NOTICE", "invalid:", ""},
		"unknown verb":          {`["HELLO"]`, "NOTICE", "unsupported:", ""},
		"event missing":         {`["EVENT"]`, "NOTICE", "invalid:", ""},
		"event no object":       {`["EVENT",1]`, "NOTICE", "invalid:", ""},
		"event cut short":       {`["EVENT",{"id":"` + id + `","kind":1`, "OK", id, "invalid:"},
		"event, kind a string":  {`["EVENT",{"kind":"x","id":"` + id + `"}]`, "OK", id, "invalid: kind"},
		"event, kind 1e3":       {`["EVENT",{"id":"` + id + `","kind":1e3}]`, "OK", id, "invalid: kind"},
		"event, tags an object": {`["EVENT",{"tags":{},"id":"` + id + `"}]`, "OK", id, "invalid: tags"},
		"event, id twice":       {`["EVENT",{"id":"` + id + `","id":"` + id + `"}]`, "OK", id, "invalid: id is given twice"},
		"event, sig missing":    {`["EVENT",{"id":"` + id + `","pubkey":"","created_at":1,"kind":1,"tags":[],"content":""}]`, "OK", id, "invalid: sig is missing"},
		"event, half a pair":    {`["EVENT",{"id":"` + id + `","content":"\ud800"}]`, "OK", id, "invalid:"},
		"event, more behind":    {`["EVENT",{},{}]`, "NOTICE", "invalid:", ""},
		"req without id":        {`["REQ"]`, "NOTICE", "invalid:", ""},
		"req, empty id":         {`["REQ","",{}]`, "NOTICE", "invalid:", ""},
		"req, long id":          {`["REQ","` + long + `",{}]`, "NOTICE", "invalid:", ""},
		"req without filter":    {`["REQ","s"]`, "CLOSED", "s", "invalid: no filter"},
		"req, filter a number":  {`["REQ","s",1]`, "CLOSED", "s", "invalid:"},
		"req, short id":         {`["REQ","s",{"ids":["ab"]}]`, "CLOSED", "s", "invalid: ids"},
		"req, upper-case id":    {`["REQ","s",{"authors":["` + strings.ToUpper(id) + `"]}]`, "CLOSED", "s", "invalid: authors"},
		"req, long tag name":    {`["REQ","s",{"#network":["mainnet"]}]`, "CLOSED", "s", "unsupported:"},
		"req, negative limit":   {`["REQ","s",{"limit":-1}]`, "CLOSED", "s", "invalid: limit"},
		"req, since a float":    {`["REQ","s",{"since":1.5}]`, "CLOSED", "s", "invalid: since"},
		"req, cut short":        {`["REQ","s",{"kinds":[1]}`, "CLOSED", "s", "invalid:"},
		"req, search":           {`["REQ","s",{"search":"x"}]`, "CLOSED", "s", "unsupported:"},
		"count, search":         {`["COUNT","s",{"search":"x"}]`, "CLOSED", "s", "unsupported:"},
		"req, 101 filters":      {`["REQ","s"` + strings.Repeat(`,{}`, 101) + `]`, "CLOSED", "s", "invalid: too many"},
		"close without id":      {`["CLOSE"]`, "NOTICE", "invalid:", ""},
		"deep nesting":          {`["REQ","s",{"x":` + strings.Repeat(`[`, 5000) + `]`, "CLOSED", "s", "invalid:"},
		"auth without event":    {`["AUTH"]`, "NOTICE", "invalid:", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := r.Dial()
			c.SendText(tc.frame)
			got := c.Next()
			if got[0] != tc.verb || !strings.HasPrefix(got[1], tc.first) || !strings.HasPrefix(got[len(got)-1], cmpOr(tc.reason, tc.first)) {
				t.Errorf("got %.300q", got)
			}
			c.Quiet()
		})
	}
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func TestOddButValidFrames(t *testing.T) {
	r := startRelay(t, nil)
	c := r.Dial()
	sub := strings.Repeat("é", 64)
	for _, frame := range []string{
		" [ \"REQ\" ,\t\"" + sub + "\" , {\"kinds\" : [ 1 ] , \"unknown\":{\"a\":[null,true,-1.5e3,\"\\u00e9\"]}} ] \n",
		`["REQ","` + sub + `",{"since":-5,"until":9223372036854775807,"kinds":[-1,70000]}]`,
		`["REQ","` + sub + `",{}]`,
	} {
		c.SendText(frame)
		c.Expect("EOSE", sub)
	}
	quoted := "q\"\\\n"
	if got := c.Req(quoted, testkit.Object{"kinds": []int{1}}); got != nil {
		t.Error(got)
	}
	c.Send("CLOSE", sub) // otherwise the event may arrive before its OK
	// Members that NIP-01 does not define are skipped, at any position.
	evt := testkit.Order(t, "a", testkit.Now(), "pending")
	body, _ := evt.MarshalJSON()
	c.SendText(`["EVENT",{"extra":[{"id":"x"}],` + string(body[1:len(body)-1]) + `,"seen":null}]`)
	c.Expect("OK", evt.ID, "true", "")
}

func TestTenThousandSubscriptions(t *testing.T) {
	r := startRelay(t, nil)
	c := r.Dial()
	go func() {
		for i := range 10_000 {
			c.Send("REQ", fmt.Sprint(i), testkit.Object{"kinds": []int{38383}, "#d": []string{fmt.Sprint(i)}})
		}
	}()
	open, refused := 0, 0
	for range 10_000 {
		switch got := c.Next(); {
		case got[0] == "EOSE":
			open++
		case got[0] == "CLOSED" && strings.HasPrefix(got[2], "rate-limited:"):
			refused++
		default:
			t.Fatalf("got %q", got)
		}
	}
	if open != 1024 || refused != 10_000-1024 {
		t.Errorf("%d open, %d refused", open, refused)
	}
	other := r.Dial()
	other.MustPublish(testkit.Order(t, "7", testkit.Now(), "pending"))
	c.Expect("EVENT", "7")
	c.WS.CloseNow()
	testkit.Eventually(t, "its subscriptions are gone", func() bool { return r.srv.dispatch.open() == 0 })
}

func TestWebsocketProtocol(t *testing.T) {
	r := startRelay(t, nil)
	for name, tc := range map[string]struct {
		send   func(*rawClient)
		code   ws.StatusCode
		notice string
	}{
		"close":           {func(c *rawClient) { c.frame(ws.OpClose, true, []byte{0x03, 0xe8}) }, ws.StatusNormalClosure, ""},
		"close, no code":  {func(c *rawClient) { c.frame(ws.OpClose, true, nil) }, ws.StatusNormalClosure, ""},
		"close, one byte": {func(c *rawClient) { c.frame(ws.OpClose, true, []byte{3}) }, ws.StatusNormalClosure, ""},
		"binary":          {func(c *rawClient) { c.frame(ws.OpBinary, true, []byte{1}) }, ws.StatusUnsupportedData, "only text"},
		"no UTF-8":        {func(c *rawClient) { c.text("[\"\xff\"]") }, ws.StatusInvalidFramePayloadData, "UTF-8"},
		"too big":         {func(c *rawClient) { c.text(strings.Repeat(" ", 600<<10)) }, ws.StatusMessageTooBig, "larger"},
		"too big in announcement": {func(c *rawClient) {
			ws.WriteHeader(c.nc, ws.Header{Fin: true, OpCode: ws.OpText, Masked: true, Length: 1 << 40})
		}, ws.StatusMessageTooBig, "larger"},
		"too big in pieces": {func(c *rawClient) {
			c.frame(ws.OpText, false, make([]byte, 300<<10))
			c.frame(ws.OpContinuation, true, make([]byte, 300<<10))
		}, ws.StatusMessageTooBig, "larger"},
		"not masked":         {func(c *rawClient) { ws.WriteFrame(c.nc, ws.NewTextFrame([]byte("[]"))) }, ws.StatusProtocolError, ""},
		"reserved opcode":    {func(c *rawClient) { c.frame(ws.OpCode(3), true, nil) }, ws.StatusProtocolError, ""},
		"stray continuation": {func(c *rawClient) { c.frame(ws.OpContinuation, true, nil) }, ws.StatusProtocolError, ""},
		"interrupted text":   {func(c *rawClient) { c.frame(ws.OpText, false, nil); c.text("[]") }, ws.StatusProtocolError, ""},
		"long ping":          {func(c *rawClient) { c.frame(ws.OpPing, true, make([]byte, 126)) }, ws.StatusProtocolError, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := dialRaw(t, r, "")
			tc.send(c)
			code, notices := c.closedWith()
			if code != tc.code || !strings.Contains(notices, tc.notice) {
				t.Errorf("closed with %d after %q", code, notices)
			}
		})
	}
	t.Run("fragments and pings between", func(t *testing.T) {
		c := dialRaw(t, r, "")
		c.frame(ws.OpText, false, []byte(`["REQ","`))
		c.frame(ws.OpPing, true, []byte("are you there"))
		c.frame(ws.OpContinuation, false, []byte(`s`))
		c.frame(ws.OpPong, true, nil)
		c.frame(ws.OpContinuation, true, []byte(`",{"kinds":[1]}]`))
		if op, payload := c.next(); op != ws.OpPong || payload != "are you there" {
			t.Errorf("got %v %q", op, payload)
		}
		if op, payload := c.next(); op != ws.OpText || payload != `["EOSE","s"]` {
			t.Errorf("got %v %q", op, payload)
		}
	})
	t.Run("byte by byte", func(t *testing.T) {
		c := dialRaw(t, r, "")
		f, _ := ws.CompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(`["CLOSE"]`))))
		for i := range f {
			c.nc.Write(f[i : i+1])
		}
		if _, payload := c.next(); !strings.Contains(payload, "NOTICE") {
			t.Errorf("got %q", payload)
		}
	})
}

func TestHandshakeHeaders(t *testing.T) {
	r := startRelay(t, nil)
	for _, headers := range []string{
		"Upgrade: WebSocket\r\nConnection: upgrade\r\n",
		"upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n",
		"Upgrade: h2c, websocket\r\nConnection: keep-alive\r\nConnection: UPGRADE\r\n",
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: nostr\r\nSec-WebSocket-Extensions: permessage-deflate\r\n",
	} {
		c := dialRaw(t, r, headers)
		c.text(`["COUNT","s",{"kinds":[1]}]`)
		if _, payload := c.next(); !strings.HasPrefix(payload, `["COUNT","`) {
			t.Errorf("%q: first frame %q", headers, payload)
		}
	}
	for headers, want := range map[string]int{
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 12\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n": http.StatusUpgradeRequired,
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n":                                                http.StatusBadRequest,
		"Upgrade: websocket\r\n": http.StatusBadRequest, // khatru's own socket loop must never see the request
	} {
		nc, err := net.Dial("tcp", r.HTTP.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(5 * time.Second))
		fmt.Fprintf(nc, "GET / HTTP/1.1\r\nHost: relay.test\r\n%s\r\n", headers)
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want {
			t.Errorf("%q: %s", headers, resp.Status)
		}
	}
	testkit.Eventually(t, "places are given back", func() bool {
		r.srv.conns.mu.Lock()
		defer r.srv.conns.mu.Unlock()
		return r.srv.conns.opening == len(r.srv.conns.all)
	})
}

func TestSilentClientsArePingedThenClosed(t *testing.T) {
	r := startRelay(t, func(c *Config) { c.PingEvery, c.IdleAfter = 40*time.Millisecond, 2*time.Second })
	lively := r.Dial()
	go lively.WS.Read(t.Context()) // answers pings
	dead := dialRaw(t, r, "")
	pings := 0
	for {
		op, payload := dead.next()
		if op == ws.OpPing {
			pings++
		}
		if op == ws.OpClose {
			if code := binary.BigEndian.Uint16([]byte(payload)); code != 1001 {
				t.Errorf("closed with %d", code)
			}
			break
		}
	}
	if pings < 2 {
		t.Errorf("%d pings", pings)
	}
	if n := relaytest.Gauge(t, r.reg, "mostrodex_relay_connections_dropped_unresponsive_total"); n != 1 {
		t.Errorf("%v dropped", n)
	}
	r.srv.conns.mu.Lock()
	defer r.srv.conns.mu.Unlock()
	for c := range r.srv.conns.all {
		if !c.w.isEnding() {
			return
		}
	}
	t.Error("the lively one is gone too")
}

func TestTooManyConnections(t *testing.T) {
	r := startRelay(t, func(c *Config) { c.MaxConnections = 2 })
	a := r.Dial()
	r.Dial()
	// The answer to a handshake is sent before the connection is counted.
	testkit.Eventually(t, "both are counted", func() bool { return relaytest.Gauge(t, r.reg, "mostrodex_relay_connections") == 2 })
	_, resp, err := websocket.Dial(t.Context(), r.URL(), nil)
	if err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("a third: %v", err)
	}
	a.WS.CloseNow()
	testkit.Eventually(t, "a place is free", func() bool { return relaytest.Gauge(t, r.reg, "mostrodex_relay_connections") == 1 })
	r.Dial()
}

// FuzzFrames sends any text as a frame. The relay answers or closes the connection, and
// serves other clients afterwards.
func FuzzFrames(f *testing.F) {
	r := startRelay(f, nil)
	witness := r.Dial()
	for _, seed := range []string{
		``, `[]`, `["EVENT",{"kind":38383,"tags":[["d"]]}]`, `["REQ","s",{"#d":["x"],"limit":0}]`, `["CLOSE","s"]`,
		`["COUNT","s",{"authors":[]}]`, `["AUTH",{"kind":22242,"tags":[["relay"],["challenge"]]}]`, `["NEG-OPEN","s",{},"61"]`,
		`["REQ","s",{"ids":["\u0000"],"since":-9223372036854775808}]`, "[\"\xff", `[[[[[[[[`, `["EVENT",{"tags":[[[]]]}]`,
	} {
		f.Add(seed)
	}
	for _, tags := range []nostr.Tags{{{"d"}}, {{}}, {{"-"}}, {{"expiration"}}, {{"e"}, {"a"}}, {{"expiration", "-"}}} {
		for _, kind := range []int{0, 5, 1059, 10002, 20001, 38383, 40001} {
			body, _ := testkit.Signed(f, kind, testkit.Now(), tags...).MarshalJSON()
			f.Add(`["EVENT",` + string(body) + `]`)
		}
	}
	body, _ := testkit.Signed(f, 22242, testkit.Now(), nostr.Tag{"relay"}, nostr.Tag{"challenge"}).MarshalJSON()
	f.Add(`["AUTH",` + string(body) + `]`)
	f.Fuzz(func(t *testing.T, frame string) {
		c := dialRaw(t, r, "")
		c.text(frame)
		c.text(`["COUNT","end",{"kinds":[1]}]`)
		for {
			op, payload := c.next()
			if op == ws.OpClose || strings.HasPrefix(payload, `["COUNT","end"`) {
				break
			}
		}
		c.nc.Close()
		witness.TB = t
		witness.Quiet()
		if n := relaytest.Gauge(t, r.reg, "mostrodex_relay_panics_total"); n != 0 {
			t.Errorf("%v panics", n)
		}
	})
}
