package indexer

import (
	"time"

	"github.com/mostrodex/mostrodex/indexer/livebook"
	"github.com/mostrodex/mostrodex/indexer/names"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
)

// newFor is the time for which a key counts as new.
const newFor = 7 * 24 * time.Hour

// impostor reports whether an author uses the name of another key.
func (a *author) impostor() bool {
	c := a.named.Clash()
	return c != nil && !c.Shared
}

func (a *author) judgement(now time.Time) livebook.Judgement {
	return livebook.Judgement{Info: a.Info != nil, Clash: a.impostor(), New: now.Sub(a.first) < newFor}
}

// judgements returns the judgements of some keys, or of all keys if keys is nil.
func (s *authors) judgements(keys []string, now time.Time) map[string]livebook.Judgement {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := map[string]livebook.Judgement{}
	if keys == nil {
		for pubkey, a := range s.byKey {
			if a.Info != nil || len(a.orders) > 0 {
				out[pubkey] = a.judgement(now)
			}
		}
		return out
	}
	for _, pubkey := range keys {
		if a := s.byKey[pubkey]; a != nil {
			out[pubkey] = a.judgement(now)
		}
	}
	return out
}

// Note is a warning or remark about the author of an order.
type Note struct {
	Unknown bool         // the order says that its author is a Mostro, but the author has published no info event
	New     bool         // first seen by this relay less than newFor ago, while other keys were seen before
	Clash   *names.Clash // another key uses the same name
	First   time.Time
}

// noteOf returns the note about an author for an order of a platform. If platform is "",
// the note is about the author alone.
func (s *authors) noteOf(pubkey, platform string, now time.Time) (n Note) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.note(pubkey, platform, now)
}

// note is noteOf for a caller that holds mu.
func (s *authors) note(pubkey, platform string, now time.Time) (n Note) {
	a := s.byKey[pubkey]
	if a == nil {
		return Note{Unknown: platform == mostro.PlatformMostro}
	}
	n.Unknown = a.Info == nil && platform == mostro.PlatformMostro
	n.First, n.Clash = a.first, a.named.Clash()
	n.New = now.Sub(a.first) < newFor && now.Sub(s.oldest) >= newFor
	return n
}

// marked returns 1 if a key uses the name of another key, and 0 otherwise. Lists are
// sorted by this number.
func (s *authors) marked(pubkey string) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if a := s.byKey[pubkey]; a != nil && a.impostor() {
		return 1
	}
	return 0
}

// TakeLink returns the link with which an order is taken. TakeLink returns "" if the
// order can no longer be taken, if the link does not have the form that its platform
// promises, or if the author uses the name of another key.
func (n *Note) TakeLink(v *orders.Version, now time.Time) string {
	if !v.IsOpen(now) || n.Clash != nil && !n.Clash.Shared {
		return ""
	}
	return v.Order.TakeLink()
}
