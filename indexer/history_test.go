package indexer

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// TestHistoryIsPaged checks that the history of an order with many versions is returned
// in pages, from the newest to the oldest, without a gap or a repetition.
func TestHistoryIsPaged(t *testing.T) {
	const versions = 10000
	log, clk := newMemLog(), newClock()
	clk.set(t0 + versions)
	for i := range versions {
		log.add(draft{author: 1, d: "x", at: t0 + int64(i)}.event(), clk.now(), mostro.OriginClient, false)
	}
	log.add(draft{author: 1, d: "y", at: t0}.event(), clk.now(), mostro.OriginClient, false)
	x := openTest(t, log, clk, "")
	x.catchUp(t)
	h := x.Handler()
	path := "/api/v1/orders/" + pubkeyOf(1) + "/x"
	first := fetch(t, h, path)
	if n := first.Body.Len(); n > 100<<10 {
		t.Errorf("the first answer has %d bytes", n)
	} else {
		t.Logf("the first answer has %d bytes", n)
	}
	var got []int64
	cursor, other := "", ""
	for {
		page := decode(t, fetch(t, h, path+"?limit=300&cursor="+url.QueryEscape(cursor)))
		part := page["history"].([]any)
		if page["versions"].(float64) != versions || len(part) > 300 {
			t.Fatalf("%v versions, %d on a page", page["versions"], len(part))
		}
		for _, v := range slices.Backward(part) {
			got = append(got, int64(v.(map[string]any)["created_at"].(float64)))
		}
		next, more := page["history_cursor"].(string)
		if !more {
			break
		}
		cursor, other = next, next
	}
	if len(got) != versions || got[0] != t0+versions-1 || got[versions-1] != t0 || !slices.IsSortedFunc(got, func(a, b int64) int { return int(b - a) }) {
		t.Errorf("%d versions from %d to %d", len(got), got[0]-t0, got[len(got)-1]-t0)
	}
	if w := fetch(t, h, "/api/v1/orders/"+pubkeyOf(1)+"/y?cursor="+other); w.Code != http.StatusBadRequest {
		t.Errorf("a cursor of another order: status %d", w.Code)
	}
	if w := fetch(t, h, path+"?limit=0"); w.Code != http.StatusBadRequest {
		t.Errorf("limit=0: status %d", w.Code)
	}
	page := fetch(t, h, "/orders/"+pubkeyOf(1)+"/x").Body.String()
	if strings.Count(page, "data-label=\"Signed\"") != 100 || !strings.Contains(page, "Older versions") || !strings.Contains(page, "10,000 states") {
		t.Errorf("the page shows %d versions", strings.Count(page, "data-label=\"Signed\""))
	}
	for limit, want := range map[string]int{"1": 1, "2": 1} {
		single := decode(t, fetch(t, h, "/api/v1/orders/"+pubkeyOf(1)+"/y?limit="+limit))
		if _, more := single["history_cursor"].(string); more || len(single["history"].([]any)) != want {
			t.Errorf("limit %s of one version: %v", limit, single["history"])
		}
	}
	one := decode(t, fetch(t, h, path+"?limit=1"))
	next, _ := one["history_cursor"].(string)
	two := decode(t, fetch(t, h, path+"?limit=1&cursor="+next))
	if at := two["history"].([]any)[0].(map[string]any)["created_at"].(float64); at != t0+versions-2 {
		t.Errorf("behind the newest comes %v, want %d", at-t0, versions-2)
	}
}

// TestDeletionOfManyVersions checks that a request that names many versions of one order
// reads the order once.
func TestDeletionOfManyVersions(t *testing.T) {
	few, many := deletionOf(t, 300), deletionOf(t, 3000)
	for range 4 { // a busy machine may stop a run for long
		few, many = min(few, deletionOf(t, 300)), min(many, deletionOf(t, 3000))
	}
	t.Logf("deleting 300 versions took %v, 3,000 versions %v", few, many)
	if many > 40*max(few, 5*time.Millisecond) { // the bound of the growth for ten times as many versions
		t.Errorf("deleting 300 versions took %v, 3,000 versions %v", few, many)
	}
}

// deletionOf returns the time in which one deletion of many versions of an order is
// applied.
func deletionOf(t *testing.T, versions int) time.Duration {
	log, clk := newMemLog(), newClock()
	clk.set(t0 + int64(versions))
	tags := nostr.Tags{}
	for i := range versions + 1 {
		evt := draft{author: 1, d: "x", at: t0 + int64(i)}.event()
		log.add(evt, clk.now(), mostro.OriginClient, false)
		if i > 0 {
			tags = append(tags, nostr.Tag{"e", evt.ID})
		}
	}
	x := openTest(t, log, clk, "")
	x.catchUp(t)
	deletion := signless(nostr.Event{PubKey: pubkeyOf(1), Kind: mostro.KindDeletion, CreatedAt: nostr.Timestamp(clk.now().Unix()), Tags: tags})
	log.add(deletion, clk.now(), mostro.OriginClient, false)
	log.erase(deletion)
	start := time.Now()
	if err := x.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	record, all, err := x.Order(pubkeyOf(1), "x")
	if err != nil || len(all) != 1 || record.Versions != 1 || record.Order.CreatedAt != t0 {
		t.Errorf("%d versions remain, %v", len(all), err)
	}
	if err := x.Check(); err != nil {
		t.Error(err)
	}
	return took
}
