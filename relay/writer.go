package relay

import (
	"runtime"
	"syscall"
	"time"

	"github.com/gobwas/ws"
)

// grown gives out with a pooled buffer under it. mu is held.
func (c *conn) grown() []byte {
	if c.out == nil {
		c.out = takeBuffer()
	}
	return c.out
}

// nudge tells the writer to look at out.
func (c *conn) nudge() {
	select {
	case c.wake <- struct{}{}:
	default: // it has been told
	}
}

// reply queues what add appends: an answer to one of the client's own frames.
// Only the reader and the acker call it, and see to it that it is written. They
// wait for a client that does not read; nobody else does.
func (c *conn) reply(add func(dst []byte) []byte) {
	c.mu.Lock()
	c.awaitRoom()
	if !c.ending {
		c.out = add(c.grown())
	}
	c.mu.Unlock()
}

// written sees to it that what was replied is written: at once when nothing
// more is about to be, else by the writer, which takes all there is by then.
func (c *conn) written(more bool) {
	switch {
	case !more:
		c.flush()
	case c.waiting():
		c.nudge()
	}
}

// waiting says whether there is anything to be written.
func (c *conn) waiting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.out) > 0
}

// awaitRoom waits, with mu held, until the client has taken enough of what it
// was sent.
func (c *conn) awaitRoom() {
	for !c.ending && len(c.out)+c.writing > c.replyRoom() {
		c.nudge()
		c.room.Wait()
	}
}

// deliver puts a live event for one of the connection's subscriptions where the
// next flush takes it, or behind its stored events if those are still on their
// way. It never waits: who cannot keep up is closed. flush says whether there
// is anything to be flushed.
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

// queueShare is the share of the room that is left for the queues of all which
// one connection may fill. The fuller they are, the less each may have, so that
// many clients that read nothing leave room for those that do.
const queueShare = 12

// queueRoom is how many bytes may wait for the client. mu is held.
func (c *conn) queueRoom() int { return c.share(minQueueBytes, c.srv.cfg.MaxQueueBytes) }

// replyRoom is the same for answers to the client's own requests, which wait
// themselves beyond it. mu is held.
func (c *conn) replyRoom() int {
	if len(c.out)+c.writing <= minReplyBytes {
		return minReplyBytes
	}
	return c.share(minReplyBytes, replyBytes)
}

// share is a connection's share of the room for the queues of all, between two
// bounds. It counts the connection's own queue. mu is held.
func (c *conn) share(least, most int) int {
	queued := c.count()
	return min(most, max(least, int((int64(c.srv.cfg.MaxQueuedBytes)-queued)/queueShare)))
}

// count brings the count of all queues up to date with this one. mu is held.
func (c *conn) count() (queued int64) {
	now := len(c.out) + c.writing + c.held
	queued = c.srv.queued.Add(int64(now - c.counted))
	c.counted = now
	return queued
}

// What any connection may have waiting for it, of live events and of answers.
const (
	minQueueBytes = 256 << 10
	minReplyBytes = 32 << 10
)

// uncount takes what waited for the connection out of the count of all.
func (c *conn) uncount() {
	c.mu.Lock()
	c.srv.queued.Add(int64(-c.counted))
	c.counted = 0
	c.mu.Unlock()
}

// flush writes what waits, as far as the socket takes it at once, and leaves
// the rest to the writer. It never waits. A live event costs its one system
// call and no change of goroutines: half of what it costs to wake the writer.
func (c *conn) flush() {
	c.mu.Lock()
	if len(c.out) == 0 || c.writing > 0 {
		c.mu.Unlock() // who writes looks at out again when he is done
		return
	}
	if c.raw == nil || c.ending || len(c.out) > writeChunkBytes {
		c.mu.Unlock() // the writer's: it may wait, up to a deadline
		c.nudge()
		return
	}
	batch := c.out
	c.out, c.writing = nil, len(batch) // batch is this goroutine's until writing is 0 again
	c.mu.Unlock()
	c.extendDeadline()
	n := 0
	// An error is met again by the writer, whose it is to end the connection.
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

// write is the writer: one system call for all that waits.
func (c *conn) write() {
	defer close(c.writeDone)
	for range c.wake {
		// Let those who were woken together add what they have.
		runtime.Gosched()
		for {
			c.mu.Lock()
			if c.writing > 0 {
				c.mu.Unlock()
				break // a flush, which tells us when it has left something
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

// extendDeadline gives the next write at least three quarters of WriteWait. It
// moves the deadline only when it must: a timer a delivery is too many.
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
