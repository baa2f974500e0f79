// Package envelope seals and opens the events that carry messages: the transports v2
// (kind 14), v1 (kind 1059) and the one of 2023 (kind 4), and the chat between parties.
// It holds the keys of users and nodes and their derivation, NIP-44, proof of work, and
// the check of a message's age.
//
// Open proves the sender and the identity of a message, and every refusal is a
// message.WireError that names the broken rule. Seal returns only events that the
// receiver can open. The same inputs and randomness give the same bytes as the vectors of
// the protocol. No fmt verb prints a secret key or a seed phrase. No input makes a
// function of this package panic.
//
// The package does no I/O and keeps no memory of messages: the caller remembers replay
// ids, checks Freshness and limits rates. Open does not check whether the message is a
// valid request.
package envelope
