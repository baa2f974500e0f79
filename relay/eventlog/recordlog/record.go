package recordlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/mostrodex/mostrodex/internal/varint"
	"github.com/mostrodex/mostrodex/mostro"
)

// Record is the head of a record of the log.
type Record struct {
	Archived      bool
	PayloadErased bool  // the record has no payload: the event was deleted, or is expired mail
	Expired       bool  // the event had expired at its arrival
	Forward       bool  // queued for other relays
	FirstOfWrite  bool  // first record of its write: if it is in the log, all records before it were durable
	ReceivedAt    int64 // Unix time in milliseconds
	Source        mostro.Source
	ID, PubKey    [32]byte
	Kind          int
	CreatedAt     int64
	Expiration    int64  // Unix time in seconds of NIP-40 or of the end of a mail's life; 0 if none
	Previous      uint64 // seq of the earlier arrival of the same address; 0 if none
}

const (
	flagArchived = 1 << iota
	flagNoPayload
	flagExpired
	flagForward
	flagFirst
)

// encode appends the encoding of the head to b.
func (r Record) encode(b []byte) []byte {
	var flags byte
	for _, f := range [...]struct {
		is  bool
		bit byte
	}{{r.Archived, flagArchived}, {r.PayloadErased, flagNoPayload}, {r.Expired, flagExpired}, {r.Forward, flagForward}, {r.FirstOfWrite, flagFirst}} {
		if f.is {
			flags |= f.bit
		}
	}
	b = append(b, flags, byte(r.Source.Origin))
	b = append(b, r.ID[:]...)
	b = append(b, r.PubKey[:]...)
	b = binary.AppendVarint(b, r.ReceivedAt)
	b = binary.AppendUvarint(b, uint64(r.Kind))
	b = binary.AppendVarint(b, r.CreatedAt)
	b = binary.AppendVarint(b, r.Expiration)
	b = binary.AppendUvarint(b, r.Previous)
	b = binary.AppendUvarint(b, uint64(len(r.Source.Relay)))
	return append(b, r.Source.Relay...)
}

var errMalformed = errors.New("the record is malformed")

// decodeHead decodes the head of a record, which is all of b.
func decodeHead(b []byte) (Record, error) {
	r, rest, err := SplitHead(b)
	if err == nil && len(rest) > 0 {
		err = errMalformed
	}
	if err != nil {
		return Record{}, err
	}
	return r, nil
}

// SplitHead decodes the head of a record at the beginning of b and returns the bytes
// behind the head.
func SplitHead(b []byte) (r Record, rest []byte, err error) {
	in := varint.Reader{Rest: b}
	head := in.Bytes(2)
	is := func(bit byte) bool { return head[0]&bit != 0 }
	r = Record{Archived: is(flagArchived), PayloadErased: is(flagNoPayload), Expired: is(flagExpired), Forward: is(flagForward), FirstOfWrite: is(flagFirst)}
	r.Source.Origin = mostro.Origin(head[1])
	copy(r.ID[:], in.Bytes(32))
	copy(r.PubKey[:], in.Bytes(32))
	r.ReceivedAt = in.Varint()
	r.Kind = int(in.Uvarint())
	r.CreatedAt = in.Varint()
	r.Expiration = in.Varint()
	r.Previous = in.Uvarint()
	r.Source.Relay = string(in.Bytes(in.Uvarint()))
	if in.Bad {
		return Record{}, nil, errMalformed
	}
	return r, in.Rest, nil
}

// ErrDamagedRecord says that a record cannot be read, because the disk returned other
// bytes than the store had written.
var ErrDamagedRecord = errors.New("the record is damaged")

// AppendRecord appends the encoding of one record to dst.
func AppendRecord(dst []byte, r Record, body []byte) []byte {
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
func parseRecord(b []byte) (r Record, body []byte, err error) {
	head, rest, ok := splitRecord(b)
	if !ok {
		return r, nil, ErrDamagedRecord
	}
	if r, err = decodeHead(head[recordHeader:]); err != nil {
		return r, nil, err
	}
	body = rest[:binary.LittleEndian.Uint32(head[4:])]
	switch {
	case r.PayloadErased:
		return r, nil, nil
	case crc32.Checksum(body, crcTable) == binary.LittleEndian.Uint32(head[8:]):
		return r, body, nil
	case isScrubbed(body):
		r.PayloadErased = true
		return r, nil, nil
	}
	return r, nil, ErrDamagedRecord
}

// isScrubbed reports whether every byte of a payload was overwritten.
func isScrubbed(body []byte) bool {
	return len(body) > 0 && bytes.Count(body, []byte{scrubByte}) == len(body)
}

// IsDamage reports whether err says that the disk returned other bytes than the log had
// written.
func IsDamage(err error) bool {
	return errors.Is(err, ErrDamagedRecord) || errors.Is(err, errMalformed)
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
func parseHead(b []byte) (r Record, err error) {
	if len(b) < recordHeader {
		return r, ErrDamagedRecord
	}
	h := int64(binary.LittleEndian.Uint32(b))
	if int64(len(b)) < recordHeader+h || headChecksum(b[:recordHeader+h]) != binary.LittleEndian.Uint32(b[12:]) {
		return r, ErrDamagedRecord
	}
	if r, err = decodeHead(b[recordHeader : recordHeader+h]); err == nil && int64(len(b)) > recordHeader+h && b[recordHeader+h] == scrubByte {
		r.PayloadErased = true
	}
	return r, err
}
