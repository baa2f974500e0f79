package indexer

import (
	"context"
	"errors"

	"github.com/mostrodex/mostrodex/indexer/market"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/mostrodex/mostrodex/mostro"
)

// Figures answers questions about statistics. Events of hidden keys do not count.
//
// BUG: an event that the operator hides by its id still counts in sums, as one order among
// many. Answers that name single events leave it out.
type Figures struct {
	market *market.Store
	log    Log
	rules  *moderator
}

// View calls fn with the statistics and the sets of hidden keys, which fn passes to each
// query. If spam is set, quarantined keys are not hidden. View returns market.ErrBehind until
// the statistics have caught up with the log.
func (f *Figures) View(spam bool, fn func(c *stats.Collector, hidden []map[[32]byte]struct{}) error) error {
	var hidden []map[[32]byte]struct{}
	if f.rules.rules != nil {
		_, never, onDemand, _ := f.rules.rules.Hidden()
		if len(never) > 0 {
			hidden = append(hidden, never)
		}
		if !spam && len(onDemand) > 0 {
			hidden = append(hidden, onDemand)
		}
	}
	return f.market.View(func(c *stats.Collector) error { return fn(c, hidden) })
}

// RulesVersion returns a number that changes when the operator's rules change.
func (f *Figures) RulesVersion() uint64 {
	if f.rules.rules == nil {
		return 0
	}
	version, _, _, _ := f.rules.rules.Hidden()
	return version
}

// Hidden returns what the rules hide, or nil.
func (f *Figures) Hidden(ctx context.Context) (*orders.Hidden, error) { return f.rules.hidden(ctx) }

// EntryAt returns the entry of the log with a position, or mostro.ErrNotFound if there is none
// that may be shown. If spam is set, quarantined keys are shown.
func (f *Figures) EntryAt(ctx context.Context, seq uint64, spam bool) (mostro.Entry, error) {
	e, err := f.log.EntryAt(ctx, seq)
	if err != nil {
		return e, err
	}
	hidden, err := f.rules.hidden(ctx)
	if err == nil && hidden.Hides(e.Event.PubKey, e.Event.ID, spam) {
		err = mostro.ErrNotFound
	}
	return e, err
}

// Rates returns the newest price of one bitcoin in a currency of each instance, signed not
// earlier than maxAge seconds ago. Hidden keys and keys that use the name of another key are
// left out.
func (x *Index) Rates(fiat string, maxAge int64) (out []stats.SignedRate, err error) {
	var all []stats.SignedRate
	err = x.View(false, func(c *stats.Collector, hidden []map[[32]byte]struct{}) error {
		all = c.SignedRates(fiat, x.Now().Unix(), maxAge, hidden...)
		return nil
	})
	if errors.Is(err, market.ErrBehind) {
		return nil, nil // unknown for now, and no reason to refuse a list of orders
	}
	for _, r := range all {
		if _, _, impostor := x.Impostor(r.Pubkey); !impostor && x.IsInstance(r.Pubkey) {
			out = append(out, r)
		}
	}
	return out, err
}
