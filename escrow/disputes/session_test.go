package disputes

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/envelope"
)

// clock is a clock that a test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

// TestSessionsAreBounded holds that no solver displaces the sessions of another, and that all
// together are bounded.
func TestSessionsAreBounded(t *testing.T) {
	c := &clock{time.Now()}
	s := newSessions("node", c.now)
	operator, honest := s.begin("node"), s.begin("honest")
	for range 3 * maxSessions {
		c.at = c.at.Add(time.Millisecond)
		s.begin("hostile")
	}
	if len(s.open) != 2+maxSessionsOf || s.find(operator) == nil || s.find(honest) == nil {
		t.Errorf("one solver has ended sessions of others: %d are open", len(s.open))
	}
	newest := s.begin("hostile")
	if s.find(newest) == nil {
		t.Error("the newest session of a solver has ended")
	}
	// A hundred solvers fill the table. The one with the fewest sessions keeps them.
	for i := range 100 * maxSessionsOf {
		c.at = c.at.Add(time.Millisecond)
		s.begin(fmt.Sprint("solver", i%100))
	}
	if len(s.open) != maxSessions || s.find(operator) == nil || s.find(honest) == nil {
		t.Errorf("%d sessions; operator %v, a solver with one session %v", len(s.open), s.find(operator), s.find(honest))
	}
	// A thousand solvers with one session each: the table stays bounded, and the operator stays.
	for i := range 4 * maxSessions {
		c.at = c.at.Add(time.Millisecond)
		last := s.begin(fmt.Sprint("another", i))
		if s.find(last) == nil {
			t.Fatal("a new session has ended at once")
		}
	}
	if len(s.open) != maxSessions || s.find(operator) == nil {
		t.Errorf("%d sessions, operator %v", len(s.open), s.find(operator))
	}
	c.at = c.at.Add(sessionFor)
	s.begin("late")
	if len(s.open) != 1 {
		t.Errorf("%d sessions after their end", len(s.open))
	}
}

// TestLinksAndChallengesAreBounded asks for many of both.
func TestLinksAndChallengesAreBounded(t *testing.T) {
	c := &clock{time.Now()}
	s := newSessions("node", c.now)
	link, challenge := s.link(), s.challenge()
	for range 10_000 {
		s.challenge()
	}
	if !s.redeem(link) || s.redeem(link) {
		t.Error("a link counts once, whatever strangers ask for")
	}
	for range 3 * maxLinks {
		c.at = c.at.Add(time.Millisecond)
		link = s.link()
	}
	if len(s.links) != maxLinks || !s.redeem(link) {
		t.Errorf("%d links", len(s.links))
	}
	if err := s.answer(strings.ToUpper(challenge), "a"); err != nil {
		t.Errorf("a challenge in capital digits: %v", err)
	}
	for name, text := range map[string]string{"used": challenge, "of another case": strings.ToUpper(challenge), "empty": "", "short": challenge[:62], "forged": strings.Repeat("0", 16) + challenge[16:],
		"of another program": newSessions("node", c.now).challenge()} {
		if err := s.answer(text, "a"); err != errChallenge {
			t.Errorf("a challenge that is %s: %v", name, err)
		}
	}
	for i := range maxLogins + 5 {
		if err := s.answer(s.challenge(), "many"); (err == nil) != (i < maxLogins) || err != nil && err != errLogins {
			t.Errorf("login %d: %v", i+1, err)
		}
	}
	if err := s.answer(s.challenge(), "another"); err != nil {
		t.Errorf("the logins of one key lock another out: %v", err)
	}
	old := s.challenge()
	c.at = c.at.Add(onceFor + 2*time.Second)
	if err := s.answer(old, "a"); err != errChallenge {
		t.Errorf("an old challenge: %v", err)
	}
	if err := s.answer(s.challenge(), "many"); err != nil || len(s.used) != 1 {
		t.Errorf("%v; %d used challenges are kept", err, len(s.used))
	}
}

// TestManySolversAtOnce has hostile solvers and strangers use the inbox while the operator and a
// solver work. Each of the two keeps the session and is answered.
func TestManySolversAtOnce(t *testing.T) {
	r := newRig(t)
	id := r.dispute(deal{})
	operator, honest := r.login(r.keys), r.login(r.write)
	hostile := make([]*envelope.Keys, 5)
	for i := range hostile {
		hostile[i] = newKeys(t)
		r.f.roles[hostile[i].Pubkey()] = trade.RoleWrite
	}
	stranger := newKeys(t)
	var wg sync.WaitGroup
	for _, k := range append(hostile, stranger) {
		wg.Go(func() {
			p := &person{tb: t, r: r, client: &http.Client{Jar: newJar(t), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
			for range maxLogins + 5 {
				if code, body := p.post("/disputes/login", url.Values{"event": {r.signed(p, k, nil)}}); code >= 500 {
					t.Errorf("login: %d %s", code, body)
				}
				for _, path := range []string{"/disputes", "/disputes/closed", "/disputes/" + id.String()} {
					if code, body := p.get(path); code >= 500 {
						t.Errorf("%s: %d %s", path, code, body)
					}
				}
			}
		})
	}
	for range 20 {
		for _, p := range []*person{operator, honest} {
			if code, body := p.get("/disputes/" + id.String()); code != http.StatusOK {
				t.Errorf("a person who works: %d %s", code, body)
			}
		}
	}
	wg.Wait()
	s := r.x.sessions
	if len(s.open) > 2+len(hostile)*maxSessionsOf || len(s.used) > 2+len(hostile)*maxLogins || len(s.busy) != 0 {
		t.Errorf("%d sessions, %d used challenges, %d busy keys", len(s.open), len(s.used), len(s.busy))
	}
	if code, to := honest.post("/disputes/"+id.String()+"/take", honest.form(id, "take")); code != http.StatusSeeOther {
		t.Errorf("take: %d %s", code, to)
	}
	if code, _ := operator.decide(id, "settle", "the operator decides"); code != http.StatusSeeOther {
		t.Errorf("settle: %d", code)
	}
}

// TestRequestsOfOneKey holds that one solver cannot keep the escrow busy.
func TestRequestsOfOneKey(t *testing.T) {
	r := newRig(t)
	p, other := r.login(r.write), r.login(r.read)
	leave := make([]func(), maxRequests)
	for i := range leave {
		leave[i] = r.x.sessions.visit(r.write.Pubkey())
	}
	code, body := p.get("/disputes")
	says(t, "one more", code, body, http.StatusTooManyRequests, "in a moment")
	code, body = other.get("/disputes")
	says(t, "another solver", code, body, http.StatusOK)
	for _, end := range leave {
		end()
	}
	code, body = p.get("/disputes")
	says(t, "afterwards", code, body, http.StatusOK)
	if len(r.x.sessions.busy) != 0 {
		t.Errorf("%d keys are kept", len(r.x.sessions.busy))
	}
}
