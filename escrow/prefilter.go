package escrow

import (
	"fmt"
	"slices"
	"sync"

	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// Prefilter checks an event addressed to this node cheaply, before decryption. The relay
// that logged the event has checked its id and signature. Without that check, any sender
// could use the pubkey of a known party.
type Prefilter struct {
	// Transports are the accepted transports.
	Transports []envelope.Transport
	// Pow is the difficulty that every event must have (NIP-13).
	Pow int
	// PowFirstContact is the difficulty for authors on v2 that are not a party of an open
	// trade. Most clients read only Pow, so a value below Pow has no effect.
	PowFirstContact int

	known *keyring
}

// Check returns the rule that an event breaks, or nil.
func (p *Prefilter) Check(evt *nostr.Event) error {
	t := envelope.TransportOf(evt.Kind)
	if !slices.Contains(p.Transports, t) {
		return &message.WireError{Rule: message.RuleKind, Detail: "transport not in use"}
	}
	want := p.Pow
	if t == envelope.TransportV2 && p.PowFirstContact > want && !p.known.has(evt.PubKey) {
		want = p.PowFirstContact
	}
	if err := envelope.CheckWork(evt, want); err != nil {
		return fmt.Errorf("prefilter: %w", err)
	}
	return nil
}

// Knows reports whether a key is a trade key of an open trade.
func (p *Prefilter) Knows(key string) bool { return p.known.has(key) }

// keyring counts the trades of each trade key. The engine writes the keyring and the inbox
// reads it. A key is known from the moment at which its message is accepted.
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

// replace takes over the counts of another keyring, and returns k.
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
