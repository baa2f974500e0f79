package cache

import (
	"strconv"
	"sync"
	"testing"
)

func TestCache(t *testing.T) {
	var c Cache[int, string]
	if _, ok := c.Get(1); ok || c.Len() != 0 {
		t.Error("an empty cache holds a value")
	}
	for i := range 3 * DefaultMax {
		if !c.Put(i, "a") || c.Put(i, strconv.Itoa(i)) {
			t.Fatalf("%d: a new key is not new, or an old key is", i)
		}
		if s, ok := c.Get(i); !ok || s != strconv.Itoa(i) {
			t.Fatalf("%d: %q %v", i, s, ok)
		}
		if want := min(i+1, DefaultMax); c.Len() != want {
			t.Fatalf("%d entries, want %d", c.Len(), want)
		}
	}
}

func TestCost(t *testing.T) {
	c := Cache[int, int]{Max: 100, Cost: func(n int) int { return n }}
	for i := range 1000 {
		cost := i * 37 % 103
		c.Put(i%50, cost)
		got, ok := c.Get(i % 50)
		if ok != (cost <= 100) || ok && got != cost {
			t.Fatalf("cost %d: %d %v", cost, got, ok)
		}
		sum := 0
		for _, n := range c.entries {
			sum += n
		}
		if sum != c.size || sum > c.Max {
			t.Fatalf("the costs are %d, counted %d", sum, c.size)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	c := Cache[int, int]{Max: 8}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 2000 {
				c.Put(i%32, i%32)
				if n, ok := c.Get(i % 32); ok && n != i%32 {
					t.Errorf("key %d has value %d", i%32, n)
				}
			}
		})
	}
	wg.Wait()
	if c.Len() > 8 {
		t.Errorf("%d entries", c.Len())
	}
}
