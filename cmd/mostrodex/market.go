package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/mostrodex/mostrodex/reputation"
	"github.com/nbd-wtf/go-nostr"
)

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

// Describe returns what a Mostro says of itself: its newest info, and its newest health if
// that has not expired.
func (k market) Describe(pubkey string) (info mostro.Info, health *mostro.Health, ok bool) {
	i, err := k.Instance(context.Background(), pubkey, true)
	if err != nil || i.Info == nil {
		return info, nil, false // an unknown key describes nothing
	}
	if h := i.Health; h != nil && (h.Expiration == 0 || int64(h.Expiration) > k.now().Unix()) {
		health = h
	}
	return *i.Info, health, true
}
