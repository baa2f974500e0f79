// Package reputation says of each Mostro how well it behaves, and how many
// sats the evidence for that can secure.
//
// It reads the log by a cursor and keeps facts (Ledger), in three kinds that
// are never mixed silently: claimed (what a node signed), witnessed (what this
// relay received when it was made public) and costed (what a development fund
// confirms was paid). Compute turns facts into scores: a pure function in
// integers, so that the same facts give the same bytes on every machine.
// Service follows the log, publishes what changed and answers questions; a
// Bundle lets anybody recompute a score without this program's data.
//
// It checks no signatures of events: the relay did, before they were logged.
// Receipts inside of ratings are checked here, by Proofs.
//
// It does not prove that trades were real. A node can publish the whole life
// of a trade that never was, in time and for nothing: docs/reputation.md says
// what that can move, and by how much.
package reputation
