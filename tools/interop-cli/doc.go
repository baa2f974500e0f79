// Package interopcli tests that mostro-cli, the reference command line client, can
// trade with this program's demo. The tests start `mostrodex demo` and run the
// unmodified client, with a home directory for each user, on every transport that the
// client supports. `make interop-cli` builds the client and runs the tests.
package interopcli
