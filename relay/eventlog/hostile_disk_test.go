package eventlog

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// smallDisk mounts a file system of some MiB.
func smallDisk(t *testing.T, kind string, mib int) string {
	t.Helper()
	if os.Getuid() != 0 || testing.Short() {
		t.Skip("mounting a file system requires root")
	}
	dir, where := t.TempDir(), ""
	args := []string{"-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", mib), "tmpfs", dir}
	if kind == "ext4" {
		where = filepath.Join(t.TempDir(), "disk")
		f, err := os.Create(where)
		if err == nil {
			err = errors.Join(f.Truncate(int64(mib)<<20), f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("mkfs.ext4", "-q", "-m", "0", where).CombinedOutput(); err != nil {
			t.Skipf("mkfs.ext4: %v %s", err, out)
		}
		args = []string{"-o", "loop", where, dir}
	}
	if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
		t.Skipf("mount: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	return dir
}

// fillStore appends until the store refuses events, then checks the acknowledged
// events. It runs in its own process, because a write to a memory map without disk
// space ends the process.
func fillStore(t *testing.T, dir string, others bool) {
	data := filepath.Join(dir, "data")
	open := func() *Store {
		st, err := Open(Config{Dir: data, DiskReserve: 64 << 20, BodyCache: -1})
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	st := open()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(data, "events", "reserve")); err == nil {
			break
		}
	}
	var acknowledged []*nostr.Event
	refused := 0
	for i := 0; refused < 50 && i < 200_000; i++ {
		evt := testkit.Unsigned(byte(i%100), 38383, int64(1_000_000+i), strings.Repeat("x", 64<<10), nostr.Tag{"d", fmt.Sprint(i)})
		_, _, err := st.Append(context.Background(), Arrival{Event: evt, ReceivedAt: time.Now()})
		switch {
		case err == nil:
			acknowledged = append(acknowledged, evt)
		case errors.Is(err, ErrFull):
			refused++
		default:
			t.Fatalf("event %d: %v", i, err)
		}
	}
	if refused == 0 {
		t.Fatal("the disk was never full")
	}
	filler := filepath.Join(dir, "others")
	if others { // another program fills the disk
		f, err := os.Create(filler)
		if err != nil {
			t.Fatal(err)
		}
		for block := make([]byte, 1<<20); err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		f.Close()
	}
	for i, evt := range acknowledged {
		if found, err := st.Find(context.Background(), evt.ID); err != nil || len(found.JSON) < 64<<10 {
			t.Fatalf("event %d of %d while the disk is full: %v", i, len(acknowledged), err)
		}
	}
	// Own events continue while the files have room.
	for i := range 20 {
		evt := testkit.Unsigned(200, 38383, int64(i+1), "own", nostr.Tag{"d", fmt.Sprint(i)})
		if _, _, err := st.Append(context.Background(), Arrival{Event: evt, ReceivedAt: time.Now(), Source: mostro.Source{Origin: mostro.OriginSelf}}); err == nil {
			acknowledged = append(acknowledged, evt)
		} else {
			t.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if others {
		// Close has removed the reserve file. Other programs fill that room too.
		f, err := os.OpenFile(filler, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		for block := make([]byte, 1<<20); err == nil; {
			_, err = f.Write(block)
		}
		f.Close()
		if st, err := Open(Config{Dir: data, DiskReserve: 64 << 20}); !errors.Is(err, ErrFull) {
			t.Errorf("Open: %v, want ErrFull", err)
			st.Close()
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
	st = open()
	defer st.Close()
	for i, evt := range acknowledged {
		if _, err := st.Find(context.Background(), evt.ID); err != nil {
			t.Fatalf("event %d of %d is lost: %v", i, len(acknowledged), err)
		}
	}
	mustCheck(t, st)
	t.Logf("%d events acknowledged", len(acknowledged))
}

// TestFillDisk is run by TestFullDisk in its own process.
func TestFillDisk(t *testing.T) {
	dir := os.Getenv("MOSTRODEX_INTEROP_FILL")
	if dir == "" {
		t.Skip("run by TestFullDisk")
	}
	fillStore(t, dir, os.Getenv("MOSTRODEX_INTEROP_FILL_OTHERS") != "")
}

var allDisks = flag.Bool("disks", false, "fill every kind of disk in every way")

func TestFullDisk(t *testing.T) {
	for _, kind := range []string{"tmpfs", "ext4"} {
		for _, others := range []bool{false, true} {
			if !*allDisks && (kind != "tmpfs" || !others) {
				continue
			}
			t.Run(fmt.Sprint(kind, " others=", others), func(t *testing.T) {
				dir := smallDisk(t, kind, 280)
				cmd := exec.Command(os.Args[0], "-test.run", "^TestFillDisk$", "-test.v")
				cmd.Env = append(os.Environ(), "MOSTRODEX_INTEROP_FILL="+dir)
				if others {
					cmd.Env = append(cmd.Env, "MOSTRODEX_INTEROP_FILL_OTHERS=1")
				}
				out, err := cmd.CombinedOutput()
				if err != nil || !strings.Contains(string(out), "events acknowledged") {
					t.Fatalf("%v\n%.4000s", err, out)
				}
				t.Logf("%s", out)
			})
		}
	}
}
