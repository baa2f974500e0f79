package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

const maxWaitingResults = 64 << 20

// importHandler answers POST /api/v1/import.
type importHandler struct {
	imp      *importer
	peers    *peers
	proofs   *proofs
	stopping context.Context // ends the imports under way
	wait     time.Duration   // Config.WriteWait
}

// ServeHTTP answers POST /api/v1/import: NDJSON events in, one JSON result per
// line out, and a summary as the last line: {"summary":{...}}, with "error"
// beside it when the import broke off. A page of another origin may read the
// answer: what it sends with Origin counts only with an admin's proof.
func (h *importHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	rc := http.NewResponseController(w)
	progress := &progressBody{body: r.Body, rc: rc, wait: bodyWait}
	var body io.Reader = progress
	if !h.peers.importIsLocal(r) {
		payload, err := h.proofs.check(r)
		if err != nil {
			refuseHTTP(w, http.StatusUnauthorized, err.Error())
			return
		}
		// The proof covers the whole body, so no line is imported before all of the body
		// is read.
		spooled, err := spool(progress, payload)
		if err != nil {
			status := http.StatusBadRequest
			if errors.Is(err, errPayload) {
				status = http.StatusUnauthorized
			}
			refuseHTTP(w, status, err.Error())
			return
		}
		defer os.Remove(spooled.Name())
		defer spooled.Close()
		body = spooled
	}
	rc.EnableFullDuplex() // HTTP/2 is always full duplex
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)

	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	giveUp := func() {
		cancel()
		progress.end() // ends a read of a body that does not come
	}
	stop := context.AfterFunc(h.stopping, giveUp)
	defer stop()
	out := &resultWriter{w: w, rc: rc, fail: giveUp, wait: h.wait}
	out.cond.L = &out.mu
	done := make(chan struct{})
	go func() {
		defer close(done)
		out.run()
	}()
	sum, err := h.imp.run(ctx, body, ImportOptions{}, func(res ImportResult) error {
		return out.add(res)
	})
	last := struct {
		Summary ImportSummary `json:"summary"`
		Error   string        `json:"error,omitempty"`
	}{Summary: sum}
	if err != nil {
		last.Error = err.Error()
	}
	out.add(last) // lost only if the client is gone
	out.close()
	<-done
}

// bodyWait is the longest time that an import may wait for more of its body.
const bodyWait = time.Minute

// progressBody reads a body of any length, as long as some of the body arrives within
// wait. The server limits the total time of other bodies.
type progressBody struct {
	body io.Reader
	rc   *http.ResponseController
	wait time.Duration

	mu    sync.Mutex
	ended bool
}

func (b *progressBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	if b.ended {
		b.mu.Unlock()
		return 0, os.ErrDeadlineExceeded
	}
	b.rc.SetReadDeadline(time.Now().Add(b.wait)) // some connections have no deadline
	b.mu.Unlock()
	return b.body.Read(p)
}

// end ends a read under way. Later reads return an error.
func (b *progressBody) end() {
	b.mu.Lock()
	b.ended = true
	b.rc.SetReadDeadline(time.Now())
	b.mu.Unlock()
}

// resultWriter sends results while the body is still being read. A client that sends all
// of its body before it reads would otherwise wait for the server, while the server waits
// for the client. Results are therefore queued, up to a limit.
type resultWriter struct {
	w    io.Writer
	rc   *http.ResponseController
	fail func()
	wait time.Duration

	mu    sync.Mutex
	cond  sync.Cond
	queue bytes.Buffer
	ended bool
	err   error
}

func (o *resultWriter) add(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.err == nil && o.queue.Len() > maxWaitingResults {
		o.cond.Wait()
	}
	if o.err != nil {
		return o.err
	}
	o.queue.Write(line)
	o.queue.WriteByte('\n')
	o.cond.Broadcast()
	return nil
}

func (o *resultWriter) close() {
	o.mu.Lock()
	o.ended = true
	o.cond.Broadcast()
	o.mu.Unlock()
}

func (o *resultWriter) run() {
	chunk := make([]byte, 0, 64<<10)
	for {
		o.mu.Lock()
		for o.queue.Len() == 0 && !o.ended {
			o.cond.Wait()
		}
		n, _ := o.queue.Read(chunk[:cap(chunk)])
		if o.queue.Len() == 0 && o.queue.Cap() > 1<<20 {
			o.queue = bytes.Buffer{}
		}
		o.cond.Broadcast()
		o.mu.Unlock()
		if n == 0 {
			return
		}
		// The deadline is long, because a client may send all of its body before it reads.
		o.rc.SetWriteDeadline(time.Now().Add(30 * o.wait))
		_, err := o.w.Write(chunk[:n])
		if err == nil {
			err = o.rc.Flush()
		}
		if err != nil {
			o.mu.Lock()
			o.err = fmt.Errorf("send results: %w", err)
			o.cond.Broadcast()
			o.mu.Unlock()
			o.fail()
			return
		}
	}
}

// spool writes a body to a file and compares the hash of the body with payload. The file
// is removed if spool returns an error.
func spool(body io.Reader, payload string) (*os.File, error) {
	f, err := os.CreateTemp("", "mostrodex-import-*")
	if err != nil {
		return nil, err
	}
	hash := sha256.New()
	if _, err = io.Copy(io.MultiWriter(f, hash), body); err == nil && hex.EncodeToString(hash.Sum(nil)) != payload {
		err = errPayload
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, err
	}
	return f, nil
}
