package indexer

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
)

// Infos returns the newest info of each instance, with Name set to the name that the
// explorer shows, sorted by public key. Banned and quarantined keys are left out.
func (x *Index) Infos() []mostro.Info {
	hidden := func(string) bool { return false }
	if x.cfg.Rules != nil {
		_, never, onDemand, _ := x.cfg.Rules.Hidden()
		hidden = func(pubkey string) bool {
			var key [32]byte
			_, err := hex.Decode(key[:], []byte(pubkey))
			_, banned := never[key]
			_, quarantined := onDemand[key]
			return err == nil && (banned || quarantined)
		}
	}
	s := x.book.authors.Load()
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []mostro.Info
	for pubkey, a := range s.infos {
		if !hidden(pubkey) {
			info := *a.Info
			info.Name = a.name()
			out = append(out, info)
		}
	}
	slices.SortFunc(out, func(a, b mostro.Info) int { return strings.Compare(a.Pubkey, b.Pubkey) })
	return out
}

// maxOffers bounds the orders that one call of Offers reads.
const maxOffers = 10_000

// Offers returns the pending orders of instances in one currency and on one side (the
// maker's), newest first. If method is not "", only orders with this payment method are
// returned. whole is false if there are more orders than were returned.
func (x *Index) Offers(ctx context.Context, fiat string, side mostro.Side, method string) (offers []mostro.Order, whole bool, err error) {
	q := orders.Query{Fiat: []string{fiat}, Side: []mostro.Side{side}, Limit: orders.MaxLimit}
	if method != "" {
		q.Method = []string{method}
	}
	for _, info := range x.Infos() {
		q.Instance = append(q.Instance, info.Pubkey)
	}
	if len(q.Instance) == 0 { // an empty Query.Instance would match all authors
		return nil, true, nil
	}
	for {
		a, err := x.Orders(ctx, q)
		if err != nil {
			return nil, false, err
		}
		for _, r := range a.Orders {
			offers = append(offers, r.Order)
		}
		if a.Next == "" || len(offers) >= maxOffers {
			return offers, a.Next == "", nil
		}
		q.Cursor = a.Next
	}
}
