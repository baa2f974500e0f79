package disputes

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// received returns the texts of a conversation that a party can read.
func (r *rig) received(party *envelope.Keys, other string) (list []string) {
	r.tb.Helper()
	c, err := envelope.NewChat(party, other)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	for _, evt := range r.f.events {
		if msg, err := c.Open(evt, r.f.now); err == nil && msg.Sender == other {
			list = append(list, msg.Text)
		}
	}
	return list
}

// write fills the form for a message and sends it.
func (p *person) write(id trade.OrderID, to, text string) (int, string) {
	p.tb.Helper()
	form := p.form(id, "write")
	if form == nil {
		p.tb.Fatal("the page has no form for a message")
	}
	form.Set("to", to)
	form.Set("text", text)
	return p.post("/disputes/"+id.String()+"/write", form)
}

func TestOperatorWritesToAParty(t *testing.T) {
	r := newRig(t)
	buyer, seller := newKeys(t), newKeys(t)
	id := r.dispute(deal{fiat: "EUR", amount: 5, left: 90, age: 9000, buyer: buyer, seller: seller})
	p := r.login(r.keys)
	code, to := p.write(id, "seller", " Where is the <b>statement</b>?\r\nSend it. ")
	says(t, "to the seller", code, to, http.StatusSeeOther, "?done=send")
	if got := r.received(seller, r.keys.Pubkey()); fmt.Sprint(got) != "[Where is the <b>statement</b>?\nSend it.]" {
		t.Errorf("the seller reads %q", got)
	}
	if got := r.received(buyer, r.keys.Pubkey()); got != nil {
		t.Errorf("the buyer reads %q", got)
	}
	if evt := r.f.events[0]; evt.Kind != mostro.KindMessage || strings.Contains(evt.String(), "statement") || strings.Contains(evt.String(), r.keys.Pubkey()) {
		t.Errorf("the event tells a stranger something: %s", evt)
	}
	_, body := p.get("/disputes/" + id.String() + "?done=send")
	says(t, "the page", 200, body, 200, "The message is sent.", "Where is the &lt;b&gt;statement", "this Mostro")

	// A double click sends once, also if both clicks are under way.
	form := p.form(id, "write")
	form.Set("to", "buyer")
	form.Set("text", "once")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if code, body := p.post("/disputes/"+id.String()+"/write", form); code != http.StatusSeeOther {
				t.Errorf("a double click: %d %s", code, body)
			}
		})
	}
	wg.Wait()
	if got := r.received(buyer, r.keys.Pubkey()); len(got) != 1 {
		t.Errorf("the buyer reads %q", got)
	}

	// A message that the relay does not take is not counted as sent.
	form = p.form(id, "write")
	form.Set("to", "buyer")
	form.Set("text", "later")
	r.f.publishErr = errors.New("the disk is full")
	code, body = p.post("/disputes/"+id.String()+"/write", form)
	says(t, "a relay that does not answer", code, body, http.StatusServiceUnavailable, "has not confirmed")
	if strings.Contains(body, "disk") {
		t.Error("the page shows an error of the relay")
	}
	r.f.publishErr = nil
	code, to = p.post("/disputes/"+id.String()+"/write", form)
	says(t, "the same form again", code, to, http.StatusSeeOther, "?done=send")

	for name, c := range map[string]struct {
		to, text string
		status   int
	}{"no text": {"buyer", " \n ", 400}, "a long text": {"buyer", strings.Repeat("é", maxText/2+1), 400}, "a huge text": {"buyer", strings.Repeat("x", maxForm), 413}, "nobody": {"solver", "x", 403}, "no party": {"", "x", 403}} {
		if code, body := p.write(id, c.to, c.text); code != c.status {
			t.Errorf("%s: %d, want %d: %s", name, code, c.status, body)
		}
	}
	if code, _ := p.write(id, "buyer", strings.Repeat("é", maxText/2)); code != http.StatusSeeOther {
		t.Errorf("the longest text: %d", code)
	}
	if code, _ := p.write(id, "buyer", strings.Repeat(hostile, 40)); code != http.StatusSeeOther {
		t.Errorf("a hostile text: %d", code)
	}
}

// TestForgedMessages sends what a page of another origin, or another person, can send.
func TestForgedMessages(t *testing.T) {
	r := newRig(t)
	id, other := r.dispute(deal{}), r.dispute(deal{})
	operator, solver := r.login(r.keys), r.login(r.write)
	path := "/disputes/" + id.String() + "/write"
	fill := func(v url.Values) url.Values {
		v.Set("to", "buyer")
		v.Set("text", "forged")
		return v
	}
	good := fill(operator.form(id, "write"))
	send := func(name string, p *person, path string, form url.Values, origin string, want int) {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, r.srv.URL+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if origin != "" {
			req.Header.Set("Origin", origin)
		}
		if code, body := p.do(req); code != want {
			t.Errorf("%s: %d, want %d\n%s", name, code, want, body)
		}
	}
	send("no origin", operator, path, good, "", 403)
	send("another origin", operator, path, good, "https://evil.example", 403)
	send("the token of another dispute", operator, path, fill(operator.form(other, "write")), r.srv.URL, 403)
	verdict := fill(operator.form(id, "cancel"))
	verdict.Set("nonce", good.Get("nonce"))
	send("the token of a verdict", operator, path, verdict, r.srv.URL, 403)
	send("the form of the operator, by a solver", solver, path, good, r.srv.URL, 403)
	send("the verb of solvers", operator, "/disputes/"+id.String()+"/send", good, r.srv.URL, 403)
	bare := fill(operator.form(id, "write"))
	bare.Del("nonce")
	send("no nonce", operator, path, bare, r.srv.URL, 403)
	if len(r.f.events) != 0 {
		t.Fatalf("%d messages were sent", len(r.f.events))
	}
	send("the right form", operator, path, good, r.srv.URL, 303)
	// The messages of one key are bounded, and leave memory after an hour.
	for i := range maxLetters + 3 {
		form := fill(operator.form(id, "write"))
		want := 303
		if i >= maxLetters-1 {
			want = 429
		}
		send(fmt.Sprint("message ", i+2), operator, path, form, r.srv.URL, want)
	}
	r.f.now = r.f.now.Add(time.Hour + time.Second)
	undo, err := r.x.letters.begin("another", "x")
	if err != nil || len(r.x.letters.sent) != 1 {
		t.Errorf("%v: %d keys are kept", err, len(r.x.letters.sent))
	}
	undo()
}

var unsignedText = regexp.MustCompile(`data-unsigned="([^"]*)"`)

func TestSolverWritesToAParty(t *testing.T) {
	r := newRig(t)
	buyer, seller := newKeys(t), newKeys(t)
	id := r.dispute(deal{fiat: "EUR", amount: 5, left: 90, age: 9000, buyer: buyer, seller: seller})
	p := r.login(r.write)
	path := "/disputes/" + id.String()
	give := func(key string) {
		t.Helper()
		form := p.form(id, "chat")
		form.Set("key", key)
		if code, body := p.post(path+"/chat", form); code != http.StatusSeeOther {
			t.Fatalf("the shared key: %d %s", code, body)
		}
	}
	_, body := p.get(path)
	says(t, "before the take", 200, body, 200, "after taking it")
	if code, _ := p.post(path+"/take", p.form(id, "take")); code != http.StatusSeeOther {
		t.Fatalf("take: %d", code)
	}
	// The conversation has no message yet: the key may be of any conversation.
	give(r.shared(buyer, r.write))
	if p.form(id, "write") != nil {
		t.Error("a solver can write into a conversation that nothing proves")
	}
	r.chat(buyer, seller, buyer, "to the seller")
	r.chat(buyer, seller, seller, "to the buyer")
	r.chat(buyer, r.write, buyer, "I have paid")
	give(r.shared(buyer, seller))
	if p.form(id, "write") != nil {
		t.Error("a solver can write into the chat of the parties")
	}
	chat, err := envelope.NewChat(buyer, r.write.Pubkey())
	if err != nil {
		t.Fatal(err)
	}
	secret := chat.Conv.Secret()
	give(fmt.Sprintf("%x", secret))
	if _, body := p.get(path); p.form(id, "write") != nil || !strings.Contains(body, "I have paid") {
		t.Error("K_conv reads, and does not write")
	}
	give(r.shared(buyer, r.write))
	code, page := p.write(id, "buyer", `Show me <b>"the"</b> receipt`)
	says(t, "the page to sign", code, page, 200, "It is not sent yet", "Sign with another program")
	if len(r.received(buyer, r.write.Pubkey())) != 0 {
		t.Error("a message that nobody has signed was sent")
	}
	field := unsignedText.FindStringSubmatch(page)
	form := url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(page[strings.Index(page, `id="sign"`):], -1) {
		form.Set(m[1], m[2])
	}
	var evt nostr.Event
	if err := json.Unmarshal([]byte(html.UnescapeString(field[1])), &evt); err != nil {
		t.Fatalf("%s: %v", field[1], err)
	}
	evt.Tags = nostr.Tags{}
	send := func(k *envelope.Keys, change func(*nostr.Event)) (int, string) {
		t.Helper()
		one := evt
		one.PubKey = k.Pubkey()
		if change != nil {
			change(&one)
		}
		form.Set("event", string(mostro.EncodeEvent(sign(t, k, one))))
		return p.post(path+"/send", form)
	}
	for name, c := range map[string]struct {
		key    *envelope.Keys
		change func(*nostr.Event)
	}{
		"another key":  {r.read, nil},
		"the buyer":    {buyer, nil},
		"another kind": {r.write, func(e *nostr.Event) { e.Kind = kindHTTPAuth }},
		"tags":         {r.write, func(e *nostr.Event) { e.Tags = nostr.Tags{{"p", buyer.Pubkey()}} }},
		"no text":      {r.write, func(e *nostr.Event) { e.Content = " " }},
		"a long text":  {r.write, func(e *nostr.Event) { e.Content = strings.Repeat("x", maxText+1) }},
		"an old one":   {r.write, func(e *nostr.Event) { e.CreatedAt -= 61 }},
		"a late one":   {r.write, func(e *nostr.Event) { e.CreatedAt += 61 }},
	} {
		code, body := send(c.key, c.change)
		says(t, name, code, body, 400, "Nothing was sent")
	}
	form.Set("event", strings.Replace(string(mostro.EncodeEvent(sign(t, r.write, evt))), "receipt", "reçeipt", 1))
	code, body = p.post(path+"/send", form)
	says(t, "a changed text", code, body, 400, "signature is wrong")
	for range 2 {
		code, to := send(r.write, nil)
		says(t, "the message", code, to, http.StatusSeeOther, "?done=send")
	}
	if got := r.received(buyer, r.write.Pubkey()); len(got) != 1 || got[0] != `Show me <b>"the"</b> receipt` {
		t.Errorf("the buyer reads %q", got)
	}
	// The operator takes the dispute over: the solver writes no more.
	if err := r.f.DecideAs(t.Context(), r.keys.Pubkey(), id, message.ActionAdminTakeDispute, ""); err != nil {
		t.Fatal(err)
	}
	form.Set("nonce", random())
	code, body = send(r.write, nil)
	says(t, "after the take-over", code, body, 403, "Nothing was sent")
	if p.form(id, "write") != nil {
		t.Error("the page has a form")
	}
}

// TestClosedDisputes lists how disputes ended.
func TestClosedDisputes(t *testing.T) {
	r := newRig(t)
	settled, cancelled, mine, open := r.dispute(deal{}), r.dispute(deal{}), r.dispute(deal{fiat: "EUR", amount: 7, left: 9, age: 9000, buyer: r.read}), r.dispute(deal{})
	operator, solver := r.login(r.keys), r.login(r.read)
	for id, verb := range map[trade.OrderID]string{settled: "settle", cancelled: "cancel", mine: "cancel"} {
		if code, _ := operator.decide(id, verb, "because "+hostile); code != http.StatusSeeOther {
			t.Fatalf("%s: %d", verb, code)
		}
	}
	r.f.mu.Lock()
	done := r.f.trades[settled]
	done.Status, done.Dispute.Status = message.TradeSettledByAdmin, message.DisputeStatusSettled
	r.f.trades[settled] = done
	agreed := done
	agreed.ID, agreed.Dispute.Verdict, agreed.Dispute.Status = trade.OrderID{9}, nil, message.DisputeStatusReleased
	r.f.trades[agreed.ID] = agreed
	r.f.mu.Unlock()
	code, body := operator.get("/disputes/closed")
	says(t, "the operator", code, body, 200, settled.String(), cancelled.String(), mine.String(), "for the buyer: settled", "for the seller: refunded", "the seller released", "the parties",
		"the operator, under the key of this Mostro", "because", "4 disputes", "3 older ones")
	if strings.Contains(body, open.String()) || strings.Contains(body, "<script>") {
		t.Errorf("the list is\n%s", body)
	}
	code, body = solver.get("/disputes/closed")
	says(t, "a solver who was a party", code, body, 200, "1 more is about trades of your own", settled.String())
	if strings.Contains(body, mine.String()) {
		t.Error("a party sees its own dispute")
	}
	r.f.err = errBroken
	if code, body := (&person{tb: t, r: r, client: operator.client}).get("/disputes/closed"); code != http.StatusServiceUnavailable {
		t.Errorf("an escrow that is not ready: %d %s", code, body)
	}
	p := &person{tb: t, r: r, client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if code, to := p.get("/disputes/closed"); code != http.StatusSeeOther || to != "/disputes/login" {
		t.Errorf("without a session: %d %s", code, to)
	}
}
