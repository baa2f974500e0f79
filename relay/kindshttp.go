package relay

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
)

// kindCount is one kind in the answer of GET /api/v1/kinds.
type kindCount struct {
	Kind  int    `json:"kind"`
	Name  string `json:"name,omitempty"` // of kinds that package mostro names
	Count int    `json:"count"`          // live events
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
	items := []kindCount{}
	for kind, n := range st.LiveKinds() {
		items = append(items, kindCount{Kind: kind, Name: mostro.KindName(kind), Count: n})
	}
	slices.SortFunc(items, func(a, b kindCount) int { return cmp.Compare(a.Kind, b.Kind) })
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(struct { // a client that is gone needs no answer
		Items []kindCount `json:"items"`
		Total int         `json:"total"`
	}{items, len(items)})
}
