package eventlog

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/mostrodex/mostrodex/internal/hex32"
)

// Own events are sent to other relays from a queue in the store. The key that queues an
// event is committed with the event. Each relay has a cursor. An outcome and the cursor
// that passes the event are committed together: after a crash an event is sent at most
// twice, and relays answer the second time that it is a duplicate.

// forwards is the queue of own events for other relays. It owns the keyspace
// spaceForward, which only the committer writes. It has no fields of its own.
type forwards struct{ *parts }

// sweepKeys bounds the keys that one transaction removes from the queue. The outcomes
// of one event are removed together.
const sweepKeys = 4096

// ForwardOutcome is the result of sending an own event to another relay.
type ForwardOutcome struct {
	Relay   string    `json:"relay"`
	Outcome string    `json:"outcome"` // accepted, refused, superseded or expired
	Reason  string    `json:"reason,omitempty"`
	At      time.Time `json:"at"`
}

func forwardCursorKey(relay string) []byte { return append([]byte{spaceForward, 'c'}, relay...) }

func forwardOutcomeKey(seq uint64, relay string) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{spaceForward, 'o'}, seq), relay...)
}

// ForwardCursor returns the seq up to which the queue was sent to a relay.
func (fw *forwards) ForwardCursor(relay string) (uint64, error) {
	v, err := fw.keys.get(forwardCursorKey(relay))
	if err != nil || len(v) != 8 {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

// ForwardQueue returns the queued seqs greater than after, ascending, at most limit.
func (fw *forwards) ForwardQueue(after uint64, limit int) (seqs []uint64, err error) {
	err = fw.keys.each([]byte{spaceForward, 'q'}, forwardKey(after+1), func(key, _ []byte) bool {
		if len(key) == 10 {
			seqs = append(seqs, binary.BigEndian.Uint64(key[2:]))
		}
		return len(seqs) < limit
	})
	return seqs, err
}

// Forwarded returns the outcomes of an own event so far, one per relay.
func (fw *forwards) Forwarded(ctx context.Context, id string) (list []ForwardOutcome, err error) {
	f, err := fw.find(id)
	if err != nil {
		return nil, err
	}
	prefix := forwardOutcomeKey(f.Seq, "")
	err = fw.keys.each(prefix, prefix, func(_, value []byte) bool {
		var o ForwardOutcome
		if json.Unmarshal(value, &o) == nil {
			list = append(list, o)
		}
		return true
	})
	return list, err
}

// ForwardBody returns the event with a seq if it must still be sent, else the reason
// why not.
func (fw *forwards) ForwardBody(seq uint64, now time.Time) (body []byte, why string, err error) {
	_, body, err = fw.recordAt(seq)
	if IsDamage(err) {
		return nil, "damaged", nil
	}
	if err != nil {
		return nil, "", err
	}
	if body == nil {
		return nil, "deleted", nil
	}
	evt, err := ParseBody(body)
	if err != nil {
		return nil, "", fmt.Errorf("entry %d: %w", seq, err)
	}
	if ExpiredAt(evt.Tags, now) {
		return nil, "expired", nil
	}
	if c := kindClass(evt.Kind); c == replaceable || c == addressable {
		pubkey, err := hex32.Parse(evt.PubKey)
		if err != nil {
			return nil, "", err
		}
		if ie, ok := fw.live.EntryAt(evt.Kind, pubkey, firstD(evt.Tags)); ok && ie.Seq != seq {
			return nil, "superseded", nil
		}
	}
	return body, "", nil
}

// RecordForward commits the outcome of one event at one relay together with the relay's
// cursor.
func (fw *forwards) RecordForward(ctx context.Context, seq uint64, o ForwardOutcome) error {
	value, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return fw.queue.writeKeys(ctx,
		keyWrite{forwardOutcomeKey(seq, o.Relay), value},
		keyWrite{forwardCursorKey(o.Relay), binary.BigEndian.AppendUint64(nil, seq)})
}

// SweepForwards removes events received before a time from the queue, with their
// outcomes.
func (fw *forwards) SweepForwards(ctx context.Context, before time.Time) error {
	for {
		seqs, err := fw.ForwardQueue(0, 500)
		if err != nil {
			return err
		}
		var writes []keyWrite
		for _, seq := range seqs {
			r, _, err := fw.recordAt(seq)
			if err != nil && !IsDamage(err) {
				return err
			} // a damaged record has receivedAt 0 and leaves the queue
			if r.ReceivedAt >= before.UnixMilli() || len(writes) > sweepKeys {
				break
			}
			writes = append(writes, keyWrite{key: forwardKey(seq)})
			prefix := forwardOutcomeKey(seq, "")
			err = fw.keys.each(prefix, prefix, func(key, _ []byte) bool {
				writes = append(writes, keyWrite{key: key})
				return true
			})
			if err != nil {
				return err
			}
		}
		if len(writes) == 0 {
			return nil
		}
		if err := fw.queue.writeKeys(ctx, writes...); err != nil {
			return err
		}
	}
}

// forwardKey returns the key that queues an own event for other relays.
func forwardKey(seq uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{spaceForward, 'q'}, seq)
}
