package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// rulesEvery is the interval between two looks at the file of rules.
const rulesEvery = 2 * time.Second

// moderation holds the rules in force, and writes and watches their file. Any goroutine may
// read the rules.
type moderation struct {
	cfg   *Config                  // not modified
	rules atomic.Pointer[compiled] // set by load before the server answers
	info  atomic.Pointer[[]byte]   // the NIP-11 document, which the rules change
	mu    sync.Mutex               // serializes changes of the rules, of the file and of settings

	settings Settings // guarded by mu
}

// Settings are the fields of a Config that may change while a Server runs. Their zero values
// mean the same as those of the Config.
type Settings struct {
	Policy                     Policy
	Limits                     Limits
	Name, Description, Contact string
}

func (c *Config) settings() Settings {
	return Settings{c.Policy, c.Limits, c.Name, c.Description, c.Contact}
}

// current returns the rules in force.
func (m *moderation) current() *compiled { return m.rules.Load() }

// load reads the file of rules. If there is no file, load returns nil.
func (m *moderation) load() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := readRules(m.cfg.RulesFile)
	if err != nil {
		return err
	}
	return m.apply(r, m.settings)
}

// reload puts settings in force, together with the rules in force.
func (m *moderation) reload(s Settings) error {
	s.Policy = s.Policy.withDefaults()
	orDefault(&s.Name, defaultName)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.apply(m.current().Rules, s)
}

func readRules(path string) (r Rules, err error) {
	if path == "" {
		return r, nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("read the rules: %w", err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// apply puts rules and settings in force. mu is held. On an error, the rules and the settings
// are as before.
func (m *moderation) apply(r Rules, s Settings) error {
	c, err := compile(r, s.Limits)
	if err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	cfg := *m.cfg
	cfg.Policy, cfg.Name, cfg.Description, cfg.Contact = s.Policy, s.Name, s.Description, s.Contact
	orDefaultTo := func(v *string, other string) {
		if other != "" {
			*v = other
		}
	}
	orDefaultTo(&cfg.Name, r.Name)
	orDefaultTo(&cfg.Description, r.Description)
	orDefaultTo(&cfg.Icon, r.Icon)
	cfg.Policy.Kinds = c.kinds(cfg.Policy.Kinds)
	c.policy = cfg.Policy
	info, err := infoDocument(&cfg)
	if err != nil {
		return err
	}
	moderated := maps.Clone(c.hidden)
	if moderated == nil {
		moderated = make(map[[32]byte]struct{}, len(c.spam))
	}
	maps.Copy(moderated, c.spam)
	m.cfg.Store.Moderate(moderated, c.blocked)
	if was := m.rules.Load(); was != nil {
		c.version = was.version + 1
	}
	m.info.Store(&info)
	m.rules.Store(c)
	m.settings = s
	return nil
}

// hidden returns the keys and the events that the rules in force never show, as
// Server.Moderated returns them.
func (m *moderation) hidden() (version uint64, never, onDemand, events map[[32]byte]struct{}) {
	c := m.current()
	return c.version, c.hidden, c.spam, c.blocked
}

// change modifies a copy of the rules, writes the file, and puts the copy in force. If
// change returns an error, the rules are as before.
func (m *moderation) change(alter func(*Rules) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := json.Marshal(m.current().Rules)
	if err != nil {
		return err
	}
	var r Rules
	if err := json.Unmarshal(b, &r); err != nil {
		return err
	}
	if err := alter(&r); err != nil {
		return err
	}
	if _, err := compile(r, m.settings.Limits); err != nil {
		return err
	}
	if m.cfg.RulesFile != "" {
		if err := writeRules(m.cfg.RulesFile, r); err != nil {
			return fmt.Errorf("write the rules: %w", err)
		}
	}
	return m.apply(r, m.settings)
}

// writeRules replaces the file atomically: a crash leaves the old file or the new one.
func writeRules(path string, r Rules) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".rules-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(append(b, '\n'))
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// watch loads the file of rules when an operator changes it. If the file cannot be
// read, the rules stay as they are, and the error is logged once.
func (m *moderation) watch(ctx context.Context) error {
	if m.cfg.RulesFile == "" {
		return nil
	}
	stamp := func() (t time.Time) {
		if fi, err := os.Stat(m.cfg.RulesFile); err == nil {
			t = fi.ModTime()
		}
		return t
	}
	seen := stamp()
	tick := time.NewTicker(rulesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := stamp()
		if now.Equal(seen) {
			continue
		}
		seen = now
		if err := m.load(); err != nil {
			m.cfg.Logger.Error("rules not loaded, the old rules stay in force", "err", err)
		} else {
			m.cfg.Logger.Info("rules reloaded", "file", m.cfg.RulesFile)
		}
	}
}
