package lnd

import (
	"context"
	"fmt"

	"github.com/mostrodex/mostrodex/escrow/lnd/wire"
)

// Channels is the sum of the channels of a node.
type Channels struct {
	Channels, Active int
	// InboundSats can be received, and OutboundSats can be sent, over the active channels. The
	// reserves of the channels are not included.
	InboundSats, OutboundSats int64
}

// Channels asks the node for its open channels. The permission is optional: Channels returns
// lightning.ErrPermission without it.
func (c *Client) Channels(ctx context.Context) (sum Channels, err error) {
	var list wire.ListChannelsResponse
	if err := c.call(ctx, wire.ListChannels, &wire.ListChannelsRequest{}, &list); err != nil {
		return sum, fmt.Errorf("list channels: %w", err)
	}
	for _, ch := range list.GetChannels() {
		sum.Channels++
		if !ch.GetActive() {
			continue
		}
		sum.Active++
		sum.InboundSats += max(0, ch.GetRemoteBalance()-int64(ch.GetRemoteConstraints().GetChanReserveSat()))
		sum.OutboundSats += max(0, ch.GetLocalBalance()-int64(ch.GetLocalConstraints().GetChanReserveSat()))
	}
	return sum, nil
}
