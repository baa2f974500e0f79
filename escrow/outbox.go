package escrow

// laneOf tells the two roads of the outbox apart. Within one trade and one
// lane rows are done in order; a node that does not answer holds up no mail.
type laneOf uint8

const (
	laneMail laneOf = 1 // publishes
	laneNode laneOf = 2 // calls the Lightning node or an address
)

func lane(r OutboxRow) laneOf {
	switch r.Effect.Kind {
	case FxSend, FxPublishOrder, FxPublishDispute:
		return laneMail
	}
	return laneNode
}
