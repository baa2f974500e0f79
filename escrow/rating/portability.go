package rating

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/attestation"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// An attestation is signed only for a user with at least this much experience here.
const (
	minTrades  = 10
	minReviews = attestation.MinReviews
)

// imported is the index of an import by its issuer and subject.
type imported struct {
	Identity    string `json:"identity"`
	Attestation string `json:"attestation"`
	IssuerKey   string `json:"issuer_key"`
	At          int64  `json:"at"`
}

// issuerKey is the name that a trusted key was first configured with, and the number of
// imports that the key has signed and that were not taken back.
type issuerKey struct {
	Key     string `json:"key"`
	Name    string `json:"name"`
	SeenAt  int64  `json:"seen_at"`
	Imports int64  `json:"imports,omitzero"`
}

// usedRebind is a rebind that has moved a binding. It is kept for as long as it is valid.
type usedRebind struct {
	ID    string `json:"id"`
	Until int64  `json:"until"`
}

func importKey(issuer, subject string) []byte {
	return append(append([]byte{spaceImport}, issuer...), "\x00"+subject...)
}

// Trust sets the trusted issuers of the policy. It returns an error if a key is configured
// with another name than the one under which its imports are recorded: a user could import
// the same reputation again.
func (b *Book) Trust(at int64) error {
	clear(b.imports)
	if !b.Policy.Import {
		return nil
	}
	inUse := make(map[string]int64) // imports by name
	for _, k := range b.issuers {
		inUse[k.Name] += k.Imports
	}
	for _, issuer := range b.Policy.Issuers {
		for _, key := range issuer.Keys {
			if k, ok := b.issuers[key]; ok && k.Name != issuer.Name && inUse[k.Name] > 0 {
				return fmt.Errorf("the key %s belongs to the issuer %q, whose imports are recorded under that name: it cannot be named %q", key, k.Name, issuer.Name)
			}
		}
	}
	for _, issuer := range b.Policy.Issuers {
		for _, key := range issuer.Keys {
			b.imports[key] = issuer.Name
			if k, ok := b.issuers[key]; !ok || k.Name != issuer.Name {
				b.setIssuer(issuerKey{Key: key, Name: issuer.Name, SeenAt: at})
			}
		}
	}
	return nil
}

// TrustedKeys returns the keys of the trusted issuers in the order of the policy. ok is false
// if the node imports nothing.
func (p Policy) TrustedKeys() (keys []string, ok bool) {
	for _, issuer := range p.Issuers {
		keys = append(keys, issuer.Keys...)
	}
	return keys, p.Import
}

// Check returns an error if the policy contradicts itself. node and own are the node's key
// and its key for attestations, "" for none.
func (p Policy) Check(node, own string) error {
	names, keys := make(map[string]bool), make(map[string]bool)
	for _, issuer := range p.Issuers {
		if issuer.Name == "" || strings.ContainsRune(issuer.Name, 0) || names[issuer.Name] {
			return fmt.Errorf("the issuer %q: every issuer has a name of its own", issuer.Name)
		}
		names[issuer.Name] = true
		for _, key := range issuer.Keys {
			if keys[key] {
				return fmt.Errorf("the key %s belongs to two issuers", key)
			}
			keys[key] = true
		}
	}
	switch {
	case p.ImportLifetime < 0 || p.ImportLifetime > 30*86400:
		return errors.New("an attestation is imported for one second to 30 days")
	case p.ExportLifetime < 0 || p.ExportLifetime > attestation.Lifetime:
		return errors.New("an attestation is signed for one second to 7 days")
	case own != "" && (own == node || keys[own]):
		return errors.New("the key for attestations is used for nothing else: not for the node, and not for a trusted issuer")
	}
	return nil
}

func (b *Book) setIssuer(k issuerKey) {
	b.issuers[k.Key] = k
	b.put(append([]byte{spaceIssuer}, k.Key...), k)
}

func (b *Book) ownKey() string {
	if b.Issuer == nil {
		return ""
	}
	return b.Issuer.Pubkey()
}

// Offers reports whether the node answers import-reputation or export-reputation.
func (b *Book) Offers(action message.Action) bool {
	if action == message.ActionImportReputation {
		return b.Policy.Import
	}
	return b.Issuer != nil
}

// Import decides about import-reputation: the ratings that another node attests are added to
// those of the proved identity. A repetition of an import has the same answer, also after the
// attestation has expired.
func (b *Book) Import(q Request) ([]Effect, error) {
	if !b.Policy.Import {
		return nil, trade.Refuse(message.ReasonInvalidAction)
	}
	text, ok := q.Message.Payload.(message.ReputationAttestation)
	if !ok {
		return nil, trade.Refuse(message.ReasonInvalidPayload)
	}
	if q.From.Private() {
		return nil, trade.Refuse(message.ReasonReputationIdentityRequired)
	}
	if !b.limits[message.ActionImportReputation].take(q.From.Identity, q.Received) {
		return nil, trade.Refuse(message.ReasonTooManyRequests)
	}
	identity := q.From.Identity
	policy := attestation.Policy{Issuers: b.imports, OwnKey: b.ownKey(), Lifetime: b.Policy.ImportLifetime}
	a, err := policy.Accept(string(text), identity, time.Unix(q.Received, 0))
	var fault *attestation.Error
	expired := errors.As(err, &fault) && fault.Fault == attestation.FaultExpired
	if expired {
		// Only the repetition of an import is answered: the first answer may have been lost.
		var evt *nostr.Event
		if evt, err = message.DecodeEvent([]byte(text)); err == nil {
			a, err = policy.Accept(string(text), identity, evt.CreatedAt.Time())
		}
	}
	if err != nil {
		return nil, refusalOf(err)
	}
	u, err := b.recordOf(identity)
	if err != nil {
		return nil, err
	}
	name := b.imports[a.Issuer]
	if !slices.ContainsFunc(u.Imports, func(i Import) bool { return i.Attestation == a.EventID }) {
		if expired {
			return nil, trade.Refuse(message.ReasonExpiredReputationAttestation)
		}
		if u, err = b.add(u, name, a, q); err != nil {
			return nil, err
		}
	}
	return []Effect{
		q.answer(message.WrapperOrder, message.ActionReputationImported, nil),
		{Event: u.event(b.Node, q.From.Key, q.At, b.ratingDays())},
	}, nil
}

// refusalOf returns the refusal for a fault of a document.
func refusalOf(err error) error {
	var fault *attestation.Error
	if errors.As(err, &fault) {
		return trade.Refuse(fault.Reason())
	}
	return trade.Refuse(message.ReasonInvalidReputationAttestation)
}

// add records an import. An issuer's account counts once at this node, and an identity imports
// once from an issuer.
func (b *Book) add(u Record, name string, a attestation.Attestation, q Request) (Record, error) {
	index := importKey(name, a.Subject)
	if _, err := get[imported](b, index); !errors.Is(err, ErrNoRow) {
		if err == nil {
			err = trade.Refuse(message.ReasonReputationAlreadyImported)
		}
		return u, err
	}
	if slices.ContainsFunc(u.Imports, func(i Import) bool { return i.Issuer == name }) {
		return u, trade.Refuse(message.ReasonReputationAlreadyImported)
	}
	i := Import{
		Attestation: a.EventID, Issuer: name, IssuerKey: a.Issuer, Subject: a.Subject, Trade: q.From.Key,
		Reviews: a.Reviews, Hundredths: a.Hundredths, Since: a.Since, At: q.At,
	}
	u, err := b.apply(u.Identity, Change{At: q.At, Kind: Imported, Import: &i})
	if err != nil {
		return u, err
	}
	b.put(index, imported{Identity: u.Identity, Attestation: a.EventID, IssuerKey: a.Issuer, At: q.At})
	k := b.issuers[a.Issuer]
	k.Imports++
	b.setIssuer(k)
	return u, nil
}

// Export decides about export-reputation: the node attests the ratings that the proved
// identity has received here, for one identity at another node. The reputation is bound to
// that identity in the same commit.
func (b *Book) Export(q Request) ([]Effect, error) {
	if b.Issuer == nil {
		return nil, trade.Refuse(message.ReasonInvalidAction)
	}
	p, ok := q.Message.Payload.(message.ReputationExportRequest)
	if !ok {
		return nil, trade.Refuse(message.ReasonInvalidPayload)
	}
	if q.From.Private() {
		return nil, trade.Refuse(message.ReasonReputationIdentityRequired)
	}
	if key, err := message.ParsePubkey(p.Destination); err != nil || key != p.Destination {
		return nil, trade.Refuse(message.ReasonInvalidPayload)
	}
	if !b.limits[message.ActionExportReputation].take(q.From.Identity, q.Received) {
		return nil, trade.Refuse(message.ReasonTooManyRequests)
	}
	u, err := b.recordOf(q.From.Identity)
	if err != nil {
		return nil, err
	}
	reviews, mean := u.ratings().Native()
	hundredths, ok := attestation.Hundredths(mean)
	if u.Trades < minTrades || reviews < minReviews || u.FirstTrade == 0 || !ok {
		return nil, trade.Refuse(message.ReasonNotEligibleForReputationExport)
	}
	c := Change{At: q.At, Kind: Exported, To: p.Destination}
	var used *usedRebind
	if u.ExportedTo != "" && u.ExportedTo != p.Destination {
		if p.Rebind == nil {
			return nil, trade.Refuse(message.ReasonReputationBoundToOtherIdentity)
		}
		if used, err = b.rebind(u, p, q); err != nil {
			return nil, err
		}
		c.Rebind = used.ID
	}
	evt, err := attestation.Attestation{
		Issuer: b.Issuer.Pubkey(), Destination: p.Destination, Subject: u.Identity,
		Figures:   attestation.Figures{Reviews: uint32(min(reviews, 1<<32-1)), Hundredths: hundredths, Since: u.FirstTrade - u.FirstTrade%86400},
		CreatedAt: nostr.Timestamp(q.At), Expiration: nostr.Timestamp(q.At + b.exportLifetime()),
	}.Event()
	if err != nil {
		return nil, trade.Refuse(message.ReasonNotEligibleForReputationExport) // the clock is before the first trade
	}
	if err := b.Issuer.Sign(&evt); err != nil {
		return nil, fmt.Errorf("sign an attestation: %w", err)
	}
	document, err := json.Marshal(evt)
	if err != nil {
		return nil, fmt.Errorf("write an attestation: %w", err)
	}
	if used != nil {
		b.rebinds[used.ID] = *used
		b.put(append([]byte{spaceRebind}, used.ID...), *used)
	}
	if _, err := b.apply(u.Identity, c); err != nil {
		return nil, err
	}
	return []Effect{q.answer(message.WrapperOrder, message.ActionReputationExported, message.ReputationAttestation(document))}, nil
}

func (b *Book) exportLifetime() int64 {
	if b.Policy.ExportLifetime == 0 {
		return attestation.Lifetime
	}
	return b.Policy.ExportLifetime
}

// rebind checks the consent of the bound identity to another binding. Each rebind moves a
// binding once.
func (b *Book) rebind(u Record, p message.ReputationExportRequest, q Request) (*usedRebind, error) {
	for id, r := range b.rebinds {
		if r.Until < q.Received {
			delete(b.rebinds, id)
			b.put(append([]byte{spaceRebind}, id...), nil)
		}
	}
	r, err := attestation.ParseRebind(*p.Rebind, time.Unix(q.Received, 0))
	if err == nil {
		err = r.Check(b.Issuer.Pubkey(), u.ExportedTo, p.Destination)
	}
	if err != nil {
		return nil, refusalOf(err)
	}
	if _, again := b.rebinds[r.EventID]; again {
		return nil, trade.Refuse(message.ReasonInvalidReputationRebind)
	}
	return &usedRebind{ID: r.EventID, Until: int64(r.Expiration) + attestation.ClockSkew}, nil
}

// Rebind moves the binding of an identity's reputation, as an operator decides for a user who
// has lost the bound identity. Rebind returns the identity before, or ErrNoRow.
func (b *Book) Rebind(identity, to, reason string, at int64) (was string, err error) {
	u, err := b.Record(identity)
	if err != nil {
		return "", err
	}
	_, err = b.apply(identity, Change{At: at, Kind: Rebound, To: to, Reason: reason})
	return u.ExportedTo, err
}

// RevokeMost is the greatest number of imports that one call of Revoke takes back, so that
// the commit fits into one transaction.
const RevokeMost = 200

// Revoke takes back imports that a key has signed, as an operator decides after the key was
// compromised: those that this node recorded at or after a time, 0 for all. Revoke returns
// the number, and whether more are left. The users' ratings and pending orders are published
// again.
func (b *Book) Revoke(key string, after int64, reason string, at int64) (n int, more bool, effects []Effect, err error) {
	type found struct {
		index []byte
		row   imported
	}
	var list []found
	add := func(index []byte, row imported) {
		switch {
		case row.IssuerKey != key || row.At < after:
		case len(list) == RevokeMost:
			more = true
		default:
			list = append(list, found{index, row})
		}
	}
	err = b.store.Each([]byte{spaceImport}, func(index, value []byte) error {
		if _, changed := b.index[string(index)]; changed {
			return nil
		}
		var row imported
		if err := json.Unmarshal(value, &row); err != nil {
			return fmt.Errorf("import: %w", err)
		}
		add(index, row)
		return nil
	})
	if err != nil {
		return 0, false, nil, err
	}
	for _, r := range b.rows {
		if row, ok := r.Value.(imported); ok {
			add(r.Key, row)
		}
	}
	for _, f := range list {
		before, err := b.Record(f.row.Identity)
		if err != nil {
			return 0, false, nil, err
		}
		u, err := b.apply(f.row.Identity, Change{At: at, Kind: Revoked, Attestation: f.row.Attestation, Reason: reason})
		if err != nil {
			return 0, false, nil, err
		}
		b.put(f.index, nil)
		k := b.issuers[key]
		k.Imports--
		b.setIssuer(k)
		shown := make(map[string]bool)
		for _, i := range before.Imports {
			if i.Trade != "" && !shown[i.Trade] {
				shown[i.Trade] = true
				effects = append(effects, Effect{Event: u.event(b.Node, i.Trade, at, b.ratingDays())})
			}
		}
		effects = append(effects, Effect{Reshow: u.Identity})
	}
	return len(list), more, effects, nil
}
