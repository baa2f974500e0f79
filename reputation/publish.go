package reputation

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
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

// published lists the events that the service published, in the form in which the
// checkpoint stores them.
type published struct {
	Published map[string]string          // by node: fingerprint of the last assertion
	Announced map[string]bool            // published proofs of equivocation
	Sent      map[string]nostr.Timestamp // by address: the last created_at
	About     string                     // content of the key's profile
	Stated    uint64                     // position of the log up to which receipts were stated
}

// assertions publishes NIP-85 events about scores, and owns the list of published events.
// The follower owns assertions.
type assertions struct {
	to     Publisher // nil: no event is published
	signer Signer
	pairs  Pairs  // nil: no proofs are published
	algo   string // name of the algorithm and hash of its parameters
	count  *prometheus.CounterVec
	now    func() time.Time

	said      published
	unsaved   bool  // said changed after the last checkpoint
	testified int64 // time of the last call of testify that read the log, unix seconds
}

// profile returns the profile of the signing key. NIP-85 requires one key and one profile
// for each algorithm.
func (p *assertions) profile() nostr.Event {
	about := mostro.Profile{
		Pubkey: p.signer.Pubkey(), Name: "mostrodex reputation",
		About: "Assertions (NIP-85) about Mostros, computed by " + p.algo + " from public events. rank is the lower bound of how well a node behaved, as far as " +
			"was witnessed; exposure is how many sats that record can secure. Anybody can recompute them: mostrodex reputation audit, and verify.",
	}
	return about.Event()
}

// publish publishes the assertions about scores that changed after the last publication.
// After a crash between a publication and the next checkpoint, the same assertion is
// published again.
func (p *assertions) publish(ctx context.Context, scores []score.Score) error {
	for _, score := range scores {
		print := fingerprint(score)
		if score.Unranked != "" || p.said.Published[score.Pubkey] == print {
			continue
		}
		if about := p.profile(); about.Content != p.said.About {
			if err := p.send(ctx, "profile", &about); err != nil {
				return err
			}
			p.note(func() { p.said.About = about.Content })
		}
		evt := Assertion(score, p.signer.Pubkey())
		if err := p.send(ctx, "assertion", &evt); err != nil {
			return err
		}
		p.note(func() { p.said.Published[score.Pubkey] = print })
	}
	return nil
}

// note changes said.
func (p *assertions) note(change func()) {
	p.unsaved = true
	change()
}

// send signs an event with the current time and publishes the event.
func (p *assertions) send(ctx context.Context, what string, evt *nostr.Event) error {
	// Two versions of one address must not have the same created_at, because this relay
	// reports such a pair of another key as an equivocation.
	last := p.said.Sent[addressOf(evt)]
	evt.CreatedAt = max(nostr.Timestamp(p.now().Unix()), last+1)
	if err := p.signer.Sign(evt); err != nil {
		return fmt.Errorf("sign the %s: %w", what, err)
	}
	if err := p.to.Publish(ctx, evt); err != nil {
		return fmt.Errorf("publish the %s: %w", what, err)
	}
	p.note(func() { p.said.Sent[addressOf(evt)] = evt.CreatedAt })
	p.count.WithLabelValues(what).Inc()
	return nil
}

// isNew reports whether the proof of an equivocation was not published yet.
func (p *assertions) isNew(e score.Equivocation) bool { return !p.said.Announced[e.IDs[0]+e.IDs[1]] }

// publishProofs publishes a proof of each wanted equivocation, by its two ids: an assertion
// about the address of the order, with both signed events in the content.
func (p *assertions) publishProofs(ctx context.Context, wanted map[string]score.Equivocation) error {
	if len(wanted) == 0 {
		return nil
	}
	return p.pairs.Equivocations(ctx, func(first, second *nostr.Event) error {
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
		evt.PubKey = p.signer.Pubkey()
		if err := p.send(ctx, "proof", &evt); err != nil {
			return err
		}
		p.note(func() { p.said.Announced[key] = true })
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
