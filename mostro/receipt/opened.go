package receipt

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/big"
	"strings"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/ecdsa"
	"github.com/btcsuite/btcd/btcutil/bech32"
	"github.com/mostrodex/mostrodex/internal/hex32"
)

// R3: an R1 receipt that names a payment hash, together with the invoice and the
// preimage for that hash. R3 proves that the node that signed the invoice revealed the
// preimage, as a node does when it receives a payment of that amount. The payee may be
// the rated host itself, so a reader has to judge the receipt by Payee.

// Opened makes an R3 receipt from the values of an R1 receipt, and returns the values
// of the receipt tag. The R1 receipt must name the payment hash of the invoice,
// otherwise Opened returns an Error.
func Opened(r1 []string, bolt11, preimage string) ([]string, error) {
	if len(r1) != 6 || r1[0] != "r1" {
		return nil, forged(RuleForm, "only r1 can be opened")
	}
	values := append([]string{"r3", bolt11, preimage}, r1...)
	var r Receipt
	return values, checkPayment(&r, values[1:3], r1[4])
}

// checkOpened checks the invoice, the preimage and the R1 receipt after them, and sets the
// fields of r that R3 proves.
func checkOpened(r *Receipt, values []string, holds func(signature) bool) error {
	if len(values) != 8 || values[2] != "r1" {
		return forged(RuleFields, "r3 needs invoice, preimage and an r1 receipt")
	}
	if err := checkSigned(r, values[3:], holds); err != nil {
		return err
	}
	if r.PaymentHash == "" {
		return forged(RuleHash, "the host's statement has no payment hash")
	}
	if err := checkPayment(r, values[:2], r.PaymentHash); err != nil {
		return err
	}
	r.Kind = R3
	return nil
}

func checkPayment(r *Receipt, values []string, hash string) error {
	var preimage [32]byte
	if !hex32.Decode(preimage[:], values[1]) {
		return forged(RulePreimage, "want 64 lower-case hex digits")
	}
	if sum := sha256.Sum256(preimage[:]); hex.EncodeToString(sum[:]) != hash {
		return forged(RulePreimage, "not the preimage of the payment hash in the statement")
	}
	inv, err := readInvoice(values[0])
	if err != nil || hex.EncodeToString(inv.hash[:]) != hash {
		return forged(RuleInvoice, "not a signed BOLT11 invoice for this payment hash")
	}
	if inv.msat >= 0 {
		sats := inv.msat / 1000
		r.PaidSats = &sats
	}
	r.Payee, r.PaidNetwork = inv.payee, inv.network
	return nil
}

// paidInvoice holds the fields of a BOLT11 invoice that R3 needs.
type paidInvoice struct {
	hash  [32]byte
	msat  int64 // -1 if the invoice has no amount
	payee string

	network     string
	description string // hash of the description, hex; "" if the invoice has none
}

// Invoice holds the fields of a BOLT11 invoice that prove a payment together with its
// preimage.
type Invoice struct {
	Hash            string // payment hash, hex
	MSat            int64  // -1 if the invoice has no amount
	Payee           string // key that signed the invoice, compressed, hex
	Network         string // as mostro.Order.Network
	DescriptionHash string // hex; "" if the invoice has none
}

// OpenInvoice parses an invoice and recovers the key that signed it. The error is an Error
// with RuleInvoice.
func OpenInvoice(bolt11 string) (Invoice, error) {
	inv, err := readInvoice(bolt11)
	if err != nil {
		return Invoice{}, forged(RuleInvoice, "not a signed BOLT11 invoice")
	}
	return Invoice{Hash: hex.EncodeToString(inv.hash[:]), MSat: inv.msat, Payee: inv.payee, Network: inv.network, DescriptionHash: inv.description}, nil
}

// IsPreimage reports whether the SHA-256 of a preimage is a payment hash, both in lower-case
// hex.
func IsPreimage(preimage, hash string) bool {
	var p [32]byte
	if !hex32.Decode(p[:], preimage) {
		return false
	}
	sum := sha256.Sum256(p[:])
	return hex.EncodeToString(sum[:]) == hash
}

var errInvoiceForm = errors.New("not a BOLT11 invoice")

// maxInvoice bounds the length of an invoice's text. Real invoices have a few hundred
// characters.
const maxInvoice = 4096

// readInvoice parses the payment hash and the amount of an invoice, and recovers the
// key that signed the invoice. If the invoice has an n field (the payee), the field
// must equal the recovered key.
func readInvoice(text string) (inv paidInvoice, err error) {
	if len(text) > maxInvoice {
		return inv, errInvoiceForm
	}
	hrp, words, err := bech32.DecodeNoLimit(text)
	const sigWords, timeWords = 104, 7
	if err != nil || len(words) < timeWords+sigWords || text != strings.ToLower(text) {
		return inv, errInvoiceForm
	}
	if inv.network, inv.msat, err = invoiceAmount(hrp); err != nil {
		return inv, err
	}
	body, sigPart := words[:len(words)-sigWords], words[len(words)-sigWords:]
	named, hashes := "", 0
	for fields := body[timeWords:]; len(fields) > 0; {
		if len(fields) < 3 {
			return inv, errInvoiceForm
		}
		size := int(fields[1])<<5 | int(fields[2])
		if len(fields) < 3+size {
			return inv, errInvoiceForm
		}
		tag, data := fields[0], fields[3:3+size]
		fields = fields[3+size:]
		switch {
		case tag == 1 && size == 52: // p: payment hash
			raw, err := bech32.ConvertBits(data, 5, 8, true)
			if err != nil {
				return inv, errInvoiceForm
			}
			copy(inv.hash[:], raw)
			hashes++
		case tag == 23 && size == 52 && inv.description == "": // h: hash of the description, the first holds
			raw, err := bech32.ConvertBits(data, 5, 8, true)
			if err != nil {
				return inv, errInvoiceForm
			}
			inv.description = hex.EncodeToString(raw[:32])
		case tag == 19 && size == 53: // n: payee
			raw, err := bech32.ConvertBits(data, 5, 8, true)
			if err != nil {
				return inv, errInvoiceForm
			}
			named = hex.EncodeToString(raw[:33])
		}
	}
	if hashes != 1 {
		return inv, errInvoiceForm
	}
	sig, err := bech32.ConvertBits(sigPart, 5, 8, true)
	if err != nil || len(sig) != 65 || sig[64] > 3 {
		return inv, errInvoiceForm
	}
	data, err := bech32.ConvertBits(body, 5, 8, true)
	if err != nil {
		return inv, errInvoiceForm
	}
	digest := sha256.Sum256(append([]byte(hrp), data...))
	var s btcec.ModNScalar
	if s.SetByteSlice(sig[32:64]) || s.IsOverHalfOrder() {
		return inv, errInvoiceForm
	}
	payee, _, err := ecdsa.RecoverCompact(append([]byte{sig[64] + 27 + 4}, sig[:64]...), digest[:])
	if err != nil {
		return inv, errInvoiceForm
	}
	inv.payee = hex.EncodeToString(payee.SerializeCompressed())
	if named != "" && named != inv.payee {
		return inv, errInvoiceForm
	}
	return inv, nil
}

var invoiceNetworks = map[string]string{"lnbc": "mainnet", "lntb": "testnet", "lntbs": "signet", "lnbcrt": "regtest"}

// invoiceAmount parses the network and the amount from the human-readable part of an
// invoice. The amount is in millisatoshis; -1 if there is none.
func invoiceAmount(hrp string) (network string, msat int64, err error) {
	digits := strings.TrimLeft(hrp, "abcdefghijklmnopqrstuvwxyz")
	network, ok := invoiceNetworks[hrp[:len(hrp)-len(digits)]]
	if !ok {
		return "", 0, errInvoiceForm
	}
	if digits == "" {
		return network, -1, nil
	}
	unit := int64(100_000_000_000) // millisatoshis in a bitcoin
	switch digits[len(digits)-1] {
	case 'm':
		unit, digits = 100_000_000, digits[:len(digits)-1]
	case 'u':
		unit, digits = 100_000, digits[:len(digits)-1]
	case 'n':
		unit, digits = 100, digits[:len(digits)-1]
	case 'p':
		unit, digits = 0, digits[:len(digits)-1]
	}
	if digits == "" || digits[0] == '0' || len(digits) > 18 || strings.Trim(digits, "0123456789") != "" {
		return "", 0, errInvoiceForm
	}
	n, _ := new(big.Int).SetString(digits, 10)
	if unit == 0 { // a tenth of a millisatoshi
		if digits[len(digits)-1] != '0' {
			return "", 0, errInvoiceForm
		}
		n.Quo(n, big.NewInt(10))
	} else {
		n.Mul(n, big.NewInt(unit))
	}
	if !n.IsInt64() || n.Int64() > 21_000_000*100_000_000_000 {
		return "", 0, errInvoiceForm
	}
	return network, n.Int64(), nil
}
