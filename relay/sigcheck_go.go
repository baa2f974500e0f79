//go:build !libsecp256k1 || !linux

package relay

import "github.com/nbd-wtf/go-nostr"

// signatureHolds reports whether the signature of an event is valid for its author and its
// id. The caller has proven that the id is the hash of the event.
func signatureHolds(evt *nostr.Event) bool {
	ok, err := evt.CheckSignature()
	return err == nil && ok
}
