// Package eventlog keeps every accepted event in one numbered log on disk, and
// answers queries about the live ones from an index in memory.
//
// The log is the source of truth: append-only files with one record an event,
// synced before Append returns. Badger holds derived keys (the sequence number
// of an id, the newest version of an address, tombstones, cursors of other
// relays, the queue of events to forward). Derived keys are committed in batches
// together with the last sequence number that they cover; opening the store
// replays the rest.
//
// The package promises that an event whose Append returned nil survives a crash,
// and that a query sees what was appended before it began. It does not judge
// events: ids, signatures and policy are its caller's business.
package eventlog
