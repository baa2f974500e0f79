// Package effect performs the effects of a trade that call the Lightning node or a
// Lightning address: hold invoices, settlements, payments, and the invoices of addresses and
// of the development fund.
//
// Runner.Do performs one effect and returns its result as an input for the trade. Each
// effect may be performed again after a crash at any point. The package stores nothing and
// starts no goroutine. The order of effects, their repetition and the limits of time are the
// outbox's (package escrow).
package effect
