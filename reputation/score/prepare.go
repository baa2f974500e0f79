package score

import (
	"runtime"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/receipt"
)

// Apply applies one entry of the log: Prepare, then Commit. A caller with many entries can
// call Prepare on all cores.
func (l *Ledger) Apply(e mostro.Entry) { l.Commit(e, l.Prepare(e)) }

// Prepared is a parsed entry with the result of its receipt check.
type Prepared struct {
	class mostro.Class
	value any
	proof Proof
	err   error // why the event was refused
	doubt error // why the receipt was refused
}

// Prepare does the expensive work that needs no facts: parsing and the receipt check.
// Prepare is safe for concurrent use.
func (l *Ledger) Prepare(e mostro.Entry) Prepared {
	p := parse(e)
	if r, ok := p.value.(mostro.HostRating); ok && p.err == nil && !isBlind(r) {
		p.proof, p.doubt = l.proofs.Check(e.Event, r, nil)
	}
	return p
}

// isBlind reports whether the receipt check of a rating needs a keyset. Keysets are facts,
// so Commit checks such a receipt.
func isBlind(r mostro.HostRating) bool { return len(r.Receipt) > 0 && r.Receipt[0] == "r2" }

// PrepareAll prepares entries on all cores and checks the receipts together. The results
// are in the order of the batch.
func (l *Ledger) PrepareAll(batch []mostro.Entry) []Prepared {
	out := make([]Prepared, len(batch))
	onAllCores(len(batch), func(i int) { out[i] = parse(batch[i]) })
	var ratings []int
	for i := range out {
		if r, ok := out[i].value.(mostro.HostRating); ok && out[i].err == nil && !isBlind(r) {
			ratings = append(ratings, i)
		}
	}
	// Signatures of one key are cheaper to check together.
	host := func(i int) string { return out[i].value.(mostro.HostRating).Host }
	slices.SortStableFunc(ratings, func(a, b int) int { return strings.Compare(host(a), host(b)) })
	parts := min(runtime.NumCPU(), len(ratings))
	onAllCores(parts, func(k int) {
		mine := ratings[k*len(ratings)/parts : (k+1)*len(ratings)/parts]
		list := make([]receipt.Rated, len(mine))
		for j, i := range mine {
			list[j] = receipt.Rated{Event: batch[i].Event, Rating: out[i].value.(mostro.HostRating)}
		}
		proofs, doubts := checkAll(l.proofs, list)
		for j, i := range mine {
			out[i].proof, out[i].doubt = proofs[j], doubts[j]
		}
	})
	return out
}

// parse parses an event according to its class.
func parse(e mostro.Entry) (p Prepared) {
	evt := e.Event
	switch p.class = mostro.Classify(evt); p.class {
	case mostro.ClassOrder:
		p.value, p.err = e.Order()
	case mostro.ClassDispute:
		p.value, p.err = mostro.ParseDispute(evt)
	case mostro.ClassInfo:
		p.value, p.err = mostro.ParseInfo(evt)
	case mostro.ClassDevFee:
		p.value, p.err = mostro.ParseDevFee(evt)
	case mostro.ClassUserRating:
		p.value, p.err = mostro.ParseUserRating(evt)
	case mostro.ClassKeyset:
		p.value, p.err = receipt.ParseKeyset(evt)
	case mostro.ClassHealth:
		p.value, p.err = mostro.ParseHealth(evt)
	case mostro.ClassHostRating:
		p.value, p.err = mostro.ParseHostRating(evt)
	}
	return p
}
