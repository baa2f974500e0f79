package orders

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
)

// Openness selects live orders, past orders or both.
type Openness uint8

const (
	// OpenTrue selects the live book: unexpired orders, and only pending ones unless the
	// query names other statuses.
	OpenTrue Openness = iota
	// OpenFalse selects orders that can no longer be taken: orders of other statuses, and
	// all expired orders.
	OpenFalse
	// OpenAny selects both.
	OpenAny
)

// Statuses lists the statuses in the order of their codes in the column store.
var Statuses = [...]mostro.Status{mostro.StatusUnknown, mostro.StatusPending, mostro.StatusInProgress, mostro.StatusSuccess, mostro.StatusCanceled, mostro.StatusExpired, mostro.StatusGone}

// Sort is the sort order of results. Orders without a value come last in both directions.
// Orders of equal value are sorted by their Key.
type Sort string

const (
	SortTrusted     Sort = "trusted" // default: unknown authors last, new authors before them; within a class the newest first
	SortNewest      Sort = "newest"  // created_at, latest first
	SortOldest      Sort = "oldest"
	SortPremium     Sort = "premium" // lowest first
	SortPremiumDesc Sort = "-premium"
	SortAmount      Sort = "amount" // sats, lowest first; market price last
	SortAmountDesc  Sort = "-amount"
	SortExpiry      Sort = "expiry" // soonest first
	SortExpiryDesc  Sort = "-expiry"
	SortCost        Sort = "cost" // premium and half of the fee for the taker, lowest first; only for orders on offer now
)

var sorts = map[Sort]struct {
	order      int
	descending bool
}{
	SortNewest: {ByCreated, true}, SortOldest: {ByCreated, false},
	SortPremium: {ByPremium, false}, SortPremiumDesc: {ByPremium, true},
	SortAmount: {ByAmount, false}, SortAmountDesc: {ByAmount, true},
	SortExpiry: {ByExpiry, false}, SortExpiryDesc: {ByExpiry, true},
	SortCost: {ByCost, false},
}

// Classes of orders, by how well this relay knows the author. Any person can make a key,
// write a known name into orders and state a five-star rating, so the default sort lists
// the classes one after the other.
const (
	ClassKnown   = iota
	ClassNew     // the author was first seen by this relay less than newFor ago
	ClassUnknown // the order says that its author is a Mostro, but the author has published no info event; or the author uses the name of another key
	NumClasses
)

// Limits of the number of orders on a page.
const (
	DefaultLimit = 50
	MaxLimit     = 500
)

// Span is a range of numbers, both ends included. A nil end is open.
type Span struct{ Min, Max *float64 }

func (s Span) empty() bool { return s.Min == nil && s.Max == nil }

// holds reports whether x lies in the span. NaN lies in no span.
func (s Span) holds(x float64) bool {
	return !math.IsNaN(x) && (s.Min == nil || x >= *s.Min) && (s.Max == nil || x <= *s.Max)
}

// meets reports whether the span and [lo, hi] overlap.
func (s Span) meets(lo, hi float64) bool {
	return !math.IsNaN(lo) && (s.Min == nil || hi >= *s.Min) && (s.Max == nil || lo <= *s.Max)
}

// Bounds returns both ends of the span, infinite if open.
func (s Span) Bounds() (lo, hi float64) {
	lo, hi = math.Inf(-1), math.Inf(1)
	if s.Min != nil {
		lo = *s.Min
	}
	if s.Max != nil {
		hi = *s.Max
	}
	return lo, hi
}

// Query is one query to the index, from a URL or a NIP-50 search. If a field has several
// values, an order must have one of them. An order must meet all fields. The zero Query
// matches the live pending orders.
type Query struct {
	Text       string // words; each must be a prefix of a word of the order's text
	Fiat       []string
	Side       []mostro.Side
	Status     []mostro.Status
	Method     []string // words; each must be a prefix of a word of the same payment method
	Platform   []string
	Instance   []string // public keys in hex
	Network    []string
	Amount     Span // sats; an order at market price has no amount
	FiatAmount Span // overlaps the order's range
	Premium    Span // percent
	Rating     Span // mean rating of the maker, on a scale of 5
	MakerDays  Span // age of the maker's account in days
	Open       Openness
	At         time.Time // time of the book; zero: now
	Sort       Sort      // "" is SortTrusted
	Limit      int       // 0 is DefaultLimit
	Cursor     string    // next_cursor of the previous page
	Spam       bool      // orders of quarantined keys are included

	Since, Until uint32  // NIP-50: bounds of created_at; Until 0 is no bound
	Hidden       *Hidden // hidden keys and events; nil: nothing is hidden

	// MinRank is the least rank of the instance of an order; 0: any. A caller that knows
	// the ranks calls Among.
	MinRank int
	Costs   *Costs // for SortCost

	among []string // Instance before Among; nil: Among was not called
	asked int      // bytes of q parsed so far
}

// Among restricts the query to orders of some instances. Cursors stay valid if the instances
// change between two pages.
func (q *Query) Among(instances []string) {
	q.among = append([]string{}, q.Instance...)
	if len(q.Instance) > 0 {
		instances = slices.DeleteFunc(slices.Clone(instances), func(k string) bool { return !slices.Contains(q.Instance, k) })
	}
	if q.Instance = instances; len(instances) == 0 {
		q.Instance = []string{"-"} // an empty list would match all, and no author has this key
	}
}

// QueryError is a parameter that cannot be parsed. Reason says which values are accepted.
type QueryError struct {
	Param  string
	Reason string
}

// Error returns the parameter and the reason.
func (e *QueryError) Error() string { return e.Param + ": " + e.Reason }

// ParseQuery parses URL parameters. If a parameter is unknown or invalid, ParseQuery
// returns a *QueryError for the first such parameter by name. An empty value is ignored.
func ParseQuery(values url.Values) (Query, error) {
	q := Query{}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		at := slices.IndexFunc(orderParams, func(p Param) bool { return p.Name == name })
		if at < 0 {
			var known []string
			for _, p := range orderParams {
				known = append(known, p.Name)
			}
			return Query{}, &QueryError{name, "unknown parameter; known are " + strings.Join(known, ", ")}
		}
		for _, value := range values[name] {
			if strings.TrimSpace(value) == "" {
				continue
			}
			if len(value) > maxValue {
				return Query{}, &QueryError{name, fmt.Sprintf("longer than %d bytes", maxValue)}
			}
			if err := orderParams[at].set(&q, strings.TrimSpace(value)); err != nil {
				return Query{}, &QueryError{name, err.Error()}
			}
		}
	}
	if q.Sort == SortCost && (q.Open != OpenTrue || !q.At.IsZero()) {
		return Query{}, &QueryError{"sort", "the cost is known only of orders on offer now: leave out open and at"}
	}
	if q.Cursor != "" {
		if _, err := q.After(); err != nil {
			return Query{}, &QueryError{"cursor", "not a cursor of this list and sort; start again without it"}
		}
	}
	return q, nil
}

// maxValue bounds the bytes of one parameter. maxValues bounds the values of one field.
const (
	maxValue  = 1024
	maxValues = 100
)

// setText parses the parameter q.
func (q *Query) setText(value string) error {
	if q.asked += len(value); q.asked > maxValue {
		return fmt.Errorf("longer than %d bytes", maxValue)
	}
	return q.ask(value)
}

func (q *Query) setInclude(value string) error {
	if q.Spam = strings.EqualFold(value, "spam"); !q.Spam {
		return fmt.Errorf("%q is not spam", value)
	}
	return nil
}

func (q *Query) setOpen(value string) error {
	open, ok := map[string]Openness{"true": OpenTrue, "false": OpenFalse, "any": OpenAny}[strings.ToLower(value)]
	if !ok {
		return fmt.Errorf("%q is not true, false or any", value)
	}
	q.Open = open
	return nil
}

func (q *Query) setAt(value string) (err error) {
	q.At, err = ParseTime(value)
	return err
}

func (q *Query) setSort(value string) error {
	if _, ok := sorts[Sort(value)]; !ok && Sort(value) != SortTrusted {
		return fmt.Errorf("%q is not trusted, newest, oldest, premium, -premium, amount, -amount, expiry, -expiry or cost", value)
	}
	q.Sort = Sort(value)
	return nil
}

func (q *Query) setLimit(value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > MaxLimit {
		return fmt.Errorf("%q is not a whole number from 1 to %d", value, MaxLimit)
	}
	q.Limit = n
	return nil
}

func (q *Query) setMinRank(value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > 100 {
		return fmt.Errorf("%q is not a whole number from 1 to 100", value)
	}
	q.MinRank = n
	return nil
}

// addAll adds values, which may be separated by commas.
func addAll[T comparable](to *[]T, value string, parse func(string) (T, error)) error {
	for one := range strings.SplitSeq(value, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		v, err := parse(one)
		if err != nil {
			return err
		}
		if slices.Contains(*to, v) {
			continue
		}
		if len(*to) >= maxValues {
			return fmt.Errorf("more than %d values", maxValues)
		}
		*to = append(*to, v)
	}
	return nil
}

// ParsePubkey parses a public key in hex or as npub, and returns it in hex.
func ParsePubkey(s string) (string, error) {
	if strings.HasPrefix(s, "npub1") {
		if prefix, key, err := nip19.Decode(s); err == nil && prefix == "npub" {
			if hex, ok := key.(string); ok {
				return hex, nil
			}
		}
	}
	if s = strings.ToLower(s); nostr.IsValid32ByteHex(s) {
		return s, nil
	}
	return "", fmt.Errorf("%q is not a public key of 64 hex digits or an npub", s)
}

// ParseTime parses a time in unix seconds or RFC 3339.
func ParseTime(s string) (time.Time, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 && n < never {
		return time.Unix(n, 0).UTC(), nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil && t.Unix() > 0 && t.Unix() < never {
		return t.UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%q is not a time in unix seconds or RFC 3339", s)
}

// parse parses 100, 100-500, 100-, 100..500, ..500, -5--2, >100, >=100, <500 and <=500.
// "-2" is minus two.
func (s *Span) parse(value string) error {
	number := func(text string) (*float64, error) {
		d, err := mostro.ParseDecimal(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("%q is not a number, a range such as 1000-50000, or a bound such as >1000 or <=50000", value)
		}
		f := d.Float()
		return &f, nil
	}
	var err error
	switch {
	case strings.HasPrefix(value, ">="):
		s.Min, err = number(value[2:])
	case strings.HasPrefix(value, "<="):
		s.Max, err = number(value[2:])
	case strings.HasPrefix(value, ">"):
		if s.Min, err = number(value[1:]); err == nil {
			f := math.Nextafter(*s.Min, math.Inf(1))
			s.Min = &f
		}
	case strings.HasPrefix(value, "<"):
		if s.Max, err = number(value[1:]); err == nil {
			f := math.Nextafter(*s.Max, math.Inf(-1))
			s.Max = &f
		}
	case strings.Contains(value, ".."):
		lo, hi, _ := strings.Cut(value, "..")
		err = s.ends(lo, hi, number)
	case strings.LastIndexByte(value, '-') > 0:
		// The separator is the first dash behind the first character, which may be a
		// minus sign.
		at := strings.IndexByte(value[1:], '-') + 1
		err = s.ends(value[:at], value[at+1:], number)
	default:
		if s.Min, err = number(value); err == nil {
			s.Max = s.Min
		}
	}
	if err != nil {
		*s = Span{}
		return err
	}
	if s.Min != nil && s.Max != nil && *s.Min > *s.Max {
		*s = Span{}
		return fmt.Errorf("%q is a range whose end is below its beginning", value)
	}
	return nil
}

func (s *Span) ends(lo, hi string, number func(string) (*float64, error)) (err error) {
	if strings.TrimSpace(lo) == "" && strings.TrimSpace(hi) == "" {
		_, err = number("")
		return err
	}
	if strings.TrimSpace(lo) != "" {
		if s.Min, err = number(lo); err != nil {
			return err
		}
	}
	if strings.TrimSpace(hi) != "" {
		s.Max, err = number(hi)
	}
	return err
}

// setKey parses a key:value pair of a search: a filter, or include. known is false for
// other keys.
func (q *Query) setKey(key, value string) (known bool, err error) {
	key = strings.ToLower(key)
	if key == "include" {
		return true, q.setInclude(value)
	}
	f, known := FilterOf(key)
	if !known {
		return false, nil
	}
	return true, f.set(q, value)
}

// ParseSearch parses a NIP-50 search string: words, and key:value extensions whose value
// may be quoted. Unknown keys are ignored, as NIP-50 requires. If a known key has an
// invalid value, none is true and no event matches.
func ParseSearch(search string) (q Query, none bool) {
	q.Open = OpenAny
	var text []string
	for _, token := range splitSearch(search) {
		key, value, isPair := strings.Cut(token.text, ":")
		if token.quoted || !isPair || key == "" || strings.HasPrefix(value, "//") {
			text = append(text, token.text)
			continue
		}
		value = strings.TrimSpace(strings.Trim(value, `"`))
		if value == "" {
			continue
		}
		if _, err := q.setKey(key, value); err != nil && !strings.EqualFold(key, "include") { // other relays may define other values of include
			none = true
		}
	}
	q.Text = strings.Join(text, " ")
	return q, none
}

// ask parses the words of the parameter q. key:value pairs mean the same as in a NIP-50
// search. If the key of a pair is unknown, the pair is searched as text.
func (q *Query) ask(text string) error {
	var rest []string
	for _, token := range splitSearch(text) {
		key, value, isPair := strings.Cut(token.text, ":")
		if value = strings.TrimSpace(value); !token.quoted && isPair && value != "" {
			known, err := q.setKey(key, value)
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			if known {
				continue
			}
		}
		rest = append(rest, token.text)
	}
	q.Text = strings.TrimSpace(q.Text + " " + strings.Join(rest, " "))
	return nil
}

type searchToken struct {
	text   string
	quoted bool // the token begins with a quote: it is text even if it contains a colon
}

// splitSearch splits a search string at spaces outside double quotes.
func splitSearch(s string) []searchToken {
	if len(s) > words.MaxText {
		s = s[:words.MaxText]
	}
	var out []searchToken
	var b strings.Builder
	inQuotes, begun, quoted := false, false, false
	flush := func() {
		if begun {
			out = append(out, searchToken{b.String(), quoted})
		}
		b.Reset()
		begun, quoted = false, false
	}
	for _, r := range s {
		switch {
		case r == '"':
			if !begun {
				quoted = true
			}
			begun = true
			inQuotes = !inQuotes
		case !inQuotes && (r == ' ' || r == '\t' || r == '\n' || r == '\r'):
			flush()
		default:
			begun = true
			b.WriteRune(r)
		}
	}
	flush()
	return out
}

// Order returns the sort order of a query within a class, as one of the constants
// ByCreated to ByExpiry, and its direction.
func (q *Query) Order() (order int, descending bool) {
	name := q.Sort
	if name == "" || name == SortTrusted {
		name = SortNewest
	}
	return sorts[name].order, sorts[name].descending
}

// PageSize returns the number of orders on a page: Limit within its bounds.
func (q *Query) PageSize() int {
	if q.Limit <= 0 {
		return DefaultLimit
	}
	return min(q.Limit, MaxLimit)
}

// CursorAt returns the cursor of the page behind m.
func (q *Query) CursorAt(m Mark) string {
	b := append(q.fingerprint(), m.Class)
	b = binary.BigEndian.AppendUint64(b, m.Key)
	return base64.RawURLEncoding.EncodeToString(append(b, m.ID[:]...))
}

// After decodes Cursor, and returns nil if there is none.
func (q *Query) After() (*Mark, error) {
	if q.Cursor == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(q.Cursor)
	head := q.fingerprint()
	if err != nil || len(b) != len(head)+1+8+len(Key{}) || string(b[:len(head)]) != string(head) || b[len(head)] >= NumClasses {
		return nil, &QueryError{"cursor", "not a cursor of this list"}
	}
	b = b[len(head):]
	return &Mark{Class: b[0], Key: binary.BigEndian.Uint64(b[1:]), ID: Key(b[9:])}, nil
}

// fingerprint returns a hash of the conditions and the sort of a query. A cursor contains
// the fingerprint, so that a cursor of another query is refused. The length of the page
// and the operator's rules are not hashed.
func (q *Query) fingerprint() []byte {
	asked := *q
	asked.Hidden = nil
	if q.among != nil {
		asked.Instance = q.among
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "3 %s %d %s %d", asked.CacheKey(), q.At.Unix(), q.Sort, q.MinRank))
	return sum[:8:8]
}

// CacheKey returns a text that is equal for two queries only if their conditions are equal.
func (q *Query) CacheKey() string {
	rules := uint64(0)
	if q.Hidden != nil {
		rules = q.Hidden.Version
	}
	out := fmt.Appendf(nil, "%d %t %q", rules, q.Spam, q.Text)
	for _, f := range Filters {
		out = append(append(out, ' '), f.text(q)...)
	}
	return string(fmt.Appendf(out, " %d", q.Open))
}

// MarkOf returns the sort position of an order in the results of the query.
func (q *Query) MarkOf(k Key, v *Version) Mark {
	m := Mark{ID: k}
	switch order, _ := q.Order(); order {
	case ByCreated:
		m.Key = uint64(ClampTime(int64(v.Order.CreatedAt)))
	case ByPremium:
		m.Key = FloatKey(FloatOf(v.Order.PremiumPct))
	case ByAmount:
		m.Key = UnknownKey
		if v.Order.AmountSats != nil {
			m.Key = AmountKey(*v.Order.AmountSats)
		}
	case ByExpiry:
		m.Key = ExpiryKey(v.endsAt())
	}
	return m
}
