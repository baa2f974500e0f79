package orders

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"time"

	"github.com/mostrodex/mostrodex/internal/varint"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Version is one version of an order: the content of its event, and the circumstances of
// its arrival at this relay.
type Version struct {
	Seq        uint64
	ReceivedAt time.Time
	Source     mostro.Source
	Archived   bool // history when it arrived; the relay never served it live
	// Withdrawn is set if an event at the address of an order is not an order. The order
	// that the event replaced is no longer on offer.
	Withdrawn bool
	Order     mostro.Order
}

// Record is an order in the book: its newest version, and the sums over its versions.
type Record struct {
	Version
	FirstSeenAt time.Time // time at which this relay received the first version
	Versions    int
}

// Key is the identity of an order in the book: the first half of the SHA-256 of its
// address, "38383:<pubkey>:<d>". An address may be long and its d is chosen by the
// author. No author can find two addresses with the same Key.
type Key [16]byte

// KeyOf returns the Key of the order at an address.
func KeyOf(address string) Key {
	sum := sha256.Sum256([]byte(address))
	return Key(sum[:16])
}

// Address returns the address of an order (NIP-01).
func Address(pubkey, d string) string { return "38383:" + pubkey + ":" + d }

// Newer reports whether version a replaces version b (NIP-01).
func Newer(a, b *Version) bool {
	if a.Order.CreatedAt != b.Order.CreatedAt {
		return a.Order.CreatedAt > b.Order.CreatedAt
	}
	return a.Order.EventID < b.Order.EventID
}

// never is the deadline of an order that does not expire.
const never = math.MaxUint32

// endsAt returns the unix second at which a version is no longer on offer or, if it is
// not pending, is no longer served: the end of its take window, or its NIP-40 expiration.
func (v *Version) endsAt() uint32 {
	end := v.Order.Expiration
	if v.Order.Status == mostro.StatusPending && v.Order.ExpiresAt > 0 && (end == 0 || v.Order.ExpiresAt < end) {
		end = v.Order.ExpiresAt
	}
	if end <= 0 || end >= never {
		return never
	}
	return uint32(end)
}

// Ends returns the time at which a version is no longer on offer or, if it is not
// pending, is no longer served. ok is false if the version does not expire.
func (v *Version) Ends() (t time.Time, ok bool) {
	end := v.endsAt()
	return time.Unix(int64(end), 0), end != never
}

// Deadline returns the unix second at which a version leaves the live book, or 0 if the
// version was never live.
func (v *Version) Deadline() uint32 {
	if v.Archived || v.Withdrawn {
		return 0
	}
	return v.endsAt()
}

// LiveAt reports whether a version belongs to the live book at a time.
func (v *Version) LiveAt(now time.Time) bool {
	return v.Deadline() == never || int64(v.Deadline()) > now.Unix()
}

// IsOpen reports whether an order can be taken at a time, as far as its events say.
func (v *Version) IsOpen(now time.Time) bool {
	return v.LiveAt(now) && v.Order.Status == mostro.StatusPending
}

// RecordFormat is incremented when the encoding below changes. A book of another format
// is rebuilt.
const RecordFormat = 3

var errRecord = errors.New("damaged record")

// Pack appends the encoding of a record to dst: fields in a fixed order, a length before
// each text.
func (r *Record) Pack(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, r.Deadline())
	dst = binary.AppendVarint(dst, r.FirstSeenAt.UnixMilli())
	dst = binary.AppendUvarint(dst, uint64(r.Versions))
	return r.Version.Pack(dst)
}

// Pack appends the encoding of a version to dst.
func (v *Version) Pack(dst []byte) []byte {
	text := func(s string) {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		dst = append(dst, s...)
	}
	whole := func(n *int64) {
		if n == nil {
			dst = append(dst, 0)
			return
		}
		dst = binary.AppendVarint(append(dst, 1), *n)
	}
	decimal := func(d *mostro.Decimal) {
		if d == nil {
			text("")
			return
		}
		text(d.String())
	}
	texts := func(all []string) {
		dst = binary.AppendUvarint(dst, uint64(len(all)))
		for _, s := range all {
			text(s)
		}
	}
	o := &v.Order
	dst = binary.AppendUvarint(dst, v.Seq)
	dst = binary.AppendVarint(dst, v.ReceivedAt.UnixMilli())
	var flags byte
	if v.Archived {
		flags |= 1
	}
	if v.Withdrawn {
		flags |= 2
	}
	dst = append(dst, flags, byte(v.Source.Origin))
	text(v.Source.Relay)
	dst = AppendHex(dst, o.EventID)
	dst = AppendHex(dst, o.Pubkey)
	text(o.D)
	dst = binary.AppendVarint(dst, int64(o.CreatedAt))
	text(o.Platform)
	text(o.InstanceName)
	text(string(o.Side))
	text(string(o.Status))
	text(o.RawStatus)
	text(o.Fiat)
	decimal(o.FiatAmount.Min)
	decimal(o.FiatAmount.Max)
	whole(o.AmountSats)
	decimal(o.PremiumPct)
	texts(o.Methods)
	text(o.Network)
	texts(o.Layers)
	if r := o.MakerRating; r == nil {
		dst = append(dst, 0)
	} else {
		dst = append(dst, 1)
		if r.Mean == nil {
			dst = append(dst, 0)
		} else {
			dst = binary.BigEndian.AppendUint64(append(dst, 1), math.Float64bits(*r.Mean))
		}
		dst = binary.BigEndian.AppendUint64(dst, math.Float64bits(r.Max))
		whole(r.Reviews)
		whole(r.Days)
		dst = binary.AppendVarint(dst, int64(r.Since))
	}
	text(o.MakerName)
	if o.Bond == nil {
		dst = append(dst, 0)
	} else {
		dst = append(dst, 1)
		whole(o.Bond.Sats)
		decimal(o.Bond.Percent)
	}
	text(o.Geohash)
	dst = binary.AppendVarint(dst, int64(o.PublishedAt))
	dst = binary.AppendVarint(dst, int64(o.ExpiresAt))
	dst = binary.AppendVarint(dst, int64(o.Expiration))
	text(o.Link)
	text(o.Description)
	text(o.CashuMintURL)
	return dst
}

// AppendHex appends 64 hex digits as 32 bytes. The relay refuses other ids and keys.
func AppendHex(dst []byte, s string) []byte {
	var raw [32]byte
	hex.Decode(raw[:], []byte(s)) //nolint:errcheck // the relay refuses ids and keys that are not hex
	return append(dst, raw[:]...)
}

// unpacker reads the encoding of Pack.
type unpacker struct{ varint.Reader }

func (u *unpacker) byte() byte { return u.Bytes(1)[0] }

func (u *unpacker) text() string { return string(u.Bytes(u.Uvarint())) }

func (u *unpacker) float() float64 {
	return math.Float64frombits(binary.BigEndian.Uint64(u.Bytes(8)))
}

func (u *unpacker) hex() string { return hex.EncodeToString(u.Bytes(32)) }

func (u *unpacker) whole() *int64 {
	if u.byte() == 0 {
		return nil
	}
	n := u.Varint()
	return &n
}

func (u *unpacker) decimal() *mostro.Decimal {
	s := u.text()
	if s == "" {
		return nil
	}
	d, err := mostro.ParseDecimal(s)
	if err != nil {
		u.Bad = true
		return nil
	}
	return &d
}

func (u *unpacker) texts() []string {
	n := u.Uvarint()
	if n == 0 || n > uint64(len(u.Rest)) {
		u.Bad = u.Bad || n > 0
		return nil
	}
	out := make([]string, n)
	for i := range out {
		out[i] = u.text()
	}
	return out
}

// UnpackRecord decodes the encoding of Record.Pack.
func UnpackRecord(b []byte) (*Record, error) {
	u := &unpacker{varint.Reader{Rest: b}}
	u.Bytes(4) // the deadline; readers of the deadline alone stop here
	r := &Record{FirstSeenAt: time.UnixMilli(u.Varint()).UTC(), Versions: int(u.Uvarint())}
	u.version(&r.Version)
	if u.Bad || len(u.Rest) > 0 {
		return nil, errRecord
	}
	return r, nil
}

// UnpackVersion decodes the encoding of Version.Pack.
func UnpackVersion(b []byte) (*Version, error) {
	u, v := &unpacker{varint.Reader{Rest: b}}, &Version{}
	u.version(v)
	if u.Bad || len(u.Rest) > 0 {
		return nil, errRecord
	}
	return v, nil
}

func (u *unpacker) version(v *Version) {
	o := &v.Order
	v.Seq = u.Uvarint()
	v.ReceivedAt = time.UnixMilli(u.Varint()).UTC()
	flags := u.byte()
	v.Archived, v.Withdrawn = flags&1 != 0, flags&2 != 0
	v.Source.Origin = mostro.Origin(u.byte())
	v.Source.Relay = u.text()
	o.EventID, o.Pubkey, o.D = u.hex(), u.hex(), u.text()
	o.CreatedAt = nostr.Timestamp(u.Varint())
	o.Platform, o.InstanceName = u.text(), u.text()
	o.Side, o.Status, o.RawStatus = mostro.Side(u.text()), mostro.Status(u.text()), u.text()
	o.Fiat = u.text()
	o.FiatAmount.Min, o.FiatAmount.Max = u.decimal(), u.decimal()
	o.AmountSats = u.whole()
	o.PremiumPct = u.decimal()
	o.Methods = u.texts()
	o.Network = u.text()
	o.Layers = u.texts()
	if u.byte() == 1 {
		r := &mostro.MakerRating{}
		if u.byte() == 1 {
			mean := u.float()
			r.Mean = &mean
		}
		r.Max = u.float()
		r.Reviews, r.Days = u.whole(), u.whole()
		r.Since = nostr.Timestamp(u.Varint())
		o.MakerRating = r
	}
	o.MakerName = u.text()
	if u.byte() == 1 {
		o.Bond = &mostro.Bond{Sats: u.whole(), Percent: u.decimal()}
	}
	o.Geohash = u.text()
	o.PublishedAt = nostr.Timestamp(u.Varint())
	o.ExpiresAt = nostr.Timestamp(u.Varint())
	o.Expiration = nostr.Timestamp(u.Varint())
	o.Link, o.Description, o.CashuMintURL = u.text(), u.text(), u.text()
}
