package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/mostrodex/mostrodex/reputation"
	"github.com/nbd-wtf/go-nostr"
)

func (c *ReputationConfig) validate() error {
	if c.Every < 0 {
		return fmt.Errorf("every: %d is negative", c.Every)
	}
	isKey := func(s string, n int) bool { return len(s) == n && strings.Trim(s, "0123456789abcdef") == "" }
	for _, key := range c.Funds {
		if !isKey(key, 64) {
			return fmt.Errorf("funds: %q is not a public key in lower-case hex", key)
		}
	}
	for _, key := range c.Payees {
		if !isKey(key, 66) {
			return fmt.Errorf("payees: %q is not a Lightning node's key in lower-case hex", key)
		}
	}
	return nil
}

// openReputation opens the reputation, with a checkpoint in dir unless that
// is "", and shows it in the index. It publishes only where it is asked to
// and has a key.
func (m *Main) openReputation(dir string, publish bool) (err error) {
	c := &m.Config.Reputation
	if !c.Enabled || m.index == nil {
		return nil
	}
	cfg := reputation.Config{Dir: dir, Log: m.store, Pairs: pairs{m.store}, Every: time.Duration(c.Every) * time.Second, Logger: m.Log, Now: m.Now,
		Params: reputation.Params{Funds: c.Funds, Payees: c.Payees}}
	if publish && c.Key != "" {
		keys, err := loadKeys(c.Key)
		if err != nil {
			return fmt.Errorf("reputation: %w", err)
		}
		cfg.Signer, cfg.Publisher = signer{keys}, publisher{m}
	}
	if m.reputation, err = reputation.Open(cfg); err != nil {
		return err
	}
	return nil
}

// faces is all that is shown over HTTP: the index's, and the reputation's
// within it.
func (m *Main) faces() http.Handler {
	if m.reputation == nil {
		return m.index.Handler()
	}
	face := &reputation.Face{Known: m.reputation, Market: market{m.index, m.store, m.Now}, Web: m.index, Now: m.Now}
	if u := m.Config.Relay.URL; u != "" {
		face.URL = "http" + strings.TrimPrefix(u, "ws")
	}
	m.index.Show(face)
	mux := http.NewServeMux()
	face.Register(mux)
	mux.Handle("/", m.index.Handler())
	return mux
}

// ended is nil for an error that only says that ctx has.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// pairs gives the store's proofs of equivocation.
type pairs struct{ store *relay.Store }

func (p pairs) Equivocations(ctx context.Context, fn func(first, second *nostr.Event) error) error {
	return p.store.Equivocations(ctx, func(e relay.Equivocation) error { return fn(e.First, e.Second) })
}

// publisher publishes through the relay, which opens after the reputation.
type publisher struct{ m *Main }

func (p publisher) Publish(ctx context.Context, evt *nostr.Event) error {
	return p.m.relay.Publish(ctx, evt)
}

// signer signs with one key.
type signer struct{ keys *mostro.Keys }

func (s signer) Pubkey() string { return s.keys.Pubkey() }

func (s signer) Sign(evt *nostr.Event) error {
	secret := s.keys.Secret()
	return evt.Sign(hex.EncodeToString(secret[:]))
}

// market is what the reputation needs of the index and the log.
type market struct {
	*indexer.Index
	store *relay.Store
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
