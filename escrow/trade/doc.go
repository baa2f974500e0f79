// Package trade is the state machine of a trade between a buyer and a seller.
//
// Step is a pure function. Step takes a trade and an input, and returns the next trade and
// its effects as values. The transition table holds every change of a status; Step returns
// ErrTable for any other change. An input carries every fact that the decision needs, with
// the time and the version of the rules, so the same inputs return the same trade on any
// machine at any time. The journal of a trade is the list of its inputs. A replay of the
// journal returns the stored trade.
//
// The package also holds the terms and fees of a trade, the rules for a buyer's invoice,
// the derivation of order ids and preimages from the node's key, and the journal's form of
// a message. The JSON of its types is the format of the escrow's store: a new field needs
// omitzero, and a field keeps its name.
//
// The package does no I/O, reads no clock and uses no random numbers. The package does not
// open messages, parse invoices, look up prices or call the Lightning node, and it does
// not perform its effects. Package escrow collects the facts, commits the decision, and
// performs the effects after the commit.
package trade
