package eventlog

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// TestDeletedOrdersLeaveFacts checks that id, status and times of a deleted order stay
// available to ReadEvidence, from memory, from disk and after a crash. All other data
// of the order is erased, and other events leave no facts.
func TestDeletedOrdersLeaveFacts(t *testing.T) {
	const secret = "words that nobody is to read again"
	order := func(at int64, status string) *nostr.Event {
		return testkit.Unsigned(1, mostro.KindOrder, at, secret, nostr.Tag{"d", "x"}, nostr.Tag{"k", "sell"}, nostr.Tag{"f", "VES"}, nostr.Tag{"s", status}, nostr.Tag{"amt", "1000"},
			nostr.Tag{"y", "mostro"}, nostr.Tag{"z", "order"}, nostr.Tag{"source", secret})
	}
	for _, how := range []string{"running", "closed", "killed before it is erased"} {
		t.Run(how, func(t *testing.T) {
			clock, dir, ctx := testkit.NewClock(), t.TempDir(), context.Background()
			killed := false
			st := openToKill(t, dir, clock, &killed)
			events := []*nostr.Event{order(1, "pending"), order(2, "in-progress"), order(3, "canceled"), testkit.Unsigned(1, 1, 4, secret), testkit.Unsigned(2, 1, 5, "stays")}
			for _, evt := range events {
				mustAppend(t, st, evt)
			}
			request := testkit.Unsigned(1, 5, 6, "", nostr.Tag{"a", "38383:" + events[0].PubKey + ":x"}, nostr.Tag{"e", events[3].ID})
			if err := st.queue.writeKeys(ctx); err != nil {
				t.Fatal(err)
			}
			if killed = strings.HasPrefix(how, "killed"); killed {
				if _, _, err := st.Append(ctx, Arrival{Event: request, ReceivedAt: st.now()}); err == nil {
					t.Fatal("the store was not killed")
				}
				crash(t, st)
			} else {
				mustAppend(t, st, request)
			}
			if how == "closed" {
				if err := st.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if how != "running" {
				st = mustOpenStore(t, dir, clock)
			}
			for after := range uint64(4) {
				var got []uint64
				err := st.ReadEvidence(ctx, after, func(e mostro.Entry) error {
					got = append(got, e.Seq)
					if e.Erased != (e.Seq <= 3) {
						t.Errorf("entry %d: erased %v", e.Seq, e.Erased)
					}
					if !e.Erased {
						return nil
					}
					o, err := mostro.ParseOrder(e.Event)
					if want := events[e.Seq-1]; err != nil || e.Event.ID != want.ID || e.Event.PubKey != want.PubKey || e.Event.CreatedAt != want.CreatedAt || o.D != "x" || o.RawStatus != want.Tags.Find("s")[1] ||
						e.ReceivedAt.IsZero() || e.Event.Sig != "" || e.Event.Content != "" || e.Event.Tags.Find("source") != nil {
						t.Errorf("entry %d: %v, %v", e.Seq, e.Event, err)
					}
					return nil
				})
				if want := []uint64{1, 2, 3, 5, 6}[after:]; err != nil || after < 3 && !slices.Equal(got, want) {
					t.Errorf("after %d: %v, want %v, %v", after, got, want, err)
				}
			}
			read := 0
			if err := st.Read(ctx, 0, func(e mostro.Entry) error { read++; return nil }); err != nil || read != 2 {
				t.Errorf("Read returns %d entries, want 2: %v", read, err)
			}
			mustCheck(t, st)
			st.Close()
			err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				b, err := os.ReadFile(path)
				if bytes.Contains(b, []byte(secret)) {
					return errors.New(path + " holds deleted data")
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}
