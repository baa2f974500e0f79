package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
)

// target is the object of a verb: a running server, or a data directory whose server is
// stopped.
type target struct {
	url, data string
	config    string // used with data, for [reputation]; "": the defaults
	bulk      bool   // the verb writes much data
	askable   bool   // the verb has --url
}

const defaultURL = "http://127.0.0.1:7777"

// flags adds --url and --data. defURL is the default if neither flag is set. If defURL is "",
// the default is the data directory ./data.
func (t *target) flags(cmd *cobra.Command, defURL string) {
	t.askable = true
	cmd.Flags().StringVar(&t.url, "url", "", "running server, http(s) or ws(s)"+orNote(defURL))
	cmd.Flags().StringVar(&t.data, "data", "", "data directory of a stopped server"+orNote(map[bool]string{true: "./data"}[defURL == ""]))
	cmd.MarkFlagsMutuallyExclusive("url", "data")
	cmd.PreRun = func(*cobra.Command, []string) {
		switch {
		case t.url != "" || t.data != "":
		case defURL != "":
			t.url = defURL
		default:
			t.data = defaultConfig().Data
		}
	}
}

func orNote(def string) string {
	if def == "" {
		return ""
	}
	return " (default " + def + ")"
}

// withStores opens the data directory without listening.
func (t *target) withStores(ctx context.Context, stderr io.Writer, index bool, fn func(*stores, ambient) error) (err error) {
	cfg := defaultConfig()
	cfg.Data, cfg.Indexer.Enabled = t.data, index
	s := new(stores)
	with := ambient{logger: slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), registry: prometheus.NewRegistry(), now: time.Now}
	defer func() {
		if e := s.close(); err == nil {
			err = e
		}
	}()
	if err := s.open(&cfg, with, t.bulk, nil); err != nil {
		if errors.Is(err, eventlog.ErrLocked) {
			if !t.askable {
				return fmt.Errorf("%w: stop the server first", err)
			}
			return fmt.Errorf("%w, or ask the running server with --url %s", err, defaultURL)
		}
		return err
	}
	ctx, done := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- runMemoryLimit(ctx) }()
	defer func() { done(); <-stopped }()
	if t.bulk {
		setThreads(threads(busyThreads))
		defer setThreads(cores)
	}
	return fn(s, with)
}

// get queries the API and decodes its answer into v. A running server is queried over HTTP. A
// data directory is queried in this process, after its index has caught up.
func (t *target) get(ctx context.Context, stderr io.Writer, path string, q url.Values, v any) error {
	if t.data == "" {
		u, err := apiURL(t.url, path, q)
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return unreachable(t.url, err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return answerError(resp)
		}
		return json.NewDecoder(resp.Body).Decode(v)
	}
	if err := t.mustExist(); err != nil {
		return err
	}
	return t.withStores(ctx, stderr, true, func(s *stores, with ambient) error {
		if err := s.index.CatchUp(ctx); err != nil {
			return err
		}
		cfg := defaultConfig()
		if t.config != "" {
			var err error
			if cfg, err = loadConfig(t.config, os.Environ()); err != nil {
				return err
			}
		}
		// CatchUp writes its own checkpoint, so no call of Close is needed.
		scores, err := openReputation(&cfg.Reputation, s, nil, with)
		if err != nil {
			return err
		}
		if err := scores.CatchUp(ctx); err != nil {
			return err
		}
		w := httptest.NewRecorder()
		site, rows := surface{stores: s, scores: scores, ambient: with}.site()
		site.Mux().Public(append(rows, site.NotFound(rows)...)).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path+"?"+q.Encode(), nil))
		if w.Code != http.StatusOK {
			return answerError(w.Result())
		}
		return json.Unmarshal(w.Body.Bytes(), v)
	})
}

// mustExist returns an error if the directory does not exist, so that a reading verb with a
// mistyped directory does not create an empty store.
func (t *target) mustExist() error {
	if _, err := os.Stat(t.data); err != nil {
		hint := "name one with --data"
		if t.askable {
			hint += ", or a running server with --url"
		}
		return fmt.Errorf("there is no data directory %s: %s", t.data, hint)
	}
	return nil
}

func unreachable(base string, err error) error {
	return fmt.Errorf("no server answers at %s (start one with 'mostrodex serve', or use --data): %w", base, errors.Unwrap(err))
}

// answerError converts a problem document (RFC 9457) to an error. If the server did not
// understand the request, the error is a usageError.
func answerError(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // a partial body is used as it is
	var p struct{ Title, Detail string }
	err := fmt.Errorf("the server answers %s: %s", resp.Status, strings.TrimSpace(string(body)))
	if json.Unmarshal(body, &p) == nil && p.Title+p.Detail != "" {
		err = errors.New(strings.TrimPrefix(strings.Join([]string{p.Title, p.Detail}, ": "), ": "))
	}
	if resp.StatusCode == http.StatusBadRequest {
		return usageError{err}
	}
	return err
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
