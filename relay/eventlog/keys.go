package eventlog

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/mostrodex/mostrodex/relay/eventlog/liveindex"
	"github.com/nbd-wtf/go-nostr"
)

// Keyspaces of Badger. The directory is DATA/events; the log itself is in events/log
// (package recordlog). The first byte of a key names its keyspace. Numbers in keys are
// big-endian, so that keys sort by number.
//
//	i id               seq of the event with that id
//	n address          index entry of the newest version of an address, if it is served
//	x address          index entry of the newest version, if it has expired or was deleted
//	r seq              index entry of a regular event, if it is served
//	t i id pubkey      tombstone: pubkey deleted the event id; seq of the request
//	t a address        tombstone of an address: versions up to this created_at are deleted
//	k address          seq up to which every version of an address is erased
//	u relay            cursor of an upstream relay
//	f q seq            queue of own events to forward
//	f c relay          seq up to which the queue was sent to a relay
//	f o seq relay      outcome of forwarding an event to a relay
//	e seq seq          equivocation: two events with the same address and created_at
//	g seq              pending scrub of a payload
//	v seq              facts of an erased event: the tags of mostro.FactTags
//	b seq              erased bytes in the log file that begins with seq
//	m name             schema version; applied, the last seq that derived keys cover
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

// schemaVersion is the version of this layout. A store of a greater version is refused.
// A store of a smaller version is migrated (migrate.go).
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

// address identifies the events of which only the newest version is served: (kind,
// pubkey) of a replaceable event, (kind, pubkey, d) of an addressable event. An address
// is the tail of its keys.
type address string

// maxPlainD is the length up to which a d value is part of a key as it is. A longer
// value is hashed, because Badger limits the length of keys.
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

// addressOfEntry returns the address of an event, or "" if the event is regular.
func addressOfEntry(r *liveindex.Entry) address {
	switch kindClass(r.Kind) {
	case replaceable:
		return makeAddress(r.Kind, r.PubKey, "")
	case addressable:
		for _, t := range r.Tags {
			if t[0] == 'd' {
				return makeAddress(r.Kind, r.PubKey, t[1:])
			}
		}
		return makeAddress(r.Kind, r.PubKey, "")
	}
	return ""
}

func tombIDKey(id, pubkey [32]byte) []byte {
	k := append(make([]byte, 0, 66), spaceTomb, 'i')
	return append(append(k, id[:]...), pubkey[:]...)
}

func tombAddressKey(a address) []byte {
	return append(append(make([]byte, 0, 2+len(a)), spaceTomb, 'a'), a...)
}

// addressOf returns the address of an event. ok is false if the event is regular.
func addressOf(evt *nostr.Event, pubkey [32]byte) (address, bool) {
	switch {
	case nostr.IsReplaceableKind(evt.Kind):
		return makeAddress(evt.Kind, pubkey, ""), true
	case nostr.IsAddressableKind(evt.Kind):
		return makeAddress(evt.Kind, pubkey, firstD(evt.Tags)), true
	}
	return "", false
}

// firstD returns the value of the first d tag, which is the d of the address (NIP-01).
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

var errCorrupt = errors.New("the record is malformed")

func proofKey(a, b uint64) []byte {
	return binary.BigEndian.AppendUint64(seqKey(spaceProof, a), b)
}

// class is the class of a kind (NIP-01).
type class uint8

const (
	regular class = iota
	replaceable
	addressable
	ephemeral
)

func kindClass(kind int) class {
	switch {
	case nostr.IsReplaceableKind(kind):
		return replaceable
	case nostr.IsAddressableKind(kind):
		return addressable
	case nostr.IsEphemeralKind(kind):
		return ephemeral
	}
	return regular
}
