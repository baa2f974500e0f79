package eventlog

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/mostrodex/mostrodex/internal/hex32"
)

// Own events go to other relays from a queue in the store: the row that queues
// an event is committed with the event. Each relay has a cursor; an outcome
// and the cursor that passes it are committed together, so that a crash sends
// an event twice at worst, which relays answer as a duplicate.

// sweepRows bounds the rows that one transaction removes from the queue. The
// outcomes of one event are removed together.
const sweepKeys = 4096

// ForwardOutcome is what became of an own event at another relay.
type ForwardOutcome struct {
	Relay   string    `json:"relay"`
	Outcome string    `json:"outcome"` // accepted, refused, superseded, expired
	Reason  string    `json:"reason,omitempty"`
	At      time.Time `json:"at"`
}

func forwardCursorKey(relay string) []byte { return append([]byte{spaceForward, 'c'}, relay...) }

func forwardOutcomeKey(seq uint64, relay string) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{spaceForward, 'o'}, seq), relay...)
}

// ForwardCursor is the log position up to which a relay has been sent the queue.
func (st *Store) ForwardCursor(relay string) (uint64, error) {
	v, err := st.getKey(forwardCursorKey(relay))
	if err != nil || len(v) != 8 {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

// ForwardQueue lists log positions in the queue behind after, at most limit.
func (st *Store) ForwardQueue(after uint64, limit int) (seqs []uint64, err error) {
	err = st.eachKey([]byte{spaceForward, 'q'}, forwardKey(after+1), func(key, _ []byte) bool {
		if len(key) == 10 {
			seqs = append(seqs, binary.BigEndian.Uint64(key[2:]))
		}
		return len(seqs) < limit
	})
	return seqs, err
}

// Forwarded tells what became of an own event at each relay so far.
func (st *Store) Forwarded(ctx context.Context, id string) (list []ForwardOutcome, err error) {
	f, err := st.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	prefix := forwardOutcomeKey(f.Seq, "")
	err = st.eachKey(prefix, prefix, func(_, value []byte) bool {
		var o ForwardOutcome
		if json.Unmarshal(value, &o) == nil {
			list = append(list, o)
		}
		return true
	})
	return list, err
}

// ForwardBody gives the event at a log position if it is still worth sending,
// else why not.
func (st *Store) ForwardBody(seq uint64, now time.Time) (body []byte, why string, err error) {
	_, body, err = st.recordAt(seq)
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
		if ie, ok := st.live.entryAt(evt.Kind, pubkey, firstD(evt.Tags)); ok && ie.seq != seq {
			return nil, "superseded", nil
		}
	}
	return body, "", nil
}

// RecordForward commits the outcome of one event at one relay, together with the
// relay's cursor.
func (st *Store) RecordForward(ctx context.Context, seq uint64, o ForwardOutcome) error {
	value, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return st.writeKeys(ctx,
		keyWrite{forwardOutcomeKey(seq, o.Relay), value},
		keyWrite{forwardCursorKey(o.Relay), binary.BigEndian.AppendUint64(nil, seq)})
}

// SweepForwards removes events received before a time from the queue, with their
// outcomes.
func (st *Store) SweepForwards(ctx context.Context, before time.Time) error {
	for {
		seqs, err := st.ForwardQueue(0, 500)
		if err != nil {
			return err
		}
		var writes []keyWrite
		for _, seq := range seqs {
			r, _, err := st.recordAt(seq)
			if err != nil && !IsDamage(err) {
				return err
			} // a damaged row received at 0 leaves the queue
			if r.receivedAt >= before.UnixMilli() || len(writes) > sweepKeys {
				break
			}
			writes = append(writes, keyWrite{key: forwardKey(seq)})
			prefix := forwardOutcomeKey(seq, "")
			err = st.eachKey(prefix, prefix, func(key, _ []byte) bool {
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
		if err := st.writeKeys(ctx, writes...); err != nil {
			return err
		}
	}
}
