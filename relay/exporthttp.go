package relay

import (
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/relay/eventlog"
)

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
