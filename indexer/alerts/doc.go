// Package alerts keeps filters that keys have saved, and tells their owners about orders that
// fit, by private message (NIP-17) and by webhook.
//
// A Service follows the book. If a change leaves an order on offer that fits an alert, the
// Service commits a delivery mark for alert and order together with the rows of its outbox. An
// alert is told of an order once: an order is an author and a d tag, whatever versions follow.
// The store syncs every commit before an effect, and the position in the log is committed with
// or after the marks before it. So after a crash no order is told twice and none is left out,
// with one exception: a webhook whose answer was lost in the crash is called again, with the
// same delivery id.
//
// Limits: all bounds are fields of Limits. An alert that reaches its rate is silent until its
// hour ends, and its last message says so. If the outbox of an owner is full, later matches
// are dropped and counted.
//
// The package does no HTTP. The program passes functions that call webhooks and other relays.
package alerts
