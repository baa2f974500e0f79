package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/spf13/cobra"
)

func newExportCmd() *cobra.Command {
	var from target
	var format, what string
	var kinds []int
	var authors []string
	var since, until int64
	var live, evidence bool
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write events as NDJSON, in the order in which they were received",
		Long: `Write the log's events to standard output, one signed JSON object per line, in
the order in which they were received. Private messages are never exported.

With --evidence each line also says when and by which road the event was
received. 'mostrodex import --evidence' takes that back, so that a restored
relay has the ranks and the known keys of the old one. It needs the data
directory, and contains what a public export hides: banned keys and events.`,
		Example: `  mostrodex export --url http://127.0.0.1:7777 > events.ndjson
  mostrodex export --data ./data --kinds 38383,38385
  mostrodex export --data ./data --evidence > backup.ndjson
  mostrodex export --live --kinds 38383`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "ndjson" {
				return usagef("--format %s: this version writes ndjson", format)
			}
			if what != "events" {
				return usagef("--what %s: this version exports events", what)
			}
			q := url.Values{}
			if len(kinds) > 0 {
				q.Set("kinds", strings.Trim(strings.ReplaceAll(fmt.Sprint(kinds), " ", ","), "[]"))
			}
			if len(authors) > 0 {
				q.Set("authors", strings.Join(authors, ","))
			}
			for name, at := range map[string]int64{"since": since, "until": until} {
				if at != 0 {
					q.Set(name, strconv.FormatInt(at, 10))
				}
			}
			if live {
				q.Set("live", "true")
			}
			if evidence && from.data == "" {
				return usagef("--evidence needs --data: a running server tells nobody what it witnessed; stop it first")
			}
			filter, err := eventlog.ParseExportFilter(q)
			if err != nil {
				return usageError{err}
			}
			filter.Evidence = evidence
			if from.data == "" {
				return exportFrom(cmd, from.url, q)
			}
			if err := from.mustExist(); err != nil {
				return err
			}
			return from.withStores(cmd.Context(), cmd.ErrOrStderr(), false, func(s *stores, _ ambient) error {
				_, err := s.store.Export(cmd.Context(), cmd.OutOrStdout(), filter)
				return err
			})
		},
	}
	from.flags(cmd, defaultURL)
	f := cmd.Flags()
	f.StringVar(&format, "format", "ndjson", "ndjson")
	f.StringVar(&what, "what", "events", "events")
	f.IntSliceVar(&kinds, "kinds", nil, "only these kinds")
	f.StringSliceVar(&authors, "authors", nil, "only events of these public keys (hex)")
	f.Int64Var(&since, "since", 0, "created at this unix time or later")
	f.Int64Var(&until, "until", 0, "created at this unix time or earlier")
	f.BoolVar(&evidence, "evidence", false, "with time and road of receipt: a backup for import --evidence")
	f.BoolVar(&live, "live", false, "only what is served now")
	return cmd
}

func exportFrom(cmd *cobra.Command, base string, q url.Values) error {
	u, err := apiURL(base, "/api/v1/export/events", q)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, u, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return unreachable(base, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return answerError(resp)
	}
	_, err = io.Copy(cmd.OutOrStdout(), resp.Body)
	return err
}
