// Package trade decides what becomes of a trade between a buyer and a seller.
//
// Step is a pure function: a trade and an input give the next trade and its
// effects, which are values. The transition table holds every change of a
// status; Step refuses any other as a bug. An input carries every fact that the
// decision needs, with the time and the version of the rules, so the same
// inputs give the same trade on any machine at any time. A trade's journal is
// its inputs, and replaying the journal gives the stored trade.
//
// The package also holds the terms and fees of a trade, the rules that a
// buyer's invoice has to keep, the derivation of order ids and preimages from
// the node's key, and the form in which a message enters the journal. The JSON
// of its types is the format of the escrow's store: a field is added with
// omitzero, and no field changes its name.
//
// The package does no I/O, reads no clock and draws nothing at random. It does
// not open messages, parse invoices, look up prices or call the Lightning
// node, and it does not perform its effects: package escrow gathers the facts,
// commits the decision and performs the effects afterwards.
package trade
