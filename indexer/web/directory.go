package web

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
)

// instanceSorts maps the name of a sort to the number by which instances are sorted,
// highest first. An unknown value is the lowest number and sorts last.
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
	"orders": func(v *instanceView) float64 { return float64(v.Orders[string(mostro.StatusPending)]) },
	"limit":  func(v *instanceView) float64 { return numberOr(v.MaxOrderSats, math.Inf(-1)) }, // greatest first
	"bond": func(v *instanceView) float64 { // those that require one first
		switch {
		case v.Bond == nil:
			return math.Inf(-1)
		case v.Bond.Enabled:
			return 1
		}
		return 0
	},
	"version": func(v *instanceView) float64 { return versionNumber(v.Version) }, // newest first
	"health": func(v *instanceView) float64 { // healthy first
		if v.Health == nil {
			return math.Inf(-1)
		}
		return map[string]float64{"ok": 3, "degraded": 2, "unknown": 1}[v.Health.Status]
	},
	"seen": func(v *instanceView) float64 { return numberOr(v.LastSeenAt, math.Inf(-1)) }, // last seen first
	"age": func(v *instanceView) float64 { // first seen earliest first
		if v.FirstSeenAt == nil {
			return math.Inf(-1)
		}
		return -float64(*v.FirstSeenAt)
	},
}

// versionNumber returns a version of the form 0.20.2 as a number that sorts as versions do, and the
// lowest number for other forms.
func versionNumber(v *string) float64 {
	if v == nil {
		return math.Inf(-1)
	}
	number := 0.0
	parts := strings.Split(strings.TrimPrefix(*v, "v"), ".")
	for i := range 3 {
		part := 0
		if i < len(parts) {
			digits, _, _ := strings.Cut(parts[i], "-")
			n, err := strconv.Atoi(digits)
			if err != nil || n < 0 || n > 99_999 {
				return math.Inf(-1)
			}
			part = n
		}
		number = number*100_000 + float64(part)
	}
	return number
}

func numberOr(n *int64, other float64) float64 {
	if n == nil {
		return other
	}
	return float64(*n)
}

// sortNames lists the names of the sorts as text.
func sortNames(ranked bool) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(instanceSorts)) {
		if ranked || name != "rank" {
			names = append(names, name)
		}
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// directory answers GET /api/v1/instances.
func (x *views) directory(ctx context.Context, values url.Values) (*instanceList, error) {
	sort, limit, cursor, text, spam := "volume", orders.DefaultLimit, "", "", false
	for name, all := range values {
		value := strings.TrimSpace(all[len(all)-1])
		if value == "" {
			continue
		}
		switch name {
		case "sort":
			if value == "rank" && x.summaries == nil {
				return nil, &orders.QueryError{Param: "sort", Reason: "rank is not offered: the reputation of instances is switched off here; sort by " + sortNames(false)}
			}
			if instanceSorts[value] == nil {
				return nil, &orders.QueryError{Param: "sort", Reason: fmt.Sprintf("%q is not %s", value, sortNames(true))}
			}
			sort = value
		case "limit":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > orders.MaxLimit {
				return nil, &orders.QueryError{Param: "limit", Reason: fmt.Sprintf("%q is not a whole number from 1 to %d", value, orders.MaxLimit)}
			}
			limit = n
		case "cursor":
			cursor = value
		case "q":
			text = value
		case "include":
			if spam = value == "spam"; !spam {
				return nil, &orders.QueryError{Param: "include", Reason: fmt.Sprintf("%q is not spam", value)}
			}
		default:
			return nil, &orders.QueryError{Param: name, Reason: "unknown parameter; known are q, sort, limit, cursor and include"}
		}
	}
	instances, authors, err := x.index.Instances(ctx, text, spam)
	if err != nil {
		return nil, err
	}
	views, publishers := []*instanceView{}, []publisherView{}
	for _, i := range instances {
		v := viewOf(i, x.index.Now())
		x.stand(v)
		views = append(views, v)
	}
	for _, p := range authors {
		publishers = append(publishers, publisherView{p.Pubkey, textOrNull(p.Name), textOrNull(p.Platform), p.Orders})
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
	list := sort + " " + text // a cursor is refused if it belongs to another list
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

// instancePlace is the position of an instance in a list. Instances that use the name of
// another key come last, whatever values they state.
type instancePlace struct {
	marked int
	number float64
	pubkey string
}

func readInstanceCursor(cursor, list string) (p instancePlace, err error) {
	bad := &orders.QueryError{Param: "cursor", Reason: "not a cursor of this list and sort; start again without it"}
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

// instance returns the view of one instance.
func (x *views) instance(ctx context.Context, pubkey string, spam bool) (*instanceView, error) {
	i, err := x.index.Instance(ctx, pubkey, spam)
	if errors.Is(err, indexer.ErrNoInstance) {
		return nil, refuse(http.StatusNotFound, "This key publishes orders or a profile, but no info event: it is no instance of Mostro. Its orders are at /api/v1/orders?open=any&instance="+pubkey)
	}
	if err != nil {
		return nil, err
	}
	v := viewOf(i, x.index.Now())
	x.stand(v)
	return v, nil
}
