// Package relay is the Nostr relay: the log every other room reads, the
// queries over what is live, the admission policy, and the sockets.
package relay
