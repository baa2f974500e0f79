package mostro

// Event kinds of Mostro and its neighbours.
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

	KindReceiptKeys = 38387 // a node's key for blind receipts (docs/receipts.md)
)

// IsMail says whether events of a kind are private messages: served to
// subscribers, never searched, never exported, unreadable once expired.
func IsMail(kind int) bool {
	return kind == KindMessage || kind == KindGiftWrap || kind == KindLegacyDM
}
