// Package mostro holds the types of the Mostro protocol and of the order book that
// Mostro shares with other platforms: events and messages, as values.
//
// The package does no I/O and imports no other room. Every room imports this package.
// No input makes a function of this package panic, even if the input is malformed.
package mostro
