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
	"time"

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
	views, publishers := x.book.authors.Load().list(asked(text), x.cfg.Now())
	shun, err := x.shunned(ctx)
	if err != nil {
		return nil, err
	}
	views = slices.DeleteFunc(views, func(v *instanceView) bool { return shun.hides(v.Pubkey, "", spam) })
	publishers = slices.DeleteFunc(publishers, func(v publisherView) bool { return shun.hides(v.Pubkey, "", spam) })
	for _, v := range views {
		x.stand(v)
		x.countOpen(v)
	}
	number := instanceSorts[sort]
	compare := func(a, b instancePlace) int {
		return cmp.Or(cmp.Compare(a.marked, b.marked), cmp.Compare(b.number, a.number), strings.Compare(a.pubkey, b.pubkey))
	}
	place := func(v *instanceView) instancePlace {
		p := instancePlace{number: number(v), pubkey: v.Pubkey}
		if v.UsesNameOf != nil {
			p.marked = 1
		}
		return p
	}
	slices.SortFunc(views, func(a, b *instanceView) int { return compare(place(a), place(b)) })
	list := sort + " " + text // cursors of other lists are refused
	out := &instanceList{Items: []instanceView{}, Total: len(views), Publishers: publishers}
	if cursor != "" {
		at, err := readInstanceCursor(cursor, list)
		if err != nil {
			return nil, err
		}
		views = views[len(views)-len(slices.DeleteFunc(slices.Clone(views), func(v *instanceView) bool {
			return compare(place(v), at) <= 0
		})):]
	}
	for i, v := range views {
		if i == limit {
			last := place(views[i-1])
			next := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d|%x|%s|%s", last.marked, math.Float64bits(last.number), last.pubkey, list))
			out.NextCursor = &next
			break
		}
		out.Items = append(out.Items, *v)
	}
	return out, nil
}

// instancePlace is the place of an instance in a list: those that use another's
// name come last, whatever they claim.
type instancePlace struct {
	marked int
	number float64
	pubkey string
}

func readInstanceCursor(cursor, list string) (p instancePlace, err error) {
	bad := &QueryError{"cursor", "not a cursor of this list and sort; start again without it"}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return p, bad
	}
	parts := strings.SplitN(string(raw), "|", 4)
	if len(parts) != 4 || parts[3] != list {
		return p, bad
	}
	marked, err := strconv.Atoi(parts[0])
	bits, err2 := strconv.ParseUint(parts[1], 16, 64)
	if err != nil || err2 != nil {
		return p, bad
	}
	return instancePlace{marked, math.Float64frombits(bits), parts[2]}, nil
}

// list gives the instances whose words answer what was asked, and the other
// authors of orders.
func (s *authors) list(wanted []string, now time.Time) ([]*instanceView, []publisherView) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var views []*instanceView
	publishers := []publisherView{}
	for pubkey, a := range s.byKey {
		if a.Info != nil {
			if allBegin(a.words, wanted) {
				views = append(views, a.view(pubkey, s.note(pubkey, "", now)))
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
	v, err := x.book.authors.Load().instance(pubkey, x.cfg.Now())
	if err == nil {
		x.stand(v) // not under the lock: a reputation may take its time
		x.countOpen(v)
	}
	return v, err
}

// countOpen counts as pending only what can still be taken. A Mostro may publish
// nothing when an order expires.
func (x *Index) countOpen(v *instanceView) {
	x.sweep(x.cfg.Now())
	pending, expired := string(mostro.StatusPending), string(mostro.StatusExpired)
	open := min(x.book.shelf.Load().pendingOf(v.Pubkey), v.Orders[pending])
	if gone := v.Orders[pending] - open; gone > 0 {
		v.Orders[expired] += gone
	}
	if v.Orders[pending] = open; open == 0 {
		delete(v.Orders, pending)
	}
}

func (s *authors) instance(pubkey string, now time.Time) (*instanceView, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a := s.byKey[pubkey]
	if a == nil {
		return nil, mostro.ErrNotFound
	}
	if v := a.view(pubkey, s.note(pubkey, "", now)); v != nil {
		return v, nil
	}
	return nil, refuse(404, "This key publishes orders or a profile, but no info event: it is no instance of Mostro. Its orders are at /api/v1/orders?open=any&instance="+pubkey)
}
