package liveindex

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/internal/varint"
	"github.com/nbd-wtf/go-nostr"
)

var errMalformed = errors.New("the record is malformed")

// Entry is an index entry: all that the index needs of a served event. The store keeps the
// entries among its derived keys and fills the index from them when it opens, without
// parsing a payload.
type Entry struct {
	Seq        uint64
	Chain      uint64 // seq of the newest arrival of the same address; the previous of its record leads to the others
	ID, PubKey [32]byte
	Kind       int
	CreatedAt  int64
	Expiration int64
	Tags       []string // letter and value of each single-letter tag, without duplicates
}

// Encode returns the encoding of the entry.
func (r Entry) Encode() []byte {
	n := 0
	for _, t := range r.Tags {
		n += len(t) + 2
	}
	b := make([]byte, 0, 96+n)
	b = append(b, r.ID[:]...)
	b = append(b, r.PubKey[:]...)
	b = binary.AppendUvarint(b, r.Seq)
	b = binary.AppendUvarint(b, r.Chain)
	b = binary.AppendUvarint(b, uint64(r.Kind))
	b = binary.AppendVarint(b, r.CreatedAt)
	b = binary.AppendVarint(b, r.Expiration)
	b = binary.AppendUvarint(b, uint64(len(r.Tags)))
	for _, t := range r.Tags {
		b = binary.AppendUvarint(b, uint64(len(t)))
		b = append(b, t...)
	}
	return b
}

// DecodeEntry decodes an index entry, which is all of b.
func DecodeEntry(b []byte) (Entry, error) {
	in := varint.Reader{Rest: b}
	var r Entry
	copy(r.ID[:], in.Bytes(32))
	copy(r.PubKey[:], in.Bytes(32))
	r.Seq = in.Uvarint()
	r.Chain = in.Uvarint()
	r.Kind = int(in.Uvarint())
	r.CreatedAt = in.Varint()
	r.Expiration = in.Varint()
	n := in.Uvarint()
	if in.Bad || n > uint64(len(in.Rest)) {
		return Entry{}, errMalformed
	}
	r.Tags = make([]string, 0, n)
	text := string(in.Rest) // the tags are substrings of one string
	for range n {
		length := in.Uvarint()
		from := len(text) - len(in.Rest)
		if in.Bytes(length); in.Bad {
			break
		}
		r.Tags = append(r.Tags, text[from:len(text)-len(in.Rest)])
	}
	if in.Bad || len(in.Rest) != 0 {
		return Entry{}, errMalformed
	}
	return r, nil
}

// TagKeys returns the letter and the first value of each single-letter tag (NIP-01),
// without duplicates.
func TagKeys(tags nostr.Tags) []string {
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

// Same reports whether r and b describe the same event. Their chains may differ.
func (r *Entry) Same(b *Entry) bool {
	return r.Seq == b.Seq && r.ID == b.ID && r.PubKey == b.PubKey && r.Kind == b.Kind &&
		r.CreatedAt == b.CreatedAt && r.Expiration == b.Expiration && slices.Equal(r.Tags, b.Tags)
}

// FirstTag returns the first value of a tag, or "" if the event has no such tag.
func (r *Entry) FirstTag(letter byte) string {
	for _, t := range r.Tags {
		if t[0] == letter {
			return t[1:]
		}
	}
	return ""
}
