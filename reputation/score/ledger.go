package score

import (
	"cmp"
	"errors"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

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
}

// NewLedger returns an empty ledger.
func NewLedger(params Params, proofs Proofs) *Ledger {
	return &Ledger{params: params, proofs: proofs, derived: map[string]*derived{}, dirty: map[string]bool{}, book: newBook()}
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

// Commit applies a prepared entry to the facts.
func (l *Ledger) Commit(e mostro.Entry, p Prepared) {
	l.book.Cursor = max(l.book.Cursor, e.Seq)
	evt := e.Event
	if p.err != nil && p.class == mostro.ClassHealth {
		return // health is no evidence, and a node may publish one event a minute
	}
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
	case mostro.Health:
		l.book.Applied--
		l.health(v, s)
	case mostro.HostRating:
		l.rating(v, evt, s, e.Source.String(), p)
	default:
		l.book.Applied--
		switch {
		case p.class == mostro.ClassDeletion:
			l.deletion(evt, s)
		case evt.Kind == mostro.KindAppData:
			l.fundList(evt)
			l.feeAnswer(evt)
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

// Compute returns the scores of all nodes at a moment, sorted by pubkey. Compute changes
// no fact, but caches intermediate results for the next call.
func (l *Ledger) Compute(asOf time.Time) []Score {
	at := asOf.Unix()
	var wanted []string
	for pubkey, n := range l.book.Nodes {
		if n.IsNode {
			wanted = append(wanted, pubkey)
		}
	}
	slices.Sort(wanted)
	all := map[string]*derived{}
	v := l.view()
	v.deriveAll(all, wanted, at)
	return v.scores(all, wanted, at)
}

// Update returns the scores that changed since the last Update, sorted by pubkey. These
// are the scores of the nodes whose facts changed, or of all nodes if all is set. The
// results for the other nodes stay those of the Update that computed them last.
func (l *Ledger) Update(asOf time.Time, all bool) []Score {
	at := asOf.Unix()
	var wanted []string
	for pubkey, n := range l.book.Nodes {
		if n.IsNode && (all || l.dirty[pubkey] || l.derived[pubkey] == nil) {
			wanted = append(wanted, pubkey)
		}
	}
	clear(l.dirty)
	if len(wanted) == 0 {
		return nil
	}
	slices.Sort(wanted)
	v := l.view()
	v.deriveAll(l.derived, wanted, at)
	scores := v.scores(l.derived, wanted, at)
	for _, pubkey := range wanted {
		l.derived[pubkey].slim()
	}
	return scores
}

func (l *Ledger) view() view { return view{&l.params, &l.book, l.given} }

// Ratings returns all ratings of a host, the newest first, with the weight and the reason
// of each. Moves is the amount by which the value of the node would fall without the
// rating, if all other weights stay. If the ledger has no fact about the key, Ratings
// returns nil.
func (l *Ledger) Ratings(pubkey string, mu Micro, asOf int64) []RatedBy {
	if l.book.Nodes[pubkey] == nil {
		return nil
	}
	l.book.ready()
	return ratingsOf(l.view().derive(pubkey, asOf), &l.params, mu, asOf)
}

// Stars returns the stars of a host by ratings with a valid receipt or token. If there is no
// such rating, Count is 0.
func (l *Ledger) Stars(pubkey string, asOf int64) HostStars {
	l.book.ready()
	return starsOf(&l.book, pubkey, asOf)
}

// Coordinators returns the stars of the hosts that are no Mostro and have verified ratings of
// RoboSats, those with the most ratings first.
func (l *Ledger) Coordinators(asOf int64) []HostStars {
	l.book.ready()
	return coordinatorsOf(&l.book, asOf)
}

// TrustGraph returns the proven good opinions of Mostros at a moment.
func (l *Ledger) TrustGraph(asOf int64) *TrustGraph {
	l.book.ready()
	return trustGraph(&l.book, asOf)
}

// Encode writes the facts as a gob stream. Encode returns the first error of the encoder
// or of w.
func (l *Ledger) Encode(w io.Writer) error { return l.book.encode(w) }

// Decode replaces the facts by the facts in a stream of Encode. If Decode returns an
// error, the facts are unchanged. If the reader is an io.ByteReader, Decode does not read
// beyond the end of the facts.
//
// Decode does not check the facts. The caller ensures that no other program wrote the
// stream, and that the parameters are the same.
func (l *Ledger) Decode(r io.Reader) error {
	b, err := decodeBook(r)
	if err != nil {
		return err
	}
	l.book = b
	clear(l.derived)
	return nil
}
