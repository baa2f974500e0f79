// Package reputation follows the log, keeps the scores of Mostros up to date,
// publishes and shows them.
//
// Package score computes the scores. A Service reads the log by a cursor, gives
// its entries to a score.Ledger, computes what changed, publishes the new scores
// as NIP-85 assertions, and stores the facts in a checkpoint. The Face answers
// over HTTP: the API, the pages, the badge, and the choice of a Mostro for a trade.
//
// The package promises that a lost checkpoint changes no score, because the facts
// grow back from the log. It does not check the signatures of events: the relay
// did before it logged them.
package reputation
