package attestation

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

func core(t *testing.T) *testkit.Bridge {
	t.Helper()
	return testkit.StartBridge(t, testkit.PreparedBridge(t, "MOSTRODEX_INTEROP_CORE", "interop-core"))
}

func random(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// TestInteropCoreAttestations checks that mostro-core accepts our documents and we accept
// mostro-core's, and that both refuse the same changed documents with the same reason.
func TestInteropCoreAttestations(t *testing.T) {
	b := core(t)
	v := readVectors(t)
	rnd := random(t)
	const now = 1790902800
	at := time.Unix(now, 0)
	accepted, refused := 0, 0
	compare := func(text string) {
		t.Helper()
		a, err := Parse(text, at, Lifetime)
		core := b.Ask(map[string]any{"op": "attested", "text": text, "now": now, "lifetime": Lifetime})
		if (err == nil) != (core.Error == "") {
			t.Fatalf("%s\ncore: %q\nours: %v", text, core.Error, err)
		}
		if err != nil {
			refused++
			if got := err.(*Error).Reason(); string(got) != core.Reason {
				t.Fatalf("%s\ncore: %s\nours: %s", text, core.Reason, got)
			}
			return
		}
		accepted++
		facts := fmt.Sprintf("%s %d %s %d %d", a.Subject, a.Reviews, a.RatingText(), a.Since, a.Expiration)
		if core.Text != facts || core.Sender != a.Issuer || core.Identity != a.Destination || core.CreatedAt != int64(a.CreatedAt) {
			t.Fatalf("%s\ncore: %+v\nours: %s", text, core, facts)
		}
	}
	values := []string{"", "0", "1", "5", "05", "+5", " 5", "4294967295", "4294967296", "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616",
		"1.00", "5.00", "0.99", "5.01", "4.8", "4,87", "1577836800", "1577923200", "1790899200", "1790899201", "1790985600", "1791504000", "1791504001",
		strings.Repeat("a", 64), strings.Repeat("A", 64), strings.Repeat("f", 64), strings.Repeat("0", 64), strings.Repeat("a", 65), "é", "\u0000", attestationZ, rebindZ}
	names := []string{"p", "subject", "reviews", "rating", "since", "expiration", "z", "issuer", "x", ""}
	for range 2000 {
		a := Attestation{Issuer: pubkeyOf(t, v.Keys["issuer-a"]), Destination: v.Context.Identity, Subject: fmt.Sprint(rnd.Uint32()), CreatedAt: nostr.Timestamp(now - rnd.Int64N(700000) + 400)}
		a.Reviews, a.Hundredths, a.Since = MinReviews+rnd.Uint32N(1e6), uint16(100+rnd.IntN(401)), MinSince+86400*rnd.Int64N(2000)
		a.Expiration = a.CreatedAt + nostr.Timestamp(1+rnd.Int64N(Lifetime))
		evt, err := a.Event()
		if err != nil {
			t.Fatalf("%+v: %v", a, err)
		}
		for range rnd.IntN(3) {
			i := rnd.IntN(len(evt.Tags))
			switch rnd.IntN(5) {
			case 0:
				evt.Tags = append(evt.Tags, nostr.Tag{names[rnd.IntN(len(names))], values[rnd.IntN(len(values))]})
			case 1:
				evt.Tags = append(evt.Tags[:i:i], evt.Tags[i+1:]...)
			case 2:
				evt.Tags[i] = nostr.Tag{evt.Tags[i][0]}
			case 3:
				evt.Tags[i] = append(nostr.Tag{evt.Tags[i][0], values[rnd.IntN(len(values))]}, values[:rnd.IntN(2)]...)
			case 4:
				evt.Kind, evt.Content = 38384+rnd.IntN(6), "x"
			}
			if len(evt.Tags) == 0 {
				break
			}
		}
		compare(v.sign(t, "issuer-a", evt))
	}
	evt, err := (Attestation{Issuer: pubkeyOf(t, v.Keys["issuer-a"]), Destination: v.Context.Identity, Subject: "s", CreatedAt: now, Expiration: now + 60,
		Figures: Figures{Reviews: 5, Hundredths: 100, Since: MinSince}}).Event()
	if err != nil {
		t.Fatal(err)
	}
	evt.Tags = append(evt.Tags, nostr.Tag{})
	compare(v.sign(t, "issuer-a", evt))
	for range 500 {
		lifetime, reviews, mean := rnd.Int64N(Lifetime+10), rnd.Uint32N(20), rnd.Float64()*6
		request := map[string]any{"op": "attest", "key": v.Keys["issuer-a"], "to": v.Context.Identity, "subject": "abc"[:rnd.IntN(4)], "reviews": reviews,
			"average": mean, "since": MinSince + 43200*rnd.Int64N(20), "created_at": now, "lifetime": lifetime}
		h, _ := Hundredths(mean)
		a := Attestation{Issuer: pubkeyOf(t, v.Keys["issuer-a"]), Destination: v.Context.Identity, Subject: request["subject"].(string), CreatedAt: now,
			Figures: Figures{Reviews: reviews, Hundredths: h, Since: request["since"].(int64)}, Expiration: nostr.Timestamp(now + lifetime)}
		ours, err := a.Event()
		answer := b.Ask(request)
		if (err == nil) != (answer.Error == "") {
			t.Fatalf("%v\ncore: %q\nours: %v", request, answer.Error, err)
		}
		if err != nil {
			continue
		}
		theirs, err := message.DecodeEvent(answer.Event)
		if err != nil || theirs.ID != ours.GetID() {
			t.Fatalf("core builds %s\nours %s", answer.Event, ours)
		}
		compare(string(answer.Event))
	}
	t.Logf("both accepted %d documents and refused %d", accepted, refused)
	if accepted < 100 || refused < 100 {
		t.Error("the documents are all alike")
	}
}

func pubkeyOf(t *testing.T, secret string) string {
	t.Helper()
	key, err := nostr.GetPublicKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestInteropCoreRebinds is TestInteropCoreAttestations for rebinds.
func TestInteropCoreRebinds(t *testing.T) {
	b := core(t)
	v := readVectors(t)
	rnd := random(t)
	const now = 1790902800
	compare := func(text string) bool {
		t.Helper()
		r, err := ParseRebind(text, time.Unix(now, 0))
		core := b.Ask(map[string]any{"op": "rebound", "text": text, "now": now})
		if (err == nil) != (core.Error == "") {
			t.Fatalf("%s\ncore: %q\nours: %v", text, core.Error, err)
		}
		if err == nil && (core.Sender != r.Bound || core.Identity != r.NewIdentity || core.Text != fmt.Sprintf("%s %d", r.Issuer, r.Expiration) || core.CreatedAt != int64(r.CreatedAt)) {
			t.Fatalf("%s\ncore: %+v\nours: %+v", text, core, r)
		}
		return err == nil
	}
	for range 300 {
		lifetime := 1 + rnd.Int64N(RebindLifetime)
		created := now - rnd.Int64N(5000) + 400
		answer := b.Must(map[string]any{"op": "rebind", "key": v.Keys["identity"], "issuer": v.Rebind.Context.IssuerKey, "to": v.Rebind.Context.Destination, "created_at": created, "lifetime": lifetime})
		ours, err := (Rebind{Bound: v.Rebind.Context.Bound, NewIdentity: v.Rebind.Context.Destination, Issuer: v.Rebind.Context.IssuerKey,
			CreatedAt: nostr.Timestamp(created), Expiration: nostr.Timestamp(created + lifetime)}).Event()
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := message.DecodeEvent(answer.Event)
		if err != nil || theirs.ID != ours.GetID() {
			t.Fatalf("core builds %s\nours %s", answer.Event, ours)
		}
		text := string(answer.Event)
		compare(text)
		i := rnd.IntN(len(text))
		compare(text[:i] + text[i+1:])
	}
}

// TestInteropCoreRatings checks that the same votes, imports and reverts have the same
// figures here and in mostro-core, to the last bit.
func TestInteropCoreRatings(t *testing.T) {
	b := core(t)
	rnd := random(t)
	for range 300 {
		created := int64(1.6e9) + rnd.Int64N(1e8)
		r := Ratings{CreatedAt: created, NativeCreatedAt: &created}
		var steps []map[string]any
		var imports []Figures
		for range 1 + rnd.IntN(30) {
			switch k := rnd.IntN(6); {
			case k == 0:
				f := Figures{Reviews: MinReviews + rnd.Uint32N(1<<rnd.IntN(32)), Hundredths: uint16(100 + rnd.IntN(401)), Since: MinSince + 86400*rnd.Int64N(2000)}
				imports = append(imports, f)
				r = r.Import(f)
				steps = append(steps, map[string]any{"reviews": f.Reviews, "rating": f.Hundredths, "since": f.Since})
			case k == 1 && len(imports) > 0:
				i := rnd.IntN(len(imports))
				f := imports[i]
				imports = append(imports[:i:i], imports[i+1:]...)
				step := map[string]any{"reviews": f.Reviews, "rating": f.Hundredths, "since": f.Since, "revert": true}
				var earliest *int64
				for _, left := range imports {
					if earliest == nil || left.Since < *earliest {
						earliest = new(left.Since)
					}
				}
				if earliest != nil {
					step["remaining"] = *earliest
				}
				r = r.Revert(f, earliest)
				steps = append(steps, step)
			default:
				vote := uint8(1 + rnd.IntN(5))
				r = r.Vote(vote)
				steps = append(steps, map[string]any{"vote": vote})
			}
		}
		have := []int64{r.Reviews, int64(math.Float64bits(r.Mean)), r.Last, r.Max, r.Min, r.CreatedAt, r.SeededReviews,
			int64(math.Float64bits(r.SeededSum)), int64(math.Float64bits(r.NativeSum)), r.native()}
		if core := b.Must(map[string]any{"op": "reputation", "created_at": created, "steps": steps}).Numbers; fmt.Sprint(core) != fmt.Sprint(have) {
			t.Fatalf("%v\ncore %v\nours %v", steps, core, have)
		}
	}
	for range 3000 {
		f := math.Float64frombits(rnd.Uint64() >> 1)
		switch rnd.IntN(3) {
		case 0:
			f = rnd.Float64() * 6
		case 1: // the middle between two hundredths, and its neighbours
			f = math.Nextafter(float64(rnd.IntN(600))/100+0.005, float64(rnd.IntN(3)-1)*10)
		}
		want := int64(-1)
		if h, ok := Hundredths(f); ok {
			want = int64(h)
		}
		if got := b.Must(map[string]any{"op": "rounded", "bits": math.Float64bits(f)}).Numbers[0]; got != want {
			t.Fatalf("%v: core %d, ours %d", f, got, want)
		}
	}
}

// TestInteropCorePayerHashes checks the hashes of payers.
func TestInteropCorePayerHashes(t *testing.T) {
	b := core(t)
	order, err := message.ParseUUID("ede61c96-4c13-4519-bf3a-dcf7f1e9d842")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "EU|SEPA|DE89370400440532013000|ALICE SMITH", "ÑANDÚ|🙂\x00", message.PayerHash("x"), strings.ToUpper(message.PayerHash("x")), message.PayerHash("x") + " "} {
		a := b.Must(map[string]any{"op": "payer-hash", "text": text})
		if a.Text != message.PayerHash(text) || a.OK != message.ValidPayerHash(text) {
			t.Errorf("%q: core %+v", text, a)
		}
		if a := b.Must(map[string]any{"op": "payer-hash", "text": text, "order": order.String()}); a.Text != message.OrderPayerHash(order, text) {
			t.Errorf("%q: core %+v", text, a)
		}
	}
}
