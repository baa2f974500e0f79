package attestation

// Ratings are the figures of one user's reputation at one node. The methods return the
// changed figures.
//
// Every product is converted to float64 before it is added, because a compiler may
// otherwise fuse both operations with another rounding on some machines. Nodes must
// compute the same figures for the same votes.
type Ratings struct {
	Reviews int64   // votes, with the imported ones
	Mean    float64 // the published mean: half the first vote after one vote
	Last    int64   // last vote, 0 for none
	Max     int64   // greatest vote, 0 for none
	Min     int64   // least vote, 0 for none
	// CreatedAt is the time from which the node counts the user's age. An import moves
	// CreatedAt back.
	CreatedAt int64

	SeededReviews int64   // imported votes
	SeededSum     float64 // sum of the imported votes
	NativeSum     float64 // sum of the votes received at this node, without the halved first vote

	// NativeCreatedAt is CreatedAt without imports. nil: the user's row is older than
	// imports, and CreatedAt was never moved.
	NativeCreatedAt *int64
}

// Vote counts a vote of 1 to 5 stars. The first vote counts half, so that one vote makes
// no perfect reputation. Each further vote moves the mean by its distance from the mean,
// divided by the number of votes.
func (r Ratings) Vote(stars uint8) Ratings {
	vote := int64(stars)
	r.Reviews++
	if r.Reviews <= 1 {
		r.Mean = float64(vote) / 2
		r.Max, r.Min = vote, vote
	} else {
		r.Mean += (float64(vote) - r.Mean) / float64(r.Reviews)
		r.Max, r.Min = max(r.Max, vote), min(r.Min, vote)
	}
	r.Last = vote
	r.NativeSum += float64(vote)
	return r
}

// Import adds the figures of an attestation. The votes add up, the mean is weighted by
// the votes, and the age is that of the earliest trade.
func (r Ratings) Import(f Figures) Ratings {
	if f.Reviews == 0 {
		return r // no attestation has such figures
	}
	reviews, sum := int64(f.Reviews), float64(f.Rating()*float64(f.Reviews))
	native := r.native()
	r.NativeCreatedAt = &native
	r.Mean = (float64(r.Mean*float64(r.Reviews)) + sum) / float64(r.Reviews+reviews)
	r.Reviews += reviews
	r.CreatedAt = min(r.CreatedAt, f.Since)
	for _, vote := range []*int64{&r.Last, &r.Max, &r.Min} {
		if *vote == 0 {
			*vote = int64(f.Hundredths+50) / 100
		}
	}
	r.SeededReviews += reviews
	r.SeededSum += sum
	return r
}

// Revert removes the figures of an earlier Import. earliest is the least Since of the
// imports that stay, or nil if none stays. Votes received in between are kept. The
// extremes are reset only if no vote is left, because the single votes are not stored.
//
// The mean is exact up to the rounding of doubles. The rounding grows with the ratio of
// the imported votes to the votes that stay.
func (r Ratings) Revert(f Figures, earliest *int64) Ratings {
	reviews, sum := int64(f.Reviews), float64(f.Rating()*float64(f.Reviews))
	left := max(r.Reviews-reviews, 0)
	if left == 0 {
		r.Mean = 0
		r.Last, r.Max, r.Min = 0, 0, 0
	} else {
		r.Mean = (float64(r.Mean*float64(r.Reviews)) - sum) / float64(left)
	}
	r.Reviews = left
	r.SeededReviews = max(r.SeededReviews-reviews, 0)
	r.SeededSum -= sum
	r.CreatedAt = r.native()
	if earliest != nil {
		r.CreatedAt = min(r.CreatedAt, *earliest)
	}
	return r
}

// Native returns the number and the mean of the votes received at this node. An export
// states only these, so that no imported vote is exported again.
func (r Ratings) Native() (reviews int64, mean float64) {
	reviews = max(r.Reviews-r.SeededReviews, 0)
	if reviews == 0 {
		return 0, 0
	}
	return reviews, r.NativeSum / float64(reviews)
}

func (r Ratings) native() int64 {
	if r.NativeCreatedAt != nil {
		return *r.NativeCreatedAt
	}
	return r.CreatedAt
}
