package disputes

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/envelope"
)

const (
	cookieName = "mostrodex_disputes"
	// A session ends after idleFor without a request, and after sessionFor in any case.
	idleFor    = time.Hour
	sessionFor = 12 * time.Hour
	// onceFor is the life of a link of the operator and of a challenge for a signature.
	onceFor     = 5 * time.Minute
	maxSessions = 64
	maxOnce     = 256
	// maxReaders is the number of shared keys that a session keeps.
	maxReaders = 32
)

// session is a person who has logged in. The fields without a comment do not change.
type session struct {
	key    string // identity, hex
	secret [32]byte
	began  time.Time
	used   time.Time // guarded by sessions.mu

	mu sync.Mutex
	// readers are the chats whose shared key the person has given, by trade; guarded by mu.
	// They are kept in memory alone.
	readers map[trade.OrderID]*envelope.ChatReader
}

// token returns the token of a form, which is bound to the session and to the parts.
func (s *session) token(parts ...string) string {
	mac := hmac.New(sha256.New, s.secret[:])
	mac.Write([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(mac.Sum(nil))
}

// holds reports whether a token is that of the parts.
func (s *session) holds(token string, parts ...string) bool {
	return hmac.Equal([]byte(token), []byte(s.token(parts...)))
}

func (s *session) keep(id trade.OrderID, r *envelope.ChatReader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readers == nil || len(s.readers) >= maxReaders {
		s.readers = make(map[trade.OrderID]*envelope.ChatReader)
	}
	s.readers[id] = r
}

func (s *session) reader(id trade.OrderID) *envelope.ChatReader {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.readers[id]
}

// sessions holds the sessions, the links of the operator and the challenges, in memory: a
// restart of the program ends all.
type sessions struct {
	now func() time.Time

	mu   sync.Mutex
	open map[[32]byte]*session // by the hash of the cookie; guarded by mu
	once map[[32]byte]once     // by the hash of a link's token, or of a challenge; guarded by mu
}

// once is a secret that can be used one time.
type once struct {
	ends time.Time
	key  string // the key that a link logs in; "" for a challenge
}

func random() string {
	var b [32]byte
	rand.Read(b[:]) // never returns an error
	return hex.EncodeToString(b[:])
}

// issue returns a secret that can be used once. key is the key that it logs in, or "".
func (s *sessions) issue(key string) string {
	secret, now := random(), s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.once == nil {
		s.once = make(map[[32]byte]once)
	}
	for hash, o := range s.once {
		if now.After(o.ends) {
			delete(s.once, hash)
		}
	}
	if len(s.once) >= maxOnce { // a client that asks for challenges must not use up the memory
		for hash, o := range s.once {
			if o.key == "" {
				delete(s.once, hash)
			}
		}
	}
	s.once[sha256.Sum256([]byte(secret))] = once{ends: now.Add(onceFor), key: key}
	return secret
}

// redeem uses a secret up. It returns ok false if the secret is unknown, used or too old.
func (s *sessions) redeem(secret string) (key string, ok bool) {
	hash := sha256.Sum256([]byte(secret))
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.once[hash]
	delete(s.once, hash)
	return o.key, ok && !s.now().After(o.ends)
}

// begin returns the cookie of a new session.
func (s *sessions) begin(key string) string {
	cookie, now := random(), s.now()
	n := &session{key: key, began: now, used: now}
	rand.Read(n.secret[:]) // never returns an error
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = make(map[[32]byte]*session)
	}
	var oldest [32]byte
	for hash, o := range s.open {
		if s.over(o, now) {
			delete(s.open, hash)
		} else if first := s.open[oldest]; first == nil || o.used.Before(first.used) {
			oldest = hash
		}
	}
	if len(s.open) >= maxSessions {
		delete(s.open, oldest)
	}
	s.open[sha256.Sum256([]byte(cookie))] = n
	return cookie
}

func (s *sessions) over(o *session, now time.Time) bool {
	return now.Sub(o.used) > idleFor || now.Sub(o.began) > sessionFor
}

// find returns the session of a cookie, or nil.
func (s *sessions) find(cookie string) *session {
	hash, now := sha256.Sum256([]byte(cookie)), s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.open[hash]
	if o == nil {
		return nil
	}
	if s.over(o, now) {
		delete(s.open, hash)
		return nil
	}
	o.used = now
	return o
}

func (s *sessions) end(cookie string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, sha256.Sum256([]byte(cookie)))
}
