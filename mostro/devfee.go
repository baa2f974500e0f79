package mostro

import (
	"strconv"
	"strings"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/nbd-wtf/go-nostr"
)

// DevFee is a node's public record of a paid development fee. It is a claim that an
// order completed, and states the fee of that order. A node publishes one per success.
type DevFee struct {
	EventID   string
	Pubkey    string // the node
	CreatedAt nostr.Timestamp

	OrderID     string
	AmountSats  int64
	Hash        string // payment hash, hex
	Destination string // Lightning address, as written
	Network     string // as Order.Network
	// Verify is the URL of LUD-21 at which anyone can ask the receiver whether the invoice is
	// paid; "" if there is none. The tag is a tag of this project.
	Verify string
	// Invoice is the BOLT11 invoice of the payment, and Preimage its preimage, hex. Both
	// together prove the payment to the payee of the invoice. "" if not disclosed. The tags
	// are tags of this project.
	Invoice, Preimage string `json:",omitempty"`

	InstanceName string
	Expiration   nostr.Timestamp // NIP-40; 0 none
}

// ParseDevFee parses kind 8383. Scores depend on these events, so order, amount and
// payment hash must each occur exactly once. The error is an EventError.
func ParseDevFee(evt *nostr.Event) (DevFee, error) {
	if err := Expect(evt, ClassDevFee); err != nil {
		return DevFee{}, err
	}
	if err := Once(evt, "order-id", "amount", "hash"); err != nil {
		return DevFee{}, err
	}
	t := TagReader(evt.Tags)
	_, second := t.Claim()
	fee := DevFee{
		EventID: evt.ID, Pubkey: evt.PubKey, CreatedAt: evt.CreatedAt,
		OrderID: t.Value("order-id"), Hash: strings.ToLower(t.Value("hash")),
		Destination: t.Value("destination"), Network: network(t), Verify: t.Value("verify"),
		Invoice: t.Value("bolt11"), Preimage: t.Value("preimage"),
		InstanceName: second, Expiration: t.time("expiration"),
	}
	if fee.OrderID == "" {
		return DevFee{}, MalformedEvent(evt, "no order-id")
	}
	amount := t.sats("amount")
	if amount == nil {
		return DevFee{}, MalformedEvent(evt, "amount is no amount of sats")
	}
	fee.AmountSats = *amount
	if !hex32.Valid(fee.Hash) {
		return DevFee{}, MalformedEvent(evt, "hash is not a payment hash")
	}
	return fee, nil
}

// Event returns the record as a Mostro publishes it, ready to be signed.
func (f DevFee) Event() nostr.Event {
	var w TagWriter
	w.Add("order-id", f.OrderID)
	w.Add("amount", strconv.FormatInt(f.AmountSats, 10))
	w.Add("hash", f.Hash)
	w.Add("destination", f.Destination)
	network := f.Network
	if network == "" {
		network = "unknown"
	}
	w.Add("network", network)
	w.Instance(f.InstanceName)
	w.Add("z", "dev-fee-payment")
	w.time("expiration", f.Expiration)
	if f.Verify != "" {
		w.Add("verify", f.Verify)
	}
	if f.Invoice != "" {
		w.Add("bolt11", f.Invoice)
		w.Add("preimage", f.Preimage)
	}
	return nostr.Event{PubKey: f.Pubkey, CreatedAt: f.CreatedAt, Kind: KindDevFee, Tags: nostr.Tags(w)}
}
