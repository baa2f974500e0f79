package attestation

import (
	"errors"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro/message"
)

// FuzzParse passes arbitrary texts to both parsers. No input may cause a panic, every
// refusal is an Error, and an accepted document can be written again.
func FuzzParse(f *testing.F) {
	v := readVectors(f)
	for _, c := range append(append(v.Attestation.Invalid, v.Attestation.Valid), v.Attestation.Accepted...) {
		f.Add(string(c.Event), v.Context.Now)
	}
	for _, c := range append(v.Rebind.Invalid, v.Rebind.Valid) {
		f.Add(string(c.Event), v.Context.Now)
	}
	f.Fuzz(func(t *testing.T, text string, now int64) {
		at := time.Unix(now, 0)
		a, err := Parse(text, at, Lifetime)
		if err == nil {
			evt, err := a.Event()
			if err != nil {
				t.Fatalf("%s: accepted, but not written: %v", text, err)
			}
			if back, fault := read(&evt); fault != nil || back.Figures != a.Figures || back.Subject != a.Subject || back.Destination != a.Destination {
				t.Fatalf("%+v became %+v, %v", a, back, fault)
			}
		} else if e := new(Error); !errors.As(err, &e) || e.Fault == "" || e.Reason() != message.ReasonInvalidReputationAttestation && e.Fault != FaultExpired {
			t.Fatalf("an error of another kind: %v", err)
		}
		r, err := ParseRebind(text, at)
		if err == nil {
			if _, err := r.Event(); err != nil {
				t.Fatalf("%s: accepted, but not written: %v", text, err)
			}
		} else if e := new(Error); !errors.As(err, &e) || e.Reason() != message.ReasonInvalidReputationRebind {
			t.Fatalf("an error of another kind: %v", err)
		}
	})
}

// FuzzTags passes arbitrary values to the parsers of tags, which FuzzParse reaches only
// with a valid signature.
func FuzzTags(f *testing.F) {
	f.Add("4.87", "214", "64f1c9f4e3a2b1c0d9e8f7a6")
	f.Add("5.01", "0214", "é")
	f.Fuzz(func(t *testing.T, rating, number, subject string) {
		if h, ok := parseRating(rating); ok && (Figures{Hundredths: h}).RatingText() != rating {
			t.Fatalf("%q is %d", rating, h)
		}
		if n, ok := decimal(number); ok && n < 0 {
			t.Fatalf("%q is %d", number, n)
		}
		if validSubject(subject) && (len(subject) < 1 || len(subject) > 64) {
			t.Fatalf("%q", subject)
		}
	})
}
