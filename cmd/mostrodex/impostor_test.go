package main

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
)

// pretend adds two keys that imitate alfa: "stranger" only in the name of its orders, "twin"
// with an info event under a name that looks the same and was first seen an hour ago. Both
// praise their makers.
func (f *fair) pretend() {
	f.tb.Helper()
	now := time.Now()
	mean, reviews, days := 5.0, int64(400), int64(900)
	rating := &mostro.MakerRating{Mean: &mean, Max: 5, Reviews: &reviews, Days: &days}
	offer := func(node string, leadsTo string) func(*mostro.Order) {
		return func(o *mostro.Order) {
			premium := mustDecimal(f.tb, "-9")
			o.InstanceName, o.MakerRating, o.PremiumPct = "alfa", rating, &premium
			if node == "twin" {
				o.InstanceName = "аlfa" // a Cyrillic letter
			}
			o.Link = "mostro:" + o.D + "?relays=wss://elsewhere.example&mostro=" + f.nodes[leadsTo].Pubkey()
		}
	}
	for _, name := range []string{"stranger", "twin"} {
		f.nodes[name] = testKeys(f.tb, name)
	}
	f.order("stranger", 3000, mostro.StatusPending, 0, now.Add(-2*time.Minute), now.Add(time.Hour), offer("stranger", "twin"))
	f.info("twin", now.Add(-time.Hour), func(i *mostro.Info) { i.Name = "аlfa" })
	f.order("twin", 3001, mostro.StatusPending, 0, now.Add(-time.Minute), now.Add(time.Hour), offer("twin", "twin"))
	f.order("alfa", 3002, mostro.StatusPending, 0, now.Add(-3*time.Hour), now.Add(time.Hour), func(o *mostro.Order) {
		o.MakerRating = rating
		o.Link = "mostro:" + o.D + "?relays=wss://relay.example&mostro=" + f.nodes["alfa"].Pubkey()
	})
	if _, _, err := f.last.Wait(context.Background()); err != nil {
		f.tb.Fatal(err)
	}
	ready(f.tb, f.m)
	eventually(f.tb, "the score of twin", func() bool { return f.score("twin") })
}

// TestImpostorBesideTheOriginal checks that the original comes first in the book, the choice
// and the pages of the whole program, and that keys that use its name are marked.
func TestImpostorBesideTheOriginal(t *testing.T) {
	f := newFair(t, nil)
	f.pretend()
	base := "http://" + f.m.Addr()
	var book struct {
		Items []struct {
			Pubkey   string
			TakeLink *string `json:"take_link"`
			Instance struct {
				Unknown    bool
				UsesNameOf *struct{ Pubkey string } `json:"uses_name_of"`
			}
		}
	}
	getJSON(t, base+"/api/v1/orders?fiat=VES", &book)
	place := map[string]int{}
	for i, o := range book.Items {
		for name, keys := range f.nodes {
			if keys.Pubkey() != o.Pubkey {
				continue
			}
			place[name] = i + 1
			impostor := name == "twin" || name == "stranger"
			if got := o.Instance.UsesNameOf; (got != nil) != impostor || impostor && got.Pubkey != f.nodes["alfa"].Pubkey() || o.Instance.Unknown != (name == "stranger") {
				t.Errorf("%s: %+v", name, o.Instance)
			}
			if impostor && o.TakeLink != nil {
				t.Errorf("%s has the link %s", name, *o.TakeLink)
			}
		}
	}
	if place["alfa"] == 0 || place["twin"] != len(book.Items) && place["stranger"] != len(book.Items) || place["alfa"] > place["twin"] || place["alfa"] > place["stranger"] || place["beta"] > place["twin"] {
		t.Errorf("the positions are %v of %d", place, len(book.Items))
	}
	var choice struct {
		Candidates []struct {
			Pubkey     string
			UsesNameOf *string `json:"uses_name_of"`
		}
	}
	getJSON(t, base+"/api/v1/choose?fiat=VES&side=buy&exposure=ignore", &choice)
	n := len(choice.Candidates)
	if n < 3 || choice.Candidates[0].Pubkey != f.nodes["alfa"].Pubkey() || choice.Candidates[n-1].Pubkey != f.nodes["twin"].Pubkey() || choice.Candidates[n-1].UsesNameOf == nil {
		t.Errorf("the candidates are %+v", choice.Candidates)
	}
	for path, want := range map[string]string{
		"/?fiat=VES":                             "uses the name of",
		"/choose?fiat=VES&side=buy":              "uses the name of alfa",
		"/instances/" + f.nodes["twin"].Pubkey(): "This is not alfa",
		"/orders/" + f.nodes["stranger"].Pubkey() + "/" + fairOrderID(3000): "Unknown publisher",
	} {
		if code, _, body := getBody(t, base+path); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: status %d, %q is missing", path, code, want)
		}
	}
	_, _, body := getBody(t, base+"/choose?fiat=VES&side=buy&exposure=ignore")
	for _, entry := range strings.Split(body, `<li class="candidate">`)[1:] {
		for _, name := range []string{"alfa", "twin"} {
			if strings.Contains(entry, "/instances/"+f.nodes[name].Pubkey()) && strings.Contains(entry, "Best offer") == (name == "twin") {
				t.Errorf("%s on the page of choose: a button to an offer: %v", name, name == "twin")
			}
		}
	}
	if _, _, body := getBody(t, base+"/instances/"+f.nodes["alfa"].Pubkey()); strings.Contains(body, "This is not") || strings.Contains(body, "name of") {
		t.Error("the page of the original carries a warning")
	}
}
