package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/rating"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/internal/backup"
	"github.com/mostrodex/mostrodex/internal/badgerfiles"
)

// commitFeed is the store of the escrow. It hands each commit to the backups that follow the
// store. A backup never delays a commit: if a backup is too slow, it is ended.
type commitFeed struct {
	*escrow.DB
	mu        sync.Mutex // held during a commit; guards followers
	followers map[*follower]struct{}
}

// maxUnread is the number of bytes of commits that may wait for a follower.
const maxUnread = 64 << 20

// Commit writes a commit and hands it to the followers.
func (f *commitFeed) Commit(c *escrow.Commit) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.DB.Commit(c); err != nil || len(f.followers) == 0 {
		return err
	}
	body, err := encodeCommit(c)
	for r := range f.followers {
		r.take(backup.Commit{N: c.Head.Commits, Body: body}, err)
	}
	return nil
}

// snapshot returns the content of the store and the number of its commits.
func (f *commitFeed) snapshot() (s *badgerfiles.Snapshot, commits uint64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	head, err := f.DB.Head()
	if err != nil {
		return nil, 0, err
	}
	return f.DB.Snapshot(), head.Commits, nil
}

// follow returns the content of the store, and a follower that receives every later commit.
// The caller closes both.
func (f *commitFeed) follow() (s *badgerfiles.Snapshot, r *follower, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	head, err := f.DB.Head()
	if err != nil {
		return nil, nil, err
	}
	r = &follower{feed: f, last: head.Commits, more: make(chan struct{}, 1)}
	if f.followers == nil {
		f.followers = make(map[*follower]struct{})
	}
	f.followers[r] = struct{}{}
	return f.DB.Snapshot(), r, nil
}

// follower holds the commits that a backup has not read yet.
type follower struct {
	feed *commitFeed
	last uint64        // number of the last commit that was read
	more chan struct{} // has a value if commits wait

	mu      sync.Mutex // guards the fields below
	commits []backup.Commit
	bytes   int
	err     error // no further commit is taken
}

var errSlowBackup = errors.New("the backup is too slow for the commits of the escrow: it has to begin anew")

func (r *follower) take(c backup.Commit, err error) {
	r.mu.Lock()
	switch {
	case r.err != nil:
	case err != nil:
		r.err = err
	case r.bytes+len(c.Body) > maxUnread:
		r.commits, r.bytes, r.err = nil, 0, errSlowBackup
	default:
		r.commits, r.bytes = append(r.commits, c), r.bytes+len(c.Body)
	}
	r.mu.Unlock()
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// next waits for commits or for the end of ctx, whose error it returns.
func (r *follower) next(ctx context.Context) ([]backup.Commit, error) {
	select {
	case <-r.more:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.commits
	r.commits, r.bytes = nil, 0
	return list, r.err
}

func (r *follower) close() {
	r.feed.mu.Lock()
	delete(r.feed.followers, r)
	r.feed.mu.Unlock()
}

// storedCommit is a commit as it is encoded. The rows of ratings have values of several types.
type storedCommit struct {
	escrow.Commit
	Ratings []storedRating
}

type storedRating struct {
	Key   []byte
	Value json.RawMessage // "null" removes the row
}

func encodeCommit(c *escrow.Commit) ([]byte, error) {
	s := storedCommit{Commit: *c}
	s.Commit.Ratings = nil
	for _, r := range c.Ratings {
		value := json.RawMessage("null")
		if r.Value != nil {
			var err error
			if value, err = trade.Encode(r.Value); err != nil {
				return nil, err
			}
		}
		s.Ratings = append(s.Ratings, storedRating{r.Key, value})
	}
	return trade.Encode(s)
}

func decodeCommit(c backup.Commit) (*escrow.Commit, error) {
	var s storedCommit
	if err := json.Unmarshal(c.Body, &s); err != nil {
		return nil, fmt.Errorf("commit %d: %w: %w", c.N, backup.ErrArchive, err)
	}
	if s.Head.Commits != c.N {
		return nil, fmt.Errorf("commit %d: %w: it is commit %d", c.N, backup.ErrArchive, s.Head.Commits)
	}
	for _, r := range s.Ratings {
		row := rating.Row{Key: r.Key}
		if string(r.Value) != "null" {
			row.Value = r.Value
		}
		s.Commit.Ratings = append(s.Commit.Ratings, row)
	}
	return &s.Commit, nil
}
