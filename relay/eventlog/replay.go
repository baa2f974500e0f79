package eventlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/mostrodex/mostrodex/relay/eventlog/recordlog"
)

// replay writes the derived keys of the records behind applied.
func (c *committer) replay(applied uint64) error {
	head := c.log.Head()
	group, size := make([]*Enqueued, 0, maxGroup), 0
	again := func() error {
		if len(group) == 0 {
			return nil
		}
		err := c.makeRoom(group)
		g := &commitGroup{c: c, replay: true, now: c.now(), seq: group[0].seq - 1, base: head,
			newest: make(map[address]*addressState), ids: make(map[[32]byte]uint64)}
		for _, p := range group {
			if err != nil {
				return err
			}
			var seq uint64
			g.seq = p.seq - 1
			if err = g.ensureRoom(); err != nil {
				return err
			}
			if seq, _, err = g.append(p); err == nil && seq != p.seq {
				err = fmt.Errorf("entry %d is in the log twice, or was refused at its arrival", p.seq)
			}
			c.keys.applied = p.seq
		}
		if err == nil {
			err = c.updateMemory(g)
		}
		group, size = group[:0], 0
		return err
	}
	err := c.log.Each(applied, head, func(seq uint64, r recordlog.Record, body []byte, err error) error {
		if err != nil {
			return fmt.Errorf("entry %d: %w", seq, err)
		}
		p := &Enqueued{seq: seq, expired: r.Expired, Arrival: Arrival{
			ReceivedAt: time.UnixMilli(r.ReceivedAt).UTC(), Source: r.Source, Forward: r.Forward}}
		if r.PayloadErased && !fleeting(r.Kind) {
			// A payload is scrubbed only after the derived keys of its deletion are
			// committed, so these keys are lost.
			return fmt.Errorf("entry %d is erased, and the derived keys of its deletion are missing: %w", seq, ErrDamaged)
		}
		if r.PayloadErased {
			// Erased mail, mail that was expired at its arrival, and erased health leave only
			// their ids and, if the event was deleted, the effects of the deletion.
			if err := again(); err != nil {
				return err
			}
			c.keys.applied = seq
			return c.keys.set(idKey(r.ID), binary.BigEndian.AppendUint64(nil, seq))
		}
		p.JSON = bytes.Clone(body)
		if p.Event, err = ParseBody(p.JSON); err != nil {
			return fmt.Errorf("entry %d: %w", seq, err)
		}
		if p.IsDeletion() || len(group) == maxGroup || size+writeBytes(p.JSON) > maxGroupBytes {
			if err := again(); err != nil {
				return err
			}
		}
		group, size = append(group, p), size+writeBytes(p.JSON)
		if seq%50_000 == 0 && c.cfg.Progress != nil {
			c.cfg.Progress(int(seq))
		}
		if p.IsDeletion() {
			return again()
		}
		return nil
	})
	if err == nil {
		err = again()
	}
	if err == nil {
		err = c.flush()
	}
	return err
}
