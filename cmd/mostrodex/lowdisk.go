package main

import (
	"sync"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// maxUrgentBytes bounds the messages of one trade key that are taken while the disk is full. A
// trade needs some 20 messages of 2 KiB.
const maxUrgentBytes = 128 << 10

// lowDisk keeps the space of a nearly full disk for trades under way. While the log refuses
// events, the escrow begins no trade, and the relay takes messages of the parties of open trades
// to the escrow. Their number is bounded, because no trade begins meanwhile.
//
// A gift wrap (transport v1) has an author of its own, so its sender is not known, and it is
// refused like any other event.
type lowDisk struct {
	full  func() bool           // reports whether the log refuses events
	node  string                // public key of the escrow; "": none
	knows func(key string) bool // reports whether a key is a trade key of an open trade

	mu    sync.Mutex
	spent map[string]int // bytes of urgent messages by trade key, since the disk is full
}

// reason returns why the escrow begins no trade, or "".
func (d *lowDisk) reason() string {
	if d.full() {
		return "the disk is nearly full: the space that is left is kept for trades under way; make room"
	}
	return ""
}

// urgent reports whether an event may use the reserve of a full disk.
func (d *lowDisk) urgent(evt *nostr.Event, size int) bool {
	if evt.Kind != mostro.KindMessage || d.node == "" {
		return false
	}
	full := d.full()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !full {
		clear(d.spent)
		return false
	}
	if evt.Tags.FindWithValue("p", d.node) == nil || !d.knows(evt.PubKey) || d.spent[evt.PubKey]+size > maxUrgentBytes {
		return false
	}
	d.spent[evt.PubKey] += size
	return true
}
