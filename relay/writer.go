package relay

import (
	"runtime"
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
// Only the reader and the acker call it. They wait for a client that does not
// read; nobody else does.
func (c *conn) reply(add func(dst []byte) []byte) {
	c.mu.Lock()
	c.awaitRoom()
	if !c.ending {
		c.out = add(c.grown())
	}
	c.mu.Unlock()
	c.nudge()
}

// awaitRoom waits, with mu held, until the client has taken enough of what it
// was sent.
func (c *conn) awaitRoom() {
	for !c.ending && len(c.out)+c.writing > replyBytes {
		c.nudge()
		c.room.Wait()
	}
}

// deliver sends a live event to one of the connection's subscriptions, behind
// its stored events if those are still on their way. It never waits: who
// cannot keep up is closed.
func (c *conn) deliver(sub *subscription, body []byte) {
	c.mu.Lock()
	if c.ending || sub.gone {
		c.mu.Unlock()
		return
	}
	if len(c.out)+c.writing+c.held+len(body) > c.srv.cfg.MaxQueueBytes {
		c.mu.Unlock()
		c.srv.met.slow.Inc()
		c.end(ws.StatusPolicyViolation, "error: the client reads too slowly", true)
		return
	}
	if sub.holding {
		was := len(sub.held)
		sub.held = appendEvent(sub.held, sub.prefix, body)
		c.held += len(sub.held) - was
		c.mu.Unlock()
		return
	}
	c.out = appendEvent(c.grown(), sub.prefix, body)
	c.mu.Unlock()
	c.nudge()
}

// write is the writer: one system call for all that waits.
func (c *conn) write() {
	defer close(c.writeDone)
	for range c.wake {
		// Let those who were woken together add what they have.
		runtime.Gosched()
		for {
			c.mu.Lock()
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

