package score

import "sync"

// A posterior is a Beta distribution. For and Against are its two parameters.
type posterior struct{ For, Against Micro }

// mean returns the share of For in the sum of both.
func (b posterior) mean() Micro { return b.For.over(b.For + b.Against) }

// cells is the number of parts into which a density is cut.
const cells = 512

// quantiles returns n values in ascending order, each from 0 to 1: the middles of n equal
// shares of the distribution.
//
// The density x^(a-1) (1-x)^(b-1) is not normalised. The mass of a cell is computed from
// the logarithm of the density at the middle of the cell, less the greatest such
// logarithm. The cells span eight standard deviations on both sides of the mean. Every
// step uses integers. A parameter below 1 is raised to 1, because the density is infinite
// below 1. The priors keep both parameters at 1 or more.
func (b posterior) quantiles(n int) []Micro {
	p := max(b.For, One)
	q := max(b.Against, One)
	total := p + q
	m := p.over(total)
	// variance = m(1-m)/(total+1), which fits in 63 bits in units of nano squared.
	variance := mulDiv(int64(m.times(One-m)), int64(One)*int64(One), int64(total+One))
	sd := Micro(root(uint64(variance)))
	from := max(0, m-8*sd)
	to := min(One, m+8*sd+1)
	// Positions are in nano, so that narrow posteriors keep their shape.
	lo, width := int64(from)*1000, int64(to-from)*1000
	var logs [cells]int64
	top := -saturated
	for i := range cells {
		x := lo + width*int64(2*i+1)/(2*cells)
		x = min(max(x, 1), nano-1)
		logs[i] = mulDiv(int64(p-One), ln60(uint64(x))-lnOfNano, int64(One)) + mulDiv(int64(q-One), ln60(uint64(nano-x))-lnOfNano, int64(One))
		top = max(top, logs[i])
	}
	var mass [cells]int64
	sum := int64(0)
	for i := range cells {
		if d := logs[i] - top; d > -40*nano {
			mass[i] = int64(expNano(d) >> 12) // at most 2^48, so that the sum of 512 masses fits
		}
		sum += mass[i]
	}
	out := make([]Micro, n)
	i, below := 0, int64(0)
	for k := range n {
		goal := mulDivWide(sum, int64(2*k+1), int64(2*n))
		for i < cells-1 && below+mass[i] < goal {
			below += mass[i]
			i++
		}
		within := int64(0)
		if mass[i] > 0 {
			within = mulDivWide(width/cells, min(goal-below, mass[i]), mass[i])
		}
		out[k] = Micro((lo + width*int64(i)/cells + within + 500) / 1000)
	}
	return out
}

// mulDivWide is mulDiv for positive numbers beyond the saturation.
func mulDivWide(a, b, c int64) int64 { return int64(mulDivU(uint64(a), uint64(b), uint64(c))) }

// shuffles are the orders in which the quantiles of several posteriors are combined. Each
// posterior has one order, drawn once from the seed of the parameters. Every value of
// every posterior is used once (a Latin hypercube). Therefore 2000 draws are as good as
// many more independent draws, and the interval of a node moves only if its evidence
// moves.
type shuffles struct {
	n     int
	order [posteriors][]int32
}

// posteriors is the number of uncertain parts of a score: U, C, both halves of D, and L.
const posteriors = 5

var shuffleCache sync.Map // of [2]int64{n, seed} to *shuffles

func shufflesFor(n int, seed int64) *shuffles {
	key := [2]int64{int64(n), seed}
	if s, ok := shuffleCache.Load(key); ok {
		return s.(*shuffles)
	}
	s := &shuffles{n: n}
	state := uint64(seed)
	next := func() uint64 { // splitmix64
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return z ^ z>>31
	}
	for j := range posteriors {
		s.order[j] = make([]int32, n)
		for i := range n {
			s.order[j][i] = int32(i)
		}
		for i := n - 1; i > 0; i-- {
			k := next() % uint64(i+1)
			s.order[j][i], s.order[j][k] = s.order[j][k], s.order[j][i]
		}
	}
	shuffleCache.Store(key, s)
	return s
}
