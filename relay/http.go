package relay

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
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

// maxExports is how many exports may run at the same time. exportCost is the number of
// requests that one export counts as.
const (
	maxExports = 4
	exportCost = 600
)

// exportHandler answers GET /api/v1/export/events.
type exportHandler struct {
	store eventStore
	peers *peers
	rates *rates
	log   *slog.Logger
	under exports // exports under way
}

// ServeHTTP answers GET /api/v1/export/events, without the events of banned and
// quarantined keys. One address may run one export at a time.
func (h *exportHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	st, ok := h.store.(*eventlog.Store)
	if !ok {
		http.NotFound(w, r)
		return
	}
	f, err := eventlog.ParseExportFilter(r.URL.Query())
	if err != nil {
		refuseHTTP(w, http.StatusBadRequest, err.Error())
		return
	}
	ip, local := h.peers.clientIP(r)
	if !local {
		if !h.rates.askedBy(ip, exportCost) || !h.under.enter(rateKey(ip)) {
			w.Header().Set("Retry-After", "60")
			refuseHTTP(w, http.StatusTooManyRequests, "too many exports from this address, or in all: try again later")
			return
		}
		defer h.under.leave(rateKey(ip))
	}
	f.Public = true
	rc := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	// A large export takes longer than an ordinary answer may; a client that
	// takes nothing for a minute is gone.
	_, err = st.Export(r.Context(), deadlineWriter{w, rc}, f)
	if err != nil && r.Context().Err() == nil {
		h.log.Warn("export aborted", "err", err)
		panic(http.ErrAbortHandler) // the client must not take the export for complete
	}
}

// exports is the set of addresses with an export under way.
type exports struct {
	mu  sync.Mutex
	now map[netip.Addr]bool
}

func (e *exports) enter(ip netip.Addr) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.now[ip] || len(e.now) >= maxExports {
		return false
	}
	if e.now == nil {
		e.now = make(map[netip.Addr]bool)
	}
	e.now[ip] = true
	return true
}

func (e *exports) leave(ip netip.Addr) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.now, ip)
}

type deadlineWriter struct {
	io.Writer
	rc *http.ResponseController
}

func (w deadlineWriter) Write(b []byte) (int, error) {
	w.rc.SetWriteDeadline(time.Now().Add(time.Minute)) // some connections have no deadline
	return w.Writer.Write(b)
}

// KindList is the answer of GET /api/v1/kinds.
type KindList struct {
	Items []KindCount `json:"items" doc:"lowest kind first"`
	Total int         `json:"total"`
}

// KindCount is one kind in the answer of GET /api/v1/kinds.
type KindCount struct {
	Kind  int    `json:"kind"`
	Name  string `json:"name,omitempty" doc:"name of a kind that is known here"`
	Count int    `json:"count" unit:"events" doc:"live events"`
}

// serveKinds answers GET /api/v1/kinds: the kinds of the live events, ascending. Events
// of quarantined keys count too.
func serveKinds(store eventStore, w http.ResponseWriter, r *http.Request) {
	st, ok := store.(*eventlog.Store)
	if !ok {
		http.NotFound(w, r)
		return
	}
	for name := range r.URL.Query() {
		refuseHTTP(w, http.StatusBadRequest, name+": unknown parameter; this list has none")
		return
	}
	items := []KindCount{}
	for kind, n := range st.LiveKinds() {
		items = append(items, KindCount{Kind: kind, Name: mostro.KindName(kind), Count: n})
	}
	slices.SortFunc(items, func(a, b KindCount) int { return cmp.Compare(a.Kind, b.Kind) })
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(KindList{items, len(items)}) // a client that is gone needs no answer
}
