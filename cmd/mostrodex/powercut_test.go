//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/internal/powercut"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
)

var (
	powerCuts = flag.Int("powercuts", 12, "points at which TestPowerCuts cuts the power")
	powerSeed = flag.Uint64("powercuts.seed", 18, "seed of the points and of the data that was not synced")
)

// If powerVar is set, the test binary writes to the stores of the directory that it names.
const powerVar = "TEST_MOSTRODEX_POWER"

func init() {
	if dir := os.Getenv(powerVar); dir != "" {
		writeUnderPower(dir) // never returns
	}
}

// openPowered opens the stores of a data directory: the log, the index and the escrow.
func openPowered(dir string) (s *stores, db *escrow.DB, err error) {
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.DiskReserveMiB = dir, -1
	s = new(stores)
	with := ambient{logger: slog.New(slog.DiscardHandler), registry: prometheus.NewRegistry(), now: time.Now}
	if err := s.open(&cfg, with, false, nil); err != nil {
		return nil, nil, errors.Join(err, s.close())
	}
	if db, err = escrow.OpenDB(filepath.Join(dir, "escrow")); err != nil {
		return nil, nil, errors.Join(err, s.close())
	}
	return s, db, nil
}

func closePowered(s *stores, db *escrow.DB) error { return errors.Join(db.Close(), s.close()) }

// powerEvent returns event n of writeUnderPower. The store does not verify signatures.
func powerEvent(n int) *nostr.Event {
	evt := &nostr.Event{Kind: 38383, CreatedAt: nostr.Timestamp(1_790_000_000 + n), PubKey: strings.Repeat("0123456789abcdef", 4), Content: strings.Repeat("x", n%700),
		Tags: nostr.Tags{{"d", fmt.Sprint(n % 400)}, {"s", "pending"}, {"f", "VES"}, {"k", "sell"}, {"y", "mostro"}, {"z", "order"}}}
	if n%3 == 0 {
		evt.Kind, evt.Tags = 1, nostr.Tags{{"t", "x"}}
	}
	if n%40 == 39 { // a deletion of an event whose payload is then erased
		evt.Kind, evt.Content, evt.Tags = nostr.KindDeletion, "", nostr.Tags{{"e", powerEvent(n - 39 - n%3).ID}}
	}
	evt.ID, evt.Sig = evt.GetID(), strings.Repeat("0", 128)
	return evt
}

// powerDeleted is the number of the event that event n deletes, or -1.
func powerDeleted(n int) int {
	if n%40 != 39 {
		return -1
	}
	return n - 39 - n%3
}

// powerHash is the payment hash that commit n of the escrow reserves.
func powerHash(n uint64) (h trade.Hash) {
	copy(h[:], fmt.Sprintf("hash %d", n))
	return h
}

// writeUnderPower appends events and commits turns, and prints each of them when it is
// acknowledged. It closes and opens the stores now and then, and ends when it is killed.
func writeUnderPower(dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println("FAILED", err)
			os.Exit(1)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	event, commit := 0, uint64(0)
	for {
		s, db, err := openPowered(dir)
		fail(err)
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan error, 1)
		go func() { ran <- s.index.Run(ctx) }()
		fmt.Println("open")
		for range 60 {
			group := make([]eventlog.Pending, 1+random.IntN(12))
			for i := range group {
				group[i], err = s.store.Enqueue(ctx, eventlog.Arrival{Event: powerEvent(event + i), ReceivedAt: time.Now(), Source: mostro.Source{Origin: mostro.OriginClient}})
				fail(err)
			}
			for _, p := range group {
				_, _, err := p.Wait(ctx)
				fail(err)
				fmt.Println("event", event)
				event++
			}
			for range random.IntN(3) {
				commit++
				fail(db.Commit(&escrow.Commit{Claims: []escrow.Claim{{Hash: powerHash(commit), Trade: trade.OrderID{1, byte(commit)}}}, Seen: []string{strings.Repeat("s", random.IntN(4000))}, Head: escrow.Head{Commits: commit}}))
				fmt.Println("commit", commit)
			}
		}
		cancel()
		<-ran
		fail(closePowered(s, db))
		fmt.Println("closed")
	}
}

// TestPowerCuts records every write and sync of the log, the index and the escrow's store, and
// cuts the power at many points, with data dropped or torn that was not synced. No acknowledged
// event and no committed turn is lost, and every store opens. The log proves itself at each
// tenth point.
func TestPowerCuts(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: mounts a file system")
	}
	mount := t.TempDir()
	disk, err := powercut.Mount(mount)
	if err != nil {
		t.Skipf("NOT TESTED: power cuts: a file system by FUSE takes root and /dev/fuse: %v", err)
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), powerVar+"="+filepath.Join(mount, "data"))
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	// An event or a commit is acknowledged at some operation before at.
	type ack struct{ at, event, commit int }
	var acks []ack
	last := ack{event: -1, commit: 0}
	rounds := 0
	for lines := bufio.NewScanner(out); rounds < 3 && lines.Scan(); {
		word, number, _ := strings.Cut(lines.Text(), " ")
		n, _ := strconv.Atoi(number)
		switch word {
		case "event":
			last.event = n
		case "commit":
			last.commit = n
		case "closed":
			rounds++
		case "open":
		default:
			t.Fatalf("the writer: %s", lines.Text())
		}
		last.at = disk.Len()
		acks = append(acks, last)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed
	if err := disk.Unmount(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d operations, %d events, %d commits", disk.Len(), last.event+1, last.commit)
	if rounds < 3 || last.event < 100 || last.commit < 20 {
		t.Fatal("the writer ended early")
	}
	random := rand.New(rand.NewPCG(*powerSeed, 1))
	points := map[int]int{}
	for range *powerCuts {
		points[random.IntN(disk.Len()+1)]++
	}
	base := t.TempDir()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		if base, err = os.MkdirTemp("/dev/shm", "powercut"); err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(base)
	}
	replay, cuts := disk.NewReplay(), 0
	for at := range disk.Len() + 1 {
		if points[at] == 0 {
			continue
		}
		replay.To(at)
		want := ack{event: -1}
		for _, a := range acks {
			if a.at <= at {
				want = a
			}
		}
		for range points[at] {
			cuts++
			dir := filepath.Join(base, fmt.Sprint(cuts))
			seed := random.Uint64()
			err := os.Mkdir(dir, 0o700)
			if err == nil {
				err = replay.Cut(dir, rand.New(rand.NewPCG(seed, 2)))
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := checkPowered(filepath.Join(dir, "data"), want.event, want.commit, cuts%10 == 0); err != nil {
				t.Errorf("cut %d at operation %d of %d, seed %d: %v", cuts, at, disk.Len(), seed, err)
			}
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if t.Failed() && cuts > 20 {
				t.FailNow()
			}
		}
	}
	t.Logf("%d cuts", cuts)
}

// checkPowered opens what a power cut has left, and checks that all events up to one and all
// commits up to one are there.
func checkPowered(dir string, event, commit int, prove bool) (err error) {
	s, db, err := openPowered(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closePowered(s, db)) }()
	ctx := context.Background()
	deleted := map[int]bool{}
	for n := range event + 100 { // a deletion may be in the log that was not acknowledged
		deleted[powerDeleted(n)] = true
	}
	for n := range event + 1 {
		evt := powerEvent(n)
		has, err := s.store.Has(ctx, evt.ID)
		if err != nil {
			return err
		}
		if !has {
			return fmt.Errorf("event %d of %d is lost", n, event)
		}
		if deleted[n] || evt.Kind != 1 {
			continue
		}
		if found, err := s.store.Event(ctx, evt.ID); err != nil || found == nil || found.Content != evt.Content {
			return fmt.Errorf("event %d of %d is not readable: %v", n, event, err)
		}
	}
	head, err := db.Head()
	if err != nil {
		return err
	}
	if head.Commits < uint64(commit) {
		return fmt.Errorf("commit %d of %d is lost", head.Commits+1, commit)
	}
	for n := uint64(1); n <= head.Commits; n++ {
		if _, err := db.Claim(powerHash(n)); err != nil {
			return fmt.Errorf("commit %d of %d is not whole: %w", n, head.Commits, err)
		}
	}
	if err := s.index.CatchUp(ctx); err != nil {
		return fmt.Errorf("the index: %w", err)
	}
	if prove {
		r, err := s.store.Check(ctx, false, nil)
		if err == nil && r.Total > 0 {
			err = fmt.Errorf("the log has problems: %v", r.Problems)
		}
		return err
	}
	return nil
}
