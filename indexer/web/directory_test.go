package web

import (
	"math"
	"slices"
	"testing"
)

// TestVersionsSort: versions sort by number and not by text, and other forms sort last.
func TestVersionsSort(t *testing.T) {
	sorted := []string{"hello", "0.9.9", "0.18.5", "v0.20.2", "0.20.10", "1.0", "1.0.1-rc1"}
	var numbers []float64
	for _, v := range sorted {
		numbers = append(numbers, versionNumber(&v))
	}
	if !slices.IsSorted(numbers) || !math.IsInf(numbers[0], -1) {
		t.Errorf("%v", numbers)
	}
	for _, v := range []string{"", "1.-2.3", "1.99999999999999999999.3", "(devel)"} {
		if n := versionNumber(&v); !math.IsInf(n, -1) {
			t.Errorf("%q is %v", v, n)
		}
	}
	if !math.IsInf(versionNumber(nil), -1) {
		t.Error("no version")
	}
}
