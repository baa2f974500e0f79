package relay

import (
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gobwas/ws"
	"github.com/mostrodex/mostrodex/relay/eventlog"
)

// queues limits the bytes that wait for clients, on each connection and in total. The
// writers of all connections share one queues.
type queues struct {
	perConn   int           // Config.MaxQueueBytes
	total     int           // Config.MaxQueuedBytes
	writeWait time.Duration // Config.WriteWait
	met       *metrics
	queued    atomic.Int64 // bytes that wait for the clients of all connections
}

// writer is the sending half of a connection. Any goroutine may queue frames. Its own
// goroutine, write, empties out. The goroutine that queued a frame writes first, as much
// as the socket takes at once (flush).
type writer struct {
	queues   *queues
	nc       net.Conn
	raw      syscall.RawConn // of nc; nil: only write writes
	wake     chan struct{}   // one token; if full, write is about to look anyway
	done     chan struct{}   // closed when write returns
	deadline time.Time       // of writes; owned by the goroutine that set writing to more than 0
	batch    uint64          // last flush that includes the connection; guarded by the dispatcher's mu

	mu      sync.Mutex
	room    sync.Cond // on mu: signals that out is shorter or that the connection ends
	out     []byte    // whole websocket frames that write has not yet taken
	writing int       // bytes taken from out and not yet written; if more than 0, a goroutine is writing
	held    int       // bytes of live events that wait for the stored answers
	counted int       // bytes of this connection in queues.queued
	ending  bool      // no frame is added to out any more; write flushes and stops
}

const (
	writeChunkBytes = 256 << 10 // bytes between two deadlines, so that a deadline measures progress
	replyBytes      = 128 << 10 // bytes that may wait before the client's own answers wait too
	crowdedReply    = 64 << 10  // the same limit if more than crowdedBytes wait for all clients
	crowdedBytes    = 4 << 20
	maxUnsent       = 128 << 10 // bytes that the system takes before they can be sent
	closeGrace      = 3 * time.Second
)

// start prepares the writer of a connection. The caller then starts write.
func (w *writer) start(q *queues, nc net.Conn) {
	w.queues, w.nc = q, nc
	w.wake, w.done = make(chan struct{}, 1), make(chan struct{})
	w.room.L = &w.mu
	if sc, ok := nc.(syscall.Conn); ok {
		if w.raw, _ = sc.SyscallConn(); w.raw != nil { // if there is no raw connection, only write writes
			limitUnsent(w.raw) // a connection that is not TCP has small buffers of its own
		}
	}
}

// grown returns out, with a pooled buffer if out is empty. mu is held.
func (w *writer) grown() []byte {
	if w.out == nil {
		w.out = takeBuffer()
	}
	return w.out
}

// nudge wakes the writer.
func (w *writer) nudge() {
	select {
	case w.wake <- struct{}{}:
	default: // the writer is already woken
	}
}

// reply queues an answer to a frame of the client; add appends the answer. Only the reader
// and the acker call reply, and both call written afterwards. They wait if the client does
// not read; no other goroutine waits for the client.
func (w *writer) reply(add func(dst []byte) []byte) {
	w.mu.Lock()
	w.awaitRoom()
	if !w.ending {
		w.out = add(w.grown())
	}
	w.mu.Unlock()
}

// written flushes the replies. If more replies follow soon, the writer sends all of them
// together.
func (w *writer) written(more bool) {
	switch {
	case !more:
		w.flush()
	case w.waiting():
		w.nudge()
	}
}

// waiting reports whether frames wait to be written.
func (w *writer) waiting() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.out) > 0
}

// awaitRoom waits until the client has taken enough of the queued answers. mu is held, and
// released while awaitRoom waits.
func (w *writer) awaitRoom() {
	for !w.ending && len(w.out)+w.writing > w.replyRoom() {
		w.nudge()
		w.room.Wait()
	}
}

// deliver queues a live event for a subscription of the connection. If the stored events
// are still being sent, the frame is held behind them. deliver never waits. If the client
// is too slow, the connection is closed. flush is true if out has frames for the next
// flush.
func (w *writer) deliver(sub *subscription, body []byte) (flush bool) {
	w.mu.Lock()
	if w.ending || sub.gone {
		w.mu.Unlock()
		return false
	}
	if waits := len(w.out) + w.writing + w.held; waits > 0 && waits+len(body) > w.queueRoom() {
		w.mu.Unlock()
		w.queues.met.slow.Inc()
		w.end(ws.StatusPolicyViolation, "error: the client reads too slowly", true)
		return false
	}
	if sub.holding {
		was := len(sub.held)
		sub.held = appendEvent(sub.held, sub.prefix, body)
		w.held += len(sub.held) - was
		w.mu.Unlock()
		return false
	}
	w.out = appendEvent(w.grown(), sub.prefix, body)
	w.mu.Unlock()
	return true
}

// queueShare divides the free part of MaxQueuedBytes. One connection may queue at most one
// such part, and the parts shrink as the queues fill up. Many clients that read nothing
// therefore leave room for clients that read.
const queueShare = 12

// queueRoom returns how many bytes may wait for the client. mu is held.
func (w *writer) queueRoom() int { return w.share(minQueueBytes, w.queues.perConn) }

// replyRoom returns the same limit for answers to the client's own requests. The goroutine
// that makes an answer waits if the limit is reached. mu is held.
func (w *writer) replyRoom() int {
	if len(w.out)+w.writing <= minReplyBytes {
		return minReplyBytes
	}
	return w.share(minReplyBytes, w.queues.mostReply())
}

// mostReply returns how many bytes of answers may wait for one client at most. An answer of
// 100 orders has about 90 KB. If it fits, the goroutine that makes it need not wait for the
// writer, and each of the two wake-ups costs about 20 µs of CPU. If many clients do not
// read, the limit is lower, because a buffer is taken for each of them.
func (q *queues) mostReply() int {
	if q.queued.Load() > crowdedBytes {
		return crowdedReply
	}
	return replyBytes
}

// share returns a connection's part of the free queue bytes of all connections, between
// least and most. The connection's own queue counts as used. mu is held.
func (w *writer) share(least, most int) int {
	queued := w.count()
	return min(most, max(least, int((int64(w.queues.total)-queued)/queueShare)))
}

// count updates queues.queued with the bytes of this connection, and returns the new value. All
// connections share the counter, and a change costs some 30 ns if another core has changed it
// before. A difference below countedBytes is therefore left for a later call. mu is held.
func (w *writer) count() (queued int64) {
	now := len(w.out) + w.writing + w.held
	if d := now - w.counted; d >= countedBytes || d <= -countedBytes || now == 0 && d != 0 {
		w.counted = now
		return w.queues.queued.Add(int64(d))
	}
	return w.queues.queued.Load()
}

// Bytes that may always wait for a connection: live events, and answers.
const (
	minQueueBytes = 256 << 10
	minReplyBytes = 32 << 10
)

// countedBytes is the largest number of queued bytes of a connection that the counter of all
// connections may lack or have too many.
const countedBytes = 8 << 10

// uncount removes the bytes of the connection from queues.queued.
func (w *writer) uncount() {
	w.mu.Lock()
	w.queues.queued.Add(int64(-w.counted))
	w.counted = 0
	w.mu.Unlock()
}

// flush writes the queued frames, as many bytes as the socket takes at once, and leaves
// the rest to the writer. flush never waits. A live event costs one system call and no
// switch of goroutines, which is half of the cost of waking the writer.
func (w *writer) flush() {
	w.mu.Lock()
	if len(w.out) == 0 || w.writing > 0 {
		w.mu.Unlock() // the writing goroutine looks at out again afterwards
		return
	}
	if w.raw == nil || w.ending || len(w.out) > writeChunkBytes {
		w.mu.Unlock() // left to the writer, which may wait until a deadline
		w.nudge()
		return
	}
	batch := w.out
	w.out, w.writing = nil, len(batch) // batch belongs to this goroutine until writing is 0 again
	w.mu.Unlock()
	w.extendDeadline()
	n := 0
	// An error is ignored here. The writer meets the same error and ends the connection.
	w.raw.Write(func(fd uintptr) bool {
		if m, err := syscall.Write(int(fd), batch); err == nil {
			n = m
		}
		return true
	})
	w.queues.met.writes.Inc()
	w.queues.met.sentBytes.Add(float64(n))
	w.mu.Lock()
	w.writing = 0
	if n < len(batch) {
		w.out = append(batch[n:], w.out...)
	}
	more := len(w.out) > 0
	w.room.Broadcast()
	w.mu.Unlock()
	if n == len(batch) {
		giveBuffer(batch)
	}
	if more {
		w.nudge()
	}
}

// write is the writer. It sends all queued frames by one system call.
func (w *writer) write() {
	defer close(w.done)
	for range w.wake {
		// Other goroutines that were woken at the same time may add their frames first.
		runtime.Gosched()
		for {
			w.mu.Lock()
			if w.writing > 0 {
				w.mu.Unlock()
				break // a flush is writing, and wakes the writer if a part is left
			}
			if w.counted > 0 && len(w.out) == 0 {
				w.count()
			}
			batch, last := w.out, w.ending
			w.out, w.writing = nil, len(batch)
			w.mu.Unlock()
			if err := w.writeAll(batch); err != nil {
				w.end(ws.StatusAbnormalClosure, "", false)
				w.nc.SetReadDeadline(time.Now())
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

func (w *writer) writeAll(batch []byte) error {
	for len(batch) > 0 {
		part := batch[:min(len(batch), writeChunkBytes)]
		w.extendDeadline()
		n, err := w.nc.Write(part)
		w.queues.met.writes.Inc()
		w.queues.met.sentBytes.Add(float64(n))
		w.mu.Lock()
		w.writing -= n
		w.room.Broadcast()
		w.mu.Unlock()
		if err != nil {
			return err
		}
		batch = batch[len(part):]
	}
	return nil
}

// extendDeadline gives the next write at least three quarters of WriteWait. The deadline
// is moved only if necessary, because a timer for each delivery costs too much.
func (w *writer) extendDeadline() {
	wait := w.queues.writeWait
	now := time.Now()
	if w.deadline.Sub(now) > wait*3/4 {
		return
	}
	w.deadline = now.Add(wait)
	w.mu.Lock()
	if !w.ending {
		w.nc.SetWriteDeadline(w.deadline)
	}
	w.mu.Unlock()
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// takeBuffer and giveBuffer reuse buffers. A big buffer is freed after a big answer.
func takeBuffer() []byte { return (*buffers.Get().(*[]byte))[:0] }

func giveBuffer(b []byte) {
	if cap(b) >= 1<<10 && cap(b) <= 512<<10 {
		buffers.Put(&b)
	}
}

// end closes the connection with a reason. If notice is set, the client gets a NOTICE
// before the close frame. Queued frames are flushed, but dropped if code is a policy
// violation and notice is set. Only the first call has an effect.
func (w *writer) end(code ws.StatusCode, reason string, notice bool) {
	w.mu.Lock()
	if w.ending {
		w.mu.Unlock()
		return
	}
	w.ending = true
	if notice {
		if code == ws.StatusPolicyViolation {
			w.out = w.out[:0]
		}
		w.out = appendReply(w.grown(), "NOTICE", reason)
	}
	w.out = appendClose(w.grown(), code, reason)
	w.room.Broadcast()
	// The deadline is set under mu, so that the writer does not extend its own afterwards.
	grace := time.Now().Add(closeGrace)
	w.nc.SetReadDeadline(grace)
	w.nc.SetWriteDeadline(grace)
	w.mu.Unlock()
	w.nudge()
}

func (w *writer) unsent() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.out) + w.writing
}

func (w *writer) isEnding() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ending
}

// hasRoom waits until the client has taken enough of the queued answers. hasRoom returns
// false if the connection ends.
func (w *writer) hasRoom() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.awaitRoom()
	return !w.ending
}

// ping sends a ping. Only the keeper calls ping.
func (w *writer) ping() {
	w.mu.Lock()
	if !w.ending && len(w.out)+w.writing == 0 {
		w.out = appendHeader(w.grown(), ws.OpPing, 0)
	}
	w.mu.Unlock()
	w.nudge()
}

// pong queues the answer to a ping. A client that floods pings and reads nothing gets no
// pongs.
func (w *writer) pong(payload []byte) {
	w.mu.Lock()
	if !w.ending && len(w.out)+w.writing < replyBytes {
		w.out = append(appendHeader(w.grown(), ws.OpPong, len(payload)), payload...)
	}
	w.mu.Unlock()
	w.nudge()
}

// stored queues bodies as stored events of a subscription. If the client has to take some
// of them first, stored waits.
func (w *writer) stored(sub *subscription, bodies []eventlog.Found) {
	size := 64 + len(sub.id) // bytes to queue before the client has to take some
	most := w.queues.mostReply()
	for _, f := range bodies {
		if size += len(sub.prefix) + len(f.JSON) + 16; size > most {
			break
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out = slices.Grow(w.grown(), size)
	for _, f := range bodies {
		if w.awaitRoom(); w.ending {
			break
		}
		w.out = appendEvent(w.grown(), sub.prefix, f.JSON)
	}
}

// storedEnd queues EOSE and the live events that were held for a subscription.
func (w *writer) storedEnd(sub *subscription) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.awaitRoom()
	if w.ending {
		return
	}
	w.out = appendReply(w.grown(), "EOSE", sub.id)
	w.out = append(w.out, sub.held...)
	w.held -= len(sub.held)
	sub.held, sub.holding = nil, false
}

// forget drops the frames that are held for a subscription. No frame is queued for the
// subscription afterwards.
func (w *writer) forget(sub *subscription) {
	w.mu.Lock()
	sub.gone = true
	w.held -= len(sub.held)
	sub.held = nil
	w.mu.Unlock()
}
