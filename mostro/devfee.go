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

	InstanceName string
	Expiration   nostr.Timestamp // NIP-40; 0 none
}

// ParseDevFee parses kind 8383. Scores depend on these events, so order, amount and
// payment hash must each occur exactly once. The error is an EventError.
func ParseDevFee(evt *nostr.Event) (DevFee, error) {
	if err := expect(evt, ClassDevFee); err != nil {
		return DevFee{}, err
	}
	if err := once(evt, "order-id", "amount", "hash"); err != nil {
		return DevFee{}, err
	}
	t := tagReader(evt.Tags)
	_, second := t.claim()
	fee := DevFee{
		EventID: evt.ID, Pubkey: evt.PubKey, CreatedAt: evt.CreatedAt,
		OrderID: t.value("order-id"), Hash: strings.ToLower(t.value("hash")),
		Destination: t.value("destination"), Network: network(t),
		InstanceName: second, Expiration: t.time("expiration"),
	}
	if fee.OrderID == "" {
		return DevFee{}, malformed(evt, "no order-id")
	}
	amount := t.sats("amount")
	if amount == nil {
		return DevFee{}, malformed(evt, "amount is no amount of sats")
	}
	fee.AmountSats = *amount
	if !hex32.Valid(fee.Hash) {
		return DevFee{}, malformed(evt, "hash is not a payment hash")
	}
	return fee, nil
}

// Event returns the record as a Mostro publishes it, ready to be signed.
func (f DevFee) Event() nostr.Event {
	var w tagWriter
	w.add("order-id", f.OrderID)
	w.add("amount", strconv.FormatInt(f.AmountSats, 10))
	w.add("hash", f.Hash)
	w.add("destination", f.Destination)
	network := f.Network
	if network == "" {
		network = "unknown"
	}
	w.add("network", network)
	w.instance(f.InstanceName)
	w.add("z", "dev-fee-payment")
	w.time("expiration", f.Expiration)
	return nostr.Event{PubKey: f.Pubkey, CreatedAt: f.CreatedAt, Kind: KindDevFee, Tags: nostr.Tags(w)}
}
