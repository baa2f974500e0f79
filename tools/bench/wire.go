package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// The generator shares two cores with the server under measurement, so its side of the
// socket must be cheap. Messages are framed once in advance with a zero mask, which is
// allowed and leaves the payload unchanged. Answers are skipped by their frame headers
// unless the caller needs their content.

const (
	opContinuation = 0
	opText         = 1
	opClose        = 8
	opPing         = 9
	opPong         = 10
)

// appendFrame appends one whole client frame.
func appendFrame(dst []byte, op byte, payload []byte) []byte {
	dst = append(dst, 0x80|op)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, 0x80|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0x80|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x80|127), uint64(n))
	}
	dst = append(dst, 0, 0, 0, 0)
	return append(dst, payload...)
}

// appendServerFrame appends one whole text frame of a server.
func appendServerFrame(dst, payload []byte) []byte {
	dst = append(dst, 0x80|opText)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
	}
	return append(dst, payload...)
}

// socket is a client's end of a websocket. One goroutine may read while another writes.
type socket struct {
	nc  net.Conn
	br  *bufio.Reader
	buf []byte
}

// answerWithin bounds every wait for a server, so that the benchmark ends if a server
// hangs.
const answerWithin = 2 * time.Minute

func dial(ctx context.Context, addr string) (*socket, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	_, err = fmt.Fprintf(nc, "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", addr)
	if err != nil {
		nc.Close()
		return nil, err
	}
	br := newReader(nc)
	resp, err := http.ReadResponse(br, nil)
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("dial %s: %s", addr, resp.Status)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	nc.SetDeadline(time.Time{})
	return &socket{nc: nc, br: br}, nil
}

func (s *socket) close() { s.nc.Close() }

// send writes frames that appendFrame made.
func (s *socket) send(frames []byte) error {
	s.nc.SetWriteDeadline(time.Now().Add(answerWithin))
	_, err := s.nc.Write(frames)
	return err
}

// say frames and sends one message.
func (s *socket) say(format string, args ...any) error {
	return s.send(appendFrame(nil, opText, fmt.Appendf(nil, format, args...)))
}

// header reads one frame header.
func (s *socket) header() (op byte, fin bool, n int, err error) {
	b, err := s.br.Peek(2)
	if err != nil {
		return 0, false, 0, err
	}
	op, fin, n = b[0]&15, b[0]&0x80 != 0, int(b[1]&127)
	size := 2
	switch n {
	case 126:
		size = 4
	case 127:
		size = 10
	}
	if b, err = s.br.Peek(size); err != nil {
		return 0, false, 0, err
	}
	switch size {
	case 4:
		n = int(binary.BigEndian.Uint16(b[2:]))
	case 10:
		n = int(binary.BigEndian.Uint64(b[2:]))
	}
	s.br.Discard(size)
	return op, fin, n, nil
}

func newReader(nc net.Conn) *bufio.Reader { return bufio.NewReaderSize(nc, 128<<10) }

var errClosed = errors.New("the server closed the connection")

// frame answers control frames and returns the header of the next data frame. If the
// server closes the connection, frame returns errClosed.
func (s *socket) frame() (op byte, fin bool, n int, err error) {
	for {
		if op, fin, n, err = s.header(); err != nil {
			return
		}
		switch op {
		case opPing:
			payload := make([]byte, n)
			if _, err = io.ReadFull(s.br, payload); err != nil {
				return
			}
			if err = s.send(appendFrame(nil, opPong, payload)); err != nil {
				return
			}
		case opPong:
			if _, err = s.br.Discard(n); err != nil {
				return
			}
		case opClose:
			return op, fin, n, errClosed
		default:
			return
		}
	}
}

// next reads one whole message. The slice is valid until the next call.
func (s *socket) next() ([]byte, error) {
	s.nc.SetReadDeadline(time.Now().Add(answerWithin))
	s.buf = s.buf[:0]
	for {
		_, fin, n, err := s.frame()
		if err != nil {
			return nil, err
		}
		from := len(s.buf)
		s.buf = append(s.buf, make([]byte, n)...)
		if _, err := io.ReadFull(s.br, s.buf[from:]); err != nil {
			return nil, err
		}
		if fin {
			return s.buf, nil
		}
	}
}

// verbBytes is the number of bytes that distinguish the verbs of messages.
const verbBytes = 6

// skim skips one message and returns its first bytes and its size.
func (s *socket) skim() (verb [verbBytes]byte, size int, err error) {
	for first := true; ; first = false {
		_, fin, n, err := s.frame()
		if err != nil {
			return verb, size, err
		}
		if first {
			b, err := s.br.Peek(min(verbBytes, n))
			if err != nil {
				return verb, size, err
			}
			copy(verb[:], b)
		}
		if _, err := s.br.Discard(n); err != nil {
			return verb, size, err
		}
		if size += n; fin {
			return verb, size, nil
		}
	}
}

var (
	verbEvent  = [verbBytes]byte([]byte(`["EVEN`))
	verbEOSE   = [verbBytes]byte([]byte(`["EOSE`))
	verbClosed = [verbBytes]byte([]byte(`["CLOS`))
	verbCount  = [verbBytes]byte([]byte(`["COUN`))
)

// skimAnswer skips the messages of a stored answer or a count up to its end, and
// returns the number of events. If the server answers CLOSED, skimAnswer returns an
// error.
func (s *socket) skimAnswer() (events int, err error) {
	s.nc.SetReadDeadline(time.Now().Add(answerWithin))
	for {
		verb, _, err := s.skim()
		switch {
		case err != nil:
			return events, err
		case verb == verbEvent:
			events++
		case verb == verbEOSE, verb == verbCount:
			return events, nil
		case verb == verbClosed:
			return events, errors.New("the server answered CLOSED")
		}
	}
}

// readAnswer reads the events of a stored answer to sub, as JSON, in order. If the
// server answers CLOSED, readAnswer returns an error.
func (s *socket) readAnswer(sub string) (events [][]byte, err error) {
	event, eose, closed := `["EVENT","`+sub+`",`, `["EOSE","`+sub+`"]`, `["CLOSED","`+sub+`"`
	for {
		msg, err := s.next()
		if err != nil {
			return events, err
		}
		text := strings.TrimSpace(string(msg))
		switch {
		case strings.HasPrefix(text, event):
			events = append(events, []byte(strings.TrimSuffix(text[len(event):], "]")))
		case text == eose:
			return events, nil
		case strings.HasPrefix(text, closed):
			return events, errors.New(text)
		}
	}
}

// readOK reads messages up to the next OK. Every relay uses the same layout: ["OK","<64
// hex>",true,...
func (s *socket) readOK() (id string, ok bool, reason string, err error) {
	for {
		msg, err := s.next()
		if err != nil {
			return "", false, "", err
		}
		if len(msg) < 74 || string(msg[:7]) != `["OK","` {
			continue
		}
		return string(msg[7:71]), msg[73] == 't', string(msg[73:]), nil
	}
}

// readCount reads messages up to the next COUNT answer and returns the count.
func (s *socket) readCount() (int, error) {
	s.nc.SetReadDeadline(time.Now().Add(answerWithin))
	for {
		msg, err := s.next()
		if err != nil {
			return 0, err
		}
		if !strings.HasPrefix(string(msg), `["COUNT"`) {
			continue
		}
		var parts [3]json.RawMessage
		var answer struct {
			Count int `json:"count"`
		}
		if err := json.Unmarshal(msg, &parts); err != nil {
			return 0, err
		}
		err = json.Unmarshal(parts[2], &answer)
		return answer.Count, err
	}
}
