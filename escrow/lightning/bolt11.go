package lightning

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/ecdsa"
	"github.com/btcsuite/btcd/chaincfg"
	"github.com/lightningnetwork/lnd/lnwire"
	"github.com/lightningnetwork/lnd/zpay32"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/internal/cache"
)

// ErrInvalidInvoice is the refusal of a user's invoice: the text is not an invoice, or a
// rule forbids its payment. The error text names the rule and never quotes the invoice.
var ErrInvalidInvoice = errors.New("invalid invoice")

// Invoice holds the fields of a BOLT 11 invoice whose signature was verified.
type Invoice struct {
	Bolt11     string // in lower case, without a scheme
	Hash       trade.Hash
	AmountMsat int64 // 0 if the payer chooses the amount
	Network    Network
	CreatedAt  time.Time
	ExpiresAt  time.Time
	// MinFinalCLTV is the number of blocks that the last lock must have left, as the payee
	// demands.
	MinFinalCLTV    uint64
	Payee           string   // node's public key, 33 bytes in lower-case hex
	Description     string   // "" also if the invoice holds only the hash of a description
	DescriptionHash [32]byte // zero if the invoice holds the description itself
}

// AmountSats returns the amount in sats. ok is false if there is no amount or the amount
// is not a whole number of sats.
func (i Invoice) AmountSats() (sats int64, ok bool) {
	return i.AmountMsat / 1000, i.AmountMsat > 0 && i.AmountMsat%1000 == 0
}

// invoicePrefixes maps the first letters of an invoice to a chain. Longer prefixes come
// first, because "lnbcrt" begins with "lnbc".
var invoicePrefixes = []struct {
	prefix  string
	network Network
	params  *chaincfg.Params
}{
	{"lnbcrt", Regtest, &chaincfg.RegressionNetParams},
	{"lnbc", Mainnet, &chaincfg.MainNetParams},
	{"lntbs", Signet, &chaincfg.SigNetParams},
	{"lntb", Testnet, &chaincfg.TestNet3Params},
	{"lnsb", Simnet, &chaincfg.SimNetParams},
}

// ParseInvoice parses a BOLT 11 invoice of any known chain, with or without the scheme
// "lightning:". Every error is ErrInvalidInvoice.
func ParseInvoice(text string) (Invoice, error) {
	text = strings.TrimSpace(text)
	if len(text) > len("lightning:") && strings.EqualFold(text[:len("lightning:")], "lightning:") {
		text = text[len("lightning:"):]
	}
	if len(text) > trade.MaxInvoiceText {
		return Invoice{}, fmt.Errorf("%w: too long", ErrInvalidInvoice)
	}
	// BOLT 11 allows upper case, for QR codes, but not mixed case.
	lower := strings.ToLower(text)
	if text != lower && text != strings.ToUpper(text) {
		return Invoice{}, fmt.Errorf("%w: mixed case", ErrInvalidInvoice)
	}
	for _, p := range invoicePrefixes {
		if !strings.HasPrefix(lower, p.prefix) {
			continue
		}
		if !saneAmount(lower[len(p.prefix):max(len(p.prefix), strings.LastIndexByte(lower, '1'))]) {
			return Invoice{}, fmt.Errorf("%w: amount out of range", ErrInvalidInvoice)
		}
		if known, ok := parsed.Get(lower); ok {
			return known, nil
		}
		lower = strings.Clone(lower) // text may be a part of a long message
		decoded, err := zpay32.Decode(lower, p.params)
		if err != nil {
			// The error of the decoder may quote the invoice, so its text is not used.
			return Invoice{}, fmt.Errorf("%w: malformed", ErrInvalidInvoice)
		}
		invoice, err := readInvoice(decoded, lower, p.network)
		if err == nil {
			parsed.Put(lower, invoice)
		}
		return invoice, err
	}
	return Invoice{}, fmt.Errorf("%w: not a BOLT 11 invoice", ErrInvalidInvoice)
}

// parsed has the invoices that were parsed last, up to 2 MiB. The invoice of a payout is parsed
// five times within a trade, and each time costs a third of a millisecond, most of it for the
// key that is recovered from the signature.
var parsed = cache.Cache[string, Invoice]{
	Max:  2 << 20,
	Cost: func(in Invoice) int { return 2*len(in.Bolt11) + len(in.Description) + 512 },
}

// saneAmount checks the amount between the prefix and the separator, which is the last
// "1". The decoder multiplies without an overflow check, so an amount beyond all bitcoin
// would be decoded as a small amount.
func saneAmount(amount string) bool {
	if amount == "" {
		return true
	}
	digits := len(amount)
	most := 8 // digits of an amount in whole bitcoin
	switch amount[len(amount)-1] {
	case 'm':
		digits, most = digits-1, 11
	case 'u':
		digits, most = digits-1, 14
	case 'n':
		digits, most = digits-1, 17
	case 'p':
		digits, most = digits-1, 20
	}
	return digits <= most
}

func readInvoice(in *zpay32.Invoice, text string, network Network) (Invoice, error) {
	out := Invoice{
		Bolt11:       text,
		Hash:         *in.PaymentHash,
		Network:      network,
		CreatedAt:    in.Timestamp.UTC(),
		MinFinalCLTV: in.MinFinalCLTVExpiry(),
		Payee:        fmt.Sprintf("%x", in.Destination.SerializeCompressed()),
	}
	if in.MilliSat != nil {
		if *in.MilliSat > math.MaxInt64 {
			return Invoice{}, fmt.Errorf("%w: amount out of range", ErrInvalidInvoice)
		}
		out.AmountMsat = int64(*in.MilliSat)
	}
	if in.Description != nil {
		out.Description = *in.Description
	}
	if in.DescriptionHash != nil {
		out.DescriptionHash = *in.DescriptionHash
	}
	// The field holds up to 64 bits of seconds, which may have overflowed. An invoice with
	// an impossible expiry counts as expired.
	expiry := in.Expiry()
	out.ExpiresAt = out.CreatedAt
	if expiry > 0 {
		out.ExpiresAt = out.CreatedAt.Add(expiry)
	}
	return out, nil
}

// SameNetwork compares networks as far as an invoice's prefix distinguishes them: both
// test networks have the same prefix.
func (n Network) SameNetwork(invoice Network) bool {
	switch n {
	case Mainnet, Testnet, Signet, Regtest, Simnet:
		return invoice == n
	case Testnet4:
		return invoice == Testnet
	}
	return true
}

// InvoiceDraft holds the fields of a new invoice, for simulated nodes.
type InvoiceDraft struct {
	Hash            trade.Hash
	AmountMsat      int64 // 0 for an invoice without an amount
	Network         Network
	CreatedAt       time.Time // whole seconds
	Expiry          time.Duration
	MinFinalCLTV    uint64
	Description     string   // at most 639 bytes
	DescriptionHash [32]byte // replaces Description, if not zero
}

// Sign encodes the draft as a BOLT 11 invoice of the node with that key.
func (d InvoiceDraft) Sign(key *btcec.PrivateKey) (string, error) {
	var params *chaincfg.Params
	for _, p := range invoicePrefixes {
		if p.network == d.Network {
			params = p.params
		}
	}
	if params == nil || d.AmountMsat < 0 {
		return "", fmt.Errorf("%w: no such network or amount", ErrInvalidInvoice)
	}
	features := lnwire.NewFeatureVector(lnwire.NewRawFeatureVector(
		lnwire.TLVOnionPayloadRequired, lnwire.PaymentAddrRequired, lnwire.MPPOptional), lnwire.Features)
	options := []func(*zpay32.Invoice){
		zpay32.Description(d.Description),
		zpay32.CLTVExpiry(d.MinFinalCLTV),
		zpay32.Expiry(d.Expiry),
		zpay32.Features(features),
		// The payment address may be any 32 bytes that do not reveal the preimage.
		zpay32.PaymentAddr(sha256.Sum256(append([]byte("payment address"), d.Hash[:]...))),
	}
	if d.DescriptionHash != [32]byte{} {
		options[0] = zpay32.DescriptionHash(d.DescriptionHash)
	}
	if d.AmountMsat > 0 {
		options = append(options, zpay32.Amount(lnwire.MilliSatoshi(d.AmountMsat)))
	}
	invoice, err := zpay32.NewInvoice(params, d.Hash, d.CreatedAt, options...)
	if err != nil {
		return "", fmt.Errorf("make invoice: %w", err)
	}
	text, err := invoice.Encode(zpay32.MessageSigner{SignCompact: func(message []byte) ([]byte, error) {
		digest := sha256.Sum256(message)
		return ecdsa.SignCompact(key, digest[:], true), nil
	}})
	if err != nil {
		return "", fmt.Errorf("sign invoice: %w", err)
	}
	return text, nil
}
