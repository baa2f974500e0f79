package relay

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"strings"
	"unicode/utf8"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/internal/jsonscan"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/errgroup"
)

// ImportOptions of one import.
type ImportOptions struct {
	Workers int // lines checked at the same time; 0: one a core
	// Evidence believes the times and roads of receipt in a backup that Export
	// wrote with Evidence. Only the owner of the data directory may ask for it;
	// else such lines are rejected.
	Evidence bool
}

// ImportResult is what became of one line. Blank lines have none.
type ImportResult struct {
	Line    int    `json:"line"` // from 1
	ID      string `json:"id,omitempty"`
	Outcome string `json:"outcome"` // added, duplicate, archived, rejected
	Reason  string `json:"reason,omitempty"`
}

// ImportSummary counts results.
type ImportSummary struct {
	Lines     int `json:"lines"` // that were not blank
	Added     int `json:"added"`
	Duplicate int `json:"duplicate"`
	Archived  int `json:"archived"`
	Rejected  int `json:"rejected"`
}

const (
	importBatchLines = 64
	importInFlight   = 4096
)

// importBatch is a run of lines on its way: filled by the reader, checked by
// one worker, submitted in order.
type importBatch struct {
	lines   []importLine
	checked chan struct{} // closed by the worker
}

type importLine struct {
	number int
	text   string
	a      *Admission // nil: refused before it was an event
	going  bool       // checked, to be submitted
	id     string
	reason string
}

// Import reads NDJSON events from r and takes each as the relay would take it
// from a client, but for what only clients are held to: quotas, and freshness.
// Expired events are archived. fn, unless nil, is called once per line in
// order, each after its event is durable; an error from it ends the import.
// A rejected line never does.
//
// Lines are checked on all cores and appended in their order.
func (s *Server) Import(ctx context.Context, r io.Reader, opts ImportOptions, fn func(ImportResult) error) (ImportSummary, error) {
	workers := opts.Workers
	if workers <= 0 {
		workers = runtime.NumCPU()
	}
	// When any of these is full its writer waits: the slowest part sets the pace.
	work := make(chan *importBatch, 8*workers)
	order := make(chan *importBatch, 32*workers)
	waiting := make(chan importLine, importInFlight)

	var sum ImportSummary
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(work)
		defer close(order)
		return s.readLines(ctx, r, func(b *importBatch) error {
			for _, to := range [...]chan *importBatch{work, order} {
				select {
				case to <- b:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	})
	for range workers {
		g.Go(func() error {
			var t jsonscan.Scanner
			for b := range work {
				for i := range b.lines {
					s.checkLine(ctx, &t, &b.lines[i], opts.Evidence)
				}
				close(b.checked)
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(waiting)
		for b := range order {
			select {
			case <-b.checked:
			case <-ctx.Done():
				return ctx.Err()
			}
			for _, l := range b.lines {
				if l.going {
					s.Submit(l.a)
				}
				select {
				case waiting <- l:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		return nil
	})
	g.Go(func() error {
		for l := range waiting {
			res := s.lineResult(ctx, &l)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			sum.count(res.Outcome)
			s.met.importLines.WithLabelValues(res.Outcome).Inc()
			if fn != nil {
				if err := fn(res); err != nil {
					return err
				}
			}
		}
		return nil
	})
	err := g.Wait()
	return sum, err
}

func (m *ImportSummary) count(outcome string) {
	m.Lines++
	switch outcome {
	case "added":
		m.Added++
	case "duplicate":
		m.Duplicate++
	case "archived":
		m.Archived++
	default:
		m.Rejected++
	}
}

// readLines cuts r into batches of lines. What is longer than an event may be
// is refused without being held.
func (s *Server) readLines(ctx context.Context, r io.Reader, emit func(*importBatch) error) error {
	limit := s.cfg.Policy.MaxEventBytes + 1<<10 // white space around the event is no sin
	br := bufio.NewReaderSize(r, 64<<10)
	b := &importBatch{checked: make(chan struct{})}
	flush := func() error {
		if len(b.lines) == 0 {
			return nil
		}
		full := b
		b = &importBatch{checked: make(chan struct{})}
		return emit(full)
	}
	for number := 1; ; number++ {
		line, tooLong, err := readLine(br, limit)
		if number == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		line = bytes.TrimSpace(line)
		if tooLong {
			b.lines = append(b.lines, importLine{number: number, reason: fmt.Sprintf("invalid: the line is longer than %d bytes", limit)})
		} else if len(line) > 0 {
			b.lines = append(b.lines, importLine{number: number, text: string(line)})
		}
		// What has come is not kept waiting for what has not.
		if err != nil || len(b.lines) == importBatchLines || br.Buffered() == 0 {
			if err := flush(); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read line %d: %w", number, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// readLine reads up to and with the next newline. err is io.EOF with the last
// line. The bytes are good until the next call.
func readLine(br *bufio.Reader, limit int) (line []byte, tooLong bool, err error) {
	part, err := br.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return part, len(part) > limit, err
	}
	for {
		if len(line)+len(part) > limit {
			line, tooLong = nil, true
		}
		if !tooLong {
			line = append(line, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, tooLong, err
		}
		part, err = br.ReadSlice('\n')
	}
}

// reasonMailImported: an escrow answers what it hears, never a file.
const reasonMailImported = "blocked: a message in a file is answered by nobody: publish it as an EVENT over the relay's websocket"

func (s *Server) checkLine(ctx context.Context, t *jsonscan.Scanner, l *importLine, believe bool) {
	if l.reason != "" {
		return
	}
	if !utf8.ValidString(l.text) {
		l.reason = "invalid: the line is not UTF-8"
		return
	}
	var was *eventlog.Witnessed
	if strings.HasPrefix(l.text, `{"event":`) { // as writeEvidence begins
		if !believe {
			l.reason = eventlog.ReasonEvidence
			return
		}
		var err error
		if l.text, was, err = eventlog.ReadEvidence(l.text, s.cfg.Now()); err != nil {
			l.reason = "invalid: " + err.Error()
			return
		}
	}
	evt := new(nostr.Event)
	t.Reset(l.text)
	err := t.Event(evt)
	if err == nil {
		err = t.AtEnd()
	}
	if hex32.Valid(evt.ID) {
		l.id = evt.ID
	}
	if err != nil {
		l.reason = "invalid: " + err.Error()
		return
	}
	if mostro.IsMail(evt.Kind) {
		l.reason = reasonMailImported
		return
	}
	l.a = &Admission{
		Was: was, Context: ctx, Evt: evt, Text: l.text, Size: len(l.text),
		Source: mostro.Source{Road: mostro.RoadImport}, Ip: netip.Addr{}, Local: true,
	}
	l.going = s.Check(l.a)
	l.text = ""
}

func (s *Server) lineResult(ctx context.Context, l *importLine) ImportResult {
	res := ImportResult{Line: l.number, ID: l.id, Outcome: "rejected", Reason: l.reason}
	if l.a == nil {
		return res
	}
	if l.a.Pending == nil {
		res.Reason = l.a.Reason
		if l.a.Out == eventlog.Duplicate {
			s.met.outcome(eventlog.Duplicate)
			res.Outcome, res.Reason = outcomeNames[eventlog.Duplicate], ""
		}
		return res
	}
	out, ok, reason := s.Settle(ctx, l.a.Pending, l.id, mostro.RoadImport)
	if !ok {
		res.Reason = reason
		return res
	}
	res.Outcome, res.Reason = outcomeNames[out], ""
	return res
}
