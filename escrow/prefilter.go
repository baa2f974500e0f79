package escrow

import (
	"fmt"
	"slices"
	"sync"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Prefilter is the cheap judgement on an event addressed to us, before anything is
// decrypted. The relay that logged the event has checked id and signature:
// without that anybody could borrow a known key.
type Prefilter struct {
	// Transports are the ones that are answered.
	Transports []mostro.Transport
	// Pow is demanded of every event (NIP-13).
	Pow int
	// PowFirstContact is demanded of authors on v2 that no open trade knows.
	// Clients know no other number than Pow as a rule, so nothing less than
	// Pow has an effect.
	PowFirstContact int

	known *keyring
}

// Check gives the rule that an event breaks, or nil.
func (p *Prefilter) Check(evt *nostr.Event) error {
	t := mostro.TransportOf(evt.Kind)
	if !slices.Contains(p.Transports, t) {
		return &mostro.WireError{Rule: mostro.RuleKind, Detail: "transport not in use"}
	}
	want := p.Pow
	if t == mostro.TransportV2 && p.PowFirstContact > want && !p.known.has(evt.PubKey) {
		want = p.PowFirstContact
	}
	if err := mostro.CheckWork(evt, want); err != nil {
		return fmt.Errorf("prefilter: %w", err)
	}
	return nil
}

// keyring counts the trades behind each trade key. The engine writes it, the
// inbox reads it: a key is known from the moment its message is accepted.
type keyring struct {
	mu sync.RWMutex
	n  map[string]int // guarded by mu
}

func newKeyring() *keyring { return &keyring{n: make(map[string]int)} }

func (k *keyring) count(key string, by int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.n[key] += by; k.n[key] == 0 {
		delete(k.n, key)
	}
}

// replace counts as another keyring does from here, and returns itself.
func (k *keyring) replace(other *keyring) *keyring {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.n = other.n
	return k
}

func (k *keyring) has(key string) bool {
	if k == nil {
		return false
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.n[key] > 0
}
