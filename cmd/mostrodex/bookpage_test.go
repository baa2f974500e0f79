package main

import (
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
)

var liveFor = flag.Duration("pages.live", 0, "time for which TestBookLives keeps the live book open")

// TestBookMeasures prints the measures of the start page on a phone, and fails if one is missed.
// -pages.shots=DIR writes pictures of the book and of an order.
func TestBookMeasures(t *testing.T) {
	b := testkit.NewBrowser(t)
	m := openDemo(t, t.TempDir(), 3, 1)
	stop := startMainUntil(t, m)
	defer stop()
	waitServing(t, m)
	base := "http://" + m.Addr()
	number := func(expression string) int {
		t.Helper()
		n, err := strconv.ParseFloat(b.Eval(expression), 64)
		if err != nil {
			t.Fatalf("%s: %v", expression, err)
		}
		return int(n + 0.5)
	}
	for _, language := range []string{"es", "en", "pt"} {
		for _, query := range []string{"", "?want=buy&fiat=VES&fiat_amount=500&method=Pago+M%C3%B3vil", "?want=buy&fiat_amount=77777777&fiat=VES"} {
			page := base + "/" + language + "/" + query
			b.Size(360, 740)
			b.Open(page)
			top, first, tall := number(`document.querySelector(".offer").getBoundingClientRect().top + scrollY`), number(`document.querySelector(".offer").getBoundingClientRect().height`), number(`Math.max(...[...document.querySelectorAll(".offer")].slice(0, 20).map((e) => e.getBoundingClientRect().height))`)
			_, _, body := getBody(t, page)
			var packed bytes.Buffer
			w := gzip.NewWriter(&packed)
			w.Write([]byte(body))
			w.Close()
			takes := number(`document.querySelectorAll(".take").length`)
			hidden := number(`[...document.querySelectorAll(".take")].filter((e) => { const r = e.getBoundingClientRect(); return r.width < 24 || r.height < 40 || r.left < 0 || r.right > innerWidth || !e.checkVisibility(); }).length`)
			wide := ""
			for _, width := range []int{320, 360, 414, 600, 768, 1000, 1280} {
				b.Size(width, 740)
				if over := number(`document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
					wide += fmt.Sprintf(" %d px at %d", over, width)
				}
			}
			t.Logf("%s%s: the first order begins at %d px and has %d px, the tallest of 20 has %d px, %d of %d take links are hidden, %d bytes compressed", language, query, top, first, tall, hidden, takes, packed.Len())
			if top >= 500 || first > 200 || tall > 220 || hidden > 0 || takes == 0 || packed.Len() > 20<<10 || wide != "" {
				t.Errorf("%s: missed: first order below 500 px, 200 px tall, %d take links visible, 20 KB compressed, no scrolling sideways (%s)", page, takes, wide)
			}
		}
	}

	if *pageShots != "" {
		for _, width := range []int{360, 1280} {
			for _, scheme := range []string{"light", "dark"} {
				b.Size(width, 800)
				b.Emulate(scheme, true)
				for name, path := range map[string]string{"book": "/es/", "wish": "/es/?want=buy&fiat=VES&fiat_amount=500&method=Pago+M%C3%B3vil", "nearest": "/es/?want=sell&fiat=ARS&fiat_amount=3"} {
					b.Open(base + path)
					b.Shot(filepath.Join(*pageShots, fmt.Sprintf("%s-%d-%s.png", name, width, scheme)))
				}
				b.Open(base + "/es/")
				b.Open(b.Eval(`document.querySelector(".offer:has(.take) .deal").href`))
				b.Shot(filepath.Join(*pageShots, fmt.Sprintf("order-%d-%s.png", width, scheme)))
			}
		}
	}
}

// TestBookLives opens the book in a browser, and checks that an order that goes is marked, and that
// a new one is counted, without loading the page again.
func TestBookLives(t *testing.T) {
	b := testkit.NewBrowser(t)
	f := newFair(t, nil)
	b.Open("http://" + f.m.Addr() + "/en/")
	b.Until(`String(!document.getElementById("live").hidden)`, "true")
	if before := b.Eval(`String(document.getElementById("fresh").hidden)`); before != "true" {
		t.Errorf("new orders before there are any: %s", b.Eval(`document.getElementById("fresh").textContent`))
	}
	now := time.Now()
	f.order("alfa", 5000, mostro.StatusPending, 0, now, now.Add(time.Hour), nil)
	b.Until(`document.getElementById("fresh").textContent`, "1 new offer: show it")
	f.order("alfa", 1000, mostro.StatusCanceled, 0, now, now.Add(time.Hour), nil)
	b.Until(`[...document.querySelectorAll(".offer.gone .deal")].map((e) => decodeURIComponent(e.pathname)).join()`, "/en/orders/"+f.nodes["alfa"].Pubkey()+"/"+fairOrderID(1000))
	b.Eval(`document.querySelector("#fresh a").click()`)
	b.Until(`String(document.querySelectorAll(".offer.gone").length) + (document.getElementById("fresh").hidden ? " hidden" : "")`, "0 hidden")
	if *liveFor > 0 {
		soakBook(t, b, f)
	}
}

// soakBook keeps the live book open while orders come and go, and checks that the page does not
// grow: neither its memory nor the number of its nodes.
func soakBook(t *testing.T, b *testkit.Browser, f *fair) {
	measure := func() (heap, nodes int) {
		if _, err := fmt.Sscan(b.Eval(`(window.gc && gc(), performance.memory.usedJSHeapSize) + " " + document.querySelectorAll("*").length`), &heap, &nodes); err != nil {
			t.Fatal(err)
		}
		return heap, nodes
	}
	began, n := time.Now(), 0
	heap, nodes := 0, 0
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for ; time.Since(began) < *liveFor; <-second.C {
		for range 50 {
			at := time.Now()
			f.order("alfa", 10_000+n, mostro.StatusPending, 0, at, at.Add(time.Hour), nil)
			f.order("alfa", 10_000+n, mostro.StatusCanceled, 0, at.Add(time.Second), at.Add(time.Hour), nil)
			n++
		}
		f.order("alfa", 5001, mostro.StatusPending, 0, time.Now(), time.Now().Add(time.Hour), nil)
		b.Until(`String(!document.getElementById("live").hidden)`, "true")
		if heap == 0 && time.Since(began) > *liveFor/5 {
			heap, nodes = measure()
		}
	}
	endHeap, endNodes := measure()
	t.Logf("%d orders in %s: heap %d, later %d bytes; %d, later %d nodes", n, *liveFor, heap, endHeap, nodes, endNodes)
	if endHeap > heap+4<<20 || endNodes > nodes+2 {
		t.Errorf("the page grows from %d to %d bytes and from %d to %d nodes", heap, endHeap, nodes, endNodes)
	}
}
