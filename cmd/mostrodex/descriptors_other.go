//go:build !unix

package main

import "math"

// descriptorLimit returns the number of files and connections that this process may have
// open.
func descriptorLimit() int { return math.MaxInt32 }
