// Package witness defines signed receive logs. A relay that signs its receive log states for
// each event that it received when it received the event. Another relay that trusts the
// key can judge Mostros by these times, although it did not watch itself.
//
// A statement is an event of kind 30078 (NIP-78), signed by the key of the relay's
// reputation. docs/witness.md describes the format byte by byte. The package builds and
// parses statements. It does no I/O, reads no clock and checks no signature.
package witness

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// DPrefix is the prefix of the d tag of a statement. The position in the log of the relay
// after which the rows of the statement begin follows, in decimal.
const DPrefix = "mostrodex-witness:"

// Bounds of a statement.
const (
	MaxRows = 512               // rows of one statement
	MinTime = 1_577_836_800_000 // least time of a receipt, unix ms: 1 January 2020, before the first Mostro

	headSize   = 11
	maxRowSize = 32 + binary.MaxVarintLen64
	maxTime    = 1 << 50 // unix ms: larger numbers could overflow
	maxAhead   = 60_000  // ms by which a receipt may be later than created_at of the statement
	version    = 1
)

// maxContent is the greatest length of the content, in bytes.
var maxContent = base64.StdEncoding.EncodedLen(headSize + MaxRows*maxRowSize)

// Row is the receipt of one event.
type Row struct {
	ID         [32]byte
	ReceivedMS int64 // unix milliseconds, by the clock of the relay
	// Live is set if the event was received at its publication. It is not set if the relay
	// fetched the event as history.
	Live bool
}

// ErrForm means that an event is not a statement, or breaks its format.
var ErrForm = errors.New("not a witness statement")

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrForm, fmt.Sprintf(format, args...))
}

// Is reports whether an event claims to be a statement. Parse decides whether it is one.
func Is(evt *nostr.Event) bool {
	return evt.Kind == mostro.KindAppData && strings.HasPrefix(evt.Tags.GetD(), DPrefix)
}

// New returns a statement about rows, to be signed. after is the position in the log after
// which the rows begin. created is the time of the statement. New returns ErrForm if the
// rows break a bound, so that New never makes a statement that Parse refuses.
func New(pubkey string, after uint64, rows []Row, created nostr.Timestamp) (nostr.Event, error) {
	if len(rows) == 0 || len(rows) > MaxRows {
		return nostr.Event{}, broken("%d rows", len(rows))
	}
	raw := make([]byte, 0, headSize+len(rows)*36)
	raw = append(raw, version)
	raw = binary.BigEndian.AppendUint16(raw, uint16(len(rows)))
	raw = binary.BigEndian.AppendUint64(raw, uint64(rows[0].ReceivedMS))
	last := rows[0].ReceivedMS
	for i, r := range rows {
		if r.ReceivedMS < MinTime || r.ReceivedMS > maxTime {
			return nostr.Event{}, broken("row %d has an impossible time", i)
		}
		raw = append(raw, r.ID[:]...)
		raw = binary.AppendUvarint(raw, step(r.ReceivedMS-last, r.Live))
		last = r.ReceivedMS
	}
	evt := nostr.Event{PubKey: pubkey, Kind: mostro.KindAppData, CreatedAt: created, Content: base64.StdEncoding.EncodeToString(raw), Tags: nostr.Tags{
		{"d", DPrefix + strconv.FormatUint(after, 10)},
		{"rows", strconv.Itoa(len(rows))},
		{"alt", "Receive log of a relay: ids of events, and when they were received"},
	}}
	_, err := Parse(&evt)
	return evt, err
}

// step encodes the time since the row before, and whether the event was live.
func step(delta int64, live bool) uint64 {
	v := uint64(delta)<<1 ^ uint64(delta>>63) // zigzag
	v <<= 1
	if live {
		v |= 1
	}
	return v
}

// Parse returns the rows of a statement. The error is ErrForm with the rule that is broken.
// Each list of rows has one encoding, so a statement that Parse accepts is equal to the
// statement that New makes of its rows.
func Parse(evt *nostr.Event) ([]Row, error) {
	if !Is(evt) {
		return nil, ErrForm
	}
	after := strings.TrimPrefix(evt.Tags.GetD(), DPrefix)
	if n, err := strconv.ParseUint(after, 10, 64); err != nil || strconv.FormatUint(n, 10) != after {
		return nil, broken("d names no position")
	}
	if len(evt.Content) > maxContent {
		return nil, broken("content above %d bytes", maxContent)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(evt.Content)
	if err != nil || base64.StdEncoding.EncodeToString(raw) != evt.Content {
		return nil, broken("content is not base64")
	}
	if len(raw) < headSize || raw[0] != version {
		return nil, broken("unknown version")
	}
	n := int(binary.BigEndian.Uint16(raw[1:]))
	if n == 0 || n > MaxRows {
		return nil, broken("%d rows", n)
	}
	last := int64(binary.BigEndian.Uint64(raw[3:]))
	most := min(int64(evt.CreatedAt), maxTime/1000-maxAhead)*1000 + maxAhead
	raw = raw[headSize:]
	rows, seen := make([]Row, 0, n), make(map[[32]byte]struct{}, n)
	for i := range n {
		var r Row
		if len(raw) < len(r.ID)+1 {
			return nil, broken("truncated")
		}
		copy(r.ID[:], raw)
		raw = raw[len(r.ID):]
		v, size := binary.Uvarint(raw)
		if size <= 0 || size > 1 && raw[size-1] == 0 {
			return nil, broken("row %d has no time", i)
		}
		raw = raw[size:]
		z := v >> 1
		delta := int64(z>>1) ^ -int64(z&1)
		if i == 0 && delta != 0 {
			return nil, broken("row 0 differs from the head")
		}
		r.ReceivedMS, r.Live = last+delta, v&1 == 1
		if r.ReceivedMS < MinTime || r.ReceivedMS > most {
			return nil, broken("row %d has an impossible time", i)
		}
		if _, twice := seen[r.ID]; twice {
			return nil, broken("row %d repeats an event", i)
		}
		seen[r.ID] = struct{}{}
		last = r.ReceivedMS
		rows = append(rows, r)
	}
	if len(raw) > 0 {
		return nil, broken("data follows the rows")
	}
	return rows, nil
}
