package score

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"slices"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

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

	orders   *orders         // orders of all nodes
	quitters map[string]bool // authors of deletions; nil if not yet built from Gone
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
	Witness  bool  // received in time, from a live origin
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
	Signed  bool // the Lightning node signed the key of the Mostro
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
	Health        healthHours

	orders nodeOrders
	*kept
}

// kept holds cached results beside the facts.
type kept struct {
	aggregates *aggregates // nil if not yet built
	tree       *tree       // nil if not yet built
}

func newBook() book {
	return book{Nodes: map[string]*node{}, Paid: map[string]payment{}, Hashes: map[string][]hashUse{}, Reasons: map[string]int64{}, Gone: map[string]int64{}, orders: newOrders()}
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

var disputeStates = []mostro.DisputeState{mostro.DisputeStateUnknown, mostro.DisputeStateInitiated, mostro.DisputeStateInProgress,
	mostro.DisputeStateSellerRefunded, mostro.DisputeStateSettled, mostro.DisputeStateReleased, mostro.DisputeStateCooperativelyCanceled}

// payer returns the order that a payment confirms, or "" if there is none. If the fund
// says which node paid, payer returns the order for which that node named the hash.
// Otherwise payer returns the first order that named the hash. An attacker that hears of a
// hash can name the hash here earlier than the node that paid. Only a list with the payer
// is safe from this attack.
func (b *book) payer(hash string) string {
	uses := b.Hashes[hash]
	paid := b.Paid[hash]
	for _, u := range uses {
		if paid.Node == "" || nodeOf(u.Order) == paid.Node {
			return u.Order
		}
	}
	return ""
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

// cost returns the confirmed development fee of an order in sats, or 0 if there is none.
func (b *book) cost(pubkey, orderID string, n *node) (sats int64) {
	for _, f := range n.Fees[orderID] {
		sats = max(sats, b.confirmed(pubkey, orderID, f))
	}
	return sats
}

// confirmed returns the part of a claimed fee, in sats, that a fund confirms.
func (b *book) confirmed(pubkey, orderID string, f fee) int64 {
	paid := b.Paid[f.Hash]
	if !f.Witness || paid.Sats <= 0 {
		return 0
	}
	if by := b.payer(f.Hash); nodeOf(by) != pubkey || by[65:] != orderID {
		return 0
	}
	return min(f.Sats, paid.Sats)
}

// opened returns the amount in sats that the receipt of a rating proves to be paid to a
// fund.
func (b *book) opened(p *Params, pubkey string, r *rated) int64 {
	if r.Refusal != "" || r.Proof.PaymentHash == "" || r.Proof.PaidSats <= 0 || !slices.Contains(p.Payees, r.Proof.Payee) ||
		b.payer(r.Proof.PaymentHash) != pubkey+":"+r.OrderID {
		return 0
	}
	return r.Proof.PaidSats
}

// erase notes that a node asked to delete evidence.
func (n *node) erase(eventID string, s Sighting) {
	held, ok := n.Erased[eventID]
	n.tree.replace(held, ok, s)
	n.Erased[eventID] = s
}

// gone records that an author deleted the events under an id or a d tag.
func (b *book) gone(evt *nostr.Event, what string) {
	key := evt.PubKey + ":" + what
	b.Gone[key] = max(b.Gone[key], int64(evt.CreatedAt))
	if b.quitters != nil {
		b.quitters[evt.PubKey] = true
	}
}

// ready builds the index that derive only reads. No other method may run at the same time.
func (b *book) ready() {
	if b.quitters == nil {
		b.quitters = make(map[string]bool, len(b.Gone))
		for key := range b.Gone {
			b.quitters[nodeOf(key)] = true
		}
	}
}

// takenBack reports whether the author of a rating deleted the rating.
func (b *book) takenBack(r *rated) bool {
	if !b.quitters[r.Rater] {
		return false
	}
	if _, ok := b.Gone[r.Rater+":"+r.ID.String()]; ok {
		return true
	}
	until, ok := b.Gone[r.Rater+":"+r.D]
	return ok && r.Created <= until
}

// keyset is the first received key for the blind receipts of a node in an epoch. Later
// keys of the epoch are ignored, because a second key could mark the users that receive
// it.
type keyset struct {
	Sighting
	KeyID string
	Raw   *nostr.Event
}

// keysets returns the keyset event of a node with a key id, or nil if the ledger holds
// none.
func (b *book) keysets(pubkey, keyID string) *nostr.Event {
	if n := b.Nodes[pubkey]; n != nil {
		for _, k := range n.Keysets {
			if k.KeyID == keyID {
				return k.Raw
			}
		}
	}
	return nil
}
