// Package mostro holds the nouns of the Mostro protocol and of the order
// book it shares with other platforms: events and messages, as values.
//
// It does no I/O and imports no other room; every room imports it. It
// promises that no input, however broken, makes it panic.
package mostro
