package escrow

import (
	"errors"
	"fmt"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

// batch is a commit in progress. A lookup sees the rows of the batch before those of the
// store.
type batch struct {
	store  Store
	commit Commit
	trades map[trade.OrderID]int // index into commit.Trades
	users  map[string]int
	seen   map[string]bool
	claims map[trade.Hash]trade.OrderID
	// bytes is an estimate of the commit's size in the store.
	bytes int
	// at is the latest time of an input, unix seconds.
	at int64
	// Refusals and bugs are counted for metrics.
	bugs  []error
	steps map[trade.Trigger]int
	// notable holds the trades after each step of which the operator is told.
	notable []trade.Trade
}

// issued returns the receipts of one side of a trade, or ErrNoRow.
func (b *batch) issued(id trade.OrderID, role string) (Issued, error) {
	for _, row := range b.commit.Issued {
		if row.Trade == id && row.Role == role {
			return row, nil
		}
	}
	row, err := b.store.Issued(id, role)
	if err != nil && !errors.Is(err, ErrNoRow) {
		return row, fmt.Errorf("look up a receipt: %w", err)
	}
	return row, err
}

func (b *batch) saveIssued(row Issued) {
	rows := b.commit.Issued
	for i := range rows {
		if rows[i].Trade == row.Trade && rows[i].Role == row.Role {
			rows[i] = row
			return
		}
	}
	b.commit.Issued = append(rows, row)
}
