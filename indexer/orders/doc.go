// Package orders is an order as the index knows it, and a query for orders.
//
// A Record is the newest Version of an order with sums over its versions. Pack and
// UnpackRecord are its encoding in the book. A Query is parsed from a URL or a NIP-50
// search. Filters is the table of its conditions, and Query.Matches is the definition of
// its result: the live book and the search index must return the same orders.
//
// The package has no store and no clock.
package orders
