// Package mostro holds the nouns of the Mostro protocol and of the order book that
// Mostro shares with other platforms: orders in every platform's dialect, infos,
// disputes, ratings, fees, rates and relay lists, their classes and tags, and the entries
// of the log. The values are parsed from events, and events are built from them.
//
// The package does no I/O and knows no secret key. No input makes a function of this
// package panic, even if the input is malformed. The package imports only the standard
// library and go-nostr. Every room imports this package.
//
// The parsers check no signature: the relay does before it stores an event. A parsed
// value is the author's claim.
//
// Three packages build on this one, each on those before it:
//
//   - mostro/message: the messages between clients and a Mostro
//   - mostro/envelope: the events that carry messages, and the keys
//   - mostro/receipt: the proofs that a rater traded
package mostro
