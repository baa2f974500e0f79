package escrow

// Transport is how a party's messages travel: fixed at its first message of a
// trade, and answered in kind.
type Transport uint8

const (
	TransportLegacy Transport = 1 // 2023: kind 4
	TransportV1     Transport = 2 // kind 1059, gift wrap
	TransportV2     Transport = 3 // kind 14
)
