package main

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/exposure"
	"github.com/mostrodex/mostrodex/escrow/nodecard"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// hook is a webhook that keeps the calls that it received.
type hook struct {
	*httptest.Server
	mu    sync.Mutex
	calls []map[string]any
}

func newHook(t *testing.T) *hook {
	h := &hook{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var call map[string]any
		if err := json.Unmarshal(body, &call); err != nil {
			call = map[string]any{"text": string(body)} // ntfy
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.calls = append(h.calls, call)
	}))
	t.Cleanup(h.Close)
	return h
}

// has reports whether a call has all of these values.
func (h *hook) has(want map[string]any) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.calls, func(call map[string]any) bool {
		for k, v := range want {
			if call[k] != v {
				return false
			}
		}
		return true
	})
}

func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// runWatched runs a demo without a market that tells its operator.
func runWatched(t *testing.T, dir string, operator OperatorConfig) (m *Main, stop func()) {
	t.Helper()
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen, cfg.Relay.Private = dir, "127.0.0.1:0", "127.0.0.1:0"
	base := cfg.Operator
	cfg.Operator = operator
	cfg.Operator.RepeatHours, cfg.Operator.PerHour, cfg.Operator.MarginBlocks, cfg.Operator.PayoutMinutes, cfg.Operator.OutboxMinutes, cfg.Operator.BackupHours = base.RepeatHours, base.PerHour, base.MarginBlocks, base.PayoutMinutes, base.OutboxMinutes, base.BackupHours
	if err := cfg.validate(); err != nil {
		t.Fatal(err)
	}
	m, err := demoMain(cfg, 1, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	m.lookEvery = 20 * time.Millisecond
	return m, startMainUntil(t, m)
}

// TestOperatorIsTold runs the program with a webhook, a server of ntfy that never answers, and a
// key for private messages: a dispute is told once, also after a restart, and a private message
// can be read by the operator alone.
func TestOperatorIsTold(t *testing.T) {
	dir, h := t.TempDir(), newHook(t)
	silent := make(chan struct{})
	dead := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-silent }))
	defer dead.Close()
	defer close(silent)
	keys, err := envelope.NewKeys(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	operator := OperatorConfig{WebhookFile: writeFile(t, t.TempDir(), "hook", h.URL+"\n"), NtfyFile: writeFile(t, t.TempDir(), "ntfy", dead.URL+"/topic"), Nostr: keys.Npub(), Backup: filepath.Join(dir, "none")}
	m, stop := runWatched(t, dir, operator)
	x := newDemoTrade(t, m, envelope.TransportV2)
	x.toDispute()
	told := map[string]any{"type": "operator-alert", "state": "begins", "kind": "dispute", "level": "warning", "subject": x.id.String(), "program": "Mostrodex demo"}
	eventually(t, "the webhook is called about the dispute", func() bool { return h.has(told) })
	eventually(t, "the webhook is called about the backup", func() bool { return h.has(map[string]any{"kind": "backup", "level": "critical"}) })

	mail := func() (texts []string) {
		for _, evt := range mustREQ(t, m, nostr.Filter{Kinds: []int{mostro.KindGiftWrap}, Tags: nostr.TagMap{"p": {keys.Pubkey()}}}) {
			direct, err := envelope.OpenDirect(evt, keys)
			if err != nil {
				t.Fatal(err)
			}
			relay, err := alertKeys(dir)
			if err != nil || direct.Sender != relay.Pubkey() {
				t.Fatalf("the message is of %s: %v", direct.Sender, err)
			}
			texts = append(texts, direct.Text)
		}
		return texts
	}
	eventually(t, "the operator has the private messages", func() bool { return len(mail()) == 2 })
	all := strings.Join(mail(), "\n")
	if !strings.Contains(all, "Mostrodex demo: warning: dispute begins\nA dispute about 10000 sats is open (opened by the buyer") || !strings.Contains(all, x.id.String()) {
		t.Errorf("the messages are\n%s", all)
	}
	stored, err := m.escrow.engine.Trade(t.Context(), x.id)
	if err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	calls, err := json.Marshal(h.calls)
	h.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	state, err := os.ReadFile(filepath.Join(dir, "operator-alerts.json"))
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string]string{"preimage": stored.Preimage.Hex(), "hold invoice": stored.HoldInvoice, "payout invoice": stored.BuyerInvoice.Text, "key of the buyer": stored.Buyer.Key, "URL of the webhook": strings.TrimPrefix(h.URL, "http://")} {
		if secret == "" || strings.Contains(all+string(calls)+string(state), secret) {
			t.Errorf("the %s is in a message or in the file", name)
		}
	}
	stop()

	// After a restart the same conditions are told by nobody, and another one is.
	h.mu.Lock()
	before := len(h.calls)
	h.mu.Unlock()
	m, stop = runWatched(t, dir, operator)
	defer stop()
	y := newDemoTrade(t, m, envelope.TransportV2)
	y.toDispute()
	eventually(t, "the webhook is called about the second dispute", func() bool { return h.has(map[string]any{"kind": "dispute", "subject": y.id.String()}) })
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.calls) - before; n != 1 {
		t.Errorf("%d calls after the restart: %v", n, h.calls[before:])
	}
}

// TestAlertTest sends a test over each channel while the program runs.
func TestAlertTest(t *testing.T) {
	dir, h := t.TempDir(), newHook(t)
	keys, err := envelope.NewKeys(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m := MustRunMain(t, dir)
	ready(t, m)
	files := t.TempDir()
	config := writeFile(t, files, "config", "data = \""+dir+"\"\n[relay]\nlisten = \""+m.Addr()+"\"\n[operator]\nnostr = \""+keys.Npub()+"\"\nwebhook_file = \""+
		writeFile(t, files, "hook", h.URL)+"\"\nntfy_file = \""+writeFile(t, files, "ntfy", h.URL+"/topic")+"\"\n")
	if out := mustProgram(t, "", "alert", "test", "-c", config); out != "webhook: delivered\nntfy: delivered\nnostr: delivered\n" {
		t.Errorf("the verb says\n%s", out)
	}
	if !h.has(map[string]any{"state": "test", "text": "This is a test. Nothing is wrong."}) || !h.has(map[string]any{"text": "This is a test. Nothing is wrong."}) {
		t.Errorf("the calls are %v", h.calls)
	}
	if n := len(mustREQ(t, m, nostr.Filter{Kinds: []int{mostro.KindGiftWrap}, Tags: nostr.TagMap{"p": {keys.Pubkey()}}})); n != 1 {
		t.Errorf("%d private messages", n)
	}
	url := h.URL
	h.Close()
	out, errs, code := runProgram(t, "", "alert", "test", "-c", config)
	if code != exitError || !strings.Contains(out, "webhook: not delivered") || !strings.Contains(errs, "2 of 3 channels") || strings.Contains(out+errs, url) {
		t.Errorf("exit %d: %s %s", code, out, errs)
	}
	if _, errs, code := runProgram(t, "", "alert", "test"); code != exitError || !strings.Contains(errs, "no channel is configured") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// reading returns the readings of gauges by name and labels, such as `a{lane="mail"}`.
func reading(values map[string]float64) readings {
	r := make(readings)
	for text, v := range values {
		name, labels, _ := strings.Cut(strings.TrimSuffix(text, "}"), "{")
		m := &dto.Metric{Gauge: &dto.Gauge{Value: &v}}
		for pair := range strings.SplitSeq(labels, ",") {
			if k, value, ok := strings.Cut(pair, "="); ok {
				value = strings.Trim(value, `"`)
				m.Label = append(m.Label, &dto.LabelPair{Name: &k, Value: &value})
			}
		}
		r[name] = append(r[name], m)
	}
	return r
}

// TestConditions: each condition begins at its bound and not before.
func TestConditions(t *testing.T) {
	const at = 1_800_000_000
	config := defaultConfig().Operator
	config.Backup = "/backups"
	id := trade.OrderID{1}
	fresh := func() *facts {
		return &facts{at: at, backupAt: at - 25*3600, reserve: 512 << 20, escrow: &escrowFacts{sum: exposure.New(at)},
			readings: reading(map[string]float64{"mostrodex_relay_disk_free_bytes": 8 << 30, `mostrodex_relay_upstreams{origin="configured",state="live"}`: 3, `mostrodex_escrow_outbox_oldest_seconds{lane="mail"}`: 599, `mostrodex_escrow_outbox_oldest_seconds{lane="node"}`: 2399, `mostrodex_escrow_outbox_oldest_seconds{lane="fund"}`: 1e6, "mostrodex_indexer_lag_entries": 100})}
	}
	entry := func(f *facts, e exposure.Entry) {
		e.ID = id
		f.escrow.sum.Trades = append(f.escrow.sum.Trades, e)
	}
	set := func(values map[string]float64) func(*facts) {
		return func(f *facts) {
			for name, list := range reading(values) {
				f.readings[name] = list
			}
		}
	}
	node := func(p nodecard.Problem) func(*facts) {
		return func(f *facts) { f.escrow.problem = nodecard.State{Problem: p, Detail: "detail"} }
	}
	for name, c := range map[string]struct {
		change func(*facts)
		want   string // kind level subject, or "" for none
	}{
		"nothing":                  {func(*facts) {}, ""},
		"the clock is wrong":       {func(f *facts) { f.clock = []string{"the clock is behind"} }, "clock warning "},
		"old backup":               {func(f *facts) { f.backupAt = at - 26*3600 }, "backup warning "},
		"no backup":                {func(f *facts) { f.backupAt = 0 }, "backup critical "},
		"disk low":                 {set(map[string]float64{"mostrodex_relay_disk_free_bytes": 1<<30 - 1}), "disk warning "},
		"disk full":                {set(map[string]float64{"mostrodex_relay_disk_full": 1}), "disk critical "},
		"no relay":                 {set(map[string]float64{`mostrodex_relay_upstreams{origin="configured",state="down"}`: 2, `mostrodex_relay_upstreams{origin="discovered",state="live"}`: 2}), "relays warning connected"},
		"a relay catches up":       {set(map[string]float64{`mostrodex_relay_upstreams{origin="configured",state="catching_up"}`: 1, `mostrodex_relay_upstreams{origin="configured",state="down"}`: 2}), ""},
		"no relay is configured":   {set(map[string]float64{`mostrodex_relay_upstreams{origin="discovered",state="down"}`: 2}), ""},
		"lag":                      {set(map[string]float64{"mostrodex_relay_upstream_lag_seconds": 601}), "relays warning lag"},
		"queue":                    {set(map[string]float64{"mostrodex_relay_forward_queue": 1001}), "relays warning forward"},
		"index":                    {set(map[string]float64{`mostrodex_indexer_lag_entries{store="book"}`: 6000, `mostrodex_indexer_lag_entries{store="search"}`: 6000}), "index warning "},
		"mail waits":               {set(map[string]float64{`mostrodex_escrow_outbox_oldest_seconds{lane="mail"}`: 600}), "outbox warning mail"},
		"a call waits":             {set(map[string]float64{`mostrodex_escrow_outbox_oldest_seconds{lane="node"}`: 2400}), "outbox warning node"},
		"the fund waits":           {set(map[string]float64{`mostrodex_escrow_outbox_oldest_seconds{lane="fund"}`: 9e9}), ""},
		"ledger":                   {set(map[string]float64{"mostrodex_escrow_ledger_faults": 1}), "ledger critical "},
		"parked fee":               {set(map[string]float64{"mostrodex_escrow_dev_fees_parked": 1}), "dev-fee warning "},
		"bug":                      {set(map[string]float64{"mostrodex_escrow_set_aside_total": 1}), "bug warning "},
		"unavailable":              {node(nodecard.Unavailable), "lightning critical "},
		"unasked":                  {node(nodecard.Unasked), "lightning critical "},
		"unsynced":                 {node(nodecard.Unsynced), "lightning warning "},
		"other wallet":             {node(nodecard.OtherWallet), "wallet critical "},
		"silent engine":            {func(f *facts) { f.escrow.sum = nil }, "engine critical "},
		"silent engine and no LND": {func(f *facts) { f.escrow.sum = nil; node(nodecard.Unavailable)(f) }, "lightning critical "},
		"closed":                   {func(f *facts) { f.escrow.status = escrow.Status{Closed: []string{"the store is a copy"}} }, "closed warning "},
		"closed by the operator": {func(f *facts) {
			f.escrow.status = escrow.Status{Closed: []string{"the operator has paused new orders", "maintenance: the operator has begun maintenance"}}
		}, ""},
		"near the margin":     {func(f *facts) { entry(f, exposure.Entry{Blocks: 12}) }, "margin warning " + id.String()},
		"at the margin":       {func(f *facts) { entry(f, exposure.Entry{Blocks: 0}) }, "margin critical " + id.String()},
		"beyond the margin":   {func(f *facts) { entry(f, exposure.Entry{Blocks: -5}) }, "margin critical " + id.String()},
		"far from the margin": {func(f *facts) { entry(f, exposure.Entry{Blocks: 13}) }, ""},
		"payout": {func(f *facts) {
			entry(f, exposure.Entry{Blocks: exposure.Unknown, Unpaid: true})
			f.escrow.unpaid = map[trade.OrderID]int64{id: at - 1800}
		}, "payout warning " + id.String()},
		"payout for hours": {func(f *facts) {
			entry(f, exposure.Entry{Blocks: exposure.Unknown, Unpaid: true})
			f.escrow.unpaid = map[trade.OrderID]int64{id: at - 12*1800}
		}, "payout critical " + id.String()},
		"payout for minutes": {func(f *facts) {
			entry(f, exposure.Entry{Blocks: exposure.Unknown, Unpaid: true})
			f.escrow.unpaid = map[trade.OrderID]int64{id: at - 1799}
		}, ""},
		"frozen": {func(f *facts) { entry(f, exposure.Entry{Blocks: exposure.Unknown, Frozen: true}) }, "frozen critical " + id.String()},
		"dispute": {func(f *facts) {
			entry(f, exposure.Entry{Blocks: 99, Dispute: &trade.Dispute{Status: message.DisputeStatusInitiated}})
		}, "dispute warning " + id.String()},
		"dispute due": {func(f *facts) { entry(f, exposure.Entry{Blocks: 99, Dispute: &trade.Dispute{Told: 72}}) }, "dispute critical " + id.String()},
	} {
		f := fresh()
		c.change(f)
		var got []string
		look := config.look(f)
		for _, cond := range look.Conditions {
			got = append(got, cond.Kind+" "+cond.Level.String()+" "+cond.Subject)
			if cond.Text == "" {
				t.Errorf("%s: no text", name)
			}
		}
		if all := strings.Join(got, ", "); all != c.want {
			t.Errorf("%s: %q, want %q", name, all, c.want)
		}
		if unknown := f.escrow.sum == nil; unknown != (len(look.Unknown) > 0) {
			t.Errorf("%s: unknown are %v", name, look.Unknown)
		}
	}
}

// TestWatchedMetrics: every metric that the alert rules, the dashboard and the page about them name
// is a metric of the running program.
func TestWatchedMetrics(t *testing.T) {
	m, stop := runWatched(t, t.TempDir(), OperatorConfig{Backup: "/nowhere"})
	defer stop()
	descs := make(chan *prometheus.Desc)
	go func() { m.registry.Describe(descs); close(descs) }()
	known, histograms := map[string]bool{}, ""
	name := regexp.MustCompile(`fqName: "([^"]+)"`)
	for d := range descs {
		known[name.FindStringSubmatch(d.String())[1]] = true
	}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		known[f.GetName()] = true
		if f.GetType() == dto.MetricType_HISTOGRAM {
			histograms += f.GetName() + "_bucket "
		}
	}
	for file, least := range map[string]int{"alerts.yml": 25, "alerts_test.yml": 20, "grafana-dashboard.json": 35, "../docs/watch.md": 15} {
		text, err := os.ReadFile(filepath.Join("../../deploy", file))
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, word := range regexp.MustCompile(`\b(?:mostrodex|go|process)_[a-z_]+`).FindAllString(string(text), -1) {
			seen[word] = true
			if !known[word] && !strings.Contains(histograms, word+" ") {
				t.Errorf("%s names %s, which is no metric of the program", file, word)
				known[word] = true // one error is enough
			}
		}
		if len(seen) < least {
			t.Errorf("%s names %d metrics", file, len(seen))
		}
	}
	// The gauges of trades are there from the start, and no hold is no alarm.
	eventually(t, "the trades were summed up", func() bool {
		v, ok := readMetrics(m.registry).sum("mostrodex_escrow_holds", "blocks_left", "0")
		return ok && v == 0
	})
	if v, _ := readMetrics(m.registry).sum("mostrodex_escrow_least_blocks_left"); !math.IsInf(v, 1) {
		t.Errorf("without a hold %v blocks are left", v)
	}
}

// TestAlertRules checks the rules with promtool and plays them, if it is installed. Each rule has a
// test in which it fires.
func TestAlertRules(t *testing.T) {
	rules, err := os.ReadFile("../../deploy/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	plays, err := filepath.Glob("../../deploy/alerts*_test.yml")
	if err != nil || len(plays) != 2 {
		t.Fatal(plays, err)
	}
	var tests []byte
	for _, file := range plays {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tests = append(tests, text...)
	}
	for _, rule := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(string(rules), -1) {
		if !strings.Contains(string(tests), "alertname: "+rule[1]+"\n        exp_alerts:\n          - ") {
			t.Errorf("no test has %s fire", rule[1])
		}
	}
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("promtool is not installed: the rules are not played")
	}
	for _, args := range [][]string{{"check", "rules", "../../deploy/alerts.yml"}, append([]string{"test", "rules"}, plays...)} {
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestOperatorConfig: mistakes are refused with the name of the key.
func TestOperatorConfig(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"operator.nostr:":        func(c *Config) { c.Operator.Nostr = "npub1xyz" },
		"operator.nostr_relays:": func(c *Config) { c.Operator.NostrRelays = []string{"https://example.org"} },
		"operator.nostr_relays: name a relay": func(c *Config) {
			c.Role, c.Operator.Nostr, c.Operator.NostrRelays = roleEscrow, "82fa8cb978b43c79b2156585bac2c011176a21d2aead6d9f7c575c005be88390", nil
		},
		"operator.repeat_hours:":  func(c *Config) { c.Operator.RepeatHours = 0 },
		"operator.margin_blocks:": func(c *Config) { c.Operator.MarginBlocks = exposure.Near + 1 },
		"log.format:":             func(c *Config) { c.Log.Format = "xml" },
	} {
		cfg := defaultConfig()
		change(&cfg)
		if err := cfg.validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s %v", want, err)
		}
	}
	cfg := defaultConfig()
	cfg.Operator.WebhookFile, cfg.Data, cfg.Relay.Listen = "/nowhere/webhook", t.TempDir(), "127.0.0.1:0"
	if list := advice(&cfg); !slices.ContainsFunc(list, func(f finding) bool { return f.State == isFail && strings.Contains(f.Text, "operator.webhook_file") }) {
		t.Errorf("a missing file is no finding: %v", list)
	}
	m := &Main{Config: cfg}
	if err := m.Open(); exitCode(err) != exitConfig || !strings.Contains(err.Error(), "operator.webhook_file") {
		t.Errorf("the program starts without its webhook file: %v", err)
	}
	cfg = defaultConfig()
	told := func() bool {
		return slices.ContainsFunc(advice(&cfg), func(f finding) bool { return f.Check == "operator" })
	}
	if told() {
		t.Error("a relay is warned that nobody is told")
	}
	if cfg.Escrow.Enabled = true; !told() {
		t.Error("an escrow that tells nobody is no finding")
	}
	if cfg.Operator.Nostr = "npub1"; told() {
		t.Error("an escrow that tells its operator is a finding")
	}
}

// TestJSONLog: each line is a JSON object.
func TestJSONLog(t *testing.T) {
	var b strings.Builder
	(&LogConfig{Format: "json"}).logger(&b).Warn("a text", "key", `a "value"`)
	var line map[string]any
	if err := json.Unmarshal([]byte(b.String()), &line); err != nil || line["msg"] != "a text" || line["key"] != `a "value"` || line["level"] != "WARN" {
		t.Errorf("%q: %v", b.String(), err)
	}
}
