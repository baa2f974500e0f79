package stats

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro"
)

// ParamError is the error of a query with a bad parameter. Param is the name of the
// parameter as the HTTP API spells it.
type ParamError struct{ Param, Reason string }

// Error returns the parameter and the reason.
func (e *ParamError) Error() string { return e.Param + ": " + e.Reason }

func badParam(param, format string, args ...any) error {
	return &ParamError{Param: param, Reason: fmt.Sprintf(format, args...)}
}

// Clock selects the times that date an event.
type Clock uint8

const (
	Signed    Clock = iota // created_at: the claim of the author
	Witnessed              // time at which this relay received the event live; other events do not count
)

// String returns "signed" or "witnessed".
func (c Clock) String() string {
	if c == Witnessed {
		return "witnessed"
	}
	return "signed"
}

// Dimension is a property by which figures are filtered or grouped.
type Dimension string

const (
	ByInstance Dimension = "instance" // public key, hex
	ByFiat     Dimension = "fiat"
	BySide     Dimension = "side"
	ByPlatform Dimension = "platform"
	ByNetwork  Dimension = "network"
	ByMethod   Dimension = "method" // an order counts in full for each of its methods
)

// Dimensions lists all dimensions.
var Dimensions = []Dimension{ByInstance, ByFiat, BySide, ByPlatform, ByNetwork, ByMethod}

// Filter selects orders by their dimensions. An order matches if each dimension that the
// filter names holds one of the named values. The zero Filter matches all orders.
type Filter map[Dimension][]string

// Query selects events by time and by Filter.
type Query struct {
	// From and Until are unix seconds and bound the window [From, Until). Until is also
	// the present of metrics such as orders.open_now.
	From, Until int64
	Filter      Filter
	Clock       Clock
	// In is the currency of volume.in.*: "" leaves these metrics out.
	In string
	// Exclude holds the public keys whose events do not count, in any number of sets.
	Exclude []map[[32]byte]struct{}
	// Distrust reports whether the signed rates of a key price no offer. nil: of no key.
	Distrust func(pubkey string) bool
}

// Bounds of a query. An uint32 holds seconds until the year 2106.
const (
	maxTime   = math.MaxUint32
	maxWindow = 100 * 366 * 86400 // seconds
	maxPoints = 50_000            // of one series
	maxValues = 500               // of one dimension of a filter
)

func (q *Query) check() error {
	switch {
	case q.From < 0:
		return badParam("from", "is before 1970")
	case q.Until > maxTime:
		return badParam("until", "is after 2106")
	case q.Until <= q.From:
		return badParam("until", "is not after from")
	case q.Until-q.From > maxWindow:
		return badParam("until", "the window is longer than 100 years")
	case q.Clock > Witnessed:
		return badParam("clock", "is neither signed nor witnessed")
	case len(q.In) > 16:
		return badParam("in", "is no currency code")
	}
	return q.Filter.check()
}

func (f Filter) check() error {
	for dim, values := range f {
		if !slices.Contains(Dimensions, dim) {
			return badParam(string(dim), "is no dimension")
		}
		if len(values) > maxValues {
			return badParam(string(dim), "has more than %d values", maxValues)
		}
		for _, v := range values {
			switch {
			case dim == ByInstance && !hex32.Valid(v):
				return badParam(string(dim), "is no public key of 64 lower-case hex digits")
			case dim == BySide && v != string(mostro.SideBuy) && v != string(mostro.SideSell):
				return badParam(string(dim), "is neither buy nor sell")
			case len(v) > maxText:
				return badParam(string(dim), "has more than %d bytes", maxText)
			}
		}
	}
	return nil
}

// Every is the width of the buckets of a series.
type Every string

const (
	Hour  Every = "hour"
	Day   Every = "day"
	Week  Every = "week" // from Monday
	Month Every = "month"
)

// firstMonday is the first Monday of 1970, in unix seconds.
const firstMonday = 4 * 86400

// Floor returns the start of the bucket that holds t.
func (e Every) Floor(t int64) int64 { return e.floor(t) }

// floor returns the start of the bucket that holds t.
func (e Every) floor(t int64) int64 {
	switch e {
	case Hour:
		return t - mod(t, 3600)
	case Day:
		return t - mod(t, 86400)
	case Week:
		return t - mod(t-firstMonday, 7*86400)
	}
	y, m, _ := time.Unix(t, 0).UTC().Date()
	return time.Date(y, m, 1, 0, 0, 0, 0, time.UTC).Unix()
}

func mod(a, b int64) int64 { return ((a % b) + b) % b }

// step returns the start of the bucket that lies n buckets after the bucket start t.
func (e Every) step(t int64, n int) int64 {
	switch e {
	case Hour:
		return t + 3600*int64(n)
	case Day:
		return t + 86400*int64(n)
	case Week:
		return t + 7*86400*int64(n)
	}
	y, m, _ := time.Unix(t, 0).UTC().Date()
	return time.Date(y, m+time.Month(n), 1, 0, 0, 0, 0, time.UTC).Unix()
}

// buckets returns the bounds of the buckets that overlap [from, until), preceded by the
// start of the bucket before. The outer buckets are whole.
func (e Every) buckets(from, until int64) ([]int64, error) {
	width := map[Every]int64{Hour: 3600, Day: 86400, Week: 7 * 86400, Month: 28 * 86400}[e]
	if width == 0 {
		return nil, badParam("by", "is neither hour, day, week nor month")
	}
	if n := (until-from)/width + 1; n > maxPoints {
		return nil, badParam("by", "the series has more than %d points", maxPoints)
	}
	t := e.floor(from)
	bounds := []int64{e.step(t, -1), t}
	for t < until {
		t = e.step(t, 1)
		bounds = append(bounds, t)
	}
	return bounds, nil
}

// windowBounds returns the window of a query, preceded by the start of the window before:
// the calendar month before if the window is a calendar month, else as long a time.
func windowBounds(from, until int64) []int64 {
	before := from - (until - from)
	if Month.floor(from) == from && Month.step(from, 1) == until {
		before = Month.step(from, -1)
	}
	return []int64{before, from, until}
}

// ParseQuery parses the parameters of an HTTP query: from, until (unix seconds or
// RFC 3339), instance, fiat, side, platform, network, method, clock and in. now is the
// default of until, in unix seconds; the default of from is 30 days before until. The
// error is a ParamError. Parameters of other names are ignored.
func ParseQuery(values map[string][]string, now int64) (Query, error) {
	one := func(name string) (string, error) {
		v := values[name]
		if len(v) > 1 {
			return "", badParam(name, "is given %d times", len(v))
		}
		if len(v) == 0 {
			return "", nil
		}
		return strings.TrimSpace(v[0]), nil
	}
	moment := func(name string, otherwise int64) (int64, error) {
		v, err := one(name)
		if err != nil || v == "" {
			return otherwise, err
		}
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return n, nil
		}
		t, err := time.Parse(time.RFC3339, v)
		if err != nil {
			return 0, badParam(name, "is neither unix seconds nor an RFC 3339 time")
		}
		return t.Unix(), nil
	}
	var q Query
	var err error
	if q.Until, err = moment("until", now); err != nil {
		return Query{}, err
	}
	if q.From, err = moment("from", max(0, q.Until-30*86400)); err != nil {
		return Query{}, err
	}
	clock, err := one("clock")
	if err != nil {
		return Query{}, err
	}
	switch clock {
	case "", "signed":
	case "witnessed":
		q.Clock = Witnessed
	default:
		return Query{}, badParam("clock", "is neither signed nor witnessed")
	}
	if q.In, err = one("in"); err != nil {
		return Query{}, err
	}
	q.In = strings.ToUpper(q.In)
	for _, dim := range Dimensions {
		for _, v := range values[string(dim)] {
			if v = strings.TrimSpace(v); v == "" {
				continue
			}
			switch dim {
			case ByFiat:
				v = strings.ToUpper(v)
			case ByInstance, BySide, ByPlatform, ByNetwork:
				v = strings.ToLower(v)
			}
			if q.Filter == nil {
				q.Filter = Filter{}
			}
			q.Filter[dim] = append(q.Filter[dim], v)
		}
	}
	return q, q.check()
}
