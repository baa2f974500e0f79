package eventlog

import "time"

// Bounds of one group commit. Badger accepts 15% of a memtable in one transaction.
const (
	queueSize     = 4096
	maxGroup      = 1024
	maxGroupBytes = 2 << 20
	// maxDeletionBytes bounds a group of deletion requests: a byte of a deletion
	// request causes more work than a byte of another event.
	maxDeletionBytes = 1 << 20
)

// writeBytes returns an upper bound of the bytes that the group writes for a payload:
// the payload itself, its tags once more in the index entry, and some hundred bytes of
// record head and keys.
func writeBytes(body []byte) int { return 2*len(body) + 512 }

// committer is the only writer of the log, of the derived keys and of the live index. Its
// fields are owned by one goroutine, which calls run. Before that goroutine begins, Open
// owns the fields.
type committer struct {
	*parts
	walks walks  // results of earlier deletion requests
	buf   []byte // buffer for the records of a group
}

// flush commits the derived keys, unless the store is in doubt.
func (c *committer) flush() error {
	if c.failure.get() != nil {
		return nil
	}
	return c.keys.flush()
}

// run is the goroutine of the committer. It returns when the store closes and the queue
// is empty.
func (c *committer) run() {
	group := make([]*Enqueued, 0, maxGroup)
	var held *Enqueued       // taken from the queue, for the next group
	var due <-chan time.Time // time of the next flush of derived keys
	for {
		switch {
		case c.keys.size == 0:
			due = nil
		case due == nil:
			due = time.After(c.cfg.flushAfter)
		}
		if held == nil {
			var err error
			select {
			case held = <-c.queue.ch:
			case <-due:
				due, err = nil, c.flush()
			case <-c.sweep:
				err = c.moveHidden()
			case <-c.pings:
			case <-c.closing:
				// No goroutine can enqueue any more. Commit the rest of the queue.
				select {
				case held = <-c.queue.ch:
				default:
					if err := c.flush(); err != nil {
						c.failure.fail(err)
					}
					return
				}
			}
			if err != nil {
				c.failure.fail(err)
			}
			if held == nil {
				continue
			}
		}
		if held.call != nil {
			c.serve(held)
			held = nil
			continue
		}
		group = append(group[:0], held)
		size := writeBytes(held.JSON)
		deletions := held.IsDeletion()
		held = nil
	gather:
		for len(group) < maxGroup && size < maxGroupBytes {
			select {
			case p := <-c.queue.ch:
				// Deletions read back into the store, so they form groups of their own.
				if p.IsDeletion() != deletions || p.call != nil {
					held = p
					break gather
				}
				if deletions && size+writeBytes(p.JSON) > maxDeletionBytes {
					held = p
					break gather
				}
				group = append(group, p)
				size += writeBytes(p.JSON)
			default:
				break gather
			}
		}
		c.commit(group)
	}
}

// serve commits the derived keys and runs a call.
func (c *committer) serve(p *Enqueued) {
	err := c.failure.get()
	if err == nil {
		if err = c.flush(); err != nil {
			c.failure.fail(err)
		}
	}
	if err == nil {
		err = p.call(c)
	}
	p.answer(0, 0, err)
}

// commit appends a group to the log with one sync, then makes the group visible, then
// answers the callers. Derived keys are committed later (flush).
func (c *committer) commit(group []*Enqueued) {
	start := time.Now()
	c.space.MeasureWhileWriting()
	if group = c.refuseFull(group); len(group) == 0 {
		return
	}
	err := c.makeRoom(group)
	g := &commitGroup{c: c, now: c.now(), seq: c.recent.head.Load(), base: c.log.Head(),
		newest: make(map[address]*addressState, len(group)), ids: make(map[[32]byte]uint64, len(group)), buf: c.buf[:0]}
	for _, p := range group {
		if err == nil {
			err = g.ensureRoom()
		}
		if err != nil {
			break
		}
		if p.Event == nil {
			g.flushNow = true // the writer of keys reads the keys at once
			err = c.keys.write(p.writes)
			continue
		}
		g.flushNow = g.flushNow || p.Forward || p.IsDeletion()
		p.seq, p.out, err = g.append(p)
	}
	if err == nil {
		err = g.write()
	}
	c.buf, c.keys.applied = g.buf[:0], g.seq
	c.keys.uncommitted.add(g.ids)
	if err == nil && g.flushNow {
		err = c.flush()
	}
	if err == nil {
		err = c.updateMemory(g)
	}
	if err != nil {
		c.failure.fail(err)
		for _, p := range group {
			p.answer(0, 0, c.failure.err)
		}
		return
	}
	c.recent.publish(g.entries, !c.cfg.Bulk) // no reader keeps up with an import; readers use the disk
	c.metrics.committed(len(group), time.Since(start))
	for _, p := range group {
		if p.Event != nil {
			c.metrics.appended(p.out)
		}
		p.answer(p.seq, p.out, nil)
	}
}

// refuseFull answers ErrFull to the arrivals of a group that find no disk space, and
// returns the others.
func (c *committer) refuseFull(group []*Enqueued) []*Enqueued {
	size := int64(0)
	for _, p := range group {
		size += int64(writeBytes(p.JSON))
	}
	err := c.log.ReserveSpace(size)
	if err != nil {
		c.space.MarkFull("err", err)
		if c.space.Spare() {
			err = c.log.ReserveSpace(size)
		}
	}
	if !c.space.Full() {
		return group
	}
	kept := group[:0]
	for _, p := range group {
		if c.queue.refuses(p) || err != nil && p.Urgent {
			p.answer(0, 0, ErrFull)
		} else {
			kept = append(kept, p)
		}
	}
	return kept
}

// updateMemory applies a logged group to the live index and to the filters.
func (c *committer) updateMemory(g *commitGroup) error {
	g.apply()
	c.recent.forget(g.erased)
	for id := range g.ids {
		c.keys.ids.add(id[:])
	}
	return c.growFilters()
}

// derivedBytes returns an upper bound of the transaction's growth by one arrival.
func derivedBytes(p *Enqueued) int {
	size := 1024
	if p.Event != nil {
		size += len(p.JSON) // the tags, in the index entry
	}
	for _, r := range p.writes {
		size += len(r.key) + len(r.value) + keyOverhead
	}
	return size
}

// makeRoom flushes the transaction if a group would exceed its limit, and begins a new
// file of the log if the last file is full.
func (c *committer) makeRoom(group []*Enqueued) error {
	if err := c.failure.get(); err != nil {
		return err
	}
	size := 0
	for _, p := range group {
		size += derivedBytes(p)
	}
	// A deletion may be committed in parts. It reads the live index, which must contain
	// all records logged before the deletion.
	if c.keys.size+size > c.keys.room || c.log.Full() || group[0].IsDeletion() {
		if err := c.flush(); err != nil {
			return err
		}
	}
	if c.log.Full() {
		return c.log.Roll()
	}
	return nil
}

// growFilters replaces a full filter by a larger one, which is filled in the background.
func (c *committer) growFilters() error {
	for _, f := range []*seenFilter{c.keys.ids, c.keys.hidden} {
		if !f.outgrown() {
			continue
		}
		if err := c.flush(); err != nil { // fill reads only committed keys
			return err
		}
		f.grow()
		c.done.Go(f.fill)
	}
	return nil
}
