package eventlog

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Layout of events/ (Badger), but for the log itself, which lies in events/log
// (recordlog.go). The first byte of a key names its keyspace; numbers are
// big-endian so that keys sort by them.
//
//	i id               seq of the event with that id
//	n address          record of the newest version of an address, served
//	x address          the same, not served: it expired or was deleted
//	r seq              record of a regular event, served
//	t i id pubkey      pubkey asked for the deletion of id: seq of the request
//	t a address        deleted up to a created_at
//	k address          arrival from which on back all of the address are erased
//	u relay            cursor of an upstream
//	f q seq            queue of own events to forward
//	f c relay          up to where a relay has been sent the queue
//	f o seq relay      what became of an event at a relay
//	e seq seq          equivocation: two events of one address and time
//	g seq              its body is to be erased, and may not be yet
//	k seq              facts of an erased event: the tags of mostro.FactTags
//	b seq              bytes erased in the file of the log that begins with seq
//	m name             schema; up to which seq of the log this says what follows
const (
	spaceID          = 'i'
	spaceNewest      = 'n'
	spaceHidden      = 'x'
	spaceRegular     = 'r'
	spaceTomb        = 't'
	spaceChain       = 'k'
	spaceCursor      = 'u'
	spaceForward     = 'f'
	spaceProof       = 'e'
	spaceScrub       = 'g'
	spaceErasedBytes = 'b'
	spaceFact        = 'v'
	spaceMeta        = 'm'
)

// schemaVersion is the version of this layout. A store of a greater version is
// refused, one of a smaller version brought up to this one (migrate.go).
const schemaVersion = 2

var keySchema, keyApplied = []byte("mschema"), []byte("mapplied")

func seqKey(space byte, seq uint64) []byte {
	k := make([]byte, 9)
	k[0] = space
	binary.BigEndian.PutUint64(k[1:], seq)
	return k
}

func idKey(id [32]byte) []byte {
	k := make([]byte, 33)
	k[0] = spaceID
	copy(k[1:], id[:])
	return k
}

// address names what newest-wins applies to: (kind, pubkey) of a replaceable
// event, (kind, pubkey, d) of an addressable one. It is the tail of its keys.
type address string

// maxPlainD is the longest d kept as it is in a key; a longer one is hashed,
// because Badger bounds its keys.
const maxPlainD = 512

func makeAddress(kind int, pubkey [32]byte, d string) address {
	k := make([]byte, 0, 2+32+1+len(d))
	k = binary.BigEndian.AppendUint16(k, uint16(kind))
	k = append(k, pubkey[:]...)
	if len(d) > maxPlainD {
		h := sha256.Sum256([]byte(d))
		return address(append(append(k, 1), h[:]...))
	}
	return address(append(append(k, 0), d...))
}

func addressKey(space byte, a address) []byte {
	return append(append(make([]byte, 0, 1+len(a)), space), a...)
}

func tombIDKey(id, pubkey [32]byte) []byte {
	k := append(make([]byte, 0, 66), spaceTomb, 'i')
	return append(append(k, id[:]...), pubkey[:]...)
}

func tombAddressKey(a address) []byte {
	return append(append(make([]byte, 0, 2+len(a)), spaceTomb, 'a'), a...)
}

// addressOf gives the address of an event, and whether it has one.
func addressOf(evt *nostr.Event, pubkey [32]byte) (address, bool) {
	switch {
	case nostr.IsReplaceableKind(evt.Kind):
		return makeAddress(evt.Kind, pubkey, ""), true
	case nostr.IsAddressableKind(evt.Kind):
		return makeAddress(evt.Kind, pubkey, firstD(evt.Tags)), true
	}
	return "", false
}

// firstD is the value of the first d tag, as NIP-01 defines the address.
func firstD(tags nostr.Tags) string {
	for _, t := range tags {
		if len(t) > 0 && t[0] == "d" {
			if len(t) > 1 {
				return t[1]
			}
			return ""
		}
	}
	return ""
}

// row is what the log keeps of every event, before its body.
type logRecord struct {
	archived      bool
	payloadErased bool  // it has no body: erased, deleted by its author, or expired mail
	expired       bool  // at its arrival
	forward       bool  // queued for other relays
	firstOfWrite  bool  // of those that were written at once: all before it were durable by then
	receivedAt    int64 // unix milliseconds
	source        mostro.Source
	id, pubkey    [32]byte
	kind          int
	createdAt     int64
	expiration    int64  // effective: NIP-40, or the end of a mail's life; 0 none
	previous      uint64 // earlier arrival of the same address, 0 none
}

const (
	flagArchived = 1 << iota
	flagNoPayload
	flagExpired
	flagForward
	flagFirst
)

// encode appends the row to b.
func (r logRecord) encode(b []byte) []byte {
	var flags byte
	for _, f := range [...]struct {
		is  bool
		bit byte
	}{{r.archived, flagArchived}, {r.payloadErased, flagNoPayload}, {r.expired, flagExpired}, {r.forward, flagForward}, {r.firstOfWrite, flagFirst}} {
		if f.is {
			flags |= f.bit
		}
	}
	b = append(b, flags, byte(r.source.Road))
	b = append(b, r.id[:]...)
	b = append(b, r.pubkey[:]...)
	b = binary.AppendVarint(b, r.receivedAt)
	b = binary.AppendUvarint(b, uint64(r.kind))
	b = binary.AppendVarint(b, r.createdAt)
	b = binary.AppendVarint(b, r.expiration)
	b = binary.AppendUvarint(b, r.previous)
	b = binary.AppendUvarint(b, uint64(len(r.source.Relay)))
	return append(b, r.source.Relay...)
}

var errCorrupt = errors.New("corrupt row")

// reader takes numbers off the front of a value, remembering the first error.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes(n uint64) []byte {
	if uint64(len(r.b)) < n {
		r.bad = true
		return make([]byte, min(n, 64))
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func decodeHead(b []byte) (r logRecord, err error) {
	in := reader{b: b}
	head := in.bytes(2)
	is := func(bit byte) bool { return head[0]&bit != 0 }
	r = logRecord{archived: is(flagArchived), payloadErased: is(flagNoPayload), expired: is(flagExpired), forward: is(flagForward), firstOfWrite: is(flagFirst)}
	r.source.Road = mostro.Road(head[1])
	copy(r.id[:], in.bytes(32))
	copy(r.pubkey[:], in.bytes(32))
	r.receivedAt = in.varint()
	r.kind = int(in.uvarint())
	r.createdAt = in.varint()
	r.expiration = in.varint()
	r.previous = in.uvarint()
	r.source.Relay = string(in.bytes(in.uvarint()))
	if in.bad || len(in.b) != 0 {
		return logRecord{}, errCorrupt
	}
	return r, nil
}

// record is what the live index needs of a served event, so that opening the
// store never parses a body.
type indexEntry struct {
	seq        uint64
	chain      uint64 // newest arrival of the same address, for walking row.previous
	id, pubkey [32]byte
	kind       int
	createdAt  int64
	expiration int64
	tags       []string // letter + value of every single-letter tag, deduplicated
}

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

func decodeIndexEntry(b []byte) (indexEntry, error) {
	in := reader{b: b}
	var r indexEntry
	copy(r.id[:], in.bytes(32))
	copy(r.pubkey[:], in.bytes(32))
	r.seq = in.uvarint()
	r.chain = in.uvarint()
	r.kind = int(in.uvarint())
	r.createdAt = in.varint()
	r.expiration = in.varint()
	n := in.uvarint()
	if in.bad || n > uint64(len(in.b)) {
		return indexEntry{}, errCorrupt
	}
	r.tags = make([]string, 0, n)
	text := string(in.b) // terms are parts of one string
	for range n {
		length := in.uvarint()
		from := len(text) - len(in.b)
		if in.bytes(length); in.bad {
			break
		}
		r.tags = append(r.tags, text[from:len(text)-len(in.b)])
	}
	if in.bad || len(in.b) != 0 {
		return indexEntry{}, errCorrupt
	}
	return r, nil
}

// termsOf lists what an event can be found by: letter + value of each
// single-letter tag's first value (NIP-01), without repetitions.
func tagKeys(tags nostr.Tags) []string {
	keys := make([]string, 0, 12)
	var seen map[string]bool // only for events with many tags, where a scan would be quadratic
	if len(tags) > 32 {
		seen = make(map[string]bool, len(tags))
	}
	size := 0
	for _, t := range tags {
		if isIndexable(t) {
			size += 1 + len(t[1])
		}
	}
	var text strings.Builder // terms are parts of one string
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
