// Package partitions writes the exports of package indexer/export: streams of any window, and
// one file of Parquet and one of CSV for each data set and each closed month.
//
// A month is closed ten minutes after its end. Its files are written once. They are written
// again only if an event left them (its author deleted it, or the operator hid it), if the
// operator shows an event again, or if a backup was restored that holds events of the month.
// The new file has another hash. A file with an event that the operator hid is not served until
// it is written again.
//
// A file is complete on disk before the manifest names it, and the manifest is replaced as a
// whole. A crash leaves the files before or the new files; Open deletes files that the manifest
// does not name. All files may be deleted at any time, and are written again from the log.
package partitions
