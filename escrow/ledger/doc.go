// Package ledger is the double-entry ledger of the escrow.
//
// The ledger is derived from the journals of the trades and is not stored. Post returns the
// transactions of one journal step. A Fold replays the journal of one trade and keeps the
// balances of that trade. A Ledger adds the folds of many trades. Compare compares a Ledger
// with the lists of invoices and payments that the Lightning node itself keeps.
//
// All amounts are in millisatoshi. The entries of a transaction sum to zero, so the sats of
// all accounts together are always zero. A transaction names the trade, the payment hash,
// the time, the trigger and the number of its journal step. Every line of the ledger can
// therefore be traced to one row of the journal.
//
// Laws, which Fold.Check and Ledger.Check verify:
//
//   - The entries of each transaction sum to zero (LawBalanced).
//   - No account of a trade is negative (LawSign).
//   - The accounts of a trade equal the amounts that follow from the trade's state alone,
//     without its journal (LawState).
//   - All accounts of a trade that is over are zero, except Suspense (LawOver).
//   - The node owns the fees, less routing and development fees, plus forfeits and
//     overpayments (LawOwned).
//
// docs/ledger.md lists the accounts and the postings of each trigger.
//
// The package does no I/O and reads no clock. The package does not correct a difference: an
// operator decides.
package ledger
