// Package livebook answers queries for live orders from memory.
//
// A Store holds the orders that have not expired, in columns without pointers, with a
// bitmap for each value and a sorted list for each sort order. The texts of an order are
// not in the Store: an answer is a list of orders.Mark, and the caller reads the records
// from the book. Descriptions are matched by the search index, which passes its hits in a
// Word.
//
// All methods of a Store may be called concurrently.
package livebook
