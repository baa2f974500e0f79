package score

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/nbd-wtf/go-nostr"
)

// witness returns the sighting of an entry. An event is witnessed if the event came by a
// live origin, close to its created_at.
func (l *Ledger) witness(e *mostro.Entry) Sighting {
	s := Sighting{ID: idOf(e.Event.ID), Created: int64(e.Event.CreatedAt), Received: e.ReceivedAt.UnixMilli()}
	late := s.Received/1000 - s.Created
	s.Witness = e.Source.Origin.Witnessed() && !e.Archived && late <= l.params.LateSeconds && -late <= l.params.AheadSeconds
	return s
}

func (l *Ledger) order(v mostro.Order, s Sighting) {
	status := slices.Index(orderStatuses, v.Status)
	if status <= 0 {
		return
	}
	s.Created, s.Received = min(max(s.Created, 0), maxPackedCreated), min(max(s.Received, 0), maxPackedReceived)
	n := l.node(v.Pubkey)
	_, o := n.orders.take(v.D)
	n.reopen(v.D)
	held := n.orders.all.versions(o)
	if len(held) > 0 {
		n.tree.drop(held.root)
	}
	this := version{s, uint8(status), termsOf(v)}
	versions, rivals, isNew := noteVersion(held.list(), this)
	now := pack(versions)
	n.orders.all.setVersions(o, now)
	n.tree.add(now.root)
	if !isNew {
		n.aggregates = nil // a known version was received earlier, so that the seen times can shrink
		return
	}
	at := int32(slices.IndexFunc(versions, func(v version) bool { return v.ID == s.ID }))
	for _, by := range []*int32{&o.ExpireBy, &o.SatsBy} {
		if *by >= at {
			*by++
		}
	}
	n.equivocate("38383:"+v.Pubkey+":"+v.D, this, rivals, orderContradicts)
	if v.ExpiresAt > 0 && uint8(status) == isPending && o.ExpireBy < at {
		o.Expires, o.ExpireBy = int64(v.ExpiresAt), at
	}
	if v.AmountSats != nil && *v.AmountSats > 0 && o.SatsBy < at {
		o.Sats, o.SatsBy = *v.AmountSats, at
		o.Cluster = cluster(v)
	}
	if v.Network != "" && v.Network != "mainnet" {
		o.Test = true
	}
}

// cluster returns a hash for trades of about one amount by one method. The hash covers a
// quarter of an octave of sats, the currency and the first method.
func cluster(v mostro.Order) uint32 {
	method := ""
	if len(v.Methods) > 0 {
		method = strings.ToLower(v.Methods[0])
	}
	h := uint32(2166136261) // FNV-1a
	for _, c := range []byte(v.Fiat + "\x00" + method) {
		h = (h ^ uint32(c)) * 16777619
	}
	step := uint32(mulDiv(ln60(uint64(*v.AmountSats)), 4, ln2n))
	return (h^step)*16777619 ^ step
}

func (l *Ledger) dispute(v mostro.Dispute, s Sighting) {
	state := slices.Index(disputeStates, v.State)
	if state <= 0 {
		return
	}
	n := l.node(v.Pubkey)
	d := n.Disputes[v.D]
	if d == nil {
		d = &dispute{}
		n.Disputes[strings.Clone(v.D)] = d
	}
	var rivals []version
	var isNew bool
	this := version{Sighting: s, Status: uint8(state)}
	if d.Versions, rivals, isNew = noteVersion(d.Versions, this); isNew {
		n.tree.add(s.leaf)
	} else {
		n.tree = nil
	}
	n.equivocate("38386:"+v.Pubkey+":"+v.D, this, rivals, disputeContradicts)
}

func (l *Ledger) info(v mostro.Info, s Sighting) {
	n := l.node(v.Pubkey)
	n.IsNode = true
	slot := s.Received / 1000 / l.params.InfoSlotSecond
	if !s.Witness {
		slot = -1 - s.Created/l.params.InfoSlotSecond // claimed info events are filed by created_at
	}
	if held, ok := n.Infos[slot]; !ok || cmp.Or(cmp.Compare(s.Received, held.Received), bytes.Compare(s.ID[:], held.ID[:])) < 0 {
		n.tree.replace(held, ok, s)
		n.Infos[slot] = s
	}
	if n.InfoBy.compare(s) < 0 || n.InfoBy == (Sighting{}) {
		n.InfoBy, n.Name = s, v.Name
	}
	if v.LND != nil && len(v.LND.Pubkey) == 66 {
		held, ok := n.Lightning[v.LND.Pubkey]
		signed := held.Signed || v.LND.Signature != "" && receipt.NodeSigned(v.LND.Pubkey, v.Pubkey, v.LND.Signature)
		if !ok || s.Witness && (!held.Witness || s.Received < held.Since) || !s.Witness && !held.Witness && s.Received < held.Since {
			held.Since, held.Witness = s.Received, s.Witness
		}
		held.Signed = signed
		n.Lightning[v.LND.Pubkey] = held
	}
}

// health notes that a Mostro said that it was up or down. Health changes no score, so the
// node does not count as changed, and a key that published no info is ignored.
func (l *Ledger) health(v mostro.Health, s Sighting) {
	if n := l.book.Nodes[v.Pubkey]; n != nil && s.Witness {
		if n.Health == nil {
			n.Health = healthHours{}
		}
		n.Health.note(s.Received/1000, v.Status == mostro.HealthDown)
	}
}

func (l *Ledger) userRating(v mostro.UserRating, s Sighting) {
	n := l.node(v.Pubkey)
	held, ok := n.Users[v.D]
	if ok && held.compare(s) >= 0 {
		return
	}
	n.tree.replace(held.Sighting, ok, s)
	if n.aggregates != nil {
		if ok {
			n.aggregates.users.add(-1, held.Witness, false)
		}
		n.aggregates.users.add(1, s.Witness, false)
	}
	n.Users[v.D] = userRating{s}
}

func (l *Ledger) fee(v mostro.DevFee, s Sighting) {
	n := l.node(v.Pubkey)
	fees := n.Fees[v.OrderID]
	f := fee{s, v.Hash, v.AmountSats}
	at, held := slices.BinarySearchFunc(fees, f, func(a, b fee) int { return a.compare(b.Sighting) })
	if held {
		return
	}
	n.reopen(v.OrderID)
	n.tree.add(s.leaf)
	n.Fees[v.OrderID] = slices.Insert(fees, at, f)
	l.useHash(v.Hash, v.Pubkey+":"+v.OrderID, s)
	if sats, ok := opensFee(&l.params, v); ok {
		l.confirm(v.Hash, payment{Sats: sats, By: s.ID})
	}
}

// useHash records that an order names a payment hash. For each node only the first
// received and witnessed order keeps the hash.
func (l *Ledger) useHash(hash, key string, s Sighting) {
	if hash == "" || !s.Witness {
		return
	}
	uses, before := l.book.Hashes[hash], l.book.payer(hash)
	if held := slices.IndexFunc(uses, func(u hashUse) bool { return nodeOf(u.Order) == nodeOf(key) }); held >= 0 {
		if cmp.Or(cmp.Compare(uses[held].Received, s.Received), bytes.Compare(uses[held].By[:], s.ID[:])) <= 0 {
			return
		}
		l.touch(uses[held].Order)
		uses = slices.Delete(uses, held, held+1)
	}
	use := hashUse{key, s.Received, s.ID}
	at, _ := slices.BinarySearchFunc(uses, use, func(a, b hashUse) int {
		return cmp.Or(cmp.Compare(a.Received, b.Received), bytes.Compare(a.By[:], b.By[:]))
	})
	l.book.Hashes[hash] = slices.Insert(uses, at, use)
	l.touch(key)
	if before != "" && before != l.book.payer(hash) {
		l.touch(before)
	}
}

func (l *Ledger) rating(v mostro.HostRating, evt *nostr.Event, s Sighting, source string, p Prepared) {
	n := l.node(v.Host)
	held, again := n.Ratings[s.ID]
	if again && held.Received <= s.Received {
		return
	}
	rating, err := ParseMicro(v.Rating.String())
	if err != nil {
		rating = 0 // impossible: ParseHostRating has parsed the rating
	}
	r := &rated{Sighting: s, Rater: v.Pubkey, OrderID: v.OrderID, D: v.D, Rating: rating, Role: v.Role, Text: v.Text, Platform: v.Platform,
		Source: source, Expires: int64(v.Expiration)}
	if isBlind(v) {
		// The keyset may have arrived after Prepare, or may arrive later.
		n.Blind[s.ID] = evt
		p.proof, p.doubt = l.proofs.Check(evt, v, l.book.keysets)
	}
	r.prove(v, p.proof, p.doubt)
	n.Ratings[s.ID] = r
	if again {
		n.aggregates, n.tree = nil, nil
	} else {
		n.aggregates.rate(r)
		n.tree.add(s.leaf)
	}
	l.useHash(r.Proof.PaymentHash, v.Host+":"+v.OrderID, s)
}

// FundListD is the prefix of the d tag of a fund's list of received payments. The list is
// a NIP-78 event (kind 30078) signed by the fund, with one tag ["paid", <payment hash>,
// <sats>, <node>] per payment. The node is the pubkey of the Mostro that paid: mostrod
// names itself in the comment of the payment (LUD-12). The fund leaves the node out if the
// node is unknown.
const FundListD = "mostro-dev-fees:"

// fundList records the payments that a configured development fund confirms. A node cannot
// confirm a payment itself, because a node that invents a preimage also knows the payment
// hash.
func (l *Ledger) fundList(evt *nostr.Event) {
	if !slices.Contains(l.params.Funds, evt.PubKey) || !strings.HasPrefix(evt.Tags.GetD(), FundListD) {
		return
	}
	l.book.Applied++
	for _, tag := range evt.Tags {
		if len(tag) < 3 || tag[0] != "paid" || len(tag[1]) != 64 {
			continue
		}
		sats, err := mostro.ParseDecimal(tag[2])
		n, ok := sats.Int64()
		if err != nil || !ok || n <= 0 || n > 1_000_000_000 {
			continue
		}
		p := payment{Sats: n, By: idOf(evt.ID)}
		if len(tag) > 3 && nostr.IsValid32ByteHex(tag[3]) {
			p.Node = strings.Clone(tag[3])
		}
		l.confirm(tag[1], p)
	}
}

// confirm records that a payment was received. If two confirmations differ, the lower amount
// holds, in whatever order they arrive. If the amounts are equal, the one that names a payer
// holds.
func (l *Ledger) confirm(hash string, p payment) {
	before := l.book.payer(hash)
	held, known := l.book.Paid[hash]
	if !known || p.compare(held) < 0 {
		l.book.Paid[hash] = p
	}
	for _, order := range []string{before, l.book.payer(hash)} {
		if order != "" {
			l.touch(order)
		}
	}
}

// feeAnswer records a payment that a payment service confirmed.
func (l *Ledger) feeAnswer(evt *nostr.Event) {
	if hash, sats, ok := answeredFee(&l.params, evt); ok {
		l.book.Applied++
		l.confirm(hash, payment{Sats: sats, By: idOf(evt.ID)})
	}
}

// deletion records a deletion request. A user can take back a rating. The facts about a
// node stay, and the request of a node is recorded.
func (l *Ledger) deletion(evt *nostr.Event, s Sighting) {
	for _, tag := range evt.Tags {
		if len(tag) < 2 {
			continue
		}
		switch tag[0] {
		case "e":
			l.book.gone(evt, tag[1])
			if n := l.book.Nodes[evt.PubKey]; n != nil && n.orders.len() > 0 {
				n.erase(evt.ID, s)
				l.dirty[evt.PubKey] = true
			}
		case "a":
			kind, rest, _ := strings.Cut(tag[1], ":")
			author, d, _ := strings.Cut(rest, ":")
			if author != evt.PubKey {
				continue
			}
			switch kind {
			case "31986":
				l.book.gone(evt, d)
			case "38383", "38386", "38385", "8383":
				l.node(evt.PubKey).erase(evt.ID, s)
			}
		}
	}
}

// keyset records a keyset, and checks the blind receipts again that arrived before it.
func (l *Ledger) keyset(k receipt.Keyset, evt *nostr.Event, s Sighting) {
	n := l.node(k.Pubkey)
	held, ok := n.Keysets[k.Epoch]
	if ok && cmp.Or(cmp.Compare(held.Received, s.Received), bytes.Compare(held.ID[:], s.ID[:])) <= 0 {
		return
	}
	n.Keysets[k.Epoch] = keyset{s, k.ID, evt}
	if held.KeyID == k.ID {
		return
	}
	for ratingID, raw := range n.Blind {
		r := n.Ratings[ratingID]
		if v, err := mostro.ParseHostRating(raw); err == nil && r != nil {
			proof, doubt := l.proofs.Check(raw, v, l.book.keysets)
			r.prove(v, proof, doubt)
		}
	}
	if len(n.Blind) > 0 && n.aggregates != nil {
		n.aggregates.ratings = nil
	}
}

// touch records that a fact about an order changed elsewhere. The key is "<node>:<order>".
func (l *Ledger) touch(key string) {
	pubkey, orderID := key[:64], key[65:]
	l.dirty[pubkey] = true
	if n := l.book.Nodes[pubkey]; n != nil {
		n.reopen(orderID)
	}
}
