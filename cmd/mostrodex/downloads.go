package main

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer/export"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/partitions"
	"github.com/mostrodex/mostrodex/indexer/web"
	"github.com/mostrodex/mostrodex/indexer/web/downloads"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/mostrodex/mostrodex/reputation/score"
)

// openExports opens the files of closed months. It returns nil if there is no index, or if the
// operator wants no files.
func openExports(c *Config, s *stores, with ambient) (*partitions.Store, error) {
	if s.index == nil || !c.Export.Partitions {
		return nil, nil
	}
	// The relay refuses events when less than its reserve is free. Files that can be made
	// again must not fill the disk so far.
	free := int64(c.Relay.DiskReserveMiB) << 20
	if free == 0 {
		free = eventlog.DefaultDiskReserve
	}
	return partitions.Open(partitions.Config{Dir: filepath.Join(c.Data, "exports"), Source: s.index.Archive(), MinFree: max(2*free, 0), Logger: with.logger, Now: with.now})
}

// exported answers the routes of exports.
type exported struct{ *downloads.Downloads }

func (s surface) downloads(site *web.Site) (exported, error) {
	c := downloads.Config{Source: s.stores.index.Archive(), Store: s.exports, API: site.API, Compress: compressed, Notice: s.notice, Logger: s.logger}
	if s.relay != nil { // else a verb on a data directory
		c.Address = s.relay.ClientAddress
	}
	if s.url != "" {
		c.Base = "http" + strings.TrimPrefix(s.url, "ws")
	}
	if s.scores != nil {
		params := s.scores.Params()
		c.Bundles = &downloads.Bundles{Dir: filepath.Join(s.stores.data, "bundles"), MinFree: eventlog.DefaultDiskReserve, Now: s.now,
			Known: func(ctx context.Context, pubkey string) error {
				hidden, err := c.Source.Hidden(ctx)
				if _, ok := s.scores.Score(pubkey); err == nil && (!ok || hidden.Hides(pubkey, "", false)) {
					return mostro.ErrNotFound
				}
				return err
			},
			Write: func(ctx context.Context, w io.Writer, pubkey string, asOf time.Time) error {
				hidden, err := c.Source.Hidden(ctx)
				if err != nil {
					return err
				}
				_, err = score.WriteSignedBundle(ctx, w, shownEvidence{evidence{s.stores.store}, hidden}, params, asOf, pubkey, s.scores.BundleSigner(), nil)
				return err
			}}
		if err := c.Bundles.Open(); err != nil {
			return exported{}, err
		}
	}
	return exported{downloads.New(c)}, nil
}

// Omits names the hidden events in a bundle.
func (shownEvidence) Omits() []score.Omission {
	return []score.Omission{{What: "hidden", Text: "events that the operator of this relay hides"}}
}

// shownEvidence is the evidence without the events that the operator hides.
type shownEvidence struct {
	evidence
	hidden *orders.Hidden
}

func (e shownEvidence) Read(ctx context.Context, after uint64, fn func(mostro.Entry) error) error {
	return e.evidence.Read(ctx, after, func(entry mostro.Entry) error {
		if e.hidden.Hides(entry.Event.PubKey, entry.Event.ID, false) {
			return nil
		}
		return fn(entry)
	})
}

// events answers GET /api/v1/export/events: rows, or the signed events alone, which the relay
// exports.
func (e exported) events(signed http.Handler) http.Handler {
	set, _ := export.SetOf("events")
	rows := e.Stream(set)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if downloads.Wants(r) {
			rows.ServeHTTP(w, r)
			return
		}
		signed.ServeHTTP(w, r)
	})
}
