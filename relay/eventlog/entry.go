package eventlog

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/internal/varint"
	"github.com/nbd-wtf/go-nostr"
)

var errMalformed = errors.New("the record is malformed")

// indexEntry holds all that the live index needs of a served event. Open loads the live
// index from index entries and parses no payload.
type indexEntry struct {
	seq        uint64
	chain      uint64 // seq of the newest arrival of the same address; the previous of its record leads to the others
	id, pubkey [32]byte
	kind       int
	createdAt  int64
	expiration int64
	tags       []string // letter and value of each single-letter tag, without duplicates
}

// encode returns the encoding of the entry.
func (r indexEntry) encode() []byte {
	n := 0
	for _, t := range r.tags {
		n += len(t) + 2
	}
	b := make([]byte, 0, 96+n)
	b = append(b, r.id[:]...)
	b = append(b, r.pubkey[:]...)
	b = binary.AppendUvarint(b, r.seq)
	b = binary.AppendUvarint(b, r.chain)
	b = binary.AppendUvarint(b, uint64(r.kind))
	b = binary.AppendVarint(b, r.createdAt)
	b = binary.AppendVarint(b, r.expiration)
	b = binary.AppendUvarint(b, uint64(len(r.tags)))
	for _, t := range r.tags {
		b = binary.AppendUvarint(b, uint64(len(t)))
		b = append(b, t...)
	}
	return b
}

// decodeIndexEntry decodes an index entry, which is all of b.
func decodeIndexEntry(b []byte) (indexEntry, error) {
	in := varint.Reader{Rest: b}
	var r indexEntry
	copy(r.id[:], in.Bytes(32))
	copy(r.pubkey[:], in.Bytes(32))
	r.seq = in.Uvarint()
	r.chain = in.Uvarint()
	r.kind = int(in.Uvarint())
	r.createdAt = in.Varint()
	r.expiration = in.Varint()
	n := in.Uvarint()
	if in.Bad || n > uint64(len(in.Rest)) {
		return indexEntry{}, errMalformed
	}
	r.tags = make([]string, 0, n)
	text := string(in.Rest) // the tags are substrings of one string
	for range n {
		length := in.Uvarint()
		from := len(text) - len(in.Rest)
		if in.Bytes(length); in.Bad {
			break
		}
		r.tags = append(r.tags, text[from:len(text)-len(in.Rest)])
	}
	if in.Bad || len(in.Rest) != 0 {
		return indexEntry{}, errMalformed
	}
	return r, nil
}

// tagKeys returns the letter and the first value of each single-letter tag (NIP-01),
// without duplicates.
func tagKeys(tags nostr.Tags) []string {
	keys := make([]string, 0, 12)
	var seen map[string]bool // set if the event has many tags, because a scan would take quadratic time
	if len(tags) > 32 {
		seen = make(map[string]bool, len(tags))
	}
	size := 0
	for _, t := range tags {
		if isIndexable(t) {
			size += 1 + len(t[1])
		}
	}
	var text strings.Builder // the keys are substrings of one string
	text.Grow(size)
	for _, t := range tags {
		if !isIndexable(t) {
			continue
		}
		from := text.Len()
		text.WriteString(t[0])
		text.WriteString(t[1])
		key := text.String()[from:]
		if seen == nil && slices.Contains(keys, key) || seen[key] {
			continue
		}
		if seen != nil {
			seen[key] = true
		}
		keys = append(keys, key)
	}
	return keys
}

func isIndexable(t nostr.Tag) bool { return len(t) >= 2 && len(t[0]) == 1 && isLetter(t[0][0]) }

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// same reports whether two entries describe the same event. Their chains may differ.
func (a *indexEntry) same(b *indexEntry) bool {
	return a.seq == b.seq && a.id == b.id && a.pubkey == b.pubkey && a.kind == b.kind &&
		a.createdAt == b.createdAt && a.expiration == b.expiration && slices.Equal(a.tags, b.tags)
}

// firstTag returns the first value of a tag, or "" if the event has no such tag.
func (r *indexEntry) firstTag(letter byte) string {
	for _, t := range r.tags {
		if t[0] == letter {
			return t[1:]
		}
	}
	return ""
}
