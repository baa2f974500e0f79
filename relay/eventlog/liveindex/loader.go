package liveindex

import (
	"runtime"
	"sync"
)

// Loader fills an empty index, before any other method of the index is called. Items are collected per posting and each posting is
// sorted once, so that a store of a million events opens within seconds.
type Loader struct {
	l       *Index
	entries uint32 // number of filled entries
}

// NewLoader returns a loader of an empty index.
func NewLoader(l *Index) *Loader { return &Loader{l: l} }

// Add adds an event whose record has a length in the log.
func (b *Loader) Add(r Entry, recordBytes int64) {
	b.l.fill(r, nil)
	b.l.recordBytes += recordBytes
	b.entries++
}

// Finish sorts the postings in parallel. The index may be used afterwards. Every number below b.entries is in use,
// because nothing was removed from the index yet.
func (b *Loader) Finish() {
	var several []*posting
	for n := range b.entries {
		b.l.link(n, func(p *posting, it item) {
			p.few = append(p.few, it)
			if p.n++; p.n == 2 {
				several = append(several, p)
			}
		})
	}
	work := make(chan *posting, 1024)
	var wg sync.WaitGroup
	for range runtime.NumCPU() {
		wg.Go(func() {
			for p := range work {
				p.load(p.few, b.l.less)
			}
		})
	}
	for _, p := range several {
		work <- p
	}
	close(work)
	wg.Wait()
}
