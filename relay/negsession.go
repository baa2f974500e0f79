package relay

import (
	"context"
	"errors"

	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/mostrodex/mostrodex/relay/negentropy"
	"github.com/nbd-wtf/go-nostr"
)

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
