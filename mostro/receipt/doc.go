// Package receipt makes and checks the proofs that the author of a rating traded with
// the rated host (docs/receipts.md): a disclosed message of the host, the host's
// signature, its blind signature, and a payment opened with its preimage.
//
// A receipt that Check accepts was issued by the host to the rating's author, and
// the Receipt holds only facts that the check proved. CheckAll returns the same
// results for many ratings at once. Every refusal is an Error that names the broken
// rule. No input makes a function of this package panic.
//
// The package does no I/O. It does not know whether a receipt was spent before, whether
// the order was witnessed, or whether the payee of an opened payment is honest: the
// reputation judges these. It trusts that the caller verified the rating's event.
package receipt
