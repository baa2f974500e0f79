package escrow

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/rating"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/attestation"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// toSuccess brings a trade between two identities to its end.
func (r *rig) toSuccess(seller, buyer trade.Party) trade.OrderID {
	r.tb.Helper()
	id := r.order(seller, message.SmallOrder{})
	r.must(buyer, message.ActionTakeSell, &id, r.bolt11For(id, 99_700_000, 7200))
	r.pays(seller)
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.must(seller, message.ActionRelease, &id, nil)
	r.resolves(id, true)
	r.status(message.TradeSuccess, id)
	return id
}

// next returns the next trade key of an identity.
func (r *rig) next(p trade.Party) trade.Party { return seller2(r, p) }

// info asks for the record of an identity.
func (r *rig) info(p trade.Party) message.UserInfo {
	r.tb.Helper()
	msg := r.message(p, message.ActionUserInfo, nil, nil)
	msg.Message.Wrapper = message.WrapperRestore
	if got := r.receive(msg); got != "" {
		r.tb.Fatalf("user-info: %s", got)
	}
	r.settle()
	m := r.last(p, message.ActionUserInfo)
	if m.Wrapper != message.WrapperRestore || m.ID != nil || *m.RequestID != *msg.Message.RequestID {
		r.tb.Errorf("%+v", m)
	}
	return m.Payload.(message.UserInfo)
}

// Both parties are asked for a rating when mostrod asks them, vote once, and are published.
func TestRating(t *testing.T) {
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	id := r.order(seller, message.SmallOrder{})
	if tag := r.orders[0].Tags.Find("rating"); tag == nil || tag[1] != `["rating",{"days":0,"since":1789948800,"total_rating":0.0,"total_reviews":0}]` {
		t.Errorf("the order of a new maker shows %v", tag)
	}
	r.must(buyer, message.ActionTakeSell, &id, r.bolt11For(id, 99_700_000, 7200))
	r.refused(message.ReasonInvalidOrderStatus, buyer, message.ActionRateUser, &id, message.RatingUser(5))
	r.pays(seller)
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.refused(message.ReasonInvalidOrderStatus, seller, message.ActionRateUser, &id, message.RatingUser(5))
	r.must(seller, message.ActionRelease, &id, nil)
	if r.got(seller, message.ActionRate) != 1 || r.got(buyer, message.ActionRate) != 0 {
		t.Error("the seller is asked after the settlement, and the buyer is not yet")
	}
	r.refused(message.ReasonInvalidOrderStatus, buyer, message.ActionRateUser, &id, message.RatingUser(5))
	r.must(seller, message.ActionRateUser, &id, message.RatingUser(4))
	if m := r.last(seller, message.ActionRateReceived); m.Payload != message.RatingUser(4) || m.RequestID == nil || *m.ID != id {
		t.Errorf("%+v", m)
	}
	r.resolves(id, true)
	if r.got(buyer, message.ActionRate) != 1 {
		t.Error("the buyer is not asked after the payout")
	}
	stranger := r.someone()
	if got := r.say(stranger, message.ActionRateUser, &id, message.RatingUser(1)); got != "dropped" {
		t.Errorf("a stranger's vote: %q", got)
	}
	for _, stars := range []message.RatingUser{0, 6, 255} {
		r.refused(message.ReasonInvalidRating, buyer, message.ActionRateUser, &id, stars)
	}
	unknown := trade.OrderID{9}
	r.refused(message.ReasonNotFound, buyer, message.ActionRateUser, &unknown, message.RatingUser(5))
	r.refused(message.ReasonNotFound, buyer, message.ActionRateUser, nil, message.RatingUser(5))
	r.must(buyer, message.ActionRateUser, &id, message.RatingUser(5))
	r.start()
	for range 3 {
		if got := r.say(buyer, message.ActionRateUser, &id, message.RatingUser(1)); got != "dropped" {
			t.Errorf("a second vote: %q", got)
		}
	}
	r.settle()
	list := r.published38384()
	if len(list) != 2 {
		t.Fatalf("%d ratings were published", len(list))
	}
	for i, want := range []struct {
		key   string
		stars int64
	}{{buyer.Key, 4}, {seller.Key, 5}} {
		u := list[i]
		if u.D != want.key || *u.TotalReviews != 1 || *u.TotalRating != float64(want.stars)/2 || *u.LastRating != want.stars || *u.MaxRate != want.stars || *u.MinRate != want.stars ||
			u.Since != 1789948800 || *u.Days != 0 || u.Pubkey != simNodeKey || u.Expiration != u.CreatedAt+90*86400 {
			t.Errorf("%+v", u)
		}
	}
	if got := r.info(r.next(seller)); got.Rating != 2.5 || got.Reviews != 1 || *got.Since/86400 != 1790000000/86400 {
		t.Errorf("%+v", got)
	}
	// The next order of the maker, and the notice of the next take, show the rating.
	r.pass(86400)
	again := r.order(r.next(seller), message.SmallOrder{})
	if tag := r.orders[len(r.orders)-1].Tags.Find("rating"); tag[1] != `["rating",{"days":1,"since":1789948800,"total_rating":2.5,"total_reviews":1}]` {
		t.Errorf("the next order shows %v", tag)
	}
	taker := r.next(buyer)
	r.must(taker, message.ActionTakeSell, &again, nil)
	r.must(taker, message.ActionAddInvoice, &again, r.bolt11(again))
	for _, m := range r.mail[r.trade(again).Seller.Key] {
		if p, ok := m.Payload.(message.Peer); ok && (p.Reputation.Rating != 2 || p.Reputation.Reviews != 1 || p.Reputation.OperatingDays != 1 || *p.Reputation.Since == 0) {
			t.Errorf("the maker is told %+v", p.Reputation)
		}
	}
}

// The published mean follows the votes of several trades.
func TestRatingMean(t *testing.T) {
	r := newRig(t)
	seller := r.someone()
	for _, stars := range []message.RatingUser{5, 4, 3, 1} {
		buyer := r.someone()
		id := r.toSuccess(seller, buyer)
		r.must(buyer, message.ActionRateUser, &id, message.RatingUser(stars))
		seller = r.next(seller)
	}
	list := r.published38384()
	last := list[len(list)-1]
	if want := (2.5 + 4 + 3 + 1) / 4; math.Abs(*last.TotalRating-want) > 1e-12 || *last.MaxRate != 5 || *last.MinRate != 1 || *last.LastRating != 1 || *last.TotalReviews != 4 {
		t.Errorf("%+v", last)
	}
	for i := range list[1:] {
		if list[i+1].CreatedAt <= list[i].CreatedAt {
			t.Error("a later rating has no later date")
		}
	}
}

// A party cannot rate itself by taking its own order with another trade key.
func TestRatingOfOneself(t *testing.T) {
	r := newRig(t)
	seller := r.someone()
	buyer := r.next(seller)
	buyer.Index = 7
	id := r.toSuccess(seller, buyer)
	if got := r.say(buyer, message.ActionRateUser, &id, message.RatingUser(5)); got != "dropped" || len(r.published38384()) != 0 {
		t.Errorf("a vote for oneself: %q", got)
	}
}

// A vote of the time that a copy of the store has lost is read again. If the trade is frozen
// meanwhile, the vote waits for its end, counts once, and is answered.
func TestRatingInACopy(t *testing.T) {
	for _, ends := range []string{"paid", "refunded"} {
		t.Run(ends, func(t *testing.T) {
			r := newRig(t)
			id, seller, buyer := r.toActive()
			copied := r.store.clone()
			r.must(buyer, message.ActionFiatSent, &id, nil)
			log := []InboundMessage{r.message(buyer, message.ActionFiatSent, &id, nil)}
			say := func(p trade.Party, action message.Action, payload message.Payload) {
				msg := r.message(p, action, &id, payload)
				log = append(log, msg)
				r.receive(msg)
				r.settle()
			}
			say(seller, message.ActionRelease, nil)
			r.resolves(id, true)
			say(buyer, message.ActionRateUser, message.RatingUser(3))
			say(seller, message.ActionRateUser, message.RatingUser(4))
			lost := len(r.published38384())
			r.store = copied
			r.copied()
			r.mail, r.events = make(map[string][]message.Message), nil
			for range 2 {
				for _, msg := range log {
					r.receive(msg)
				}
			}
			r.settle()
			if !r.trade(id).Frozen {
				t.Fatal("the trade is not frozen")
			}
			if lost != 2 || len(r.published38384()) != 0 || r.got(buyer, message.ActionRateReceived) != 0 {
				t.Fatal("a vote counts although its trade has no end")
			}
			if got := r.say(buyer, message.ActionRateUser, &id, message.RatingUser(5)); got != "dropped" || r.waitingVotes() != 2 {
				t.Errorf("a second vote while the first waits: %q, %d wait", got, r.waitingVotes())
			}
			r.start() // the votes wait in the store
			outcome := trade.OutcomePaid
			if ends == "refunded" {
				outcome = trade.OutcomeRefunded
			}
			if err := r.book.Close(id, outcome, "looked", true, r.node.now); err != nil {
				t.Fatal(err)
			}
			r.commit()
			r.settle()
			if n := r.waitingVotes(); n != 0 {
				t.Errorf("%d votes wait for a trade that is over", n)
			}
			if ends == "refunded" {
				if r.got(buyer, message.ActionCantDo) == 0 || r.got(seller, message.ActionCantDo) == 0 {
					t.Error("a vote vanished without an answer")
				}
				return
			}
			if len(r.published38384()) != 2 || r.got(buyer, message.ActionRateReceived) != 1 || r.got(seller, message.ActionRateReceived) != 1 {
				t.Errorf("%d ratings published", len(r.published38384()))
			}
			if got := r.info(r.next(seller)); got.Rating != 1.5 || got.Reviews != 1 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// waitingVotes returns the number of votes that wait for the end of their trade.
func (r *rig) waitingVotes() (n int) {
	r.tb.Helper()
	if err := rating.Waiting(r.store, func(rating.Vote) error { n++; return nil }); err != nil {
		r.tb.Fatal(err)
	}
	return n
}

// A commit with a waiting vote, or with its end, that the store refuses neither loses nor doubles
// the vote: the program reads its memory again from the store, as Engine.decideSome does.
func TestRefusedCommitOfAWaitingVote(t *testing.T) {
	r := newRig(t)
	id, seller, buyer := r.toActive()
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.must(seller, message.ActionRelease, &id, nil)
	r.copied()
	if !r.trade(id).Frozen {
		t.Fatal("the trade is not frozen")
	}
	refuse := func(decide func()) {
		t.Helper()
		decide()
		r.store.refuse = true
		if err := r.store.Commit(r.book.Take()); !errors.Is(err, ErrUncommittable) {
			t.Fatalf("the commit is not refused: %v", err)
		}
		r.start() // the book is read anew
	}
	vote := r.message(buyer, message.ActionRateUser, &id, message.RatingUser(4))
	refuse(func() {
		if got, err := r.book.Receive(vote, r.node.now); got != "" || err != nil {
			t.Fatalf("the vote: %q, %v", got, err)
		}
	})
	if n := r.waitingVotes(); n != 0 {
		t.Fatalf("%d votes wait after a refused commit", n)
	}
	if got := r.receive(vote); got != "" || r.waitingVotes() != 1 {
		t.Fatalf("the vote again: %q, %d wait", got, r.waitingVotes())
	}
	closes := func() {
		if err := r.book.Close(id, trade.OutcomePaid, "looked", true, r.node.now); err != nil {
			t.Fatal(err)
		}
	}
	refuse(closes)
	if r.waitingVotes() != 1 || len(r.published38384()) != 0 {
		t.Errorf("%d votes wait, %d are published", r.waitingVotes(), len(r.published38384()))
	}
	closes()
	r.commit()
	r.settle()
	if r.waitingVotes() != 0 || len(r.published38384()) != 1 || r.got(buyer, message.ActionRateReceived) != 1 {
		t.Errorf("%d votes wait, %d are published", r.waitingVotes(), len(r.published38384()))
	}
	if got := r.info(r.next(seller)); got.Rating != 2 || got.Reviews != 1 {
		t.Errorf("%+v", got)
	}
}

// A vote that comes back from another relay after its trade counts, once, even if the node's
// clock is hours behind the date of the vote.
func TestLateRating(t *testing.T) {
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	id := r.toSuccess(seller, buyer)
	msg := r.message(buyer, message.ActionRateUser, &id, message.RatingUser(5))
	msg.Late = true
	r.pass(5 * 86400)
	msg.Received = r.node.now
	msg.CreatedAt = r.node.now + 30_000
	if got := r.receive(msg); got != "" {
		t.Errorf("a late vote: %q", got)
	}
	again := msg
	again.ReplayID = "another"
	if got := r.receive(again); got != "dropped" {
		t.Errorf("a second late vote: %q", got)
	}
	r.settle()
}

// A flood of ratings from parties and strangers grows neither the records nor the outbox by
// more than the one vote.
func TestFloodOfRatings(t *testing.T) {
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	id := r.toSuccess(seller, buyer)
	r.must(buyer, message.ActionRateUser, &id, message.RatingUser(5))
	r.settle()
	rows, records := len(r.store.rows), len(r.store.ratings)
	for i := range 300 {
		p := buyer
		if i%2 == 0 {
			p = r.someone()
		}
		if got := r.say(p, message.ActionRateUser, &id, message.RatingUser(1+i%5)); got != "dropped" {
			t.Fatalf("vote %d: %q", i, got)
		}
	}
	if len(r.store.rows) != rows || len(r.store.ratings) != records {
		t.Errorf("%d rows in the outbox, before %d; %d records, before %d", len(r.store.rows), rows, len(r.store.ratings), records)
	}
}

func TestUserInfo(t *testing.T) {
	r := newRig(t)
	p := r.someone()
	if got := r.info(p); got.Rating != 0 || got.Reviews != 0 || got.OperatingDays != 0 || got.Since != nil {
		t.Errorf("an unknown identity has %+v", got)
	}
	private := r.someone()
	private.Identity = private.Key
	msg := r.message(private, message.ActionUserInfo, nil, nil)
	msg.Message.Wrapper = message.WrapperRestore
	if got := r.receive(msg); got != string(message.ReasonReputationIdentityRequired) {
		t.Errorf("full privacy: %q", got)
	}
	answer := r.message(p, message.ActionUserInfo, nil, message.UserInfo{})
	answer.Message.Wrapper = message.WrapperRestore
	if got := r.receive(answer); got != "dropped" {
		t.Errorf("an answer sent to the node: %q", got)
	}
	r.settle()
}

func TestDeclarePayer(t *testing.T) {
	r := newRig(t)
	hash := message.PayerDeclaration{PaymentHash: message.PayerHash("EU|SEPA|DE89370400440532013000|ALICE SMITH")}
	id, seller, buyer := r.toActive()
	r.refused(message.ReasonInvalidAction, buyer, message.ActionDeclarePayer, &id, hash)
	r.policy.Ratings.PayerHistory = true
	r.start()
	unknown := trade.OrderID{8}
	r.refused(message.ReasonNotFound, buyer, message.ActionDeclarePayer, &unknown, hash)
	r.refused(message.ReasonInvalidPubkey, seller, message.ActionDeclarePayer, &id, hash)
	r.refused(message.ReasonInvalidPaymentHash, buyer, message.ActionDeclarePayer, &id, message.PayerDeclaration{PaymentHash: strings.ToUpper(hash.PaymentHash)})
	r.must(buyer, message.ActionDeclarePayer, &id, hash)
	if m := r.last(buyer, message.ActionPayerDeclared); m.Payload != hash || m.RequestID == nil {
		t.Errorf("%+v", m)
	}
	if m := r.last(seller, message.ActionPayerDeclared); m.Payload != hash || m.RequestID != nil {
		t.Errorf("%+v", m)
	}
	if n := len(r.store.ratings); n != 1 {
		t.Errorf("%d rows", n)
	}
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.refused(message.ReasonNotAllowedByStatus, buyer, message.ActionDeclarePayer, &id, hash)
	r.must(seller, message.ActionRelease, &id, nil)
	r.resolves(id, true)
	for key := range r.store.ratings {
		if key[0] == 'P' {
			t.Error("the declaration outlives the trade")
		}
	}
}

// document returns the JSON of an event, signed by a key.
func document(t *testing.T, keys *envelope.Keys, evt nostr.Event) string {
	t.Helper()
	secret := keys.Secret()
	if err := evt.Sign(hex.EncodeToString(secret[:])); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(evt)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func secretKey(t *testing.T, n byte) *envelope.Keys {
	t.Helper()
	k, err := envelope.KeysFromSecret([32]byte{9, n, 1})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestImportReputation(t *testing.T) {
	r := newRig(t)
	issuer, second, foreign := secretKey(t, 1), secretKey(t, 2), secretKey(t, 3)
	p := r.someone()
	p.Identity = secretKey(t, 4).Pubkey()
	attest := func(keys *envelope.Keys, to, subject string, expires int64) message.ReputationAttestation {
		evt, err := attestation.Attestation{
			Issuer: keys.Pubkey(), Destination: to, Subject: subject,
			Figures:   attestation.Figures{Reviews: 20, Hundredths: 450, Since: 1_700_006_400},
			CreatedAt: nostr.Timestamp(r.node.now - 60), Expiration: nostr.Timestamp(expires),
		}.Event()
		if err != nil {
			t.Fatal(err)
		}
		return message.ReputationAttestation(document(t, keys, evt))
	}
	good := attest(issuer, p.Identity, "alice", r.node.now+3600)
	r.refused(message.ReasonInvalidAction, p, message.ActionImportReputation, nil, good)
	r.refused(message.ReasonInvalidAction, p, message.ActionImportReputation, nil, nil)
	r.policy.Ratings = rating.Policy{Import: true, Issuers: []rating.TrustedIssuer{{Name: "bot", Keys: []string{issuer.Pubkey(), second.Pubkey()}}}}
	r.attester = KeysSealer{Keys: secretKey(t, 5)}
	r.start()
	private := r.someone()
	private.Identity = private.Key
	r.refused(message.ReasonInvalidPayload, p, message.ActionImportReputation, nil, nil)
	r.refused(message.ReasonInvalidPayload, p, message.ActionImportReputation, nil, message.RatingUser(3))
	r.refused(message.ReasonReputationIdentityRequired, private, message.ActionImportReputation, nil, good)
	r.refused(message.ReasonInvalidReputationAttestation, p, message.ActionImportReputation, nil, message.ReputationAttestation("{}"))
	r.refused(message.ReasonUntrustedReputationIssuer, p, message.ActionImportReputation, nil, attest(foreign, p.Identity, "alice", r.node.now+3600))
	r.refused(message.ReasonUntrustedReputationIssuer, p, message.ActionImportReputation, nil, attest(secretKey(t, 5), p.Identity, "alice", r.node.now+3600))
	r.refused(message.ReasonReputationIdentityMismatch, p, message.ActionImportReputation, nil, attest(issuer, secretKey(t, 6).Pubkey(), "alice", r.node.now+3600))
	r.pass(3600) // the next hour of the limit
	good = attest(issuer, p.Identity, "alice", r.node.now+3600)
	order := r.order(p, message.SmallOrder{})
	r.must(p, message.ActionImportReputation, nil, good)
	if m := r.last(p, message.ActionReputationImported); m.Payload != nil || m.RequestID == nil {
		t.Errorf("%+v", m)
	}
	list := r.published38384()
	if u := list[len(list)-1]; u.D != p.Key || *u.TotalReviews != 20 || *u.TotalRating != 4.5 || *u.MaxRate != 5 || u.Since != 1_700_006_400 {
		t.Errorf("%+v", u)
	}
	r.start()
	r.must(p, message.ActionImportReputation, nil, good) // the answer was lost
	r.refused(message.ReasonReputationAlreadyImported, p, message.ActionImportReputation, nil, attest(second, p.Identity, "bob", r.node.now+3600))
	other := r.someone()
	other.Identity = secretKey(t, 7).Pubkey()
	r.refused(message.ReasonReputationAlreadyImported, other, message.ActionImportReputation, nil, attest(issuer, other.Identity, "alice", r.node.now+3600))
	r.pass(7200)
	r.must(p, message.ActionImportReputation, nil, good) // expired, and recorded
	expired := attest(issuer, other.Identity, "carol", r.node.now+1)
	r.pass(3600)
	r.refused(message.ReasonExpiredReputationAttestation, other, message.ActionImportReputation, nil, expired)
	if got := r.info(r.next(p)); got.Reviews != 20 || got.Rating != 4.5 {
		t.Errorf("%+v", got)
	}
	// An issuer whose imports are recorded keeps its name.
	r.policy.Ratings.Issuers[0].Name = "robot"
	b, err := NewTradeBook(r.store)
	if err != nil {
		t.Fatal(err)
	}
	if b.ratings.Policy = r.policy.Ratings; b.ratings.Trust(r.node.now) == nil {
		t.Error("an issuer with imports was renamed")
	}
	r.policy.Ratings.Issuers[0].Name = "bot"
	// A revoked key loses its imports, and the order in the book shows it.
	shown := len(r.orders)
	n, more, effects, err := r.book.ratings.Revoke(issuer.Pubkey(), 0, "stolen", r.node.now)
	if err == nil {
		err = r.book.affect(effects, r.node.now)
	}
	if n != 1 || more || err != nil {
		t.Fatal(n, more, err)
	}
	r.commit()
	r.settle()
	if len(r.orders) != shown+1 || !strings.Contains(r.orders[shown].Tags.Find("rating")[1], `"total_reviews":0`) || r.orders[shown].Tags.GetD() != order.String() {
		t.Error("the order shows a revoked reputation")
	}
	list = r.published38384()
	if u := list[len(list)-1]; u.D != p.Key || *u.TotalReviews != 0 || u.CreatedAt <= list[len(list)-2].CreatedAt {
		t.Errorf("%+v", u)
	}
	if n, _, _, err := r.book.ratings.Revoke(issuer.Pubkey(), 0, "stolen", r.node.now); n != 0 || err != nil {
		t.Error("a revoked import is revoked again", n, err)
	}
	r.must(p, message.ActionImportReputation, nil, attest(second, p.Identity, "alice", r.node.now+3600))
}

// A stolen key may have signed more imports than one commit holds.
func TestRevocationInParts(t *testing.T) {
	r := newRig(t)
	issuer := secretKey(t, 1)
	r.policy.Ratings = rating.Policy{Import: true, Issuers: []rating.TrustedIssuer{{Name: "bot", Keys: []string{issuer.Pubkey()}}}}
	r.start()
	const many = rating.RevokeMost + 3
	for i := range many {
		p := r.someone()
		evt, err := attestation.Attestation{Issuer: issuer.Pubkey(), Destination: p.Identity, Subject: fmt.Sprint(i), Figures: attestation.Figures{Reviews: 5, Hundredths: 300, Since: 1_700_006_400},
			CreatedAt: nostr.Timestamp(r.node.now - 60), Expiration: nostr.Timestamp(r.node.now + 3600)}.Event()
		if err != nil {
			t.Fatal(err)
		}
		r.must(p, message.ActionImportReputation, nil, message.ReputationAttestation(document(t, issuer, evt)))
	}
	for _, want := range []int{200, 3, 0} {
		n, more, effects, err := r.book.ratings.Revoke(issuer.Pubkey(), 0, "stolen", r.node.now)
		if err == nil {
			err = r.book.affect(effects, r.node.now)
		}
		if n != want || more != (want == 200) || err != nil {
			t.Fatal(n, more, err)
		}
		r.commit()
	}
}

func TestImportsAreLimited(t *testing.T) {
	r := newRig(t)
	r.policy.Ratings = rating.Policy{Import: true}
	r.start()
	p := r.someone()
	refused := map[string]int{}
	for hour := range 30 {
		for range 10 {
			refused[r.say(p, message.ActionImportReputation, nil, message.ReputationAttestation("{}"))]++
		}
		_ = hour
		r.pass(3600)
	}
	if n := refused[string(message.ReasonInvalidReputationAttestation)]; n < 24 || n > 60 {
		t.Errorf("%d documents were checked in 30 hours: %v", n, refused)
	}
}

func TestExportReputation(t *testing.T) {
	r := newRig(t)
	seller := r.someone()
	bound, next := secretKey(t, 1), secretKey(t, 2)
	want := message.ReputationExportRequest{Destination: bound.Pubkey()}
	r.refused(message.ReasonInvalidAction, seller, message.ActionExportReputation, nil, want)
	own := secretKey(t, 3)
	r.attester = KeysSealer{Keys: own}
	r.start()
	private := r.someone()
	private.Identity = private.Key
	r.refused(message.ReasonInvalidPayload, seller, message.ActionExportReputation, nil, nil)
	r.refused(message.ReasonInvalidPayload, seller, message.ActionExportReputation, nil, message.ReputationExportRequest{Destination: "nobody"})
	r.refused(message.ReasonInvalidPayload, seller, message.ActionExportReputation, nil, message.ReputationExportRequest{Destination: strings.Repeat("f", 64)})
	r.refused(message.ReasonReputationIdentityRequired, private, message.ActionExportReputation, nil, want)
	r.refused(message.ReasonNotEligibleForReputationExport, seller, message.ActionExportReputation, nil, want)
	for i := range 10 {
		buyer := r.someone()
		id := r.toSuccess(seller, buyer)
		if i >= 4 { // nine trades have five votes
			r.must(buyer, message.ActionRateUser, &id, message.RatingUser(4))
		}
		seller = r.next(seller)
		if i == 8 {
			r.refused(message.ReasonNotEligibleForReputationExport, seller, message.ActionExportReputation, nil, want)
		}
	}
	r.must(seller, message.ActionExportReputation, nil, want)
	m := r.last(seller, message.ActionReputationExported)
	policy := attestation.Policy{Issuers: map[string]string{own.Pubkey(): "us"}}
	a, err := policy.Accept(string(m.Payload.(message.ReputationAttestation)), bound.Pubkey(), nostr.Timestamp(r.node.now).Time())
	if err != nil || a.Reviews != 6 || a.Hundredths != 400 || a.Since != 1789948800 || a.Subject != seller.Identity {
		t.Fatalf("%+v %v", a, err)
	}
	r.start()
	r.must(seller, message.ActionExportReputation, nil, want) // again, for the same identity
	moved := message.ReputationExportRequest{Destination: next.Pubkey()}
	r.refused(message.ReasonReputationBoundToOtherIdentity, seller, message.ActionExportReputation, nil, moved)
	r.pass(3600) // the next hour of the limit
	rebind := func(signer *envelope.Keys, to, issuer string) *string {
		evt, err := attestation.Rebind{Bound: signer.Pubkey(), NewIdentity: to, Issuer: issuer, CreatedAt: nostr.Timestamp(r.node.now), Expiration: nostr.Timestamp(r.node.now + 3600)}.Event()
		if err != nil {
			t.Fatal(err)
		}
		text := document(t, signer, evt)
		return &text
	}
	moved.Rebind = rebind(next, next.Pubkey(), own.Pubkey())
	r.refused(message.ReasonInvalidReputationRebind, seller, message.ActionExportReputation, nil, moved)
	moved.Rebind = rebind(bound, next.Pubkey(), secretKey(t, 8).Pubkey())
	r.refused(message.ReasonInvalidReputationRebind, seller, message.ActionExportReputation, nil, moved)
	moved.Rebind = rebind(bound, next.Pubkey(), own.Pubkey())
	r.must(seller, message.ActionExportReputation, nil, moved)
	// Each rebind moves a binding once, also after the binding has come back.
	was, err := r.book.ratings.Rebind(seller.Identity, bound.Pubkey(), "support", r.node.now)
	if was != next.Pubkey() || err != nil {
		t.Error(was, err)
	}
	r.commit()
	r.start()
	r.refused(message.ReasonInvalidReputationRebind, seller, message.ActionExportReputation, nil, moved)
}

// A store from before ratings counts the trades that it holds.
func TestCarriedTrades(t *testing.T) {
	db, err := openDB(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	r := newRig(t)
	seller := r.someone()
	for range 3 {
		r.toSuccess(seller, r.someone())
		seller = r.next(seller)
	}
	c := &Commit{Head: r.store.head}
	for _, tr := range r.store.trades {
		c.Trades = append(c.Trades, tr)
		for i, in := range r.store.journal[tr.ID] {
			c.Journal = append(c.Journal, JournalRow{Trade: tr.ID, N: uint32(i + 1), Input: in})
		}
		for h, owner := range r.store.claims {
			c.Claims = append(c.Claims, Claim{h, owner})
		}
	}
	for _, u := range r.store.users {
		c.Users = append(c.Users, u)
		for i, in := range r.store.userLog[u.Identity] {
			c.UserJournal = append(c.UserJournal, UserRow{u.Identity, uint32(i + 1), in})
		}
	}
	if err := db.Commit(c); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the step may be repeated
		if err := db.b.DropPrefix([]byte{spaceCarried}); err != nil {
			t.Fatal(err)
		}
		if err := db.carry(); err != nil {
			t.Fatal(err)
		}
		if err := db.Check(); err != nil {
			t.Fatal(err)
		}
	}
	book, err := NewTradeBook(db)
	if err != nil {
		t.Fatal(err)
	}
	got, err := book.ratings.Record(seller.Identity)
	if err != nil || got.Trades != 3 || got.FirstTrade < 1_790_000_000 || got.CreatedAt != r.store.users[seller.Identity].CreatedAt {
		t.Errorf("%+v %v", got, err)
	}
	if want := fmt.Sprint(mustRecord(t, r.book, seller.Identity)); fmt.Sprint(got) != want {
		t.Errorf("carried: %v\ncounted: %v", got, want)
	}
}

func mustRecord(t *testing.T, b *TradeBook, identity string) rating.Record {
	t.Helper()
	r, err := b.ratings.Record(identity)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
