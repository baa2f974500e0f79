package diskspace

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestWatch moves the free space of a disk and checks the answers of a Watch.
func TestWatch(t *testing.T) {
	const reserve = 64 << 20
	free, err := int64(10*reserve), error(nil)
	dir := t.TempDir()
	w := New(Config{Data: dir, Store: dir, Reserve: reserve, Free: func(string) (int64, error) { return free, err }})
	want := func(when string, full, open, close bool) {
		t.Helper()
		w.Measure()
		if w.Full() != full {
			t.Errorf("%s: full is %v", when, w.Full())
		}
		if err := w.RoomToOpen(); (err == nil) != open || err != nil && !errors.Is(err, ErrFull) {
			t.Errorf("%s: room to open: %v", when, err)
		}
		if _, ok := w.RoomToClose(); ok != close {
			t.Errorf("%s: room to close: %v", when, ok)
		}
	}
	want("an empty disk", false, true, true)
	free = reserve - 1
	want("less than the reserve", true, true, true)
	free = reserve
	want("exactly the reserve", true, true, true) // an eighth more ends the state
	free = reserve + reserve/8
	want("more than the reserve", false, true, true)
	free = reserve/openingShare - 1
	want("a full disk", true, false, false)
	err = errors.New("statfs fails")
	want("an unknown disk", true, true, true)
}

// TestReserveFile checks that the reserve file exists while the disk has room, and that it
// is given up if other programs fill the disk.
func TestReserveFile(t *testing.T) {
	const reserve = 1 << 20
	free := int64(reserve - 1)
	dir := t.TempDir()
	w := New(Config{Data: dir, Store: dir, Reserve: reserve, Free: func(string) (int64, error) { return free, nil }})
	exists := func() bool { _, err := os.Stat(filepath.Join(dir, "reserve")); return err == nil }
	w.Measure()
	if w.keepRoom(); exists() {
		t.Error("the reserve file takes the last space of a full disk")
	}
	free = reserve
	w.Measure()
	if w.keepRoom(); !exists() {
		t.Error("the reserve file is missing")
	}
	if w.GiveUpRoom(); !exists() {
		t.Error("the reserve file was given up while the disk has room")
	}
	free = reserve/keptShare - 1
	if w.GiveUpRoom(); exists() {
		t.Error("the reserve file was not given up")
	}
}

// TestSpareFile checks that the second reserve file exists while the disk has room, is given up
// while the store is open, and comes back when the disk has room again. A file of a process before
// is used as well.
func TestSpareFile(t *testing.T) {
	const reserve = 1 << 20
	free := int64(10 * reserve)
	dir := t.TempDir()
	open := func() *Watch {
		return New(Config{Data: dir, Store: dir, Reserve: reserve, Free: func(string) (int64, error) { return free, nil }})
	}
	w := open()
	exists := func() bool { _, err := os.Stat(filepath.Join(dir, "reserve-open")); return err == nil }
	move := func(to int64) { free = to; w.Measure(); w.keepRoom() }
	if move(10 * reserve); !exists() {
		t.Fatal("no space is kept")
	}
	if move(reserve / 2); !exists() || !w.Urgent() {
		t.Error("half of the reserve is free, and the space is given up or urgent events are refused")
	}
	if move(reserve/2 - 1); !exists() || w.Urgent() {
		t.Error("less than half of the reserve is free, and the space is given up or urgent events are taken")
	}
	w = open() // the process ends here
	if move(reserve/spareBelow - 1); exists() {
		t.Error("the space is not given up")
	}
	if w.Spare() {
		t.Error("space is given up twice")
	}
	if move(reserve); exists() {
		t.Error("the space is taken while the disk counts as full")
	}
	if move(10 * reserve); !exists() {
		t.Error("the space does not come back")
	}
}

// TestUnwatchedDisk: with a negative reserve no disk is full.
func TestUnwatchedDisk(t *testing.T) {
	w := New(Config{Data: t.TempDir(), Store: t.TempDir(), Reserve: -1, Free: func(string) (int64, error) { return 0, nil }})
	w.Measure()
	_, ok := w.RoomToClose()
	if err := w.RoomToOpen(); w.Full() || err != nil || !ok {
		t.Errorf("full %v, room to open %v, room to close %v", w.Full(), err, ok)
	}
}
