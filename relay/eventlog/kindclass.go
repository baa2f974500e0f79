package eventlog

import "github.com/nbd-wtf/go-nostr"

// class is the class of a kind (NIP-01).
type class uint8

const (
	regular class = iota
	replaceable
	addressable
	ephemeral
)

func kindClass(kind int) class {
	switch {
	case nostr.IsReplaceableKind(kind):
		return replaceable
	case nostr.IsAddressableKind(kind):
		return addressable
	case nostr.IsEphemeralKind(kind):
		return ephemeral
	}
	return regular
}
