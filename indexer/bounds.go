package indexer

import (
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/indexer/names"
	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mostrodex/mostrodex/mostro"
)

// Bounds of the text that the index keeps of one event. An event may hold 128 KiB in one
// field, and this field would cost memory, time in each query and bytes in each answer.
// The signed event is not changed: GET /api/v1/events returns the whole event.
const (
	maxMethods          = 32             // payment methods of an order
	maxMethodBytes      = 120            // of one payment method
	maxMethodsBytes     = 1024           // of all payment methods of an order
	maxDescriptionBytes = 4000           // of the description of an order or a profile
	maxNameBytes        = names.MaxBytes // of names, statuses, versions and other short texts
	maxLinkBytes        = 2048           // of a URL
	maxListed           = 64             // relays, networks, mints and trusted issuers of an instance
	maxMintsBytes       = 8192           // of all mints of an instance
	maxInstanceWords    = 100            // words indexed of an instance
)

// boundOrder cuts the texts of an order. Slices of the order are shared with other
// readers, so boundOrder replaces slices and does not write to the old ones.
func boundOrder(o *mostro.Order) {
	for _, s := range []*string{&o.Platform, &o.InstanceName, &o.RawStatus, &o.Network, &o.MakerName, &o.Geohash} {
		*s = words.Cut(*s, maxNameBytes)
	}
	o.Description = words.Cut(o.Description, maxDescriptionBytes)
	if len(o.Link) > maxLinkBytes {
		o.Link = ""
	}
	if len(o.CashuMintURL) > maxLinkBytes {
		o.CashuMintURL = ""
	}
	o.Layers = boundList(o.Layers, maxMethods, maxNameBytes, maxMethodsBytes)
	o.Methods = boundList(o.Methods, maxMethods, maxMethodBytes, maxMethodsBytes)
}

// boundList returns list itself if list is within the bounds. Otherwise boundList returns
// its beginning: at most n texts of at most each bytes, and at most all bytes together.
func boundList(list []string, n, each, all int) []string {
	size, fits := 0, len(list) <= n
	for i := 0; i < len(list) && fits; i++ {
		size += len(list[i])
		fits = len(list[i]) <= each && size <= all
	}
	if fits {
		return list
	}
	out := make([]string, 0, n)
	for _, s := range list[:min(len(list), n)] {
		s = strings.Clone(strings.TrimSpace(words.Cut(s, min(each, all))))
		if all -= len(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

func boundInfo(i *mostro.Info) {
	for _, s := range []*string{&i.Name, &i.Version, &i.Commit, &i.EscrowMode} {
		*s = words.Cut(*s, maxNameBytes)
	}
	i.CashuMints = boundList(i.CashuMints, maxListed, maxLinkBytes, maxMintsBytes)
	if r := i.ReputationImport; r != nil {
		i.ReputationImport = &mostro.ReputationIssuers{Keys: r.Keys[:min(len(r.Keys), maxListed)]}
	}
	if n := i.LND; n != nil {
		bounded := *n
		for _, s := range []*string{&bounded.Version, &bounded.Pubkey, &bounded.Commit, &bounded.Alias} {
			*s = words.Cut(*s, maxNameBytes)
		}
		for _, list := range []*[]string{&bounded.Chains, &bounded.Networks, &bounded.URIs} {
			*list = boundList(*list, maxListed, maxNameBytes, maxDescriptionBytes)
		}
		i.LND = &bounded
	}
}

func boundProfile(p *mostro.Profile) {
	for _, s := range []*string{&p.Name, &p.DisplayName, &p.NIP05, &p.LUD06, &p.LUD16} {
		*s = words.Cut(*s, maxNameBytes)
	}
	p.About = words.Cut(p.About, maxDescriptionBytes)
	for _, s := range []*string{&p.Website, &p.Picture, &p.Banner} {
		if len(*s) > maxLinkBytes {
			*s = ""
		}
	}
}

// boundHealth keeps the fields that the directory shows.
func boundHealth(h *mostro.Health) {
	checks := slices.Clone(h.Checks[:min(len(h.Checks), maxListed)])
	for i := range checks {
		checks[i].Name = words.Cut(checks[i].Name, maxNameBytes)
	}
	*h = mostro.Health{EventID: h.EventID, Pubkey: h.Pubkey, CreatedAt: h.CreatedAt, Status: h.Status, Checks: checks, Expiration: h.Expiration}
}

func boundRelays(l *mostro.RelayList) {
	relays := slices.DeleteFunc(slices.Clone(l.Relays), func(r mostro.RelayUse) bool { return len(r.URL) > maxLinkBytes })
	l.Relays = relays[:min(len(relays), maxListed)]
}
