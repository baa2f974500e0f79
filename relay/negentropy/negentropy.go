// Package negentropy implements version 1 of the Negentropy protocol, which NIP-77
// carries. Two sides each hold a sorted set of (created_at, id), and find the difference
// by comparing fingerprints of ranges.
//
// go-nostr has an implementation, but it hashes every id of a range for each fingerprint,
// stores ids as hex strings, and trusts the lengths that a peer sends. This package
// computes a fingerprint from prefix sums and bounds all input. The package does no I/O:
// a Session takes a message and returns the answer.
package negentropy

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"slices"
	"sort"

	"github.com/mostrodex/mostrodex/relay/eventlog"
)

const (
	Version         = 0x61
	bucketCount     = 16
	IDList          = 2
	modeFingerprint = 1
	modeSkip        = 0
	fingerprintSize = 16
	infinity        = math.MaxInt64

	// sumStep is the number of items per prefix sum.
	sumStep = 64
	// closingRoom is the number of bytes reserved for the closing fingerprint of a truncated
	// message.
	closingRoom = 200
)

var errMalformed = errors.New("malformed negentropy message")

// idSum is a sum of ids as little-endian numbers modulo 2^256.
type idSum [4]uint64

func (s *idSum) sub(o *idSum) {
	var borrow uint64
	for i := range s {
		s[i], borrow = bits.Sub64(s[i], o[i], borrow)
	}
}

func (s *idSum) addID(id *[32]byte) {
	var carry uint64
	for i := range s {
		s[i], carry = bits.Add64(s[i], binary.LittleEndian.Uint64(id[8*i:]), carry)
	}
}

// Set is a sorted set. A sealed set does not change, so any number of sessions may share
// the set.
type Set struct {
	Items []eventlog.LiveItem
	sums  []idSum // sums[i] is the sum of items[:i*sumStep]
	Head  uint64  // head of the log when the set was made
}

// Seal sorts the items and computes the prefix sums. Seal must be called before the set
// is used.
func (s *Set) Seal() {
	slices.SortFunc(s.Items, func(a, b eventlog.LiveItem) int { return a.Compare(&b) })
	s.sums = make([]idSum, 0, len(s.Items)/sumStep+1)
	var sum idSum
	for i := range s.Items {
		if i%sumStep == 0 {
			s.sums = append(s.sums, sum)
		}
		sum.addID(&s.Items[i].ID)
	}
}

// upTo returns the sum of items[:i].
func (s *Set) upTo(i int) (sum idSum) {
	if i == 0 {
		return sum
	}
	step := min(i/sumStep, len(s.sums)-1)
	sum = s.sums[step]
	for j := step * sumStep; j < i; j++ {
		sum.addID(&s.Items[j].ID)
	}
	return sum
}

func (s *Set) fingerprint(lower, upper int) (print [fingerprintSize]byte) {
	sum, before := s.upTo(upper), s.upTo(lower)
	sum.sub(&before)
	var room [32 + 10]byte
	b := room[:0]
	for _, w := range sum {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	h := sha256.Sum256(appendVarint(b, uint64(upper-lower)))
	copy(print[:], h[:])
	return print
}

// bound is the exclusive upper end of a range: a time and a prefix of an id.
type bound struct {
	at int64
	id []byte
}

// find returns the index of the first item, from lower on, that is not before b.
func (s *Set) find(lower int, b bound) int {
	if b.at == infinity {
		return len(s.Items)
	}
	var whole eventlog.LiveItem
	whole.At = b.at
	copy(whole.ID[:], b.id) // a prefix followed by zeros sorts before every id with this prefix
	return lower + sort.Search(len(s.Items)-lower, func(i int) bool { return s.Items[lower+i].Compare(&whole) >= 0 })
}

// boundBefore returns the shortest bound between items i-1 and i.
func (s *Set) boundBefore(i int) bound {
	a, b := &s.Items[i-1], &s.Items[i]
	if a.At != b.At {
		return bound{at: b.At}
	}
	n := 0
	for n < 31 && a.ID[n] == b.ID[n] {
		n++
	}
	return bound{at: b.At, id: b.ID[:n+1]}
}

// appendVarint appends a number in base 128, most significant digit first.
func appendVarint(dst []byte, n uint64) []byte {
	var room [10]byte
	i := len(room) - 1
	room[i] = byte(n & 0x7f)
	for n >>= 7; n != 0; n >>= 7 {
		i--
		room[i] = byte(n&0x7f) | 0x80
	}
	return append(dst, room[i:]...)
}

// reader reads fields from the front of a message.
type reader struct {
	b    []byte
	last int64 // created_at of the previous bound
}

func (r *reader) int() (n uint64, err error) {
	for i := 0; ; i++ {
		if i == len(r.b) || i == 10 || n > math.MaxUint64>>7 {
			return 0, errMalformed
		}
		n = n<<7 | uint64(r.b[i]&0x7f)
		if r.b[i]&0x80 == 0 {
			r.b = r.b[i+1:]
			return n, nil
		}
	}
}

func (r *reader) bytes(n int) ([]byte, error) {
	if len(r.b) < n {
		return nil, errMalformed
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b, nil
}

func (r *reader) bound() (b bound, err error) {
	delta, err := r.int()
	if err != nil {
		return b, err
	}
	switch {
	case delta == 0:
		b.at = infinity
	case delta-1 > uint64(infinity-r.last):
		b.at = infinity
	default:
		b.at = r.last + int64(delta-1)
	}
	r.last = b.at
	n, err := r.int()
	if err != nil || n > 32 {
		return b, errMalformed
	}
	b.id, err = r.bytes(int(n))
	return b, err
}

// writer appends ranges to a message.
type writer struct {
	b    []byte
	last int64
}

func (w *writer) bound(b bound) {
	if b.at == infinity {
		w.last = infinity
		w.b = append(w.b, 0)
	} else {
		w.b = appendVarint(w.b, uint64(b.at-w.last)+1)
		w.last = b.at
	}
	w.b = appendVarint(w.b, uint64(len(b.id)))
	w.b = append(w.b, b.id...)
}

func (w *writer) print(b bound, p [fingerprintSize]byte) {
	w.bound(b)
	w.b = append(append(w.b, modeFingerprint), p[:]...)
}

// Session is one side of a reconciliation. If this side began the reconciliation, have is
// called with each id that only this side has, and need with each id that only the other
// side has.
type Session struct {
	Set    *Set
	Limit  int // maximum bytes of a message, at least 4096
	have   func(id [32]byte)
	Need   func(id [32]byte)
	Client bool
}

// Start returns the first message. Only the side that begins calls Start.
func (n *Session) Start() []byte {
	w := writer{b: []byte{Version}}
	n.split(&w, 0, len(n.Set.Items), bound{at: infinity})
	return w.b
}

// split describes items[lower:upper]: a few items by their ids, many by fingerprints.
func (n *Session) split(w *writer, lower, upper int, end bound) {
	count := upper - lower
	if count < 2*bucketCount {
		w.bound(end)
		w.b = appendVarint(append(w.b, IDList), uint64(count))
		for i := lower; i < upper; i++ {
			w.b = append(w.b, n.Set.Items[i].ID[:]...)
		}
		return
	}
	at := lower
	for i := range bucketCount {
		size := count / bucketCount
		if i < count%bucketCount {
			size++
		}
		print := n.Set.fingerprint(at, at+size)
		at += size
		b := end
		if at < upper {
			b = n.Set.boundBefore(at)
		}
		w.print(b, print)
	}
}

// Answer reads a message and returns the next one. If this side began and the sets are
// reconciled, Answer returns nil. If the peer uses another version of the protocol, the
// answer is the version of this package. If the message is malformed, Answer returns an
// error.
func (n *Session) Answer(msg []byte) ([]byte, error) {
	r := reader{b: msg}
	version, err := r.bytes(1)
	if err != nil {
		return nil, err
	}
	if version[0] != Version {
		if n.Client || version[0] < 0x60 || version[0] > 0x6f {
			return nil, errMalformed
		}
		return []byte{Version}, nil
	}
	w := writer{b: append(make([]byte, 0, 4096), Version)}
	lower, skipped := 0, false
	var before bound // end of the previous range
	for len(r.b) > 0 {
		end, err := r.bound()
		if err != nil {
			return nil, err
		}
		mode, err := r.int()
		if err != nil {
			return nil, err
		}
		// If a bound is not behind the previous one, the range is empty.
		upper := max(lower, n.Set.find(lower, end))
		mark := w
		finishSkip := func() {
			if skipped {
				w.bound(before)
				w.b = append(w.b, modeSkip)
				skipped = false
			}
		}
		wasSkipped, cut := skipped, false
		switch mode {
		case modeSkip:
			skipped = true
		case modeFingerprint:
			theirs, err := r.bytes(fingerprintSize)
			if err != nil {
				return nil, err
			}
			ours := n.Set.fingerprint(lower, upper)
			if bytes.Equal(ours[:], theirs) {
				skipped = true
				break
			}
			finishSkip()
			n.split(&w, lower, upper, end)
		case IDList:
			count, err := r.int()
			if err != nil || count > uint64(len(r.b)/32) {
				return nil, errMalformed
			}
			ids, _ := r.bytes(int(count) * 32)
			if n.Client {
				n.compare(ids, lower, upper)
				skipped = true
				break
			}
			finishSkip()
			upper, end, cut = n.list(&w, lower, upper, end)
		default:
			return nil, errMalformed
		}
		if cut || len(w.b) > n.Limit-closingRoom {
			// The message is full. The range that did not fit and all later ranges are
			// described by one fingerprint.
			if !cut {
				w, upper, skipped = mark, lower, wasSkipped
				finishSkip()
			}
			w.print(bound{at: infinity}, n.Set.fingerprint(upper, len(n.Set.Items)))
			return w.b, nil
		}
		lower, before = upper, end
	}
	if n.Client && len(w.b) == 1 {
		return nil, nil
	}
	return w.b, nil
}

// list answers an id list with the ids of this side, as far as the message has room. cut
// is true if the room did not suffice.
func (n *Session) list(w *writer, lower, upper int, end bound) (int, bound, bool) {
	room := max(1, (n.Limit-closingRoom-len(w.b)-64)/32)
	cut := upper-lower > room
	if cut {
		upper = lower + room
		end = bound{at: n.Set.Items[upper].At, id: n.Set.Items[upper].ID[:]}
	}
	w.bound(end)
	w.b = appendVarint(append(w.b, IDList), uint64(upper-lower))
	for i := lower; i < upper; i++ {
		w.b = append(w.b, n.Set.Items[i].ID[:]...)
	}
	return upper, end, cut
}

// compare calls have and need with the ids that only one of two id lists of a range
// contains.
func (n *Session) compare(ids []byte, lower, upper int) {
	theirs := make(map[[32]byte]struct{}, len(ids)/32)
	for ; len(ids) >= 32; ids = ids[32:] {
		theirs[[32]byte(ids)] = struct{}{}
	}
	for i := lower; i < upper; i++ {
		id := n.Set.Items[i].ID
		if _, ok := theirs[id]; ok {
			delete(theirs, id)
		} else if n.have != nil {
			n.have(id)
		}
	}
	if n.Need != nil {
		for id := range theirs {
			n.Need(id)
		}
	}
}
