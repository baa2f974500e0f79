package main

import "testing"

func TestCount(t *testing.T) {
	c := &count{found: map[string]int{}}
	c.add([]byte("package a\n\n// f returns what it holds if b is set.\nfunc f() {} // nobody calls it\n\n//go:generate what\nvar s = \"what if\" /* whoever\nreads */\n"))
	for name, want := range map[string]int{"what": 1, "if": 1, "returns": 1, "who": 2, "pronouns": 2, "gives": 0} {
		if c.found[name] != want {
			t.Errorf("%d %q, want %d", c.found[name], name, want)
		}
	}
	if c.all != 14 {
		t.Errorf("%d words, want 14", c.all)
	}
	if beyond(c) == "" {
		t.Error("this text is within the bounds")
	}
	if bad := beyond(&count{all: 1000, found: map[string]int{"if": 6, "what": 2, "returns": 3, "gives": 3}}); bad != "" {
		t.Error(bad)
	}
}
