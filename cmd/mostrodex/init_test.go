package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro/envelope"
)

// readConfig reads a configuration that init has written, as serve does.
func readConfig(t *testing.T, file string) Config {
	t.Helper()
	cfg, err := loadConfig(file, nil)
	if err != nil {
		text, _ := os.ReadFile(file)
		t.Fatalf("%v in\n%s", err, text)
	}
	return cfg
}

// TestInitServes writes a configuration for each kind of installation in each language without a
// question, and starts serve with it.
func TestInitServes(t *testing.T) {
	for _, lang := range languages {
		for _, runs := range append([]string{runsNode, runsMostro}, roles...) {
			t.Run(lang+" "+runs, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				file := filepath.Join(dir, "etc", "mostrodex.toml")
				cert, macaroon := filepath.Join(dir, "tls.cert"), filepath.Join(dir, "macaroon")
				writeCert(t, cert)
				if err := os.WriteFile(macaroon, []byte("none"), 0o600); err != nil {
					t.Fatal(err)
				}
				out := mustProgram(t, "", "init", "--yes", "--lang", lang, "-c", file, "--runs", runs, "--listen", "127.0.0.1:0", "--private", "127.0.0.1:0",
					"--url", "wss://relay.example.com", "--publish", "ws://127.0.0.1:1", "--name", `Ñandú "uno"`,
					"--lnd-address", "127.0.0.1:1", "--lnd-cert", cert, "--lnd-macaroon", macaroon)
				if !strings.Contains(out, "mostrodex doctor -c "+file) {
					t.Errorf("init prints no next step: %s", out)
				}
				cfg := readConfig(t, file)
				escrow := runs == runsMostro || runs == roleEscrow
				if cfg.Escrow.Enabled != escrow || escrow && cfg.Escrow.Name != `Ñandú "uno"` || !escrow && cfg.Relay.Name != `Ñandú "uno"` {
					t.Errorf("the configuration is %+v", cfg)
				}
				if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("the mode of the configuration is %v, %v", info.Mode(), err)
				}
				for _, f := range advice(&cfg) {
					if f.State != isFine && f.Check != "operator" { // init does not ask whom to tell
						t.Errorf("a warning about a configuration of init: %+v", f)
					}
				}
				if escrow {
					key := filepath.Join(dir, "etc", "node.key")
					if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
						t.Errorf("the key: %v, %v", info, err)
					}
					cfg.Escrow.Witness = filepath.Join(dir, "witness")
					cfg.Escrow.Prices = nil
				}
				if err := cfg.chooseUpstreams([]string{"none"}); err != nil {
					t.Fatal(err)
				}
				m := &Main{Config: cfg}
				stop := startMainUntil(t, m)
				if code, _, _ := getBody(t, "http://"+m.Addr()+"/healthz"); code != 200 {
					t.Errorf("/healthz answers %d", code)
				}
				stop()
			})
		}
	}
}

// TestInitAsks answers the questions by hand, with one wrong answer for most of them.
func TestInitAsks(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.toml")
	old, err := envelope.NewKeys(nil)
	if err != nil {
		t.Fatal(err)
	}
	answers := strings.Join([]string{
		"klingon", "es", // language
		dir, file, // a file that exists, and a new one
		"todo", "mostro",
		"", // data: the default
		"https://x", "wss://mostro.example.com",
		"quizás", "sí",
		"x", "", // listen
		"ninguno", // private
		"relay", "wss://relay.mostro.network, wss://nos.lol",
		"Mi Mostro",
		filepath.Join(dir, "none"), keyFile(t, dir, "old", old),
		"", "~/lnd/tls.cert", "macaroon",
	}, "\n") + "\n"
	out, errs, code := runProgram(t, answers, "init")
	if code != exitOK {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	cfg := readConfig(t, file)
	home, _ := os.UserHomeDir()
	here, _ := os.Getwd()
	if cfg.Relay.URL != "wss://mostro.example.com" || cfg.Relay.Private != "" || !slices.Equal(cfg.Escrow.Publish.Relays, []string{"wss://relay.mostro.network", "wss://nos.lol"}) ||
		cfg.Escrow.Name != "Mi Mostro" || cfg.Escrow.LND.Cert != filepath.Join(home, "lnd/tls.cert") || cfg.Escrow.LND.Macaroon != filepath.Join(here, "macaroon") ||
		!slices.Equal(cfg.Relay.TrustedProxies, []string{"127.0.0.1", "::1"}) || cfg.Data != filepath.Join(dir, "data") {
		t.Errorf("the configuration is %+v", cfg)
	}
	keys, err := loadKeys(cfg.Escrow.Key)
	if err != nil || keys.Pubkey() != old.Pubkey() {
		t.Errorf("the imported key is another one: %v", err)
	}
	if !strings.Contains(out, keys.Npub()) || !strings.Contains(out, "bakemacaroon --save_to "+filepath.Join(here, "macaroon")) || strings.Contains(out, hexOf(keys)) {
		t.Errorf("init prints %s", out)
	}
	if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), "Quien la tiene es este Mostro") {
		t.Errorf("the comments are not Spanish: %s", text)
	}
	// Another init on the same file changes nothing.
	before, _ := os.ReadFile(file)
	if _, errs, code := runProgram(t, "", "init", "--yes", "-c", file); code == exitOK || !strings.Contains(errs, "changes no file") {
		t.Errorf("init on a configuration that exists: %d %s", code, errs)
	}
	if after, _ := os.ReadFile(file); string(after) != string(before) {
		t.Error("init has changed a configuration that existed")
	}
}

// TestInitWritesNothing ends the questions before the last answer, and answers wrongly without
// an end.
func TestInitWritesNothing(t *testing.T) {
	for name, c := range map[string]struct{ answers, want string }{
		"answers end": {"es\n", "no se escribió nada"},
		"no answer":   {"", "nothing was written"},
		"wrong":       {strings.Repeat("klingon\n", 20), "five answers were wrong"},
	} {
		dir := t.TempDir()
		t.Setenv("LC_ALL", "C")
		if _, errs, code := runProgram(t, c.answers, "init", "-c", filepath.Join(dir, "x", "a.toml")); code != exitError || !strings.Contains(errs, c.want) {
			t.Errorf("%s: %d %s", name, code, errs)
		}
		if names := files(t, dir); len(names) != 0 {
			t.Errorf("%s: init has written %v", name, names)
		}
	}
	// Ctrl-C at a question ends init, although nothing can be read.
	ctx, cancel := context.WithCancel(t.Context())
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	var out, errs syncBuffer
	done := make(chan int, 1)
	go func() { done <- run(ctx, []string{"init", "-c", filepath.Join(t.TempDir(), "a")}, r, &out, &errs) }()
	eventually(t, "the first question", func() bool { return strings.Contains(out.String(), ">") })
	cancel()
	if code := <-done; code != exitError || !strings.Contains(errs.String(), "nothing was written") {
		t.Errorf("%d %s", code, errs.String())
	}
}

// TestInitHostileAnswers passes values that would break out of a string or a comment of TOML.
func TestInitHostileAnswers(t *testing.T) {
	for i, name := range []string{"\"\nrole = \"relay", "a\x7fb", "\\", "'''", "\"\"\"", "\u2028[escrow]", "x # y", "\x00", "{{.Key}}", "\xff"} {
		file := filepath.Join(t.TempDir(), "a.toml")
		mustProgram(t, "", "init", "--yes", "-c", file, "--name", name, "--data", "/tmp/da\"ta", "--publish", "none")
		cfg := readConfig(t, file)
		if cfg.Relay.Name != strings.ToValidUTF8(name, "�") || cfg.Role != "" || cfg.Data != "/tmp/da\"ta" {
			t.Errorf("%d: the name is %q, the role %q, data %q", i, cfg.Relay.Name, cfg.Role, cfg.Data)
		}
	}
}

// TestInitNeverOverwritesAKey: an existing key is used, unless another one is to be imported.
func TestInitNeverOverwritesAKey(t *testing.T) {
	dir := t.TempDir()
	first, file := filepath.Join(dir, "node.key"), filepath.Join(dir, "a.toml")
	mustProgram(t, "", "keys", "new", "--key", first)
	mustProgram(t, "", "keys", "new", "--key", filepath.Join(dir, "other"))
	before, _ := os.ReadFile(first)
	if _, errs, code := runProgram(t, "", "init", "--yes", "-c", file, "--key", filepath.Join(dir, "other")); code == exitOK || !strings.Contains(errs, "exists") {
		t.Errorf("another key replaces one that exists: %d %s", code, errs)
	}
	mustProgram(t, "", "init", "--yes", "-c", file, "--runs", "mostro")
	if after, _ := os.ReadFile(first); string(after) != string(before) {
		t.Error("the key has changed")
	}
}

// wholeOrAbsent checks that the files of init are whole or absent, and that no other file exists.
func wholeOrAbsent(t *testing.T, dir string) (complete bool) {
	t.Helper()
	for _, name := range files(t, dir) {
		switch path := filepath.Join(dir, name); filepath.Base(name) {
		case "node.key":
			if _, err := loadKeys(path); err != nil {
				t.Errorf("after a kill: %v", err)
			}
		case "a.toml":
			readConfig(t, path)
			complete = true
		default:
			t.Errorf("a kill has left %s", name)
		}
	}
	return complete
}

// TestInitEndsBetweenSteps ends init at each step of writing, as a crash would. The next init
// uses the key that was written.
func TestInitEndsBetweenSteps(t *testing.T) {
	for _, step := range []string{"directory", "key"} {
		dir := t.TempDir()
		crash := errors.New("crash")
		w := wizard{yes: true, given: func(string) bool { return false }, out: new(syncBuffer), step: func(name string) error {
			if name == step {
				return crash
			}
			return nil
		}}
		w.config, w.runs, w.listen, w.lnd.Address = filepath.Join(dir, "a.toml"), runsMostro, "127.0.0.1:0", "127.0.0.1:1"
		if err := w.run(); !errors.Is(err, crash) {
			t.Fatalf("%s: %v", step, err)
		}
		if wholeOrAbsent(t, dir) {
			t.Errorf("%s: the configuration exists", step)
		}
		key, _ := os.ReadFile(w.keyFile())
		mustProgram(t, "", "init", "--yes", "-c", w.config, "--runs", runsMostro)
		if after, err := os.ReadFile(w.keyFile()); err != nil || step == "key" && string(after) != string(key) {
			t.Errorf("%s: the next init has made another key: %v", step, err)
		}
	}
}

// TestInitKilled kills init at random moments.
func TestInitKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: starts processes")
	}
	took := time.Duration(0)
	complete := 0
	for i := range 12 {
		dir := t.TempDir()
		child := exec.Command(os.Args[0], "init", "--yes", "-c", filepath.Join(dir, "a.toml"), "--runs", "mostro")
		child.Env = append(os.Environ(), childVar+"=1")
		began := time.Now()
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		if i > 0 { // the first one is measured; the others are killed near its end
			time.AfterFunc(took/2+rand.N(took), func() { child.Process.Kill() })
		}
		err := child.Wait()
		if i == 0 {
			if took = time.Since(began); err != nil {
				t.Fatal(err)
			}
		}
		if wholeOrAbsent(t, dir) {
			complete++
		} else {
			mustProgram(t, "", "init", "--yes", "-c", filepath.Join(dir, "a.toml"), "--runs", "mostro")
		}
	}
	t.Logf("%d of 12 inits ended before the kill", complete)
}
