package disputes

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// fakeEscrow keeps trades in memory and decides by trade.Step.
type fakeEscrow struct {
	mu       sync.Mutex
	now      time.Time
	trades   map[trade.OrderID]trade.Trade
	journals map[trade.OrderID][]trade.Input
	roles    map[string]trade.Role
	records  map[string]Record
	events   []*nostr.Event
	err      error // returned by every call
	// publishErr is returned by Publish.
	publishErr error
	decided    []string
}

func (f *fakeEscrow) Disputes(context.Context) (list []trade.Trade, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.trades {
		if t.Status == message.TradeDispute {
			list = append(list, t.Redacted())
		}
	}
	return list, f.err
}

func (f *fakeEscrow) Dispute(_ context.Context, id trade.OrderID) (trade.Trade, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, ok := f.trades[id]
	if !ok {
		return t, mostro.ErrNotFound
	}
	return t.Redacted(), f.err
}

func (f *fakeEscrow) Journal(_ context.Context, id trade.OrderID, fn func(trade.Input) error) error {
	f.mu.Lock()
	rows := slices.Clone(f.journals[id])
	f.mu.Unlock()
	for _, in := range rows {
		if err := fn(in); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeEscrow) DecideAs(_ context.Context, by string, id trade.OrderID, action message.Action, reason string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	for _, t := range f.trades {
		if t.Dispute.ID == id {
			id = t.ID
		}
	}
	role := f.roles[by]
	in := trade.Input{Kind: trade.InMessage, Role: role, Holder: f.roles[f.trades[id].Dispute.Solver.Identity], Reason: reason, Request: &trade.Request{
		From: trade.Party{Key: by, Identity: by, Transport: envelope.TransportV2}, Message: message.Message{Wrapper: message.WrapperOrder, Version: 2, ID: &id, Action: action}}}
	if err := f.step(id, in); err != nil {
		return refused{err}
	}
	f.decided = append(f.decided, fmt.Sprint(action, " by ", short(by), ": ", reason))
	return nil
}

type refused struct{ error }

func (refused) Advice() string { return "The escrow refuses this." }

// step requires mu.
func (f *fakeEscrow) step(id trade.OrderID, in trade.Input) error {
	in.Rules = trade.CurrentRules
	if in.At == 0 {
		in.At = f.now.Unix()
	}
	next, _, err := trade.Step(f.trades[id], in)
	if err != nil {
		return err
	}
	f.trades[next.ID], f.journals[next.ID] = next, append(f.journals[next.ID], in)
	return nil
}

func (f *fakeEscrow) RoleOf(_ context.Context, key string) (trade.Role, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.roles[key], f.err
}

func (f *fakeEscrow) Record(_ context.Context, identity string) (Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.records[identity]
	if !ok {
		return r, mostro.ErrNotFound
	}
	return r, f.err
}

func (f *fakeEscrow) Chat(_ context.Context, filters []nostr.Filter, limit int) (list []*nostr.Event, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, evt := range f.events {
		if slices.ContainsFunc(filters, func(one nostr.Filter) bool { return one.Matches(evt) }) {
			list = append(list, evt)
		}
	}
	return list, f.err
}

func (f *fakeEscrow) Publish(_ context.Context, evt *nostr.Event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.publishErr == nil {
		f.events = append(f.events, evt)
	}
	return f.publishErr
}

func (f *fakeEscrow) Closed(context.Context) (Closed, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := Closed{At: f.now, More: 3}
	for _, t := range f.trades {
		if Over(&t) {
			list.Trades = append(list.Trades, t.Redacted())
		}
	}
	return list, f.err == nil
}

// rig is an inbox with its escrow, behind a server.
type rig struct {
	tb    testing.TB
	f     *fakeEscrow
	x     *Inbox
	srv   *httptest.Server
	keys  *envelope.Keys // of the node
	read  *envelope.Keys // solvers
	write *envelope.Keys
	n     int
}

func newKeys(tb testing.TB) *envelope.Keys {
	tb.Helper()
	k, err := envelope.NewKeys(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	r := &rig{tb: tb, keys: newKeys(tb), read: newKeys(tb), write: newKeys(tb)}
	r.f = &fakeEscrow{now: time.Now().Truncate(time.Second), trades: map[trade.OrderID]trade.Trade{}, journals: map[trade.OrderID][]trade.Input{},
		roles:   map[string]trade.Role{r.keys.Pubkey(): trade.RoleNode, r.read.Pubkey(): trade.RoleRead, r.write.Pubkey(): trade.RoleWrite},
		records: map[string]Record{}}
	r.x = New(Config{Escrow: r.f, Keys: r.keys, Name: "Test ✓", Now: func() time.Time { r.f.mu.Lock(); defer r.f.mu.Unlock(); return r.f.now }})
	r.srv = httptest.NewServer(route.Mux{}.Private(r.x.Routes()))
	tb.Cleanup(r.srv.Close)
	return r
}

// deal are the facts of a disputed trade of the tests.
type deal struct {
	fiat          string
	amount        int64
	method        string
	left          int64 // blocks
	buyer, seller *envelope.Keys
	byBuyer       bool
	age           int64 // seconds since the order
}

// dispute makes a trade in dispute, step by step.
func (r *rig) dispute(d deal) trade.OrderID {
	r.tb.Helper()
	if d.fiat == "" {
		d = deal{fiat: "EUR", amount: 50, method: "SEPA instant", left: 120, byBuyer: true, age: 20_000, buyer: d.buyer, seller: d.seller}
	}
	if d.buyer == nil {
		d.buyer = newKeys(r.tb)
	}
	if d.seller == nil {
		d.seller = newKeys(r.tb)
	}
	r.n++
	identity := func(k *envelope.Keys) string { return strings.Repeat("0", 8) + k.Pubkey()[8:] }
	buyer := trade.Party{Key: d.buyer.Pubkey(), Identity: identity(d.buyer), Index: 1, Transport: envelope.TransportV2}
	seller := trade.Party{Key: d.seller.Pubkey(), Identity: identity(d.seller), Index: 1, Transport: envelope.TransportV2}
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	id, dispute := trade.OrderID{1, byte(r.n >> 8), byte(r.n)}, trade.OrderID{2, byte(r.n >> 8), byte(r.n)}
	for i := range 3 {
		id[15-i], dispute[15-i] = byte(r.n*(i+3)), byte(r.n*(i+5))
	}
	id[6], id[8], dispute[6], dispute[8] = 0x40, 0x80, 0x40, 0x80
	terms := trade.DefaultTerms()
	terms.Fee = 6_000_000
	at := f.now.Unix() - d.age
	must := func(after int64, in trade.Input) {
		r.tb.Helper()
		if in.At = at + after; in.Kind == "" {
			in.Kind = trade.InMessage
		}
		if err := f.step(id, in); err != nil {
			r.tb.Fatalf("%s: %v", in.Kind, err)
		}
	}
	say := func(from trade.Party, action message.Action, p message.Payload) *trade.Request {
		r.n++
		request := uint64(r.n)
		m := message.Message{Wrapper: message.WrapperOrder, Version: 2, RequestID: &request, Action: action, Payload: p}
		if action == message.ActionNewOrder || action == message.ActionTakeSell {
			m.TradeIndex = &from.Index
		}
		if action != message.ActionNewOrder {
			m.ID = &id
		}
		req, err := trade.NewRequest(from, m)
		if err != nil {
			r.tb.Fatal(err)
		}
		return req
	}
	preimage := trade.Preimage{9, byte(r.n >> 8), byte(r.n)}
	must(0, trade.Input{OrderID: id, DisputeID: dispute, Terms: &terms, Request: say(seller, message.ActionNewOrder,
		&message.SmallOrder{Kind: mostro.SideSell, AmountSats: 50_000, FiatCode: d.fiat, FiatAmount: d.amount, PaymentMethod: d.method})})
	dest := &trade.Destination{Text: "lnbcSECRETINVOICE", Parsed: true, ChainOK: true, Hash: trade.Hash{7, byte(r.n)}, AmountMsat: (50_000 - 150) * 1000, ExpiresAt: f.now.Unix() + 1_000_000, FinalCLTV: 40}
	must(60, trade.Input{Preimage: preimage, Invoice: dest, Request: say(buyer, message.ActionTakeSell, message.PaymentRequest{Invoice: dest.Text})})
	must(70, trade.Input{Kind: trade.InHoldMade, Hash: preimage.Hash(), Bolt11: "lnbcSECRETHOLD"})
	must(200, trade.Input{Kind: trade.InHold, Hash: preimage.Hash(), Hold: trade.Hold{Phase: trade.HoldAccepted, Height: 100, AcceptHeight: 100, ExpiryHeight: 100 + 144 + 10, AmountSats: 50_150}})
	must(900, trade.Input{Request: say(buyer, message.ActionFiatSent, nil)})
	opener := seller
	if d.byBuyer {
		opener = buyer
	}
	must(4000, trade.Input{Request: say(opener, message.ActionDispute, nil)})
	t := f.trades[id]
	t.SafeUntil = f.now.Unix() + d.left*trade.BlockSeconds + 30
	f.trades[id] = t
	f.records[buyer.Identity] = Record{Since: at - 86_400*200, Rating: 4.8, Reviews: 23, Counted: true, Finished: 31, Opened: 1}
	f.records[seller.Identity] = Record{Since: at - 86_400*3, Counted: true, Finished: 1, Lost: 1, Overdue: 1}
	return id
}

// person is a client with a session.
type person struct {
	tb     testing.TB
	r      *rig
	client *http.Client
}

// login logs a key in.
func (r *rig) login(k *envelope.Keys) *person {
	r.tb.Helper()
	p := &person{tb: r.tb, r: r, client: &http.Client{Jar: newJar(r.tb), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	code, body := p.post("/disputes/login", url.Values{"event": {r.signed(p, k, nil)}})
	if code != http.StatusSeeOther {
		r.tb.Fatalf("login: %d %s", code, body)
	}
	return p
}

var challenge = regexp.MustCompile(`challenge&#34;,&#34;([0-9a-f]{64})`)

// signed returns the event of a login. change may spoil it.
func (r *rig) signed(p *person, k *envelope.Keys, change func(*nostr.Event)) string {
	r.tb.Helper()
	_, body := p.get("/disputes/login")
	found := challenge.FindStringSubmatch(body)
	if found == nil {
		r.tb.Fatalf("no challenge in %s", body)
	}
	evt := nostr.Event{Kind: kindHTTPAuth, CreatedAt: nostr.Timestamp(r.x.cfg.Now().Unix()), PubKey: k.Pubkey(),
		Tags: nostr.Tags{{"u", r.srv.URL + "/disputes/login"}, {"method", "POST"}, {"challenge", found[1]}}}
	if change != nil {
		change(&evt)
	}
	return string(mostro.EncodeEvent(sign(r.tb, k, evt)))
}

func (p *person) do(req *http.Request) (int, string) {
	p.tb.Helper()
	resp, err := p.client.Do(req)
	if err != nil {
		p.tb.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.tb.Fatal(err)
	}
	if h := resp.Header; !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'; style-src 'self'") || strings.Contains(h.Get("Content-Security-Policy"), "unsafe") ||
		h.Get("Cache-Control") != "no-store" || h.Get("X-Frame-Options") != "DENY" || h.Get("Referrer-Policy") != "same-origin" {
		p.tb.Errorf("%s %s: headers %v", req.Method, req.URL, h)
	}
	for _, secret := range []string{"SECRETINVOICE", "SECRETHOLD", trade.Preimage{9}.Hex()[:2] + "00"} {
		if strings.HasPrefix(secret, "SECRET") && strings.Contains(string(body), secret) {
			p.tb.Errorf("%s shows %s", req.URL, secret)
		}
	}
	if resp.StatusCode == http.StatusSeeOther {
		return resp.StatusCode, resp.Header.Get("Location")
	}
	return resp.StatusCode, string(body)
}

func (p *person) get(path string) (int, string) {
	p.tb.Helper()
	req, err := http.NewRequest(http.MethodGet, p.r.srv.URL+path, nil)
	if err != nil {
		p.tb.Fatal(err)
	}
	return p.do(req)
}

// post sends a form as a page of the inbox does.
func (p *person) post(path string, form url.Values) (int, string) {
	p.tb.Helper()
	req, err := http.NewRequest(http.MethodPost, p.r.srv.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		p.tb.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", p.r.srv.URL)
	return p.do(req)
}

var (
	action = regexp.MustCompile(`action="([^"]+)"`)
	hidden = regexp.MustCompile(`name="(token|seen|nonce)" value="([0-9a-f]+)"`)
)

// form returns the fields of a form of a dispute's page.
func (p *person) form(id trade.OrderID, verb string) url.Values {
	p.tb.Helper()
	_, body := p.get("/disputes/" + id.String())
	for form := range strings.SplitSeq(body, "<form") {
		if m := action.FindStringSubmatch(form); m == nil || m[1] != "/disputes/"+id.String()+"/"+verb {
			continue
		}
		values := url.Values{}
		for _, m := range hidden.FindAllStringSubmatch(form, -1) {
			values.Set(m[1], m[2])
		}
		return values
	}
	return nil
}

// decide fills the form of a verdict and sends it.
func (p *person) decide(id trade.OrderID, verb, reason string) (int, string) {
	p.tb.Helper()
	form := p.form(id, verb)
	if form == nil {
		p.tb.Fatalf("the page has no form to %s", verb)
	}
	form.Set("reason", reason)
	form.Set("sure", "yes")
	return p.post("/disputes/"+id.String()+"/"+verb, form)
}

var errBroken = errors.New("the store is in doubt")
