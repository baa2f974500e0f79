package main

import (
	"net/http"
	"path/filepath"
	"strings"

	"github.com/mostrodex/mostrodex/indexer/export"
	"github.com/mostrodex/mostrodex/indexer/partitions"
	"github.com/mostrodex/mostrodex/indexer/web"
	"github.com/mostrodex/mostrodex/indexer/web/downloads"
	"github.com/mostrodex/mostrodex/relay/eventlog"
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

func (s surface) downloads(site *web.Site) exported {
	c := downloads.Config{Source: s.stores.index.Archive(), Store: s.exports, API: site.API, Compress: compressed, Logger: s.logger}
	if s.relay != nil { // else a verb on a data directory
		c.Address = s.relay.ClientAddress
	}
	if s.url != "" {
		c.Base = "http" + strings.TrimPrefix(s.url, "ws")
	}
	return exported{downloads.New(c)}
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
