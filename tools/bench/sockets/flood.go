package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mostrodex/mostrodex/tools/bench/record"
	"github.com/nbd-wtf/go-nostr"
)

// flooding measures a flood: one key publishes orders as fast as it can while two
// hundred clients trade. The key's quota is 10,000 orders. Rate limits do not apply,
// because the generator is on this machine.
func (s *settings) flooding(ctx context.Context) error {
	r, stop, err := s.start("mostrodex", "[indexer]\nenabled = false\n[relay.quota]\nlive_addresses_per_key = 10000\n")
	if err != nil {
		return err
	}
	defer stop()
	const clients = 200
	trade := func(span time.Duration) (all []time.Duration, refused int, err error) {
		ctx, cancel := context.WithTimeout(ctx, span)
		defer cancel()
		var mu sync.Mutex
		var wait sync.WaitGroup
		var first error
		for i := range clients {
			wait.Go(func() {
				ws, err := r.dial(ctx)
				if err != nil {
					return
				}
				defer ws.CloseNow()
				for n := 0; ctx.Err() == nil; n++ {
					evt, err := order(fmt.Sprintf("%064x", 0x10000+i), fmt.Sprint(span, n%5))
					if err != nil {
						return
					}
					evt.CreatedAt += nostr.Timestamp(n / 5)
					evt.Sign(fmt.Sprintf("%064x", 0x10000+i))
					ok, took, err := acked(ctx, ws, evt)
					if err != nil {
						if ctx.Err() == nil {
							mu.Lock()
							first = err
							mu.Unlock()
						}
						return
					}
					mu.Lock()
					all = append(all, took)
					if !ok {
						refused++
					}
					mu.Unlock()
					select {
					case <-time.After(time.Second): // a trader publishes about once a second
					case <-ctx.Done():
					}
				}
			})
		}
		wait.Wait()
		return all, refused, first
	}
	flood := make([]*nostr.Event, s.flood)
	var wait sync.WaitGroup
	for w := range 2 {
		wait.Go(func() {
			for i := w; i < len(flood); i += 2 {
				flood[i], _ = order(fmt.Sprintf("%064x", 0xf100d), fmt.Sprint(i))
			}
		})
	}
	wait.Wait()
	quiet, _, err := trade(s.span)
	if err != nil {
		return err
	}
	var took, refused atomic.Int64
	flooded := make(chan error, 1)
	go func() {
		var errs [8]error
		var wait sync.WaitGroup
		for c := range 8 {
			wait.Go(func() {
				ws, err := r.dial(ctx)
				if err != nil {
					errs[c] = err
					return
				}
				defer ws.CloseNow()
				for i := c; i < len(flood); i += 8 {
					ok, _, err := acked(ctx, ws, flood[i])
					if err != nil {
						errs[c] = err
						return
					}
					if ok {
						took.Add(1)
					} else {
						refused.Add(1)
					}
				}
			})
		}
		wait.Wait()
		flooded <- errors.Join(errs[:]...)
	}()
	meter, err := record.NewMeter(r.cmd.Process.Pid)
	if err != nil {
		return err
	}
	loud, others, err := trade(s.span)
	if err != nil {
		return err
	}
	during := took.Load() + refused.Load()
	if err := <-flooded; err != nil {
		return err
	}
	u, _, err := meter.Read()
	if err != nil {
		return err
	}
	peak, err := r.status("VmHWM")
	if err != nil {
		return err
	}
	slices.Sort(quiet)
	slices.Sort(loud)
	return s.Add(record.Result{Scenario: "flood", Figure: "one key", Subject: "mostrodex", Clients: clients, Values: map[string]float64{
		"flood": float64(len(flood)), "taken": float64(took.Load()), "refused": float64(refused.Load()), "while_trading": float64(during),
		"quiet_p50_ms": record.Percentile(quiet, .5), "quiet_p99_ms": record.Percentile(quiet, .99), "p50_ms": record.Percentile(loud, .5), "p99_ms": record.Percentile(loud, .99),
		"others_refused": float64(others), "peak_mib": peak / 1024,
	}}, u)
}
