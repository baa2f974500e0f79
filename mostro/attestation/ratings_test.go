package attestation

import (
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func (r row) ratings() Ratings {
	return Ratings{Reviews: r.TotalReviews, Mean: r.TotalRating, Last: r.LastRating, Max: r.MaxRating, Min: r.MinRating, CreatedAt: r.CreatedAt,
		SeededReviews: r.SeededReviews, SeededSum: r.SeededSum, NativeSum: r.NativeSum, NativeCreatedAt: &r.NativeCreatedAt}
}

// near reports whether two sets of figures are equal, the sums and the mean up to a
// tolerance.
func near(a, b Ratings, mean, sum float64) bool {
	if math.Abs(a.Mean-b.Mean) > mean || math.Abs(a.SeededSum-b.SeededSum) > sum || a.NativeSum != b.NativeSum {
		return false
	}
	a.Mean, a.SeededSum = b.Mean, b.SeededSum
	return reflect.DeepEqual(a, b)
}

func TestMergeVectors(t *testing.T) {
	v := readVectors(t)
	for _, c := range v.Merge.Cases {
		h, ok := parseRating(c.Import.Rating)
		if !ok {
			t.Fatal(c.Import.Rating)
		}
		f := Figures{Reviews: c.Import.Reviews, Hundredths: h, Since: c.Import.Since}
		after := c.Before.ratings().Import(f)
		if want := c.After.ratings(); !near(after, want, v.Merge.Tolerance, v.Merge.Tolerance) {
			t.Errorf("%s: have %+v, want %+v", c.Name, after, want)
		}
		if got, want := after.Revert(f, nil), c.Reverted.ratings(); !near(got, want, v.Merge.Tolerance, v.Merge.Tolerance) {
			t.Errorf("%s, reverted: have %+v, want %+v", c.Name, got, want)
		}
	}
}

func TestVotes(t *testing.T) {
	var r Ratings
	for i, c := range []struct {
		vote uint8
		mean float64
	}{{5, 2.5}, {4, 3.25}, {3, 3.1666666666666665}} {
		if r = r.Vote(c.vote); r.Mean != c.mean || r.Reviews != int64(i+1) || r.Last != int64(c.vote) || r.Max != 5 || r.Min != int64(c.vote) {
			t.Errorf("after %d votes: %+v, want a mean of %v", i+1, r, c.mean)
		}
	}
	r = Ratings{}
	for _, vote := range []uint8{5, 3, 4, 1, 5} {
		r = r.Vote(vote)
	}
	if n, mean := r.Native(); n != 5 || mean != 3.6 || r.NativeSum != 18 {
		t.Errorf("%d votes, mean %v, sum %v", n, mean, r.NativeSum)
	}
	if n, mean := (Ratings{}).Native(); n != 0 || mean != 0 {
		t.Errorf("no votes: %d, %v", n, mean)
	}
	imported := Ratings{}.Import(Figures{Reviews: 10, Hundredths: 400, Since: MinSince})
	if n, mean := imported.Native(); n != 0 || mean != 0 {
		t.Errorf("imported votes only: %d, %v", n, mean)
	}
}

func TestImportsOfTwoIssuers(t *testing.T) {
	r := Ratings{CreatedAt: 1790000000}
	old, older := Figures{Reviews: 10, Hundredths: 400, Since: 1700006400}, Figures{Reviews: 30, Hundredths: 500, Since: 1690070400}
	r = r.Import(old).Import(older)
	if r.Reviews != 40 || math.Abs(r.Mean-4.75) > 1e-12 || r.CreatedAt != older.Since || r.SeededReviews != 40 || r.Max != 4 {
		t.Errorf("%+v", r)
	}
	if r = r.Revert(older, &old.Since); r.Reviews != 10 || math.Abs(r.Mean-4) > 1e-12 || r.CreatedAt != old.Since {
		t.Errorf("one reverted: %+v", r)
	}
	if r = r.Revert(old, nil); r.Reviews != 0 || r.Mean != 0 || r.Max != 0 || r.Min != 0 || r.Last != 0 || r.CreatedAt != 1790000000 || *r.NativeCreatedAt != 1790000000 {
		t.Errorf("both reverted: %+v", r)
	}
	if none := (Ratings{}).Import(Figures{}); none != (Ratings{}) {
		t.Errorf("figures of no attestation: %+v", none)
	}
	// A row that lost its votes does not become negative.
	if r := (Ratings{}).Revert(old, nil); r.Reviews != 0 || r.SeededReviews != 0 || math.IsNaN(r.Mean) {
		t.Errorf("%+v", r)
	}
}

func drawRatings(t *rapid.T) Ratings {
	r := Ratings{CreatedAt: rapid.Int64Range(MinSince, 4e9).Draw(t, "created at")}
	for range rapid.IntRange(0, 30).Draw(t, "votes") {
		r = r.Vote(uint8(rapid.IntRange(1, 5).Draw(t, "stars")))
	}
	return r
}

func drawFigures(t *rapid.T) Figures {
	return Figures{
		Reviews:    rapid.OneOf(rapid.Uint32Range(MinReviews, 1000), rapid.Uint32Range(MinReviews, math.MaxUint32)).Draw(t, "reviews"),
		Hundredths: rapid.Uint16Range(100, 500).Draw(t, "hundredths"),
		Since:      rapid.Int64Range(MinSince/86400, 46000).Draw(t, "day") * 86400,
	}
}

// TestRevertUndoesImport checks that a reverted import leaves the figures as if the
// import had not happened, with votes before and after it.
func TestRevertUndoesImport(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := drawRatings(t)
		f := drawFigures(t)
		got := before.Import(f).Revert(f, nil)
		want := before
		want.NativeCreatedAt = &before.CreatedAt
		// Each of five operations rounds by at most 2^-53 of a sum of at most 5 stars for
		// each vote. The sum is divided by the votes that stay.
		votes := float64(before.Reviews + int64(f.Reviews))
		bound := 5 * 5 * votes / math.Pow(2, 53)
		if !near(got, want, bound/float64(max(before.Reviews, 1)), 0) {
			t.Fatalf("%+v\nbecame %+v", want, got)
		}
	})
}

// TestImportsCommute checks that the order of imports and reverts does not matter.
func TestImportsCommute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRatings(t).Vote(3)
		a, b := drawFigures(t), drawFigures(t)
		one, other := r.Import(a).Import(b), r.Import(b).Import(a)
		if !near(one, other, 1e-9, 1) {
			t.Fatalf("%+v\n%+v", one, other)
		}
		reverted := one.Revert(a, &b.Since)
		if alone := r.Import(b); reverted.Reviews != alone.Reviews || reverted.CreatedAt != alone.CreatedAt || reverted.SeededReviews != alone.SeededReviews {
			t.Fatalf("%+v\n%+v", reverted, alone)
		}
		if n, mean := one.Native(); n != r.Reviews || mean != r.NativeSum/float64(r.Reviews) {
			t.Fatalf("%d own votes with a mean of %v: %+v", n, mean, r)
		}
	})
}
