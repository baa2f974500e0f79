// Package attestation builds and checks the documents that carry a user's reputation
// from one node to another: the attestation, which the issuing node signs, and the
// rebind, with which the user moves a binding to a new identity. Both are events of
// kind 38388. They travel inside messages and are never published on a relay.
// The rules: https://mostro.network/protocol/reputation_attestation.html
//
// Ratings holds the figures of one user's reputation at one node, with the arithmetic of
// votes, imports and reverted imports.
//
// The package does no I/O and keeps no state. It does not know whether a document was
// used before, whether an identity is bound, or whether a user is banned: the node
// decides. Every refusal is an Error with the reason that a node answers. No input makes
// a function of this package panic.
package attestation
