// Package price returns the price of a bitcoin in a currency. An order without an amount in
// sats is settled at this price.
//
// A Feed polls several sources, stores the prices on which the sources agree, and answers
// from memory. A source is a provider on the web, or the rates that a trusted Mostro node
// publishes. A pegged code has the price of its peg. Quote marks a price that is too old as
// stale, and trade.Step refuses a stale quote.
package price
