package indexer

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
)

// instanceSorts says how instances are sorted: by a number, the greatest
// first, so that what is unknown (the least) comes last.
var instanceSorts = map[string]func(*instanceView) float64{
	"rank":   byRank,
	"volume": func(v *instanceView) float64 { return numberOr(v.VolumeSats, math.Inf(-1)) },
	"trades": func(v *instanceView) float64 { return float64(v.Trades) },
	"fee": func(v *instanceView) float64 { // lowest first
		if v.Fee == nil {
			return math.Inf(-1)
		}
		d, err := mostro.ParseDecimal(*v.Fee)
		if err != nil {
			return math.Inf(-1)
		}
		return -d.Float()
	},
	"age": func(v *instanceView) float64 { // longest known first
		if v.FirstSeenAt == nil {
			return math.Inf(-1)
		}
		return -float64(*v.FirstSeenAt)
	},
}

func numberOr(n *int64, other float64) float64 {
	if n == nil {
		return other
	}
	return float64(*n)
}

// maxPublishers bounds the list of publishers.
const maxPublishers = 500

// directory answers GET /api/v1/instances.
func (x *Index) directory(ctx context.Context, values url.Values) (*instanceList, error) {
	sort, limit, cursor, text, spam := "volume", DefaultLimit, "", "", false
	for name, all := range values {
		value := strings.TrimSpace(all[len(all)-1])
		if value == "" {
			continue
		}
		switch name {
		case "sort":
			if value == "rank" && x.standings == nil {
				return nil, &QueryError{"sort", "rank is not offered: the reputation of instances is switched off here; sort by volume, trades, fee or age"}
			}
			if instanceSorts[value] == nil {
				return nil, &QueryError{"sort", fmt.Sprintf("%q is not rank, volume, trades, fee or age", value)}
			}
			sort = value
		case "limit":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > MaxLimit {
				return nil, &QueryError{"limit", fmt.Sprintf("%q is not a whole number from 1 to %d", value, MaxLimit)}
			}
			limit = n
		case "cursor":
			cursor = value
		case "q":
			text = value
		case "include":
			if spam = value == "spam"; !spam {
				return nil, &QueryError{"include", fmt.Sprintf("%q is not spam", value)}
			}
		default:
			return nil, &QueryError{name, "unknown parameter; known are q, sort, limit, cursor and include"}
		}
	}
	views, publishers := x.book.authors.Load().list(asked(text))
	shun, err := x.shunned(ctx)
	if err != nil {
		return nil, err
	}
	views = slices.DeleteFunc(views, func(v *instanceView) bool { return shun.hides(v.Pubkey, "", spam) })
	publishers = slices.DeleteFunc(publishers, func(v publisherView) bool { return shun.hides(v.Pubkey, "", spam) })
	for _, v := range views {
		x.stand(v)
	}
	number := instanceSorts[sort]
	compare := func(a float64, aKey string, b float64, bKey string) int {
		return cmp.Or(cmp.Compare(b, a), strings.Compare(aKey, bKey))
	}
	slices.SortFunc(views, func(a, b *instanceView) int { return compare(number(a), a.Pubkey, number(b), b.Pubkey) })
	out := &instanceList{Items: []instanceView{}, Total: len(views), Publishers: publishers}
	if cursor != "" {
		at, key, err := readInstanceCursor(cursor, sort)
		if err != nil {
			return nil, err
		}
		views = views[len(views)-len(slices.DeleteFunc(slices.Clone(views), func(v *instanceView) bool {
			return compare(number(v), v.Pubkey, at, key) <= 0
		})):]
	}
	for i, v := range views {
		if i == limit {
			last := views[i-1]
			next := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s|%x|%s", sort, math.Float64bits(number(last)), last.Pubkey))
			out.NextCursor = &next
			break
		}
		out.Items = append(out.Items, *v)
	}
	return out, nil
}

func readInstanceCursor(cursor, sort string) (float64, string, error) {
	bad := &QueryError{"cursor", "not a cursor of this list and sort; start again without it"}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return 0, "", bad
	}
	parts := strings.Split(string(raw), "|")
	if len(parts) != 3 || parts[0] != sort {
		return 0, "", bad
	}
	bits, err := strconv.ParseUint(parts[1], 16, 64)
	if err != nil {
		return 0, "", bad
	}
	return math.Float64frombits(bits), parts[2], nil
}

// list gives the instances whose words answer what was asked, and the other
// authors of orders.
func (s *authors) list(wanted []string) ([]*instanceView, []publisherView) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var views []*instanceView
	publishers := []publisherView{}
	for pubkey, a := range s.byKey {
		if a.Info != nil {
			if allBegin(a.words, wanted) {
				views = append(views, a.view(pubkey))
			}
			continue
		}
		p := publisherView{Pubkey: pubkey, Name: textOrNull(a.name())}
		most := 0
		for platform, n := range a.platform {
			p.Orders += n
			if n > most || n == most && (p.Platform == nil || platform < *p.Platform) {
				most, p.Platform = n, textOrNull(platform)
			}
		}
		if p.Orders > 0 {
			publishers = append(publishers, p)
		}
	}
	slices.SortFunc(publishers, func(a, b publisherView) int {
		return cmp.Or(cmp.Compare(b.Orders, a.Orders), strings.Compare(a.Pubkey, b.Pubkey))
	})
	return views, publishers[:min(len(publishers), maxPublishers)]
}

// instance gives one author: mostro.ErrNotFound when nothing is known of it,
// a refusal when it is no instance.
func (x *Index) instance(r *http.Request, pubkey string) (*instanceView, error) {
	if err := x.hidden(r, pubkey, ""); err != nil {
		return nil, err
	}
	v, err := x.book.authors.Load().instance(pubkey)
	if err == nil {
		x.stand(v) // not under the lock: a reputation may take its time
	}
	return v, err
}

func (s *authors) instance(pubkey string) (*instanceView, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a := s.byKey[pubkey]
	if a == nil {
		return nil, mostro.ErrNotFound
	}
	if v := a.view(pubkey); v != nil {
		return v, nil
	}
	return nil, refuse(404, "This key publishes orders or a profile, but no info event: it is no instance of Mostro. Its orders are at /api/v1/orders?open=any&instance="+pubkey)
}
