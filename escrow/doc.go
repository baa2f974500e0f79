// Package escrow is a Mostro: it holds a seller's sats in a hold invoice while a buyer
// sends fiat, and pays the buyer when the seller releases the sats.
//
// A trade changes only in trade.Step, a pure function from a trade and an input to a trade
// and its effects. The engine passes inputs to Step and commits the decision in one synced
// transaction. The outbox performs the effects only after the commit. Effects are safe to
// repeat, so a normal start repairs the state after a crash at any point.
//
// The package does not connect to relays: it reads a log and publishes through an
// interface. The package does not connect to a Lightning node either (see lightning.Node). The
// reputation of users is kept by package rating, and packages devfee and fund pay the
// development fee. Bonds are not implemented yet.
package escrow
