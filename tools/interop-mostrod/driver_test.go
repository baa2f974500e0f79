package interopmostrod

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// party is one user of a script. A solver and the operator have no identity besides their
// trade key.
type party struct {
	name     string
	trade    *envelope.Keys
	identity *envelope.Keys // nil: the trade key
	index    int64
}

// received is one message to a party, or one public event.
type received struct {
	to   string // name of the party, or "public"
	evt  *nostr.Event
	open *envelope.Envelope // nil for a public event
}

// action returns the action of a message, or the kind and status of a public event.
func (r received) action() string {
	if r.open != nil {
		return string(r.open.Message.Action)
	}
	name := fmt.Sprint(r.evt.Kind)
	if s := r.evt.Tags.Find("s"); s != nil {
		name += " " + s[1]
	}
	return name
}

// awaited is a message or an event that ends a step: the party's name, or "public", and
// the text of received.action.
type awaited struct{ to, action string }

// driver plays a script against one of the two Mostros and records the transcript.
type driver struct {
	t       *testing.T
	w       *world
	node    mostroNode
	relay   *nostr.Relay
	parties []*party
	order   *message.UUID // set after new-order
	dispute *message.UUID // set after the first dispute
	hold    string        // the last hold invoice
	script  *transcript
	// requests names the sender and the action of each request by its id.
	requests map[string]string

	mu      sync.Mutex
	inbox   []received    // not yet recorded
	used    []string      // ids of the recorded events
	changed chan struct{} // closed at every arrival
}

// newDriver subscribes to the messages and the public events of the node.
func newDriver(t *testing.T, w *world, node mostroNode, script string, parties ...*party) *driver {
	t.Helper()
	relay, err := nostr.RelayConnect(t.Context(), w.relay)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = relay.Close() }) // the connection ends with the test
	d := &driver{t: t, w: w, node: node, relay: relay, parties: parties, changed: make(chan struct{}),
		script: &transcript{script: script, node: node.name}, requests: make(map[string]string)}
	author, now := []string{node.keys.Pubkey()}, nostr.Now()
	sub, err := relay.Subscribe(t.Context(), nostr.Filters{
		{Kinds: []int{mostro.KindMessage}, Authors: author, Since: &now},
		{Kinds: []int{mostro.KindOrder, mostro.KindDispute}, Authors: author, Since: &now},
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for evt := range sub.Events {
			if !w.seen[evt.ID] { // an event of an earlier script
				d.receive(evt)
			}
		}
	}()
	select {
	case <-sub.EndOfStoredEvents:
	case <-time.After(20 * time.Second):
		t.Fatal("no EOSE")
	}
	return d
}

// join adds a party.
func (d *driver) join(p *party) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.parties = append(d.parties, p)
}

// receive keeps a public event, or a message to a party.
func (d *driver) receive(evt *nostr.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := received{to: "public", evt: evt}
	if evt.Kind == mostro.KindMessage {
		i := slices.IndexFunc(d.parties, func(p *party) bool { return evt.Tags.FindWithValue("p", p.trade.Pubkey()) != nil })
		if i < 0 {
			return
		}
		env, err := envelope.Open(evt, d.parties[i].trade)
		if err != nil {
			d.t.Errorf("%s cannot read a message of %s: %v", d.parties[i].name, d.node.name, err)
			return
		}
		r.to, r.open = d.parties[i].name, &env
	}
	d.inbox = append(d.inbox, r)
	close(d.changed)
	d.changed = make(chan struct{})
}

// send sends a message of a party. wrapper "" is order.
func (d *driver) send(p *party, m message.Message) {
	d.t.Helper()
	if m.Wrapper == "" {
		m.Wrapper = message.WrapperOrder
	}
	request := uint64(len(d.requests) + 1)
	m.RequestID = &request
	d.requests[fmt.Sprint(request)] = p.name + "'s " + string(m.Action)
	evt, err := envelope.Seal(d.t.Context(), m, envelope.SealOptions{Transport: envelope.TransportV2, To: d.node.keys.Pubkey(), Trade: p.trade, Identity: p.identity, Now: time.Now()})
	if err != nil {
		d.t.Fatalf("seal %s: %v", m.Action, err)
	}
	ctx, cancel := context.WithTimeout(d.t.Context(), 20*time.Second)
	defer cancel()
	if err := d.relay.Publish(ctx, *evt); err != nil {
		d.t.Fatalf("publish %s: %v", m.Action, err)
	}
}

// do sends a message about the order.
func (d *driver) do(p *party, action message.Action, payload message.Payload) {
	d.t.Helper()
	d.send(p, message.Message{ID: d.order, Action: action, Payload: payload})
}

// wait returns the first unrecorded message or event that is awaited.
func (d *driver) wait(a awaited) received {
	d.t.Helper()
	r, have := d.waitFor(a, 90*time.Second)
	if have != "" {
		d.t.Fatalf("%s, %s: no %q for %s; received: %s", d.node.name, d.script.step(), a.action, a.to, have)
	}
	return r
}

// waitFor is like wait with a limit. If the limit has passed, have lists what was
// received.
func (d *driver) waitFor(a awaited, limit time.Duration) (r received, have string) {
	deadline := time.After(limit)
	for {
		d.mu.Lock()
		changed := d.changed
		have = "nothing"
		for _, r := range d.inbox {
			if r.to == a.to && r.action() == a.action {
				d.mu.Unlock()
				return r, ""
			}
			have += "; " + r.to + " " + r.action()
			if r.open != nil && r.open.Message.Action == message.ActionCantDo {
				have += string(r.open.RawMessage)
			}
		}
		d.mu.Unlock()
		select {
		case <-changed:
		case <-deadline:
			return r, have
		}
	}
}

// step performs one step of the script: act, and everything until the awaited messages
// have arrived. A query of the seller about the order ends each step. Both Mostros answer
// the query after the messages of the step. The answer is part of the transcript, because
// it shows the internal status.
func (d *driver) step(title string, act func(), until ...awaited) {
	d.t.Helper()
	d.script.begin(title)
	act()
	for _, a := range until {
		d.wait(a)
	}
	d.settle()
	d.record()
}

// settle waits until the node has no message left to send.
func (d *driver) settle() {
	d.t.Helper()
	if d.node.name == d.w.ours.name {
		d.w.eventually("an empty outbox", func() bool { return d.w.metric("mostrodex_escrow_outbox_rows", "") == 0 })
	}
	if d.order == nil {
		return
	}
	seller := d.party("seller")
	d.send(seller, message.Message{Action: message.ActionOrders, Payload: message.IDs{*d.order}})
	d.wait(awaited{"seller", string(message.ActionOrders)})
}

func (d *driver) party(name string) *party {
	i := slices.IndexFunc(d.parties, func(p *party) bool { return p.name == name })
	return d.parties[i]
}

// record moves the received messages and events to the transcript.
func (d *driver) record() {
	d.t.Helper()
	d.mu.Lock()
	list := d.inbox
	d.inbox = nil
	d.mu.Unlock()
	for _, r := range list {
		d.used = append(d.used, r.evt.ID)
		if r.open == nil {
			d.script.event(d.normal(), r.evt)
			continue
		}
		d.script.message(d.normal(), r.to, r.open.RawMessage, int64(r.open.CreatedAt))
		for _, tag := range r.evt.Tags {
			d.script.add(fmt.Sprintf("%s < event tag %s = %s", r.to, tag[0], d.normal().tag(tag[1:], int64(r.evt.CreatedAt))))
		}
	}
}

// normal returns the normaliser with the names that are known at present.
func (d *driver) normal() *normaliser {
	n := &normaliser{requests: d.requests, pairs: []string{d.w.relay + "/", "RELAY", d.w.relay, "RELAY", d.node.keys.Pubkey(), "NODE"}}
	for _, p := range d.parties {
		n.pairs = append(n.pairs, p.trade.Pubkey(), strings.ToUpper(p.name))
		if p.identity != nil && p.identity != d.node.keys {
			n.pairs = append(n.pairs, p.identity.Pubkey(), strings.ToUpper(p.name)+"-IDENTITY")
		}
	}
	if d.order != nil {
		n.pairs = append(n.pairs, d.order.String(), "ORDER")
	}
	if d.dispute != nil {
		n.pairs = append(n.pairs, d.dispute.String(), "DISPUTE")
	}
	return n
}

// pay pays a hold invoice from the seller's node.
func (d *driver) pay(bolt11 string) {
	d.t.Helper()
	if err := d.w.nodes.Seller.Lightning.Pay(d.t.Context(), lightning.Payment{Bolt11: bolt11}); err != nil {
		d.t.Fatal(err)
	}
}

// invoice makes an invoice of the buyer's node.
func (d *driver) invoice(sats int64) string {
	d.t.Helper()
	bolt11, err := d.w.nodes.Buyer.AddInvoice(d.t.Context(), sats, "payout", 48*time.Hour)
	if err != nil {
		d.t.Fatal(err)
	}
	return bolt11
}

// holdInvoice returns the hold invoice of the seller's pay-invoice message. The buyer's
// reputation arrives with the same action.
func (d *driver) holdInvoice() (bolt11 string) {
	d.t.Helper()
	d.w.eventually("the hold invoice", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, r := range d.inbox {
			if r.to != "seller" || r.open.Message.Action != message.ActionPayInvoice {
				continue
			}
			if request, ok := r.open.Message.Payload.(message.PaymentRequest); ok {
				bolt11 = request.Invoice
			}
		}
		return bolt11 != ""
	})
	d.hold = bolt11
	return bolt11
}

// disputeID remembers the id of the dispute from a message to a party.
func (d *driver) disputeID(to string, action message.Action) {
	d.t.Helper()
	ref, ok := d.wait(awaited{to, string(action)}).open.Message.Payload.(message.DisputeRef)
	if !ok {
		d.t.Fatalf("%s carries no dispute", action)
	}
	d.dispute = &ref.ID
}
