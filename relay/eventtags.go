package relay

import (
	"math/bits"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/internal/jsonscan"
	"github.com/nbd-wtf/go-nostr"
)

// eventTags holds the distinct values of an event's single-letter tags by letter, so that
// a condition is compared only with the values of its own letter. An eventTags value is
// reused for many events.
type eventTags struct {
	values  ['z' - 'A' + 1][]string // up to manyWords values in any order; more are sorted
	letters []byte                  // letters that the event has
}

// manyWords is the length up to which a list is searched linearly.
const manyWords = 12

// maxKeptValues is the capacity for the values of one letter that is kept for the next
// event.
const maxKeptValues = 64

func (e *eventTags) fill(tags nostr.Tags) {
	for _, letter := range e.letters {
		list := &e.values[letter-'A']
		clear(*list) // keeps no string of the event in memory
		if *list = (*list)[:0]; cap(*list) > maxKeptValues {
			*list = nil
		}
	}
	e.letters = e.letters[:0]
	for _, tag := range tags {
		if len(tag) < 2 || len(tag[0]) != 1 || !jsonscan.IsTagLetter(tag[0][0]) {
			continue
		}
		list := &e.values[tag[0][0]-'A']
		if len(*list) == 0 {
			e.letters = append(e.letters, tag[0][0])
		} else if len(*list) < manyWords && slices.Contains(*list, tag[1]) {
			continue
		}
		*list = append(*list, tag[1])
	}
	for _, letter := range e.letters {
		if list := &e.values[letter-'A']; len(*list) >= manyWords {
			slices.Sort(*list)
			*list = slices.Compact(*list)
		}
	}
}

// of returns the values of a tag letter.
func (e *eventTags) of(letter byte) []string {
	if !jsonscan.IsTagLetter(letter) {
		return nil
	}
	return e.values[letter-'A']
}

// hasWord reports whether list contains word. The values of list are distinct, and sorted
// if there are more than manyWords.
func hasWord(list []string, word string) bool {
	if len(list) <= manyWords {
		return slices.Contains(list, word)
	}
	_, ok := slices.BinarySearch(list, word)
	return ok
}

// shareWord reports whether two lists as hasWord expects them have a value in common. The
// shorter list is walked; both lists are walked if that takes less work.
func shareWord(a, b []string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(a) <= manyWords || len(a)*bits.Len(uint(len(b))) < len(a)+len(b) {
		for _, word := range a {
			if hasWord(b, word) {
				return true
			}
		}
		return false
	}
	for len(a) > 0 && len(b) > 0 {
		switch order := strings.Compare(a[0], b[0]); {
		case order == 0:
			return true
		case order < 0:
			a = a[1:]
		default:
			b = b[1:]
		}
	}
	return false
}

// distinctWords returns words without repetitions, in the form that hasWord expects. The
// given list is not modified.
func distinctWords(words []string) []string {
	if len(words) > manyWords {
		return slices.Compact(slices.Sorted(slices.Values(words)))
	}
	for i, w := range words {
		if slices.Contains(words[:i], w) {
			sorted := slices.Sorted(slices.Values(words))
			return slices.Compact(sorted)
		}
	}
	return words
}
