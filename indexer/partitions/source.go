package partitions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mostrodex/mostrodex/indexer/export"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/mostrodex/mostrodex/mostro"
)

// Source is the part of the index that exports read. indexer.Archive implements Source.
type Source interface {
	// Now returns the present time.
	Now() time.Time
	// Covered returns the position up to which the other methods cover the log. ok is false
	// until they have caught up since the start.
	Covered() (position uint64, ok bool)
	// Head returns the last position of the log.
	Head() uint64
	// Hidden returns the keys and ids that the operator's rules hide, or nil.
	Hidden(ctx context.Context) (*orders.Hidden, error)
	// Stats calls fn with the statistics and the sets of keys that do not count.
	Stats(fn func(c *stats.Collector, hidden []map[[32]byte]struct{}) error) error
	// Entries calls fn for each readable entry after a position and up to another, ascending.
	Entries(ctx context.Context, after, upTo uint64, fn func(*mostro.Entry) error) error
	// Versions calls fn for every version of every order at a position of the log, those of
	// one order together and the oldest first.
	Versions(ctx context.Context, upTo uint64, fn func(*orders.Version) error) error
}

// Query selects the rows of an export.
type Query struct {
	Set    *export.Set
	Window export.Window
	By     stats.Every // width of the periods of the data set stats; "": day
}

// ErrBehind is returned while the index has not caught up with the log.
var ErrBehind = errors.New("the index has not caught up with the log yet")

// maxPeriods bounds the periods of one export of statistics. A period costs some 100
// milliseconds.
const maxPeriods = 400

// QueryError is the error of a parameter.
type QueryError struct{ Param, Reason string }

// Error returns the parameter and the reason.
func (e *QueryError) Error() string { return e.Param + ": " + e.Reason }

// Problem returns the status, the parameter and the text for a client.
func (e *QueryError) Problem() (status int, param, detail string) { return 400, e.Param, e.Error() }

// Check returns a QueryError if the query selects too much.
func (q *Query) Check() error {
	if !q.Window.Until.After(q.Window.From) {
		return &QueryError{"until", "is not after from"}
	}
	if q.Set.Name != "stats" {
		return nil
	}
	width := map[stats.Every]time.Duration{stats.Hour: time.Hour, stats.Week: 7 * 24 * time.Hour, stats.Month: 28 * 24 * time.Hour}[q.By]
	if width == 0 {
		width = 24 * time.Hour
	}
	if q.Window.Until.Sub(q.Window.From) > maxPeriods*width {
		return &QueryError{"from", fmt.Sprintf("more than %d periods; ask for a shorter window or a greater by", maxPeriods)}
	}
	return nil
}

// Write writes the rows of a query to out. progress, if it is not nil, is called with the
// number of rows now and then. Memory does not depend on the number of rows.
func Write(ctx context.Context, src Source, q Query, out export.Writer, progress func(rows int64)) error {
	if err := q.Check(); err != nil {
		return err
	}
	cut, ok := src.Covered()
	if !ok {
		return ErrBehind
	}
	p := &pass{src: src, window: q.Window, cut: cut, by: q.By, out: map[string]export.Writer{q.Set.Name: out}, progress: progress}
	return p.run(ctx)
}

// pass writes the rows of a window to the writers of some data sets.
type pass struct {
	src      Source
	window   export.Window
	cut      uint64                   // position of the log that is exported
	after    uint64                   // no entry of the window lies at or before this position
	by       stats.Every              // of stats; "": day
	out      map[string]export.Writer // by data set
	seen     func(*mostro.Entry)      // called for each entry of the window; nil: not wanted
	used     func(*orders.Version)    // called for each version on which a row rests; nil: not wanted
	left     func(pubkey, id string)  // called for each hidden event on which a row would rest; nil: not wanted
	progress func(rows int64)

	hidden  *orders.Hidden
	covered int64 // receipt of the first witnessed event
	rows    int64
	since   int64 // rows since the last call of progress
}

const progressRows = 1000

// run writes the rows and closes the writers. After an error the writers stay open, so that no
// part of the rows gets the end of a whole. The writers of a data set are closed as soon as
// its rows are written, because a writer of Parquet holds a group of rows.
func (p *pass) run(ctx context.Context) (err error) {
	if p.hidden, err = p.src.Hidden(ctx); err != nil {
		return err
	}
	if err := p.src.Stats(func(c *stats.Collector, _ []map[[32]byte]struct{}) error {
		p.covered = c.Coverage(0).WitnessedFrom
		return nil
	}); err != nil {
		return err
	}
	// Entries come first: seen has to know every event of which a row is written, also if its
	// author deletes the event in the meantime.
	if p.out["events"] != nil || p.out["instances"] != nil || p.seen != nil {
		if err := p.entries(ctx); err != nil {
			return err
		}
		if err := p.end("events", "instances"); err != nil {
			return err
		}
	}
	if p.out["orders"] != nil || p.out["history"] != nil || p.out["trades"] != nil {
		if err := p.orders(ctx); err != nil {
			return err
		}
		if err := p.end("orders", "history", "trades"); err != nil {
			return err
		}
	}
	if p.out["stats"] != nil {
		if err := p.stats(ctx); err != nil {
			return err
		}
		if err := p.end("stats"); err != nil {
			return err
		}
	}
	if p.progress != nil {
		p.progress(p.rows)
	}
	return nil
}

// end closes the writers of some data sets.
func (p *pass) end(sets ...string) (err error) {
	for _, set := range sets {
		if out := p.out[set]; out != nil {
			err = errors.Join(err, out.Close())
		}
	}
	return err
}

// write writes a row of a data set.
func (p *pass) write(set string, row any) error {
	if p.rows++; p.progress != nil {
		if p.since++; p.since >= progressRows {
			p.since = 0
			p.progress(p.rows)
		}
	}
	return p.out[set].Write(row)
}

// hides reports whether an event is hidden, and notes it. An event from before the window may
// be one of an order with rows in the window.
func (p *pass) hides(pubkey, id string, at time.Time) bool {
	if !p.hidden.Hides(pubkey, id, false) {
		return false
	}
	if p.left != nil && at.Before(p.window.Until) {
		p.left(pubkey, id)
	}
	return true
}

func (p *pass) orders(ctx context.Context) error {
	x := &export.Orders{Window: p.window, CoveredFrom: p.covered, Used: p.used}
	if p.out["orders"] != nil {
		x.State = func(r *export.OrderRow) error { return p.write("orders", r) }
	}
	if p.out["history"] != nil {
		x.History = func(r *export.HistoryRow) error { return p.write("history", r) }
	}
	if p.out["trades"] != nil {
		x.Trade = func(r *export.TradeRow) error { return p.write("trades", r) }
	}
	if err := p.src.Versions(ctx, p.cut, func(v *orders.Version) error {
		if p.hides(v.Order.Pubkey, v.Order.EventID, v.ReceivedAt) {
			return nil
		}
		return x.Add(v)
	}); err != nil {
		return err
	}
	return x.End()
}

func (p *pass) entries(ctx context.Context) error {
	return p.src.Entries(ctx, p.after, p.cut, func(e *mostro.Entry) error {
		if !p.window.Holds(e.ReceivedAt) || !export.Exported(e.Event.Kind) || p.hides(e.Event.PubKey, e.Event.ID, e.ReceivedAt) {
			return nil
		}
		if p.seen != nil {
			p.seen(e)
		}
		if p.out["events"] != nil {
			if row, ok := export.EventOf(e, p.covered); ok {
				if err := p.write("events", row); err != nil {
					return err
				}
			}
		}
		if p.out["instances"] == nil {
			return nil
		}
		if row, ok := export.InstanceOf(e, p.covered); ok {
			return p.write("instances", row)
		}
		return nil
	})
}

// stats writes the figures of each period of the window. The lock of the statistics is taken
// for each period alone.
func (p *pass) stats(ctx context.Context) error {
	by := p.by
	if by == "" {
		by = stats.Day
	}
	end := p.window.Until.Unix()
	for from := by.Floor(p.window.From.Unix()); from < end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		next := by.Floor(from + map[stats.Every]int64{stats.Hour: 3600, stats.Day: 86400, stats.Week: 7 * 86400, stats.Month: 32 * 86400}[by])
		var doc stats.Document
		var position uint64
		if err := p.src.Stats(func(c *stats.Collector, hidden []map[[32]byte]struct{}) (err error) {
			doc, err = c.Document(stats.Query{From: max(from, p.window.From.Unix()), Until: min(next, end), Exclude: hidden})
			position = c.Applied()
			return err
		}); err != nil {
			return err
		}
		if err := export.StatsOf(&doc, by, p.src.Now(), position, func(r *export.StatsRow) error { return p.write("stats", r) }); err != nil {
			return err
		}
		from = next
	}
	return nil
}
