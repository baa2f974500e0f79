package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/spf13/cobra"
)

// runKeysOrMessage executes one of this file's verbs as main would.
func runKeysOrMessage(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	root := &cobra.Command{Use: "mostrodex", SilenceErrors: true}
	root.AddCommand(newKeysCmd(), newMessageCmd())
	var out bytes.Buffer
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := root.Execute()
	return out.String(), err
}

func mustRunKeysOrMessage(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := runKeysOrMessage(t, stdin, args...)
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

type shownKeys struct{ Pubkey, Npub string }

func showKeys(t *testing.T, args ...string) shownKeys {
	t.Helper()
	var k shownKeys
	if err := json.Unmarshal([]byte(mustRunKeysOrMessage(t, "", append(append([]string{"keys"}, args...), "--json")...)), &k); err != nil {
		t.Fatal(err)
	}
	if len(k.Pubkey) != 64 || !strings.HasPrefix(k.Npub, "npub1") {
		t.Fatalf("shown %+v", k)
	}
	return k
}

func TestKeysVerbs(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }

	made := showKeys(t, "new", "--key", at("a"))
	if again := showKeys(t, "show", "--key", at("a")); again != made {
		t.Errorf("shown %+v, made %+v", again, made)
	}
	if info, err := os.Stat(at("a")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := runKeysOrMessage(t, "", "keys", "new", "--key", at("a")); !errors.Is(err, os.ErrExist) {
		t.Errorf("the error of overwriting a key is %v", err)
	}

	words := "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about\n"
	if err := os.WriteFile(at("seed"), []byte(words), 0o600); err != nil {
		t.Fatal(err)
	}
	const identity = "faa27ea81c85e00798598b46d1f36c1700221a1242b563861fa536dc2314f1df"
	const trade2 = "8717dc2de0ae9de4bc3aca6460ce6ae4ad6b6f8d6e5683305cda7bfdf9cdaf5a"
	if k := showKeys(t, "show", "--key", at("seed")); k.Pubkey != identity {
		t.Errorf("identity %s", k.Pubkey)
	}
	if k := showKeys(t, "derive", "--words", at("seed")); k.Pubkey != identity {
		t.Errorf("index 0: %s", k.Pubkey)
	}
	if k := showKeys(t, "derive", "--key", at("seed"), "--index", "2"); k.Pubkey != trade2 {
		t.Errorf("the key of index 2 of a key file with words is %s", k.Pubkey)
	}
	if k := showKeys(t, "derive", "--words", at("seed"), "--index", "2", "--key", at("trade2")); k.Pubkey != trade2 {
		t.Errorf("index 2: %s", k.Pubkey)
	}
	if k := showKeys(t, "show", "--key", at("trade2")); k.Pubkey != trade2 {
		t.Errorf("written: %s", k.Pubkey)
	}
	if out := mustRunKeysOrMessage(t, words, "keys", "derive", "--index", "2", "--key", at("trade2b")); !strings.Contains(out, trade2) {
		t.Errorf("the output for standard input is %s", out)
	}
	if a, err := os.ReadFile(at("trade2")); err != nil {
		t.Error(err)
	} else if b, err := os.ReadFile(at("trade2b")); err != nil || !bytes.Equal(a, b) {
		t.Errorf("two files of one key differ, %v", err)
	}
	if _, err := runKeysOrMessage(t, "", "keys", "derive", "--words", at("seed"), "--key", at("trade2")); !errors.Is(err, os.ErrExist) {
		t.Errorf("the error of overwriting a derived key is %v", err)
	}
	made24 := showKeys(t, "new", "--words", at("seed2"))
	if b, err := os.ReadFile(at("seed2")); err != nil || len(strings.Fields(string(b))) != 24 {
		t.Errorf("seed phrase of %d words, %v", len(strings.Fields(string(b))), err)
	}
	if k := showKeys(t, "derive", "--words", at("seed2")); k != made24 {
		t.Errorf("a new phrase shows %+v and derives %+v", made24, k)
	}

	if err := os.WriteFile(at("nsec"), []byte("nsec1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqpsdz0whx"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"show", "--key", at("none")}, {"show", "--key", at("nsec")}, {"show"}, {"new"}, {"new", "--key", at("x"), "--words", at("y")}, {"derive", "--key", at("a")}, {"derive", "--words", at("seed"), "--index", "2147483648"}, {"derive"}} {
		if out, err := runKeysOrMessage(t, "", append([]string{"keys"}, args...)...); err == nil {
			t.Errorf("%v: no error: %s", args, out)
		}
	}
	out := mustRunKeysOrMessage(t, "", "keys", "show", "--key", at("a"))
	if secret, err := os.ReadFile(at("a")); err != nil || strings.Contains(out, strings.TrimSpace(string(secret))) || !strings.Contains(out, made.Npub) {
		t.Errorf("shown %s", out)
	}
}

func TestMessageVerbs(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	node := showKeys(t, "new", "--key", at("node"))
	trade := showKeys(t, "new", "--key", at("trade"))
	identity := showKeys(t, "new", "--key", at("identity"))

	const draft = `{"order":{"request_id":1,"trade_index":1,"id":"308e1272-d5f4-47e6-bd97-3504baea9c23","action":"take-sell","payload":{"payment_request":[null,"a<b>&c@ln.example",null]}}}`
	for _, c := range []struct {
		transport, to, identity string
		version                 string
	}{{"v2", node.Npub, identity.Pubkey, "2"}, {"v1", node.Pubkey, identity.Pubkey, "1"}, {"v2", node.Pubkey, "", "2"}, {"v1", node.Pubkey, "", "1"}, {"legacy", node.Pubkey, "", "1"}} {
		args := []string{"message", "seal", "--transport", c.transport, "--to", c.to, "--trade-key", at("trade"), "--pow", "3", "--expire", "1h"}
		want := trade.Pubkey
		if c.identity != "" {
			args, want = append(args, "--identity-key", at("identity")), c.identity
		}
		evt := mustRunKeysOrMessage(t, draft, args...)
		var got struct {
			Transport, Sender, Identity string
			CreatedAt                   int64 `json:"created_at"`
			Message                     json.RawMessage
		}
		opened := mustRunKeysOrMessage(t, evt, "message", "open", "--key", at("node"), "--json")
		if err := json.Unmarshal([]byte(opened), &got); err != nil {
			t.Fatal(err)
		}
		message := strings.Replace(draft, `"request_id":1,"trade_index":1`, `"version":`+c.version+`,"request_id":1,"trade_index":1`, 1)
		if c.transport == "legacy" { // the legacy form contains neither number
			message = strings.Replace(message, `"request_id":1,"trade_index":1`, `"request_id":null,"trade_index":null`, 1)
		}
		if got.Transport != c.transport || got.Sender != trade.Pubkey || got.Identity != want || got.CreatedAt < 1700000000 || string(got.Message) != message {
			t.Errorf("%s: opened %s\nwant %s", c.transport, opened, message)
		}
		if out := mustRunKeysOrMessage(t, evt, "message", "open", "--key", at("node")); !strings.Contains(out, "sender      "+trade.Pubkey) {
			t.Errorf("%s", out)
		}
		if _, err := runKeysOrMessage(t, evt, "message", "open", "--key", at("trade")); err == nil {
			t.Errorf("%s: opened with another key", c.transport)
		}
	}

	for name, c := range map[string]struct {
		stdin string
		args  []string
		rule  message.Rule
	}{
		"unknown transport": {draft, []string{"seal", "--transport", "v3", "--to", node.Pubkey, "--trade-key", at("trade")}, message.RuleKind},
		"to no key":         {draft, []string{"seal", "--to", "x", "--trade-key", at("trade")}, message.RuleKey},
		"no message":        {"", []string{"seal", "--to", node.Pubkey, "--trade-key", at("trade")}, message.RuleJSON},
		"unknown action":    {strings.Replace(draft, "take-sell", "x", 1), []string{"seal", "--to", node.Pubkey, "--trade-key", at("trade")}, message.RuleAction},
		"no event":          {"{}", []string{"open", "--key", at("node")}, message.RuleMissing},
	} {
		if out, err := runKeysOrMessage(t, c.stdin, append([]string{"message"}, c.args...)...); !errors.Is(err, c.rule) {
			t.Errorf("%s: %v, %s", name, err, out)
		}
	}
}

func TestMessageCheck(t *testing.T) {
	const good = `{"order":{"version":2,"request_id":1,"trade_index":null,"id":"308e1272-d5f4-47e6-bd97-3504baea9c23","action":"cancel","payload":null}}`
	if out := mustRunKeysOrMessage(t, good+"\n", "message", "check"); out != "ok  cancel, canonical\n" {
		t.Errorf("%q", out)
	}
	for name, c := range map[string]struct {
		in     string
		args   []string
		rule   string
		offset int // -1 if there is no difference
	}{
		"spaces":       {strings.Replace(good, `,"payload"`, `, "payload"`, 1), nil, "canonical", strings.Index(good, `,"payload"`) + 1},
		"field order":  {strings.Replace(good, `"request_id":1,"trade_index":null`, `"trade_index":null,"request_id":1`, 1), nil, "canonical", len(`{"order":{"version":2,"`)},
		"upper case":   {strings.Replace(good, "d5f4", "D5F4", 1), nil, "canonical", strings.Index(good, "d5f4")},
		"no payload":   {strings.Replace(good, `,"payload":null`, "", 1), nil, "canonical", strings.Index(good, `,"payload"`)},
		"two newlines": {good + "\n\n", nil, "canonical", len(good)},
		"no id":        {strings.Replace(good, `"id":"308e1272-d5f4-47e6-bd97-3504baea9c23",`, "", 1), nil, "structure", -1},
		"unknown word": {strings.Replace(good, "cancel", "cancle", 1), nil, "action", -1},
		"no JSON":      {"hello", nil, "json", -1},
	} {
		out, err := runKeysOrMessage(t, c.in, append([]string{"message", "check", "--json"}, c.args...)...)
		if !errors.Is(err, errMessageCheck) {
			t.Errorf("%s: %v", name, err)
		}
		var v messageVerdict
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Fatalf("%s: %s, %v", name, out, err)
		}
		if v.OK || v.Rule != c.rule || v.Detail == "" || (v.Diff == nil) != (c.offset < 0) || (v.Diff != nil && v.Diff.Offset != c.offset) {
			t.Errorf("%s: %s, want rule %s at %d", name, out, c.rule, c.offset)
		}
		if out, err := runKeysOrMessage(t, c.in, "message", "check"); err == nil || !strings.Contains(out, c.rule) {
			t.Errorf("%s: %s, %v", name, out, err)
		}
	}
	// A message of the node is not accepted as a request.
	answer := `{"restore":{"version":2,"request_id":null,"trade_index":null,"action":"restore-session","payload":{"restore_data":{"orders":[],"disputes":[]}}}}`
	if _, err := runKeysOrMessage(t, answer, "message", "check"); err == nil {
		t.Error("an answer was accepted as a request")
	}
	mustRunKeysOrMessage(t, answer, "message", "check", "--answer")

	out, _ := runKeysOrMessage(t, strings.Replace(good, `,"payload"`, `, "payload"`, 1), "message", "check")
	lines := strings.Split(out, "\n")
	if len(lines) < 5 || lines[4] == "" {
		t.Fatalf("%s", out)
	}
	caret := strings.Index(lines[4], "^")
	if caret < 0 || lines[2][caret] != ' ' || lines[3][caret:caret+2] != `\"` || lines[2][:caret][8:] != lines[3][:caret][8:] {
		t.Errorf("the caret is at the wrong position:\n%s", out)
	}
}
