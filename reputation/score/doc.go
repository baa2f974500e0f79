// Package score computes from evidence how well each Mostro behaves, and how many
// sats that evidence can secure.
//
// A Ledger keeps facts of three kinds, which are never mixed silently: claimed (a node
// signed the event), witnessed (this relay received the event when it was published) and
// costed (a development fund confirms a payment). Compute and Update compute scores from
// facts. WriteBundle writes the evidence and its scores, and VerifyBundle computes the
// scores of a bundle again.
//
// The package promises that the same entries lead to the same scores, to the byte, in any
// order and on every machine, because the arithmetic uses only integers. The package opens
// no file and no connection, logs nothing and does not read the clock. Moments are
// arguments, and the log is read through Reader. The package computes on all cores. If a
// call returns, all its goroutines have ended.
//
// The package does not check the signatures of events in a log, because the relay checked
// the signatures before it logged the events. VerifyBundle does check the signatures in a
// bundle. Proofs checks the receipts inside of ratings. The package does not prove that
// trades were real: a node can publish an invented trade, in time and at no cost.
// docs/reputation.md describes how far such trades move a score.
package score
