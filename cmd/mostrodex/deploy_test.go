package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/relay"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/pelletier/go-toml/v2"
)

const exampleConfig = "../../deploy/mostrodex.example.toml"

// unsetLine matches a key or a section that the example config shows as a
// comment.
var unsetLine = regexp.MustCompile(`(?m)^# (\w+ = .+|\[\[\w+\]\])$`)

// uncommented returns the example config with every unset key set to its
// example.
func uncommented(tb testing.TB) []byte {
	tb.Helper()
	raw, err := os.ReadFile(exampleConfig)
	if err != nil {
		tb.Fatal(err)
	}
	return unsetLine.ReplaceAll(raw, []byte("$1"))
}

func decoded(tb testing.TB, raw []byte, into Config) Config {
	tb.Helper()
	if err := decodeConfig(raw, &into); err != nil {
		tb.Fatal(err)
	}
	return into
}

// keysOfConfig lists the keys of a section and of the sections within it.
func keysOfConfig(t reflect.Type, prefix string) (keys []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name := prefix + f.Tag.Get("toml")
		switch {
		case f.Type.Kind() == reflect.Struct:
			keys = append(keys, keysOfConfig(f.Type, name+".")...)
		case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
			keys = append(keys, keysOfConfig(f.Type.Elem(), name+".")...)
		default:
			keys = append(keys, name)
		}
	}
	return keys
}

// keysOfFile lists the keys of a decoded TOML document.
func keysOfFile(doc map[string]any, prefix string) (keys []string) {
	for name, v := range doc {
		switch v := v.(type) {
		case map[string]any:
			keys = append(keys, keysOfFile(v, prefix+name+".")...)
		case []any:
			if len(v) == 0 {
				keys = append(keys, prefix+name)
				continue
			}
			if section, ok := v[0].(map[string]any); ok {
				keys = append(keys, keysOfFile(section, prefix+name+".")...)
				continue
			}
			keys = append(keys, prefix+name)
		default:
			keys = append(keys, prefix+name)
		}
	}
	return keys
}

// TestExampleConfigHasEveryKey: the example config has every key of Config and
// no other, each once.
func TestExampleConfigHasEveryKey(t *testing.T) {
	raw := uncommented(t)
	var doc map[string]any
	if err := toml.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	want, got := keysOfConfig(reflect.TypeFor[Config](), ""), keysOfFile(doc, "")
	for _, key := range want {
		if !slices.Contains(got, key) {
			t.Errorf("%s is missing", key)
		}
	}
	for _, key := range got {
		if !slices.Contains(want, key) {
			t.Errorf("%s is no key of the program", key)
		}
	}
}

// TestExampleConfigShowsDefaults: the keys that are set have the default, and
// every key that is not set has no default of its own.
func TestExampleConfigShowsDefaults(t *testing.T) {
	raw, err := os.ReadFile(exampleConfig)
	if err != nil {
		t.Fatal(err)
	}
	// Decoding into the zero value finds a default that the file does not show.
	if got := decoded(t, raw, Config{}); !reflect.DeepEqual(got, defaultConfig()) {
		t.Errorf("the example config is\n%+v\nand the defaults are\n%+v", got, defaultConfig())
	}
}

// TestExampleConfigIsValid: every example value is accepted, also those of an
// enabled escrow, and a limit that is shown as unset has the value in force.
func TestExampleConfigIsValid(t *testing.T) {
	cfg := decoded(t, uncommented(t), defaultConfig())
	cfg.Escrow.Enabled = true
	if err := cfg.validate(); err != nil {
		t.Error(err)
	}
	if err := cfg.chooseUpstreams(nil); err != nil {
		t.Error(err)
	}
	q, f := cfg.Relay.Quota, cfg.Relay.Federation
	for name, v := range map[string]struct{ shown, inForce int }{
		"max_event_bytes":            {cfg.Relay.MaxEventBytes, relay.DefaultMaxEventBytes},
		"disk_reserve_mib":           {cfg.Relay.DiskReserveMiB, eventlog.DefaultDiskReserve >> 20},
		"live_addresses_per_key":     {q.LiveAddressesPerKey, relay.DefaultLivePerKey},
		"events_per_minute_per_ip":   {q.EventsPerMinutePerIP, relay.DefaultEventsPerIP},
		"events_per_minute_per_key":  {q.EventsPerMinutePerKey, relay.DefaultEventsPerKey},
		"requests_per_minute_per_ip": {q.RequestsPerMinutePerIP, relay.DefaultRequestsPerIP},
		"connections_per_ip":         {q.ConnectionsPerIP, relay.DefaultConnsPerIP},
		// The defaults of these are in federation.New and have no name.
		"discovered_per_hour": {f.DiscoveredPerHour, 20_000},
		"resync_seconds":      {f.ResyncSeconds, 600},
		"rewalk_seconds":      {f.RewalkSeconds, 86_400},
	} {
		if v.shown != v.inForce {
			t.Errorf("%s: the example config shows %d, in force is %d", name, v.shown, v.inForce)
		}
	}
}

// TestExampleConfigServes: the program starts from the example config as it is
// shipped, and becomes ready.
func TestExampleConfigServes(t *testing.T) {
	cfg, err := loadConfig(exampleConfig, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.chooseUpstreams([]string{"none"}); err != nil {
		t.Fatal(err)
	}
	m := mustRunConfig(t, t.TempDir(), func(c *Config) {
		cfg.Data, cfg.Relay.Listen, cfg.Relay.Private = c.Data, c.Relay.Listen, c.Relay.Private
		*c = cfg
	})
	eventually(t, "/readyz", func() bool {
		code, _, body := getBody(t, "http://"+m.Addr()+"/readyz")
		return code == http.StatusOK && body == "ready\n"
	})
}

// TestContainerHealthcheck: the verb of the container's healthcheck succeeds
// while a server answers, and fails when none does.
func TestContainerHealthcheck(t *testing.T) {
	raw, err := os.ReadFile("../../deploy/Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^HEALTHCHECK .*CMD \["/mostrodex", (".+?")\]$`).FindSubmatch(raw)
	if found == nil {
		t.Fatal("deploy/Containerfile has no HEALTHCHECK")
	}
	args := strings.Split(strings.ReplaceAll(string(found[1]), `"`, ""), ", ")
	m := MustRunMain(t, t.TempDir())
	ready(t, m)
	if _, errs, code := runProgram(t, "", append(args, "--url", "http://"+m.Addr())...); code != exitOK {
		t.Errorf("%v: exit %d, %s", args, code, errs)
	}
	if _, _, code := runProgram(t, "", append(args, "--url", "http://127.0.0.1:1")...); code != exitError {
		t.Errorf("%v without a server: exit %d", args, code)
	}
}

// TestServiceEnvironment: every variable that the units and the container set
// is a key of the config.
func TestServiceEnvironment(t *testing.T) {
	n := 0
	for _, file := range []string{"mostrodex.service", "mostrodex-escrow.conf", "Containerfile", "compose.regtest.yml", "umbrel/mostrodex/docker-compose.yml"} {
		raw, err := os.ReadFile(filepath.Join("../../deploy", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range regexp.MustCompile(`MOSTRODEX_[A-Z_]+(?:=|: )\S+`).FindAllString(string(raw), -1) {
			n++
			if name, value, yaml := strings.Cut(kv, ": "); yaml {
				kv = name + "=" + strings.Trim(value, `"`)
			}
			cfg := defaultConfig()
			if err := applyEnviron(&cfg, []string{kv}); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	if n < 20 {
		t.Errorf("%d variables found", n)
	}
}

// programTexts returns every string literal of the program's source, joined.
func programTexts(tb testing.TB) string {
	tb.Helper()
	var b strings.Builder
	literal := regexp.MustCompile("\"(?:[^\"\\\\\n]|\\\\.)*\"|`[^`]*`")
	for _, dir := range []string{"cmd", "relay", "indexer", "reputation", "escrow", "mostro", "internal"} {
		err := filepath.WalkDir(filepath.Join("../..", dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, l := range literal.FindAll(raw, -1) {
				b.WriteString(strings.ReplaceAll(string(l[1:len(l)-1]), `\"`, `"`))
				b.WriteByte('\n')
			}
			return nil
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	return b.String()
}

// TestRunbookQuotesTheProgram: every text that the runbook says the program
// prints is a text of the program. "…" stands for a value.
func TestRunbookQuotesTheProgram(t *testing.T) {
	texts := programTexts(t)
	for file, atLeast := range map[string]int{"RUNBOOK.md": 30, "RUNBOOK.es.md": 4} {
		raw, err := os.ReadFile(filepath.Join("../../deploy", file))
		if err != nil {
			t.Fatal(err)
		}
		quoting, n := false, 0
		for line := range strings.Lines(string(raw)) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "```") {
				quoting = line == "```text"
				continue
			}
			if !quoting {
				continue
			}
			for _, part := range strings.Split(line, "…") {
				if part = strings.Trim(part, ` "`); len(part) < 4 {
					continue
				}
				n++
				if !strings.Contains(texts, part) {
					t.Errorf("%s: no text of the program has %q", file, part)
				}
			}
		}
		if n < atLeast {
			t.Errorf("%s quotes %d texts", file, n)
		}
	}
}

// TestRunbookNamesMetrics: the program has every metric that the runbook names,
// and the runbook has every reason why a Lightning node cannot be used.
func TestRunbookNamesMetrics(t *testing.T) {
	raw, err := os.ReadFile("../../deploy/RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := programTexts(t)
	named := regexp.MustCompile("`mostrodex_(?:relay_upstream|relay|indexer|reputation|escrow_ledger|escrow_dev_fees|escrow)_([a-z_]+)").FindAllSubmatch(raw, -1)
	for _, name := range named {
		if has := "\n" + string(name[1]) + "\n"; !strings.Contains(texts, has) && !strings.Contains(texts, string(name[0][1:])+"\n") {
			t.Errorf("the program has no metric %s", name[0][1:])
		}
	}
	source, err := os.ReadFile("../../escrow/nodecard/nodecard.go")
	if err != nil {
		t.Fatal(err)
	}
	problems := regexp.MustCompile(`Problem += "(\w+)"`).FindAllSubmatch(source, -1)
	for _, problem := range problems {
		if !strings.Contains(string(raw), "`"+string(problem[1])+"`") {
			t.Errorf("the runbook does not have the reason %s", problem[1])
		}
	}
	if len(named) < 10 || len(problems) < 7 {
		t.Errorf("%d metrics and %d reasons found", len(named), len(problems))
	}
}

// TestUnitIsHardened: systemd rates the exposure of the unit, also with its drop-ins, at most
// 2.0 of 10, and finds no mistake in it.
func TestUnitIsHardened(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("NOT TESTED: systemd-analyze is not installed")
	}
	unit, err := os.ReadFile("../../deploy/mostrodex.service")
	if err != nil {
		t.Fatal(err)
	}
	backup, err := os.ReadFile("../../deploy/mostrodex-backup.service")
	if err != nil {
		t.Fatal(err)
	}
	dropIns, err := filepath.Glob("../../deploy/mostrodex-*.conf")
	if err != nil || len(dropIns) == 0 {
		t.Fatal(dropIns, err)
	}
	for _, dropIn := range append(dropIns, "", "the unit of backups") {
		text := string(unit)
		if dropIn == "the unit of backups" {
			text = string(backup)
		} else if dropIn != "" {
			more, err := os.ReadFile(dropIn)
			if err != nil {
				t.Fatal(err)
			}
			text += "\n" + string(more) // a drop-in is read after the unit
		}
		// verify looks for the program and reports a file that does not exist.
		name := "mostrodex.service"
		dir := t.TempDir()
		if text == string(backup) {
			name = "mostrodex-backup.service"
			if err := os.WriteFile(filepath.Join(dir, "mostrodex.service"), []byte(strings.ReplaceAll(string(unit), "/usr/local/bin/mostrodex", "/bin/true")), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "/usr/local/bin/mostrodex", "/bin/true")), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20", path).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "Overall exposure level") {
			t.Errorf("%s: %v\n%s", dropIn, err, out[max(0, len(out)-300):])
		}
		if out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput(); err != nil || strings.Contains(string(out), name) {
			t.Errorf("%s: %v\n%s", dropIn, err, out)
		}
	}
	for _, line := range []string{"Type=notify", "NotifyAccess=main", "WatchdogSec=120"} {
		if !strings.Contains(string(unit), "\n"+line+"\n") {
			t.Errorf("the unit has no line %s", line)
		}
	}
}

// TestContainerHasEveryPackage: the container file copies the directory of every package of the
// program.
func TestContainerHasEveryPackage(t *testing.T) {
	file, err := os.ReadFile("../../deploy/Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for pkg := range strings.Lines(string(out)) {
		path, own := strings.CutPrefix(strings.TrimSpace(pkg), "github.com/mostrodex/mostrodex/")
		if !own {
			continue
		}
		n++
		dir, _, _ := strings.Cut(path, "/")
		if !strings.Contains(string(file), "\nCOPY "+dir+" "+dir+"\n") {
			t.Errorf("deploy/Containerfile does not copy %s", dir)
		}
	}
	if n < 40 {
		t.Errorf("%d packages found", n)
	}
}
