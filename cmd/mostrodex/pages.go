package main

import (
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer/export"
	"github.com/mostrodex/mostrodex/indexer/web"
	"github.com/mostrodex/mostrodex/relay/federation"
)

// webURL returns the public address of the pages, which is relay.url as http, or "".
func webURL(relay string) string {
	if relay == "" {
		return ""
	}
	return "http" + strings.TrimSuffix(strings.TrimPrefix(relay, "ws"), "/")
}

// checkOnion returns an error if relay.onion is not the address of a site in the Tor network.
func checkOnion(onion string) error {
	u, err := url.Parse(onion)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.User != nil, u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return errors.New(`relay.onion: not an address such as "http://….onion"`)
	case len(u.Hostname()) < 62 || !strings.HasSuffix(u.Hostname(), ".onion"):
		return errors.New("relay.onion: not a name of 56 characters that ends in .onion")
	case strings.Trim(u.Hostname(), "abcdefghijklmnopqrstuvwxyz234567.-") != "":
		return errors.New("relay.onion: has characters that no onion address has")
	}
	return nil
}

// pages returns what the pages about relays and downloads show.
func (s surface) pages() web.Data {
	return web.Data{Address: s.url, Relays: s.relaysShown, Exports: s.exportsShown}
}

func (s surface) relaysShown() []web.Relay {
	at := func(unix *int64) time.Time {
		if unix == nil {
			return time.Time{}
		}
		return time.Unix(*unix, 0)
	}
	var out []web.Relay
	for _, h := range s.upstreams.Health() {
		out = append(out, relayShown(&h, at))
	}
	return out
}

func relayShown(h *federation.RelayHealth, at func(*int64) time.Time) web.Relay {
	r := web.Relay{URL: h.URL, Configured: h.Configured, State: h.State, Since: at(h.StateSince), Synced: at(h.SyncedAt), LastLive: at(h.LastLiveAt),
		Received: h.Events.Received, Kept: h.Events.Kept, Refused: h.Events.Refused}
	if h.LagSeconds != nil {
		r.Lag = time.Duration(*h.LagSeconds * float64(time.Second))
	}
	if h.Software != nil {
		r.Software = *h.Software
	}
	if h.MaxLimit != nil {
		r.MaxLimit = *h.MaxLimit
	}
	return r
}

func (s surface) exportsShown() []web.Export {
	files := map[string][]web.ExportFile{}
	if s.exports != nil {
		for _, f := range s.exports.Files() {
			files[f.Set] = append(files[f.Set], web.ExportFile{Month: string(f.Month), Format: string(f.Format), Path: f.Path, SHA256: f.SHA256, Rows: f.Rows, Bytes: f.Bytes})
		}
	}
	var out []web.Export
	for _, set := range export.Sets() {
		out = append(out, web.Export{Name: set.Name, Doc: set.Doc, Stream: "/api/v1/export/" + set.Name, Columns: len(set.Columns), Files: files[set.Name]})
	}
	return out
}
