//go:build !unix

package main

import (
	"context"
	"errors"
	"net"
	"os"
)

// successor is not supported on this system: a restart closes the listeners.
type successor struct{ path string }

func thisProgram() (successor, error) { return successor{}, nil }

func (successor) check(context.Context) error { return errors.ErrUnsupported }

func notifyRestart(chan<- os.Signal) {}

type kept struct{}

func (*kept) keep(string, net.Listener) error { return nil }
func (kept) close()                           {}

func (successor) become(kept) error { return errors.ErrUnsupported }
