package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
)

// readyEvery is the interval between questions whether the program is ready.
const readyEvery = 200 * time.Millisecond

// supervisor reports the state of the program to systemd (sd_notify). Without NOTIFY_SOCKET
// notify does nothing.
type supervisor struct {
	notify   func(state string) // sends a message to systemd
	ready    func() error       // nil once /readyz answers 200
	alive    func(context.Context) error
	replaced func() bool   // the new program in this process tells READY
	watchdog time.Duration // systemd kills the program after this time without a sign of life; 0: never
	logger   *slog.Logger
}

// runSupervisor reports READY when /readyz answers 200, WATCHDOG while the committer of the
// event log works, and STOPPING when ctx ends.
func runSupervisor(ctx context.Context, m *Main) error {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("watchdog of systemd: %w", err)
	}
	notify := func(state string) {
		// Without systemd SdNotify returns false and no error.
		if _, err := daemon.SdNotify(false, state); err != nil {
			m.Logger.Warn("systemd cannot be told the state", "err", err)
		}
	}
	select {
	case <-m.serving:
	case <-ctx.Done():
		notify(daemon.SdNotifyStopping)
		return nil
	}
	s := supervisor{notify: notify, ready: func() error { return unready(m) }, alive: m.store.Ping, replaced: m.replaced.Load, watchdog: watchdog, logger: m.Logger}
	s.run(ctx)
	return nil
}

// unready returns nil if /readyz answers 200, and the answer otherwise. A program without an
// index has no /readyz, and is ready once it serves.
func unready(m *Main) error {
	if m.index == nil {
		return nil
	}
	answer := httptest.NewRecorder()
	m.web.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	if answer.Code == http.StatusOK {
		return nil
	}
	line, _, _ := strings.Cut(answer.Body.String(), "\n")
	return fmt.Errorf("%s", line)
}

// run returns when ctx ends.
func (s *supervisor) run(ctx context.Context) {
	defer func() {
		// After STOPPING systemd would kill the process, and with it the new program.
		if s.replaced() {
			s.notify(daemon.SdNotifyReloading)
		} else {
			s.notify(daemon.SdNotifyStopping)
		}
	}()
	var life <-chan time.Time // a sign of life is due
	if s.watchdog > 0 {
		tick := time.NewTicker(s.watchdog / 3)
		defer tick.Stop()
		life = tick.C
	}
	poll := time.NewTicker(readyEvery)
	defer poll.Stop()
	asked, status := poll.C, ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-life:
			s.signOfLife(ctx)
		case <-asked:
			err := s.ready()
			if err == nil {
				asked = nil
				s.notify(daemon.SdNotifyReady + "\nSTATUS=serving")
			} else if err.Error() != status {
				status = err.Error()
				s.notify("STATUS=" + status)
			}
		}
	}
}

// signOfLife tells systemd that the program works, if the committer answers in time. A
// committer that does not answer acknowledges no event. systemd then kills the program after
// the time of the watchdog, and the next start repairs the stores.
func (s *supervisor) signOfLife(ctx context.Context) {
	in, cancel := context.WithTimeout(ctx, s.watchdog/3)
	defer cancel()
	if err := s.alive(in); err == nil {
		s.notify(daemon.SdNotifyWatchdog)
	} else if ctx.Err() == nil {
		s.logger.Error("the committer of the event log does not answer: systemd is told no sign of life", "err", err)
	}
}

func newHealthCmd() *cobra.Command {
	var server string
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a running server whether it is ready",
		Long: `Ask a running server whether it is ready, and print its answer. The exit code is 0
if /readyz answers 200, else 1. Containers use this verb as their health check.`,
		Example: `  mostrodex health
  mostrodex health --url http://127.0.0.1:8080`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
			defer cancel()
			u, err := apiURL(server, "/readyz", nil)
			if err != nil {
				return err
			}
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
			if err != nil {
				return usageError{err}
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return unreachable(server, err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
			if err != nil {
				return err
			}
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
			}
			_, err = cmd.OutOrStdout().Write(body)
			return err
		},
	}
	cmd.Flags().StringVar(&server, "url", defaultURL, "running server, http(s) or ws(s)")
	return cmd
}
