package score

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/corpus"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
	"github.com/nbd-wtf/go-nostr"
)

var update = flag.Bool("update", false, "rewrite the golden bundle")

// signedMarket returns the log of a small market of signed events. Most ratings have a
// real receipt, and some have none.
func signedMarket(t testing.TB) *scoretest.MemLog {
	t.Helper()
	c, err := corpus.New(corpus.Config{Seed: 7, Instances: 6, Orders: 90, Start: scoretest.Start, Span: 20 * 24 * time.Hour, Unexpired: true})
	if err != nil {
		t.Fatal(err)
	}
	events, err := c.Events(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	log := &scoretest.MemLog{}
	host := scoretest.Keys(t, "rated host")
	sign := func(evt nostr.Event, k *envelope.Keys) *nostr.Event {
		evt.PubKey = k.Pubkey()
		secret := k.Secret()
		if err := evt.Sign(scoretest.Hex(secret[:])); err != nil {
			t.Fatal(err)
		}
		return &evt
	}
	add := func(evt *nostr.Event, origin mostro.Origin) {
		log.Add(mostro.Entry{Event: evt, ReceivedAt: evt.CreatedAt.Time().UTC().Add(700 * time.Millisecond), Source: mostro.Source{Origin: origin}})
	}
	for i, evt := range events {
		origin := mostro.OriginLive
		if i%17 == 0 {
			origin = mostro.OriginBackfill
		}
		add(evt, origin)
	}
	w := &scoretest.World{T: t}
	for d := range 12 {
		w.Info(host.Pubkey(), "ln", scoretest.At(float64(d)))
		w.Trade(host.Pubkey(), d, int64(10_000+999*d), scoretest.At(float64(d)+.2))
	}
	for _, e := range w.Entries {
		add(sign(*e.Event, host), mostro.OriginLive)
	}
	for d := range 12 {
		rater := scoretest.Keys(t, "rater", d)
		when := scoretest.At(float64(d) + .5)
		receipt, err := receipt.Statement{Node: host.Pubkey(), Rater: rater.Pubkey(), Order: scoretest.OrderID(d), Role: "buyer", BandSats: 10_000, Day: receipt.SettleDay(when)}.Sign(host, zeros{})
		if err != nil {
			t.Fatal(err)
		}
		if d == 11 {
			receipt = receipt[:3]
		}
		one, err := mostro.ParseDecimal([]string{"1", "0.8", "0.2"}[d%3])
		if err != nil {
			t.Fatal(err)
		}
		r := mostro.HostRating{Pubkey: rater.Pubkey(), CreatedAt: nostr.Timestamp(when.Unix()), D: "mostro:" + scoretest.OrderID(d), Platform: "mostro", Host: host.Pubkey(), Rating: one, Receipt: receipt}
		evt := r.Event()
		if d == 10 {
			evt.Tags = append(evt.Tags, nostr.Tag{"rating", "NaN"})
		}
		add(sign(evt, rater), mostro.OriginClient)
	}
	return log
}

// bundleTime is the moment of the golden bundle.
var bundleTime = scoretest.At(20)

func TestBundleIsGolden(t *testing.T) {
	path := filepath.Join("testdata", "bundle.ndjson")
	if *update {
		var b bytes.Buffer
		if _, err := WriteBundle(context.Background(), &b, signedMarket(t), DefaultParams(), bundleTime, "", nil); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	v, err := VerifyBundle(bytes.NewReader(raw), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if v.Events < 200 || len(v.Scores) < 7 {
		t.Fatalf("the bundle holds %d events and %d scores", v.Events, len(v.Scores))
	}
	counted, refused := 0, 0
	for _, s := range v.Scores {
		counted += s.N
	}
	if refused = strings.Count(string(raw), `"reason"`); counted != 10 || refused != 1 {
		t.Errorf("%d ratings count and %d events are refused, want 10 and 1", counted, refused)
	}
}

func TestVerifyNamesTheFirstDifference(t *testing.T) {
	log := signedMarket(t)
	var b bytes.Buffer
	scores, err := WriteBundle(context.Background(), &b, log, DefaultParams(), bundleTime, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	good := b.String()
	best := slices.MaxFunc(scores, func(a, b Score) int { return a.N - b.N })
	lines := strings.SplitAfter(good, "\n")
	for name, c := range map[string]struct{ bundle, want string }{
		"a rank that was raised":      {strings.Replace(good, `"rank":`+strconv.Itoa(best.Rank)+`,`, `"rank":99,`, 1), "rank is 99"},
		"an event left out":           {strings.Join(slices.Delete(slices.Clone(lines), 40, 41), ""), "line 41: entry"},
		"an event that was changed":   {strings.Replace(good, `"content":"`, `"content":"x`, 1), "id"},
		"a signature that was forged": {flip(good, `"sig":"`), "signature"},
		"an earlier receipt":          {flip(good, `"received_ms":`), "line"},
		"other parameters":            {strings.Replace(good, `"late_seconds":600`, `"late_seconds":9999`, 1), "algo"},
		"its end cut off":             {good[:len(good)-1], "truncated"},
		"a line after its end":        {good + lines[40], "line " + strconv.Itoa(len(lines)) + ": data follows the end"},
		"an empty line after its end": {good + "\n", "line " + strconv.Itoa(len(lines)) + ": data follows the end"},
		"a second end":                {good + lines[len(lines)-2], "follows the end"},
		"lines that changed places":   {swapped(lines, 40, 41), "line 41: entry"},
		"another road of receipt":     {changed(lines, 50, `"road":"live"`, `"road":"client"`), "line 51: entry"},
		"another time of receipt":     {changed(lines, 50, `00,"road"`, `01,"road"`), "line 51: entry"},
		"the last entry left out":     {strings.Join(slices.Delete(slices.Clone(lines), len(lines)-3, len(lines)-2), ""), "the end states"},
		"nothing":                     {"", "truncated"},
		"another format":              {"{}\n", "head"},
		"a refusal left out":          {strings.Replace(good, `"refused":[{`, `"refused":[],"x":[{`, 1), "refused"},
		"a root that was changed":     {flip(good, `"}],"root":"`), "root"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.bundle == good {
				t.Fatal("the bundle was not changed")
			}
			_, err := VerifyBundle(strings.NewReader(c.bundle), nil, nil)
			if !errors.Is(err, ErrUnsound) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// changed replaces a text in one line.
func changed(lines []string, at int, old, text string) string {
	lines = slices.Clone(lines)
	lines[at] = strings.Replace(lines[at], old, text, 1)
	return strings.Join(lines, "")
}

func swapped(lines []string, a, b int) string {
	lines = slices.Clone(lines)
	lines[a], lines[b] = lines[b], lines[a]
	return strings.Join(lines, "")
}

// flip changes the first character after the last occurrence of a text.
func flip(s, after string) string {
	at := strings.LastIndex(s, after) + len(after)
	c := byte('1')
	if s[at] == '1' {
		c = '2'
	}
	return s[:at] + string(c) + s[at+1:]
}

func TestBundleOfOneNode(t *testing.T) {
	log := signedMarket(t)
	host := scoretest.Keys(t, "rated host").Pubkey()
	var all, one bytes.Buffer
	scores, err := WriteBundle(context.Background(), &all, log, DefaultParams(), bundleTime, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := WriteBundle(context.Background(), &one, log, DefaultParams(), bundleTime, host, nil); err != nil {
		t.Fatal(err)
	}
	v, err := VerifyBundle(&one, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(scores, func(s Score) bool { return s.Pubkey == host })
	if len(v.Scores) != 1 || scoretest.JSON(t, v.Scores[0]) != scoretest.JSON(t, scores[at]) {
		t.Errorf("alone it has another score than among others")
	}
	if one.Len() >= all.Len() {
		t.Error("the bundle of one node is not smaller")
	}
	if _, err := WriteBundle(context.Background(), &one, log, DefaultParams(), bundleTime, scoretest.KeyOf("nobody"), nil); !errors.Is(err, mostro.ErrNotFound) {
		t.Errorf("of an unknown node: %v", err)
	}
}

// The scores must be the same bytes for every order of the entries.
func TestOrderDoesNotMatter(t *testing.T) {
	log := signedMarket(t)
	want := ""
	for seed := range uint64(6) {
		entries := slices.Clone(log.Entries)
		if seed > 0 {
			rand.New(rand.NewPCG(seed, 1)).Shuffle(len(entries), func(i, k int) { entries[i], entries[k] = entries[k], entries[i] })
			entries = append(entries, entries[:50]...) // each of these twice
		}
		l := NewLedger(DefaultParams(), Receipts{})
		for _, e := range entries {
			l.Apply(e)
		}
		got := scoretest.JSON(t, l.Compute(bundleTime)) + scoretest.JSON(t, l.Refused())
		if want == "" {
			want = got
		} else if got != want {
			t.Fatalf("seed %d: the bytes differ", seed)
		}
	}
}

// A bundle that is written in the same second as the newest event must be sound, because
// the bundle is as of the beginning of that second.
func TestBundleOfTheSameSecond(t *testing.T) {
	log := signedMarket(t)
	last := log.Entries[len(log.Entries)-1].ReceivedAt
	for _, e := range log.Entries {
		if e.ReceivedAt.After(last) {
			last = e.ReceivedAt
		}
	}
	var out bytes.Buffer
	if _, err := WriteBundle(t.Context(), &out, log, DefaultParams(), last.Add(time.Millisecond), "", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyBundle(&out, nil, nil); err != nil {
		t.Error(err)
	}
}

// A bundle holds an erased event without a signature, and is sound only if the author
// requested the deletion.
func TestBundleOfErasedFacts(t *testing.T) {
	host := scoretest.Keys(t, "rated host")
	secret := host.Secret()
	play := func(ask func(id string) nostr.Tag, change func(*nostr.Event)) error {
		log := signedMarket(t)
		at := slices.IndexFunc(log.Entries, func(e mostro.Entry) bool { return e.Event.PubKey == host.Pubkey() && e.Event.Kind == mostro.KindOrder })
		e := &log.Entries[at]
		tags, ok := mostro.FactTags(e.Event)
		if !ok {
			t.Fatal("an order is no evidence")
		}
		e.Erased, e.Event = true, &nostr.Event{ID: e.Event.ID, PubKey: e.Event.PubKey, Kind: e.Event.Kind, CreatedAt: e.Event.CreatedAt, Tags: tags}
		if change != nil {
			change(e.Event)
		}
		if ask != nil {
			request := nostr.Event{PubKey: host.Pubkey(), Kind: mostro.KindDeletion, CreatedAt: nostr.Timestamp(bundleTime.Unix() - 10), Tags: nostr.Tags{ask(e.Event.ID)}}
			if err := request.Sign(scoretest.Hex(secret[:])); err != nil {
				t.Fatal(err)
			}
			log.Add(mostro.Entry{Event: &request, ReceivedAt: request.CreatedAt.Time(), Source: mostro.Source{Origin: mostro.OriginClient}})
		}
		for _, only := range []string{"", host.Pubkey()} {
			var b bytes.Buffer
			if _, err := WriteBundle(t.Context(), &b, log, DefaultParams(), bundleTime, only, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := VerifyBundle(&b, nil, nil); err != nil {
				return err
			}
		}
		return nil
	}
	byID := func(id string) nostr.Tag { return nostr.Tag{"e", id} }
	if err := play(byID, nil); err != nil {
		t.Errorf("named by its id: %v", err)
	}
	if err := play(func(string) nostr.Tag { return nostr.Tag{"a", "38383:" + host.Pubkey() + ":" + scoretest.OrderID(0)} }, nil); err != nil {
		t.Errorf("named by its address: %v", err)
	}
	for name, err := range map[string]error{
		"named by nobody":  play(nil, nil),
		"another is named": play(func(string) nostr.Tag { return nostr.Tag{"e", scoretest.KeyOf("another")} }, nil),
		"with its content": play(byID, func(e *nostr.Event) { e.Content = "x" }),
	} {
		if !errors.Is(err, ErrUnsound) || !strings.Contains(err.Error(), "line") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
