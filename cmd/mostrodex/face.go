package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/indexer/web"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/mostrodex/mostrodex/reputation"
	"github.com/nbd-wtf/go-nostr"
)

// openSite makes the API and the explorer, with the reputation in them unless
// scores is nil, and returns them with their rows of the route table.
func (m *Main) openSite(scores *reputation.Service) (*web.Site, []route.Route) {
	var address func(*http.Request) string
	if m.relay != nil {
		address = m.relay.ClientAddress
	}
	site := web.New(web.Config{Index: m.index, Logger: m.Log, Notes: m.escrowNotes, Address: address, Unready: func() string {
		if scores == nil || scores.Ready() {
			return ""
		}
		return "the scores have not caught up with the log yet"
	}})
	rows := site.Routes()
	if scores != nil {
		face := &reputation.Face{Known: scores, Market: market{m.index, m.store, m.Now}, Prices: ownPrices{m}, Web: site, Now: m.Now}
		if u := m.Config.Relay.URL; u != "" {
			face.URL = "http" + strings.TrimPrefix(u, "ws")
		}
		site.Show(face)
		rows = append(rows, face.Routes()...)
	}
	return site, rows
}

// escrowNotes returns the lines of /readyz about the escrow: why it takes no new
// orders, and what its operator should look at. Relay, index and explorer serve
// without it.
func (m *Main) escrowNotes() (lines []string) {
	if m.escrow == nil {
		return nil
	}
	status := m.escrow.engine.Status()
	for _, why := range status.Closed {
		lines = append(lines, "escrow: no new orders: "+why)
	}
	for _, why := range status.Warnings {
		lines = append(lines, "escrow: "+why)
	}
	return lines
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
