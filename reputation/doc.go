// Package reputation follows the log, keeps the scores of Mostros up to date, publishes
// the scores and shows the scores over HTTP.
//
// Package score computes the scores. A Service reads the log from a cursor, passes the
// entries to a score.Ledger, computes the scores that changed, publishes these scores as
// NIP-85 assertions, and stores the facts in a checkpoint. The Handler answers HTTP requests:
// the API, the pages, the badge, and the choice of a Mostro for a trade.
//
// The package promises that a lost checkpoint changes no score, because the Service
// rebuilds the facts from the log. The package does not check the signatures of events,
// because the relay checked the signatures before it logged the events.
package reputation
