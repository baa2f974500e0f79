// Command mostrodex is a Nostr relay for peer-to-peer bitcoin orders, an index of the orders
// of many Mostros, and tools for both.
//
// Exit codes: 0 if the command succeeded; 1 if it failed or if checked data is unsound; 2 if
// the command line is wrong; 3 to 6 for causes that a restart does not repair (exitcodes.go).
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// version is set by the linker for releases. If version is "", the build information of Go is
// used.
var version = ""

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// usageError is a mistake in the command line, for exit code 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// run is the whole program, for main and for tests.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "mostrodex:", err)
	code := exitCode(err)
	if code == exitUsage {
		fmt.Fprintf(stderr, "Run '%s --help' for usage and examples.\n", cmd.CommandPath())
	}
	return code
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "mostrodex",
		Short: "A relay, an index and more for peer-to-peer bitcoin orders over Nostr",
		Long: `Mostrodex takes in the orders of many Mostros (Nostr kind 38383), serves them as
a relay, finds them by search, and says how far each Mostro is to be trusted. When
configured it is a Mostro itself: an escrow over Lightning.

Exit codes: 0 done; 1 it could not be done, or what was checked is unsound;
2 the command line is wrong; 3 the configuration is wrong; 4 the stored data
cannot be used; 5 the data directory or the address is in use; 6 the disk is full
or read-only.`,
		Example: `  mostrodex init
  mostrodex serve
  mostrodex import events.ndjson --url http://127.0.0.1:7777
  mostrodex search "pago movil" --fiat VES`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			err := fmt.Errorf("unknown command %q", args[0])
			if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
				err = fmt.Errorf("%w: did you mean %q?", err, like[0])
			}
			return usageError{err}
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError{suggestFlag(cmd, err)} })
	root.AddCommand(newInitCmd(), newServeCmd(), newDemoCmd(), newImportCmd(), newExportCmd(), newSearchCmd(), newOrdersCmd(), newWatchCmd(), newInstancesCmd(),
		newLogCmd(), newIndexCmd(), newKeysCmd(), newMessageCmd(), newSendCmd(), newInboxCmd(), newReceiptCmd(), newRateCmd(), newTradeCmd(), newDisputeCmd(), newSolverCmd(), newUserCmd(), newLedgerCmd(), newDevFeeCmd(), newReputationCmd(), newChooseCmd(), newMCPCmd(),
		newPauseCmd("pause", "Have the running escrow take no new trades", "Have the running escrow take no new orders and no takers. Trades under way go on.\nThis survives a restart."),
		newMaintenanceCmd(), newConfigCmd(), newDoctorCmd(), newBackupCmd(), newRestoreCmd(), newHealthCmd(), newManCmd(), newAlertCmd(),
		newPauseCmd("resume", "Have the running escrow take new trades again", "Have the running escrow take new orders and takers again."),
		newVersionCmd())
	return root
}

// suggestFlag adds the name of a similar flag to the error about an unknown flag.
func suggestFlag(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || len(unknown.GetSpecifiedName()) < 2 {
		return err
	}
	// cobra computes the distance between names of commands.
	names := &cobra.Command{SuggestionsMinimumDistance: 2}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
		}
	})
	name := unknown.GetSpecifiedName()
	if like := names.SuggestionsFor(name); len(like) > 0 {
		// If several names have the same distance, swapped letters are more likely than
		// missing letters.
		slices.SortStableFunc(like, func(a, b string) int {
			return cmp.Compare(max(len(a)-len(name), len(name)-len(a)), max(len(b)-len(name), len(name)-len(b)))
		})
		return fmt.Errorf("%w: did you mean --%s?", err, like[0])
	}
	return err
}

// exactly is cobra.ExactArgs with an exit code of 2 and a hint.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef("%s takes %s, %d given", cmd.Name(), what, len(args))
		}
		return nil
	}
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no argument, %q given", cmd.CommandPath(), args[0])
	}
	return nil
}

// groupOf returns a verb that only contains other verbs.
func groupOf(use, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usagef("unknown command %q for %q", args[0], cmd.CommandPath())
		}
		return nil
	}, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(verbs...)
	return cmd
}

func newVersionCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "version", Short: "Print the version of this program", Args: noArgs,
		Example: "  mostrodex version --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := programVersion()
			if asJSON {
				return printJSON(cmd.OutOrStdout(), map[string]any{"version": v, "signature_check": signatureCheck})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "mostrodex %s (signature check: %s)\n", v, signatureCheck)
			return err
		}}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// programVersion returns the linked version, or the version that the Go toolchain recorded.
func programVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && (v == "" || v == "(devel)") {
			v = "devel-" + s.Value[:min(12, len(s.Value))]
		}
	}
	if v == "" {
		v = "devel"
	}
	return v
}
