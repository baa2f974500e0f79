// Package federation follows other relays and sends this program's own events to
// them.
//
// Upstreams has one loop and at most one connection for each relay: it catches up
// by NIP-77 or by pages, then stays on a live subscription. Every event of another
// relay passes the admission of relay.Server like a client's, except for rates.
// The package discovers relays that Mostros name, and never sends on an event
// that it took from a relay, so that no loop can arise.
package federation
