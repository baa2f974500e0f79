package federation

import (
	"strings"
	"sync"
	"time"
)

// authors are keys whose orders arrived by a link recently. Those orders may not yet be in
// the store.
type authors struct {
	mu   sync.Mutex
	keys map[string]struct{}
}

// maxAuthors limits the keys in authors.
const maxAuthors = 10_000

// note remembers a key. note reports whether the key is new.
func (a *authors) note(key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.keys[key]; known {
		return false
	}
	if a.keys == nil || len(a.keys) >= maxAuthors {
		a.keys = make(map[string]struct{})
	}
	a.keys[strings.Clone(key)] = struct{}{}
	return true
}

func (a *authors) has(key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, known := a.keys[key]
	return known
}

// refusedIDs are the ids of events that were refused, not to be fetched by every
// comparison.
type refusedIDs struct {
	mu  sync.Mutex
	ids map[string]struct{}
}

// maxRefused limits the refused ids in memory.
const maxRefused = 50_000

func (r *refusedIDs) add(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids == nil || len(r.ids) >= maxRefused {
		r.ids = make(map[string]struct{})
	}
	r.ids[strings.Clone(id)] = struct{}{}
}

func (r *refusedIDs) has(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, refused := r.ids[id]
	return refused
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
