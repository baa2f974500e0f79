package relay

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/mostrodex/mostrodex/relay/negentropy"
	"github.com/nbd-wtf/go-nostr"
)

// negSets keeps the newest snapshots of the live events, so that sessions with equal
// filters share one snapshot.
type negSets struct {
	mu    sync.Mutex
	sets  []*sharedSet // newest last
	items int          // items of all sets that are in use or kept
	now   func() time.Time
}

type sharedSet struct {
	filter  string
	taken   time.Time
	users   int  // number of sessions
	listed  bool // in negSets.sets
	counted int  // items counted in negSets.items
	ready   chan struct{}
	set     *negentropy.Set // valid once ready is closed, if err is nil
	err     error
}

const (
	// negKeep is the largest age of a snapshot for a new session if the log has grown
	// since.
	negKeep = 2 * time.Second
	// negKeepStill is the largest age if the log has not grown. Events expire without an
	// append, so the age has a limit too.
	negKeepStill = time.Minute
	// negMaxSets and negMaxItems limit the snapshots in memory. One item takes 40 bytes.
	negMaxSets  = 16
	negMaxItems = 4 << 20
)

var errNegBusy = errors.New("too many reconciliations are under way")

// take returns a snapshot for a filter and a function that releases the snapshot. The
// caller must call the function.
func (n *negSets) take(ctx context.Context, st eventStore, f nostr.Filter) (*negentropy.Set, func(), error) {
	f.Limit, f.LimitZero = 0, false
	key, err := json.Marshal(f)
	if err != nil {
		return nil, nil, err
	}
	n.mu.Lock()
	head := st.Head()
	i := slices.IndexFunc(n.sets, func(s *sharedSet) bool { return s.filter == string(key) })
	var s *sharedSet
	if i >= 0 {
		s = n.sets[i]
		age := n.now().Sub(s.taken)
		fresh := age < negKeep
		select {
		case <-s.ready:
			fresh = fresh || s.err == nil && s.set.Head == head && age < negKeepStill
		default:
		}
		if !fresh {
			n.unlist(i)
			s = nil
		}
	}
	if s != nil {
		s.users++
		n.mu.Unlock()
		select {
		case <-s.ready:
		case <-ctx.Done():
			n.leave(s)
			return nil, nil, ctx.Err()
		}
		if s.err != nil {
			n.leave(s)
			return nil, nil, s.err
		}
		return s.set, func() { n.leave(s) }, nil
	}
	for len(n.sets) >= negMaxSets {
		n.unlist(0)
	}
	// The items are reserved before the events are listed. AtMost is an upper bound.
	room := st.AtMost(f)
	for n.items+room > negMaxItems && len(n.sets) > 0 {
		n.unlist(0)
	}
	if n.items > 0 && n.items+room > negMaxItems {
		n.mu.Unlock()
		return nil, nil, errNegBusy
	}
	s = &sharedSet{filter: string(key), taken: n.now(), users: 1, listed: true, counted: room, ready: make(chan struct{})}
	n.sets = append(n.sets, s)
	n.items += room
	n.mu.Unlock()

	items, head, err := st.LiveItems(ctx, f)
	if err == nil {
		s.set = &negentropy.Set{Items: items, Head: head}
		s.set.Seal()
	}
	n.mu.Lock()
	s.err = err
	if i := slices.Index(n.sets, s); err != nil && i >= 0 {
		n.unlist(i)
	}
	if s.counted > 0 { // if 0, the set was freed meanwhile
		n.items += len(items) - s.counted
		s.counted = len(items)
	}
	n.mu.Unlock()
	close(s.ready)
	if err != nil {
		n.leave(s)
		return nil, nil, err
	}
	return s.set, func() { n.leave(s) }, nil
}

// unlist removes a set from the list. The set is freed when its last session ends.
func (n *negSets) unlist(i int) {
	s := n.sets[i]
	n.sets = slices.Delete(n.sets, i, i+1)
	s.listed = false
	if s.users == 0 {
		n.items -= s.counted
		s.counted = 0
	}
}

func (n *negSets) leave(s *sharedSet) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.users--; s.users == 0 && !s.listed {
		n.items -= s.counted
		s.counted = 0
	}
}

const (
	// maxNegSessions is how many reconciliations one connection may have open.
	maxNegSessions = 8
	// negServerLimit is the largest message of the server, in bytes before hex.
	negServerLimit = 128 << 10
)

// negSession is one reconciliation (NEG-OPEN) of a connection.
type negSession struct {
	negentropy.Session
	done func() // releases the snapshot
}

// negSessions are the open reconciliations of one connection, by subscription id. The
// reader of the connection owns them.
type negSessions map[string]*negSession

// open takes a snapshot for a session. If open returns a refusal, no session is open.
func (n *negSessions) open(ctx context.Context, sets *negSets, st eventStore, id string, f nostr.Filter) (refusal string) {
	set, done, err := sets.take(ctx, st, f)
	switch {
	case errors.Is(err, errNegBusy):
		return "blocked: " + err.Error()
	case errors.Is(err, eventlog.ErrFilter):
		return "invalid: " + err.Error()
	case err != nil:
		return "error: the store could not be asked"
	}
	if *n == nil {
		*n = make(negSessions)
	}
	(*n)[id] = &negSession{Session: negentropy.Session{Set: set, Limit: negServerLimit}, done: done}
	return ""
}

// answer returns the answer to a message of the client, or a refusal that ends the
// session.
func (n negSessions) answer(id string, msg []byte) (out []byte, refusal string) {
	s := n[id]
	if s == nil {
		return nil, "closed: no such reconciliation is open"
	}
	out, err := s.Answer(msg)
	if err != nil {
		n.close(id)
		return nil, negMalformed
	}
	return out, ""
}

// close ends a session, if it is open.
func (n negSessions) close(id string) {
	if s := n[id]; s != nil {
		s.done()
		delete(n, id)
	}
}

func (n negSessions) closeAll() {
	for id := range n {
		n.close(id)
	}
}

const negMalformed = "invalid: the message is malformed"
