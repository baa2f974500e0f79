// Package backup reads and writes the archives of `mostrodex backup`. An archive is a sequence
// of named parts and a manifest with the length and the SHA-256 of each part. It has two forms:
//
//   - a directory: the parts are files named by their SHA-256, so that several backups share
//     the parts that did not change, and each backup has a manifest
//   - a stream: a tar file with the parts and, at its end, the manifest
//
// The part secret.age is a tar file of its own, encrypted with age: the store of the escrow,
// the alerts and the keys. The package does not know the content of a part.
//
// Every read is bounded, no archive is compressed, and no name of an archive becomes the path
// of a file without a check.
package backup
