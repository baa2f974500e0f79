package indexer

import "strings"

// locked says whether a store could not be opened because another process
// has it: nothing is wrong with it then. Badger says so only in words.
func locked(err error) bool {
	return err != nil && strings.Contains(err.Error(), "Cannot acquire directory lock")
}
