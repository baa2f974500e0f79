package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/indexer/bestiario"
	figures "github.com/mostrodex/mostrodex/indexer/market"
	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/nbd-wtf/go-nostr"
)

// publication publishes the statistics as documents of kind 30666. It is off by default.
type publication struct {
	index *indexer.Index
	to    interface {
		Publish(ctx context.Context, evt *nostr.Event) error
	}
	signer signer
	file   string // the state after the last publication
	every  time.Duration
	log    *slog.Logger
	now    func() time.Time
}

// openDocuments returns nil if the operator publishes no statistics.
func openDocuments(c *Config, s *stores, to interface {
	Publish(ctx context.Context, evt *nostr.Event) error
}, with ambient) (*publication, error) {
	if c.Indexer.Publish == "" || s.index == nil {
		return nil, nil
	}
	every, err := c.Indexer.every()
	if err != nil {
		return nil, err
	}
	keys, err := ownKeys(c.Indexer.Key, s.data, "statistics")
	if err != nil {
		return nil, err
	}
	return &publication{index: s.index, to: to, signer: signer{keys}, file: filepath.Join(s.data, "published-statistics"), every: every,
		log: with.logger.With("room", "indexer"), now: with.now}, nil
}

// run publishes until ctx ends. A publication that fails is tried again after a minute: the
// figures are not worth the end of the program.
func (d *publication) run(ctx context.Context) error {
	for !d.index.Ready() {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
	for {
		wait := d.every
		if err := d.publish(ctx); ctx.Err() != nil {
			return nil
		} else if err != nil {
			wait = min(wait, time.Minute)
			if !errors.Is(err, figures.ErrBehind) {
				d.log.Warn("statistics were not published", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// publish publishes the documents that changed since the last publication, and the index last.
// The state is written after the index was accepted: after a crash before that, the same
// documents are published again, with a later created_at.
func (d *publication) publish(ctx context.Context) error {
	var before publishedDocuments
	raw, err := os.ReadFile(d.file)
	if err == nil {
		err = json.Unmarshal(raw, &before)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.log.Warn("the state of the published statistics cannot be read, beginning anew", "file", d.file, "error", err)
		before = publishedDocuments{}
	}
	shot, err := d.snapshot()
	if err != nil {
		return err
	}
	shot.At = max(shot.At, before.At+1) // two versions of one address never have the same created_at
	events, after, err := shot.Events(before.State)
	if err != nil || len(events) == 0 {
		return err
	}
	for i := range events {
		if err := d.signer.Sign(&events[i]); err != nil {
			return err
		}
		if err := d.to.Publish(ctx, &events[i]); err != nil {
			return fmt.Errorf("document %s: %w", events[i].Tags.GetD(), err)
		}
	}
	if raw, err = json.Marshal(publishedDocuments{after, shot.At}); err != nil {
		return err
	}
	if err := os.WriteFile(d.file+".new", raw, 0o600); err != nil {
		return err
	}
	return os.Rename(d.file+".new", d.file)
}

// publishedDocuments is the content of the state file.
type publishedDocuments struct {
	bestiario.State
	At int64 `json:"at"` // created_at of the last publication
}

// snapshot computes all documents. Windows end at the receipt of the newest event that counts, so
// that figures do not change without an event.
func (d *publication) snapshot() (*bestiario.Snapshot, error) {
	shot := &bestiario.Snapshot{At: d.now().Unix(), Publisher: "mostrodex", Version: programVersion()}
	err := d.index.View(false, func(c *stats.Collector, _ []map[[32]byte]struct{}) error {
		coverage := c.Coverage(0)
		shot.FirstEvent, shot.LastEvent = coverage.SignedFrom, min(shot.At, coverage.ReceivedUntil)
		if shot.LastEvent <= shot.FirstEvent {
			return figures.ErrBehind // no event counts yet
		}
		return nil
	})
	for _, w := range bestiario.Windows {
		if err != nil {
			break
		}
		q := stats.Query{From: max(0, w.From(shot.LastEvent, shot.FirstEvent)), Until: shot.LastEvent}
		var doc stats.Document
		err = d.index.View(false, func(c *stats.Collector, hidden []map[[32]byte]struct{}) (err error) { // a lock for each window, because each takes some time
			q.Exclude = hidden
			doc, err = c.Document(q)
			return err
		})
		for i := range bestiario.Reports {
			if err != nil {
				break
			}
			var one bestiario.Document
			if one, err = bestiario.Reports[i].Document(w, q.From, q.Until, doc.Metrics); err == nil {
				shot.Documents = append(shot.Documents, one)
			}
		}
	}
	return shot, err
}
