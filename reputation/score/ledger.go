package score

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/nbd-wtf/go-nostr"
)

// Ledger holds the facts that scores are computed from. The same entries, applied in any
// order, lead to the same facts. A Ledger is not safe for concurrent use.
//
// Ratings and the methods that compute scores cache intermediate results, so these methods
// count as writes.
type Ledger struct {
	params Params
	proofs Proofs
	book   book
	given  map[string]Micro // per node, the prior mean from other nodes; nil if the ledger knows the other nodes

	derived map[string]*derived // results of the last Update, by node
	dirty   map[string]bool     // nodes whose facts changed since the last Update

	quitters map[string]bool // authors of deletions; nil if not yet built from the book
}

// book is the part of a ledger that a checkpoint keeps.
type book struct {
	Cursor  uint64
	Nodes   map[string]*node
	Paid    map[string]payment   // by payment hash: the payment that a fund confirms
	Hashes  map[string][]hashUse // by payment hash: the first use by each node, in order of time
	Gone    map[string]int64     // by author and id, or author and d: the time up to which the author deleted events
	Refused []Refusal            // sorted by id; the first maxRefused
	Reasons map[string]int64     // number of all refusals by reason
	Applied int64                // number of entries that were evidence

	orders *orders // orders of all nodes
}

// maxRefused is the largest number of refusals that are kept one by one.
const maxRefused = 20_000

// id is an event id.
type id [32]byte

func idOf(s string) (out id) {
	hex.Decode(out[:], []byte(s)) // cannot fail: the relay checked the id
	return out
}

func (i id) String() string { return hex.EncodeToString(i[:]) }

// Sighting is the part of every event that is kept. Its hash is a leaf of the Merkle tree.
type Sighting struct {
	ID       id
	Created  int64 // unix seconds, as the author signed
	Received int64 // unix milliseconds, by the clock of this relay
	Witness  bool  // received in time, by a live road
}

func (s Sighting) compare(b Sighting) int {
	return cmp.Or(cmp.Compare(s.Created, b.Created), bytes.Compare(b.ID[:], s.ID[:])) // for equal seconds the lower id wins, as in NIP-01
}

// version is one version of an order or a dispute.
type version struct {
	Sighting
	Status uint8
	Terms  terms // of an order
}

// dispute holds all versions of one dispute.
type dispute struct {
	Versions []version
}

// fee is a development fee that the node claims.
type fee struct {
	Sighting
	Hash string
	Sats int64
}

// payment is the confirmation of a payment by a fund.
type payment struct {
	Sats int64
	Node string // the node that paid, from the comment of the payment; "" if the fund does not know the node
	By   id     // event id of the list
}

func (p payment) compare(b payment) int {
	anonymous := func(p payment) int {
		if p.Node == "" {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(p.Sats, b.Sats), cmp.Compare(anonymous(p), anonymous(b)), bytes.Compare(p.By[:], b.By[:]), cmp.Compare(p.Node, b.Node))
}

// hashUse is the first use of a payment hash by a node. The payment confirms this order
// only, even if the node names the hash again later.
type hashUse struct {
	Order    string // "<node>:<order id>"
	Received int64
	By       id
}

// rated is one rating of a node.
type rated struct {
	Sighting
	Rater    string
	OrderID  string
	D        string
	Rating   Micro
	Role     string
	Text     string
	Platform string
	Source   string
	Expires  int64
	Proof    Proof
	Refusal  string // why the receipt proves nothing; "" if the receipt is valid
}

// userRating is the newest rating of one user by the node.
type userRating struct {
	Sighting
}

// named is a Lightning node that a Mostro named, and the time of the first mention.
type named struct {
	Since   int64 // unix ms, first witnessed
	Witness bool
}

// node holds all facts about one key.
type node struct {
	Disputes      map[string]*dispute
	Fees          map[string][]fee // by order id
	Ratings       map[id]*rated
	Users         map[string]userRating
	Infos         map[int64]Sighting // by slot of the receive time: the first info event
	InfoBy        Sighting           // the newest info event, the source of Name
	Name          string
	Lightning     map[string]named
	Keysets       map[string]keyset   // by epoch
	Blind         map[id]*nostr.Event // ratings with blind receipts
	Erased        map[string]Sighting // deletion requests of the node about evidence, by event id
	Equivocations []Equivocation
	IsNode        bool // set if the key published an info event

	orders nodeOrders
	*kept
}

// kept holds cached results beside the facts.
type kept struct {
	aggregates *aggregates // nil if not yet built
	tree       *tree       // nil if not yet built
}

// NewLedger returns an empty ledger.
func NewLedger(params Params, proofs Proofs) *Ledger {
	return &Ledger{params: params, proofs: proofs, derived: map[string]*derived{}, dirty: map[string]bool{}, book: newBook()}
}

func newBook() book {
	return book{Nodes: map[string]*node{}, Paid: map[string]payment{}, Hashes: map[string][]hashUse{}, Reasons: map[string]int64{}, Gone: map[string]int64{}, orders: newOrders()}
}

// Cursor returns the last position of the log that the facts cover.
func (l *Ledger) Cursor() uint64 { return l.book.Cursor }

// Advance moves the cursor forward to a position. The skipped entries are entries that the
// log never passes to a reader.
func (l *Ledger) Advance(seq uint64) { l.book.Cursor = max(l.book.Cursor, seq) }

func (l *Ledger) node(pubkey string) *node {
	n := l.book.Nodes[pubkey]
	if n == nil {
		n = &node{orders: newNodeOrders(l.book.orders), Disputes: map[string]*dispute{}, Fees: map[string][]fee{}, Ratings: map[id]*rated{},
			Users: map[string]userRating{}, Infos: map[int64]Sighting{}, Lightning: map[string]named{},
			Keysets: map[string]keyset{}, Blind: map[id]*nostr.Event{}, Erased: map[string]Sighting{}, kept: &kept{}}
		l.book.Nodes[strings.Clone(pubkey)] = n
	}
	l.dirty[pubkey] = true
	return n
}

// witness returns the sighting of an entry. An event is witnessed if the event came by a
// live road, close to its created_at.
func (l *Ledger) witness(e *mostro.Entry) Sighting {
	s := Sighting{ID: idOf(e.Event.ID), Created: int64(e.Event.CreatedAt), Received: e.ReceivedAt.UnixMilli()}
	late := s.Received/1000 - s.Created
	s.Witness = e.Source.Road.Witnessed() && !e.Archived && late <= l.params.LateSeconds && -late <= l.params.AheadSeconds
	return s
}

// Commit applies a prepared entry to the facts.
func (l *Ledger) Commit(e mostro.Entry, p Prepared) {
	l.book.Cursor = max(l.book.Cursor, e.Seq)
	evt := e.Event
	if p.err != nil {
		l.refuse(evt, p.err)
		return
	}
	s := l.witness(&e)
	l.book.Applied++
	switch v := p.value.(type) {
	case mostro.Order:
		if v.Platform != mostro.PlatformMostro && v.Platform != "" {
			l.book.Applied--
			return // orders of other platforms belong to the index
		}
		l.order(v, s)
	case mostro.Dispute:
		l.dispute(v, s)
	case mostro.Info:
		l.info(v, s)
	case mostro.DevFee:
		l.fee(v, s)
	case mostro.UserRating:
		l.userRating(v, s)
	case receipt.Keyset:
		l.keyset(v, evt, s)
	case mostro.HostRating:
		l.rating(v, evt, s, e.Source.String(), p)
	default:
		l.book.Applied--
		switch {
		case p.class == mostro.ClassDeletion:
			l.deletion(evt, s)
		case evt.Kind == mostro.KindAppData:
			l.fundList(evt)
		case p.class == mostro.ClassForeign && sharedKind(evt.Kind):
			l.refuse(evt, mostro.ErrForeign)
		}
	}
}

// sharedKind reports whether other applications also use a kind that is evidence here.
func sharedKind(kind int) bool {
	switch kind {
	case mostro.KindHostRating, mostro.KindOrder, mostro.KindUserRating, mostro.KindInfo, mostro.KindDispute, mostro.KindDevFee:
		return true
	}
	return false
}

// refuse records why an event is no evidence.
func (l *Ledger) refuse(evt *nostr.Event, err error) {
	reason := err.Error()
	var e *mostro.EventError
	if errors.As(err, &e) {
		reason = e.Rule
		if errors.Is(err, mostro.ErrForeign) {
			reason = mostro.ErrForeign.Error()
		}
	}
	r := Refusal{EventID: evt.ID, Kind: evt.Kind, Reason: reason}
	if tag := evt.Tags.Find("p"); len(tag) > 1 && evt.Kind == mostro.KindHostRating {
		r.Host = tag[1]
	}
	at, held := slices.BinarySearchFunc(l.book.Refused, r, func(a, b Refusal) int { return cmp.Compare(a.EventID, b.EventID) })
	if held {
		return
	}
	l.book.Reasons[reason]++
	if len(l.book.Refused) < maxRefused {
		l.book.Refused = slices.Insert(l.book.Refused, at, r)
	}
}

// noteVersion inserts v, and keeps versions sorted and unique. The returned rivals are the
// versions with the same created_at as v.
func noteVersion(versions []version, v version) (out []version, rivals []version, isNew bool) {
	at, held := slices.BinarySearchFunc(versions, v, func(a, b version) int { return a.compare(b.Sighting) })
	if held {
		if v.Received < versions[at].Received {
			versions[at] = v
		}
		return versions, nil, false
	}
	for i := at - 1; i >= 0 && versions[i].Created == v.Created; i-- {
		rivals = append(rivals, versions[i])
	}
	for i := at; i < len(versions) && versions[i].Created == v.Created; i++ {
		rivals = append(rivals, versions[i])
	}
	return slices.Insert(versions, at, v), rivals, true
}

// equivocate keeps the proof that two versions of one address have one created_at and
// contradict each other.
func (n *node) equivocate(address string, v version, rivals []version, contradict func(a, b version) bool) {
	for _, r := range rivals {
		if !contradict(v, r) {
			continue
		}
		ids := [2]string{v.ID.String(), r.ID.String()}
		slices.Sort(ids[:])
		e := Equivocation{Address: address, CreatedAt: nostr.Timestamp(v.Created).Time().UTC(), IDs: ids}
		at, held := slices.BinarySearchFunc(n.Equivocations, e, func(a, b Equivocation) int {
			return cmp.Or(cmp.Compare(a.IDs[0], b.IDs[0]), cmp.Compare(a.IDs[1], b.IDs[1]))
		})
		if !held {
			n.Equivocations = slices.Insert(n.Equivocations, at, e)
		}
	}
}

// orderStatuses are the public statuses as bytes. 0 is unknown.
var orderStatuses = []mostro.Status{mostro.StatusUnknown, mostro.StatusPending, mostro.StatusInProgress, mostro.StatusSuccess, mostro.StatusCanceled, mostro.StatusExpired}

const (
	isPending uint8 = iota + 1
	isInProgress
	isSuccess
	isCanceled
	isExpired
)

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

var disputeStates = []mostro.DisputeState{mostro.DisputeStateUnknown, mostro.DisputeStateInitiated, mostro.DisputeStateInProgress,
	mostro.DisputeStateSellerRefunded, mostro.DisputeStateSettled, mostro.DisputeStateReleased}

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
		if !ok || s.Witness && (!held.Witness || s.Received < held.Since) || !s.Witness && !held.Witness && s.Received < held.Since {
			n.Lightning[v.LND.Pubkey] = named{s.Received, s.Witness}
		}
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
}

// useHash records that an order names a payment hash. For each node only the first
// received and witnessed order keeps the hash.
func (l *Ledger) useHash(hash, key string, s Sighting) {
	if hash == "" || !s.Witness {
		return
	}
	uses, before := l.book.Hashes[hash], l.payer(hash)
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
	if before != "" && before != l.payer(hash) {
		l.touch(before)
	}
}

// payer returns the order that a payment confirms, or "" if there is none. If the fund
// says which node paid, payer returns the order for which that node named the hash.
// Otherwise payer returns the first order that named the hash. An attacker that hears of a
// hash can name the hash here earlier than the node that paid. Only a list with the payer
// is safe from this attack.
func (l *Ledger) payer(hash string) string {
	uses := l.book.Hashes[hash]
	paid := l.book.Paid[hash]
	for _, u := range uses {
		if paid.Node == "" || nodeOf(u.Order) == paid.Node {
			return u.Order
		}
	}
	return ""
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
		p.proof, p.doubt = l.proofs.Check(evt, v, l.keysets)
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

// prove records the result of the receipt check of a rating.
func (r *rated) prove(v mostro.HostRating, proof Proof, doubt error) {
	r.Proof, r.Refusal = proof, ""
	if proof.Role != "" {
		r.Role = proof.Role
	}
	switch {
	case v.Pubkey == v.Host:
		r.Refusal, r.Proof = "the node rates itself", Proof{}
	case doubt != nil:
		r.Refusal, r.Proof = doubt.Error(), Proof{}
	}
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
		before := l.payer(tag[1])
		held, known := l.book.Paid[tag[1]]
		// If two lists differ, the lower amount holds, in whatever order the lists arrive.
		// If the amounts are equal, the list that names a payer holds.
		if !known || p.compare(held) < 0 {
			l.book.Paid[tag[1]] = p
		}
		for _, order := range []string{before, l.payer(tag[1])} {
			if order != "" {
				l.touch(order)
			}
		}
	}
}

// Refused returns the events that are no evidence, sorted by id. If there are more than
// maxRefused of them, Refused returns the first maxRefused that were recorded.
func (l *Ledger) Refused() []Refusal { return slices.Clone(l.book.Refused) }

// Reasons returns the number of all refusals by reason.
func (l *Ledger) Reasons() map[string]int64 { return maps.Clone(l.book.Reasons) }

// Equivocations returns the proofs against Mostros.
func (l *Ledger) Equivocations() iter.Seq[Equivocation] {
	return func(yield func(Equivocation) bool) {
		for _, n := range l.book.Nodes {
			for _, e := range n.Equivocations {
				if n.IsNode && !yield(e) {
					return
				}
			}
		}
	}
}
