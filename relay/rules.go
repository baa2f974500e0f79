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
	"time"
)

// rulesEvery is the interval between two looks at the file of rules.
const rulesEvery = 2 * time.Second

// loadRules reads the file of rules. If there is no file, loadRules returns nil.
func (s *Server) loadRules() error {
	s.rulesMu.Lock()
	defer s.rulesMu.Unlock()
	r, err := readRules(s.cfg.RulesFile)
	if err != nil {
		return err
	}
	return s.apply(r)
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

// apply puts rules in force. rulesMu is held.
func (s *Server) apply(r Rules) error {
	c, err := compile(r, s.cfg.Limits)
	if err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	cfg := s.cfg
	orDefaultTo := func(v *string, other string) {
		if other != "" {
			*v = other
		}
	}
	orDefaultTo(&cfg.Name, r.Name)
	orDefaultTo(&cfg.Description, r.Description)
	orDefaultTo(&cfg.Icon, r.Icon)
	cfg.Policy.Kinds = c.kinds(cfg.Policy.Kinds)
	info, err := infoDocument(&cfg)
	if err != nil {
		return err
	}
	shunned := maps.Clone(c.hidden)
	if shunned == nil {
		shunned = make(map[[32]byte]struct{}, len(c.spam))
	}
	maps.Copy(shunned, c.spam)
	s.cfg.Store.Shun(shunned, c.blocked)
	if was := s.rules.Load(); was != nil {
		c.version = was.version + 1
	}
	s.info.Store(&info)
	s.rules.Store(c)
	return nil
}

// Rules returns the rules in force.
func (s *Server) Rules() Rules { return s.rules.Load().Rules }

// Shunned returns the keys and the events that the rules in force never show. onDemand are
// the keys that are shown if a search asks for spam. version changes with the rules. The
// caller must not modify the sets.
func (s *Server) Shunned() (version uint64, never, onDemand, events map[[32]byte]struct{}) {
	c := s.rules.Load()
	return c.version, c.hidden, c.spam, c.blocked
}

// change modifies a copy of the rules, writes the file, and puts the copy in force. If
// change returns an error, the rules are as before.
func (s *Server) change(alter func(*Rules) error) error {
	s.rulesMu.Lock()
	defer s.rulesMu.Unlock()
	b, err := json.Marshal(s.rules.Load().Rules)
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
	if _, err := compile(r, s.cfg.Limits); err != nil {
		return err
	}
	if s.cfg.RulesFile != "" {
		if err := writeRules(s.cfg.RulesFile, r); err != nil {
			return fmt.Errorf("write the rules: %w", err)
		}
	}
	return s.apply(r)
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

// watchRules loads the file of rules when an operator changes it. If the file cannot be
// read, the rules stay as they are, and the error is logged once.
func (s *Server) watchRules(ctx context.Context) error {
	if s.cfg.RulesFile == "" {
		return nil
	}
	stamp := func() (t time.Time) {
		if fi, err := os.Stat(s.cfg.RulesFile); err == nil {
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
		if err := s.loadRules(); err != nil {
			s.cfg.Log.Error("rules not loaded, the old rules stay in force", "err", err)
		} else {
			s.cfg.Log.Info("rules reloaded", "file", s.cfg.RulesFile)
		}
	}
}
