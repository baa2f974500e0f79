package eventlog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog/liveindex"
	"github.com/mostrodex/mostrodex/relay/eventlog/recordlog"
)

// CheckReport is the result of Check.
type CheckReport struct {
	Entries  uint64   // records of the log
	Bodies   uint64   // records with a readable payload
	Live     int      // events that are served
	Problems []string // the first problems; empty if the store is sound
	Total    int      // number of problems
}

// maxProblems bounds the problems that a report describes.
const maxProblems = 100

func (r *CheckReport) problem(format string, args ...any) {
	if r.Total++; r.Total <= maxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// newChecker returns a checker of a store. No event may be appended while it runs.
func newChecker(st *Store, signatures bool) *checker {
	return &checker{st: st, best: make(map[address]*liveindex.Entry), regular: make(map[uint64]*liveindex.Entry), signatures: signatures}
}

// run carries out Store.Check.
func (c *checker) run(ctx context.Context, progress func(done, total uint64)) (CheckReport, error) {
	// The derived keys of all records must be committed and all scrubs recorded before
	// the comparison. The second flush records the scrubs of the first.
	for range 2 {
		if err := c.st.queue.writeKeys(ctx); err != nil {
			return CheckReport{}, fmt.Errorf("check the log: %w", err)
		}
	}
	c.st.live.Expire(c.st.now().Unix())
	err := c.st.keys.db.View(func(txn *badger.Txn) error {
		if err := c.logRecords(ctx, txn, progress); err != nil {
			return err
		}
		if err := c.indexEntries(txn); err != nil {
			return err
		}
		return c.otherKeys(txn)
	})
	if err != nil {
		return c.report, fmt.Errorf("check the log: %w", err)
	}
	c.report.Live = c.st.live.Check(c.live, c.st.log.RecordBytes, c.report.problem)
	return c.report, nil
}

type checker struct {
	st         *Store
	report     CheckReport
	best       map[address]*liveindex.Entry // newest readable version of each address
	regular    map[uint64]*liveindex.Entry  // regular events that must be served
	live       []liveindex.Entry            // index entries that must be in the live index
	tombs      map[address]int64            // deletion times by kind and key; nil before the first use
	signatures bool
}

func (c *checker) logRecords(ctx context.Context, txn *badger.Txn, progress func(done, total uint64)) error {
	head := c.st.Head()
	for _, path := range c.st.log.BadHeaders {
		c.report.problem("%s: the file header is damaged", path)
	}
	next := uint64(1)
	err := c.st.log.Each(0, head, func(seq uint64, r recordlog.Record, body []byte, err error) error {
		next = seq + 1
		c.report.Entries++
		if err != nil {
			c.report.problem("entry %d: %v", seq, err)
			return nil
		}
		if err := c.record(txn, seq, r, bytes.Clone(body)); err != nil { // index entries keep slices of the payload
			return err
		}
		if seq%4096 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if progress != nil {
				progress(seq, head)
			}
		}
		return nil
	})
	if next <= head && err == nil {
		c.report.problem("entries %d to %d are missing at the end", next, head)
	}
	return err
}

// record checks one record and computes the index entry that must exist for it.
func (c *checker) record(txn *badger.Txn, seq uint64, r recordlog.Record, body []byte) error {
	item, err := txn.Get(idKey(r.ID))
	switch {
	case errors.Is(err, badger.ErrKeyNotFound):
		c.report.problem("entry %d: its id %x is not indexed", seq, r.ID)
	case err != nil:
		return err
	default:
		if err := item.Value(func(v []byte) error {
			if len(v) != 8 || binary.BigEndian.Uint64(v) != seq {
				c.report.problem("entry %d: its id %x is indexed as %x", seq, r.ID, v)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if r.Previous >= seq {
		c.report.problem("entry %d: its previous version %d is not before it", seq, r.Previous)
	}
	if r.PayloadErased {
		return c.accounted(txn, seq, r)
	}
	c.report.Bodies++
	evt, err := ParseBody(body)
	if err != nil {
		c.report.problem("entry %d: %v", seq, err)
		return nil
	}
	id, _ := hex32.Parse(evt.ID)
	pubkey, _ := hex32.Parse(evt.PubKey)
	if !evt.CheckID() || id != r.ID || pubkey != r.PubKey || evt.Kind != r.Kind || int64(evt.CreatedAt) != r.CreatedAt {
		c.report.problem("entry %d: head and payload belong to different events", seq)
		return nil
	}
	if c.signatures {
		if ok, err := evt.CheckSignature(); !ok || err != nil {
			c.report.problem("entry %d: its signature does not verify", seq)
		}
	}
	ie := &liveindex.Entry{Seq: seq, ID: id, PubKey: pubkey, Kind: r.Kind, CreatedAt: r.CreatedAt, Expiration: r.Expiration, Tags: liveindex.TagKeys(evt.Tags)}
	addr, ok := addressOf(evt, pubkey)
	switch {
	case ok:
		if have := c.best[addr]; have == nil || newer(ie, have) {
			c.best[addr] = ie
		}
	case !r.Archived && !c.over(ie):
		c.regular[seq] = ie
	}
	return nil
}

// accounted checks that a tombstone, or the end of a mail's life, accounts for an
// erased payload. The payload of a health is erased without a trace. The d of an erased event is unknown, so a tombstone of any address
// with the same kind and key is accepted.
func (c *checker) accounted(txn *badger.Txn, seq uint64, r recordlog.Record) error {
	if r.Kind == mostro.KindHealth || mostro.IsMail(r.Kind) && (r.Expired || r.Expiration > 0 && r.Expiration <= c.st.now().Unix()) {
		return nil
	}
	if _, err := txn.Get(tombIDKey(r.ID, r.PubKey)); !errors.Is(err, badger.ErrKeyNotFound) {
		return err
	}
	if c.tombs == nil {
		c.tombs = make(map[address]int64)
		it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 100, Prefix: []byte{spaceTomb, 'a'}})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			err := it.Item().Value(func(v []byte) error {
				if k := it.Item().Key(); len(k) >= 2+2+32 && len(v) == 8 {
					of := address(k[2 : 2+2+32])
					c.tombs[of] = max(c.tombs[of], int64(binary.BigEndian.Uint64(v)))
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	of := makeAddress(r.Kind, r.PubKey, "")[:2+32]
	if until, ok := c.tombs[of]; !ok || r.CreatedAt > until {
		c.report.problem("entry %d: its payload is erased, and no deletion or expiry accounts for that", seq)
	}
	return nil
}

func (c *checker) over(r *liveindex.Entry) bool {
	return r.Expiration > 0 && r.Expiration <= c.st.now().Unix()
}

// indexEntries compares the stored index entries with those computed from the records.
func (c *checker) indexEntries(txn *badger.Txn) error {
	seen := make(map[address]bool, len(c.best))
	for _, space := range []byte{spaceNewest, spaceHidden, spaceRegular} {
		it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 100, Prefix: []byte{space}})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			var ie liveindex.Entry
			if err := it.Item().Value(func(v []byte) (err error) { ie, err = liveindex.DecodeEntry(v); return err }); err != nil {
				c.report.problem("index entry %x: %v", it.Item().Key(), err)
				continue
			}
			if space == spaceRegular {
				want := c.regular[ie.Seq]
				delete(c.regular, ie.Seq)
				if want == nil && !c.over(&ie) {
					c.report.problem("entry %d must not be served, but has an index entry", ie.Seq)
				} else if want != nil && !ie.Same(want) {
					c.report.problem("entry %d: its index entry belongs to another event", ie.Seq)
				}
			} else {
				addr := address(it.Item().Key()[1:])
				if seen[addr] {
					c.report.problem("entry %d: its address has two index entries", ie.Seq)
				}
				seen[addr] = true
				c.newest(space, addr, &ie)
			}
			if space != spaceHidden && !c.over(&ie) {
				c.live = append(c.live, ie)
			}
		}
	}
	for addr, ie := range c.best {
		if !seen[addr] {
			c.report.problem("entry %d is the newest of its address, but has no index entry", ie.Seq)
		}
	}
	for seq := range c.regular {
		c.report.problem("entry %d must be served, but has no index entry", seq)
	}
	return nil
}

func (c *checker) newest(space byte, addr address, ie *liveindex.Entry) {
	want := c.best[addr]
	if addressOfEntry(ie) != addr {
		c.report.problem("entry %d: its index entry has the key of another address", ie.Seq)
	}
	switch {
	case want == nil && space == spaceNewest:
		c.report.problem("entry %d is served, but its address has no readable version", ie.Seq)
	case want != nil && newer(want, ie):
		c.report.problem("entry %d is served, but entry %d is newer", ie.Seq, want.Seq)
	case want != nil && want.Seq == ie.Seq && !ie.Same(want):
		c.report.problem("entry %d: its index entry belongs to another event", ie.Seq)
	case want != nil && want.Seq == ie.Seq && space == spaceHidden && !c.over(ie):
		c.report.problem("entry %d is hidden, but neither expired nor deleted", ie.Seq)
	}
}
