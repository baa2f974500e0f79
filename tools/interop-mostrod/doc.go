// Package interopmostrod tests this program beside mostrod, the reference daemon. The
// tests start real Lightning nodes, `mostrodex serve` with an escrow of its own, and the
// unmodified mostrod, whose only relay is that of `mostrodex serve`. One client plays the
// same scripts against both Mostros, and the transcripts are compared. docs/parity.md
// lists the allowed differences. `make interop-mostrod` builds mostrod and runs the tests.
package interopmostrod
