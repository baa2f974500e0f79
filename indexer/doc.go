// Package indexer is the index of all Mostros' orders: the book of live
// orders, the history of every order with the times at which this relay
// received each version, the record of each instance, and search in words.
//
// It reads the log with a cursor and keeps nothing that the log does not
// give back: both of its stores, book/ and search/, may be deleted at any
// time and grow again. A store that is found broken is deleted by the index
// itself, which says so in the log of the program.
//
// What it promises: an order is shown as its newest version says (by
// created_at, then lowest id), to the second of its expiration; what its
// author deleted is in no answer; totals and facets of the live book are
// exact. What it does not: a pending order may have been taken already, and
// nothing public says so (a Mostro announces some takes only at their end).
package indexer
