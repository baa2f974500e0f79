package trade

import "fmt"

// HoldPhase is where a hold invoice stands. It only ever moves forward, from
// HoldOpen to HoldAccepted to one of the final phases; HoldOpen may become
// HoldCanceled directly, by Cancel or because the invoice expired unpaid.
type HoldPhase uint8

const (
	HoldOpen     HoldPhase = 1 // nobody has paid
	HoldAccepted HoldPhase = 2 // paid and held: neither ours nor the payer's
	HoldSettled  HoldPhase = 3 // final: ours
	HoldCanceled HoldPhase = 4 // final: not paid, or given back
)

var holdPhaseNames = [...]string{HoldOpen: "open", HoldAccepted: "accepted", HoldSettled: "settled", HoldCanceled: "canceled"}

// String gives "open", "accepted", "settled" or "canceled".
func (p HoldPhase) String() string {
	if int(p) < len(holdPhaseNames) && holdPhaseNames[p] != "" {
		return holdPhaseNames[p]
	}
	return fmt.Sprintf("hold phase %d", uint8(p))
}

// Final says that the phase never changes again.
func (p HoldPhase) Final() bool { return p == HoldSettled || p == HoldCanceled }

// PaymentStatus is where an outgoing payment stands.
type PaymentStatus uint8

const (
	PaymentUnknown   PaymentStatus = 1 // never tried
	PaymentInFlight  PaymentStatus = 2 // may still go either way: wait
	PaymentSucceeded PaymentStatus = 3 // final
	PaymentFailed    PaymentStatus = 4 // final for this attempt: nothing left us
)

var paymentStatusNames = [...]string{PaymentUnknown: "unknown", PaymentInFlight: "in flight", PaymentSucceeded: "succeeded", PaymentFailed: "failed"}

// String gives "unknown", "in flight", "succeeded" or "failed".
func (s PaymentStatus) String() string {
	if int(s) < len(paymentStatusNames) && paymentStatusNames[s] != "" {
		return paymentStatusNames[s]
	}
	return fmt.Sprintf("payment status %d", uint8(s))
}

// Final says that the attempt is over.
func (s PaymentStatus) Final() bool { return s == PaymentSucceeded || s == PaymentFailed }
