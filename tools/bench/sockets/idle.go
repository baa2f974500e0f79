package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/coder/websocket"
	"github.com/mostrodex/mostrodex/tools/bench/record"
)

// idling measures the memory of s.idle connections with one subscription each.
func (s *settings) idling(ctx context.Context) error {
	r, stop, err := s.start("mostrodex", "[indexer]\nenabled = false\n")
	if err != nil {
		return err
	}
	defer stop()
	meter, err := record.NewMeter(r.cmd.Process.Pid)
	if err != nil {
		return err
	}
	before, err := r.status("RssAnon")
	if err != nil {
		return err
	}
	conns := make([]*websocket.Conn, 0, s.idle)
	defer func() {
		for _, ws := range conns {
			ws.CloseNow()
		}
	}()
	for i := range s.idle {
		ws, err := r.dial(ctx)
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		conns = append(conns, ws)
		if err := send(ctx, ws, "REQ", "s", map[string]any{"kinds": []int{1059}, "#p": []string{fmt.Sprintf("%064x", i)}}); err != nil {
			return err
		}
		for {
			_, b, err := ws.Read(ctx)
			if err != nil {
				return err
			}
			if bytes.HasPrefix(b, []byte(`["EOSE"`)) {
				break
			}
		}
	}
	time.Sleep(2 * time.Second)
	after, err := r.status("RssAnon")
	if err != nil {
		return err
	}
	u, _, err := meter.Read()
	if err != nil {
		return err
	}
	return s.Add(record.Result{Scenario: "idle", Figure: "one subscription each", Subject: "mostrodex", Clients: len(conns), Values: map[string]float64{
		"rss_anon_mib": after / 1024, "before_mib": before / 1024, "kib_each": (after - before) / float64(len(conns)),
	}}, u)
}
