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

// Rules say what the operator does not want shown. The index holds it all the
// same: what is banned today may be allowed tomorrow, and nothing is indexed
// anew for it.
type Rules interface {
	// Hidden gives the keys and the events that are never shown, and the
	// keys that are shown to who asks for spam. version changes with them;
	// the sets themselves are not changed.
	Hidden() (version uint64, never, onDemand, events map[[32]byte]struct{})
}

// moderation is what the rules come to in the index's own terms. It is not changed.
type moderation struct {
	version         uint64
	never, onDemand map[string]bool // public keys
	events          map[string]bool
	versions        map[Key]uint32 // of orders, by created_at: those in events
}

// moderationCache keeps what the rules in force come to.
type moderationCache struct {
	mu   sync.Mutex // of making a list
	list atomic.Pointer[moderation]
}

// moderation returns what the rules in force hide; nil: everything is shown.
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
			continue // never came, and will not be taken
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

// hides says whether an event of an author is not shown; spam: its reader
// wants to see what is in quarantine.
func (l *moderation) hides(pubkey, id string, spam bool) bool {
	return l != nil && (l.never[pubkey] || l.events[id] || !spam && l.onDemand[pubkey])
}

// authors are those whose orders are not shown.
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
