package arena

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestCellsKeepArraysApart puts and frees arrays at random and compares every array that is
// read with the array that was put.
func TestCellsKeepArraysApart(t *testing.T) {
	for _, unit := range []int{1, 8, 52} {
		t.Run(fmt.Sprint("unit=", unit), func(t *testing.T) {
			r := rand.New(rand.NewPCG(5, 1))
			type kept struct {
				n     uint32
				units int
				want  []byte
			}
			c := NewCells[byte](unit)
			var held []kept
			for step := range 20_000 {
				if r.IntN(10) < []int{6, 4}[step/1000%2] || len(held) == 0 {
					a := make([]byte, r.IntN(5*unit))
					if r.IntN(20) == 0 {
						a = make([]byte, 20*unit+r.IntN(20*unit)) // some longer than the largest cell
					}
					for i := range a {
						a[i] = byte(r.Uint32())
					}
					units := (len(a) + unit - 1) / unit
					held = append(held, kept{c.Put(a, units), units, slices.Clone(a)})
					clear(a)
					continue
				}
				i := r.IntN(len(held))
				k := held[i]
				if got := c.Get(k.n, k.units); len(got) < len(k.want) || !slices.Equal(got[:len(k.want)], k.want) {
					t.Fatalf("step %d: %x, want %x", step, got, k.want)
				}
				c.Free(k.n, k.units)
				held = slices.Delete(held, i, i+1)
			}
		})
	}
}

// TestOutgrownCells: arrays that grow together leave at most one block without a used cell
// per length.
func TestOutgrownCells(t *testing.T) {
	const arrays, most = 1000, 5
	c := NewCells[byte](52)
	var numbers [arrays]uint32
	for units := 1; units <= most; units++ {
		for i := range numbers {
			if units > 1 {
				c.Free(numbers[i], units-1)
			}
			numbers[i] = c.Put(make([]byte, units*52), units)
		}
	}
	for units := 1; units <= most; units++ {
		blocks := 0
		for _, b := range c.lengths[units].blocks {
			if b != nil {
				blocks++
			}
		}
		want := 1
		if units == most {
			want = (arrays + blockCells - 1) / blockCells
		}
		if blocks != want {
			t.Errorf("cells of %d units have %d blocks, want %d", units, blocks, want)
		}
	}
}

// TestLastCellOfALength: a block is not freed and allocated again with each replacement of
// the only array of a length.
func TestLastCellOfALength(t *testing.T) {
	c := NewCells[byte](8)
	n := c.Put([]byte("mostro"), 1)
	if allocs := testing.AllocsPerRun(100, func() {
		c.Free(n, 1)
		n = c.Put([]byte("mostro"), 1)
	}); allocs > 0 {
		t.Errorf("%v allocations per replacement, want none", allocs)
	}
}

func TestArrayElementsStay(t *testing.T) {
	var a Array[uint32]
	var first *uint32
	for i := range uint32(3 * arrayBlock) {
		n := a.Grow()
		if n != i || a.Len() != i+1 {
			t.Fatalf("element %d has the number %d of %d", i, n, a.Len())
		}
		*a.At(n) = i
		if i == 0 {
			first = a.At(0)
		}
	}
	for i := range a.Len() {
		if *a.At(i) != i {
			t.Fatalf("element %d is %d", i, *a.At(i))
		}
	}
	if first != a.At(0) {
		t.Error("the first element has moved")
	}
}
