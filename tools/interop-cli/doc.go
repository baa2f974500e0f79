// Package interopcli lets mostro-cli, the reference command line client, trade
// with this program's demo: its tests start `mostrodex demo` and drive the
// unmodified client, a home directory for each user, on every transport that
// it speaks. `make interop-cli` builds the client and runs them.
package interopcli
