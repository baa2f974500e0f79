package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/internal/demomarket"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"
)

// demoNotice is on every page of a demo and in its NIP-11 document.
const demoNotice = "Simulated: an invented market, no sat is real"

// simulatedFile marks a data directory that holds invented events. Only demo opens such a
// directory to serve from it.
const simulatedFile = "SIMULATED.json"

// simulatedState is the content of simulatedFile.
type simulatedState struct {
	Seed  uint64 `json:"seed"`
	Start int64  `json:"start"` // unix seconds of the first event of the past; 0: the directory has no market
	End   int64  `json:"end"`   // unix seconds at which prices are those of the demo's own Mostro
	Relay string `json:"relay"` // address of the relay in the links of orders
	// Played is true if the past was played to its end. If it is false, the next start plays the
	// rest.
	Played bool `json:"played"`
}

// readSimulated returns the state of a simulated data directory, and false if the directory is
// none.
func readSimulated(data string) (s simulatedState, ok bool, err error) {
	b, err := os.ReadFile(filepath.Join(data, simulatedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, true, fmt.Errorf("%s: %w", filepath.Join(data, simulatedFile), err)
	}
	return s, true, nil
}

func (s simulatedState) write(data string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	path := filepath.Join(data, simulatedFile)
	if err := os.WriteFile(path+".next", append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".next", path)
}

// refuseSimulated returns an error if a data directory holds invented events. A relay that serves
// real orders must not mix them with invented ones.
func refuseSimulated(data string) error {
	if _, ok, err := readSimulated(data); ok || err != nil {
		return fmt.Errorf("%s holds the invented events of a demo: start it with 'mostrodex demo --data %s', or choose another directory with --data", data, data)
	}
	return nil
}

// demoMarket plays an invented market on a clock of its own.
type demoMarket struct {
	clock    *demoClock
	state    simulatedState
	data     string
	speed    float64
	script   *demomarket.Market
	progress io.Writer // nil: no progress is drawn
	logger   *slog.Logger

	next     demomarket.Step // the first step that was not played
	inFlight []sentStep
	events   int
}

// sentStep is an event that waits for the store.
type sentStep struct {
	at time.Time
	a  *relay.Admission
}

const (
	// demoAhead is how far the clock may be ahead of an event that waits for the store.
	demoAhead = 5 * time.Minute
	// demoTravel is the time from an event's publication to its arrival.
	demoTravel = 400 * time.Millisecond
	demoRound  = 512 // events that are signed together
	// A running market at the speed of the real time has so many times the orders of the past,
	// and trades that are so many times as fast, so that a visitor sees it move.
	demoArrivals = 40
	demoSteps    = 8
	demoPulse    = time.Minute
	// demoLag is, for each unit of speed above 1, how far the clock is behind the real time when
	// the past has been played. The clock meets the real time after an hour.
	demoLag = time.Hour
	// demoScamDays is how long before the end of the past the scammer begins to keep the sats of traders.
	demoScamDays     = 4
	demoNewcomerDays = 14
	demoDay          = 24 * time.Hour
)

// openMarket returns the market of a data directory, and writes the mark of the directory. It
// returns nil if the directory has no market. The directory must be new, or a demo's.
func openMarket(data, listen string, seed uint64, days int, speed float64, now time.Time) (*demoMarket, error) {
	s, known, err := readSimulated(data)
	if err != nil {
		return nil, err
	}
	if !known {
		_, events := os.Stat(filepath.Join(data, "events"))
		_, wallet := os.Stat(filepath.Join(data, "lnsim.json"))
		if events == nil && wallet != nil {
			return nil, fmt.Errorf("%s holds events that are not a demo's: choose another directory with --data", data)
		}
		s = simulatedState{Seed: seed, Played: true}
		if days > 0 && events != nil {
			end := now.Add(-time.Duration((speed - 1) * float64(demoLag)))
			s = simulatedState{Seed: seed, Start: end.Add(-time.Duration(days) * demoDay).Unix(), End: end.Unix(), Relay: "ws://" + listen}
		}
		if err := os.MkdirAll(data, 0o700); err != nil {
			return nil, err
		}
		if err := s.write(data); err != nil {
			return nil, err
		}
	}
	if s.Start == 0 || days == 0 {
		return nil, nil
	}
	d := &demoMarket{clock: newDemoClock(time.Unix(s.Start, 0)), state: s, data: data, speed: speed}
	cfg := s.script()
	if s.Played { // the past is there; the same Mostros go on with new orders
		d.clock = newDemoClock(now)
		d.clock.Start(1)
		cfg.Run, cfg.Start, d.speed = uint64(now.Unix()), now, 1
	}
	d.script = demomarket.New(cfg)
	d.next = d.script.Next()
	return d, nil
}

// script returns the script of the past.
func (s simulatedState) script() demomarket.Config {
	end := time.Unix(s.End, 0)
	return demomarket.Config{Seed: s.Seed, Start: time.Unix(s.Start, 0), Prices: demoPrices, Level: end, Relay: s.Relay,
		Newcomer: end.Add(-demoNewcomerDays * demoDay), Exit: end.Add(-demoScamDays * demoDay)}
}

// past plays the script up to the present, or at a higher speed up to the moment from which the
// clock can run for an hour. A past that was interrupted is continued: the script is the same
// again, and events that the log holds are skipped or found to be duplicates.
func (d *demoMarket) past(ctx context.Context, server *relay.Server, store *eventlog.Store) error {
	if d.state.Played {
		return nil
	}
	if head := store.Head(); head > 0 {
		last, err := store.EntryAt(ctx, head)
		if err != nil && !errors.Is(err, mostro.ErrNotFound) {
			return fmt.Errorf("continue the past of the market: %w", err)
		}
		if err == nil {
			d.clock.Set(last.ReceivedAt)
		}
	}
	lag, began := time.Duration((d.speed-1)*float64(demoLag)), time.Now()
	have := d.clock.Now().Add(-2 * demoAhead)
	show := d.bar()
	for {
		until := time.Now().Add(-lag)
		var round []demomarket.Step
		for len(round) < demoRound && !d.next.At.After(until) {
			if d.next.At.After(have) {
				round = append(round, d.next)
			}
			d.next = d.script.Next()
		}
		if len(round) == 0 {
			break
		}
		if err := signSteps(round); err != nil {
			return err
		}
		for _, s := range round {
			if err := d.send(ctx, server, s); err != nil {
				return err
			}
		}
		show(round[len(round)-1].At, until)
	}
	if err := d.settle(server, time.Time{}); err != nil {
		return err
	}
	d.clock.Set(time.Now().Add(-lag))
	d.clock.Start(d.speed)
	d.state.Played = true
	if err := d.state.write(d.data); err != nil {
		return err
	}
	show(time.Time{}, time.Time{})
	d.logger.Info("played the past of a simulated market", "events", d.events, "days", int(time.Now().Add(-lag).Sub(time.Unix(d.state.Start, 0))/demoDay), "seconds", math.Round(time.Since(began).Seconds()*10)/10)
	return nil
}

// playMarket plays the past, lets the readers of the log catch up, opens the doors and goes on
// with the market until ctx ends. An earlier visitor waits for the first page.
func (m *Main) playMarket(ctx context.Context, g *errgroup.Group) error {
	d := m.Demo.Market
	d.logger = m.Logger
	if err := d.past(ctx, m.relay, m.store); err != nil {
		return err
	}
	m.runReaders(ctx, g)
	for !m.index.Ready() || !m.scores.Ready() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
	m.answer(ctx, g)
	m.Logger.Info("the demo is open", "url", "http://"+m.Addr()+"/", "speed", d.speed)
	return d.live(ctx, m.relay)
}

// notice returns the text for every page of a demo. d may be nil.
func (d *Demo) notice() string {
	if d == nil {
		return ""
	}
	return demoNotice
}

// simulatedHeader is in every HTTP answer of a demo.
const simulatedHeader = "X-Simulated"

// marked adds simulatedHeader to every answer. d may be nil.
func (d *Demo) marked(h http.Handler) http.Handler {
	if d == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(simulatedHeader, "1")
		h.ServeHTTP(w, r)
	})
}

// bar returns a function that draws how much of the past is played, at most ten times a second on
// a terminal, and every five seconds as a line of the log otherwise. The zero time removes the
// bar.
func (d *demoMarket) bar() func(at, until time.Time) {
	f, ok := d.progress.(*os.File)
	drawn, logged, terminal := time.Time{}, time.Now(), ok && term.IsTerminal(int(f.Fd()))
	return func(at, until time.Time) {
		switch now := time.Now(); {
		case at.IsZero() && terminal:
			fmt.Fprint(d.progress, "\r\033[K")
		case at.IsZero():
		case terminal && now.Sub(drawn) >= 100*time.Millisecond:
			drawn = now
			const width = 30
			start := time.Unix(d.state.Start, 0)
			done := min(1, float64(at.Sub(start))/float64(until.Sub(start)))
			bar := strings.Repeat("#", int(done*width)) + strings.Repeat(".", width-int(done*width))
			fmt.Fprintf(d.progress, "\r[%s] %s  %d events of a simulated market\033[K", bar, at.UTC().Format(time.DateOnly), d.events)
		case !terminal && now.Sub(logged) >= 5*time.Second:
			logged = now
			d.logger.Info("playing the past of a simulated market", "day", at.UTC().Format(time.DateOnly), "events", d.events)
		}
	}
}

// signSteps signs events on all cores.
func signSteps(steps []demomarket.Step) error {
	errs := make([]error, runtime.GOMAXPROCS(0))
	var wait sync.WaitGroup
	for w := range errs {
		wait.Go(func() {
			for i := w; i < len(steps); i += len(errs) {
				if errs[w] = steps[i].Event.Sign(hexOf(steps[i].Author)); errs[w] != nil {
					return
				}
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// send publishes a signed event as a client would, at its moment. It does not wait for the store,
// unless the store is behind the clock.
func (d *demoMarket) send(ctx context.Context, server *relay.Server, s demomarket.Step) error {
	if err := d.settle(server, s.At.Add(-demoAhead)); err != nil {
		return err
	}
	d.clock.Set(s.At.Add(demoTravel))
	evt := s.Event
	a := server.Federated(ctx, &evt, len(mostro.EncodeEvent(&evt)), mostro.Source{Origin: mostro.OriginClient})
	if server.Check(a) {
		server.Submit(a)
	}
	d.inFlight = append(d.inFlight, sentStep{s.At, a})
	d.events++
	return ctx.Err()
}

// maxInFlight is the number of events that wait for the store at the same time.
const maxInFlight = 256

// settle waits for the outcome of the events that were sent before a moment, or of all if before
// is the zero time.
func (d *demoMarket) settle(server *relay.Server, before time.Time) error {
	n := 0
	for ; n < len(d.inFlight); n++ {
		s := d.inFlight[n]
		if !before.IsZero() && !s.at.Before(before) && len(d.inFlight)-n < maxInFlight {
			break
		}
		if out, ok, reason := server.Outcome(s.a); !ok && out != eventlog.Deleted {
			d.inFlight = nil
			return fmt.Errorf("the relay refuses an event of the demo's market (kind %d): %s", s.a.Event().Kind, reason)
		}
	}
	d.inFlight = append(d.inFlight[:0], d.inFlight[n:]...)
	return nil
}

// live plays the script on the running clock until ctx ends. When the clock is the real time, the
// market hurries. An event that is refused is skipped, for example because the disk is full.
func (d *demoMarket) live(ctx context.Context, server *relay.Server) error {
	hurried := false
	for {
		if !hurried && d.clock.Met() {
			hurried = true
			d.script.Hurry(d.clock.Now(), demoArrivals, demoSteps, demoPulse)
		}
		wait := d.clock.Until(d.next.At)
		if !hurried {
			wait = min(wait, time.Second) // the clock may meet the real time
		}
		if wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return nil
			}
			continue
		}
		step := []demomarket.Step{d.next}
		d.next = d.script.Next()
		if err := signSteps(step); err != nil {
			return err
		}
		err := d.send(ctx, server, step[0])
		if err == nil {
			err = d.settle(server, time.Time{})
		}
		if err != nil && ctx.Err() == nil {
			d.logger.Warn("the demo's market", "error", err)
		}
	}
}
