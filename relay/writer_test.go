package relay

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Frames arrive whole and once, those of one sender in order. The socket often takes only
// a part of the bytes, and different goroutines write: a flush, the writer behind it, and
// answers in between.
func TestFlushLeavesTheRestToTheWriter(t *testing.T) {
	r := startRelay(t, func(c *Config) { c.MaxQueueBytes = 64 << 20 })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	tcp := nc.(*net.TCPConn)
	tcp.SetWriteBuffer(8 << 10) // a small buffer, so that few frames fit
	var c writer
	if c.start(&r.srv.queues, nc); c.raw == nil {
		t.Fatal("the connection has no raw connection")
	}
	go c.write()

	const senders, frames = 3, 2000
	sub := &subscription{w: &c, prefix: eventPrefix("s")}
	pad := strings.Repeat("x", 500)
	var wait sync.WaitGroup
	wait.Go(func() { // the dispatcher
		for i := range frames {
			if c.deliver(sub, fmt.Appendf(nil, "0 %d %s", i, pad)) && i%3 == 2 || i == frames-1 {
				c.flush()
			}
		}
	})
	for sender := 1; sender < senders; sender++ { // the reader and the acker
		wait.Go(func() {
			for i := range frames {
				c.reply(func(dst []byte) []byte { return appendText(dst, fmt.Appendf(nil, "%d %d %s", sender, i, pad)) })
				c.written(i%5 != 4)
			}
		})
	}
	client.SetDeadline(time.Now().Add(time.Minute))
	var next [senders]int
	for range senders * frames {
		var head [4]byte
		if _, err := io.ReadFull(client, head[:]); err != nil {
			t.Fatalf("after %v frames: %v", next, err)
		}
		if head[0] != 0x81 || head[1] != 126 {
			t.Fatalf("frame header %x after %v frames", head, next)
		}
		payload := make([]byte, binary.BigEndian.Uint16(head[2:]))
		if _, err := io.ReadFull(client, payload); err != nil {
			t.Fatal(err)
		}
		text := strings.TrimSuffix(strings.TrimPrefix(string(payload), `["EVENT","s",`), "]")
		var sender, i int
		if _, err := fmt.Sscanf(text, "%d %d "+pad, &sender, &i); err != nil || i != next[sender] {
			t.Fatalf("sender %d frame %d after %v frames: %v", sender, i, next, err)
		}
		next[sender]++
	}
	wait.Wait()
	if n := c.unsent(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
	c.end(1000, "", false)
	<-c.done
}
