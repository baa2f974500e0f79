package livebook

import (
	"testing"

	"github.com/mostrodex/mostrodex/indexer/orders"
)

// TestFiltersAreComplete checks that each condition of a query is evaluated, in one way.
// choose evaluates the status.
func TestFiltersAreComplete(t *testing.T) {
	rows := map[string]liveFilter{}
	for _, f := range liveFilters {
		rows[f.name] = f
	}
	for _, f := range orders.Filters {
		row, held := rows[f.Name]
		if f.Name == "status" {
			continue
		}
		if !held || (row.postings == nil) == (row.narrow == nil) {
			t.Errorf("%s: want a row with either postings or narrow", f.Name)
		}
	}
	if len(rows) != len(orders.Filters)-1 {
		t.Errorf("%d rows, want %d", len(rows), len(orders.Filters)-1)
	}
}
