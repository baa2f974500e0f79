package score

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/nbd-wtf/go-nostr"
)

// FeeAnswerD is the prefix of the d tag of a recorded answer. The payment hash follows. The
// event has kind 30078 and is signed by the relay that asked. Its content is a FeeAnswer.
const FeeAnswerD = "mostrodex-fee-answer:"

// Bounds of proofs of a fee.
const (
	maxFeeInvoice = 1024    // characters, as in the facts of a deleted event
	maxFeeAnswer  = 8 << 10 // bytes of the content of a recorded answer
)

// FeeAnswer is what a payment service was asked, and what the service answered (LUD-21).
type FeeAnswer struct {
	URL    string `json:"url"`
	At     int64  `json:"at"`     // unix seconds
	Status int    `json:"status"` // of HTTP
	Body   string `json:"body"`   // as received
}

// lud21 is the answer of a payment service about one invoice.
type lud21 struct {
	Status   string `json:"status"`
	Settled  bool   `json:"settled"`
	Preimage string `json:"preimage"`
	PR       string `json:"pr"`
}

// invoiceOf returns the sats of an invoice of a fee address for a payment hash. ok is false
// if the invoice is another one. Anyone can copy the hash of a description into an invoice,
// so the payee must be one of Payees.
func invoiceOf(p *Params, bolt11, hash string) (sats int64, ok bool) {
	if len(p.FeeDescriptions) == 0 || len(p.Payees) == 0 || bolt11 == "" || len(bolt11) > maxFeeInvoice {
		return 0, false
	}
	inv, err := receipt.OpenInvoice(bolt11)
	if err != nil || inv.Hash != hash || inv.MSat < 1000 || !slices.Contains(p.Payees, inv.Payee) || !slices.Contains(p.FeeDescriptions, inv.DescriptionHash) {
		return 0, false
	}
	return inv.MSat / 1000, true
}

// opensFee returns the sats that a fee event proves to be paid, by the invoice and the
// preimage that the node discloses.
func opensFee(p *Params, v mostro.DevFee) (sats int64, ok bool) {
	if !receipt.IsPreimage(v.Preimage, v.Hash) {
		return 0, false
	}
	return invoiceOf(p, v.Invoice, v.Hash)
}

// FeeURL reports whether a URL is one at which the service of a fee address may be asked: on
// the host of the address, over TLS, without a user or a port.
func FeeURL(p *Params, text string) bool {
	if len(text) > 512 || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }) {
		return false
	}
	return slices.ContainsFunc(p.FeeAddresses, func(address string) bool {
		_, host, ok := strings.Cut(address, "@")
		return ok && host != "" && strings.HasPrefix(text, "https://"+host+"/")
	})
}

// answeredFee returns the payment that a recorded answer confirms.
func answeredFee(p *Params, evt *nostr.Event) (hash string, sats int64, ok bool) {
	hash, ok = strings.CutPrefix(evt.Tags.GetD(), FeeAnswerD)
	if !ok || !hex32.Valid(hash) || !slices.Contains(p.FeeAskers, evt.PubKey) || len(evt.Content) > maxFeeAnswer {
		return "", 0, false
	}
	var a FeeAnswer
	var said lud21
	if json.Unmarshal([]byte(evt.Content), &a) != nil || !FeeURL(p, a.URL) || a.Status != 200 || json.Unmarshal([]byte(a.Body), &said) != nil {
		return "", 0, false
	}
	if !said.Settled || !strings.EqualFold(said.Status, "OK") || said.Preimage != "" && !receipt.IsPreimage(said.Preimage, hash) {
		return "", 0, false
	}
	sats, ok = invoiceOf(p, said.PR, hash)
	return hash, sats, ok
}
