package relay

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/gobwas/ws"
	"github.com/mostrodex/mostrodex/internal/jsonscan"
	"github.com/mostrodex/mostrodex/relay/eventlog"
)

// conn is one client's websocket.
//
// gobwas/ws gives the handshake, the frame headers and the masking, and leaves
// the buffers to us. That is why it was taken and not a library that owns the
// connection: an idle connection costs one 2 KiB read buffer and two parked
// goroutines, an answer of a hundred events is one write, and an event's
// strings are parts of the message as it was read. permessage-deflate is not
// offered: it costs some 300 KiB a connection or a fresh window a message, and
// events are mostly hex.
//
// Two goroutines serve it. The reader takes frames one at a time, each having
// its effect before the next is looked at. The writer empties out; what the
// socket takes at once is written by whoever has made it (flush). A third runs
// only once a client has published: it waits for the store's answers.
type conn struct {
	srv       *Server
	nc        net.Conn
	raw       syscall.RawConn // of nc; nil: only the writer writes
	ip        netip.Addr
	local     bool   // loopback, and no proxy spoke for somebody else
	host      string // of the request
	base      string // that NIP-42 proofs have to name, by baseURL; "": none is taken
	challenge string // NIP-42

	// owned by the reader
	br        *bufio.Reader
	text      jsonscan.Scanner
	subs      map[string]*subscription
	openBytes int // of the REQs in subs
	// of the filters in subs, as liveFilter.cost counts them
	openConditions, openValues int
	authd                      map[string]bool // public keys proven by NIP-42
	negs                       map[string]*negSession
	acks                       chan ack // nil until the first EVENT; full: the reader waits

	unanswered sync.WaitGroup // events in acks whose OK is not in out yet
	ackerDone  chan struct{}

	lastRead  atomic.Int64 // unix milliseconds of the last whole frame
	lastPing  int64        // owned by the keeper
	batch     uint64       // of the last flush it was in; guarded by the dispatcher's mu
	wake      chan struct{}
	writeDone chan struct{}
	deadline  time.Time // of writes; owned by whoever has made writing more than 0

	mu      sync.Mutex
	room    sync.Cond // on mu: out got shorter, or the connection ends
	out     []byte    // whole websocket frames not yet taken by the writer
	writing int       // bytes taken from out and not yet written; more than 0: somebody writes
	held    int       // bytes held back behind stored answers
	counted int       // of all these, in Server.queued
	ending  bool      // nothing more is added to out; the writer flushes and stops
}

// ack is an EVENT frame whose OK is due.
type ack struct {
	id      string
	pending eventlog.Pending // nil: ok and reason are known
	ok      bool
	reason  string
	started time.Time
}

const (
	readBufferBytes = 2 << 10
	// publisherBufferBytes is the read buffer of whoever has published.
	publisherBufferBytes = 16 << 10
	writeChunkBytes      = 256 << 10 // so that a deadline is about progress
	replyBytes           = 64 << 10  // what may wait before the client's own answers wait too
	maxUnsent            = 128 << 10 // what the system takes before it can be sent
	closeGrace           = 3 * time.Second
	maxDrainBytes        = 8 << 20
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// takeBuffer and giveBuffer keep big buffers from outliving a big answer.
func takeBuffer() []byte { return (*buffers.Get().(*[]byte))[:0] }

func giveBuffer(b []byte) {
	if cap(b) >= 1<<10 && cap(b) <= 512<<10 {
		buffers.Put(&b)
	}
}

// upgrade answers the handshake and starts the connection's goroutines. The
// handler returns at once, so that net/http's own buffers are freed.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) {
	ip, local := s.clientIP(r)
	if refusal := s.admitConn(ip, local); refusal != "" {
		http.Error(w, refusal, http.StatusServiceUnavailable)
		return
	}
	// The library compares the first header line as a whole; RFC 9110 allows a
	// list of tokens over several lines, which the caller has looked through.
	r.Header["Upgrade"] = []string{"websocket"}
	r.Header["Connection"] = []string{"Upgrade"}
	nc, rw, _, err := ws.HTTPUpgrader{Timeout: s.cfg.WriteWait}.Upgrade(r, w)
	if err != nil {
		if nc != nil {
			nc.Close()
		}
		s.releaseConn(ip)
		return
	}
	var in io.Reader = nc
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ := rw.Reader.Peek(n)
		in = io.MultiReader(bytes.NewReader(bytes.Clone(early)), nc)
	}
	base, _ := s.baseURL(r)
	c := &conn{
		srv: s, nc: nc, ip: ip, local: local, host: r.Host, base: base,
		challenge: newChallenge(),
		br:        bufio.NewReaderSize(in, readBufferBytes),
		subs:      make(map[string]*subscription, 1),
		wake:      make(chan struct{}, 1), // a token: full means the writer will look anyway
		writeDone: make(chan struct{}),
	}
	if sc, ok := nc.(syscall.Conn); ok {
		if c.raw, _ = sc.SyscallConn(); c.raw != nil { // without it the writer writes all
			limitUnsent(c.raw) // what is no TCP has small buffers of its own
		}
	}
	c.room.L = &c.mu
	c.lastRead.Store(time.Now().UnixMilli())
	// The challenge is sent when a request needs it: clients ask their user to
	// sign when they see one.
	if !s.addConn(c) {
		nc.Close()
		s.releaseConn(ip)
		return
	}
	go c.write()
	go c.read()
}

// read is the reader. It owns the end of the connection.
func (c *conn) read() {
	defer c.srv.removeConn(c)
	defer c.finish()
	defer func() {
		// One client's frame must not end a process that holds others' money.
		if p := recover(); p != nil {
			c.srv.met.panics.Inc()
			c.srv.cfg.Log.Error("panic while handling a frame", "panic", p, "stack", string(debug.Stack()))
			c.end(ws.StatusInternalServerError, "error: internal error", true)
		}
	}()
	for {
		msg, err := c.readMessage()
		if err != nil {
			c.readFailed(err)
			return
		}
		c.lastRead.Store(time.Now().UnixMilli())
		if c.isEnding() {
			return
		}
		c.handle(msg)
		c.written(c.br.Buffered() > 0)
		c.text.Reset("") // an idle connection holds on to no message
	}
}

// protocolError ends a connection with a close code and a notice.
type protocolError struct {
	code   ws.StatusCode
	reason string
}

func (e protocolError) Error() string { return e.reason }

var errPeerClosed = errors.New("closed by the peer")

func (c *conn) readFailed(err error) {
	var p protocolError
	var bad ws.ProtocolError
	switch {
	case errors.As(err, &p):
		c.end(p.code, p.reason, true)
	case errors.As(err, &bad):
		c.end(ws.StatusProtocolError, string(bad), false)
	default:
		c.end(ws.StatusNormalClosure, "", false)
	}
}

// readMessage reads one text message, answering control frames on the way.
// The string shares no memory with anything.
func (c *conn) readMessage() (string, error) {
	state := ws.StateServerSide
	limit := int64(c.srv.cfg.MaxMessageBytes)
	var whole []byte
	var began time.Time // of a message in several frames
	for {
		h, err := ws.ReadHeader(c.br)
		if err != nil {
			return "", err
		}
		if err := ws.CheckHeader(h, state); err != nil {
			return "", err
		}
		if !began.IsZero() && time.Since(began) > c.srv.cfg.IdleAfter {
			// Pings between its parts would keep half a message for ever.
			return "", protocolError{ws.StatusPolicyViolation, "error: the parts of the message come too slowly"}
		}
		if h.OpCode.IsControl() {
			if err := c.control(h); err != nil {
				return "", err
			}
			continue
		}
		if h.OpCode == ws.OpBinary {
			return "", protocolError{ws.StatusUnsupportedData, "invalid: only text messages are understood"}
		}
		if h.Length > limit-int64(len(whole)) {
			return "", protocolError{ws.StatusMessageTooBig, "invalid: the message is larger than this relay takes"}
		}
		from := len(whole)
		if whole, err = readGrowing(c.br, whole, int(h.Length)); err != nil {
			return "", err
		}
		ws.Cipher(whole[from:], h.Mask, 0)
		if !h.Fin {
			state = state.Set(ws.StateFragmented)
			if began.IsZero() {
				began = time.Now()
			}
			continue
		}
		if !utf8.Valid(whole) {
			return "", protocolError{ws.StatusInvalidFramePayloadData, "invalid: the message is not UTF-8"}
		}
		return unsafe.String(unsafe.SliceData(whole), len(whole)), nil
	}
}

// readGrowing appends n bytes to b. A big message gets its memory as it
// arrives, not when it is announced.
func readGrowing(r io.Reader, b []byte, n int) ([]byte, error) {
	const step = 16 << 10
	if b == nil {
		b = make([]byte, 0, min(n, step))
	}
	for n > 0 {
		part := min(n, max(step, len(b)))
		from := len(b)
		if cap(b)-from < part {
			grown := make([]byte, from, from+part)
			copy(grown, b)
			b = grown
		}
		b = b[:from+part]
		if _, err := io.ReadFull(r, b[from:]); err != nil {
			return b, err
		}
		n -= part
	}
	return b, nil
}

func (c *conn) control(h ws.Header) error {
	var room [ws.MaxControlFramePayloadSize]byte
	payload := room[:h.Length]
	if _, err := io.ReadFull(c.br, payload); err != nil {
		return err
	}
	ws.Cipher(payload, h.Mask, 0)
	c.lastRead.Store(time.Now().UnixMilli())
	switch h.OpCode {
	case ws.OpPing:
		c.mu.Lock()
		// A flood of pings from someone who does not read earns no pongs.
		if !c.ending && len(c.out)+c.writing < replyBytes {
			c.out = append(appendHeader(c.grown(), ws.OpPong, len(payload)), payload...)
		}
		c.mu.Unlock()
		c.nudge()
	case ws.OpClose:
		code, reason := ws.StatusNormalClosure, ""
		if len(payload) >= 2 {
			code, reason = ws.ParseCloseFrameData(payload)
			if err := ws.CheckCloseFrameData(code, reason); err != nil {
				return ws.ProtocolError("malformed close frame")
			}
		}
		c.end(code, "", false)
		return errPeerClosed
	}
	return nil
}

func (c *conn) notice(reason string) {
	c.reply(func(dst []byte) []byte { return appendReply(dst, "NOTICE", reason) })
}

func (c *conn) closed(sub, reason string) {
	c.srv.met.refused("closed", reason)
	c.reply(func(dst []byte) []byte { return appendReply(dst, "CLOSED", sub, reason) })
}

// end closes the connection with a reason: what waits is dropped when the
// client is told of an error, flushed otherwise. Only the first call counts.
func (c *conn) end(code ws.StatusCode, reason string, notice bool) {
	c.mu.Lock()
	if c.ending {
		c.mu.Unlock()
		return
	}
	c.ending = true
	if notice {
		if code == ws.StatusPolicyViolation {
			c.out = c.out[:0]
		}
		c.out = appendReply(c.grown(), "NOTICE", reason)
	}
	c.out = appendClose(c.grown(), code, reason)
	c.room.Broadcast()
	// Under mu, so that the writer does not push its deadline out again.
	grace := time.Now().Add(closeGrace)
	c.nc.SetReadDeadline(grace)
	c.nc.SetWriteDeadline(grace)
	c.mu.Unlock()
	c.nudge()
}

func (c *conn) unsent() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.out) + c.writing
}

func (c *conn) isEnding() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending
}

// finish ends the connection when the reader has: subscriptions go first, the
// appends under way are waited for, the last frames are flushed, and what the
// client still sends is read for a moment. Closing a socket with unread input
// resets it, and the client would never see why.
func (c *conn) finish() {
	for _, sub := range c.subs {
		c.drop(sub)
	}
	c.closeNegs()
	if c.acks != nil {
		close(c.acks)
		<-c.ackerDone
	}
	c.end(ws.StatusGoingAway, "", false)
	<-c.writeDone
	c.uncount()
	if tcp, ok := c.nc.(interface{ CloseWrite() error }); ok && tcp.CloseWrite() == nil {
		io.Copy(io.Discard, io.LimitReader(c.br, maxDrainBytes)) // best effort, bounded by the read deadline
	}
	c.nc.Close()
}

// ping is called by the keeper.
func (c *conn) ping() {
	c.mu.Lock()
	if !c.ending && len(c.out)+c.writing == 0 {
		c.out = appendHeader(c.grown(), ws.OpPing, 0)
	}
	c.mu.Unlock()
	c.nudge()
}

// isUpgrade says whether a request asks for a websocket: names and tokens are
// compared as RFC 9110 has it, without case and in lists.
func isUpgrade(h http.Header) bool {
	return hasToken(h.Values("Upgrade"), "websocket") && hasToken(h.Values("Connection"), "upgrade")
}

func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// clientIP is the address a request is charged to, and whether it comes from
// this machine on nobody's behalf: not through a proxy, and not from a page in
// a browser, which says its Origin. A proxy's word is taken only from the
// configured proxies, reading the chain from the near end.
func (s *Server) clientIP(r *http.Request) (ip netip.Addr, local bool) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	ip = peer.Addr().Unmap().WithZone("")
	chain := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(chain) - 1; i >= 0 && s.trusted(ip); i-- {
		next, err := netip.ParseAddr(strings.TrimSpace(chain[i]))
		if err != nil {
			break
		}
		ip = next.Unmap().WithZone("")
	}
	return ip, ip.IsLoopback() && !isForwarded(r.Header) && !s.cfg.NobodyIsLocal && r.Header.Get("Origin") == ""
}

// namesThisMachine reports whether a Host is an address or localhost. Another
// name that leads to this machine may be that of a page which had its name
// resolved to it.
func namesThisMachine(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	_, err := netip.ParseAddr(host)
	return err == nil || strings.EqualFold(host, "localhost")
}

// GuardPrivate refuses what pages in a browser ask of a listener that is for
// this machine or its network: requests with an Origin, or for a host that is
// neither an address nor localhost nor among names.
func GuardPrivate(next http.Handler, names ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		named := slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, host) })
		if r.Header.Get("Origin") != "" || !named && !namesThisMachine(r.Host) {
			refuseHTTP(w, http.StatusForbidden, "this listener answers no pages: ask it by its address or localhost, without an Origin")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) trusted(ip netip.Addr) bool {
	for _, p := range s.cfg.TrustedProxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}
