package reputation

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/nbd-wtf/go-nostr"
)

// Kinds of NIP-85.
const (
	KindAssertion        = 30382 // about a key
	KindAddressAssertion = 30384 // about an address
)

// Assertion returns the unsigned NIP-85 event of a score.
func Assertion(s score.Score, provider string) nostr.Event {
	tags := nostr.Tags{
		{"d", s.Pubkey},
		{"p", s.Pubkey},
		{"rank", strconv.Itoa(s.Rank)},
		{"lo", s.Lo.String()},
		{"hi", s.Hi.String()},
		{"n", strconv.Itoa(s.N)},
		{"neff", s.NEff.String()},
	}
	if at := s.Evidence.FirstWitnessed; !at.IsZero() {
		tags = append(tags, nostr.Tag{"first_created_at", strconv.FormatInt(at.Unix(), 10)})
	}
	for _, sub := range s.Sub {
		tags = append(tags, nostr.Tag{sub.Name, sub.Mean.String(), sub.Lo.String(), sub.Hi.String()})
	}
	tags = append(tags, nostr.Tag{"exposure", strconv.FormatInt(s.ExposureSats, 10)})
	for _, f := range s.Flags {
		tags = append(tags, nostr.Tag{"flag", f.Name})
	}
	name, hash, _ := strings.Cut(s.Algo, " ")
	tags = append(tags,
		nostr.Tag{"algo", name, hash},
		nostr.Tag{"snapshot", strconv.FormatInt(s.AsOf.Unix(), 10)},
		nostr.Tag{"root", s.Root},
		nostr.Tag{"alt", fmt.Sprintf("Reputation of a Mostro: rank %d of 100", s.Rank)},
	)
	return nostr.Event{PubKey: provider, Kind: KindAssertion, Tags: tags}
}

// fingerprint returns the parts of a score whose change is published: the figures that a
// reader acts on, and the bounds rounded down to whole points.
func fingerprint(s score.Score) string {
	var flags []string
	for _, f := range s.Flags {
		flags = append(flags, f.Name)
	}
	return fmt.Sprint(s.Rank, int64(s.Lo/score.One), int64(s.Hi/score.One), s.ExposureSats, s.N, flags, s.Algo)
}

// profile returns the profile of the signing key. NIP-85 requires one key and one profile
// for each algorithm.
func (s *Service) profile() nostr.Event {
	p := mostro.Profile{
		Pubkey: s.cfg.Signer.Pubkey(), Name: "mostrodex reputation",
		About: "Assertions (NIP-85) about Mostros, computed by " + s.cfg.Params.Algo() + " from public events. rank is the lower bound of how well a node behaved, as far as " +
			"was witnessed; exposure is how many sats that record can secure. Anybody can recompute them: mostrodex reputation audit, and verify.",
	}
	return p.Event()
}

// publish publishes the assertions and proofs that changed after the last publication.
// After a crash between a publication and the next checkpoint, the same assertion is
// published again.
func (s *Service) publish(ctx context.Context) error {
	for _, score := range s.Scores() {
		print := fingerprint(score)
		if score.Unranked != "" || s.published[score.Pubkey] == print {
			continue
		}
		if about := s.profile(); about.Content != s.about {
			if err := s.send(ctx, "profile", &about); err != nil {
				return err
			}
			s.note(func() { s.about = about.Content })
		}
		evt := Assertion(score, s.cfg.Signer.Pubkey())
		if err := s.send(ctx, "assertion", &evt); err != nil {
			return err
		}
		s.note(func() { s.published[score.Pubkey] = print })
	}
	return s.publishProofs(ctx)
}

// note changes fields that the checkpoint stores.
func (s *Service) note(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsaved = true
	change()
}

// send signs an event with the current time and publishes the event.
func (s *Service) send(ctx context.Context, what string, evt *nostr.Event) error {
	// Two versions of one address must not have the same created_at, because this relay
	// reports such a pair of another key as an equivocation.
	last := s.sent[addressOf(evt)]
	evt.CreatedAt = max(nostr.Timestamp(s.cfg.Now().Unix()), last+1)
	if err := s.cfg.Signer.Sign(evt); err != nil {
		return fmt.Errorf("sign the %s: %w", what, err)
	}
	if err := s.cfg.Publisher.Publish(ctx, evt); err != nil {
		return fmt.Errorf("publish the %s: %w", what, err)
	}
	s.note(func() { s.sent[addressOf(evt)] = evt.CreatedAt })
	s.metrics.published.WithLabelValues(what).Inc()
	return nil
}

// publishProofs publishes a proof of each new equivocation: an assertion about the address
// of the order, with both signed events in the content.
func (s *Service) publishProofs(ctx context.Context) error {
	if s.cfg.Pairs == nil {
		return nil
	}
	wanted := map[string]score.Equivocation{}
	s.mu.RLock()
	for e := range s.ledger.Equivocations() {
		if key := e.IDs[0] + e.IDs[1]; !s.announced[key] {
			wanted[key] = e
		}
	}
	s.mu.RUnlock()
	if len(wanted) == 0 {
		return nil
	}
	return s.cfg.Pairs.Equivocations(ctx, func(first, second *nostr.Event) error {
		ids := []string{first.ID, second.ID}
		slices.Sort(ids)
		key := ids[0] + ids[1]
		e, ok := wanted[key]
		if !ok {
			return nil
		}
		evt, err := proof(e, first, second)
		if err != nil {
			return err
		}
		evt.PubKey = s.cfg.Signer.Pubkey()
		if err := s.send(ctx, "proof", &evt); err != nil {
			return err
		}
		s.note(func() { s.announced[key] = true })
		return nil
	})
}

func proof(e score.Equivocation, first, second *nostr.Event) (nostr.Event, error) {
	content, err := json.Marshal([]*nostr.Event{first, second})
	if err != nil {
		return nostr.Event{}, fmt.Errorf("write a proof: %w", err)
	}
	return nostr.Event{Kind: KindAddressAssertion, Content: string(content), Tags: nostr.Tags{
		{"d", e.Address}, {"a", e.Address}, {"p", first.PubKey},
		{"equivocation", e.IDs[0], e.IDs[1]},
		{"alt", "Proof that a Mostro signed two versions of one event for one second: both are in the content"},
	}}, nil
}

func addressOf(evt *nostr.Event) string { return strconv.Itoa(evt.Kind) + ":" + evt.Tags.GetD() }
