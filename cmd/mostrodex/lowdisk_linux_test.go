package main

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mostrodex/mostrodex/internal/diskspace"
	"github.com/mostrodex/mostrodex/mostro/envelope"
)

var filledDisk = flag.Bool("filled.disk", false, "run TestFilledDisk")

// TestFilledDisk has another program fill the last byte of a real file system in the middle of a
// trade. The trade goes on to its payout with the space that is kept for it, and the program
// closes and opens its stores afterwards.
func TestFilledDisk(t *testing.T) {
	if !*filledDisk {
		t.Skip("SKIPPED: with -filled.disk. BUG: a derived store that writes before the space is given up ends the program")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=600m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: no file system can be mounted: %v: %s", err, out)
	}
	defer exec.Command("umount", "-l", dir).Run()
	open := func() (*Main, func()) {
		cfg := defaultConfig()
		cfg.Data, cfg.Relay.Listen, cfg.Relay.Private = filepath.Join(dir, "data"), "127.0.0.1:0", "127.0.0.1:0"
		cfg.Relay.DiskReserveMiB = 32
		cfg.Export.Partitions = false
		m, err := demoMain(cfg, 1, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		return m, startMainUntil(t, m)
	}
	m, stop := open()
	x := newDemoTrade(t, m, envelope.TransportV2)
	x.toTaken()
	spare := filepath.Join(dir, "data", "events", "reserve-open")
	eventually(t, "space is kept for trades", func() bool { _, err := os.Stat(spare); return err == nil })

	// The parties can write while half of the reserve is free, so the trade reaches the release
	// before the last byte is taken. What follows is written by the program alone.
	leave := func(bytes int64) {
		t.Helper()
		free, err := diskspace.Free(dir)
		if err != nil || free <= bytes {
			return
		}
		f, err := os.OpenFile(filepath.Join(dir, "other"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Fallocate(int(f.Fd()), 0, info.Size(), free-bytes); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	leave(24 << 20)
	eventually(t, "the disk is found full", m.store.Full)
	x.toFiatSent()
	leave(0)
	eventually(t, "the space for trades is given up", func() bool { _, err := os.Stat(spare); return os.IsNotExist(err) })
	if m.store.Err() != nil {
		t.Fatal(m.store.Err())
	}
	// The operator acts for the seller, whose message the relay refuses now.
	err := dialNostr(t, t.Context(), m).Publish(t.Context(), *sealedAs(t, m, x.seller.keys, "release", &x.id, nil))
	if err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("below half of the reserve a party writes: %v", err)
	}
	if err := os.Truncate(filepath.Join(dir, "other"), 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the disk has room again", func() bool { return !m.store.Full() })
	x.finish()
	honestTrade(t, m)
	stop()
	m, stop = open()
	honestTrade(t, m)
	stop()
}
