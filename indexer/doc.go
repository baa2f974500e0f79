// Package indexer is the index of the orders of all Mostros: the book of live orders, the
// history of every order with the times at which this relay received each version, the
// record of each instance, and full-text search.
//
// The index reads the log with a cursor and keeps no data that the log does not hold.
// Both of its stores, book/ and search/, may be deleted at any time: the index rebuilds a
// missing store from the log. If a store is damaged, the index deletes the store, logs
// the error and rebuilds the store.
//
// The index promises: an order is shown in its newest version (by created_at, then lowest
// id) until the second at which it expires; an event that its author deleted is in no
// answer; totals and facets of the live book are exact. The index does not promise that a
// pending order can still be taken: if an order was taken, no public event may say so (a
// Mostro announces some takes only when the trade ends).
//
// The bookFollower applies the log to the book, and the searchFollower applies the book
// to search. Both are the only writers of their stores. The Finder answers queries for
// orders, from package livebook, from search, or from the histories in the book. The
// Directory answers questions about authors. The moderator hides what the operator's rules
// hide. The Index opens these parts, runs them and closes them.
package indexer
