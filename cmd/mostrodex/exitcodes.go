package main

import (
	"errors"
	"syscall"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/internal/backup"
	"github.com/mostrodex/mostrodex/relay/eventlog"
)

// These are the exit codes of every verb. docs/running.md describes them for operators.
const (
	exitOK     = 0
	exitError  = 1 // the verb failed, or what was checked is unsound; a start may succeed later
	exitUsage  = 2 // the command line is wrong
	exitConfig = 3 // the configuration is wrong, or a file that it names
	exitData   = 4 // the stored data cannot be used: written by a newer version, or damaged
	exitInUse  = 5 // another process uses the data directory or the address
	exitDisk   = 6 // the disk is full or read-only
)

// configError is a mistake in the configuration or in a file that it names.
type configError struct{ err error }

func (e configError) Error() string { return e.err.Error() }
func (e configError) Unwrap() error { return e.err }

// exitCode returns the exit code for an error. The causes are ordered: if the disk is the cause,
// the error of a store that could not be opened is a consequence.
func exitCode(err error) int {
	is := func(causes ...error) bool {
		for _, cause := range causes {
			if errors.Is(err, cause) {
				return true
			}
		}
		return false
	}
	var usage usageError
	var config configError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		return exitUsage
	case is(eventlog.ErrFull, eventlog.ErrReadOnly, syscall.ENOSPC, syscall.EROFS, syscall.EDQUOT):
		return exitDisk
	case is(eventlog.ErrLocked, backup.ErrBusy, errRestoring, syscall.EADDRINUSE):
		return exitInUse
	case is(eventlog.ErrNewerSchema, eventlog.ErrDamaged, eventlog.ErrIndex, escrow.ErrNewerSchema, escrow.ErrStoreDamaged, errUnfinished):
		return exitData
	case errors.As(err, &config):
		return exitConfig
	}
	return exitError
}
