// Command canned answers known REQ messages with prepared frames. Its latency is the
// lower bound for any relay that sends the same answers over the same kind of socket.
//
// The input is a file of records. A record is a REQ payload and the whole answer as
// websocket frames, each after its length in four bytes (big endian). For each message
// the program reads a frame, unmasks it, looks up the payload in a map and writes the
// answer with one write call. One goroutine serves one connection. The program parses
// no JSON and inspects no event. If a message is not in the map (CLOSE), the program
// ignores it.
package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/gobwas/ws"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address")
	answers := flag.String("answers", "", "file of prepared answers")
	flag.Parse()
	if err := run(*listen, *answers); err != nil {
		fmt.Fprintln(os.Stderr, "canned:", err)
		os.Exit(1)
	}
}

func run(listen, file string) error {
	known, err := load(file)
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "serving relay=ws://%s/ answers=%d\n", l.Addr(), len(known))
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nc, rw, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			return
		}
		go serve(nc, rw.Reader, known)
	}))
}

func load(file string) (map[string][]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	known := make(map[string][]byte)
	part := func() ([]byte, error) {
		var n [4]byte
		if _, err := io.ReadFull(in, n[:]); err != nil {
			return nil, err
		}
		b := make([]byte, binary.BigEndian.Uint32(n[:]))
		_, err := io.ReadFull(in, b)
		return b, err
	}
	for {
		req, err := part()
		if errors.Is(err, io.EOF) {
			return known, nil
		}
		if err != nil {
			return nil, err
		}
		if known[string(req)], err = part(); err != nil {
			return nil, err
		}
	}
}

func serve(nc net.Conn, in *bufio.Reader, known map[string][]byte) {
	defer nc.Close()
	var payload []byte
	for {
		h, err := ws.ReadHeader(in)
		if err != nil || h.OpCode == ws.OpClose || h.Length > 1<<20 {
			return
		}
		if int64(cap(payload)) < h.Length {
			payload = make([]byte, h.Length)
		}
		payload = payload[:h.Length]
		if _, err := io.ReadFull(in, payload); err != nil {
			return
		}
		ws.Cipher(payload, h.Mask, 0)
		if answer, ok := known[string(payload)]; ok {
			if _, err := nc.Write(answer); err != nil {
				return
			}
		}
	}
}
