package relay

import (
	"encoding/hex"
	"errors"

	"github.com/mostrodex/mostrodex/internal/jsonscan"
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

// handleNeg answers NEG-OPEN, NEG-MSG and NEG-CLOSE (NIP-77).
func (c *conn) handleNeg(verb string) {
	t := &c.text
	err := jsonscan.ErrSyntax
	var id string
	if t.Take(',') {
		id, err = t.Str()
	}
	if err != nil || !validSubID(id) {
		c.srv.met.refused("notice", "invalid")
		c.notice("invalid: " + verb + " begins with a subscription id of 1 to 64 characters")
		return
	}
	var f nostr.Filter
	var msg string
	if verb == "NEG-OPEN" {
		if err = jsonscan.ErrSyntax; t.Take(',') {
			err = t.Filter(&f)
		}
	}
	if err == nil && verb != "NEG-CLOSE" {
		if err = jsonscan.ErrSyntax; t.Take(',') {
			msg, err = t.Str()
		}
	}
	if err == nil {
		if err = jsonscan.ErrSyntax; t.Take(']') {
			err = t.AtEnd()
		}
	}
	raw, bad := hex.DecodeString(msg)
	if err != nil {
		bad = err
	}
	c.closeNeg(id, verb == "NEG-MSG" && bad == nil)
	if verb == "NEG-CLOSE" {
		if err != nil {
			c.notice("invalid: NEG-CLOSE names one subscription")
		}
		return
	}
	if bad != nil {
		c.negError(id, "invalid: the message is malformed")
		return
	}
	if verb == "NEG-OPEN" && !c.openNeg(id, f) {
		return
	}
	s := c.negs[id]
	if s == nil {
		c.negError(id, "closed: no such reconciliation is open")
		return
	}
	out, err := s.Answer(raw)
	if err != nil {
		c.closeNeg(id, false)
		c.negError(id, "invalid: the message is malformed")
		return
	}
	c.w.reply(func(dst []byte) []byte { return appendReply(dst, "NEG-MSG", id, hex.EncodeToString(out)) })
}

// openNeg takes a snapshot for a session. If openNeg returns false, it has sent NEG-ERR
// with the reason.
func (c *conn) openNeg(id string, f nostr.Filter) bool {
	switch {
	case len(c.negs) >= maxNegSessions:
		c.negError(id, "blocked: too many reconciliations on this connection")
		return false
	case f.Search != "":
		c.negError(id, "blocked: searches are not reconciled")
		return false
	case !c.mayAsk(1):
		c.negError(id, reasonAskedTooOften)
		return false
	}
	c.unanswered.Wait()
	set, done, err := c.srv.negs.take(c.srv.ctx, c.srv.cfg.Store, f)
	switch {
	case errors.Is(err, errNegBusy):
		c.negError(id, "blocked: "+err.Error())
		return false
	case errors.Is(err, eventlog.ErrFilter):
		c.negError(id, "invalid: "+err.Error())
		return false
	case err != nil:
		c.negError(id, "error: the store could not be asked")
		return false
	}
	if c.negs == nil {
		c.negs = make(map[string]*negSession)
	}
	c.negs[id] = &negSession{Session: negentropy.Session{Set: set, Limit: negServerLimit}, done: done}
	return true
}

func (c *conn) negError(id, reason string) {
	c.srv.met.refused("neg", reason)
	c.w.reply(func(dst []byte) []byte { return appendReply(dst, "NEG-ERR", id, reason) })
}

// closeNeg ends a session. If keep is set, closeNeg does nothing.
func (c *conn) closeNeg(id string, keep bool) {
	if s := c.negs[id]; s != nil && !keep {
		s.done()
		delete(c.negs, id)
	}
}

func (c *conn) closeNegs() {
	for id := range c.negs {
		c.closeNeg(id, false)
	}
}
