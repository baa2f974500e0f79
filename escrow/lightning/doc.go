// Package lightning describes a Lightning node as the escrow uses one, and the invoices of
// BOLT 11.
//
// Package escrow/lnd implements Node for LND, and package escrow/lnsim implements Node for a
// simulated node. Package escrow/lncontract tests that both have the same meaning.
package lightning
