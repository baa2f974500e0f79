package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/mostrodex/mostrodex/reputation"
	"github.com/nbd-wtf/go-nostr"
)

// faces is all that is shown over HTTP: the index's, and the reputation's
// within it.
func (m *Main) faces(scores *reputation.Service) http.Handler {
	return m.readyWithEscrow(m.ranked(scores))
}

// readyWithEscrow adds to the answer of /readyz why the escrow takes no new
// orders. It does not change the status: relay, index and explorer serve
// without it.
func (m *Main) readyWithEscrow(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		if r.URL.Path != "/readyz" || m.escrow == nil || r.Method == http.MethodHead {
			return
		}
		status := m.escrow.engine.Status()
		for _, why := range status.Closed {
			fmt.Fprintf(w, "escrow: no new orders: %s\n", why)
		}
		for _, why := range status.Warnings {
			fmt.Fprintf(w, "escrow: %s\n", why)
		}
	})
}

// ranked is the index's pages and routes, with the reputation's within them.
func (m *Main) ranked(scores *reputation.Service) http.Handler {
	if scores == nil {
		return m.index.Handler()
	}
	face := &reputation.Face{Known: scores, Market: market{m.index, m.store, m.Now}, Prices: ownPrices{m}, Web: m.index, Now: m.Now}
	if u := m.Config.Relay.URL; u != "" {
		face.URL = "http" + strings.TrimPrefix(u, "ws")
	}
	m.index.Show(face)
	mux := http.NewServeMux()
	face.Register(mux)
	index := m.index.Handler()
	mux.Handle("/", index)
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		if !m.index.Ready() || scores.Ready() { // the index speaks first, and for both
			index.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, "the scores have not caught up with the log yet", http.StatusServiceUnavailable)
	})
	return mux
}

// ended is nil once ctx has ended: what a reader of the log was at is done
// again at the next start, and stopping it is no failure.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// publisher publishes through the relay, which opens after the reputation.
type publisher struct{ m *Main }

func (p publisher) Publish(ctx context.Context, evt *nostr.Event) error {
	return p.m.relay.Publish(ctx, evt)
}

// market is what the reputation needs of the index and the log.
type market struct {
	*indexer.Index
	store *eventlog.Store
	now   func() time.Time
}

// maxTables bounds the tables of prices that one question reads.
const maxTables = 1000

// Rates gives the prices of one bitcoin that Mostros sign.
func (k market) Rates(ctx context.Context, fiat string) (rates []reputation.Rate, err error) {
	var authors []string
	for _, info := range k.Infos() {
		authors = append(authors, info.Pubkey)
	}
	if len(authors) == 0 {
		return nil, nil
	}
	found, err := k.store.Query(ctx, nil, nostr.Filter{Kinds: []int{mostro.KindAppData}, Authors: authors, Tags: nostr.TagMap{"d": {"mostro-rates"}}}, maxTables, 0)
	if err != nil {
		return nil, fmt.Errorf("read the prices: %w", err)
	}
	for _, f := range found {
		evt := &nostr.Event{}
		if err := json.Unmarshal(f.JSON, evt); err != nil {
			return nil, fmt.Errorf("read the prices: %w", err)
		}
		if rate, ok := reputation.RateOf(evt, fiat, k.now()); ok {
			rates = append(rates, rate)
		}
	}
	return rates, nil
}
