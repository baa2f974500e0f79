package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// LogConfig is section [log].
type LogConfig struct {
	Format string `toml:"format"` // of the lines on the standard error: text or json
}

func (c *LogConfig) validate() error {
	if c.Format != "text" && c.Format != "json" {
		return fmt.Errorf("format: %q is neither text nor json", c.Format)
	}
	return nil
}

// logger returns a logger that writes lines in the configured format.
func (c *LogConfig) logger(w io.Writer) *slog.Logger {
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, nil))
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

func newLogCmd() *cobra.Command {
	return groupOf("log", "Look after the event log", newLogVerifyCmd())
}

func newLogVerifyCmd() *cobra.Command {
	at := target{}
	var asJSON, signatures bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove the event log against itself (server stopped)",
		Long: `Prove the event log against itself: every entry, body and id, the newest version
of every address recomputed from the log, and the live index against both.
Exit code 1 when it is unsound.`,
		Example: `  mostrodex log verify --data ./data
  mostrodex log verify --data ./data --signatures --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := at.mustExist(); err != nil {
				return err
			}
			return at.withStores(cmd.Context(), cmd.ErrOrStderr(), false, func(s *stores, _ ambient) error {
				show, done := counter(cmd.ErrOrStderr(), "checked")
				r, err := s.store.Check(cmd.Context(), signatures, show)
				done()
				if err != nil {
					return err
				}
				if asJSON {
					err = printJSON(cmd.OutOrStdout(), map[string]any{"entries": r.Entries, "readable": r.Bodies, "live": r.Live, "problems": r.Problems, "problems_total": r.Total})
				} else {
					for _, p := range r.Problems {
						fmt.Fprintln(cmd.OutOrStdout(), p)
					}
					_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d entries, %d readable, %d live, %d problems\n", r.Entries, r.Bodies, r.Live, r.Total)
				}
				if err == nil && r.Total > 0 {
					err = fmt.Errorf("the log in %s is unsound: restore a backup, or export what is readable into a fresh data directory", at.data)
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&at.data, "data", defaultConfig().Data, "data directory")
	cmd.Flags().BoolVar(&signatures, "signatures", false, "verify every signature too (slow)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newIndexCmd() *cobra.Command {
	return groupOf("index", "Look after the index", newIndexRebuildCmd())
}

func newIndexRebuildCmd() *cobra.Command {
	at := target{}
	cmd := &cobra.Command{
		Use:     "rebuild",
		Short:   "Throw the book and the search index away and build them from the log (server stopped)",
		Example: "  mostrodex index rebuild --data ./data",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := at.mustExist(); err != nil {
				return err
			}
			return at.withStores(cmd.Context(), cmd.ErrOrStderr(), true, func(s *stores, _ ambient) error {
				show, done := counter(cmd.ErrOrStderr(), "indexed")
				err := s.index.Rebuild(cmd.Context(), func(p indexer.Progress) { show(p.Done, p.Total) })
				done()
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "rebuilt from %d log entries\n", s.store.Head())
				return err
			})
		},
	}
	cmd.Flags().StringVar(&at.data, "data", defaultConfig().Data, "data directory")
	return cmd
}

// counter shows done of total on a terminal.
func counter(w any, verb string) (show func(done, total uint64), end func()) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return func(_, _ uint64) {}, func() {}
	}
	return func(done, total uint64) { fmt.Fprintf(f, "\r%s %d of %d\033[K", verb, done, total) },
		func() { fmt.Fprint(f, "\r\033[K") }
}

// isTerminal reports whether w is a terminal.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
