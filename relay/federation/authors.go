package federation

import (
	"strings"
	"sync"
	"time"
)

// idSet remembers ids or keys, at most max of them. A set that is full begins anew, so an
// id may be forgotten.
type idSet struct {
	max int

	mu  sync.Mutex
	ids map[string]struct{}
}

const (
	// maxAuthors limits the keys whose orders arrived by a link recently. Those orders may
	// not yet be in the store.
	maxAuthors = 10_000
	// maxRefused limits the ids of events that were refused, not to be fetched by every
	// comparison.
	maxRefused = 50_000
)

// add adds an id. add reports whether the id is new.
func (s *idSet) add(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.ids[id]; known {
		return false
	}
	if s.ids == nil || len(s.ids) >= s.max {
		s.ids = make(map[string]struct{})
	}
	s.ids[strings.Clone(id)] = struct{}{}
	return true
}

func (s *idSet) has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.ids[id]
	return known
}

// strangers are authors of orders whose stored deletions are to be requested from a relay.
type strangers struct {
	mu    sync.Mutex
	keys  []string
	asked time.Time // time of the last such request
}

func (s *strangers) add(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keys) < maxAuthors { // the next comparison covers the other authors
		s.keys = append(s.keys, strings.Clone(key))
	}
}

// due reports whether a request is due at a time.
func (s *strangers) due(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.keys) > 0 && now.Sub(s.asked) >= strangersEvery
}

// take removes and returns the keys of one request.
func (s *strangers) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.keys), authorsPerFilter)
	keys := s.keys[:n:n]
	s.keys, s.asked = s.keys[n:], time.Now()
	return keys
}
