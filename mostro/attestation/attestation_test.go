package attestation

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// vectors is the part of the reference's test vectors that the tests read.
type vectors struct {
	Context struct {
		Now         int64           `json:"now"`
		MaxLifetime int64           `json:"max_lifetime"`
		OwnKey      string          `json:"own_issuer_key"`
		Identity    string          `json:"proven_identity"`
		TrustList   []trustedIssuer `json:"trust_list"`
	} `json:"context"`
	Keys        map[string]string `json:"secret_keys"`
	Attestation struct {
		Valid    vector   `json:"valid"`
		Accepted []vector `json:"accepted"`
		Invalid  []vector `json:"invalid"`
	} `json:"attestation"`
	Rebind struct {
		Context struct {
			Now         int64  `json:"now"`
			Bound       string `json:"bound_identity"`
			Destination string `json:"destination"`
			IssuerKey   string `json:"issuer_key"`
		} `json:"context"`
		Valid   vector   `json:"valid"`
		Invalid []vector `json:"invalid"`
	} `json:"rebind"`
	Rounding []struct {
		Average float64 `json:"average"`
		Rating  string  `json:"rating"`
	} `json:"rating_rounding"`
	Merge struct {
		Tolerance float64 `json:"tolerance"`
		Cases     []struct {
			Name   string `json:"name"`
			Import struct {
				Rating  string `json:"rating"`
				Reviews uint32 `json:"reviews"`
				Since   int64  `json:"since"`
			} `json:"import"`
			Before, After, Reverted row
		} `json:"cases"`
	} `json:"merge"`
}

type trustedIssuer struct {
	Name string   `json:"name"`
	Keys []string `json:"keys"`
}

type vector struct {
	Name   string          `json:"name"`
	Event  json.RawMessage `json:"event"`
	JSON   string          `json:"json"`
	Reason message.Reason  `json:"reason"`
	Expect map[string]any  `json:"expect"`
}

type row struct {
	TotalReviews    int64   `json:"total_reviews"`
	TotalRating     float64 `json:"total_rating"`
	LastRating      int64   `json:"last_rating"`
	MaxRating       int64   `json:"max_rating"`
	MinRating       int64   `json:"min_rating"`
	CreatedAt       int64   `json:"created_at"`
	SeededReviews   int64   `json:"seeded_reviews"`
	SeededSum       float64 `json:"seeded_rating_sum"`
	NativeSum       float64 `json:"native_rating_sum"`
	NativeCreatedAt int64   `json:"native_created_at"`
}

func readVectors(t testing.TB) vectors {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "reputation_v1.json"))
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Attestation.Accepted) != 4 || len(v.Attestation.Invalid) != 31 || len(v.Rebind.Invalid) != 9 || len(v.Rounding) != 8 || len(v.Merge.Cases) != 2 {
		t.Fatalf("vectors: %d accepted, %d refused, %d refused rebinds, %d roundings, %d merges",
			len(v.Attestation.Accepted), len(v.Attestation.Invalid), len(v.Rebind.Invalid), len(v.Rounding), len(v.Merge.Cases))
	}
	return v
}

func (v vectors) policy() Policy {
	p := Policy{Issuers: map[string]string{}, OwnKey: v.Context.OwnKey, Lifetime: v.Context.MaxLifetime}
	for _, issuer := range v.Context.TrustList {
		for _, key := range issuer.Keys {
			p.Issuers[key] = issuer.Name
		}
	}
	return p
}

func (v vectors) sign(t testing.TB, name string, evt nostr.Event) string {
	t.Helper()
	if err := evt.Sign(v.Keys[name]); err != nil {
		t.Fatal(err)
	}
	return string(mostro.EncodeEvent(&evt))
}

func reasonOf(t *testing.T, err error) message.Reason {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Fault == "" || e.Error() == "" {
		t.Fatalf("an error of another kind: %v", err)
	}
	return e.Reason()
}

func TestAttestationVectors(t *testing.T) {
	v := readVectors(t)
	now, p := time.Unix(v.Context.Now, 0), v.policy()
	for _, c := range append(v.Attestation.Accepted, v.Attestation.Valid) {
		a, err := p.Accept(string(c.Event), v.Context.Identity, now)
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		// The same facts are written as the same event, except for tags that the rules do
		// not name.
		evt, err := a.Event()
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		if evt.ID = evt.GetID(); evt.ID != a.EventID && c.Name != "unknown_tag_ignored" {
			t.Errorf("%s is written as %s", c.Name, evt)
		}
	}
	valid := v.Attestation.Valid
	a, err := p.Accept(valid.JSON, v.Context.Identity, now)
	if err != nil {
		t.Fatal(err)
	}
	want := Attestation{
		EventID: "a52ccf54b31581681c681b9fe939a8742705c7af231ef3a7e33b9c86d3d6a78a", Issuer: valid.Expect["issuer_key"].(string),
		Destination: valid.Expect["destination"].(string), Subject: valid.Expect["subject"].(string),
		Figures:   Figures{Reviews: 214, Hundredths: 487, Since: 1696204800},
		CreatedAt: 1790899200, Expiration: 1791504000,
	}
	if !reflect.DeepEqual(a, want) || a.RatingText() != valid.Expect["rating"] || p.Issuers[a.Issuer] != valid.Expect["issuer_name"] {
		t.Errorf("have %+v\nwant %+v", a, want)
	}
	for _, c := range v.Attestation.Invalid {
		if _, err := p.Accept(string(c.Event), v.Context.Identity, now); err == nil {
			t.Errorf("%s: accepted", c.Name)
		} else if got := reasonOf(t, err); got != c.Reason {
			t.Errorf("%s: have %s (%v), want %s", c.Name, got, err, c.Reason)
		}
	}
}

func TestRebindVectors(t *testing.T) {
	v := readVectors(t)
	now := time.Unix(v.Rebind.Context.Now, 0)
	accept := func(text string) error {
		r, err := ParseRebind(text, now)
		if err == nil {
			err = r.Check(v.Rebind.Context.IssuerKey, v.Rebind.Context.Bound, v.Rebind.Context.Destination)
		}
		return err
	}
	if err := accept(v.Rebind.Valid.JSON); err != nil {
		t.Fatal(err)
	}
	r, err := ParseRebind(string(v.Rebind.Valid.Event), now)
	if err != nil {
		t.Fatal(err)
	}
	evt, err := r.Event()
	if err != nil {
		t.Fatal(err)
	}
	if evt.ID = evt.GetID(); evt.ID != r.EventID || r.Expiration != 1790905800 {
		t.Errorf("written as %s", evt)
	}
	for _, c := range v.Rebind.Invalid {
		if err := accept(string(c.Event)); err == nil {
			t.Errorf("%s: accepted", c.Name)
		} else if got := reasonOf(t, err); got != c.Reason {
			t.Errorf("%s: have %s, want %s", c.Name, got, c.Reason)
		}
	}
}

// TestFaults changes one thing of a valid attestation and signs it again, so that only
// the changed thing can be the fault.
func TestFaults(t *testing.T) {
	v := readVectors(t)
	now := time.Unix(v.Context.Now, 0)
	good, err := Parse(v.Attestation.Valid.JSON, now, Lifetime)
	if err != nil {
		t.Fatal(err)
	}
	event := func() nostr.Event {
		evt, err := good.Event()
		if err != nil {
			t.Fatal(err)
		}
		return evt
	}
	set := func(name string, values ...string) func(*nostr.Event) {
		return func(evt *nostr.Event) {
			for i := range evt.Tags {
				if evt.Tags[i][0] == name {
					evt.Tags[i] = append(nostr.Tag{name}, values...)
				}
			}
		}
	}
	add := func(tag ...string) func(*nostr.Event) {
		return func(evt *nostr.Event) { evt.Tags = append(evt.Tags, tag) }
	}
	for name, c := range map[string]struct {
		change func(*nostr.Event)
		fault  Fault
		tag    string
	}{
		"nothing":                  {func(*nostr.Event) {}, "", ""},
		"a content":                {func(evt *nostr.Event) { evt.Content = "x" }, "", ""}, // the reference ignores the content
		"another value in a tag":   {set("subject", "abc", "def"), "", ""},
		"a tag that is unknown":    {add("client", "x"), "", ""},
		"the unknown tag twice":    {func(evt *nostr.Event) { add("c")(evt); add("c")(evt) }, "", ""},
		"a d":                      {add("d", "x"), "", ""},
		"tags in another order":    {func(evt *nostr.Event) { evt.Tags[0], evt.Tags[6] = evt.Tags[6], evt.Tags[0] }, "", ""},
		"an empty tag":             {add(), FaultMalformed, ""},
		"created before 1970":      {func(evt *nostr.Event) { evt.CreatedAt = -1 }, FaultMalformed, ""},
		"kind 38389":               {func(evt *nostr.Event) { evt.Kind = 38389 }, FaultKind, ""},
		"z twice":                  {add("z", attestationZ), FaultDocument, ""},
		"z without value":          {set("z"), FaultDocument, ""},
		"z with a space":           {set("z", attestationZ+" "), FaultDocument, ""},
		"p twice":                  {add("p", good.Destination), FaultRepeated, "p"},
		"p again without value":    {add("p"), FaultRepeated, "p"},
		"p without value":          {set("p"), FaultValue, "p"},
		"p an npub":                {set("p", "npub1"), FaultValue, "p"},
		"subject without value":    {set("subject"), FaultValue, "subject"},
		"subject of 64":            {set("subject", strings.Repeat("_", 64)), "", ""},
		"subject of two bytes":     {set("subject", "é"), FaultValue, "subject"},
		"subject with NUL":         {set("subject", "a\x00"), FaultValue, "subject"},
		"reviews 5":                {set("reviews", "5"), "", ""},
		"reviews u32":              {set("reviews", "4294967295"), "", ""},
		"reviews u64":              {set("reviews", "18446744073709551615"), FaultValue, "reviews"},
		"reviews beyond":           {set("reviews", strings.Repeat("9", 400)), FaultValue, "reviews"},
		"reviews spaced":           {set("reviews", " 214"), FaultValue, "reviews"},
		"reviews as a float":       {set("reviews", "214.0"), FaultValue, "reviews"},
		"reviews in other digits":  {set("reviews", "٢١٤"), FaultValue, "reviews"},
		"rating 1.00":              {set("rating", "1.00"), "", ""},
		"rating 5.00":              {set("rating", "5.00"), "", ""},
		"rating 0.00":              {set("rating", "0.00"), FaultValue, "rating"},
		"rating 4.8x":              {set("rating", "4.8x"), FaultValue, "rating"},
		"rating signed":            {set("rating", "+.50"), FaultValue, "rating"},
		"rating NaN":               {set("rating", "NaN"), FaultValue, "rating"},
		"rating exponent":          {set("rating", "4e00"), FaultValue, "rating"},
		"since the first day":      {set("since", "1577836800"), "", ""},
		"since the day of signing": {set("since", "1790899200"), "", ""},
		"since 0":                  {set("since", "0"), FaultValue, "since"},
		"since beyond":             {set("since", "9223372036854784000"), FaultValue, "since"},
		"expiration 0":             {set("expiration", "0"), FaultValue, "expiration"},
		"expiration beyond":        {set("expiration", "18446744073709551616"), FaultValue, "expiration"},
		"expiration of 7 days":     {set("expiration", fmt.Sprint(1790899200+Lifetime)), "", ""},
		"expiration a second more": {set("expiration", fmt.Sprint(1790899200+Lifetime+1)), FaultLifetime, ""},
		"expiration at the end":    {set("expiration", fmt.Sprint(int64(math.MaxInt64))), FaultLifetime, ""},
	} {
		evt := event()
		c.change(&evt)
		_, err := Parse(v.sign(t, "issuer-a", evt), now, Lifetime)
		var e *Error
		if c.fault == "" && err != nil || c.fault != "" && (!errors.As(err, &e) || e.Fault != c.fault || e.Tag != c.tag) {
			t.Errorf("%s: %v, want %q of %q", name, err, c.fault, c.tag)
		}
	}
	// Both clocks may differ by ClockSkew, and by no second more.
	text := v.sign(t, "issuer-a", event())
	for at, fault := range map[int64]Fault{
		int64(good.CreatedAt) - ClockSkew: "", int64(good.CreatedAt) - ClockSkew - 1: FaultFuture,
		int64(good.Expiration) + ClockSkew: "", int64(good.Expiration) + ClockSkew + 1: FaultExpired,
		math.MinInt64 / 2: FaultFuture, math.MaxInt64 / 2: FaultExpired,
	} {
		var e *Error
		if _, err := Parse(text, time.Unix(at, 0), Lifetime); fault == "" && err != nil || fault != "" && (!errors.As(err, &e) || e.Fault != fault) {
			t.Errorf("at %d: %v, want %q", at, err, fault)
		}
	}
	// An expired attestation with too long a life is expired: the user can ask for another.
	evt := event()
	set("expiration", fmt.Sprint(1790899200+2*Lifetime))(&evt)
	_, err = Parse(v.sign(t, "issuer-a", evt), time.Unix(1790899200+3*Lifetime, 0), Lifetime)
	if got := reasonOf(t, err); got != message.ReasonExpiredReputationAttestation {
		t.Errorf("expired: %s", got)
	}
	for name, text := range map[string]string{
		"nothing": "", "null": "null", "array": "[]", "two": text + text, "nested": strings.Repeat("[", 100000),
		"a key twice": strings.Replace(text, `"kind":38388`, `"kind":38388,"kind":38388`, 1),
		"unsigned":    strings.Replace(text, `"sig":"`, `"sig":"00`, 1),
	} {
		if _, err := Parse(text, now, Lifetime); err == nil {
			t.Errorf("%s: accepted", name)
		} else if got := reasonOf(t, err); got != message.ReasonInvalidReputationAttestation {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestEventRefuses checks that no event is built that a destination refuses.
func TestEventRefuses(t *testing.T) {
	v := readVectors(t)
	good, err := Parse(v.Attestation.Valid.JSON, time.Unix(v.Context.Now, 0), Lifetime)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Attestation){
		"no subject":    func(a *Attestation) { a.Subject = "" },
		"four reviews":  func(a *Attestation) { a.Reviews = 4 },
		"rating 0":      func(a *Attestation) { a.Hundredths = 0 },
		"rating 501":    func(a *Attestation) { a.Hundredths = 501 },
		"rating 10000":  func(a *Attestation) { a.Hundredths = 10000 },
		"since noon":    func(a *Attestation) { a.Since += 43200 },
		"since later":   func(a *Attestation) { a.Since = int64(a.CreatedAt) + 86400 },
		"no life":       func(a *Attestation) { a.Expiration = a.CreatedAt },
		"long life":     func(a *Attestation) { a.Expiration = a.CreatedAt + Lifetime + 1 },
		"a wrong key":   func(a *Attestation) { a.Destination = strings.ToUpper(a.Destination) },
		"before 1970":   func(a *Attestation) { a.CreatedAt = -1 },
		"end of time":   func(a *Attestation) { a.Expiration = math.MaxInt64 },
		"start of time": func(a *Attestation) { a.CreatedAt, a.Since = math.MinInt64, MinSince },
	} {
		a := good
		change(&a)
		if evt, err := a.Event(); err == nil {
			t.Errorf("%s: %v", name, evt)
		}
	}
	r := Rebind{Bound: v.Rebind.Context.Bound, NewIdentity: v.Rebind.Context.Destination, Issuer: v.Rebind.Context.IssuerKey, CreatedAt: 1790902200}
	for life, ok := range map[nostr.Timestamp]bool{0: false, 1: true, RebindLifetime: true, RebindLifetime + 1: false} {
		r.Expiration = r.CreatedAt + life
		if _, err := r.Event(); (err == nil) != ok {
			t.Errorf("a rebind for %d s: %v", life, err)
		}
	}
	r.Issuer = ""
	if _, err := r.Event(); err == nil || reasonOf(t, err) != message.ReasonInvalidReputationRebind {
		t.Errorf("no issuer: %v", err)
	}
}

func TestHundredths(t *testing.T) {
	for _, c := range readVectors(t).Rounding {
		if h, ok := Hundredths(c.Average); !ok || (Figures{Hundredths: h}).RatingText() != c.Rating {
			t.Errorf("%v: %d, want %s", c.Average, h, c.Rating)
		}
	}
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if h, ok := Hundredths(f); ok {
			t.Errorf("%v: %d", f, h)
		}
	}
	for f, want := range map[float64]uint16{math.MaxFloat64: 500, -math.MaxFloat64: 100, 0: 100, math.Copysign(0, -1): 100, 5e-324: 100} {
		if h, ok := Hundredths(f); !ok || h != want {
			t.Errorf("%v: %d, want %d", f, h, want)
		}
	}
	for h := range uint16(501) {
		if got, ok := parseRating((Figures{Hundredths: h}).RatingText()); ok != (h >= 100) || ok && got != h {
			t.Errorf("%d: %d, %v", h, got, ok)
		}
	}
}
