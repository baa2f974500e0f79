package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mostrodex/mostrodex/relay"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func newImportCmd() *cobra.Command {
	var to target
	var asJSON, evidence bool
	cmd := &cobra.Command{
		Use:   "import FILE|-",
		Short: "Take in events from a file (NDJSON), through the relay's own admission",
		Long: `Take in events, one JSON object per line, from a file or standard input.

Every event passes the same checks as one that comes over a socket; expired
events are archived as history. Rejected lines are reported with their number
and reason; they neither stop the import nor change the exit code.

With --url the events go into a running server; else into the data directory,
whose server must be stopped.

With --evidence the file is a backup by 'mostrodex export --evidence', and its
times of receipt are believed: use it for your own backups alone, because ranks
follow from these times. It works on a data directory only.`,
		Example: `  mostrodex import events.ndjson --url http://127.0.0.1:7777
  mostrodex import events.ndjson --data ./data
  mostrodex import backup.ndjson --data ./data --evidence
  zcat archive.ndjson.gz | mostrodex import - --url http://127.0.0.1:7777`,
		Args: exactly(1, "one FILE, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if evidence && to.url != "" {
				return usagef("--evidence takes a backup into a data directory (--data), never into a running server")
			}
			in, size, err := openInput(args[0], cmd.InOrStdin())
			if err != nil {
				return err
			}
			defer in.Close()
			p := newProgress(cmd.ErrOrStderr(), size)
			body := p.reader(in)
			report := func(res relay.ImportResult) error {
				if res.Outcome == "rejected" {
					p.clear()
					fmt.Fprintf(cmd.ErrOrStderr(), "line %d: %s\n", res.Line, res.Reason)
				}
				if asJSON {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(res)
				}
				p.show()
				return nil
			}
			var sum relay.ImportSummary
			if to.url != "" {
				sum, err = importInto(cmd.Context(), to.url, body, report)
			} else {
				err = to.withStores(cmd.Context(), cmd.ErrOrStderr(), false, func(s *stores, _ ambient) error {
					srv, err := relay.New(relay.Config{Store: s.store})
					if err != nil {
						return err
					}
					sum, err = srv.Import(cmd.Context(), body, relay.ImportOptions{Evidence: evidence}, report)
					return err
				})
			}
			p.clear()
			if errors.Is(err, context.Canceled) && cmd.Context().Err() != nil {
				err = fmt.Errorf("interrupted after %d lines, which are kept: import again to go on, what is held already counts as duplicate", sum.Lines)
			}
			if asJSON {
				if e := json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"summary": sum}); err == nil {
					err = e
				}
			} else {
				fmt.Fprintf(cmd.OutOrStdout(), "added %d duplicate %d archived %d rejected %d\n", sum.Added, sum.Duplicate, sum.Archived, sum.Rejected)
			}
			return err
		},
	}
	to.bulk = true
	to.flags(cmd, "")
	cmd.Flags().BoolVar(&evidence, "evidence", false, "believe the times of receipt of your own backup (export --evidence)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON result per line of input, and a summary")
	return cmd
}

func openInput(name string, stdin io.Reader) (io.ReadCloser, int64, error) {
	if name == "-" {
		return io.NopCloser(stdin), 0, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory: name a file of events, one JSON object per line", name)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// importInto streams events into a running server and calls fn with each result.
func importInto(ctx context.Context, base string, body io.Reader, fn func(relay.ImportResult) error) (sum relay.ImportSummary, err error) {
	u, err := apiURL(base, "/api/v1/import", nil)
	if err != nil {
		return sum, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u, body)
	if err != nil {
		return sum, err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return sum, unreachable(base, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return sum, answerError(resp)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			relay.ImportResult
			Summary *relay.ImportSummary `json:"summary"`
			Error   string               `json:"error"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return sum, fmt.Errorf("the server's answer is not understood: %w", err)
		}
		switch {
		case line.Summary != nil && line.Error != "":
			return *line.Summary, fmt.Errorf("the server broke off the import: %s", line.Error)
		case line.Summary != nil:
			return *line.Summary, nil
		}
		count(&sum, line.Outcome)
		if err := fn(line.ImportResult); err != nil {
			return sum, err
		}
	}
	return sum, fmt.Errorf("the server's answer ended early after %d lines: import again, what is held already counts as duplicate: %w",
		sum.Lines, errors.Join(lines.Err(), io.ErrUnexpectedEOF))
}

func count(sum *relay.ImportSummary, outcome string) {
	sum.Lines++
	switch outcome {
	case "added":
		sum.Added++
	case "duplicate":
		sum.Duplicate++
	case "archived":
		sum.Archived++
	default:
		sum.Rejected++
	}
}

// progress draws a bar on a terminal and prints nothing elsewhere.
type progress struct {
	w      io.Writer
	on     bool
	size   int64 // 0 if unknown
	read   atomic.Int64
	lines  int
	start  time.Time
	drawn  time.Time
	onLine bool
}

func newProgress(w io.Writer, size int64) *progress {
	f, ok := w.(*os.File)
	return &progress{w: w, on: ok && term.IsTerminal(int(f.Fd())), size: size, start: time.Now()}
}

type countingReader struct {
	io.Reader
	n *atomic.Int64
}

func (r countingReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.n.Add(int64(n))
	return n, err
}

func (p *progress) reader(r io.Reader) io.Reader { return countingReader{r, &p.read} }

// show redraws at most ten times per second.
func (p *progress) show() {
	p.lines++
	if !p.on || time.Since(p.drawn) < 100*time.Millisecond {
		return
	}
	p.drawn, p.onLine = time.Now(), true
	rate := float64(p.lines) / time.Since(p.start).Seconds()
	if p.size == 0 {
		fmt.Fprintf(p.w, "\r%d events, %.0f/s\033[K", p.lines, rate)
		return
	}
	const width = 30
	done := min(float64(p.read.Load())/float64(p.size), 1)
	bar := strings.Repeat("#", int(done*width)) + strings.Repeat(".", width-int(done*width))
	fmt.Fprintf(p.w, "\r[%s] %3.0f%% %d events, %.0f/s\033[K", bar, done*100, p.lines, rate)
}

func (p *progress) clear() {
	if p.onLine {
		fmt.Fprint(p.w, "\r\033[K")
		p.onLine = false
	}
}

// serverURL parses a server's base URL (http, https, ws or wss). Its scheme becomes scheme,
// http or ws, or the encrypted form of scheme.
func serverURL(base, scheme string) (*url.URL, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return nil, usagef("--url %q is not a URL such as %s://127.0.0.1:7777", base, scheme)
	}
	switch u.Scheme {
	case "http", "ws":
		u.Scheme = scheme
	case "https", "wss":
		u.Scheme = scheme + "s"
	default:
		return nil, usagef("--url %q: its scheme is none of http, https, ws, wss", base)
	}
	return u, nil
}

// apiURL joins a server's base URL with a path.
func apiURL(base, path string, q url.Values) (string, error) {
	u, err := serverURL(base, "http")
	if err != nil {
		return "", err
	}
	u = u.JoinPath(path)
	u.RawQuery = q.Encode()
	return u.String(), nil
}
