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

// moderator applies the operator's rules. A moderator caches the Hidden of the current
// version of the rules.
type moderator struct {
	rules  Rules  // nil: nothing is hidden
	events Events // the hidden events, to find their orders

	making sync.Mutex // held while a Hidden is made
	made   atomic.Pointer[orders.Hidden]
}

// bans returns the keys that are never shown, and the version of the rules, which must not
// be nil.
func (m *moderator) bans() (version uint64, banned map[[32]byte]struct{}) {
	version, banned, _, _ = m.rules.Hidden()
	return version, banned
}

// bannedEvents returns a function that returns the ids of the events that are never shown, and
// the version of the rules. It returns nil if there are no rules.
func (m *moderator) bannedEvents() func() (uint64, map[[32]byte]struct{}) {
	if m.rules == nil {
		return nil
	}
	return func() (uint64, map[[32]byte]struct{}) {
		version, _, _, events := m.rules.Hidden()
		return version, events
	}
}

// keyHidden returns a function that reports whether a key is banned or quarantined.
func (m *moderator) keyHidden() func(pubkey string) bool {
	if m.rules == nil {
		return func(string) bool { return false }
	}
	_, never, onDemand, _ := m.rules.Hidden()
	return func(pubkey string) bool {
		var key [32]byte
		_, err := hex.Decode(key[:], []byte(pubkey))
		_, banned := never[key]
		_, quarantined := onDemand[key]
		return err == nil && (banned || quarantined)
	}
}

// visible returns mostro.ErrNotFound if the rules hide the event of an author. If id is
// "", visible asks about the author alone. If spam is set, quarantined keys are visible.
func (m *moderator) visible(ctx context.Context, pubkey, id string, spam bool) error {
	hidden, err := m.hidden(ctx)
	if err == nil && hidden.Hides(pubkey, id, spam) {
		err = mostro.ErrNotFound
	}
	return err
}

// hidden returns the Hidden of the current rules, or nil if nothing is hidden.
func (m *moderator) hidden(ctx context.Context) (*orders.Hidden, error) {
	if m.rules == nil {
		return nil, nil
	}
	version, never, onDemand, events := m.rules.Hidden()
	if len(never)+len(onDemand)+len(events) == 0 {
		return nil, nil
	}
	if have := m.made.Load(); have != nil && have.Version == version {
		return have, nil
	}
	m.making.Lock()
	defer m.making.Unlock()
	if have := m.made.Load(); have != nil && have.Version == version {
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
		evt, err := m.events.Event(ctx, id)
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
	m.made.Store(list)
	return list, nil
}
