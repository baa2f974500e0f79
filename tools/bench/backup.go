package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/mostrodex/mostrodex/tools/bench/record"
)

// backupEvents is the number of events of the backup scenario at scale 1.
const backupEvents = 1_000_000

// Clients that publish beside a backup. Each waits for the OK before it sends the next event.
const backupClients = 8

// backup measures a backup of a running server with clients that publish, a backup with no
// client, an incremental one, the restore until the server is ready, and how far `backup
// --follow` is behind the escrow.
func (b *bench) backup(ctx context.Context) error {
	work, err := os.MkdirTemp(b.work, "backup")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	file, err := loadFile(ctx, b.cache, 3, b.scaled(backupEvents), b.now)
	if err != nil {
		return err
	}
	data, to := filepath.Join(work, "data"), filepath.Join(work, "backups")
	if err := b.importFile(ctx, file, data, "backup load"); err != nil {
		return err
	}
	srv, err := b.serve(ctx, "mostrodex", data)
	if err != nil {
		return err
	}
	defer func() { srv.stop() }()
	if _, err := srv.awaitReady(ctx); err != nil {
		return err
	}
	pass := filepath.Join(work, "passphrase")
	if err := os.WriteFile(pass, []byte("benchmark"), 0o600); err != nil {
		return err
	}
	save := func(to string) *exec.Cmd {
		return exec.CommandContext(ctx, b.mostrodex, "backup", "--data", data, "--to", to, "--passphrase-file", pass)
	}
	// The latencies without a backup are measured for as long as a backup takes, and before it.
	pool := new(orderPool)
	if err := pool.fill(); err != nil {
		return err
	}
	alone, _, err := whilePublishing(ctx, srv, pool, save(filepath.Join(work, "first")))
	if err == nil {
		err = pool.fill()
	}
	if err != nil {
		return err
	}
	quiet, err := publishFor(ctx, srv, pool, time.Duration(alone*float64(time.Second)))
	if err == nil {
		err = pool.fill()
	}
	if err != nil {
		return err
	}
	m, err := newMeter(srv)
	if err != nil {
		return err
	}
	took, busy, err := whilePublishing(ctx, srv, pool, save(to))
	if err != nil {
		return err
	}
	u, err := m.read()
	if err != nil {
		return err
	}
	size, err := sizeOf(to)
	if err != nil {
		return err
	}
	u.Noise = 0 // the verb's own CPU time is not known here
	if err := b.Add(result{Scenario: "backup", Figure: "with clients", Subject: "mostrodex", Clients: backupClients, Values: map[string]float64{
		"seconds": took, "mb": size / 1e6, "mb_per_s": size / 1e6 / took, "s_of_1000_mb": took / (size / 1e9), "p99_ms": record.Percentile(busy, .99), "p99_ms_before": record.Percentile(quiet, .99),
		"p99_ratio": record.Percentile(busy, .99) / record.Percentile(quiet, .99), "p50_ms": record.Percentile(busy, .5), "published": float64(len(busy)),
	}}, u.record()); err != nil {
		return err
	}
	for figure, dir := range map[string]string{"without clients": filepath.Join(work, "third"), "incremental": to} {
		before, _ := sizeOf(dir) // 0 if it does not exist
		began := time.Now()
		if out, err := save(dir).CombinedOutput(); err != nil {
			return fmt.Errorf("backup: %w: %s", err, out)
		}
		seconds := time.Since(began).Seconds()
		after, err := sizeOf(dir)
		if err != nil {
			return err
		}
		if err := b.Add(result{Scenario: "backup", Figure: figure, Subject: "mostrodex", Values: map[string]float64{
			"seconds": seconds, "mb": (after - before) / 1e6, "mb_per_s": (after - before) / 1e6 / seconds}}, record.Usage{Wall: seconds}); err != nil {
			return err
		}
	}
	srv.stop()
	if err := b.restored(ctx, work, to, pass); err != nil {
		return err
	}
	return b.following(ctx, work)
}

// whilePublishing runs a command while clients publish, and returns how long it took.
func whilePublishing(ctx context.Context, srv *server, pool *orderPool, cmd *exec.Cmd) (seconds float64, took []time.Duration, err error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		seconds = time.Since(began).Seconds()
		ended <- err
	}()
	for {
		d, err := pool.publish(ctx, srv)
		took = append(took, d...)
		select {
		case failed := <-ended:
			if failed != nil {
				err = fmt.Errorf("%w: %s", failed, out.Bytes())
			}
			slices.Sort(took)
			return seconds, took, err
		default:
		}
		if err != nil {
			<-ended
			return seconds, took, err
		}
	}
}

func publishFor(ctx context.Context, srv *server, pool *orderPool, span time.Duration) (took []time.Duration, err error) {
	for end := time.Now().Add(span); time.Now().Before(end) || len(took) == 0; {
		d, err := pool.publish(ctx, srv)
		if err != nil {
			return took, err
		}
		took = append(took, d...)
	}
	slices.Sort(took)
	return took, nil
}

// orderPool holds orders that are signed before a measurement.
type orderPool struct {
	events []*nostr.Event
	raw    [][]byte
	next   int64 // seed of the next orders
}

// pooledOrders is the number of orders that are signed at once.
const pooledOrders = 40_000

// fill signs orders if few are left.
func (p *orderPool) fill() error {
	if len(p.events) >= pooledOrders/2 {
		return nil
	}
	p.next++
	events, raw, _, err := freshOrders(100+p.next, pooledOrders, 1<<30)
	p.events, p.raw = append(p.events, events...), append(p.raw, raw...)
	return err
}

// publish publishes some orders.
func (p *orderPool) publish(ctx context.Context, srv *server) ([]time.Duration, error) {
	n := min(400, len(p.events))
	if n == 0 {
		return nil, errors.New("all signed orders are published: the backup takes too long")
	}
	d, err := publish(ctx, srv.addr, p.events[:n], p.raw[:n], backupClients, 1)
	if err == nil && d.acked != n {
		err = fmt.Errorf("%d of %d events were accepted: %v", d.acked, n, d.reasons)
	}
	p.events, p.raw = p.events[n:], p.raw[n:]
	return d.latencies, err
}

// restored measures the restore of a backup, and the first start until the server is ready.
func (b *bench) restored(ctx context.Context, work, from, pass string) error {
	data := filepath.Join(work, "restored")
	began := time.Now()
	if out, err := exec.CommandContext(ctx, b.mostrodex, "restore", from, "--data", data, "--passphrase-file", pass).CombinedOutput(); err != nil {
		return fmt.Errorf("restore: %w: %s", err, out)
	}
	written := time.Since(began).Seconds()
	srv, err := b.serve(ctx, "mostrodex", data)
	if err != nil {
		return err
	}
	defer srv.stop()
	serving := time.Since(began).Seconds()
	if _, err := srv.awaitReady(ctx); err != nil {
		return err
	}
	ready := time.Since(began).Seconds()
	return b.Add(result{Scenario: "backup", Figure: "restore", Subject: "mostrodex", Values: map[string]float64{"restored_s": written, "serving_s": serving, "ready_s": ready}}, record.Usage{Wall: ready})
}

// followedCommits is the number of commits whose way into a backup is measured.
const followedCommits = 30

// following measures the time from a commit of a demo's escrow until it is durable in a
// directory of `backup --follow`. Each pause and each resume is a commit.
func (b *bench) following(ctx context.Context, work string) error {
	data, to := filepath.Join(work, "demo"), filepath.Join(work, "followed")
	srv, err := start(ctx, time.Minute, "demo", nil, b.mostrodex, "demo", "--data", data, "--days", "0", "--listen", "127.0.0.1:0", "--private", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer srv.stop()
	verb := exec.CommandContext(ctx, b.mostrodex, "backup", "--data", data, "--to", to, "--follow", "--recipient", "age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z")
	var said bytes.Buffer
	verb.Stderr = &said
	verb.Cancel = func() error { return verb.Process.Signal(os.Interrupt) }
	if err := verb.Start(); err != nil {
		return err
	}
	defer func() { verb.Process.Signal(os.Interrupt); verb.Wait() }()
	files := func() int {
		list, _ := filepath.Glob(filepath.Join(to, "*.follow", "*.age"))
		return len(list)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if list, _ := filepath.Glob(filepath.Join(to, "*.backup")); len(list) > 0 {
			break
		}
		if time.Now().After(end) {
			return errors.New("backup --follow has made no backup within a minute")
		}
	}
	var behind []time.Duration
	for i := range followedCommits {
		before := files()
		if out, err := exec.CommandContext(ctx, b.mostrodex, []string{"pause", "resume"}[i%2], "--data", data).CombinedOutput(); err != nil {
			return fmt.Errorf("pause: %w: %s", err, out)
		}
		began := time.Now()
		for files() == before {
			if time.Since(began) > time.Minute {
				return fmt.Errorf("commit %d is not in the backup after a minute: %s", i, strings.TrimSpace(said.String()))
			}
			time.Sleep(time.Millisecond)
		}
		behind = append(behind, time.Since(began))
	}
	slices.Sort(behind)
	return b.Add(result{Scenario: "backup", Figure: "follow", Subject: "mostrodex", Values: map[string]float64{
		"commits": followedCommits, "p50_s": record.Percentile(behind, .5) / 1000, "max_s": behind[len(behind)-1].Seconds()}}, record.Usage{})
}
