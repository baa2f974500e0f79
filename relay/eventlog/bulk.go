package eventlog

import (
	"runtime"
	"sync"
)

// bulk fills an empty live index. Items are collected per posting and each posting is
// sorted once, so that a store of a million events opens within seconds.
type bulk struct {
	l       *live
	entries uint32 // number of filled entries
}

func newBulk(l *live) *bulk { return &bulk{l: l} }

// add adds an event whose record has a length in the log.
func (b *bulk) add(r indexEntry, recordBytes int64) {
	b.l.fill(r, nil)
	b.l.recordBytes += recordBytes
	b.entries++
}

// finish sorts the postings in parallel. Every number below b.entries is in use,
// because nothing was removed from the index yet.
func (b *bulk) finish() {
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
