package indexer

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Keys of a book in which other keys imitate the original.
const (
	original = 1 // first seen a month ago, has an info
	stranger = 2 // has no info, uses the same name in its orders
	twin     = 3 // published an info an hour ago, with a name that looks the same
	honest   = 4 // published an info an hour ago, with another name
	veteran  = 5 // first seen a month ago, has an info
	foreign  = 6 // belongs to a platform without infos
)

// pretenders returns a log. All orders have the same price, and the newest orders are
// those of the imitators.
func pretenders(clk *clock) *memLog {
	l := newMemLog()
	now := clk.now()
	at := func(ago time.Duration) time.Time { return now.Add(-ago) }
	info := func(author int, name string, first time.Duration) {
		l.add(infoEvent(author, at(first).Unix(), name), at(first), mostro.OriginLive, false)
	}
	order := func(author int, d, name, platform string, ago time.Duration, link string) {
		evt := draft{author: author, d: d, name: name, platform: platform, at: at(ago).Unix(), premium: "2", fa: []string{"100"}, methods: []string{"SEPA"}, expiresAt: now.Unix() + 3600}.event()
		evt.Tags = append(evt.Tags, nostr.Tag{"rating", `["rating",{"days":400,"total_rating":5.0,"total_reviews":400}]`})
		if link != "" {
			evt.Tags = append(evt.Tags, nostr.Tag{"source", link})
		}
		l.add(signless(*evt), at(ago), mostro.OriginLive, false)
	}
	link := func(d string, node int) string {
		return "mostro:" + d + "?relays=wss://relay.example&mostro=" + pubkeyOf(node)
	}
	info(original, "Kmbalache", 30*24*time.Hour)
	info(veteran, "Old Exchange", 29*24*time.Hour)
	order(original, "o", "Kmbalache", "mostro", 6*time.Hour, link("o", original))
	order(veteran, "v", "Old Exchange", "mostro", 5*time.Hour, link("v", original)) // a link to another node
	order(foreign, "f", "Kantor", "robosats", 8*24*time.Hour, "http://abc.onion/order/1")
	order(foreign, "f2", "Kantor", "robosats", 4*time.Hour, "https://evil.example/order/1")
	info(honest, "Nuevo Cambio", time.Hour)
	order(honest, "h", "Nuevo Cambio", "mostro", 40*time.Minute, link("h", honest))
	info(twin, "Kmbа1ache", time.Hour) // a Cyrillic letter and a digit
	order(twin, "t", "Kmbа1ache", "mostro", 30*time.Minute, link("t", twin))
	order(stranger, "s", "Kmbalache", "mostro", 20*time.Minute, link("s", stranger))
	return l
}

func dsOf(t *testing.T, x *Index, params string) (ds []string) {
	t.Helper()
	cursor := ""
	for { // pages of two orders, so that cursors cross the bounds of classes
		page := decode(t, fetch(t, x.Handler(), "/api/v1/orders?limit=2&cursor="+cursor+"&"+params))
		for _, o := range page["items"].([]any) {
			ds = append(ds, o.(map[string]any)["d"].(string))
		}
		next, more := page["next_cursor"].(string)
		if !more {
			return ds
		}
		cursor = next
	}
}

// TestImpostorsComeLast checks that a key that takes a known name, and a key that says it
// is a Mostro without an info, are listed last and marked. The first owner of the name is
// never marked.
func TestImpostorsComeLast(t *testing.T) {
	clk := newClock()
	l := pretenders(clk)
	dir := t.TempDir()
	x := openTest(t, l, clk, dir)
	x.catchUp(t)
	check := func(t *testing.T, x *Index) {
		for params, want := range map[string]string{
			"":                              "f2 v o f h s t", // by class, and the newest first within a class
			"sort=trusted":                  "f2 v o f h s t",
			"sort=newest":                   "s t h f2 v o f",
			"sort=oldest":                   "f o v f2 h t s",
			"sort=premium":                  "KNOWN h UNKNOWN", // all prices are equal
			"sort=-premium":                 "KNOWN h UNKNOWN",
			"platform=mostro&sort=-premium": "KNOWN h UNKNOWN",
		} {
			got := dsOf(t, x, params)
			if strings.HasPrefix(want, "KNOWN") {
				known := len(got) - 3
				if got[known] != "h" || !slices.Equal(slices.Sorted(slices.Values(got[known+1:])), []string{"s", "t"}) {
					t.Errorf("%s: %v, want the new one third to last, and the unknown ones last", params, got)
				}
			} else if strings.Join(got, " ") != want {
				t.Errorf("%q: %v, want %s", params, got, want)
			}
		}
		ids, err := x.Search(t.Context(), nostr.Filter{Search: "sepa", Kinds: []int{mostro.KindOrder}})
		if err != nil {
			t.Fatal(err)
		}
		var searched []string
		for _, id := range ids {
			evt, err := l.Event(context.Background(), id)
			if err != nil {
				t.Fatal(err)
			}
			searched = append(searched, evt.Tags.GetD())
		}
		if want := "h f2 v o f s t"; strings.Join(searched, " ") != want {
			t.Errorf("NIP-50: %v, want %s", searched, want)
		}
	}
	check(t, x.Index)
	byD := map[string]map[string]any{}
	for _, o := range decode(t, fetch(t, x.Handler(), "/api/v1/orders"))["items"].([]any) {
		byD[o.(map[string]any)["d"].(string)] = o.(map[string]any)
	}
	for d, want := range map[string]struct {
		unknown, new bool
		usesNameOf   int // 0: no other key
		take         bool
	}{
		"o":  {false, false, 0, true},
		"v":  {false, false, 0, false}, // its link leads to another node
		"f":  {false, false, 0, true},
		"f2": {false, false, 0, false},
		"h":  {false, true, 0, true},
		"t":  {false, true, original, false},
		"s":  {true, true, original, false},
	} {
		o := byD[d]
		who := o["instance"].(map[string]any)
		of := ""
		if c, ok := who["uses_name_of"].(map[string]any); ok {
			of = c["pubkey"].(string)
		}
		wantOf := ""
		if want.usesNameOf > 0 {
			wantOf = pubkeyOf(want.usesNameOf)
		}
		if who["unknown"] != want.unknown || who["new"] != want.new || of != wantOf || who["shares_name_with"] != nil || (o["take_link"] != nil) != want.take {
			t.Errorf("%s: %v, take_link %v; want %+v", d, who, o["take_link"], want)
		}
		if rating := o["maker_rating"].(map[string]any); rating["stated_by"] != "publisher" {
			t.Errorf("%s: rating %v", d, rating)
		}
	}
	h := x.Handler()
	book := fetch(t, h, "/").Body.String()
	if n := strings.Count(book, "uses the name of"); n != 2 {
		t.Errorf("the book marks %d orders", n)
	}
	if n := strings.Count(book, `href="mostro:`); n != 2 {
		t.Errorf("the book has %d mostro: links, want those of o and h", n)
	}
	for _, c := range []struct {
		path, want string
		n          int
	}{
		{"/orders/" + pubkeyOf(stranger) + "/s", "This is not Kmbalache", 1},
		{"/orders/" + pubkeyOf(stranger) + "/s", "Unknown publisher", 1},
		{"/orders/" + pubkeyOf(twin) + "/t", "This is not Kmbalache", 1},
		{"/orders/" + pubkeyOf(original) + "/o", "This is not", 0},
		{"/orders/" + pubkeyOf(original) + "/o", "says the publisher", 1},
		{"/instances/" + pubkeyOf(twin), "This is not Kmbalache", 1},
		{"/instances/" + pubkeyOf(original), "This is not", 0},
		{"/instances", "uses the name of", 1},
	} {
		if n := strings.Count(fetch(t, h, c.path).Body.String(), c.want); n != c.n {
			t.Errorf("%s: %q stands %d times, want %d", c.path, c.want, n, c.n)
		}
	}
	for _, sort := range []string{"volume", "trades", "fee", "age"} {
		items := decode(t, fetch(t, h, "/api/v1/instances?sort="+sort))["items"].([]any)
		if last := items[len(items)-1].(map[string]any); last["pubkey"] != pubkeyOf(twin) {
			t.Errorf("sorted by %s, the last is %v", sort, last["name"])
		}
	}
	t.Run("after a restart", func(t *testing.T) {
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		check(t, openTest(t, l, clk, dir).Index)
	})
	t.Run("rebuilt", func(t *testing.T) {
		again := openTest(t, l, clk, "")
		again.catchUp(t)
		check(t, again.Index)
	})
}

// TestClassesChange checks that an author is known when its info arrives, and that it is
// no longer new after seven days without another event.
func TestClassesChange(t *testing.T) {
	clk := newClock()
	l := pretenders(clk)
	x := openTest(t, l, clk, "")
	x.catchUp(t)
	now := clk.now()
	late := draft{author: 7, d: "late", name: "Rialto", at: now.Unix(), expiresAt: now.Unix() + 30*86400}.event()
	l.add(late, now, mostro.OriginLive, false)
	x.catchUp(t)
	place := func() int { return slices.Index(dsOf(t, x.Index, ""), "late") }
	if got := place(); got != 5 {
		t.Errorf("without an info it stands at %d: %v", got, dsOf(t, x.Index, ""))
	}
	l.add(infoEvent(7, now.Unix(), "Rialto"), now, mostro.OriginLive, false)
	x.catchUp(t)
	if got := place(); got != 4 { // the newest of the new ones
		t.Errorf("with an info it stands at %d: %v", got, dsOf(t, x.Index, ""))
	}
	clk.set(now.Unix() + 8*86400)
	if got := place(); got != 0 {
		t.Errorf("after eight days it stands at %d: %v", got, dsOf(t, x.Index, ""))
	}
}

// TestCursorsBelongToTheirQuestion checks that a cursor is refused by every other query,
// and accepted with another page length.
func TestCursorsBelongToTheirQuestion(t *testing.T) {
	clk := newClock()
	x := openTest(t, pretenders(clk), clk, "")
	x.catchUp(t)
	h := x.Handler()
	next := func(path string) string {
		cursor, _ := decode(t, fetch(t, h, path))["next_cursor"].(string)
		if cursor == "" {
			t.Fatalf("%s has no next page", path)
		}
		return cursor
	}
	cursor := next("/api/v1/orders?limit=2&platform=mostro")
	for params, code := range map[string]int{"platform=mostro": 200, "platform=mostro&limit=1": 200, "": 400, "platform=mostro&fiat=USD": 400, "platform=mostro&q=sepa": 400,
		"platform=mostro&sort=newest": 400, "platform=mostro&open=any": 400, "platform=mostro&at=1700000000": 400, "platform=mostro&include=spam": 400} {
		if w := fetch(t, h, "/api/v1/orders?cursor="+cursor+"&"+params); w.Code != code {
			t.Errorf("%q: status %d, want %d", params, w.Code, code)
		}
	}
	cursor = next("/api/v1/instances?limit=1&sort=age")
	for params, code := range map[string]int{"sort=age": 200, "sort=age&limit=2": 200, "": 400, "sort=age&q=old": 400, "sort=fee": 400} {
		if w := fetch(t, h, "/api/v1/instances?cursor="+cursor+"&"+params); w.Code != code {
			t.Errorf("instances %q: status %d, want %d", params, w.Code, code)
		}
	}
}

// TestWhatIsOverIsNotOpen checks that orders that have expired or ended have no take link
// and are not counted as open.
func TestWhatIsOverIsNotOpen(t *testing.T) {
	clk := newClock()
	now := clk.now()
	l := newMemLog()
	l.add(infoEvent(1, now.Unix()-60, "Kmbalache"), now, mostro.OriginLive, false)
	for d, c := range map[string]struct {
		status  string
		expires int64
	}{"open": {"pending", 3600}, "expired": {"pending", -5}, "canceled": {"canceled", 3600}, "taken": {"in-progress", 3600}, "done": {"success", 3600}} {
		evt := draft{author: 1, d: d, status: c.status, name: "Kmbalache", at: now.Unix() - 60, expiresAt: now.Unix() + c.expires}.event()
		evt.Tags = append(evt.Tags, nostr.Tag{"source", "mostro:" + d + "?mostro=" + pubkeyOf(1)})
		l.add(signless(*evt), now, mostro.OriginLive, false)
	}
	x := openTest(t, l, clk, "")
	x.catchUp(t)
	h := x.Handler()
	for _, o := range decode(t, fetch(t, h, "/api/v1/orders?open=any"))["items"].([]any) {
		o := o.(map[string]any)
		if (o["take_link"] != nil) != (o["d"] == "open") {
			t.Errorf("%v (%v): take_link %v", o["d"], o["status"], o["take_link"])
		}
	}
	if n := strings.Count(fetch(t, h, "/?open=any").Body.String(), `href="mostro:`); n != 1 {
		t.Errorf("the book of all orders has %d links, want 1", n)
	}
	for _, d := range []string{"expired", "canceled", "taken", "done"} {
		if strings.Contains(fetch(t, h, "/orders/"+pubkeyOf(1)+"/"+d).Body.String(), "Open in your app") {
			t.Errorf("the page of the %s order has a link", d)
		}
	}
	var v struct{ Orders map[string]int }
	w := fetch(t, h, "/api/v1/instances/"+pubkeyOf(1))
	if w.Code != http.StatusOK || json.Unmarshal(w.Body.Bytes(), &v) != nil || fmt.Sprint(v.Orders) != "map[canceled:1 expired:1 in-progress:1 pending:1 success:1]" {
		t.Errorf("status %d: %v", w.Code, v.Orders)
	}
	if body := fetch(t, h, "/instances/"+pubkeyOf(1)).Body.String(); !strings.Contains(body, "Its 1 open order<") {
		t.Error("the page does not count exactly one open order")
	}
	clk.set(now.Unix() + 7200)
	if body := fetch(t, h, "/instances/"+pubkeyOf(1)).Body.String(); !strings.Contains(body, "Its 0 open orders<") {
		t.Error("the page still counts open orders after two hours")
	}
}

// bannedKeys are Rules that ban keys.
type bannedKeys struct {
	version uint64
	keys    map[[32]byte]struct{}
}

func (b *bannedKeys) Hidden() (version uint64, never, onDemand, events map[[32]byte]struct{}) {
	return b.version, b.keys, nil, nil
}

// TestNamesOfNobody checks that a key with only a profile owns no name, and that a banned
// key no longer owns one.
func TestNamesOfNobody(t *testing.T) {
	clk := newClock()
	l := newMemLog()
	now := clk.now()
	first := now.Add(-40 * 24 * time.Hour)
	l.add(signless(nostr.Event{PubKey: pubkeyOf(8), CreatedAt: nostr.Timestamp(first.Unix()), Tags: nostr.Tags{}, Content: `{"name":"Kmbalache"}`}), first, mostro.OriginLive, false)
	second := now.Add(-30 * 24 * time.Hour)
	l.add(infoEvent(original, second.Unix(), "Kmbalache"), second, mostro.OriginLive, false)
	l.add(infoEvent(twin, now.Unix(), "Kmba1ache"), now, mostro.OriginLive, false)
	rules := &bannedKeys{version: 1}
	x, err := Open(Config{Dir: t.TempDir(), Log: l, Events: l, Rules: rules, Now: clk.now})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if err := x.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.book.sweep(now)
	if of, _, ok := x.Impostor(pubkeyOf(original)); ok {
		t.Errorf("an instance is marked as using the name of %s, which has only a profile", of)
	}
	if of, _, _ := x.Impostor(pubkeyOf(twin)); of != pubkeyOf(original) {
		t.Errorf("the twin uses the name of %q", of)
	}
	ids, err := x.Search(t.Context(), nostr.Filter{Search: "kmba", Kinds: []int{mostro.KindInfo}})
	if err != nil || len(ids) != 2 {
		t.Fatalf("found %v, %v", ids, err)
	}
	if evt, err := l.Event(t.Context(), ids[1]); err != nil || evt.PubKey != pubkeyOf(twin) {
		t.Errorf("a search for the name returns the original after its twin: %v", err)
	}
	var key [32]byte
	if _, err := hex.Decode(key[:], []byte(pubkeyOf(original))); err != nil {
		t.Fatal(err)
	}
	rules.version, rules.keys = 2, map[[32]byte]struct{}{key: {}}
	x.book.sweep(now)
	if of, _, ok := x.Impostor(pubkeyOf(twin)); ok {
		t.Errorf("after the ban the twin uses the name of %s", of)
	}
}
