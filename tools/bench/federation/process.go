package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coder/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// publish sends events over p.lanes connections, one event at a time. All versions of
// an address go over the same connection. A stock relay has one connection, because it
// loses events that are stored concurrently.
func (p *process) publish(ctx context.Context, events []*nostr.Event) error {
	lanes := make([][]*nostr.Event, p.lanes)
	for _, evt := range events {
		h := sha256.Sum256([]byte(evt.PubKey + evt.Tags.GetD()))
		i := int(h[0]) % p.lanes
		lanes[i] = append(lanes[i], evt)
	}
	errs := make([]error, len(lanes))
	var wait sync.WaitGroup
	for i, lane := range lanes {
		wait.Go(func() { errs[i] = p.publishLane(ctx, lane) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (p *process) publishLane(ctx context.Context, events []*nostr.Event) error {
	ws, _, err := websocket.Dial(ctx, "ws://"+p.address(), nil)
	if err != nil {
		return fmt.Errorf("publish to %s: %w", p.name, err)
	}
	defer ws.CloseNow()
	for _, evt := range events {
		msg, err := json.Marshal([]any{"EVENT", evt})
		if err != nil {
			return err
		}
		if err := ws.Write(ctx, websocket.MessageText, msg); err != nil {
			return fmt.Errorf("publish to %s: %w", p.name, err)
		}
		for {
			_, b, err := ws.Read(ctx)
			if err != nil {
				return fmt.Errorf("publish to %s: %w", p.name, err)
			}
			if !bytes.HasPrefix(b, []byte(`["OK","`+evt.ID+`",`)) {
				continue
			}
			if bytes.HasPrefix(b, []byte(`["OK","`+evt.ID+`",false`)) {
				return fmt.Errorf("%s refused an event: %s", p.name, b)
			}
			break
		}
	}
	return nil
}

// count returns the number of the given events that a relay serves.
func (p *process) count(ctx context.Context, ids []string) (n int, err error) {
	ws, _, err := websocket.Dial(ctx, "ws://"+p.address(), nil)
	if err != nil {
		return 0, err
	}
	defer ws.CloseNow()
	ws.SetReadLimit(-1)
	for part := range slices.Chunk(ids, 50) {
		msg, err := json.Marshal([]any{"REQ", "count", map[string]any{"ids": part}})
		if err != nil {
			return n, err
		}
		if err := ws.Write(ctx, websocket.MessageText, msg); err != nil {
			return n, err
		}
		for {
			_, b, err := ws.Read(ctx)
			if err != nil {
				return n, err
			}
			if bytes.HasPrefix(b, []byte(`["EVENT"`)) {
				n++
			} else if bytes.HasPrefix(b, []byte(`["EOSE"`)) {
				break
			}
		}
	}
	return n, nil
}

// held returns the ids of the events that a mostrodex relay serves.
func (p *process) held(ctx context.Context) (ids []string, err error) {
	b, err := p.get(ctx, "/api/v1/export/events?live=true")
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var evt struct{ ID string }
		if err := json.Unmarshal(lines.Bytes(), &evt); err != nil {
			return nil, err
		}
		ids = append(ids, evt.ID)
	}
	sort.Strings(ids)
	return ids, lines.Err()
}

func (p *process) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address()+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s%s: %s", p.name, path, res.Status)
	}
	return b, err
}

var servesAt = regexp.MustCompile(`relay=ws://([0-9.:]+)/`)

// start runs the process and waits until it serves.
func (p *process) start(ctx context.Context) error {
	cmd := exec.Command(p.binary, p.args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	done, serving := make(chan struct{}), make(chan string, 1)
	var said []string
	go func() {
		defer close(done)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			if said = append(said, lines.Text()); len(said) > 30 {
				said = said[1:]
			}
			if m := servesAt.FindStringSubmatch(lines.Text()); m != nil {
				select {
				case serving <- m[1]:
				default:
				}
			}
		}
		cmd.Wait()
	}()
	select {
	case addr := <-serving:
		p.mu.Lock()
		p.addr, p.cmd, p.done = addr, cmd, done
		p.mu.Unlock()
		return nil
	case <-done:
		return fmt.Errorf("%s ended before it served:\n%s", p.name, strings.Join(said, "\n"))
	case <-time.After(5 * time.Minute): // enough for a million events on a busy machine
		cmd.Process.Kill()
		return fmt.Errorf("%s does not serve", p.name)
	case <-ctx.Done():
		cmd.Process.Kill()
		return ctx.Err()
	}
}

func (p *process) address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addr
}

func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	<-p.done
	return err
}

func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	<-p.done
	return nil
}

func (w *world) stopAll() {
	for _, p := range w.relays {
		if p.cmd != nil {
			p.cmd.Process.Kill() // an error means that the process has already ended
			<-p.done
		}
	}
	for _, l := range w.links {
		l.l.Close()
	}
}
