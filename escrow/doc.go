// Package escrow is a Mostro: it holds a seller's sats in a hold invoice
// while a buyer sends fiat, and pays the buyer when the seller lets go.
//
// A trade changes in one place, trade.Step: a pure function from a trade and an
// input to a trade and its effects. The engine feeds it, commits what it says
// in one synced transaction, and only then does the outbox act. Effects are
// safe to repeat, so a crash at any point is mended by an ordinary start.
//
// The package does not speak to relays (it reads a log and publishes through
// an interface), nor to a Lightning node (see Lightning). Disputes can be
// opened here and freeze the trade; solvers, users' ratings, bonds and the
// development fee's payment are not in it yet.
package escrow
