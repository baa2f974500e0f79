package indexer

import "strings"

// locked reports whether err says that another process holds the store open. The store is
// not damaged if so. Badger returns no typed error for this case, so the text is
// compared.
func locked(err error) bool {
	return err != nil && strings.Contains(err.Error(), "Cannot acquire directory lock")
}
