package receipt

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// R1: the host signs that an author took part in one of its orders. There are two
// forms: RoboSats' token, and a Statement, whose text cannot be confused with any other
// signed text.

// SignToken returns RoboSats' token: the host's signature over the author's key
// followed by the order's id. The token holds no time, amount or role. The signed text
// has no prefix that separates it from another text that a host might sign; the text of
// a Statement has one. If random is nil, SignToken uses crypto/rand.
func SignToken(host *envelope.Keys, rater, order string, random io.Reader) (string, error) {
	if random == nil {
		random = rand.Reader
	}
	if !hex32.Valid(rater) || order == "" {
		return "", forged(RuleFields, "a token needs an author's key and an order")
	}
	return signRawHex(host, []byte(rater+order), random)
}

// VerifyToken reports whether token is RoboSats' token of host for rater and order.
func VerifyToken(host, rater, order, token string) bool {
	s, ok := tokenSignature(host, rater, order, token)
	return ok && s.holds()
}

// tokenSignature returns the signature that a token stands for, and false if the token
// is malformed.
func tokenSignature(host, rater, order, token string) (s signature, ok bool) {
	s = signature{pubkey: host, msg: []byte(rater + order)}
	return s, hex32.Valid(rater) && order != "" && hex32.Decode(s.sig[:], token)
}

// Statement is the text that a host signs about a settled trade for one of its parties.
type Statement struct {
	Node  string // hex
	Rater string // hex
	Order string
	Role  string // RoleBuyer or RoleSeller
	// BandSats is the AmountBand of the order's amount.
	BandSats int64
	// Day is the day of settlement in UTC, in the form of time.DateOnly.
	Day string
	// Hash is a payment hash that belongs to the order, in hex; "" for none.
	Hash string
}

// AmountBand returns the greatest number of the series 1, 2, 5, 10, 20, 50 and so on
// that is at most sats, and 1 if sats is below 1. A band is precise enough to weigh a
// rating and too coarse to identify a payment.
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

// SettleDay returns a time in the form of Statement.Day.
func SettleDay(at time.Time) string { return at.UTC().Format(time.DateOnly) }

// text returns the signed text: one line for each field. No field can hold a line feed.
func (s Statement) text() []byte {
	hash := s.Hash
	if hash == "" {
		hash = "-"
	}
	return []byte(strings.Join([]string{
		"mostro-receipt/2", s.Node, s.Rater, s.Order, s.Role, strconv.FormatInt(s.BandSats, 10), s.Day, hash,
	}, "\n"))
}

// check returns an error if the statement is malformed.
func (s Statement) check() error {
	if !hex32.Valid(s.Node) || !hex32.Valid(s.Rater) || s.Order == "" || strings.Contains(s.Order, "\n") {
		return forged(RuleFields, "a statement needs host, author and order")
	}
	if s.Role != RoleBuyer && s.Role != RoleSeller {
		return forged(RuleRole, "neither buyer nor seller")
	}
	if s.BandSats < 1 || AmountBand(s.BandSats) != s.BandSats {
		return forged(RuleBand, "bands are 1, 2, 5, 10, 20, 50 and so on")
	}
	if day, err := time.Parse(time.DateOnly, s.Day); err != nil || SettleDay(day) != s.Day {
		return forged(RuleDay, "want a date such as 2026-11-22")
	}
	if s.Hash != "" && !hex32.Valid(s.Hash) {
		return forged(RuleHash, "want 64 lower-case hex digits")
	}
	return nil
}

// Sign returns the values of the receipt tag. Node must be the public key of host,
// otherwise Sign returns an Error with RuleNode. If random is nil, Sign uses
// crypto/rand.
func (s Statement) Sign(host *envelope.Keys, random io.Reader) ([]string, error) {
	if random == nil {
		random = rand.Reader
	}
	if s.Node != host.Pubkey() {
		return nil, forged(RuleNode, "the statement names another host")
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	digest := sha256.Sum256(s.text())
	sig, err := signRawHex(host, digest[:], random)
	if err != nil {
		return nil, fmt.Errorf("sign a receipt: %w", err)
	}
	hash := s.Hash
	if hash == "" {
		hash = "-"
	}
	return []string{"r1", s.Role, strconv.FormatInt(s.BandSats, 10), s.Day, hash, sig}, nil
}

// checkSigned checks role, band, day, hash and signature, and sets the fields of r that R1
// proves.
func checkSigned(r *Receipt, values []string, holds func(signature) bool) error {
	if len(values) != 5 {
		return forged(RuleFields, "r1 needs role, band, day, hash and signature")
	}
	s := Statement{Node: r.Node, Rater: r.Rater, Order: r.Order, Role: values[0], Day: values[2], Hash: values[3]}
	band, err := strconv.ParseInt(values[1], 10, 64)
	if err != nil || strconv.FormatInt(band, 10) != values[1] {
		return forged(RuleBand, "not a whole number")
	}
	s.BandSats = band
	switch s.Hash {
	case "":
		return forged(RuleHash, "want - if there is no hash")
	case "-":
		s.Hash = ""
	}
	if err := s.check(); err != nil {
		return err
	}
	digest := sha256.Sum256(s.text())
	signed := signature{pubkey: r.Node, msg: digest[:]}
	if !hex32.Decode(signed.sig[:], values[4]) || !holds(signed) {
		if _, err := message.ParsePoint(r.Node); err != nil {
			return forged(RuleSignature, "the host's key is not a public key")
		}
		return forged(RuleSignature, "not the host's signature over this statement")
	}
	r.Kind, r.Role, r.BandSats, r.Day, r.PaymentHash = R1, s.Role, s.BandSats, s.Day, s.Hash
	return nil
}
