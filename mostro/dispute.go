package mostro

import (
	"github.com/nbd-wtf/go-nostr"
)

// DisputeState is the public state of a dispute.
type DisputeState string

const (
	DisputeStateUnknown        DisputeState = ""
	DisputeStateInitiated      DisputeState = "initiated"
	DisputeStateInProgress     DisputeState = "in-progress" // a solver took it
	DisputeStateSellerRefunded DisputeState = "seller-refunded"
	DisputeStateSettled        DisputeState = "settled"  // the buyer received the sats
	DisputeStateReleased       DisputeState = "released" // by the seller
	// DisputeStateCooperativelyCanceled means that the parties cancelled the trade. Since
	// mostrod 0.19 a dispute that its parties ended is released or cooperatively canceled,
	// and only a solver's decision is settled or seller-refunded.
	DisputeStateCooperativelyCanceled DisputeState = "cooperatively-canceled"
)

// disputeStates maps every published state, in kebab-case. Until 2024 a new dispute was
// "Pending".
var disputeStates = map[string]DisputeState{
	"pending":         DisputeStateInitiated,
	"initiated":       DisputeStateInitiated,
	"in-progress":     DisputeStateInProgress,
	"seller-refunded": DisputeStateSellerRefunded,
	"settled":         DisputeStateSettled,
	"released":        DisputeStateReleased,

	"cooperatively-canceled": DisputeStateCooperativelyCanceled,
}

// Final reports whether the dispute is over.
func (s DisputeState) Final() bool {
	switch s {
	case DisputeStateSellerRefunded, DisputeStateSettled, DisputeStateReleased, DisputeStateCooperativelyCanceled:
		return true
	}
	return false
}

// Dispute is the public state of a dispute at a node. It does not disclose the order of
// the dispute.
type Dispute struct {
	EventID   string
	Pubkey    string // the node
	D         string // the dispute's id
	CreatedAt nostr.Timestamp

	State     DisputeState
	RawState  string          // as published, in kebab-case
	Initiator string          // "buyer", "seller" or "" unknown (before 0.16)
	OpenedAt  nostr.Timestamp // tag published_at (0.19) or created_at (0.18.5); 0 unknown, see Opened

	InstanceName string
	Expiration   nostr.Timestamp // NIP-40; 0 none

	// Overdue is the rule that ended the dispute because no solver did in time: "cancel" or
	// "settle"; "" for another end. The tag is ours.
	Overdue string `json:",omitempty"`
}

// ParseDispute parses kind 38386, and the disputes in kind 38383 that nodes published
// until the end of 2025. The error is an EventError.
func ParseDispute(evt *nostr.Event) (Dispute, error) {
	if err := Expect(evt, ClassDispute); err != nil {
		return Dispute{}, err
	}
	t := TagReader(evt.Tags)
	_, second := t.Claim()
	d := Dispute{
		EventID: evt.ID, Pubkey: evt.PubKey, D: evt.Tags.GetD(), CreatedAt: evt.CreatedAt,
		RawState: kebab(t.Value("s")), InstanceName: second,
		OpenedAt: t.time("published_at"), Expiration: t.time("expiration"),
	}
	if d.D == "" {
		return Dispute{}, MalformedEvent(evt, "no d")
	}
	if d.RawState == "" {
		return Dispute{}, MalformedEvent(evt, "no s")
	}
	d.State, d.Overdue = disputeStates[d.RawState], kebab(t.Value("overdue"))
	if v := kebab(t.Value("initiator")); v == "buyer" || v == "seller" {
		d.Initiator = v
	}
	if d.OpenedAt == 0 {
		d.OpenedAt = t.time("created_at")
	}
	return d, nil
}

// Opened returns the time at which the dispute was opened. If the event states none, or a
// time after the event, Opened returns the time of the event.
func (d Dispute) Opened() nostr.Timestamp { return firstTime(d.OpenedAt, d.CreatedAt) }

// Event returns the dispute as a Mostro publishes it, ready to be signed.
func (d Dispute) Event() nostr.Event {
	w := TagWriter{{"d", d.D}}
	w.time("expiration", d.Expiration)
	w.Add("s", d.publicState())
	w.text("initiator", d.Initiator)
	w.time("published_at", d.OpenedAt)
	w.Instance(d.InstanceName)
	w.Add("z", "dispute")
	w.text("overdue", d.Overdue)
	return nostr.Event{PubKey: d.Pubkey, CreatedAt: d.CreatedAt, Kind: KindDispute, Tags: nostr.Tags(w)}
}

func (d Dispute) publicState() string {
	if d.State == DisputeStateUnknown {
		return d.RawState
	}
	return string(d.State)
}

// legacyDisputeStates maps each state to the spelling of a Mostro of 2023. LegacyEvent
// returns the dispute in the form of 2023: kind 38383, CamelCase, no expiration. A node
// publishes it if a party of the dispute uses a client of 2023.
var legacyDisputeStates = map[DisputeState]string{
	DisputeStateInitiated:      "Pending",
	DisputeStateInProgress:     "InProgress",
	DisputeStateSellerRefunded: "SellerRefunded",
	DisputeStateSettled:        "Settled",
	DisputeStateReleased:       "Released",
	// 2023 had no word for it. Our choice tells the same fact: the seller has the sats.
	DisputeStateCooperativelyCanceled: "SellerRefunded",
}

// LegacyEvent builds the dispute in the form of 2023: kind 38383, CamelCase,
// no expiration. It is for disputes to which a party of that time belongs.
func (d Dispute) LegacyEvent() nostr.Event {
	state, ok := legacyDisputeStates[d.State]
	if !ok {
		state = d.RawState
	}
	return nostr.Event{PubKey: d.Pubkey, CreatedAt: d.CreatedAt, Kind: KindOrder, Tags: nostr.Tags{
		{"d", d.D}, {"s", state}, {"y", "mostrop2p"}, {"z", "dispute"},
	}}
}
