// Package stats computes market statistics of Mostros and of the other platforms that
// publish orders of kind 38383. Events go in, figures come out.
//
// A Collector receives the entries of the log with Apply, in the order of their seqs. It
// keeps for each order all versions in a compact form, and one row of facts in columns:
// the times of the first version, of the first take, success and cancellation, and the
// amounts. Each query scans the columns once. The registry (Definitions) names every
// metric, its unit, its kind and its formula; docs/statistics.md shows the same table.
//
// The package promises:
//
//   - The same entries lead to the same figures, in any order of arrival, with two
//     exceptions: infos and rates (see Collector.Apply).
//   - A window is half-open, [from, until), in UTC. A percentile is the nearest rank,
//     without interpolation. A ratio without a denominator is null, never 0.
//   - Each figure states its kind (observed, witnessed or inferred) and how many of its
//     events this relay witnessed. Sources returns the seqs of the events behind a figure.
//   - Events of other applications on shared kinds never count.
//
// A deletion (NIP-09) ends an offer at the time of the deletion. The facts of a Mostro's
// deleted events still count, because the log keeps them: a node cannot improve its
// figures by deleting events. Deleted versions of other platforms' orders are forgotten,
// as in the log.
//
// The package opens no file and no connection and does not read the clock. The package
// checks no signature: the relay did before it logged an event. A figure repeats claims of
// the events' authors, and the clock Witnessed restricts a figure to the events that this
// relay received when they were published.
package stats
