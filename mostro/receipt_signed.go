package mostro

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// R1: the host signs that an author has an order of its. Two forms: RoboSats'
// token, and a statement that cannot be mistaken for anything else.

// SignToken makes RoboSats' token: the host's signature over the bare text of
// author and order id. It names neither time nor amount nor role, and nothing
// tells it from another text that a host might sign: Statement does.
func SignToken(host *Keys, rater, order string, random io.Reader) (string, error) {
	if random == nil {
		random = rand.Reader
	}
	if !isHex(rater, 64) || order == "" {
		return "", forged(ReceiptFields, "a token needs an author's key and an order")
	}
	return host.signRawHex([]byte(rater+order), random)
}

// VerifyToken checks RoboSats' token.
func VerifyToken(host, rater, order, token string) bool {
	s, ok := tokenSignature(host, rater, order, token)
	return ok && s.holds()
}

// tokenSignature reads what a token must be.
func tokenSignature(host, rater, order, token string) (s signature, ok bool) {
	s = signature{pubkey: host, msg: []byte(rater + order)}
	return s, isHex(rater, 64) && order != "" && decodeHex(s.sig[:], token)
}

// Statement is what a host signs of a settled trade for one of its parties.
type Statement struct {
	Node  string // hex
	Rater string // hex
	Order string
	Role  string // RoleBuyer or RoleSeller
	// BandSats is AmountBand of the order's amount.
	BandSats int64
	// Day is the day of settlement, UTC, as time.DateOnly writes it.
	Day string
	// Hash is a payment hash that belongs to the order, hex; "" for none.
	Hash string
}

// AmountBand gives the greatest of 1, 2, 5, 10, 20, 50 and so on that is not
// above an amount: enough to weigh a rating by, too little to find a payment.
func AmountBand(sats int64) int64 {
	band := int64(1)
	for {
		next := band * 2
		if leading := strconv.FormatInt(band, 10)[0]; leading == '2' {
			next = band / 2 * 5
		}
		if next > sats || next < band {
			return band
		}
		band = next
	}
}

// SettleDay writes a time as Statement.Day has it.
func SettleDay(at time.Time) string { return at.UTC().Format(time.DateOnly) }

// text is what is signed: a line for each field, none of which can hold a
// line's end.
func (s Statement) text() []byte {
	hash := s.Hash
	if hash == "" {
		hash = "-"
	}
	return []byte(strings.Join([]string{
		"mostro-receipt/2", s.Node, s.Rater, s.Order, s.Role, strconv.FormatInt(s.BandSats, 10), s.Day, hash,
	}, "\n"))
}

// check says whether a statement is well-formed.
func (s Statement) check() error {
	if !isHex(s.Node, 64) || !isHex(s.Rater, 64) || s.Order == "" || strings.Contains(s.Order, "\n") {
		return forged(ReceiptFields, "a statement needs host, author and order")
	}
	if s.Role != RoleBuyer && s.Role != RoleSeller {
		return forged(ReceiptRole, "neither buyer nor seller")
	}
	if s.BandSats < 1 || AmountBand(s.BandSats) != s.BandSats {
		return forged(ReceiptBand, "bands are 1, 2, 5, 10, 20, 50 and so on")
	}
	if day, err := time.Parse(time.DateOnly, s.Day); err != nil || SettleDay(day) != s.Day {
		return forged(ReceiptDay, "want a date such as 2026-11-22")
	}
	if s.Hash != "" && !isHex(s.Hash, 64) {
		return forged(ReceiptHash, "want 64 lower-case hex digits")
	}
	return nil
}

// Sign gives the values of the receipt tag. Node is that of the keys.
func (s Statement) Sign(host *Keys, random io.Reader) ([]string, error) {
	if random == nil {
		random = rand.Reader
	}
	if s.Node != host.pubkey {
		return nil, forged(ReceiptNode, "the statement is another host's")
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	sig, err := host.signText(s.text(), random)
	if err != nil {
		return nil, fmt.Errorf("sign a receipt: %w", err)
	}
	hash := s.Hash
	if hash == "" {
		hash = "-"
	}
	return []string{"r1", s.Role, strconv.FormatInt(s.BandSats, 10), s.Day, hash, sig}, nil
}

// checkSigned checks role, band, day, hash and signature.
func (r *Receipt) checkSigned(values []string, holds func(signature) bool) error {
	if len(values) != 5 {
		return forged(ReceiptFields, "r1 has role, band, day, hash and signature")
	}
	s := Statement{Node: r.Node, Rater: r.Rater, Order: r.Order, Role: values[0], Day: values[2], Hash: values[3]}
	band, err := strconv.ParseInt(values[1], 10, 64)
	if err != nil || strconv.FormatInt(band, 10) != values[1] {
		return forged(ReceiptBand, "not a whole number")
	}
	s.BandSats = band
	switch s.Hash {
	case "":
		return forged(ReceiptHash, "none is written -")
	case "-":
		s.Hash = ""
	}
	if err := s.check(); err != nil {
		return err
	}
	digest := sha256.Sum256(s.text())
	signed := signature{pubkey: r.Node, msg: digest[:]}
	if !decodeHex(signed.sig[:], values[4]) || !holds(signed) {
		if _, err := pointOf(r.Node); err != nil {
			return forged(ReceiptSignature, "the host's key is no key")
		}
		return forged(ReceiptSignature, "not the host's over this statement")
	}
	r.Kind, r.Role, r.BandSats, r.Day, r.PaymentHash = ReceiptR1, s.Role, s.BandSats, s.Day, s.Hash
	return nil
}
