package lnd

// Channels is the sum of the channels of a node.
type Channels struct {
	Channels, Active int
	// InboundSats can be received, and OutboundSats can be sent, over the active channels. The
	// reserves of the channels are not included.
	InboundSats, OutboundSats int64
}
