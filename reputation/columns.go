package reputation

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/mostrodex/mostrodex/reputation/witness"
	"github.com/nbd-wtf/go-nostr"
)

// MaxWitnesses is the largest number of witnesses. Each witness has a ledger of its own.
const MaxWitnesses = 5

// Bounds of the columns.
const (
	// maxPending is the largest number of rows whose event is not here yet. Further rows are
	// dropped, until the event of a row arrives.
	maxPending = 1 << 20
	// lookupsAtOnce is the number of stored events that lookUp reads at once.
	lookupsAtOnce = 20_000
)

// Finder finds an event of the log by its id. If the log has no readable event with this
// id, Find returns mostro.ErrNotFound.
type Finder interface {
	Event(ctx context.Context, id string) (*nostr.Event, error)
}

// SeenBy is the score of a node as one witness saw the node.
type SeenBy struct {
	Witness string      // key of the witness
	Score   score.Score // computed from the times of receipt of this witness
	Until   time.Time   // receipt of the newest event that the witness stated
}

// column holds the scores that follow from the receive log of one witness. The ledger of a
// column has no fact from any other source, so a witness that lies spoils only its own
// column.
type column struct {
	key    string
	ledger *score.Ledger
	scores map[string]score.Score

	pending map[[32]byte]witness.Row // rows whose event is not here yet
	queue   []witness.Row            // rows whose event may be stored already
	until   int64                    // unix ms: the newest receipt that was stated
	refused int64                    // statements that break the format
	dropped int64                    // rows above maxPending
}

// columns hold one column for each witness. The follower calls follow. The methods
// seenBy and borrowed are safe for concurrent use.
type columns struct {
	find    Finder
	proofs  score.Proofs
	params  score.Params
	witness []string // keys, sorted

	cursor uint64       // position of the log up to which statements were read; of the follower
	mu     sync.RWMutex // guards the columns of list
	list   map[string]*column
}

func newColumns(keys []string, find Finder, params score.Params, proofs score.Proofs) (*columns, error) {
	keys = slices.Compact(slices.Sorted(slices.Values(keys)))
	switch {
	case len(keys) == 0:
		return &columns{}, nil
	case find == nil:
		return nil, errors.New("reputation: Witnesses is set without a Finder")
	case len(keys) > MaxWitnesses:
		return nil, fmt.Errorf("reputation: %d witnesses, at most %d", len(keys), MaxWitnesses)
	}
	c := &columns{find: find, proofs: proofs, params: params, witness: keys, list: map[string]*column{}}
	for _, key := range keys {
		c.list[key] = &column{key: key, ledger: score.NewLedger(params, proofs), scores: map[string]score.Score{}, pending: map[[32]byte]witness.Row{}}
	}
	return c, nil
}

// follow reads the log after the cursor, and computes the scores of the columns. The first
// call reads the whole log.
func (c *columns) follow(ctx context.Context, log Log, now time.Time, full bool) error {
	if len(c.list) == 0 {
		return nil
	}
	head := log.Head()
	err := score.EachBatch(ctx, log, c.cursor, func(batch []mostro.Entry) error {
		c.read(batch)
		c.cursor = batch[len(batch)-1].Seq
		return nil
	})
	if err != nil {
		return fmt.Errorf("reputation: read the log for the witnesses: %w", err)
	}
	c.cursor = max(c.cursor, head)
	for more := true; more; {
		if more, err = c.lookUp(ctx); err != nil {
			return err
		}
	}
	c.compute(now, full)
	return nil
}

// read takes the statements of a batch, and the events for which a row was waiting.
func (c *columns) read(batch []mostro.Entry) {
	if len(c.list) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range batch {
		evt := batch[i].Event
		if col := c.list[evt.PubKey]; col != nil && witness.Is(evt) {
			col.state(evt)
			continue
		}
		var id [32]byte
		for _, col := range c.list {
			if len(col.pending) == 0 {
				continue
			}
			if id == [32]byte{} {
				if n, err := hex.Decode(id[:], []byte(evt.ID)); err != nil || n != len(id) {
					break
				}
			}
			if row, waits := col.pending[id]; waits {
				delete(col.pending, id)
				col.apply(evt, row)
			}
		}
	}
}

// state queues the rows of a statement.
func (col *column) state(evt *nostr.Event) {
	rows, err := witness.Parse(evt)
	if err != nil {
		col.refused++
		return
	}
	if len(col.queue) >= maxPending {
		col.dropped += int64(len(rows))
		return
	}
	col.queue = append(col.queue, rows...)
	for _, r := range rows {
		col.until = max(col.until, r.ReceivedMS)
	}
}

// apply applies an event as the witness received it.
func (col *column) apply(evt *nostr.Event, row witness.Row) {
	origin := mostro.OriginBackfill
	if row.Live {
		origin = mostro.OriginLive
	}
	col.ledger.Apply(mostro.Entry{Event: evt, ReceivedAt: time.UnixMilli(row.ReceivedMS).UTC(), Source: mostro.Source{Origin: origin}})
}

// lookUp finds the stored events of queued rows. It reports whether rows are left.
func (c *columns) lookUp(ctx context.Context) (more bool, err error) {
	left := lookupsAtOnce
	for _, key := range c.witness {
		col := c.list[key]
		c.mu.RLock()
		rows := col.queue[:min(len(col.queue), left)]
		c.mu.RUnlock()
		left -= len(rows)
		events := make([]*nostr.Event, len(rows))
		for i, r := range rows {
			evt, err := c.find.Event(ctx, hex.EncodeToString(r.ID[:]))
			if err != nil && !errors.Is(err, mostro.ErrNotFound) {
				return false, fmt.Errorf("reputation: find the event of a witness: %w", err)
			}
			events[i] = evt
		}
		c.mu.Lock()
		for i, r := range rows {
			switch {
			case events[i] != nil:
				col.apply(events[i], r)
			case len(col.pending) < maxPending:
				col.pending[r.ID] = r
			default:
				col.dropped++
			}
		}
		col.queue = col.queue[len(rows):]
		more = more || len(col.queue) > 0
		c.mu.Unlock()
	}
	return more, nil
}

// compute updates the scores of all columns.
func (c *columns) compute(now time.Time, full bool) {
	for _, key := range c.witness {
		c.mu.Lock()
		col := c.list[key]
		for _, s := range col.ledger.Update(now, full) {
			col.scores[s.Pubkey] = s
		}
		c.mu.Unlock()
	}
}

// seenBy returns the scores of a node by each witness that knows the node, sorted by the key
// of the witness.
func (c *columns) seenBy(pubkey string) (out []SeenBy) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, key := range c.witness {
		if s, ok := c.list[key].scores[pubkey]; ok {
			out = append(out, SeenBy{Witness: key, Score: s, Until: time.UnixMilli(c.list[key].until).UTC()})
		}
	}
	return out
}

// borrowed returns the rank of a node by its witnesses. ok is false unless more than half of
// the witnesses have a rank of the node. The rank is the median. If the number of ranks is
// even, the rank is the lower of the two in the middle. Therefore one witness of three that
// lies moves the rank at most as far as the two others differ.
func borrowed(list []SeenBy, witnesses int) (rank int, ok bool) {
	var ranks []int
	for i := range list {
		if list[i].Score.Unranked == "" {
			ranks = append(ranks, list[i].Score.Rank)
		}
	}
	if len(ranks) == 0 || 2*len(ranks) <= witnesses {
		return 0, false
	}
	slices.Sort(ranks)
	return ranks[(len(ranks)-1)/2], true
}
