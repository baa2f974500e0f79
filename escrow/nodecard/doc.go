// Package nodecard keeps the last description that a Lightning node gave of itself, and decides
// whether the node can be used: it answers, it is the wallet that holds the trades' invoices,
// it is synced with the chain, and it does not refuse calls.
//
// The package does not decide when the node is asked, and it knows no trades.
package nodecard
