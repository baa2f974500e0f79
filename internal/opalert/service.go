package opalert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/internal/room"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Channel delivers messages.
type Channel struct {
	Name string // for logs and metrics
	// Send delivers a message. An error means that it is tried again. No error contains a secret.
	Send func(ctx context.Context, m Message) error
}

// Config configures a Service.
type Config struct {
	File     string // state of the alerts; created if it does not exist
	Channels []Channel
	// Look looks at the program. It returns within its own limits of time.
	Look  func(ctx context.Context) Look
	Every time.Duration // between two looks; 0: 15 seconds
	Rules Rules

	Logger  *slog.Logger          // nil: log lines are discarded
	Metrics prometheus.Registerer // nil: metrics are not registered
	Now     func() time.Time      // nil: time.Now
}

const (
	// maxPending bounds the messages that wait for a channel. The oldest is dropped.
	maxPending = 100
	// maxFile bounds the file that is read at the start.
	maxFile     = 4 << 20
	sendTimeout = 20 * time.Second
	firstRetry  = 5 * time.Second
	maxRetry    = 5 * time.Minute
	// maxAge is the age at which a message is dropped that no channel takes.
	maxAge = 24 * time.Hour
)

// stored is the content of the file.
type stored struct {
	Book    Book                 `json:"book"`
	Pending map[string][]Message `json:"pending"` // by channel
}

// Service looks at conditions and tells an operator. Create a Service with Open.
type Service struct {
	cfg Config
	met metrics

	mu     sync.Mutex
	state  stored                   // guarded by mu
	broken bool                     // the file could not be written; guarded by mu
	wake   map[string]chan struct{} // capacity 1: a wake-up is pending
}

// metrics are the metrics of a service. The labels are from closed sets.
type metrics struct {
	open     *prometheus.GaugeVec   // level
	pending  *prometheus.GaugeVec   // channel
	messages *prometheus.CounterVec // channel, result
	looked   prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) metrics {
	auto := promauto.With(reg)
	return metrics{
		open:     auto.NewGaugeVec(prometheus.GaugeOpts{Name: "mostrodex_operator_conditions", Help: "Conditions of which the operator was told and that are not over, by level."}, []string{"level"}),
		pending:  auto.NewGaugeVec(prometheus.GaugeOpts{Name: "mostrodex_operator_messages_waiting", Help: "Messages to the operator that no channel has taken yet, by channel."}, []string{"channel"}),
		messages: auto.NewCounterVec(prometheus.CounterOpts{Name: "mostrodex_operator_messages_total", Help: "Messages to the operator, by channel and result: sent, failed (tried again) or dropped."}, []string{"channel", "result"}),
		looked:   auto.NewGauge(prometheus.GaugeOpts{Name: "mostrodex_operator_looked_timestamp_seconds", Help: "Time of the last look at the conditions of which an operator is told."}),
	}
}

// Open reads the file of a service. A file that cannot be read as its content is put aside, and
// the alerts begin anew.
func Open(cfg Config) (*Service, error) {
	cfg.Logger, cfg.Now = room.Logger(cfg.Logger), room.Clock(cfg.Now)
	if cfg.Every == 0 {
		cfg.Every = 15 * time.Second
	}
	s := &Service{cfg: cfg, met: newMetrics(cfg.Metrics), wake: make(map[string]chan struct{})}
	if err := s.read(); err != nil {
		return nil, err
	}
	s.state.Book.Restart(cfg.Now())
	for _, c := range cfg.Channels {
		s.wake[c.Name] = make(chan struct{}, 1)
		for _, result := range []string{"sent", "failed", "dropped"} {
			s.met.messages.WithLabelValues(c.Name, result)
		}
	}
	for name := range s.state.Pending {
		if s.wake[name] == nil {
			delete(s.state.Pending, name) // the channel is not configured any more
		}
	}
	s.met.looked.Set(float64(cfg.Now().Unix()))
	s.measure()
	return s, nil
}

func (s *Service) read() error {
	s.state = stored{Pending: make(map[string][]Message)}
	info, err := os.Stat(s.cfg.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the state of alerts: %w", err)
	}
	var text []byte
	if info.Size() <= maxFile {
		if text, err = os.ReadFile(s.cfg.File); err != nil {
			return fmt.Errorf("read the state of alerts: %w", err)
		}
	}
	var st stored
	if json.Unmarshal(text, &st) == nil {
		if st.Pending == nil {
			st.Pending = make(map[string][]Message)
		}
		s.state = st
		return nil
	}
	s.cfg.Logger.Warn("the state of the operator's alerts is damaged and begins anew", "file", s.cfg.File)
	return nil
}

// Run looks and delivers until ctx ends. Run returns no error: alerts never end the program.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, c := range s.cfg.Channels {
		wg.Go(func() { s.deliver(ctx, c) })
	}
	ticker := time.NewTicker(s.cfg.Every)
	defer ticker.Stop()
	for ctx.Err() == nil {
		s.look(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
	wg.Wait()
	return nil
}

// look looks once, and queues the messages that are due.
func (s *Service) look(ctx context.Context) {
	l := s.cfg.Look(ctx)
	if ctx.Err() != nil {
		return // an interrupted look says nothing
	}
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	due := s.state.Book.Look(now, l, s.cfg.Rules)
	for _, m := range due {
		s.cfg.Logger.Warn("a condition needs the operator", "condition", m.Kind, "state", string(m.State), "level", m.Level.String(), "subject", m.Subject, "text", m.Text)
		for _, c := range s.cfg.Channels {
			list := append(s.state.Pending[c.Name], m)
			if over := len(list) - maxPending; over > 0 {
				list = slices.Delete(list, 0, over)
				s.met.messages.WithLabelValues(c.Name, "dropped").Add(float64(over))
			}
			s.state.Pending[c.Name] = list
			signal(s.wake[c.Name])
		}
	}
	s.met.looked.Set(float64(now.Unix()))
	s.measure()
	if len(due) > 0 {
		s.save()
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// measure sets the gauges. measure requires mu.
func (s *Service) measure() {
	warnings, critical := s.state.Book.Numbers()
	s.met.open.WithLabelValues(Warning.String()).Set(float64(warnings))
	s.met.open.WithLabelValues(Critical.String()).Set(float64(critical))
	for _, c := range s.cfg.Channels {
		s.met.pending.WithLabelValues(c.Name).Set(float64(len(s.state.Pending[c.Name])))
	}
}

// save writes the state. A disk that is full is a condition to tell of, so an error does not
// stop the messages: they are then in memory only. save requires mu.
func (s *Service) save() {
	err := s.write()
	if err != nil && !s.broken {
		s.cfg.Logger.Warn("the state of the operator's alerts cannot be written: a restart may repeat messages", "error", err)
	}
	s.broken = err != nil
}

func (s *Service) write() error {
	text, err := json.Marshal(s.state)
	if err != nil {
		return err
	}
	next := s.cfg.File + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(next, filepath.Clean(s.cfg.File))
}

// deliver sends the messages of a channel until ctx ends.
func (s *Service) deliver(ctx context.Context, c Channel) {
	failures := 0
	for {
		m, ok := s.first(c.Name)
		if !ok {
			select {
			case <-s.wake[c.Name]:
				continue
			case <-ctx.Done():
				return
			}
		}
		attempt, cancel := context.WithTimeout(ctx, sendTimeout)
		err := c.Send(attempt, m)
		cancel()
		if ctx.Err() != nil {
			return // the message is kept
		}
		if err == nil {
			failures = 0
			s.done(c.Name, m.ID, "sent")
			continue
		}
		s.met.messages.WithLabelValues(c.Name, "failed").Inc()
		if failures++; failures == 1 {
			s.cfg.Logger.Warn("a message to the operator was not delivered and is tried again", "channel", c.Name, "error", err)
		}
		if age := s.cfg.Now().Unix() - m.At; age > int64(maxAge.Seconds()) {
			s.done(c.Name, m.ID, "dropped")
		}
		select {
		case <-time.After(min(firstRetry<<min(failures-1, 10), maxRetry)):
		case <-ctx.Done():
			return
		}
	}
}

// first returns the oldest message that waits for a channel.
func (s *Service) first(channel string) (Message, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if list := s.state.Pending[channel]; len(list) > 0 {
		return list[0], true
	}
	return Message{}, false
}

// done removes a message from a channel. It may have been dropped meanwhile.
func (s *Service) done(channel string, id uint64, result string) {
	s.met.messages.WithLabelValues(channel, result).Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Pending[channel] = slices.DeleteFunc(s.state.Pending[channel], func(m Message) bool { return m.ID == id })
	s.measure()
	s.save()
}
