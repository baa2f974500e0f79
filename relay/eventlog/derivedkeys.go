package eventlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// rowWrite is one key of the store that is not about an event: a cursor of an
// upstream or an outcome of forwarding. A nil value deletes the key.
type keyWrite struct {
	key, value []byte
}

func (p *Enqueued) IsDeletion() bool { return p.Event != nil && p.Event.Kind == mostro.KindDeletion }

// enqueueRows hands rows to the committer. They are committed with what the
// same goroutine enqueued before them, or later; never earlier. A crash never
// loses those events and keeps the rows.
func (st *Store) enqueueKeys(ctx context.Context, writes ...keyWrite) (Pending, error) {
	return st.hand(ctx, &Enqueued{writes: writes, st: st, done: make(chan struct{})})
}

// writeRows is enqueueRows, waited for.
func (st *Store) writeKeys(ctx context.Context, writes ...keyWrite) error {
	p, err := st.enqueueKeys(ctx, writes...)
	if err != nil {
		return err
	}
	_, _, err = p.Wait(ctx)
	return err
}

// Settle returns once everything that was enqueued before is committed.
func (st *Store) Settle(ctx context.Context) error { return st.writeKeys(ctx) }

func (g *commitGroup) writeKeys(writes []keyWrite) error {
	for _, w := range writes {
		var err error
		if w.value == nil {
			err = g.st.del(w.key)
		} else {
			err = g.set(w.key, w.value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readRow gives the value of a key, nil when there is none.
func (st *Store) getKey(key []byte) (value []byte, err error) {
	err = st.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(key)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		value, err = item.ValueCopy(nil)
		return err
	})
	return value, err
}

// eachRow calls fn for the rows whose keys begin with prefix and are not
// before start, ascending, until it returns false. What it is given is its own.
func (st *Store) eachKey(prefix, start []byte, fn func(key, value []byte) bool) error {
	return st.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 100, Prefix: prefix})
		defer it.Close()
		for it.Seek(start); it.Valid(); it.Next() {
			value, err := it.Item().ValueCopy(nil)
			if err != nil {
				return err
			}
			if !fn(it.Item().KeyCopy(nil), value) {
				return nil
			}
		}
		return nil
	})
}

// cursorKey is the place of an upstream's cursor for one filter.
func cursorKey(relay, filter string) []byte {
	return append(append(append([]byte{spaceCursor}, relay...), 0), filter...)
}

// claim is what a quota counts: addresses of one kind by one key, or of one
// platform.
type quotaKey struct {
	kind     int
	pubkey   [32]byte
	platform string
}

// overQuota says whether one more live address of the record would be one too
// many, and counts it when not.
func (g *commitGroup) overQuota(q LiveQuotas, ie *indexEntry) bool {
	if q == (LiveQuotas{}) {
		return false
	}
	if g.claimed == nil {
		g.claimed = make(map[quotaKey]int)
	}
	l := g.st.live
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

// liveOfKey counts the live events of one kind by one key. The caller holds mu.
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

// maxTwins bounds the earlier versions that an arriving one is compared with.
const maxEquivocationScan = 32

// keepProof records equivocation: an earlier arrival of the same address with
// the same created_at and another id. Both are signed and in the log already;
// the row makes them findable.
func (g *commitGroup) keepProof(ie *indexEntry, chain uint64) error {
	for n := 0; chain != 0 && n < maxEquivocationScan; n++ {
		r, ok, err := g.record(chain)
		if err != nil || !ok {
			return err
		}
		if r.createdAt == ie.createdAt && r.id != ie.id {
			g.flushNow = true // who appended it may ask for the proof
			return g.set(proofKey(chain, ie.seq), []byte{1})
		}
		chain = r.previous
	}
	return nil
}

func proofKey(a, b uint64) []byte {
	return binary.BigEndian.AppendUint64(seqKey(spaceProof, a), b)
}

// Equivocation is proof that a key signed two versions of one address with one
// created_at. First arrived before Second.
type Equivocation struct {
	First, Second *nostr.Event
}

// Equivocations calls fn for every proof whose events are both readable, in
// the order of their first events, until it returns an error.
func (st *Store) Equivocations(ctx context.Context, fn func(Equivocation) error) error {
	var pairs [][2]uint64
	err := st.eachKey([]byte{spaceProof}, []byte{spaceProof}, func(key, _ []byte) bool {
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

// eventAt gives the event of a log position while its body is readable.
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

// forwardKey is the place of an own event in the queue for other relays.
func forwardKey(seq uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{spaceForward, 'q'}, seq)
}

// rowAt gives the row of a log position and its body, nil when that is erased.
func (st *Store) recordAt(seq uint64) (r logRecord, body []byte, err error) {
	r, body, err = st.log.read(seq)
	switch {
	case errors.Is(err, errNoRecord):
		err = mostro.ErrNotFound
	case IsDamage(err):
		st.reportDamage(seq, err)
	}
	return r, body, err
}

// shunned are keys and ids that queries pass over. It is not changed.
type shunned struct {
	keys, ids map[[32]byte]struct{}
}

// Shun has queries, counts and reconciliations pass over the events of keys,
// and over single events. The maps are not changed afterwards.
func (st *Store) Shun(keys, ids map[[32]byte]struct{}) { st.live.shun.Store(&shunned{keys, ids}) }

// shunnedAuthors gives the numbers of shunned keys, sorted; nil for none. The
// caller holds mu.
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
