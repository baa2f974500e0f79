package indexer

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Keys of book/. The first byte is the keyspace.
const (
	keyMeta     = 'm' // name -> value
	keyHead     = 'h' // order key -> record with the newest version
	keyOlder    = 'v' // order key, created_at, inverted id -> an older version; the newest sorts last
	keyByID     = 'e' // event id -> order key, for deletions by id
	keyNoID     = 't' // event id, author -> deleted by that author
	keyNoAddr   = 'u' // order key -> created_at up to which its author deleted it
	keyAuthor   = 'i' // pubkey -> authorRecord
	keyDispute  = 'd' // dispute key -> newest state
	keyNames    = 'n' // pubkey -> names that the key uses
	keyAffected = 'x' // seq of a deletion -> addresses that the deletion changed
)

func headKey(k orders.Key) []byte { return append([]byte{keyHead}, k[:]...) }

// olderKey returns a key that sorts the versions of an order from oldest to newest: by
// created_at, and among equal ones the lowest id last.
func olderKey(k orders.Key, o *mostro.Order) []byte {
	out := append([]byte{keyOlder}, k[:]...)
	out = binary.BigEndian.AppendUint64(out, uint64(o.CreatedAt))
	id := orders.AppendHex(nil, o.EventID)
	for _, b := range id {
		out = append(out, ^b)
	}
	return out
}

func idKey(space byte, id string, more ...string) []byte {
	out := orders.AppendHex([]byte{space}, id)
	for _, m := range more {
		out = orders.AppendHex(out, m)
	}
	return out
}

func metaKey(name string) []byte { return append([]byte{keyMeta}, name...) }

// splitAddress splits "38383:<pubkey>:<d>". splitAddress returns an error if the address
// is not that of an order.
func splitAddress(address string) (pubkey, d string, err error) {
	kind, rest, ok := strings.Cut(address, ":")
	pubkey, d, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 || kind != "38383" || !nostr.IsValid32ByteHex(pubkey) {
		return "", "", fmt.Errorf("%q is not the address of an order", address)
	}
	return pubkey, d, nil
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// timeValue and readTime encode and decode the created_at in a tombstone.
func timeValue(t nostr.Timestamp) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(max(0, t)))
}

func readTime(b []byte) int64 {
	if len(b) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(b))
}
