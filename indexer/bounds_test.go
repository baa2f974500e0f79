package indexer

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mostrodex/mostrodex/mostro"
)

// TestQuestionsAreBounded checks that a query beyond the bound is refused, and that only
// MaxAsked words are used.
func TestQuestionsAreBounded(t *testing.T) {
	var many []string
	for i := range 20_000 {
		many = append(many, fmt.Sprintf("w%d", i))
	}
	if got := words.Asked(strings.Join(many, " ")); !slices.Equal(got, many[:words.MaxAsked]) {
		t.Errorf("asked looks at %d words: %q", len(got), got)
	}
	short, long := strings.Join(many[:2000], " "), strings.Join(many, " ")
	if few, all := fastest(func() { words.Asked(short) }), fastest(func() { words.Asked(long) }); all > 40*few {
		t.Errorf("a query of 2,000 words took %v, of %d words %v", few, len(many), all)
	}
	x := openTest(t, newMemLog(), newClock(), "")
	h := x.Handler()
	if w := fetch(t, h, "/api/v1/orders?q="+strings.Repeat("a", 600)+"&q="+strings.Repeat("b", 600)); w.Code != http.StatusBadRequest {
		t.Errorf("1,200 bytes of q in two parts: status %d, want 400", w.Code)
	}
}

// TestHostileTextCostsLittle checks that events full of text are indexed within a bounded
// time, are answered with bounded text, and are found by the beginning of their text.
func TestHostileTextCostsLittle(t *testing.T) {
	log, clk := newMemLog(), newClock()
	for i := range 5 {
		log.add(draft{author: 1, d: fmt.Sprint("m", i), methods: []string{longRuns(120_000)}}.event(), clk.now(), mostro.OriginClient, false)
		log.add(draft{author: 1, d: fmt.Sprint("d", i), platform: "peach", content: "beginning " + longRuns(120_000)}.event(), clk.now(), mostro.OriginClient, false)
	}
	var methods []string
	for i := range 20_000 {
		methods = append(methods, fmt.Sprintf("bank%d", i))
	}
	log.add(draft{author: 1, d: "many", methods: methods}.event(), clk.now(), mostro.OriginClient, false)
	x := openTest(t, log, clk, "")
	start := time.Now()
	x.catchUp(t)
	if took := time.Since(start); took > 20*time.Second { // these five events took 11.5 s when each word folded the rest of the text again
		t.Errorf("indexing 1.3 MB of hostile text took %v", took)
	}
	w := fetch(t, x.Handler(), "/api/v1/orders")
	if n := w.Body.Len(); n > 64<<10 {
		t.Errorf("the answer about eleven orders has %d bytes", n)
	}
	if a, err := x.Orders(t.Context(), orders.Query{}); err != nil || len(a.Facets.Method) > maxMethods+2 {
		t.Errorf("%d names of payment methods are held (%v), want at most %d", len(a.Facets.Method), err, maxMethods+2)
	}
	for _, ask := range []string{"q=beginning", "method=bank3"} {
		if got := decode(t, fetch(t, x.Handler(), "/api/v1/orders?"+ask)); got["total"].(float64) == 0 {
			t.Errorf("%s finds no order", ask)
		}
	}
}

// longRuns returns a text of about n bytes, made of runs longer than MaxWord, in letters
// that are not ASCII after folding.
func longRuns(n int) string {
	run := strings.Repeat("ж", words.MaxWord+1) + " "
	return strings.Repeat(run, n/len(run)+1)[:n/len(run)*len(run)]
}

// TestWordsAreLinear checks that the time of Split is linear. The words of 120 kB of long
// runs took 3 s when each run folded the rest of the text again.
func TestWordsAreLinear(t *testing.T) {
	text := longRuns(120_000)
	few, many := fastest(func() { words.Split(nil, longRuns(12_000)) }), fastest(func() { words.Split(nil, text) })
	if many > 40*few { // ten times the text
		t.Errorf("the words of 12,000 bytes took %v, those of %d bytes %v", few, len(text), many)
	}
	got := words.Split(nil, text)
	if want := strings.Repeat("ж", words.MaxWord); len(got) != len(text)/(2*(words.MaxWord+1)+1) || slices.ContainsFunc(got, func(w string) bool { return w != want }) {
		t.Errorf("%d words of %q..., want %d of %q", len(got), got[0], len(text)/(2*(words.MaxWord+1)+1), want)
	}
}
