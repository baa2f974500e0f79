package names

import (
	"fmt"
	"testing"
	"time"
)

// TestNamesThatLookAlike lists pairs of names, and whether the second clashes with the
// first.
func TestNamesThatLookAlike(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	for _, c := range []struct {
		known, name string
		clash       bool
	}{
		{"Mostro", "Mostro", true},
		{"Mostro", "MOSTRO", true},
		{"Mostro", "Моstrо", true},               // Cyrillic М, о
		{"Mostro", "M0str0", true},               // digits
		{"Mostro", "Mοstro", true},               // Greek omicron
		{"Mostro", "Ｍｏｓｔｒｏ", true},               // full width
		{"Mostro", "𝐌𝐨𝐬𝐭𝐫𝐨", true},               // mathematical
		{"Mostro", "Mo\u200bst\u00adro", true},   // invisible characters
		{"Mostro", "M o s t r o", true},          // spaces
		{"Mostro", "Mostro 🇪🇸", true},            // a flag
		{"Mostro", "Mostro Official", true},      // added words
		{"Mostro", "The Mostro 2", true},         //
		{"Mostro", "Móstro", true},               // accents
		{"Mostro", "rnostro", true},              // r and n
		{"Mostro", "Mostro Brasil", false},       // a different name
		{"Mostro", "Fostro testing", false},      //
		{"Mostro 1", "Mostro 2", false},          //
		{"Mostro 1", "Mostro 1 oficial", true},   //
		{"Mostro Brasil", "Mostro Brаsil", true}, // Cyrillic а
		{"Mostro Brasil", "Brasil P2P", true},
		{"Mostro Brasil", "MostroBrasilP2P", true},
		{"Mostro Brasil", "Mostro Chile", false},
		{"Kmbalache", "Kmba1ache", true},
		{"Kmbalache", "xKmbalachex", true},
		{"Kmbalache", "KMBALACHE", true},
		{"Ilium", "lLlUM", true}, // capital I, small l
		{"Ana", "Banana Exchange", false},
		{"Coin", "Coinage", false}, // too short to be found inside a word
		{"Coin", "Coin Rey", true},
		{"", "Mostro", false},
		{"🦫", "🦫 bot", false}, // no letters to compare
	} {
		x := NewRegistry()
		known := owner{"a", &Use{Name: c.known, First: now.Add(-time.Hour), Last: now, Witnessed: true}}
		x.add(known, formsOf(c.known))
		found := x.find(owner{"b", &Use{Name: c.name, First: now, Last: now, Witnessed: true}}, func(string) Standing { return IsInstance }, now)
		if (found != nil) != c.clash {
			t.Errorf("%q beside %q: clash %v, want %t (%q, %q)", c.name, c.known, found, c.clash, formsOf(c.name), formsOf(c.known))
		}
		x.add(owner{"b", &Use{Name: c.name, First: now, Last: now, Witnessed: true}}, formsOf(c.name))
		if back := x.find(known, func(string) Standing { return IsInstance }, now); back != nil {
			t.Errorf("%q was first, but is marked as using the name of %q", c.known, back.Name)
		}
	}
}

// TestHistoryTellsNoOrder checks that if two names arrived as history, neither key counts
// as the first.
func TestHistoryTellsNoOrder(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	always := func(string) Standing { return IsInstance }
	for _, c := range []struct {
		apart     time.Duration
		witnessed bool // the first use was witnessed
		want      string
	}{{time.Minute, false, "shared"}, {time.Minute, true, "clash"}, {2 * time.Hour, false, "clash"}} {
		x := NewRegistry()
		first := owner{"a", &Use{Name: "Kmbalache", First: now, Last: now, Witnessed: c.witnessed}}
		second := owner{"b", &Use{Name: "Kmbalache", First: now.Add(c.apart), Last: now, Witnessed: true}}
		x.add(first, formsOf("Kmbalache"))
		x.add(second, formsOf("Kmbalache"))
		say := func(k *Clash) string {
			switch {
			case k == nil:
				return "none"
			case k.Shared:
				return "shared"
			}
			return "clash"
		}
		wantFirst := "none"
		if c.want == "shared" {
			wantFirst = "shared"
		}
		if got := say(x.find(second, always, now)); got != c.want {
			t.Errorf("%v apart, first witnessed %t: the second is %s, want %s", c.apart, c.witnessed, got, c.want)
		}
		if got := say(x.find(first, always, now)); got != wantFirst {
			t.Errorf("%v apart, first witnessed %t: the first is %s, want %s", c.apart, c.witnessed, got, wantFirst)
		}
	}
}

func BenchmarkFindClash(b *testing.B) {
	x := NewRegistry()
	now := time.Unix(1_790_000_000, 0)
	for i := range 50_000 {
		name := fmt.Sprintf("exchange number %d of many", i*7919)
		x.add(owner{fmt.Sprint(i), &Use{Name: name, First: now, Last: now, Witnessed: true}}, formsOf(name))
	}
	o := owner{"me", &Use{Name: "a long name of an exchange with many words in it", First: now, Last: now}}
	for b.Loop() {
		x.find(o, func(string) Standing { return IsInstance }, now)
	}
}

// TestWith checks how one event changes the names of a key.
func TestWith(t *testing.T) {
	at := func(hours int) Use {
		when := time.Unix(1_790_000_000, 0).Add(time.Duration(hours) * time.Hour)
		return Use{Name: "Kmbalache", First: when, Last: when, Seq: uint64(hours), Witnessed: true}
	}
	first, changed := With(nil, false, at(48))
	if !changed || len(first) != 1 {
		t.Fatalf("%d names, changed %t", len(first), changed)
	}
	if same, changed := With(first, false, at(60)); changed || len(same) != 1 {
		t.Errorf("the same name within a day: %d names, changed %t", len(same), changed)
	}
	later, changed := With(first, false, at(73))
	if !changed || !later[0].Last.Equal(at(73).Last) || !later[0].First.Equal(at(48).First) {
		t.Errorf("a day later: %+v, changed %t", later[0], changed)
	}
	if !first[0].Last.Equal(at(48).Last) {
		t.Error("readers saw a change of a slice that With does not own")
	}
	early := at(1)
	early.Witnessed = false
	if back, changed := With(later, true, early); !changed || back[0].Seq != 1 || back[0].Witnessed || back[0] != later[0] {
		t.Errorf("an earlier event from a backup: %+v, changed %t", back[0], changed)
	}
	all := first
	for i := range maxUses {
		u := at(100 + i)
		u.Name = fmt.Sprint("name ", i)
		all, _ = With(all, true, u)
	}
	if len(all) != maxUses || useOf(all, "Kmbalache") != nil {
		t.Errorf("%d names, want %d without the oldest", len(all), maxUses)
	}
	if none, changed := With(first, false, Use{Name: " \t"}); changed || len(none) != 1 {
		t.Errorf("a blank name: %d names, changed %t", len(none), changed)
	}
}
