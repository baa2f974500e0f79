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
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/gobwas/ws"
	"github.com/mostrodex/mostrodex/internal/jsonscan"
	"github.com/mostrodex/mostrodex/relay/eventlog"
)

// conn is one client's websocket.
//
// Package gobwas/ws does the handshake, the frame headers and the masking, and leaves the
// buffers to the caller. A library that owns the connection was not chosen for that
// reason: an idle connection costs one 2 KiB read buffer and two parked goroutines, an
// answer of a hundred events is one write, and the strings of an event are parts of the
// message that was read. permessage-deflate is not offered, because it costs about 300 KiB
// a connection or a fresh window a message, and events are mostly hex.
//
// Two goroutines serve a connection. The reader takes one frame at a time, and each frame
// takes effect before the next one is read. The writer sends the answers and the live
// events. A third goroutine starts when a client publishes its first event, and waits for
// the answers of the store.
type conn struct {
	srv       *Server
	nc        net.Conn
	ip        netip.Addr
	local     bool   // from loopback, and not through a proxy for another client
	host      string // Host header of the request
	base      string // address that NIP-42 proofs have to name, from ownURL.base; "": no proof is accepted
	challenge string // of NIP-42

	// Owned by the reader.
	br        *bufio.Reader
	text      jsonscan.Scanner
	subs      map[string]*subscription
	openBytes int // bytes of the REQs in subs
	// Conditions and values of the filters in subs, as liveFilter.cost counts them.
	openConditions, openValues int
	authd                      map[string]bool // public keys proven by NIP-42
	negs                       negSessions
	acks                       chan ack // nil until the first EVENT; if full, the reader waits

	unanswered sync.WaitGroup // events in acks whose OK is not yet in out
	ackerDone  chan struct{}

	lastRead atomic.Int64 // Unix milliseconds of the last whole frame
	lastPing int64        // owned by the keeper

	w writer // guards itself
}

// ack is an EVENT frame that awaits its OK.
type ack struct {
	id      string
	pending eventlog.Pending // nil: ok and reason are set
	ok      bool
	reason  string
	started time.Time
}

const (
	readBufferBytes = 2 << 10
	// publisherBufferBytes is the read buffer of a connection that has published.
	publisherBufferBytes = 16 << 10
	maxDrainBytes        = 8 << 20
)

// upgrade answers the handshake and starts the goroutines of the connection. The handler
// returns at once, so that net/http frees its own buffers.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) {
	ip, local := s.peers.clientIP(r)
	if refusal := s.conns.admit(ip, local); refusal != "" {
		http.Error(w, refusal, http.StatusServiceUnavailable)
		return
	}
	// The library compares the first header line as a whole. RFC 9110 allows a list of
	// tokens over several lines, and the caller has checked that list.
	r.Header["Upgrade"] = []string{"websocket"}
	r.Header["Connection"] = []string{"Upgrade"}
	nc, rw, _, err := ws.HTTPUpgrader{Timeout: s.cfg.WriteWait}.Upgrade(r, w)
	if err != nil {
		if nc != nil {
			nc.Close()
		}
		s.conns.release(ip)
		return
	}
	var in io.Reader = nc
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ := rw.Reader.Peek(n)
		in = io.MultiReader(bytes.NewReader(bytes.Clone(early)), nc)
	}
	base, _ := s.own.base(r)
	c := &conn{
		srv: s, nc: nc, ip: ip, local: local, host: r.Host, base: base,
		challenge: newChallenge(),
		br:        bufio.NewReaderSize(in, readBufferBytes),
		subs:      make(map[string]*subscription, 1),
	}
	c.w.start(&s.queues, nc)
	c.lastRead.Store(time.Now().UnixMilli())
	// The challenge is sent when a request needs it, because clients ask their user to
	// sign when they see a challenge.
	if !s.conns.add(c) {
		nc.Close()
		s.conns.release(ip)
		return
	}
	go c.w.write()
	go c.read()
}

// read is the reader. It ends the connection when it returns.
func (c *conn) read() {
	defer c.srv.conns.remove(c)
	defer c.finish()
	defer func() {
		// One client's frame must not end a process that holds the money of others.
		if p := recover(); p != nil {
			c.srv.met.panics.Inc()
			c.srv.cfg.Logger.Error("panic while handling a frame", "panic", p, "stack", string(debug.Stack()))
			c.w.end(ws.StatusInternalServerError, "error: internal error", true)
		}
	}()
	for {
		msg, err := c.readMessage()
		if err != nil {
			c.readFailed(err)
			return
		}
		c.lastRead.Store(time.Now().UnixMilli())
		if c.w.isEnding() {
			return
		}
		c.handle(msg)
		c.w.written(c.br.Buffered() > 0)
		c.text.Reset("") // an idle connection keeps no message in memory
	}
}

// protocolError is an error that ends a connection with a close code and a notice.
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
		c.w.end(p.code, p.reason, true)
	case errors.As(err, &bad):
		c.w.end(ws.StatusProtocolError, string(bad), false)
	default:
		c.w.end(ws.StatusNormalClosure, "", false)
	}
}

// readMessage reads one text message and answers control frames meanwhile. The returned
// string shares no memory with a buffer.
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
			// Pings between the parts of a message would otherwise keep half a message
			// forever.
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

// readGrowing appends n bytes to b. The memory of a big message is allocated as the bytes
// arrive, because a client may announce a length and send nothing.
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
		c.w.pong(payload)
	case ws.OpClose:
		code, reason := ws.StatusNormalClosure, ""
		if len(payload) >= 2 {
			code, reason = ws.ParseCloseFrameData(payload)
			if err := ws.CheckCloseFrameData(code, reason); err != nil {
				return ws.ProtocolError("malformed close frame")
			}
		}
		c.w.end(code, "", false)
		return errPeerClosed
	}
	return nil
}

func (c *conn) notice(reason string) {
	c.w.reply(func(dst []byte) []byte { return appendReply(dst, "NOTICE", reason) })
}

func (c *conn) closed(sub, reason string) {
	c.srv.met.refused("closed", reason)
	c.w.reply(func(dst []byte) []byte { return appendReply(dst, "CLOSED", sub, reason) })
}

// finish ends the connection after the reader has ended. Subscriptions are removed,
// appends under way are awaited, the last frames are flushed, and the client's input is
// read for a moment. The input is read because closing a socket with unread input resets
// the connection, and the client would not see the reason.
func (c *conn) finish() {
	for _, sub := range c.subs {
		c.drop(sub)
	}
	c.negs.closeAll()
	if c.acks != nil {
		close(c.acks)
		<-c.ackerDone
	}
	c.w.end(ws.StatusGoingAway, "", false)
	<-c.w.done
	c.w.uncount()
	if tcp, ok := c.nc.(interface{ CloseWrite() error }); ok && tcp.CloseWrite() == nil {
		io.Copy(io.Discard, io.LimitReader(c.br, maxDrainBytes)) // best effort, bounded by the read deadline
	}
	c.nc.Close()
}

// isUpgrade reports whether a request asks for a websocket. Names and tokens are compared
// without case and in lists, as RFC 9110 requires.
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
