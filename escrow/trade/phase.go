package trade

import "fmt"

// HoldPhase is the state of a hold invoice. A hold moves only forward, from HoldOpen to
// HoldAccepted to one of the final phases. HoldOpen may become HoldCanceled directly, by
// Cancel or if the invoice expires unpaid.
type HoldPhase uint8

const (
	HoldOpen     HoldPhase = 1 // not paid
	HoldAccepted HoldPhase = 2 // paid and held; belongs neither to us nor to the payer
	HoldSettled  HoldPhase = 3 // final: the sats are ours
	HoldCanceled HoldPhase = 4 // final: not paid, or returned to the payer
)

var holdPhaseNames = [...]string{HoldOpen: "open", HoldAccepted: "accepted", HoldSettled: "settled", HoldCanceled: "canceled"}

// String returns "open", "accepted", "settled" or "canceled".
func (p HoldPhase) String() string {
	if int(p) < len(holdPhaseNames) && holdPhaseNames[p] != "" {
		return holdPhaseNames[p]
	}
	return fmt.Sprintf("hold phase %d", uint8(p))
}

// Final reports whether the phase can no longer change.
func (p HoldPhase) Final() bool { return p == HoldSettled || p == HoldCanceled }

// PaymentStatus is the state of an outgoing payment.
type PaymentStatus uint8

const (
	PaymentUnknown   PaymentStatus = 1 // never attempted
	PaymentInFlight  PaymentStatus = 2 // the outcome is not known yet: wait
	PaymentSucceeded PaymentStatus = 3 // final
	PaymentFailed    PaymentStatus = 4 // final for this attempt: no sats have left this node
)

var paymentStatusNames = [...]string{PaymentUnknown: "unknown", PaymentInFlight: "in flight", PaymentSucceeded: "succeeded", PaymentFailed: "failed"}

// String returns "unknown", "in flight", "succeeded" or "failed".
func (s PaymentStatus) String() string {
	if int(s) < len(paymentStatusNames) && paymentStatusNames[s] != "" {
		return paymentStatusNames[s]
	}
	return fmt.Sprintf("payment status %d", uint8(s))
}

// Final reports whether the attempt is over.
func (s PaymentStatus) Final() bool { return s == PaymentSucceeded || s == PaymentFailed }
