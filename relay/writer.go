package relay

import (
	"runtime"
	"syscall"
	"time"

	"github.com/gobwas/ws"
)

// grown returns out, with a pooled buffer if out is empty. mu is held.
func (c *conn) grown() []byte {
	if c.out == nil {
		c.out = takeBuffer()
	}
	return c.out
}

// nudge wakes the writer.
func (c *conn) nudge() {
	select {
	case c.wake <- struct{}{}:
	default: // the writer is already woken
	}
}

// reply queues an answer to a frame of the client; add appends the answer. Only the reader
// and the acker call reply, and both call written afterwards. They wait if the client does
// not read; no other goroutine waits for the client.
func (c *conn) reply(add func(dst []byte) []byte) {
	c.mu.Lock()
	c.awaitRoom()
	if !c.ending {
		c.out = add(c.grown())
	}
	c.mu.Unlock()
}

// written flushes the replies. If more replies follow soon, the writer sends all of them
// together.
func (c *conn) written(more bool) {
	switch {
	case !more:
		c.flush()
	case c.waiting():
		c.nudge()
	}
}

// waiting reports whether frames wait to be written.
func (c *conn) waiting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.out) > 0
}

// awaitRoom waits until the client has taken enough of the queued answers. mu is held, and
// released while awaitRoom waits.
func (c *conn) awaitRoom() {
	for !c.ending && len(c.out)+c.writing > c.replyRoom() {
		c.nudge()
		c.room.Wait()
	}
}

// deliver queues a live event for a subscription of the connection. If the stored events
// are still being sent, the frame is held behind them. deliver never waits. If the client
// is too slow, the connection is closed. flush is true if out has frames for the next
// flush.
func (c *conn) deliver(sub *subscription, body []byte) (flush bool) {
	c.mu.Lock()
	if c.ending || sub.gone {
		c.mu.Unlock()
		return false
	}
	if waits := len(c.out) + c.writing + c.held; waits > 0 && waits+len(body) > c.queueRoom() {
		c.mu.Unlock()
		c.srv.met.slow.Inc()
		c.end(ws.StatusPolicyViolation, "error: the client reads too slowly", true)
		return false
	}
	if sub.holding {
		was := len(sub.held)
		sub.held = appendEvent(sub.held, sub.prefix, body)
		c.held += len(sub.held) - was
		c.mu.Unlock()
		return false
	}
	c.out = appendEvent(c.grown(), sub.prefix, body)
	c.mu.Unlock()
	return true
}

// queueShare divides the free part of MaxQueuedBytes. One connection may queue at most one
// such part, and the parts shrink as the queues fill up. Many clients that read nothing
// therefore leave room for clients that read.
const queueShare = 12

// queueRoom returns how many bytes may wait for the client. mu is held.
func (c *conn) queueRoom() int { return c.share(minQueueBytes, c.srv.cfg.MaxQueueBytes) }

// replyRoom returns the same limit for answers to the client's own requests. The goroutine
// that makes an answer waits if the limit is reached. mu is held.
func (c *conn) replyRoom() int {
	if len(c.out)+c.writing <= minReplyBytes {
		return minReplyBytes
	}
	return c.share(minReplyBytes, replyBytes)
}

// share returns a connection's part of the free queue bytes of all connections, between
// least and most. The connection's own queue counts as used. mu is held.
func (c *conn) share(least, most int) int {
	queued := c.count()
	return min(most, max(least, int((int64(c.srv.cfg.MaxQueuedBytes)-queued)/queueShare)))
}

// count updates Server.queued with the bytes of this connection. mu is held.
func (c *conn) count() (queued int64) {
	now := len(c.out) + c.writing + c.held
	queued = c.srv.queued.Add(int64(now - c.counted))
	c.counted = now
	return queued
}

// Bytes that may always wait for a connection: live events, and answers.
const (
	minQueueBytes = 256 << 10
	minReplyBytes = 32 << 10
)

// uncount removes the bytes of the connection from Server.queued.
func (c *conn) uncount() {
	c.mu.Lock()
	c.srv.queued.Add(int64(-c.counted))
	c.counted = 0
	c.mu.Unlock()
}

// flush writes the queued frames, as many bytes as the socket takes at once, and leaves
// the rest to the writer. flush never waits. A live event costs one system call and no
// switch of goroutines, which is half of the cost of waking the writer.
func (c *conn) flush() {
	c.mu.Lock()
	if len(c.out) == 0 || c.writing > 0 {
		c.mu.Unlock() // the writing goroutine looks at out again afterwards
		return
	}
	if c.raw == nil || c.ending || len(c.out) > writeChunkBytes {
		c.mu.Unlock() // left to the writer, which may wait until a deadline
		c.nudge()
		return
	}
	batch := c.out
	c.out, c.writing = nil, len(batch) // batch belongs to this goroutine until writing is 0 again
	c.mu.Unlock()
	c.extendDeadline()
	n := 0
	// An error is ignored here. The writer meets the same error and ends the connection.
	c.raw.Write(func(fd uintptr) bool {
		if m, err := syscall.Write(int(fd), batch); err == nil {
			n = m
		}
		return true
	})
	c.srv.met.writes.Inc()
	c.srv.met.sentBytes.Add(float64(n))
	c.mu.Lock()
	c.writing = 0
	if n < len(batch) {
		c.out = append(batch[n:], c.out...)
	}
	more := len(c.out) > 0
	c.room.Broadcast()
	c.mu.Unlock()
	if n == len(batch) {
		giveBuffer(batch)
	}
	if more {
		c.nudge()
	}
}

// write is the writer. It sends all queued frames by one system call.
func (c *conn) write() {
	defer close(c.writeDone)
	for range c.wake {
		// Other goroutines that were woken at the same time may add their frames first.
		runtime.Gosched()
		for {
			c.mu.Lock()
			if c.writing > 0 {
				c.mu.Unlock()
				break // a flush is writing, and wakes the writer if a part is left
			}
			if c.counted > 0 && len(c.out) == 0 {
				c.count()
			}
			batch, last := c.out, c.ending
			c.out, c.writing = nil, len(batch)
			c.mu.Unlock()
			if err := c.writeAll(batch); err != nil {
				c.end(ws.StatusAbnormalClosure, "", false)
				c.nc.SetReadDeadline(time.Now())
				return
			}
			if len(batch) > 0 {
				giveBuffer(batch)
				continue
			}
			if last {
				return
			}
			break
		}
	}
}

func (c *conn) writeAll(batch []byte) error {
	for len(batch) > 0 {
		part := batch[:min(len(batch), writeChunkBytes)]
		c.extendDeadline()
		n, err := c.nc.Write(part)
		c.srv.met.writes.Inc()
		c.srv.met.sentBytes.Add(float64(n))
		c.mu.Lock()
		c.writing -= n
		c.room.Broadcast()
		c.mu.Unlock()
		if err != nil {
			return err
		}
		batch = batch[len(part):]
	}
	return nil
}

// extendDeadline gives the next write at least three quarters of WriteWait. The deadline
// is moved only if necessary, because a timer for each delivery costs too much.
func (c *conn) extendDeadline() {
	wait := c.srv.cfg.WriteWait
	now := time.Now()
	if c.deadline.Sub(now) > wait*3/4 {
		return
	}
	c.deadline = now.Add(wait)
	c.mu.Lock()
	if !c.ending {
		c.nc.SetWriteDeadline(c.deadline)
	}
	c.mu.Unlock()
}
