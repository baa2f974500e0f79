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

// faces returns the handler of all public HTTP routes: those of the index, which include
// those of the reputation.
func (m *Main) faces(scores *reputation.Service) http.Handler {
	return m.readyWithEscrow(m.ranked(scores))
}

// readyWithEscrow adds the reasons for which the escrow refuses new orders to the answer of
// /readyz. The reasons do not change the status, because relay, index and explorer also serve
// without the escrow.
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

// ranked returns the pages and routes of the index, which include those of the reputation.
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
		if !m.index.Ready() || scores.Ready() { // the index answers first, for both
			index.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, "the scores have not caught up with the log yet", http.StatusServiceUnavailable)
	})
	return mux
}

// ended returns nil if ctx has ended. An interrupted reader of the log repeats its work at
// the next start, so the interruption is not an error.
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

// market provides the data of the index and the log that the reputation needs.
type market struct {
	*indexer.Index
	store *eventlog.Store
	now   func() time.Time
}

// maxTables is the maximum number of tables of prices that one query reads.
const maxTables = 1000

// Rates returns the prices of one bitcoin in events signed by Mostros.
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
