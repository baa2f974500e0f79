package escrow

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"

	"github.com/mostrodex/mostrodex/escrow/rating"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/attestation"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// simKeys returns real keys, because attestations and rebinds are signed.
func simKeys(n byte) *envelope.Keys {
	k, err := envelope.KeysFromSecret([32]byte{31: n})
	if err != nil {
		panic(err) // 1 to 255 are secret keys
	}
	return k
}

// The issuers of the simulation. The first two keys belong to one issuer, and the last one is not
// trusted.
var (
	simIssuers  = []*envelope.Keys{simKeys(1), simKeys(2), simKeys(3), simKeys(4)}
	simAttester = KeysSealer{Keys: simKeys(9)}
	simBound    = []*envelope.Keys{simKeys(11), simKeys(12), simKeys(13)} // identities at another node
	simRatings  = rating.Policy{Import: true, Issuers: []rating.TrustedIssuer{
		{Name: "one", Keys: []string{simIssuers[0].Pubkey(), simIssuers[1].Pubkey()}}, {Name: "two", Keys: []string{simIssuers[2].Pubkey()}}}}
)

// simPeople is the number of identities of a world that import and export reputation.
const simPeople = 3

// simDocument is an attestation that a user of the simulation has.
type simDocument struct {
	text     message.ReputationAttestation
	id       string
	to       string // identity
	subject  string
	issuer   int
	expires  int64
	received int64 // time of the first message with it, 0 for none
}

// signDocument signs an event and returns its text and its id.
func (s *sim) signDocument(k *envelope.Keys, evt nostr.Event, err error) (text, id string) {
	if err == nil {
		secret := k.Secret()
		err = evt.Sign(hex.EncodeToString(secret[:]))
	}
	var body []byte
	if err == nil {
		body, err = json.Marshal(evt)
	}
	if err != nil {
		s.fail("sign a document: %v", err)
	}
	return string(body), evt.ID
}

// port is one random action about reputation of other nodes.
func (s *sim) port() {
	switch n := s.rng.IntN(20); {
	case n < 10:
		s.importReputation()
	case n < 17:
		s.exportReputation()
	case n == 17:
		s.revoke()
	default:
		s.rebind()
	}
}

// person returns an identity that imports and exports, with a new trade key, or rarely a stranger
// in full privacy.
func (s *sim) person() trade.Party {
	s.nextKey++
	p := trade.Party{Key: simKey(s.nextKey), Transport: envelope.TransportV2}
	p.Identity = p.Key
	if s.rng.IntN(15) > 0 {
		p.Identity = simKey(1<<40 + s.rng.Uint64N(simPeople))
	}
	return p
}

// earlier gives the identities trades and votes of an earlier time, because an export needs ten
// trades and five votes. The third identity lacks one of each.
func (s *sim) earlier() {
	s.read()
	if s.err != nil {
		return
	}
	for n := range simPeople {
		p := trade.Party{Key: simKey(uint64(1<<52 + n)), Identity: simKey(uint64(1<<40 + n)), Transport: envelope.TransportV2}
		for i := range 11 - n {
			other := trade.Party{Key: simKey(uint64(1<<53 + 100*n + i)), Identity: simKey(uint64(1<<54 + 100*n + i)), Transport: envelope.TransportV2}
			t := trade.Trade{ID: trade.OrderID{0xee, byte(n), byte(i)}, Kind: mostro.SideSell, Status: message.TradeSettledHoldInvoice, Seller: p, Buyer: other, CreatedAt: 1_780_000_000}
			after := t
			after.Status = message.TradeSuccess
			if _, err := s.book.ratings.Moved(t, after, t.CreatedAt+100); err != nil {
				s.fail("a trade of an earlier time: %v", err)
			}
			if i >= attestation.MinReviews-n/2 {
				continue
			}
			q := rating.Request{From: other, Message: message.Message{Payload: message.RatingUser(4)}, At: t.CreatedAt + 200, Received: t.CreatedAt + 200}
			if _, err := s.book.ratings.Rate(q, after); err != nil {
				s.fail("a vote of an earlier time: %v", err)
			}
		}
	}
	if err := s.store.Commit(s.book.Take()); err != nil {
		s.fail("the earlier time: %v", err)
	}
}

func (s *sim) importReputation() {
	p, at := s.person(), s.clock()
	var d *simDocument
	if len(s.documents) > 0 && s.rng.IntN(3) == 0 {
		d = s.documents[s.rng.IntN(len(s.documents))]
		if s.rng.IntN(4) > 0 {
			p.Identity = d.to
		}
	} else {
		d = &simDocument{to: p.Identity, subject: string(rune('a' + s.rng.IntN(4))), issuer: s.rng.IntN(4), expires: at + 60 + s.rng.Int64N(40_000)}
		if s.rng.IntN(10) == 0 {
			d.expires = at - attestation.ClockSkew - s.rng.Int64N(100)
		}
		k := simIssuers[d.issuer]
		evt, err := attestation.Attestation{
			Issuer: k.Pubkey(), Destination: d.to, Subject: d.subject, CreatedAt: nostr.Timestamp(d.expires - 43_200), Expiration: nostr.Timestamp(d.expires),
			Figures: attestation.Figures{Reviews: uint32(5 + s.rng.IntN(50)), Hundredths: uint16(100 + s.rng.IntN(401)), Since: 1_700_006_400},
		}.Event()
		var text string
		text, d.id = s.signDocument(k, evt, err)
		d.text = message.ReputationAttestation(text)
		s.documents = append(s.documents, d)
	}
	if d.received == 0 || d.received > at {
		d.received = at
	}
	s.send(p, nil, message.ActionImportReputation, nil, d.text)
}

func (s *sim) exportReputation() {
	p, to := s.person(), simBound[s.rng.IntN(3)]
	request := message.ReputationExportRequest{Destination: to.Pubkey()}
	if s.rng.IntN(2) == 0 {
		// The consent of some bound identity, which is the right one now and then.
		from := simBound[s.rng.IntN(3)]
		if len(s.rebinds) > 0 && s.rng.IntN(4) == 0 {
			request.Rebind = &s.rebinds[s.rng.IntN(len(s.rebinds))]
		} else if from != to {
			at := s.clock()
			evt, err := attestation.Rebind{Bound: from.Pubkey(), NewIdentity: to.Pubkey(), Issuer: simAttester.Pubkey(), CreatedAt: nostr.Timestamp(at), Expiration: nostr.Timestamp(at + 600)}.Event()
			text, _ := s.signDocument(from, evt, err)
			s.rebinds = append(s.rebinds, text)
			request.Rebind = &text
		}
	}
	s.send(p, nil, message.ActionExportReputation, nil, request)
}

// revoke takes the imports of a key back, as an operator decides.
func (s *sim) revoke() {
	s.batch()
	if s.stopped || s.reconciling {
		return
	}
	key, after := simIssuers[s.rng.IntN(4)].Pubkey(), int64(0)
	if s.rng.IntN(3) == 0 {
		after = s.clock() - s.rng.Int64N(20_000)
	}
	for more, book := true, s.book; more && s.err == nil; {
		n, left, effects, err := s.book.ratings.Revoke(key, after, "the key was stolen", s.clock())
		if err == nil {
			err = s.book.affect(effects, s.clock())
		}
		if err != nil {
			s.fail("revoke: %v", err)
			return
		}
		s.count.revoked += n
		s.commit()
		if more = left; s.book != book {
			return // the process ended, and the operator has not seen the outcome
		}
	}
	for identity := range s.imports() {
		r, err := s.book.ratings.Record(identity)
		if err != nil || slices.ContainsFunc(r.Imports, func(i rating.Import) bool { return i.IssuerKey == key && i.At >= after }) {
			s.fail("%v: %s has an import of a revoked key", err, identity)
		}
	}
}

// rebind moves the binding of an identity, as an operator decides.
func (s *sim) rebind() {
	s.batch()
	if s.stopped || s.reconciling {
		return
	}
	_, err := s.book.ratings.Rebind(s.person().Identity, simBound[s.rng.IntN(3)].Pubkey(), "lost phone", s.clock())
	if err != nil && !errors.Is(err, ErrNoRow) {
		s.fail("rebind: %v", err)
	}
	s.commit()
}

// imports returns the journals of the records with changes about reputation of other nodes.
func (s *sim) imports() map[string][]rating.Change {
	found := make(map[string][]rating.Change)
	for n := range uint64(simPeople) {
		identity := simKey(1<<40 + n)
		if err := rating.Journal(s.store, identity, func(_ uint32, c rating.Change) error {
			found[identity] = append(found[identity], c)
			return nil
		}); err != nil {
			s.fail("journal of ratings: %v", err)
		}
	}
	return found
}

// judgePorts checks imports and exports against the journals of all records: an account of an
// issuer counts once at this node, and an identity imports once from an issuer; the attestation
// was valid when its message arrived; a binding moves by a rebind that was not used before.
func (s *sim) judgePorts(c *Commit) {
	changed := slices.ContainsFunc(c.Ratings, func(r rating.Row) bool {
		one, ok := r.Value.(rating.Change)
		return ok && one.Kind != rating.Voted && one.Kind != rating.Traded
	})
	if !s.ports || !changed {
		return
	}
	type account struct{ issuer, subject string }
	accounts, used := make(map[account]string), make(map[string]bool)
	for identity, journal := range s.imports() {
		live := make(map[string]rating.Import) // by the name of the issuer
		bound, trades, votes := "", 0, 0
		for _, one := range journal {
			switch one.Kind {
			case rating.Traded:
				trades++
			case rating.Voted:
				votes++
			case rating.Imported:
				i := *one.Import
				d := s.documentOf(i.Attestation)
				if d == nil || d.to != identity || d.issuer == 3 || d.received == 0 || d.received > d.expires+attestation.ClockSkew {
					s.fail("%s has imported %+v", identity, d)
				}
				if _, twice := live[i.Issuer]; twice {
					s.fail("%s has imported twice from %s", identity, i.Issuer)
				}
				live[i.Issuer] = i
			case rating.Revoked:
				for name, i := range live {
					if i.Attestation == one.Attestation {
						delete(live, name)
					}
				}
			case rating.Exported:
				if trades < 10 || votes < attestation.MinReviews {
					s.fail("%s has exported %d trades and %d votes", identity, trades, votes)
				}
				if bound != "" && bound != one.To && (one.Rebind == "" || used[one.Rebind]) {
					s.fail("the reputation of %s moved from %s to %s by %q", identity, bound, one.To, one.Rebind)
				}
				if one.Rebind != "" {
					used[one.Rebind] = true
				}
				bound = one.To
			case rating.Rebound:
				bound = one.To
			}
		}
		for _, i := range live {
			a := account{i.Issuer, i.Subject}
			if other, twice := accounts[a]; twice {
				s.fail("%s and %s have imported the account %s of %s", identity, other, i.Subject, i.Issuer)
			}
			accounts[a] = identity
		}
	}
	for _, row := range c.Ratings {
		switch one, _ := row.Value.(rating.Change); one.Kind {
		case rating.Imported:
			s.count.imported++
			if !slices.ContainsFunc(c.Outbox, func(r OutboxRow) bool { return r.Effect.Message.Action == message.ActionReputationImported }) {
				s.fail("an import has no answer")
			}
		case rating.Exported:
			s.count.exported++
			if !slices.ContainsFunc(c.Outbox, func(r OutboxRow) bool { return r.Effect.Message.Action == message.ActionReputationExported }) {
				s.fail("an export has no answer")
			}
			if one.Rebind != "" {
				s.count.rebound++
			}
		}
	}
}

func (s *sim) documentOf(id string) *simDocument {
	for _, d := range s.documents {
		if d.id == id {
			return d
		}
	}
	return nil
}
