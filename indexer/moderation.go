package indexer

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

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

// moderation is a set of rules in the form that queries use. A moderation is never
// modified.
type moderation struct {
	version         uint64
	never, onDemand map[string]bool // public keys
	events          map[string]bool
	versions        map[Key]uint32 // created_at by order, for the order events in events
}

// moderationCache caches the moderation made from the current rules.
type moderationCache struct {
	mu   sync.Mutex // held while a moderation is made
	list atomic.Pointer[moderation]
}

// moderation returns the moderation of the current rules, or nil if nothing is hidden.
func (x *Index) moderation(ctx context.Context) (*moderation, error) {
	if x.cfg.Rules == nil {
		return nil, nil
	}
	version, never, onDemand, events := x.cfg.Rules.Hidden()
	if len(never)+len(onDemand)+len(events) == 0 {
		return nil, nil
	}
	if have := x.moderated.list.Load(); have != nil && have.version == version {
		return have, nil
	}
	x.moderated.mu.Lock()
	defer x.moderated.mu.Unlock()
	if have := x.moderated.list.Load(); have != nil && have.version == version {
		return have, nil
	}
	names := func(set map[[32]byte]struct{}) map[string]bool {
		out := make(map[string]bool, len(set))
		for k := range set {
			out[hex.EncodeToString(k[:])] = true
		}
		return out
	}
	list := &moderation{version: version, never: names(never), onDemand: names(onDemand), events: names(events), versions: map[Key]uint32{}}
	for id := range list.events {
		evt, err := x.cfg.Events.Event(ctx, id)
		if errors.Is(err, mostro.ErrNotFound) {
			continue // the log does not hold the event, and the relay refuses a banned event
		}
		if err != nil {
			return nil, fmt.Errorf("banned event %s: %w", id, err)
		}
		if evt.Kind == mostro.KindOrder {
			list.versions[keyOf(addressOf(evt.PubKey, evt.Tags.GetD()))] = clampTime(int64(evt.CreatedAt))
		}
	}
	x.moderated.list.Store(list)
	return list, nil
}

// hides reports whether an event of an author is hidden. If spam is set, quarantined
// authors stay visible.
func (l *moderation) hides(pubkey, id string, spam bool) bool {
	return l != nil && (l.never[pubkey] || l.events[id] || !spam && l.onDemand[pubkey])
}

// authors returns the public keys whose orders are hidden. If spam is set, quarantined
// keys are left out.
func (l *moderation) authors(spam bool) (keys []string) {
	if l == nil {
		return nil
	}
	for k := range l.never {
		keys = append(keys, k)
	}
	for k := range l.onDemand {
		if !spam {
			keys = append(keys, k)
		}
	}
	return keys
}
