// Package federation follows other relays and sends this program's own events to them.
//
// Upstreams has one loop and at most one connection for each relay. A connection catches
// up by NIP-77 or by pages, and then stays on a live subscription. Every event of another
// relay passes the admission of relay.Server, except for the rates of clients. The package
// also discovers relays that Mostros name.
//
// The package promises that an event taken from a relay is never sent on to another relay,
// so that no loop can arise, and that a cursor is written only after the events before it.
// An own event stays queued until each relay has answered, for at most seven days. The
// package does not promise that another relay is complete or honest: a relay may withhold
// events, and a second with more events than a page is counted as incomplete if it cannot
// be split.
package federation
