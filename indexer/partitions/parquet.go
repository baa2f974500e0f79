package partitions

import (
	"fmt"
	"io"

	"github.com/mostrodex/mostrodex/indexer/export"
	"github.com/parquet-go/parquet-go"
)

// A row group of Parquet is held in memory until it is written. It ends after groupRows rows or
// groupBytes bytes of text.
const (
	groupRows  = 50_000
	groupBytes = 16 << 20
)

// NewParquet returns a Writer of Parquet. Columns are compressed with Snappy, which every reader
// of Parquet knows.
func NewParquet(w io.Writer, set *export.Set) (export.Writer, error) {
	switch set.Name {
	case "orders":
		return newParquet(w, func(r *export.OrderRow) int { return offerSize(&r.Offer) }), nil
	case "history":
		return newParquet(w, func(r *export.HistoryRow) int { return offerSize(&r.Offer) + len(r.Source) + len(r.Description) }), nil
	case "trades":
		return newParquet(w, func(r *export.TradeRow) int { return offerSize(&r.Offer) }), nil
	case "stats":
		return newParquet(w, func(r *export.StatsRow) int { return len(r.Metric) + len(r.Text) }), nil
	case "events":
		return newParquet(w, func(r *export.EventRow) int { return len(r.D) + len(r.Tags) + len(r.Content) }), nil
	case "instances":
		return newParquet(w, func(r *export.InstanceRow) int { return len(r.Name) + len(r.Version) + listSize(r.Currencies) }), nil
	}
	return nil, fmt.Errorf("no data set %q", set.Name)
}

func offerSize(o *export.Offer) int { return len(o.D) + listSize(o.Methods) + listSize(o.Layers) }

func listSize(list []string) (n int) {
	for _, s := range list {
		n += len(s)
	}
	return n
}

type parquetWriter[T any] struct {
	w           *parquet.GenericWriter[T]
	size        func(*T) int
	batch       []T
	rows, bytes int
}

// batchRows is the number of rows that are passed on at once.
const batchRows = 64

func newParquet[T any](w io.Writer, size func(*T) int) *parquetWriter[T] {
	return &parquetWriter[T]{w: parquet.NewGenericWriter[T](w, parquet.Compression(&parquet.Snappy), parquet.CreatedBy("mostrodex", "1", "")), size: size, batch: make([]T, 0, batchRows)}
}

func (p *parquetWriter[T]) Write(row any) error {
	r, ok := row.(*T)
	if !ok {
		return fmt.Errorf("a row of the wrong type %T", row)
	}
	p.batch = append(p.batch, *r)
	p.bytes += p.size(r)
	p.rows++
	if len(p.batch) < batchRows && p.bytes < groupBytes {
		return nil
	}
	if err := p.pass(); err != nil {
		return err
	}
	if p.rows < groupRows && p.bytes < groupBytes {
		return nil
	}
	p.rows, p.bytes = 0, 0
	return p.w.Flush()
}

func (p *parquetWriter[T]) pass() error {
	_, err := p.w.Write(p.batch)
	clear(p.batch)
	p.batch = p.batch[:0]
	return err
}

func (p *parquetWriter[T]) Close() error {
	if err := p.pass(); err != nil {
		return err
	}
	return p.w.Close()
}
