package relay

import (
	"runtime"
	"sync"
)

// bulk fills an empty live index: items are gathered per posting and each
// posting is sorted once, which makes opening a store of a million events a
// matter of seconds.
type bulk struct {
	l     *live
	slots []uint32
}

func newBulk(l *live) *bulk { return &bulk{l: l} }

func (b *bulk) add(r record) { b.slots = append(b.slots, b.l.fill(r, nil)) }

// finish builds the postings. Interning is complete by then, so pointers to
// postings are stable.
func (b *bulk) finish() {
	var several []*posting
	for _, n := range b.slots {
		s := &b.l.slots[n]
		it := makeItem(s.createdAt, n)
		b.l.eachPosting(s, func(p *posting) {
			p.few = append(p.few, it)
			if p.n++; p.n == 2 {
				several = append(several, p)
			}
		})
	}
	work := make(chan *posting, 1024)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
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
