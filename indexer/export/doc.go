// Package export defines the rows of the exported data sets, turns the contents of the log and
// of the book into rows, and writes rows as NDJSON and CSV. The same definitions make the data
// dictionary, the Frictionless data package and the Croissant metadata.
//
// Every row states when and on which road this relay received its event, and whether this
// relay was witnessing events when the event was signed (Receipt).
//
// Rows are dated by the time of receipt, which never lies in the past. Therefore the rows of a
// closed month never change, unless an author deletes an event, or the operator hides an event
// or restores a backup.
//
// The package opens no file and does not read the clock. indexer/partitions writes Parquet.
package export
