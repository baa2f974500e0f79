package mostro

// Event kinds of Mostro and of related applications.
const (
	KindProfile    = 0     // NIP-01 metadata
	KindLegacyDM   = 4     // NIP-04, the 2023 transport
	KindDeletion   = 5     // NIP-09
	KindMessage    = 14    // signed kind 14: v2 transport and chat
	KindGiftWrap   = 1059  // NIP-59: v1 transport and older chat
	KindDevFee     = 8383  // audit record of a paid development fee
	KindRelayList  = 10002 // NIP-65
	KindAppData    = 30078 // NIP-78; rates under d=mostro-rates
	KindHostRating = 31986 // a user's rating of a host (RoboSats' practice)
	KindOrder      = 38383 // NIP-69 order
	KindUserRating = 38384 // a node's rating of one of its users
	KindInfo       = 38385 // a node's description of itself
	KindDispute    = 38386 // public state of a dispute

	KindAnnouncement = 38387 // a client project's notice to users; before November 2026 also our keysets
	KindAttestation  = 38388 // attestation of a reputation: sent inside messages, never published on a relay
	KindHealth       = 38389 // state of a node, published every minute

	// KindReceiptKeys is a node's key for blind receipts (docs/receipts.md). This
	// project chose the number. It lies below 38383, because Mostro numbers its own
	// kinds upwards from 38383, and another application uses 38390 to 38399.
	KindReceiptKeys = 38377
)

var kindNames = map[int]string{
	KindProfile: "profile", KindLegacyDM: "legacy-dm", KindDeletion: "deletion", KindMessage: "message", KindGiftWrap: "gift-wrap",
	KindDevFee: "dev-fee", KindRelayList: "relay-list", KindAppData: "app-data", KindHostRating: "host-rating", KindOrder: "order",
	KindUserRating: "user-rating", KindInfo: "info", KindDispute: "dispute", KindAnnouncement: "announcement",
	KindAttestation: "attestation", KindHealth: "health", KindReceiptKeys: "receipt-keys",
}

// KindName returns the name of a kind that this package has a constant for, or "".
func KindName(kind int) string { return kindNames[kind] }

// KeysetKinds are the kinds that may hold a keyset: the current kind, and the kind that
// programs before November 2026 published.
var KeysetKinds = []int{KindReceiptKeys, KindAnnouncement}

// IsMail reports whether events of a kind are private messages. Private messages are
// served to subscribers, but never searched or exported, and cannot be read after they
// expire.
func IsMail(kind int) bool {
	return kind == KindMessage || kind == KindGiftWrap || kind == KindLegacyDM
}
