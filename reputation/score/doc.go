// Package score computes from evidence how well each Mostro behaves, and how many
// sats that evidence can secure.
//
// A Ledger keeps facts, in three kinds that are never mixed silently: claimed (a
// node signed it), witnessed (this relay received it when it was made public) and
// costed (a development fund confirms that it was paid). Compute and Update turn
// facts into scores. WriteBundle writes the evidence and its scores, and
// VerifyBundle computes the scores of a bundle again.
//
// The package promises that the same entries give the same scores, to the byte,
// in any order and on every machine: the arithmetic uses integers alone. It opens
// no file and no connection, logs nothing and does not read the clock. Moments
// are arguments, and the log is read through Reader. It computes on all cores, and
// every goroutine has ended when the call returns.
//
// The package does not check the signatures of events in a log, because the relay
// did before it logged them. VerifyBundle does check the signatures in a bundle.
// Receipts inside of ratings are checked by Proofs. The package does not prove that
// trades were real: a node can publish a trade that never was, in time and for
// nothing. docs/reputation.md says how far such trades move a score.
package score
