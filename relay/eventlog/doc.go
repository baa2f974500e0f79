// Package eventlog stores every accepted event in one numbered log on disk and answers
// queries about live events from an index in memory.
//
// The log is the source of truth: append-only files with one record per event, synced
// before Append returns. Badger holds derived keys (the sequence number of an id, the
// newest version of an address, tombstones, cursors of other relays, the queue of
// events to forward). Derived keys are committed in batches together with applied, the
// last sequence number that they cover. Open replays the rest of the log.
//
// The package promises two things. If Append returned nil, the event survives a crash.
// A query sees every event that was appended before the query began. The package does
// not judge events: ids, signatures and policy are the business of the caller.
//
// The records are in package recordlog, the index in package liveindex. This package ties
// both together: the committer, which decides about each event (commit.go, group.go,
// delete.go), the derived keys (derivedkeys.go) and the readers (read.go, queries.go).
//
// FORMAT.md describes the files byte by byte.
package eventlog
