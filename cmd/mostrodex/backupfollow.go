package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"filippo.io/age"
	"github.com/mostrodex/mostrodex/internal/backup"
)

// Intervals of a backup that follows an escrow.
const (
	followWrite = 500 * time.Millisecond // commits are collected for so long
	followQuiet = 20 * time.Second       // without a word for so long, the connection is dead
	followAgain = time.Second            // until a server that does not run is asked again
	followLater = 10 * time.Second       // until another attempt after an error
	followKeep  = 24                     // backups that are kept if --keep is not set
)

// keepFollowing makes a backup and follows it, and begins anew every v.every and when the
// connection ends or the disk is full. It returns when ctx ends.
func (v *backupVerb) keepFollowing(ctx context.Context, cfg *Config, dir *backup.Dir, to []age.Recipient) error {
	keep := v.keep
	if keep == 0 {
		keep = followKeep
	}
	said := ""
	for ctx.Err() == nil {
		err := v.followOnce(ctx, cfg, dir, to, keep)
		if ctx.Err() != nil {
			return nil // the operator has ended the verb
		}
		again := followAgain
		switch {
		case errors.Is(err, errNothingToFollow):
			return err
		case err != nil && err.Error() != said:
			fmt.Fprintf(v.stderr, "%s: %v: trying again\n", time.Now().UTC().Format(time.RFC3339), err)
			said = err.Error()
		case err == nil:
			said = ""
			continue // it is time for another backup
		}
		if !errors.Is(err, errNoServer) {
			again = followLater // another attempt is a whole backup
		}
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
	return nil
}

// followOnce makes a backup and follows it for v.every. Then it makes the next backup, and
// follows the old one until the next one is complete, so that no commit waits meanwhile.
func (v *backupVerb) followOnce(ctx context.Context, cfg *Config, dir *backup.Dir, to []age.Recipient, keep int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	ended := make(chan error, 2)
	start := func() *following {
		ctx, cancel := context.WithCancel(ctx)
		f := &following{dir: dir, to: to, begun: make(chan struct{}), cancel: cancel}
		running.Go(func() {
			held, err := v.heldParts(dir)
			if err == nil {
				req := backupRequest{Log: namesOf(held), Follow: true}
				f.alive = time.AfterFunc(24*time.Hour, cancel)
				defer f.alive.Stop()
				_, err = v.once(ctx, cfg, req, dir, held, to, f)
			}
			select {
			case <-f.begun:
			default:
				err = errors.Join(err, dir.Abandon())
			}
			err = errors.Join(err, f.stop())
			if !f.replaced() {
				ended <- err
			}
		})
		return f
	}
	f := start()
	for {
		select {
		case <-f.begun:
		case err := <-ended:
			return err
		}
		fmt.Fprintf(v.stderr, "%s; following\n", describe(f.manifest))
		if err := dir.Prune(keep); err != nil {
			return err
		}
		select {
		case <-time.After(v.every):
		case err := <-ended:
			return err
		}
		next := start()
		select {
		case <-next.begun:
		case err := <-ended:
			return err
		}
		f.replace()
		f = next
	}
}

// following writes the commits that follow a backup.
type following struct {
	dir      *backup.Dir
	to       []age.Recipient
	cancel   context.CancelFunc
	alive    *time.Timer
	begun    chan struct{} // closed when the backup is complete
	manifest *backup.Manifest

	mu      sync.Mutex // guards the fields below
	commits []backup.Commit
	timer   *time.Timer // writes the commits; nil: no commit waits
	err     error       // of a write
	over    bool        // another backup has taken the place of this one
}

// begin is called when the backup is complete.
func (f *following) begin(m *backup.Manifest) {
	f.manifest = m
	f.alive.Reset(followQuiet)
	close(f.begun)
}

// part takes a part that follows the backup.
func (f *following) part(name string, part io.Reader) error {
	f.alive.Reset(followQuiet)
	if name == partBeat {
		var last uint64
		return json.NewDecoder(io.LimitReader(part, 100)).Decode(&last)
	}
	n, ok := backup.ParseCommitName(name)
	if !ok {
		return fmt.Errorf("%w: %s after its end", backup.ErrArchive, name)
	}
	body, err := io.ReadAll(io.LimitReader(part, backup.MaxCommit+1))
	if err == nil && len(body) > backup.MaxCommit {
		err = fmt.Errorf("%w: commit %d is too long", backup.ErrArchive, n)
	}
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.commits = append(f.commits, backup.Commit{N: n, Body: body})
	if f.timer == nil {
		f.timer = time.AfterFunc(followWrite, func() {
			if f.flush() != nil {
				f.cancel()
			}
		})
	}
	return f.err
}

// flush writes the commits that wait.
func (f *following) flush() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.timer = nil
	if f.err == nil && len(f.commits) > 0 {
		f.err = f.dir.Append(backup.NameOf(f.manifest), f.to, f.commits)
		f.commits = nil
	}
	return f.err
}

// stop writes the commits that wait, after the last part.
func (f *following) stop() error {
	f.mu.Lock()
	if f.timer != nil {
		f.timer.Stop()
	}
	f.mu.Unlock()
	return f.flush()
}

func (f *following) replace() {
	f.mu.Lock()
	f.over = true
	f.mu.Unlock()
	f.cancel()
}

func (f *following) replaced() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.over
}
