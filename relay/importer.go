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
	"time"
	"unicode/utf8"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/internal/jsonscan"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/errgroup"
)

// ImportOptions are the options of one import.
type ImportOptions struct {
	Workers int // lines checked at the same time; 0: one per core
	// Evidence makes Import believe the times and origins of receipt in a backup that Export
	// wrote with its own Evidence option. Only the owner of the data directory may set
	// Evidence. If Evidence is false, such lines are rejected.
	Evidence bool
}

// ImportResult is the outcome of one line. A blank line has no result.
type ImportResult struct {
	Line    int    `json:"line"` // starts at 1
	ID      string `json:"id,omitempty"`
	Outcome string `json:"outcome"` // added, duplicate, archived, rejected
	Reason  string `json:"reason,omitempty"`
}

// ImportSummary counts the results of an import.
type ImportSummary struct {
	Lines     int `json:"lines"` // without blank lines
	Added     int `json:"added"`
	Duplicate int `json:"duplicate"`
	Archived  int `json:"archived"`
	Rejected  int `json:"rejected"`
}

const (
	importBatchLines = 64
	importInFlight   = 4096
)

// importBatch is a run of lines. The reader fills a batch, one worker checks it, and the
// batches are submitted in the order of the file.
type importBatch struct {
	lines   []importLine
	checked chan struct{} // closed by the worker
}

type importLine struct {
	number int
	text   string
	a      *Admission // nil: refused before the line was parsed as an event
	going  bool       // checked, and to be submitted
	id     string
	reason string
}

// importer admits events from files of lines. It has no state of its own.
type importer struct {
	admit *admitter
	rules *moderation
	now   func() time.Time
	met   *metrics
}

// run reads NDJSON events from r. The rules for an event are the rules for a client's
// event, except for quotas and freshness. Expired events are archived. If fn is not nil,
// run calls fn once per line, in order, after the event is durable. If fn returns an
// error, the import ends with that error. A rejected line does not end the import.
//
// Lines are checked on all cores and appended in the order of the file.
func (im *importer) run(ctx context.Context, r io.Reader, opts ImportOptions, fn func(ImportResult) error) (ImportSummary, error) {
	workers := opts.Workers
	if workers <= 0 {
		workers = runtime.NumCPU()
	}
	// A goroutine waits when its channel is full, so the slowest stage sets the pace.
	work := make(chan *importBatch, 8*workers)
	order := make(chan *importBatch, 32*workers)
	waiting := make(chan importLine, importInFlight)

	var sum ImportSummary
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(work)
		defer close(order)
		return im.readLines(ctx, r, func(b *importBatch) error {
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
					im.checkLine(ctx, &t, &b.lines[i], opts.Evidence)
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
					im.admit.submit(l.a)
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
			res := im.lineResult(ctx, &l)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			sum.count(res.Outcome)
			im.met.importLines.WithLabelValues(res.Outcome).Inc()
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

// readLines cuts r into batches of lines. A line that is longer than the largest event is
// refused, and is not kept in memory.
func (im *importer) readLines(ctx context.Context, r io.Reader, emit func(*importBatch) error) error {
	limit := im.rules.current().policy.MaxEventBytes + 1<<10 // with room for white space around the event
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
		// A batch is sent if no more input is buffered, so that a slow sender sees
		// results.
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

// readLine reads up to and including the next newline. err is io.EOF with the last line.
// The bytes are valid until the next call.
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

// reasonMailImported is the refusal of mail in an import, because the escrow answers only
// messages that clients publish.
const reasonMailImported = "blocked: the escrow does not answer messages of an import: publish the message as an EVENT over the relay's websocket"

func (im *importer) checkLine(ctx context.Context, t *jsonscan.Scanner, l *importLine, believe bool) {
	if l.reason != "" {
		return
	}
	if !utf8.ValidString(l.text) {
		l.reason = "invalid: the line is not UTF-8"
		return
	}
	var was *eventlog.Witnessed
	if strings.HasPrefix(l.text, `{"event":`) { // the text that writeEvidence begins a line with
		if !believe {
			l.reason = eventlog.ReasonEvidence
			return
		}
		var err error
		if l.text, was, err = eventlog.ReadEvidence(l.text, im.now()); err != nil {
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
		was: was, Context: ctx, evt: evt, text: l.text, size: len(l.text),
		source: mostro.Source{Origin: mostro.OriginImport}, ip: netip.Addr{}, local: true,
	}
	l.going = im.admit.check(l.a)
	l.text = ""
}

func (im *importer) lineResult(ctx context.Context, l *importLine) ImportResult {
	res := ImportResult{Line: l.number, ID: l.id, Outcome: "rejected", Reason: l.reason}
	if l.a == nil {
		return res
	}
	if l.a.pending == nil {
		res.Reason = l.a.reason
		if l.a.out == eventlog.Duplicate {
			im.met.outcome(eventlog.Duplicate)
			res.Outcome, res.Reason = outcomeNames[eventlog.Duplicate], ""
		}
		return res
	}
	out, ok, reason := im.admit.settle(ctx, l.a.pending, l.id, mostro.OriginImport)
	if !ok {
		res.Reason = reason
		return res
	}
	res.Outcome, res.Reason = outcomeNames[out], ""
	return res
}
