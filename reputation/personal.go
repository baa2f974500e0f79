package reputation

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/reputation/score"
)

// personalizer is an optional interface of a Known that can order the Mostros by the trust
// of a visitor. A Service implements personalizer.
type personalizer interface {
	TrustGraph() *score.TrustGraph
}

// trustGraphs holds the last graph. A graph is built again if it is older than DefaultEvery,
// so that requests of strangers do not make the ledger work.
type trustGraphs struct {
	mu    sync.Mutex // guards the fields below; held while a graph is built
	graph *score.TrustGraph
	at    time.Time
}

// TrustGraph returns the proven good opinions of Mostros, at most DefaultEvery old.
func (s *Service) TrustGraph() *score.TrustGraph {
	g := &s.graphs
	g.mu.Lock()
	defer g.mu.Unlock()
	now := s.cfg.Now()
	if age := now.Sub(g.at); g.graph == nil || age < 0 || age >= DefaultEvery {
		g.graph, g.at = withDeriving(s, func(at int64) *score.TrustGraph { return s.ledger.TrustGraph(at) }), now
	}
	return g.graph
}

// personalView is the order of the Mostros for one visitor.
type personalView struct {
	Items  []personalItem `json:"items" doc:"the most trusted first; Mostros that no trust reaches are left out"`
	Seeds  int            `json:"seeds" doc:"trusted keys that were named"`
	Known  int            `json:"known" doc:"of these, keys that gave a good rating with a valid receipt, or are a Mostro"`
	Source string         `json:"source" doc:"visitor or operator: who named the trusted keys"`
	Note   string         `json:"note" doc:"what the order is"`
}

type personalItem struct {
	Pubkey string      `json:"pubkey"`
	Name   *string     `json:"name" null:"the node publishes no name"`
	Trust  score.Micro `json:"trust" doc:"share of the trust that reaches a Mostro, 0 to 1"`
	Rank   *int        `json:"rank" null:"there is no rank" doc:"public rank, 0 to 100; the trust does not change it"`
	Page   string      `json:"page" doc:"path of the page"`
}

const personalNote = "EigenTrust from the named keys over proven ratings. This order belongs to one visitor; no rank and no published assertion depends on it."

func (f scoreAPI) getPersonal(r *http.Request) (any, error) {
	v := personalView{Items: []personalItem{}, Source: "operator", Note: personalNote}
	seeds := f.seeds
	for name, values := range r.URL.Query() {
		if name != "trust" {
			return nil, badParam(name, "unknown parameter; known is trust")
		}
		v.Source, seeds = "visitor", nil
		for _, text := range strings.Split(strings.Join(values, ","), ",") {
			if text = strings.TrimSpace(text); text == "" {
				continue
			}
			if len(seeds) == score.MaxSeeds {
				return nil, badParam("trust", "more than %d keys", score.MaxSeeds)
			}
			key, err := parseKey(text)
			if err != nil {
				return nil, badParam("trust", "%q is not a public key of 64 hex digits or an npub", shortKey(text))
			}
			seeds = append(seeds, key)
		}
	}
	if len(seeds) == 0 {
		return nil, badParam("trust", "missing: name the keys that you trust, separated by commas")
	}
	from, ok := f.known.(personalizer)
	if !ok {
		return v, nil
	}
	if !f.walks.TryLock() {
		return nil, &refusal{http.StatusServiceUnavailable, "", "Another personal order is being computed. Try again in a moment."}
	}
	list, known := from.TrustGraph().Personal(seeds)
	f.walks.Unlock()
	v.Seeds, v.Known = len(seeds), known
	for _, t := range list {
		item := personalItem{Pubkey: t.Pubkey, Trust: t.Trust, Page: "/instances/" + t.Pubkey}
		if s, ok := f.known.Score(t.Pubkey); ok {
			item.Name = wordsOrNull(s.Name)
			if s.Unranked == "" {
				item.Rank = &s.Rank
			}
		}
		v.Items = append(v.Items, item)
	}
	return v, nil
}
