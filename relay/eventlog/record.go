package eventlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"

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

// errDamagedRecord says that a record cannot be read, because the disk returned other
// bytes than the store had written.
var errDamagedRecord = errors.New("the record is damaged")

// appendRecord appends the encoding of one record to dst.
func appendRecord(dst []byte, r logRecord, body []byte) []byte {
	from := len(dst)
	dst = append(dst, make([]byte, recordHeader)...)
	dst = r.encode(dst)
	head := dst[from:]
	binary.LittleEndian.PutUint32(head, uint32(len(head)-recordHeader))
	binary.LittleEndian.PutUint32(head[4:], uint32(len(body)))
	binary.LittleEndian.PutUint32(head[8:], crc32.Checksum(body, crcTable))
	binary.LittleEndian.PutUint32(head[12:], headChecksum(head))
	return append(dst, body...)
}

// headChecksum returns the checksum of a record's head and of the twelve bytes before
// the head.
func headChecksum(head []byte) uint32 {
	return crc32.Update(crc32.Checksum(head[:12], crcTable), crcTable, head[recordHeader:])
}

// parseRecord decodes the record at the beginning of b. The body is a slice of b, or
// nil if the payload is erased.
func parseRecord(b []byte) (r logRecord, body []byte, err error) {
	head, rest, ok := splitRecord(b)
	if !ok {
		return r, nil, errDamagedRecord
	}
	if r, err = decodeHead(head[recordHeader:]); err != nil {
		return r, nil, err
	}
	body = rest[:binary.LittleEndian.Uint32(head[4:])]
	switch {
	case r.payloadErased:
		return r, nil, nil
	case crc32.Checksum(body, crcTable) == binary.LittleEndian.Uint32(head[8:]):
		return r, body, nil
	case isScrubbed(body):
		r.payloadErased = true
		return r, nil, nil
	}
	return r, nil, errDamagedRecord
}

// isScrubbed reports whether every byte of a payload was overwritten.
func isScrubbed(body []byte) bool {
	return len(body) > 0 && bytes.Count(body, []byte{scrubByte}) == len(body)
}

// isDamage reports whether err says that the disk returned other bytes than the log had
// written.
func isDamage(err error) bool {
	return errors.Is(err, errDamagedRecord) || errors.Is(err, errMalformed)
}

// splitRecord splits b after the head of its first record. The head is verified by its
// checksum, the payload is not. ok is false if b does not begin with a complete record.
func splitRecord(b []byte) (head, rest []byte, ok bool) {
	if len(b) < recordHeader {
		return nil, nil, false
	}
	h, n := uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[4:]))
	if uint64(len(b)) < recordHeader+h+n || headChecksum(b[:recordHeader+h]) != binary.LittleEndian.Uint32(b[12:]) {
		return nil, nil, false
	}
	return b[:recordHeader+h], b[recordHeader+h:], true
}

// parseHead decodes the head of the record at the beginning of b. The payload may be
// incomplete.
func parseHead(b []byte) (r logRecord, err error) {
	if len(b) < recordHeader {
		return r, errDamagedRecord
	}
	h := int64(binary.LittleEndian.Uint32(b))
	if int64(len(b)) < recordHeader+h || headChecksum(b[:recordHeader+h]) != binary.LittleEndian.Uint32(b[12:]) {
		return r, errDamagedRecord
	}
	if r, err = decodeHead(b[recordHeader : recordHeader+h]); err == nil && int64(len(b)) > recordHeader+h && b[recordHeader+h] == scrubByte {
		r.payloadErased = true
	}
	return r, err
}
