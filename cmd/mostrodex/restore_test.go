package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/internal/backup"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// backupKey makes a key pair of age. It returns the recipient and the file of the identity.
func backupKey(t *testing.T) (recipient, identity string) {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	identity = filepath.Join(t.TempDir(), "identity.txt")
	if err := os.WriteFile(identity, []byte("# a comment\n"+key.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return key.Recipient().String(), identity
}

// TestRestoredRelay checks that a relay restored from a backup has the ranks, the times of
// receipt and the events of the relay at the time of the backup, and that the second backup in
// a directory writes only what is new.
func TestRestoredRelay(t *testing.T) {
	dir, to := t.TempDir(), filepath.Join(t.TempDir(), "backups")
	recipient, identity := backupKey(t)
	f := newFairIn(t, dir)
	alfa := f.nodes["alfa"].Pubkey()
	if _, _, err := f.last.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustProgram(t, "", "backup", "--data", dir, "--to", to, "--recipient", recipient)
	f.order("alfa", 31, mostro.StatusPending, 50_000, time.Now().Add(-80*24*time.Hour), time.Now().Add(-79*24*time.Hour), nil)
	if _, _, err := f.last.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, err := backup.Names(to)
	if err != nil || len(first) != 1 {
		t.Fatalf("the backups are %v, %v", first, err)
	}
	mustProgram(t, "", "backup", "--data", dir, "--to", to, "--recipient", recipient)
	f.stop()
	names, err := backup.Names(to)
	if err != nil || len(names) != 2 {
		t.Fatalf("the backups are %v, %v", names, err)
	}
	spans := func(name string) (list []backup.Part) {
		m, err := backup.ReadManifest(to, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range m.Parts {
			if strings.HasPrefix(p.Name, dirLog) {
				list = append(list, p)
			}
		}
		return list
	}
	if old, now := spans(names[0]), spans(names[1]); len(old) != 1 || len(now) != 2 || !slices.Contains(now, old[0]) {
		t.Errorf("the first backup has the spans %v, the second one %v", old, now)
	}
	want := shown(t, dir, alfa)
	if want["rank"] == nil || len(want) < 60 {
		t.Fatalf("the old relay shows %d things, rank %v", len(want), want["rank"])
	}
	evidence := mustProgram(t, "", "export", "--data", dir, "--evidence")
	offline := filepath.Join(t.TempDir(), "offline.tar")
	if err := os.WriteFile(offline, []byte(mustProgram(t, "", "backup", "--data", dir, "--to", "-", "--recipient", recipient)), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, from := range map[string]string{"of a running server": to, "of a stopped server": offline} {
		if out := mustProgram(t, "", "backup", "verify", from, "--identity", identity); !strings.HasSuffix(out, "sound\n") {
			t.Errorf("verify: %s", out)
		}
		restored := filepath.Join(t.TempDir(), "data")
		mustProgram(t, "", "restore", from, "--data", restored, "--identity", identity)
		if out := mustProgram(t, "", "log", "verify", "--data", restored); !strings.Contains(out, " 0 problems") {
			t.Errorf("%s: the restored log is %s", what, out)
		}
		if got := mustProgram(t, "", "export", "--data", restored, "--evidence"); got != evidence {
			t.Errorf("%s: the export of the restored relay differs: %d bytes, want %d", what, len(got), len(evidence))
		}
		got := shown(t, restored, alfa)
		for name := range want {
			if !reflect.DeepEqual(got[name], want[name]) {
				t.Errorf("%s: %s: %v, want %v", what, name, got[name], want[name])
			}
		}
		for _, key := range []string{"reputation", "relay"} {
			old, err1 := os.ReadFile(filepath.Join(dir, "keys", key))
			now, err2 := os.ReadFile(filepath.Join(restored, "keys", key))
			if !bytes.Equal(old, now) || (err1 == nil) != (err2 == nil) {
				t.Errorf("%s: the key %s differs", what, key)
			}
		}
	}
}

// dumpOf returns the content of the escrow's store of a stopped program.
func dumpOf(t *testing.T, dir string) (dump []byte, commits uint64) {
	t.Helper()
	db, err := escrow.OpenDB(filepath.Join(dir, "escrow"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Check(); err != nil {
		t.Error(err)
	}
	s, commits, err := (&commitFeed{DB: db}).snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var b bytes.Buffer
	if _, err := s.Dump(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), commits
}

// TestFollowedEscrow follows an escrow through trades, disputes and votes. The store that is
// restored from the backup and its commits is equal byte for byte.
func TestFollowedEscrow(t *testing.T) {
	dir, to := t.TempDir(), filepath.Join(t.TempDir(), "backups")
	recipient, identity := backupKey(t)
	m, stop := runDemo(t, dir, nil)
	defer stop()
	ctx, cancel := context.WithCancel(t.Context())
	var said, out syncBuffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"backup", "--data", dir, "--to", to, "--recipient", recipient, "--follow"}, strings.NewReader(""), &out, &said)
	}()
	eventually(t, "the backup follows", func() bool { return strings.Contains(said.String(), "; following") })
	var wait sync.WaitGroup
	for i := range 3 {
		wait.Go(func() {
			x := newDemoTrade(t, m, envelope.TransportV2)
			x.toTaken()
			x.toFiatSent()
			if i == 0 {
				x.buyer.send(message.ActionDispute, &x.id, nil)
				x.seller.expect(message.ActionDisputeInitiatedByPeer)
				return
			}
			x.finish()
		})
	}
	wait.Wait()
	if out := mustProgram(t, "", "pause", "--data", dir); out == "" {
		t.Error("pause prints nothing")
	}
	eventually(t, "every commit is in the backup", func() bool {
		head, err := m.escrow.db.Head()
		return err == nil && lastFollowed(t, to, identity) == head.Commits
	})
	stop()
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("backup --follow: exit %d: %s", code, said.String())
	}
	want, commits := dumpOf(t, dir)
	if last := lastFollowed(t, to, identity); last != commits {
		t.Fatalf("the escrow has %d commits, and %d are in the backup", commits, last)
	}
	restored := filepath.Join(t.TempDir(), "data")
	mustProgram(t, "", "restore", to, "--data", restored, "--identity", identity)
	if got, n := dumpOf(t, restored); !bytes.Equal(got, want) || n != commits {
		t.Errorf("the restored store has %d commits and %d bytes, want %d and %d", n, len(got), commits, len(want))
	}
	if out := mustProgram(t, "", "backup", "verify", to, "--identity", identity); !strings.Contains(out, "commits of the escrow follow it") {
		t.Errorf("verify: %s", out)
	}
}

// lastFollowed returns the number of the last commit of an escrow in a directory of backups.
func lastFollowed(t *testing.T, to, identity string) uint64 {
	t.Helper()
	names, err := backup.Names(to)
	if err != nil || len(names) == 0 {
		return 0
	}
	m, err := backup.ReadManifest(to, names[len(names)-1])
	if err != nil {
		t.Fatal(err)
	}
	with, err := (&restoreVerb{identity: identity}).identities()
	if err != nil {
		t.Fatal(err)
	}
	last, missing, err := backup.Following(to, names[len(names)-1], with, m.Escrow.Commits, func(backup.Commit) error { return nil })
	if err != nil || missing != 0 {
		t.Fatalf("commit %d is missing: %v", missing, err)
	}
	return last
}

// again connects a user to a program that was started again.
func (u *demoUser) again(m *Main) {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	u.t.Cleanup(cancel)
	u.m, u.relay = m, dialNostr(u.t, ctx, m)
	var err error
	if u.sub, err = u.relay.Subscribe(ctx, nostr.Filters{{Kinds: []int{mostro.KindMessage, mostro.KindGiftWrap}, Tags: nostr.TagMap{"p": {u.keys.Pubkey()}}}}); err != nil {
		u.t.Fatal(err)
	}
}

func (x *demoTrade) again(m *Main) {
	x.m = m
	x.seller.again(m)
	x.buyer.again(m)
}

// TestOldCopyWithOpenTrades restores an old copy of everything while ten trades are open, six
// of which moved on after the backup: two were paid out, one was refunded, one dispute was
// decided for each side, and one hold was accepted. The Lightning node has lost nothing. No
// buyer is paid twice, no settled hold is lost, and each trade that did not move goes on.
func TestOldCopyWithOpenTrades(t *testing.T) {
	dir, to := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "backups")
	recipient, identity := backupKey(t)
	m, stop := runDemo(t, dir, nil)
	verb, _ := verbsOn(t, dir)
	balance := func() (p purse) {
		getJSON(t, "http://"+m.PrivateAddr()+"/lnsim/balance", &p)
		return p
	}
	start := balance()
	trades := make([]*demoTrade, 10)
	for i := range trades {
		x := newDemoTrade(t, m, envelope.TransportV2)
		trades[i] = x
		x.toTaken()
		if i < 2 {
			request, ok := x.seller.expect(message.ActionPayInvoice).Payload.(message.PaymentRequest)
			if !ok {
				t.Fatal("pay-invoice carries no payment request")
			}
			x.holdInvoice = request.Invoice
			continue
		}
		x.toFiatSent()
		if i >= 8 {
			x.buyer.send(message.ActionDispute, &x.id, nil)
			x.seller.expect(message.ActionDisputeInitiatedByPeer)
		}
	}
	stored := func(x *demoTrade) trade.Trade {
		tr, err := m.escrow.engine.Trade(t.Context(), x.id)
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	preimages := map[int]trade.Preimage{}
	for i, x := range trades {
		preimages[i] = stored(x).Preimage
	}
	mustProgram(t, "", "backup", "--data", dir, "--to", to, "--recipient", recipient)

	// The trades move on.
	trades[2].finish()
	trades[3].finish()
	trades[4].buyer.send(message.ActionCancel, &trades[4].id, nil)
	trades[4].seller.expect(message.ActionCooperativeCancelInitiatedByPeer)
	trades[4].seller.send(message.ActionCancel, &trades[4].id, nil)
	trades[4].seller.expect(message.ActionCooperativeCancelAccepted)
	verb("dispute", "cancel", trades[8].id.String(), "--reason", "the buyer has not paid", "--yes")
	verb("dispute", "settle", trades[9].id.String(), "--reason", "the buyer has paid", "--yes")
	trades[9].shown("success")
	postJSON(t, trades[0].wallet()+"pay", map[string]any{"bolt11": trades[0].holdInvoice}, new(struct{ State string }))
	eventually(t, "the hold of the first trade is accepted", func() bool { return stored(trades[0]).Status == message.TradeActive })
	eventually(t, "three trades are paid and two refunded", func() bool {
		p := balance()
		return p.NodeSats == start.NodeSats+3*2*demoFeeSats && p.HeldSats == 4*(demoTradeSats+demoFeeSats)
	})
	stop()

	// The disk is lost. Only the Lightning node and the witness are elsewhere.
	keep := map[string][]byte{}
	for _, name := range []string{"lnsim.json", "escrow.witness"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		keep[name] = b
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	witness := filepath.Join(t.TempDir(), "witness")
	if err := os.WriteFile(witness, keep["escrow.witness"], 0o600); err != nil {
		t.Fatal(err)
	}
	_, said, code := runProgram(t, "", "restore", to, "--data", dir, "--identity", identity, "--witness", witness)
	if code != 0 || !strings.Contains(said, "OLDER than the escrow that ran here") {
		t.Fatalf("restore: exit %d: %s", code, said)
	}
	// Without the witness the restored store itself says that it is a copy.
	if err := os.WriteFile(filepath.Join(dir, "lnsim.json"), keep["lnsim.json"], 0o600); err != nil {
		t.Fatal(err)
	}
	var log syncBuffer
	m, stop = runDemo(t, dir, slog.New(slog.NewTextHandler(&log, nil)))
	defer stop()
	if exists(filepath.Join(dir, "escrow", copiedFile)) {
		t.Error("the mark of the restore is left")
	}
	for i, x := range trades {
		if tr := stored(x); tr.Preimage != preimages[i] {
			t.Errorf("trade %d has another preimage", i)
		}
	}
	eventually(t, "every open hash is looked up", func() bool {
		return strings.Contains(verb("trade", "list"), "DEADLINE") && !strings.Contains(verb("pause"), "older copy") && !reconciling(t, m)
	})
	if said := log.String(); !strings.Contains(said, "the escrow's store may be an older copy") || strings.Contains(said, "the store is an older copy") {
		t.Errorf("the store was not known as a copy at its start: %s", said)
	}
	verb("resume")
	frozen := map[int]bool{}
	for i, x := range trades {
		if stored(x).Frozen {
			frozen[i] = true
		}
	}
	t.Logf("trades that wait for the operator: %v", frozen)
	// The trades that did not move go on.
	for _, i := range []int{5, 6, 7} {
		if frozen[i] {
			t.Errorf("trade %d is frozen, although it did not move", i)
			continue
		}
		trades[i].again(m)
		trades[i].finish()
	}
	trades[0].again(m)
	trades[0].buyer.send(message.ActionFiatSent, &trades[0].id, nil)
	trades[0].seller.expect(message.ActionFiatSentOk)
	trades[0].finish()
	trades[1].again(m)
	trades[1].seller.send(message.ActionCancel, &trades[1].id, nil)
	trades[1].seller.expect(message.ActionCanceled)
	// The hold of each paid trade was settled and its buyer was paid: the operator closes it.
	// The refunded ones are over by themselves, or closed.
	for i, x := range trades {
		if tr := stored(x); tr.Over() {
			continue
		}
		outcome := "paid"
		if i == 4 || i == 8 {
			outcome = "refunded"
		}
		out, errs, code := runProgram(t, "", "trade", "close", x.id.String(), "--outcome", outcome, "--reason", "lookupinvoice and trackpayment", "--yes", "--data", dir)
		if code != 0 {
			t.Errorf("trade %d is %s, frozen %v: %s%s", i, stored(x).Status, stored(x).Frozen, out, errs)
		}
	}
	end := balance()
	if want := start.NodeSats + 7*2*demoFeeSats; end.NodeSats != want || end.HeldSats != 0 || end.WalletSats+end.NodeSats != start.WalletSats+start.NodeSats {
		t.Errorf("the balances are %+v, the node should have %d and hold nothing; they were %+v", end, want, start)
	}
}

func reconciling(t *testing.T, m *Main) bool {
	t.Helper()
	_, reconciling, err := m.escrow.engine.Paused(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return reconciling
}

// TestRestoreRefuses lists what a restore and a backup refuse, and that nothing is left then.
func TestRestoreRefuses(t *testing.T) {
	dir, to := t.TempDir(), filepath.Join(t.TempDir(), "backups")
	recipient, identity := backupKey(t)
	_, other := backupKey(t)
	m, stop := runDemo(t, dir, nil)
	eventually(t, "the log has an event", func() bool { return m.store.Head() > 0 })
	mustProgram(t, "", "backup", "--data", dir, "--to", to, "--recipient", recipient)
	stream := mustProgram(t, "", "backup", "--data", dir, "--to", "-", "--recipient", recipient)
	stop()
	names, err := backup.Names(to)
	if err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(tmp, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	altered := func(change func(dir string)) string {
		path := filepath.Join(tmp, fmt.Sprint("altered", time.Now().UnixNano()))
		if err := os.CopyFS(path, os.DirFS(to)); err != nil {
			t.Fatal(err)
		}
		change(path)
		return path
	}
	part := func(of func(p backup.Part) bool) string {
		m, err := backup.ReadManifest(to, names[0])
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Join("parts", m.Parts[slices.IndexFunc(m.Parts, of)].SHA256)
	}
	isSecret := func(p backup.Part) bool { return p.Name == backup.SecretName }
	isLog := func(p backup.Part) bool { return strings.HasPrefix(p.Name, dirLog) }
	edit := func(path string, fn func(b []byte) []byte) {
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, fn(b), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	for what, c := range map[string]struct {
		want string
		args []string
	}{
		"no identity":                    {"name --identity or --passphrase-file", []string{to}},
		"another identity":               {"cannot be opened with this identity", []string{to, "--identity", other}},
		"a passphrase":                   {"cannot be opened with this identity", []string{to, "--passphrase-file", file("pass", "secret\n")}},
		"an empty passphrase":            {"the passphrase is empty", []string{to, "--passphrase-file", file("none", "\n")}},
		"no identities":                  {"has no key of age", []string{to, "--identity", file("hex", "SECRET-TEXT")}},
		"no such backup":                 {"has no backup 2020", []string{to, "--identity", identity, "--at", "2020"}},
		"an empty directory":             {"has no complete backup", []string{t.TempDir()}},
		"no directory":                   {"no such file", []string{filepath.Join(tmp, "absent")}},
		"no archive":                     {"it is not a backup", []string{file("text", strings.Repeat("not an archive\n", 100)), "--identity", identity}},
		"an empty file":                  {"it has no end", []string{file("empty", ""), "--identity", identity}},
		"a cut stream":                   {"damaged or incomplete", []string{file("cut", stream[:len(stream)/2]), "--identity", identity}},
		"a stream cut by its last parts": {"damaged or incomplete", []string{file("cut2", stream[:len(stream)-4096]), "--identity", identity}},
		"an altered stream":              {"damaged or incomplete", []string{file("flip", string(flip([]byte(stream)))), "--identity", identity}},
		"an altered log":                 {"is not as it was written", []string{altered(func(d string) { edit(filepath.Join(d, part(isLog)), flip) }), "--identity", identity}},
		"a cut log":                      {"is not as it was written", []string{altered(func(d string) { edit(filepath.Join(d, part(isLog)), func(b []byte) []byte { return b[:len(b)-1] }) }), "--identity", identity}},
		"an altered secret":              {"is not as it was written", []string{altered(func(d string) { edit(filepath.Join(d, part(isSecret)), flip) }), "--identity", identity}},
		"a missing part":                 {"is missing", []string{altered(func(d string) { os.Remove(filepath.Join(d, part(isLog))) }), "--identity", identity}},
		"an altered manifest": {"manifest was changed", []string{altered(func(d string) {
			edit(filepath.Join(d, names[0]), func(b []byte) []byte { return bytes.Replace(b, []byte(`"head":`), []byte(`"head":1`), 1) })
		}), "--identity", identity}},
		"a later format": {"upgrade mostrodex", []string{altered(func(d string) {
			edit(filepath.Join(d, names[0]), func(b []byte) []byte { return bytes.Replace(b, []byte(`"format":1`), []byte(`"format":2`), 1) })
		}), "--identity", identity}},
	} {
		t.Run(what, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			_, errs, code := runProgram(t, "", append([]string{"restore"}, append(c.args, "--data", data)...)...)
			if code != exitError || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 || strings.Contains(errs, "SECRET-TEXT") {
				t.Errorf("exit %d: %s; want %q", code, errs, c.want)
			}
			if left, err := os.ReadDir(data); !os.IsNotExist(err) {
				t.Errorf("%d files are left: %v", len(left), err)
			}
			if strings.Contains(what, "identity") || strings.Contains(what, "passphrase") || what == "no identities" {
				return
			}
			if _, errs, code := runProgram(t, "", append([]string{"backup", "verify"}, c.args...)...); code != exitError || !strings.Contains(errs, c.want) {
				t.Errorf("verify: exit %d: %s; want %q", code, errs, c.want)
			}
		})
	}
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{exitError, "is not empty (it has ", []string{"restore", to, "--identity", identity, "--data", dir}},
		{exitUsage, "name one of --recipient", []string{"backup", "--data", dir, "--to", to}},
		{exitUsage, "name one of --recipient", []string{"backup", "--data", dir, "--to", to, "--public", "--recipient", recipient}},
		{exitUsage, "begin with age1", []string{"backup", "--data", dir, "--to", to, "--recipient", "npub1x"}},
		{exitUsage, "--follow takes a directory and a recipient", []string{"backup", "--data", dir, "--to", "-", "--recipient", recipient, "--follow"}},
		{exitError, "is no data directory", []string{"backup", "--data", tmp, "--to", to, "--recipient", recipient}},
		{exitError, "is no directory of backups", []string{"backup", "--data", dir, "--to", dir, "--recipient", recipient}},
		{exitUsage, "restore takes a backup", []string{"restore", "--data", dir}},
	} {
		if _, errs, code := runProgram(t, "", c.args...); code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%v: exit %d: %s; want %d with %q", c.args, code, errs, c.code, c.want)
		}
	}
	// Two at once.
	d, err := backup.OpenDir(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, errs, code := runProgram(t, "", "backup", "--data", dir, "--to", to, "--recipient", recipient); code != exitInUse || !strings.Contains(errs, "another backup writes to this directory") {
		t.Errorf("two backups at once: exit %d: %s", code, errs)
	}
	d.Close()
	data := filepath.Join(tmp, "two")
	r, err := openRestore(data)
	if err != nil {
		t.Fatal(err)
	}
	if _, errs, code := runProgram(t, "", "restore", to, "--identity", identity, "--data", data); code != exitInUse || !strings.Contains(errs, "another restore writes to this directory") {
		t.Errorf("two restores at once: exit %d: %s", code, errs)
	}
	r.mark.Close()
	// The interrupted restore: no verb opens the directory, and the next restore begins anew.
	if err := os.MkdirAll(filepath.Join(data, "events", "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := runProgram(t, "", "log", "verify", "--data", data); code != exitData || !strings.Contains(errs, "run 'mostrodex restore' again") {
		t.Errorf("log verify of an unfinished restore: exit %d: %s", code, errs)
	}
	mustProgram(t, "", "restore", to, "--identity", identity, "--data", data)
	mustProgram(t, "", "log", "verify", "--data", data)
	// A public backup needs no identity, and makes a relay without the keys.
	mustProgram(t, "", "backup", "--data", dir, "--to", filepath.Join(tmp, "public"), "--public")
	mustProgram(t, "", "restore", filepath.Join(tmp, "public"), "--data", filepath.Join(tmp, "relay"))
	if exists(filepath.Join(tmp, "relay", "escrow")) || exists(filepath.Join(tmp, "relay", "keys")) {
		t.Error("a public backup has an escrow or keys")
	}
	// A passphrase opens a backup.
	mustProgram(t, "", "backup", "--data", dir, "--to", filepath.Join(tmp, "pass-backup"), "--passphrase-file", file("pass", "correct horse\r\n"))
	mustProgram(t, "", "restore", filepath.Join(tmp, "pass-backup"), "--data", filepath.Join(tmp, "by-pass"), "--passphrase-file", file("pass", "correct horse"))
}

// TestRestoreKilled kills a restore at several points. The next one makes the whole directory.
func TestRestoreKilled(t *testing.T) {
	dir := t.TempDir()
	recipient, identity := backupKey(t)
	f := newFairIn(t, dir)
	if _, _, err := f.last.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.stop()
	stream := mustProgram(t, "", "backup", "--data", dir, "--to", "-", "--recipient", recipient)
	want := mustProgram(t, "", "export", "--data", dir, "--evidence")
	data := filepath.Join(t.TempDir(), "data")
	for _, share := range []int{0, 30, 70, 100} {
		cmd := exec.Command(os.Args[0], "restore", "-", "--data", data, "--identity", identity)
		cmd.Env = append(os.Environ(), childVar+"=1")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// The stream stays open, so the restore waits for the rest, and is killed there.
		if _, err := io.WriteString(in, stream[:len(stream)*share/101]); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the restore has begun", func() bool { return exists(filepath.Join(data, unfinishedFile)) })
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		if _, errs, code := runProgram(t, "", "export", "--data", data); code != exitData || !strings.Contains(errs, "run 'mostrodex restore' again") {
			t.Errorf("killed at %d%%: exit %d: %s", share, code, errs)
		}
	}
	mustProgram(t, stream, "restore", "-", "--data", data, "--identity", identity)
	if got := mustProgram(t, "", "export", "--data", data, "--evidence"); got != want {
		t.Errorf("the restored relay exports %d bytes, want %d", len(got), len(want))
	}
}

// TestBackupOnAFullDisk makes backups on a disk of 3 MiB until it is full. The earlier ones stay
// sound, and the next one is made when there is space again.
func TestBackupOnAFullDisk(t *testing.T) {
	if os.Getuid() != 0 || testing.Short() {
		t.Skip("mounting a file system takes root")
	}
	disk := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk).CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", disk).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	dir, to := t.TempDir(), filepath.Join(disk, "backups")
	f := newFairIn(t, dir)
	if _, _, err := f.last.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.stop()
	mustProgram(t, "", "backup", "--data", dir, "--to", to, "--public")
	first, err := backup.Names(to)
	if err != nil {
		t.Fatal(err)
	}
	fill := filepath.Join(disk, "fill")
	if err := os.WriteFile(fill, make([]byte, 3<<20), 0o600); err == nil {
		t.Fatal("the disk is larger than 3 MiB")
	}
	_, errs, code := runProgram(t, "", "backup", "--data", dir, "--to", to, "--public")
	if code != exitDisk || !strings.Contains(errs, "free some disk space") || strings.Count(errs, "\n") != 1 {
		t.Errorf("exit %d: %s", code, errs)
	}
	mustProgram(t, "", "backup", "verify", to)
	if now, err := backup.Names(to); err != nil || !slices.Equal(now, first) {
		t.Errorf("the backups are %v, %v", now, err)
	}
	if left, _ := filepath.Glob(filepath.Join(to, "parts", ".tmp-*")); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
	_, errs, code = runProgram(t, "", "restore", to, "--data", filepath.Join(disk, "data"))
	if code != exitDisk || !strings.Contains(errs, "nothing was restored") || exists(filepath.Join(disk, "data")) {
		t.Errorf("restore to a full disk: exit %d: %s", code, errs)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	mustProgram(t, "", "backup", "--data", dir, "--to", to, "--public", "--keep", "1")
	if now, err := backup.Names(to); err != nil || len(now) != 1 || now[0] == first[0] {
		t.Errorf("the backups are %v, %v", now, err)
	}
	mustProgram(t, "", "backup", "verify", to)
}

// TestCommitEncoding checks that a commit with every kind of row is the same after it was
// encoded. Rows that have unexported or ignored fields would be lost.
func TestCommitEncoding(t *testing.T) {
	c := &escrow.Commit{Claims: []escrow.Claim{{Hash: trade.Hash{1}, Trade: trade.OrderID{2}}, {Hash: trade.Hash{3}}}, Done: []uint64{1, 1 << 63}, Seen: []string{"a"},
		Throttles: []escrow.Throttle{{Subject: "x"}}, Head: escrow.Head{Commits: 7, Cursor: 1 << 60, Stamps: map[int]int64{38383: 5}}}
	body, err := encodeCommit(c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeCommit(backup.Commit{N: 7, Body: body})
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("%+v, %v; want %+v", got, err, c)
	}
	if _, err := decodeCommit(backup.Commit{N: 8, Body: body}); err == nil {
		t.Error("a commit with another number is accepted")
	}
	if !json.Valid(body) {
		t.Error("the encoding is not JSON")
	}
}
