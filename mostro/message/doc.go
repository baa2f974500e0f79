// Package message holds the messages between clients and a Mostro: actions, payloads and
// their exact JSON.
//
// AppendJSON writes the bytes that the reference implementation writes, because
// signatures cover these bytes. ParseMessage is strict: an input has one meaning or is
// refused, and every refusal is a WireError that names the broken Rule. A message that is
// parsed, written and parsed again is the same. ParseLegacy and AppendLegacy do the same
// for the vocabulary of 2023. DecodeEvent parses the events inside envelopes with the
// same strictness.
//
// No input makes a function of this package panic. The package does no I/O. It decrypts
// nothing and verifies no signature: mostro/envelope does. Check states whether a request
// has the form that its action needs, not whether the trade allows the request.
package message
