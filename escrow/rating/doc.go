// Package rating holds the reputation of the identities that trade at this node: the votes
// of their counterparties, imported reputation, the binding of an exported reputation, and
// the declarations of buyers about their fiat accounts.
//
// A Record is a value. Record.Apply returns the record after one Change, and the store keeps
// every change in a journal of the record, so a replay of the journal returns the stored
// record. Book collects the changes of a batch as rows of the store and effects. Book does
// no I/O except reads of its store, reads no clock and uses no random numbers.
//
// The package does not open messages, publish events or commit rows: package escrow does.
// The arithmetic of votes and the documents of kind 38388 are those of mostro/attestation.
// The JSON of the types here is the format of the store: a new field needs omitzero, and a
// field keeps its name.
package rating
