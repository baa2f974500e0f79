package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/mostro/corpus"
	"github.com/nbd-wtf/go-nostr"
)

// versionsPerOrder is the number of versions of each order in the memory case.
const versionsPerOrder = 5

// loadEvents and bookOrders are the sizes at scale 1.
const (
	loadEvents = 100_000
	bookOrders = 1_000_000
)

// loadConfig returns the corpus of the ingest and query cases. The corpus ends at the
// start of this month, so the orders are recent and the cached file stays valid for a
// month.
func loadConfig(seed int64, events int, now time.Time) corpus.Config {
	now = now.UTC()
	return corpus.Config{Seed: seed, Events: events, Unexpired: true, Now: time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)}
}

// cached returns the path of a file in the cache. If the file does not exist, write
// makes it. The file is written under a temporary name and renamed, so an interrupted
// run leaves no partial file.
func cached(dir, name string, write func(w *bufio.Writer) error) (string, error) {
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, name+".part*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	out := bufio.NewWriterSize(f, 1<<20)
	if err := errors.Join(write(out), out.Flush(), f.Close()); err != nil {
		return "", fmt.Errorf("make %s: %w", name, err)
	}
	return path, os.Rename(f.Name(), path)
}

// loadFile returns the path of the cached load with the given number of events, one
// JSON object per line.
func loadFile(ctx context.Context, dir string, seed int64, events int, now time.Time) (string, error) {
	cfg := loadConfig(seed, events, now)
	name := fmt.Sprintf("load-%d-%d-%s.ndjson", seed, events, cfg.Now.Format("2006-01"))
	return cached(dir, name, func(w *bufio.Writer) error {
		cfg.Progress = progress("signing the load")
		c, err := corpus.New(cfg)
		if err != nil {
			return err
		}
		return c.WriteNDJSON(ctx, w)
	})
}

// bookFile returns the path of the cached stream of the memory case: the given number
// of live orders, each in five versions. The corpus has one to five versions of each
// order. The missing versions are appended and signed by the order's own instance, as
// if the instance had published the order again.
func bookFile(ctx context.Context, dir string, orders int, now time.Time) (string, error) {
	cfg := loadConfig(2, 0, now)
	cfg.Orders, cfg.OrdersOnly = orders, true
	name := fmt.Sprintf("book-%d-%s.ndjson", orders, cfg.Now.Format("2006-01"))
	return cached(dir, name, func(w *bufio.Writer) error {
		cfg.Progress = progress("signing the book's first versions")
		c, err := corpus.New(cfg)
		if err != nil {
			return err
		}
		type seen struct {
			last     *nostr.Event
			versions int
		}
		last := make(map[string]*seen, orders)
		var addresses []string
		err = c.Each(ctx, func(evt *nostr.Event) error {
			key := addressOf(evt)
			s := last[key]
			if s == nil {
				s = new(seen)
				last[key] = s
				addresses = append(addresses, key)
			}
			s.last, s.versions = evt, s.versions+1
			_, err := fmt.Fprintln(w, evt.String())
			return err
		})
		if err != nil {
			return err
		}
		signers := make(map[string]int)
		for i, in := range c.Instances() {
			signers[in.Pubkey] = i
		}
		// Each round adds one version. The versions of a round are signed on all cores.
		report := progress("signing the book's further versions")
		for round := 1; round < versionsPerOrder; round++ {
			var todo []*seen
			for _, key := range addresses {
				if s := last[key]; s.versions < versionsPerOrder {
					todo = append(todo, s)
				}
			}
			const chunk = 8192
			for from := 0; from < len(todo); from += chunk {
				part := todo[from:min(from+chunk, len(todo))]
				lines := make([]string, len(part))
				err := parallel(len(part), func(i int) error {
					s := part[i]
					next := nostr.Event{CreatedAt: s.last.CreatedAt + 1, Kind: s.last.Kind, Tags: s.last.Tags, Content: s.last.Content}
					if err := c.Sign(signers[s.last.PubKey], &next); err != nil {
						return err
					}
					s.last, s.versions = &next, s.versions+1
					lines[i] = next.String()
					return nil
				})
				if err != nil {
					return err
				}
				for _, line := range lines {
					if _, err := fmt.Fprintln(w, line); err != nil {
						return err
					}
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				report(round*orders+from, versionsPerOrder*orders)
			}
		}
		return nil
	})
}

// parallel calls fn for 0 to n-1 on all cores and returns the joined errors.
func parallel(n int, fn func(i int) error) error {
	workers := runtime.GOMAXPROCS(0)
	errs := make([]error, workers)
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			for i := w; i < n && errs[w] == nil; i += workers {
				errs[w] = fn(i)
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// progress returns a function that prints the progress of a long operation, at most
// every five seconds.
func progress(what string) func(done, total int) {
	began, last := time.Now(), time.Now()
	return func(done, total int) {
		if time.Since(last) < 5*time.Second {
			return
		}
		last = time.Now()
		fmt.Fprintf(os.Stderr, "%s: %d of %d after %v\n", what, done, total, time.Since(began).Round(time.Second))
	}
}

// eachLine calls fn for each line of a file. The slice is valid until fn returns.
func eachLine(path string, fn func(line []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 1<<20), 1<<20)
	for lines.Scan() {
		if err := fn(lines.Bytes()); err != nil {
			return err
		}
	}
	return lines.Err()
}

// readEvents reads the first n events of a file. If n is 0, it reads all events.
func readEvents(path string, n int) (events []*nostr.Event, raw [][]byte, err error) {
	err = eachLine(path, func(line []byte) error {
		if n > 0 && len(raw) == n {
			return errEnough
		}
		raw = append(raw, bytes.Clone(line))
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, nil, err
	}
	events = make([]*nostr.Event, len(raw))
	err = parallel(len(raw), func(i int) error {
		events[i] = new(nostr.Event)
		return json.Unmarshal(raw[i], events[i])
	})
	return events, raw, err
}

var errEnough = errors.New("enough")

// addressOf returns the address of an event, which is the same for all its versions. If
// the event is a regular event, addressOf returns its id.
func addressOf(evt *nostr.Event) string {
	switch {
	case nostr.IsAddressableKind(evt.Kind):
		return fmt.Sprintf("%d:%s:%s", evt.Kind, evt.PubKey, evt.Tags.GetD())
	case nostr.IsReplaceableKind(evt.Kind):
		return fmt.Sprintf("%d:%s:", evt.Kind, evt.PubKey)
	}
	return evt.ID
}

// tagOf returns the first value of a tag, or "" if the event has no such tag.
func tagOf(evt *nostr.Event, name string) string {
	for _, tag := range evt.Tags {
		if len(tag) > 1 && tag[0] == name {
			return strings.Clone(tag[1])
		}
	}
	return ""
}
