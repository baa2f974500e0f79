package reputation

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/mostrodex/mostrodex/reputation/witness"
	"github.com/nbd-wtf/go-nostr"
)

// Pace of the statements. A statement is published if it is full, or if it has a row that is
// older than stateAfter.
const (
	stateAfter   = 600 // seconds
	stateEvery   = 10  // seconds between two readings of the log without a full statement
	statesAtOnce = 20  // statements of one round of the follower
)

// errFull ends the reading of the log: the statement has its rows.
var errFull = errors.New("the statement is full")

// testify publishes statements about the receipts of the log after said.Stated, up to the
// position head. If the
// program stops between a publication and the next checkpoint, the same statement is
// published again: it has the same address, and at least the same rows.
func (p *assertions) testify(ctx context.Context, log score.Reader, head uint64) error {
	now := p.now().Unix()
	if now >= p.testified && now < p.testified+stateEvery {
		return nil
	}
	p.testified = now
	for range statesAtOnce {
		after := p.said.Stated
		if after >= head {
			return nil
		}
		var rows []witness.Row
		seen, last := map[[32]byte]bool{}, after
		err := log.Read(ctx, after, func(e mostro.Entry) error {
			if len(rows) == witness.MaxRows || e.Seq > head {
				return errFull
			}
			last = e.Seq
			row, ok := RowOf(&e)
			if ok && !seen[row.ID] {
				seen[row.ID] = true
				rows = append(rows, row)
			}
			return nil
		})
		if err != nil && !errors.Is(err, errFull) {
			return fmt.Errorf("read the receive log: %w", err)
		}
		full := len(rows) == witness.MaxRows
		if len(rows) == 0 {
			p.note(func() { p.said.Stated = max(last, head) })
			return nil
		}
		if !full && now-rows[0].ReceivedMS/1000 < stateAfter {
			return nil
		}
		for _, r := range rows {
			if r.ReceivedMS/1000 > now {
				return nil // the clock was set back: a statement may not be older than its rows
			}
		}
		evt, err := witness.New(p.signer.Pubkey(), after, rows, nostr.Timestamp(now))
		if err != nil {
			return fmt.Errorf("write a statement: %w", err)
		}
		if err := p.send(ctx, "statement", &evt); err != nil {
			return err
		}
		p.note(func() { p.said.Stated = last })
	}
	return nil
}

// RowOf returns the row about an entry. ok is false if the entry is no evidence, or if it
// was imported from a file: the relay did not receive it then.
func RowOf(e *mostro.Entry) (row witness.Row, ok bool) {
	switch mostro.Classify(e.Event) {
	case mostro.ClassOrder, mostro.ClassDispute, mostro.ClassInfo, mostro.ClassDevFee, mostro.ClassUserRating, mostro.ClassHostRating, mostro.ClassKeyset, mostro.ClassDeletion:
	default:
		if e.Event.Kind != mostro.KindAppData || !strings.HasPrefix(e.Event.Tags.GetD(), score.FundListD) {
			return row, false
		}
	}
	if e.Source.Origin == mostro.OriginImport || e.ReceivedAt.UnixMilli() < witness.MinTime {
		return row, false
	}
	if n, err := hex.Decode(row.ID[:], []byte(e.Event.ID)); err != nil || n != len(row.ID) {
		return row, false
	}
	row.ReceivedMS, row.Live = e.ReceivedAt.UnixMilli(), e.Source.Origin.Witnessed() && !e.Archived
	return row, true
}
