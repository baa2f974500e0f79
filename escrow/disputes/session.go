package disputes

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
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
	onceFor = 5 * time.Minute
	// maxSessions is the number of sessions, and maxSessionsOf the number of one key: a newer
	// session of a key ends the one that was used least recently, and never that of another key.
	maxSessions   = 256
	maxSessionsOf = 4
	// maxLogins is the number of logins of one key by signature in onceFor.
	maxLogins = 20
	// maxLinks is the number of unused links of the operator.
	maxLinks = 64
	// maxReaders is the number of shared keys that a session keeps.
	maxReaders = 32
	// maxRequests is the number of requests of one key that are answered at a time.
	maxRequests = 4
)

// session is a login of a key. The fields without a comment do not change.
type session struct {
	key    string // identity, hex
	secret [32]byte
	began  time.Time
	used   time.Time // guarded by sessions.mu

	writing sync.Mutex // held while a message is sent

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

// sessions holds the sessions, the links of the operator and the used challenges, in memory: a
// restart of the program ends all.
type sessions struct {
	now  func() time.Time
	node string   // the node's key, whose sessions those of solvers do not displace
	mac  [32]byte // key of the challenges

	mu    sync.Mutex
	open  map[[32]byte]*session    // by the hash of the cookie; guarded by mu, like the others
	links map[[32]byte]time.Time   // ends of the links that are not used, by the hash of the secret
	used  map[string]usedChallenge // challenges of logins, which are not used again
	busy  map[string]int           // requests that are being answered, by key
}

// usedChallenge is a challenge that has logged a key in.
type usedChallenge struct {
	key  string
	ends time.Time
}

func newSessions(node string, now func() time.Time) *sessions {
	s := &sessions{now: now, node: node, open: make(map[[32]byte]*session), links: make(map[[32]byte]time.Time),
		used: make(map[string]usedChallenge), busy: make(map[string]int)}
	rand.Read(s.mac[:]) // never returns an error
	return s
}

func random() string {
	var b [32]byte
	rand.Read(b[:]) // never returns an error
	return hex.EncodeToString(b[:])
}

// link returns the secret of a link that logs the operator in once.
func (s *sessions) link() string {
	secret, now := random(), s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var oldest [32]byte
	for hash, ends := range s.links {
		if now.After(ends) {
			delete(s.links, hash)
		} else if first, ok := s.links[oldest]; !ok || ends.Before(first) {
			oldest = hash
		}
	}
	if len(s.links) >= maxLinks {
		delete(s.links, oldest)
	}
	s.links[sha256.Sum256([]byte(secret))] = now.Add(onceFor)
	return secret
}

// redeem uses the secret of a link up. It returns false if the secret is unknown, used or too
// old.
func (s *sessions) redeem(secret string) bool {
	hash := sha256.Sum256([]byte(secret))
	s.mu.Lock()
	defer s.mu.Unlock()
	ends, ok := s.links[hash]
	delete(s.links, hash)
	return ok && !s.now().After(ends)
}

// challenge returns a text that a solver has to sign. It carries its own date and proof, so a
// client that asks for many challenges uses no memory and displaces nothing.
func (s *sessions) challenge() string {
	var b [32]byte
	binary.BigEndian.PutUint64(b[:8], uint64(s.now().Unix()))
	rand.Read(b[8:16]) // never returns an error
	copy(b[16:], s.prove(b[:16]))
	return hex.EncodeToString(b[:])
}

func (s *sessions) prove(b []byte) []byte {
	mac := hmac.New(sha256.New, s.mac[:])
	mac.Write(b)
	return mac.Sum(nil)[:16]
}

// errChallenge and errLogins report a challenge that is no login.
var (
	errChallenge = errors.New("the challenge is unknown, was used, or is too old")
	errLogins    = errors.New("the key has logged in too often")
)

// answer uses a challenge up, for a key that has signed it and that is a solver. It returns
// errChallenge or errLogins.
func (s *sessions) answer(challenge, key string) error {
	b, err := hex.DecodeString(challenge)
	if err != nil || len(b) != 32 || !hmac.Equal(b[16:], s.prove(b[:16])) {
		return errChallenge
	}
	now, ends := s.now(), time.Unix(int64(binary.BigEndian.Uint64(b[:8])), 0).Add(onceFor)
	challenge = hex.EncodeToString(b) // digits of both cases are one challenge
	s.mu.Lock()
	defer s.mu.Unlock()
	logins := 0
	for other, u := range s.used {
		if now.After(u.ends) {
			delete(s.used, other)
		} else if u.key == key {
			logins++
		}
	}
	_, used := s.used[challenge]
	switch {
	case used, now.After(ends):
		return errChallenge
	case logins >= maxLogins:
		return errLogins
	}
	s.used[challenge] = usedChallenge{key, ends}
	return nil
}

// visit counts a request of a key, and returns the function that ends it. It returns nil if the
// key has too many requests.
func (s *sessions) visit(key string) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[key] >= maxRequests {
		return nil
	}
	s.busy[key]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.busy[key]--; s.busy[key] == 0 {
			delete(s.busy, key)
		}
	}
}

// begin returns the cookie of a new session. If the key has its sessions, the one of them that
// was used least recently ends. If all are taken, a session of the solver with the most ends.
func (s *sessions) begin(key string) string {
	cookie, now := random(), s.now()
	n := &session{key: key, began: now, used: now}
	rand.Read(n.secret[:]) // never returns an error
	s.mu.Lock()
	defer s.mu.Unlock()
	held := make(map[string]int)
	for hash, o := range s.open {
		if s.over(o, now) {
			delete(s.open, hash)
			continue
		}
		held[o.key]++
	}
	switch {
	case held[key] >= maxSessionsOf:
		s.displace(func(o *session) int { return btoi(o.key == key) })
	case len(s.open) >= maxSessions:
		s.displace(func(o *session) int { return btoi(o.key != s.node) * held[o.key] })
	}
	s.open[sha256.Sum256([]byte(cookie))] = n
	return cookie
}

// displace ends the session of the greatest weight, among several the one that was used least
// recently, and none whose weight is 0. The caller holds mu.
func (s *sessions) displace(weight func(*session) int) {
	var last [32]byte
	var worst *session
	for hash, o := range s.open {
		w := weight(o)
		if w > 0 && (worst == nil || w > weight(worst) || w == weight(worst) && o.used.Before(worst.used)) {
			last, worst = hash, o
		}
	}
	if worst != nil {
		delete(s.open, last)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
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
