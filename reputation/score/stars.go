package score

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
)

// HostStars are the plain stars of a host: the mean of its verified ratings, as the host's
// own platform shows them. No rank follows from stars, because a host can sign any number
// of tokens for keys of its own.
type HostStars struct {
	Pubkey string
	Alias  string // the name before the colon of most d tags; the host does not sign it
	Mean   Micro  // of the ratings, 0 to 1
	Count  int    // verified ratings; of each rater and order the newest
	Newest time.Time
}

// starsOf returns the stars of a host.
func starsOf(b *book, pubkey string, asOf int64) HostStars {
	s := HostStars{Pubkey: pubkey}
	n := b.Nodes[pubkey]
	if n == nil {
		return s
	}
	newest := map[string]*rated{}
	for _, r := range n.Ratings {
		if r.Refusal != "" || r.Proof.Grade == "" || r.Expires > 0 && r.Expires <= asOf || b.takenBack(r) {
			continue
		}
		key := r.Rater + "\n" + r.D
		if held := newest[key]; held == nil || held.compare(r.Sighting) < 0 {
			newest[key] = r
		}
	}
	sum, aliases := Micro(0), map[string]int{}
	for _, r := range newest {
		sum += r.Rating
		s.Count++
		if at := time.Unix(r.Created, 0).UTC(); at.After(s.Newest) {
			s.Newest = at
		}
		if alias, _, ok := strings.Cut(r.D, ":"); ok {
			aliases[alias]++
		}
	}
	for alias, n := range aliases {
		if best := aliases[s.Alias]; s.Alias == "" || n > best || n == best && alias < s.Alias {
			s.Alias = alias
		}
	}
	if s.Count > 0 {
		s.Mean = sum / Micro(s.Count)
	}
	return s
}

// coordinatorsOf returns the stars of all coordinators.
func coordinatorsOf(b *book, asOf int64) (list []HostStars) {
	for pubkey, n := range b.Nodes {
		if n.IsNode {
			continue
		}
		for _, r := range n.Ratings {
			if r.Platform == mostro.PlatformRoboSats && r.Refusal == "" && r.Proof.Grade != "" {
				if s := starsOf(b, pubkey, asOf); s.Count > 0 {
					list = append(list, s)
				}
				break
			}
		}
	}
	slices.SortFunc(list, func(a, b HostStars) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(b.Mean, a.Mean), cmp.Compare(a.Pubkey, b.Pubkey))
	})
	return list
}
