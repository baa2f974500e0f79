package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer/export"
	"github.com/mostrodex/mostrodex/indexer/partitions"
	"github.com/mostrodex/mostrodex/indexer/web/downloads"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func newExportCmd() *cobra.Command {
	var from target
	var what string
	var kinds []int
	var authors []string
	var since, until int64
	var live, evidence bool
	rows := rowFlags{}
	cmd := &cobra.Command{
		Use:   "export [events|orders|history|trades|stats|instances]",
		Short: "Write events, or rows of a data set as NDJSON, CSV or Parquet",
		Long: `Write the log's events to standard output, one signed JSON object per line, in
the order in which they were received. Private messages are never exported.

With the name of another data set, or with another format, write rows: orders,
versions of orders (history), completed trades, figures by day (stats), events
or descriptions of Mostros (instances). Every row has the time and the road of
receipt. --month, --from and --to select rows by the time of receipt. docs/
export.md describes the columns.

With --evidence each line of an event also says when and by which road the event
was received. 'mostrodex import --evidence' takes that back, so that a restored
relay has the ranks and the known keys of the old one. It needs the data
directory. An export of a data directory contains what a public export hides:
banned keys and events.`,
		Example: `  mostrodex export --url http://127.0.0.1:7777 > events.ndjson
  mostrodex export trades --format csv --month 2026-09 > trades.csv
  mostrodex export history --data ./data --format parquet > history.parquet
  mostrodex export --data ./data --kinds 38383,38385
  mostrodex export --data ./data --evidence > backup.ndjson
  mostrodex export --live --kinds 38383`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("export takes at most one data set, %d given", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				what = args[0]
			}
			set, ok := export.SetOf(what)
			if !ok {
				return usagef("there is no data set %q: name one of events, orders, history, trades, stats, instances", what)
			}
			if what != "events" || rows.format != "ndjson" {
				for _, flag := range []string{"kinds", "authors", "since", "until", "evidence", "live"} {
					if cmd.Flags().Changed(flag) {
						return usagef("--%s selects signed events; rows are selected by --month, --from and --to", flag)
					}
				}
				return rows.export(cmd, &from, set)
			}
			for _, flag := range []string{"month", "from", "to", "by"} {
				if cmd.Flags().Changed(flag) {
					return usagef("--%s selects rows; signed events are selected by --since and --until, or take --format rows", flag)
				}
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
				return exportFrom(cmd, from.url, "events", q)
			}
			if err := from.mustExist(); err != nil {
				return err
			}
			return from.withStores(cmd.Context(), cmd.ErrOrStderr(), false, func(s *stores, _ ambient) error {
				p := newProgress(cmd.ErrOrStderr(), 0)
				defer p.clear()
				_, err := s.store.Export(cmd.Context(), countedLines{cmd.OutOrStdout(), p}, filter)
				return err
			})
		},
	}
	from.flags(cmd, defaultURL)
	f := cmd.Flags()
	f.StringVar(&rows.format, "format", "ndjson", "ndjson, csv or parquet; for events also rows (NDJSON)")
	f.StringVar(&what, "what", "events", "data set")
	f.Lookup("what").Hidden = true // the argument says the same
	f.StringVar(&rows.month, "month", "", "rows received in a month, such as 2026-09")
	f.StringVar(&rows.from, "from", "", "rows received at this time or later (unix seconds or RFC 3339)")
	f.StringVar(&rows.to, "to", "", "rows received before this time")
	f.StringVar(&rows.by, "by", "", "width of a period of stats: hour, day, week or month (default day)")
	f.IntSliceVar(&kinds, "kinds", nil, "only these kinds")
	f.StringSliceVar(&authors, "authors", nil, "only events of these public keys (hex)")
	f.Int64Var(&since, "since", 0, "created at this unix time or later")
	f.Int64Var(&until, "until", 0, "created at this unix time or earlier")
	f.BoolVar(&evidence, "evidence", false, "with time and road of receipt: a backup for import --evidence")
	f.BoolVar(&live, "live", false, "only what is served now")
	return cmd
}

// rowFlags are the flags of an export of rows.
type rowFlags struct{ format, month, from, to, by string }

// export writes the rows of a data set.
func (f *rowFlags) export(cmd *cobra.Command, from *target, set *export.Set) error {
	q := url.Values{"format": {f.format}}
	for name, value := range map[string]string{"month": f.month, "from": f.from, "until": f.to, "by": f.by} {
		if value != "" {
			q.Set(name, value)
		}
	}
	query, format, err := downloads.ParseQuery(q, set, time.Now())
	if err != nil {
		return usageError{err}
	}
	out := cmd.OutOrStdout()
	if file, ok := out.(*os.File); ok && format == "parquet" && term.IsTerminal(int(file.Fd())) {
		return usagef("Parquet is no text for a terminal: add > %s.parquet", set.Name)
	}
	if from.data == "" {
		return exportFrom(cmd, from.url, set.Name, q)
	}
	if err := from.mustExist(); err != nil {
		return err
	}
	return from.withStores(cmd.Context(), cmd.ErrOrStderr(), true, func(s *stores, _ ambient) error {
		if err := s.index.CatchUp(cmd.Context()); err != nil {
			return err
		}
		buffered := bufio.NewWriterSize(out, 1<<16)
		rows, err := downloads.WriterOf(buffered, set, format)
		if err != nil {
			return err
		}
		p := newProgress(cmd.ErrOrStderr(), 0)
		defer p.clear()
		if err := partitions.Write(cmd.Context(), s.index.Archive(), query, rows, func(n int64) {
			p.lines = int(n) - 1
			p.show()
		}); err != nil {
			return err
		}
		return buffered.Flush()
	})
}

// countedLines shows the number of lines that were written.
type countedLines struct {
	io.Writer
	p *progress
}

func (w countedLines) Write(b []byte) (int, error) {
	w.p.lines += bytes.Count(b, []byte("\n")) - 1
	w.p.show()
	return w.Writer.Write(b)
}

// exportFrom writes an export of a running server.
func exportFrom(cmd *cobra.Command, base, set string, q url.Values) error {
	u, err := apiURL(base, "/api/v1/export/"+set, q)
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
	p := newProgress(cmd.ErrOrStderr(), 0)
	defer p.clear()
	_, err = io.Copy(countedLines{cmd.OutOrStdout(), p}, resp.Body)
	return err
}
