package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/mostrodex/mostrodex/tools/bench/record"
)

// question is one message that clients send repeatedly. It has frames for two
// subscription ids, and each of them closes the other id. So no relay has to handle a
// REQ for an id in use.
type question struct {
	frames [2][]byte
}

func ask(verb string, f nostr.Filter) question {
	var q question
	for i := range q.frames {
		if verb == "REQ" {
			q.frames[i] = appendFrame(nil, opText, fmt.Appendf(nil, `["CLOSE","q%d"]`, 1-i))
		}
		q.frames[i] = appendFrame(q.frames[i], opText, request(verb, i, f))
	}
	return q
}

func request(verb string, i int, f nostr.Filter) []byte {
	return fmt.Appendf(nil, `["%s","q%d",%s]`, verb, i, filterJSON(f))
}

// filterJSON encodes a filter deterministically, because the floor looks up requests by
// their bytes. go-nostr encodes tags in the random order of a map.
func filterJSON(f nostr.Filter) []byte {
	tags := f.Tags
	f.Tags = nil
	rest := f.String()
	dst := []byte("{")
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		values, err := json.Marshal(tags[name])
		if err != nil {
			panic(err) // strings always encode
		}
		dst = fmt.Appendf(dst, `"#%s":%s,`, name, values)
	}
	if rest == "{}" {
		return append(bytes.TrimSuffix(dst, []byte(",")), '}')
	}
	return append(dst, rest[1:]...)
}

func askAll(verb string, filters []nostr.Filter) []question {
	var all []question
	for _, f := range filters {
		all = append(all, ask(verb, f))
	}
	return all
}

// closedLoop runs clients for the given span. Each client sends the next question when
// the answer to the last one has ended. The result is the latency of each answer.
func closedLoop(ctx context.Context, addr string, questions []question, clients int, span time.Duration) ([]time.Duration, error) {
	sockets := make([]*socket, clients)
	for i := range sockets {
		s, err := dial(ctx, addr)
		if err != nil {
			return nil, err
		}
		defer s.close()
		sockets[i] = s
		// The first answer is not measured, because a relay may send greetings before
		// it.
		if err := s.send(questions[0].frames[0]); err != nil {
			return nil, err
		}
		if _, err := s.skimAnswer(); err != nil {
			return nil, err
		}
	}
	took := make([][]time.Duration, clients)
	errs := make([]error, clients)
	var wait sync.WaitGroup
	until := time.Now().Add(span)
	for i, s := range sockets {
		wait.Go(func() {
			for n := 1; ; n++ {
				began := time.Now()
				if began.After(until) {
					return
				}
				q := questions[(n+i*7)%len(questions)]
				if errs[i] = s.send(q.frames[n%2]); errs[i] != nil {
					return
				}
				if _, errs[i] = s.skimAnswer(); errs[i] != nil {
					return
				}
				took[i] = append(took[i], time.Since(began))
			}
		})
	}
	wait.Wait()
	return slices.Concat(took...), errors.Join(errs...)
}

// writeCanned writes the floor's answers: the oracle's answers as frames.
func writeCanned(path string, o *oracle, rows []row) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	part := func(b []byte) {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(b)))
		w.Write(n[:])
		w.Write(b)
	}
	for _, r := range rows {
		for _, f := range r.filters {
			found := o.answer(f)
			for i := range 2 {
				var frames []byte
				for _, n := range found {
					frames = appendServerFrame(frames, fmt.Appendf(nil, `["EVENT","q%d",%s]`, i, o.raw[n]))
				}
				frames = appendServerFrame(frames, fmt.Appendf(nil, `["EOSE","q%d"]`, i))
				part(request("REQ", i, f))
				part(frames)
			}
		}
	}
	return errors.Join(w.Flush(), f.Close())
}

// loaded starts the relays on data directories that hold the load.
func (b *bench) loaded(ctx context.Context) (servers []*server, err error) {
	for _, subject := range []string{"mostrodex", "stock"} {
		if b.skips(subject) {
			continue
		}
		dir, err := b.fill(ctx, subject)
		if err != nil {
			return servers, err
		}
		s, err := b.serve(ctx, subject, dir)
		if err != nil {
			return servers, err
		}
		servers = append(servers, s)
	}
	return servers, nil
}

// query measures each row's filters. First every answer is compared with the oracle's.
// Then clients send the filters in closed loops. The relay and the floor take turns, so
// that a disturbance affects both.
func (b *bench) query(ctx context.Context) error {
	o, err := b.theLoad(ctx)
	if err != nil {
		return err
	}
	servers, err := b.loaded(ctx)
	defer func() {
		for _, s := range servers {
			s.stop()
		}
	}()
	if err != nil {
		return err
	}
	rows := rowsOf(o)
	file := filepath.Join(b.work, "canned")
	if err := writeCanned(file, o, rows); err != nil {
		return err
	}
	canned, err := start(ctx, time.Minute, "canned", nil, b.canned, "-listen", "127.0.0.1:0", "-answers", file)
	if err != nil {
		return err
	}
	servers = append(servers, canned)
	for _, r := range rows {
		right := make(map[*server]map[string]float64)
		for _, s := range servers {
			if right[s], err = compareRow(ctx, s, o, r); err != nil {
				return fmt.Errorf("%s: %s: %w", s.name, r.name, err)
			}
		}
		for _, clients := range []int{1, connections} {
			err := b.undisturbed(ctx, func() ([]sample, error) {
				return b.timeRow(ctx, servers, "query", r.name, askAll("REQ", r.filters), clients, right)
			})
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
		}
	}
	return nil
}

// compareRow sends each filter of a row once and returns the counts of the verdicts.
func compareRow(ctx context.Context, srv *server, o *oracle, r row) (map[string]float64, error) {
	s, err := dial(ctx, srv.addr)
	if err != nil {
		return nil, err
	}
	defer s.close()
	var verdicts [verdictsNumber]int
	events := 0
	for n, f := range r.filters {
		want := o.answer(f)
		if err := s.send(ask("REQ", f).frames[n%2]); err != nil {
			return nil, err
		}
		got, err := s.readAnswer(fmt.Sprintf("q%d", n%2))
		if err != nil {
			return nil, err
		}
		v, why := o.judge(f, want, got)
		if verdicts[v]++; v != verdictRight && srv.name != "stock" {
			fmt.Fprintf(os.Stderr, "%s: wrong answer to %s: %s\n", srv.name, f, why)
		}
		events += len(want)
	}
	return map[string]float64{"right": float64(verdicts[verdictRight]), "right_but_ties": float64(verdicts[verdictTies]),
		"wrong": float64(verdicts[verdictWrong]), "asked": float64(len(r.filters)), "events_per_answer": float64(events) / float64(len(r.filters))}, nil
}

// turns is the number of turns of the relay and of the floor in one row.
const turns = 4

// timeRow runs closed loops against all servers in turn.
func (b *bench) timeRow(ctx context.Context, servers []*server, scenario, name string, questions []question, clients int, right map[*server]map[string]float64) ([]sample, error) {
	type total struct {
		took []time.Duration
		cpu  float64
		usage
	}
	totals := make(map[*server]*total)
	for turn := range turns {
		for _, s := range servers {
			span := b.slice
			// The stock relay is not compared with the floor, so it has one turn of
			// twice the length.
			if s.name == "stock" {
				if turn > 0 {
					continue
				}
				span *= 2
			}
			if totals[s] == nil {
				totals[s] = new(total)
			}
			t := totals[s]
			runtime.GC()
			m, err := newMeter(s)
			if err != nil {
				return nil, err
			}
			took, err := closedLoop(ctx, s.addr, questions, clients, span)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			u, err := m.read()
			if err != nil {
				return nil, err
			}
			t.took = append(t.took, took...)
			t.cpu += u.CPU[s]
			t.Wall, t.Noise, t.Stolen = t.Wall+u.Wall, t.Noise+u.Noise, t.Stolen+u.Stolen
		}
	}
	var out []sample
	for _, s := range servers {
		t := totals[s]
		slices.Sort(t.took)
		n := float64(len(t.took))
		values := map[string]float64{"n": n, "per_s": n / t.Wall, "p50_ms": record.Percentile(t.took, .5), "p99_ms": record.Percentile(t.took, .99), "cpu_us": t.cpu / n * 1e6}
		for k, v := range right[s] {
			values[k] = v
		}
		out = append(out, sample{result{Scenario: scenario, Figure: name, Subject: s.name, Clients: clients, Values: values}, t.usage})
	}
	return out, nil
}

// count measures COUNT. The floor has no answers to COUNT.
func (b *bench) count(ctx context.Context) error {
	o, err := b.theLoad(ctx)
	if err != nil {
		return err
	}
	servers, err := b.loaded(ctx)
	defer func() {
		for _, s := range servers {
			s.stop()
		}
	}()
	if err != nil {
		return err
	}
	for _, r := range countsOf(o) {
		right := make(map[*server]map[string]float64)
		for _, s := range servers {
			if right[s], err = compareCounts(ctx, s, o, r); err != nil {
				return fmt.Errorf("%s: %s: %w", s.name, r.name, err)
			}
		}
		for _, clients := range []int{1, connections} {
			err := b.undisturbed(ctx, func() ([]sample, error) {
				return b.timeRow(ctx, servers, "count", r.name, askAll("COUNT", r.filters), clients, right)
			})
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
		}
	}
	return nil
}

func compareCounts(ctx context.Context, srv *server, o *oracle, r row) (map[string]float64, error) {
	s, err := dial(ctx, srv.addr)
	if err != nil {
		return nil, err
	}
	defer s.close()
	right := 0
	for n, f := range r.filters {
		if err := s.send(ask("COUNT", f).frames[n%2]); err != nil {
			return nil, err
		}
		got, err := s.readCount()
		if err != nil {
			return nil, err
		}
		if got == o.count(f) {
			right++
		}
	}
	return map[string]float64{"right": float64(right), "asked": float64(len(r.filters))}, nil
}
