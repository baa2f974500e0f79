package eventlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog/recordlog"
	"github.com/nbd-wtf/go-nostr"
)

// cursorKey returns the key of an upstream relay's cursor for one filter.
func cursorKey(relay, filter string) []byte {
	return append(append(append([]byte{spaceCursor}, relay...), 0), filter...)
}

// quotaKey identifies a counter of quotas: the addresses of one kind by one key, or the
// addresses of one platform.
type quotaKey struct {
	kind     int
	pubkey   [32]byte
	platform string
}

// overQuota reports whether one more live address of the entry exceeds a quota. If not,
// overQuota counts the address.
func (g *commitGroup) overQuota(q LiveQuotas, ie *indexEntry) bool {
	if q == (LiveQuotas{}) {
		return false
	}
	if g.claimed == nil {
		g.claimed = make(map[quotaKey]int)
	}
	l := g.c.live
	key := quotaKey{kind: ie.kind, pubkey: ie.pubkey}
	platform := quotaKey{platform: firstTag(ie, 'y')}
	l.mu.RLock()
	ofKey, ofPlatform := l.liveOfKey(ie.kind, ie.pubkey), 0
	if n, ok := l.tags.find('y', platform.platform); ok {
		if served, ok := l.tagList(n); ok {
			ofPlatform = served.size()
		}
	}
	l.mu.RUnlock()
	if q.Key > 0 && ofKey+g.claimed[key] >= q.Key ||
		q.Platform > 0 && platform.platform != "" && ofPlatform+g.claimed[platform] >= q.Platform {
		return true
	}
	g.claimed[key]++
	g.claimed[platform]++
	return false
}

// liveOfKey returns the number of live events of one kind by one key. The caller holds
// mu.
func (l *live) liveOfKey(kind int, pubkey [32]byte) int {
	author, ok := l.authors.find(pubkey)
	if !ok {
		return 0
	}
	if served, ok := l.composites[composite{uint32(kind), author, None, None}]; ok {
		return served.size()
	}
	return 0
}

// maxEquivocationScan bounds the earlier versions that a new version is compared with.
const maxEquivocationScan = 32

// keepProof records an equivocation: an earlier arrival of the same address with the
// same created_at and another id. Both signed events are already in the log; the key
// makes the pair findable.
func (g *commitGroup) keepProof(ie *indexEntry, chain uint64) error {
	for n := 0; chain != 0 && n < maxEquivocationScan; n++ {
		r, ok, err := g.record(chain)
		if err != nil || !ok {
			return err
		}
		if r.CreatedAt == ie.createdAt && r.ID != ie.id {
			g.flushNow = true // the caller of Append may ask for the proof at once
			return g.c.keys.set(proofKey(chain, ie.seq), []byte{1})
		}
		chain = r.Previous
	}
	return nil
}

func proofKey(a, b uint64) []byte {
	return binary.BigEndian.AppendUint64(seqKey(spaceProof, a), b)
}

// Equivocation proves that a key signed two versions of one address with the same
// created_at. First arrived before Second.
type Equivocation struct {
	First, Second *nostr.Event
}

// Equivocations calls fn for every proof whose two events are readable, ordered by the
// first event, until fn returns an error. It returns that error.
func (st *Store) Equivocations(ctx context.Context, fn func(Equivocation) error) error {
	var pairs [][2]uint64
	err := st.keys.each([]byte{spaceProof}, []byte{spaceProof}, func(key, _ []byte) bool {
		if len(key) == 17 {
			pairs = append(pairs, [2]uint64{binary.BigEndian.Uint64(key[1:]), binary.BigEndian.Uint64(key[9:])})
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("read proofs: %w", err)
	}
	for _, p := range pairs {
		if err := ctx.Err(); err != nil {
			return err
		}
		first, err := st.eventAt(p[0])
		if err == nil {
			var second *nostr.Event
			if second, err = st.eventAt(p[1]); err == nil {
				err = fn(Equivocation{first, second})
			}
		}
		if err != nil && !errors.Is(err, mostro.ErrNotFound) && !IsDamage(err) {
			return err
		}
	}
	return nil
}

// eventAt returns the event with a seq. If the payload is erased, eventAt returns
// mostro.ErrNotFound.
func (st *Store) eventAt(seq uint64) (*nostr.Event, error) {
	_, body, err := st.recordAt(seq)
	if err != nil {
		return nil, err
	}
	if body == nil {
		return nil, mostro.ErrNotFound
	}
	return ParseBody(body)
}

// forwardKey returns the key that queues an own event for other relays.
func forwardKey(seq uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{spaceForward, 'q'}, seq)
}

// recordAt returns the record with a seq and its body. The body is nil if the payload
// is erased.
func (p *parts) recordAt(seq uint64) (r recordlog.Record, body []byte, err error) {
	r, body, err = p.log.Read(seq)
	switch {
	case errors.Is(err, recordlog.ErrNoRecord):
		err = mostro.ErrNotFound
	case IsDamage(err):
		p.damage.report(seq, err)
	}
	return r, body, err
}

// shunned lists keys and event ids that queries skip. The maps are not modified after
// Shun.
type shunned struct {
	keys, ids map[[32]byte]struct{}
}

// Shun sets the keys and the event ids that queries, counts and reconciliations skip.
// The caller must not modify the maps afterwards.
func (q *queries) Shun(keys, ids map[[32]byte]struct{}) { q.live.shun.Store(&shunned{keys, ids}) }

// shunnedAuthors returns the sorted numbers of the shunned keys that have live events,
// or nil if there are none. The caller holds mu.
func (l *live) shunnedAuthors() (list []uint32) {
	s := l.shun.Load()
	if s == nil {
		return nil
	}
	for key := range s.keys {
		if n, ok := l.authors.find(key); ok {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list
}
