package indexer

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
)

// Rules returns the keys and events that the operator hides. The index holds hidden
// events as well: if the operator lifts a ban, no event has to be indexed again.
type Rules interface {
	// Hidden returns the keys and the event ids that are never shown (never, events), and
	// the quarantined keys, which are shown only if a request includes spam (onDemand).
	// version changes when a set changes. The returned sets are never modified.
	Hidden() (version uint64, never, onDemand, events map[[32]byte]struct{})
}

// moderationCache caches the Hidden made from the current rules.
type moderationCache struct {
	mu   sync.Mutex // held while a Hidden is made
	list atomic.Pointer[orders.Hidden]
}

// moderation returns the Hidden of the current rules, or nil if nothing is hidden.
func (x *Index) moderation(ctx context.Context) (*orders.Hidden, error) {
	if x.cfg.Rules == nil {
		return nil, nil
	}
	version, never, onDemand, events := x.cfg.Rules.Hidden()
	if len(never)+len(onDemand)+len(events) == 0 {
		return nil, nil
	}
	if have := x.moderated.list.Load(); have != nil && have.Version == version {
		return have, nil
	}
	x.moderated.mu.Lock()
	defer x.moderated.mu.Unlock()
	if have := x.moderated.list.Load(); have != nil && have.Version == version {
		return have, nil
	}
	names := func(set map[[32]byte]struct{}) map[string]bool {
		out := make(map[string]bool, len(set))
		for k := range set {
			out[hex.EncodeToString(k[:])] = true
		}
		return out
	}
	list := &orders.Hidden{Version: version, Never: names(never), OnDemand: names(onDemand), Events: names(events), Versions: map[orders.Key]uint32{}}
	for id := range list.Events {
		evt, err := x.cfg.Events.Event(ctx, id)
		if errors.Is(err, mostro.ErrNotFound) {
			continue // the log does not hold the event, and the relay refuses a banned event
		}
		if err != nil {
			return nil, fmt.Errorf("banned event %s: %w", id, err)
		}
		if evt.Kind == mostro.KindOrder {
			list.Versions[orders.KeyOf(orders.Address(evt.PubKey, evt.Tags.GetD()))] = orders.ClampTime(int64(evt.CreatedAt))
		}
	}
	x.moderated.list.Store(list)
	return list, nil
}
