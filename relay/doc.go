// Package relay is the Nostr relay: websockets, admission of events, requests, live
// subscriptions, NIP-11, NIP-77 and NIP-86, and the import and export over HTTP. Package
// eventlog keeps the events, and package federation follows other relays.
//
// Every event passes the same admission, of any origin: from a client, from an import, from
// another relay, or from this program. Check applies policy, rules, rates, id and
// signature. Submit passes the event to the hooks of khatru's AddEvent, which enqueue a
// stored kind or deliver an ephemeral kind. Settle waits for the store.
//
// The package promises:
//
//   - If a client gets OK true for a stored kind, the event is in the log and survives a
//     crash.
//   - The messages of one connection take effect in their order, and OKs are sent in the
//     order of their events. A later REQ or COUNT of the connection sees its own events.
//   - A subscription gets each matching event at most once, and misses no event between
//     the stored events and the live ones, until the relay closes the subscription or
//     the connection.
//   - A client that does not read holds a bounded amount of memory, and delays no other
//     client. Its connection is closed when a write deadline or a queue limit is passed.
//   - A panic while a client's message is handled ends the connection or refuses the
//     event. The process goes on.
//   - No event is sent that the rules ban. Quarantined authors are sent only if a search
//     asks for spam.
//
// Limits:
//
//   - An ephemeral event is not stored. OK true says only that the event was queued for
//     the subscriptions that are open.
//   - A stored answer is capped by MaxLimit, and EOSE does not say whether it was.
//   - Live events do not match words: a filter with a search gets no live events.
//   - Reading is not restricted. Every client may read every served event, mail included;
//     the content of mail is encrypted by its author.
//   - The package does not judge the meaning of orders, ratings or fees, beyond the form
//     that Policy checks.
package relay
