package eventlog

import (
	"encoding/binary"
	"errors"

	"github.com/mostrodex/mostrodex/internal/varint"
	"github.com/mostrodex/mostrodex/mostro"
)

// logRecord is the head of a record of the log.
type logRecord struct {
	archived      bool
	payloadErased bool  // the record has no payload: the event was deleted, or is expired mail
	expired       bool  // the event had expired at its arrival
	forward       bool  // queued for other relays
	firstOfWrite  bool  // first record of its write: if it is in the log, all records before it were durable
	receivedAt    int64 // Unix time in milliseconds
	source        mostro.Source
	id, pubkey    [32]byte
	kind          int
	createdAt     int64
	expiration    int64  // Unix time in seconds of NIP-40 or of the end of a mail's life; 0 if none
	previous      uint64 // seq of the earlier arrival of the same address; 0 if none
}

const (
	flagArchived = 1 << iota
	flagNoPayload
	flagExpired
	flagForward
	flagFirst
)

// encode appends the encoding of the head to b.
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

var errMalformed = errors.New("the record is malformed")

// decodeHead decodes the head of a record, which is all of b.
func decodeHead(b []byte) (logRecord, error) {
	r, rest, err := splitHead(b)
	if err == nil && len(rest) > 0 {
		err = errMalformed
	}
	if err != nil {
		return logRecord{}, err
	}
	return r, nil
}

// splitHead decodes the head of a record at the beginning of b and returns the bytes
// behind the head.
func splitHead(b []byte) (r logRecord, rest []byte, err error) {
	in := varint.Reader{Rest: b}
	head := in.Bytes(2)
	is := func(bit byte) bool { return head[0]&bit != 0 }
	r = logRecord{archived: is(flagArchived), payloadErased: is(flagNoPayload), expired: is(flagExpired), forward: is(flagForward), firstOfWrite: is(flagFirst)}
	r.source.Road = mostro.Road(head[1])
	copy(r.id[:], in.Bytes(32))
	copy(r.pubkey[:], in.Bytes(32))
	r.receivedAt = in.Varint()
	r.kind = int(in.Uvarint())
	r.createdAt = in.Varint()
	r.expiration = in.Varint()
	r.previous = in.Uvarint()
	r.source.Relay = string(in.Bytes(in.Uvarint()))
	if in.Bad {
		return logRecord{}, nil, errMalformed
	}
	return r, in.Rest, nil
}
