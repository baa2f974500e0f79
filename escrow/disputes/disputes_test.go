package disputes

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/internal/clip"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// says fails the test unless an answer has a status and contains all texts.
func says(t *testing.T, what string, code int, body string, want int, texts ...string) {
	t.Helper()
	main := body
	if _, after, ok := strings.Cut(body, "<main"); ok {
		main = clip.Text(after, 1500)
	}
	if code != want {
		t.Errorf("%s: %d, want %d\n%s", what, code, want, main)
	}
	for _, text := range texts {
		if !strings.Contains(body, text) {
			t.Errorf("%s: no %q in\n%s", what, text, main)
		}
	}
}

func TestOperatorLogsInByALink(t *testing.T) {
	r := newRig(t)
	p := &person{tb: t, r: r, client: &http.Client{Jar: newJar(t), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	code, to := p.get("/disputes")
	says(t, "without a session", code, to, http.StatusSeeOther, "/disputes/login")
	path := r.x.Invite()
	link, err := url.Parse(path)
	if err != nil {
		t.Fatal(err)
	}
	token := link.Query().Get("link")
	for range 2 { // a program looks at the link ahead of the person
		code, body := p.get(path)
		says(t, "the link", code, body, http.StatusOK, token, "Open the inbox")
	}
	code, to = p.get("/disputes")
	says(t, "the link was looked at", code, to, http.StatusSeeOther, "/disputes/login")
	code, body := p.post("/disputes/login", url.Values{"link": {"x" + token}})
	says(t, "another link", code, body, http.StatusForbidden)
	code, to = p.post("/disputes/login", url.Values{"link": {token}})
	says(t, "the link is used", code, to, http.StatusSeeOther, "/disputes")
	code, body = p.get("/disputes")
	says(t, "the inbox", code, body, http.StatusOK, "No open dispute", "operator", "Test ✓")
	code, body = p.post("/disputes/login", url.Values{"link": {token}})
	says(t, "the link is used again", code, body, http.StatusForbidden, "was used")
	old, _ := url.Parse(r.x.Invite())
	r.f.now = r.f.now.Add(onceFor + time.Second)
	code, body = p.post("/disputes/login", url.Values{"link": {old.Query().Get("link")}})
	says(t, "an old link", code, body, http.StatusForbidden, "five minutes")
	r.f.now = r.f.now.Add(idleFor + time.Second)
	code, to = p.get("/disputes")
	says(t, "an idle session", code, to, http.StatusSeeOther, "/disputes/login")
}

func TestSolverLogsInBySignature(t *testing.T) {
	r := newRig(t)
	stranger := newKeys(t)
	p := &person{tb: t, r: r, client: &http.Client{Jar: newJar(t), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	for name, c := range map[string]struct {
		key    *envelope.Keys
		change func(*nostr.Event)
		says   string
	}{
		"a key that is no solver": {stranger, nil, "no solver of this Mostro"},
		"another kind":            {r.write, func(e *nostr.Event) { e.Kind = 1 }, "kind 27235"},
		"another page":            {r.write, func(e *nostr.Event) { e.Tags[0][1] = "https://evil.example/disputes/login" }, "another page"},
		"another path":            {r.write, func(e *nostr.Event) { e.Tags[0][1] = r.srv.URL + "/metrics" }, "another page"},
		"another method":          {r.write, func(e *nostr.Event) { e.Tags[1][1] = "GET" }, "another page"},
		"a challenge of nobody":   {r.write, func(e *nostr.Event) { e.Tags[2][1] = strings.Repeat("ab", 32) }, "challenge"},
		"two challenges":          {r.write, func(e *nostr.Event) { e.Tags = append(e.Tags, e.Tags[2]) }, "challenge"},
		"a link as a challenge": {r.write, func(e *nostr.Event) {
			u, _ := url.Parse(r.x.Invite())
			e.Tags[2][1] = u.Query().Get("link")
		}, "challenge"},
		"an old signature":    {r.write, func(e *nostr.Event) { e.CreatedAt -= 121 }, "clock"},
		"a signature of late": {r.write, func(e *nostr.Event) { e.CreatedAt += 121 }, "clock"},
	} {
		code, body := p.post("/disputes/login", url.Values{"event": {r.signed(p, c.key, c.change)}})
		says(t, name, code, body, http.StatusForbidden, c.says)
	}
	event := r.signed(p, r.write, nil)
	code, body := p.post("/disputes/login", url.Values{"event": {strings.Replace(event, r.write.Pubkey(), r.keys.Pubkey(), 1)}})
	says(t, "a signature under another key", code, body, http.StatusForbidden, "signature is wrong")
	code, to := p.post("/disputes/login", url.Values{"event": {event}})
	says(t, "a solver", code, to, http.StatusSeeOther, "/disputes")
	code, body = p.post("/disputes/login", url.Values{"event": {event}})
	says(t, "the same signature again", code, body, http.StatusForbidden, "was used")
	code, body = p.post("/disputes/login", url.Values{"event": {"{nonsense"}})
	says(t, "nonsense", code, body, http.StatusForbidden, "not JSON")
}

func TestInboxDecides(t *testing.T) {
	for _, verb := range []string{"settle", "cancel"} {
		r := newRig(t)
		id := r.dispute(deal{})
		p := r.login(r.write)
		code, body := p.get("/disputes/" + id.String())
		says(t, "a free dispute", code, body, http.StatusOK, "Take the dispute", "nobody has taken", "120", "returns the sats to the seller", "The buyer opened the dispute.")
		if p.form(id, verb) != nil {
			t.Error("a solver can decide what the solver has not taken")
		}
		form := p.form(id, "take")
		for range 2 { // a double click
			code, to := p.post("/disputes/"+id.String()+"/take", form)
			says(t, "take", code, to, http.StatusSeeOther, "?done=take")
		}
		form = p.form(id, verb)
		form.Set("reason", "  the statement shows it ")
		form.Set("sure", "yes")
		for range 2 {
			code, to := p.post("/disputes/"+id.String()+"/"+verb, form)
			says(t, verb, code, to, http.StatusSeeOther, "?done="+verb)
		}
		want := []string{"admin-take-dispute by " + short(r.write.Pubkey()) + ": ", "admin-" + verb + " by " + short(r.write.Pubkey()) + ": the statement shows it"}
		if !slices.Equal(r.f.decided, want) {
			t.Errorf("decided %q, want %q", r.f.decided, want)
		}
		_, body = p.get("/disputes/" + id.String() + "?done=" + verb)
		says(t, "after the verdict", 200, body, 200, doneText[verb], "the statement shows it", "by solver "+short(r.write.Pubkey()))
		if strings.Contains(body, "<textarea name=\"reason\"") {
			t.Error("a decided dispute can be decided")
		}
	}
}

// TestForgedForms sends what a page of another origin, or a person without the page, can send.
func TestForgedForms(t *testing.T) {
	r := newRig(t)
	id, other := r.dispute(deal{}), r.dispute(deal{})
	operator, solver := r.login(r.keys), r.login(r.write)
	path := "/disputes/" + id.String() + "/settle"
	fill := func(v url.Values) url.Values {
		if v == nil {
			t.Fatal("no form")
		}
		v.Set("reason", "forged")
		v.Set("sure", "yes")
		return v
	}
	good := fill(operator.form(id, "settle"))
	send := func(name, path string, form url.Values, header map[string]string, want int) {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, r.srv.URL+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for k, v := range header {
			req.Header.Set(k, v)
		}
		if code, body := operator.do(req); code != want {
			t.Errorf("%s: %d, want %d\n%s", name, code, want, body)
		}
	}
	own := map[string]string{"Origin": r.srv.URL}
	send("no origin", path, good, nil, http.StatusForbidden)
	send("another origin", path, good, map[string]string{"Origin": "https://evil.example"}, http.StatusForbidden)
	send("another port", path, good, map[string]string{"Origin": "http://127.0.0.1:9"}, http.StatusForbidden)
	send("an origin without a name", path, good, map[string]string{"Origin": "null"}, http.StatusForbidden)
	send("a page of the same site", path, good, map[string]string{"Origin": r.srv.URL, "Sec-Fetch-Site": "same-site"}, http.StatusForbidden)
	send("a page of another site", path, good, map[string]string{"Origin": r.srv.URL, "Sec-Fetch-Site": "cross-site"}, http.StatusForbidden)
	send("the parameters in the address", path+"?"+good.Encode(), nil, own, http.StatusForbidden)
	spoiled := fill(operator.form(id, "settle"))
	spoiled.Set("token", "")
	send("no token", path, spoiled, own, http.StatusForbidden)
	send("the token of another dispute", path, fill(operator.form(other, "settle")), own, http.StatusForbidden)
	send("the token of another verb", path, fill(operator.form(id, "cancel")), own, http.StatusForbidden)
	if code, _ := solver.post("/disputes/"+id.String()+"/take", solver.form(id, "take")); code != http.StatusSeeOther {
		t.Errorf("take: %d", code)
	}
	send("the token of another session", path, fill(solver.form(id, "settle")), own, http.StatusForbidden)
	seen := fill(operator.form(id, "settle"))
	seen.Set("seen", good.Get("seen"))
	send("the state of another page", path, seen, own, http.StatusForbidden)
	send("a page that is out of date", path, good, own, http.StatusConflict)
	send("a verb that does not exist", "/disputes/"+id.String()+"/close", good, own, http.StatusNotFound)
	if code, _ := (&person{tb: t, r: r, client: http.DefaultClient}).post(path, good); code != http.StatusUnauthorized {
		t.Errorf("without a session: %d", code)
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		req, _ := http.NewRequest(method, r.srv.URL+path, strings.NewReader(good.Encode()))
		if resp, err := operator.client.Do(req); err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %v %v", method, resp.StatusCode, err)
		}
	}
	if len(r.f.decided) != 1 {
		t.Errorf("decided %q", r.f.decided)
	}
	if code, body := operator.decide(id, "settle", "the right form"); code != http.StatusSeeOther || len(r.f.decided) != 2 {
		t.Errorf("the right form: %d %s", code, body)
	}
}

func TestRolesInTheInbox(t *testing.T) {
	r := newRig(t)
	id := r.dispute(deal{})
	reader, writer, operator := r.login(r.read), r.login(r.write), r.login(r.keys)
	// A read-only solver takes, and decides nothing, not even with a form of its own session.
	if code, _ := reader.post("/disputes/"+id.String()+"/take", reader.form(id, "take")); code != http.StatusSeeOther {
		t.Errorf("take: %d", code)
	}
	code, body := reader.get("/disputes/" + id.String())
	says(t, "a read-only solver", code, body, 200, "decides nothing", "What happened")
	for _, verb := range []string{"settle", "cancel"} {
		if reader.form(id, verb) != nil {
			t.Errorf("a read-only solver has the form to %s", verb)
		}
		session := r.sessionOf(reader)
		state := r.f.trades[id]
		seen := fingerprint(&state)
		code, body := reader.post("/disputes/"+id.String()+"/"+verb, url.Values{"seen": {seen}, "token": {session.token(verb, id.String(), seen)}, "reason": {"x"}, "sure": {"yes"}})
		says(t, "a read-only solver decides", code, body, http.StatusConflict, "refuses")
	}
	// Another solver takes over from the reader, and the operator from everybody.
	code, body = writer.get("/disputes/" + id.String())
	says(t, "a solver who may decide", code, body, 200, "take it over")
	if code, _ := writer.post("/disputes/"+id.String()+"/take", writer.form(id, "take")); code != http.StatusSeeOther {
		t.Errorf("take over: %d", code)
	}
	code, body = reader.get("/disputes/" + id.String())
	says(t, "the reader", code, body, 200, "It was taken by solver "+short(r.write.Pubkey()))
	code, body = operator.get("/disputes")
	says(t, "the list", code, body, 200, "solver "+short(r.write.Pubkey()), "for 0 s")
	if operator.form(id, "settle") == nil || operator.form(id, "cancel") == nil || operator.form(id, "take") == nil {
		t.Error("the operator cannot decide")
	}

	// A solver who is a party does not see the dispute.
	own := r.dispute(deal{fiat: "EUR", amount: 7, left: 100, buyer: r.write, age: 9000})
	code, body = writer.get("/disputes")
	says(t, "the list of a party", code, body, 200, "1 more is about trades of your own")
	if strings.Contains(body, own.String()) {
		t.Error("the list shows a party its own dispute")
	}
	code, body = writer.get("/disputes/" + own.String())
	says(t, "the page of a party", code, body, http.StatusForbidden, "You are a party")
	if strings.Contains(body, "What happened") {
		t.Error("the page shows a party its own dispute")
	}
	state := r.f.trades[own]
	seen := fingerprint(&state)
	code, body = writer.post("/disputes/"+own.String()+"/take", url.Values{"seen": {seen}, "token": {r.sessionOf(writer).token("take", own.String(), seen)}})
	says(t, "a party takes", code, body, http.StatusForbidden, "You are a party")

	// A removed solver is out at once.
	r.f.roles[r.write.Pubkey()] = ""
	code, body = writer.get("/disputes")
	says(t, "a removed solver", code, body, http.StatusForbidden, "not any more")
	r.f.roles[r.write.Pubkey()] = trade.RoleWrite
	code, to := writer.get("/disputes")
	says(t, "a solver who comes back", code, to, http.StatusSeeOther, "/disputes/login")
}

// sessionOf returns the session of a person.
func (r *rig) sessionOf(p *person) *session {
	r.tb.Helper()
	u, err := url.Parse(r.srv.URL + Path)
	if err != nil {
		r.tb.Fatal(err)
	}
	for _, c := range p.client.Jar.Cookies(u) {
		if c.Name == cookieName {
			return r.x.sessions.find(c.Value)
		}
	}
	r.tb.Fatal("no session")
	return nil
}

// TestLateForms sends a verdict after something else has happened.
func TestLateForms(t *testing.T) {
	verdict := func(r *rig, id trade.OrderID, by *envelope.Keys) {
		for _, a := range []message.Action{message.ActionAdminTakeDispute, message.ActionAdminCancel} {
			if err := r.f.DecideAs(t.Context(), by.Pubkey(), id, a, "first"); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		happens func(r *rig, id trade.OrderID)
		status  int
		says    string
	}{
		"another solver has decided": {func(r *rig, id trade.OrderID) { verdict(r, id, r.write) }, http.StatusConflict, "has changed"},
		"the trade is closed": {func(r *rig, id trade.OrderID) {
			tr := r.f.trades[id]
			tr.Status = message.TradeCompletedByAdmin
			r.f.trades[id] = tr
		}, http.StatusConflict, "has changed"},
		"the trade is gone":          {func(r *rig, id trade.OrderID) { delete(r.f.trades, id) }, http.StatusNotFound, "No such dispute"},
		"the escrow has stopped":     {func(r *rig, _ trade.OrderID) { r.f.err = refused{errBroken} }, http.StatusConflict, "refuses"},
		"the store is in doubt":      {func(r *rig, _ trade.OrderID) { r.f.err = errBroken }, http.StatusServiceUnavailable, "Nothing was decided"},
		"the escrow does not answer": {func(r *rig, _ trade.OrderID) { r.f.err = fmt.Errorf("ask: %w", http.ErrHandlerTimeout) }, http.StatusServiceUnavailable, "Nothing was decided"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			id := r.dispute(deal{})
			p := r.login(r.keys)
			form := p.form(id, "settle")
			c.happens(r, id)
			before := len(r.f.decided)
			form.Set("reason", "late")
			form.Set("sure", "yes")
			code, body := p.post("/disputes/"+id.String()+"/settle", form)
			says(t, "the form", code, body, c.status, c.says)
			if strings.Contains(body, errBroken.Error()) {
				t.Error("the page shows an error of the store")
			}
			if len(r.f.decided) != before {
				t.Errorf("decided %q", r.f.decided)
			}
		})
	}
}

func TestReasons(t *testing.T) {
	r := newRig(t)
	id := r.dispute(deal{})
	p := r.login(r.keys)
	for reason, c := range map[string]struct {
		status int
		says   string
	}{
		"": {400, "A reason is needed"}, " \n ": {400, "A reason is needed"},
		strings.Repeat("x", 501): {400, "too long"}, strings.Repeat("é", 251): {400, "too long"}, strings.Repeat("x", 100<<10): {413, "too long"},
	} {
		code, body := p.decide(id, "settle", reason)
		says(t, fmt.Sprintf("a reason of %d bytes", len(reason)), code, body, c.status, c.says, "Nothing was decided")
	}
	form := p.form(id, "settle")
	form.Set("reason", "not confirmed")
	code, body := p.post("/disputes/"+id.String()+"/settle", form)
	says(t, "without the tick", code, body, 400, "Not confirmed")
	if len(r.f.decided) != 0 {
		t.Errorf("decided %q", r.f.decided)
	}
	if code, body := p.decide(id, "settle", strings.Repeat("é", 250)); code != http.StatusSeeOther {
		t.Errorf("a reason of 500 bytes: %d %s", code, body)
	}
}

// TestTextsAreInert shows texts that try to leave their place on the page.
func TestTextsAreInert(t *testing.T) {
	r := newRig(t)
	r.x.cfg.Name = hostile
	buyer, seller := newKeys(t), newKeys(t)
	id := r.dispute(deal{fiat: "EUR", amount: 5, method: hostile, left: 30, byBuyer: true, age: 9000, buyer: buyer, seller: seller})
	r.chat(buyer, r.keys, buyer, hostile)
	p := r.login(r.keys)
	if code, _ := p.decide(id, "cancel", hostile); code != http.StatusSeeOther {
		t.Fatalf("cancel: %d", code)
	}
	r.dispute(deal{fiat: "EUR", amount: 5, method: hostile, left: 30, byBuyer: true, age: 9000})
	for _, path := range []string{"/disputes", "/disputes/" + id.String(), "/disputes/" + id.String() + "?done=" + url.QueryEscape(hostile), "/disputes/login?link=" + url.QueryEscape(hostile), "/disputes/" + url.PathEscape(hostile)} {
		_, body := p.get(path)
		if !strings.Contains(body, "alert(1)") && path != "/disputes/"+url.PathEscape(hostile) {
			t.Errorf("%s does not show the text, so its form is not checked", path)
		}
		if strings.Contains(body, "<script>") || strings.Contains(body, "<img") || strings.Contains(body, "style=") {
			t.Errorf("%s is not escaped:\n%s", path, body)
		}
		if i := strings.IndexFunc(body, func(c rune) bool { return c != '\n' && (unicode.IsControl(c) || unicode.In(c, unicode.Cf)) }); i >= 0 && !strings.HasPrefix(path, "/disputes/login") {
			t.Errorf("%s has the character %q", path, body[i:i+3])
		}
	}
}

func TestManyDisputes(t *testing.T) {
	r := newRig(t)
	want := make([]string, 500)
	for i := range want {
		left := int64((i*7)%500 + 1)
		want[left-1] = "/disputes/" + r.dispute(deal{fiat: "EUR", amount: int64(i + 1), method: strings.Repeat(hostile, 5), left: left, age: 9000}).String()
	}
	p := r.login(r.write)
	code, body := p.get("/disputes")
	says(t, "the list", code, body, 200, "500 open disputes", "36 due", "500 free")
	last := -1
	for i, link := range want {
		at := strings.Index(body, link)
		if at < 0 || at < last {
			t.Fatalf("the dispute with %d blocks is at %d, the one before at %d", i+1, at, last)
		}
		last = at
	}
}

// TestChatInTheInbox reads conversations by the keys that parties give away.
func TestChatInTheInbox(t *testing.T) {
	r := newRig(t)
	buyer, seller, stranger := newKeys(t), newKeys(t), newKeys(t)
	id := r.dispute(deal{fiat: "EUR", amount: 5, left: 90, age: 9000, buyer: buyer, seller: seller})
	r.chat(buyer, seller, buyer, "first: I have paid")
	r.chat(buyer, seller, seller, "second: not here")
	r.chat(buyer, r.write, buyer, "to the solver alone")
	r.chat(stranger, seller, stranger, "from a stranger")
	p := r.login(r.write)
	give := func(key string) (int, string) {
		t.Helper()
		form := p.form(id, "chat")
		form.Set("key", key)
		return p.post("/disputes/"+id.String()+"/chat", form)
	}
	for _, key := range []string{"", "x", strings.Repeat("0", 64), strings.Repeat("f", 64), "nsec1x", strings.Repeat("ab", 33)} {
		code, body := give(key)
		says(t, "the key "+key, code, body, 400, "Not a shared key")
	}
	shared := r.shared(buyer, seller)
	chat, err := envelope.NewChat(buyer, seller.Pubkey())
	if err != nil {
		t.Fatal(err)
	}
	secret := chat.Conv.Secret()
	for name, key := range map[string]string{"the shared secret": shared, "the secret as nsec": nsecOf(t, shared), "the conversation key": fmt.Sprintf("%x", secret)} {
		code, to := give(" " + key + "\n")
		says(t, name, code, to, http.StatusSeeOther, "?done=chat")
		_, body := p.get("/disputes/" + id.String())
		one, two := strings.Index(body, "first: I have paid"), strings.Index(body, "second: not here")
		if one < 0 || two < one {
			t.Errorf("%s: the messages are at %d and %d", name, one, two)
		}
		for _, not := range []string{key, "from a stranger", "to the solver alone"} {
			if strings.Contains(body, not) {
				t.Errorf("%s: the page shows %q", name, not)
			}
		}
	}
	if code, _ := give(r.shared(buyer, r.write)); code != http.StatusSeeOther {
		t.Errorf("%d", code)
	}
	if code, _ := p.post("/disputes/"+id.String()+"/take", p.form(id, "take")); code != http.StatusSeeOther {
		t.Errorf("take: %d", code)
	}
	_, body := p.get("/disputes/" + id.String())
	says(t, "the chat with the solver", 200, body, 200, "to the solver alone")
	// The operator reads what parties wrote to the node without any key.
	r.chat(seller, r.keys, seller, "to the Mostro")
	_, body = r.login(r.keys).get("/disputes/" + id.String())
	says(t, "the operator", 200, body, 200, "to the Mostro", "The buyer has written nothing")
	if code, _ := p.post("/disputes/logout", url.Values{"token": {r.sessionOf(p).token("logout")}}); code != http.StatusSeeOther {
		t.Errorf("logout: %d", code)
	}
	p = r.login(r.write)
	if _, body := p.get("/disputes/" + id.String()); strings.Contains(body, "to the solver alone") {
		t.Error("a key outlives its session")
	}
}

func nsecOf(t *testing.T, digits string) string {
	t.Helper()
	secret, err := parseSecret(digits)
	if err != nil {
		t.Fatal(err)
	}
	k, err := envelope.KeysFromSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	return k.Nsec()
}

// TestHistory holds the story of a trade, and that routine is left out.
func TestHistory(t *testing.T) {
	r := newRig(t)
	id := r.dispute(deal{fiat: "EUR", amount: 5, left: 90, byBuyer: true, age: 9000})
	r.f.mu.Lock()
	for range 3 {
		tr := r.f.trades[id]
		if err := r.f.step(id, trade.Input{Kind: trade.InClock, At: tr.Deadline}); err != nil {
			t.Fatal(err)
		}
	}
	r.f.journals[id] = append(r.f.journals[id], trade.Input{Kind: "of a later version", At: r.f.now.Unix()})
	r.f.mu.Unlock()
	if err := r.f.DecideAs(t.Context(), r.keys.Pubkey(), id, message.ActionAdminCancel, "no receipt"); err != nil {
		t.Fatal(err)
	}
	tr := r.f.trades[id]
	p, err := history(t.Context(), r.f, &tr, r.f.now)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"The seller published the order: 50\u202f000 sats for 5 EUR.", "A buyer took the order: 50\u202f000 sats for 5 EUR.", "The seller paid: this Mostro holds 50\u202f150 sats.",
		"The buyer says that the 5 EUR are sent.", "The buyer opened the dispute.", "A step that this program cannot read (of a later version).",
		"Decided for the seller by the operator, under the key of this Mostro: the sats go back."}
	if len(p.Steps) != len(want) || p.Left != 4 || p.Partial || p.Earlier != 0 {
		t.Fatalf("%d steps, %d routine: %+v", len(p.Steps), p.Left, p.Steps)
	}
	for i, h := range p.Steps {
		if h.Text != want[i] || h.At.RFC == "" {
			t.Errorf("step %d: %+v, want %q", i+1, h, want[i])
		}
	}
	if p.Steps[6].Reason != "no receipt" {
		t.Errorf("%+v", p.Steps[6])
	}
}

// TestEveryStepHasWords holds that no trigger of the table is shown as the table names it.
func TestEveryStepHasWords(t *testing.T) {
	for _, row := range trade.Transitions {
		if row.Later || routine(row.On) {
			continue
		}
		tr := &trade.Trade{Last: row.On, Dispute: trade.Dispute{By: message.InitiatorBuyer}}
		if h := describe(tr, tr, &trade.Input{}); h.Text == string(row.On)+"." || strings.Contains(h.Text, "%!") {
			t.Errorf("%s: %q", row.On, h.Text)
		}
	}
}

func TestReadersAreBounded(t *testing.T) {
	n := &session{}
	for i := range 3 * maxReaders {
		c, err := envelope.NewChatReader([32]byte{1, byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		n.keep(trade.OrderID{byte(i)}, c)
	}
	if len(n.readers) > maxReaders {
		t.Errorf("%d keys", len(n.readers))
	}
}

// TestNotesAreForTheOperator: the operator sees above the list what is wrong with the escrow, and a
// solver does not.
func TestNotesAreForTheOperator(t *testing.T) {
	r := newRig(t)
	r.x.cfg.Notes = func() []string { return []string{"escrow: no new orders: the node <b>is down</b>"} }
	_, operator := r.login(r.keys).get("/disputes")
	_, solver := r.login(r.write).get("/disputes")
	if !strings.Contains(operator, "The escrow needs the operator") || !strings.Contains(operator, "the node &lt;b&gt;is down&lt;/b&gt;") {
		t.Errorf("the operator sees\n%s", operator)
	}
	if strings.Contains(solver, "is down") || strings.Contains(solver, "needs the operator") {
		t.Error("a solver sees the notes of the operator")
	}
	r.x.cfg.Notes = func() []string { return nil }
	if _, page := r.login(r.keys).get("/disputes"); strings.Contains(page, "needs the operator") {
		t.Error("a note is shown although nothing is wrong")
	}
}
