package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/nbd-wtf/go-nostr"
)

// relayClient is one connection of a verb to a relay. It is for sequential use.
type relayClient struct {
	conn *websocket.Conn
	url  string
	subs int
}

// maxFrame is the maximum size of a frame from a relay in bytes.
const maxFrame = 1 << 20

// dialRelay connects to the relay behind a base URL, http(s) or ws(s).
func dialRelay(ctx context.Context, base string) (*relayClient, error) {
	u, err := serverURL(base, "ws")
	if err != nil {
		return nil, err
	}
	conn, _, err := websocket.Dial(ctx, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("no relay answers at %s (start one with 'mostrodex serve', or name one with --url): %w", base, err)
	}
	conn.SetReadLimit(maxFrame)
	return &relayClient{conn: conn, url: base}, nil
}

// close ends the connection without waiting for the relay.
func (w *relayClient) close() { _ = w.conn.CloseNow() }

func (w *relayClient) write(ctx context.Context, frame ...any) error {
	b, err := json.Marshal(frame)
	if err != nil {
		return fmt.Errorf("encode a frame: %w", err)
	}
	return w.conn.Write(ctx, websocket.MessageText, b)
}

// read returns the name and the remaining elements of the next frame.
func (w *relayClient) read(ctx context.Context) (name string, rest []json.RawMessage, err error) {
	_, b, err := w.conn.Read(ctx)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", w.url, err)
	}
	var frame []json.RawMessage
	if json.Unmarshal(b, &frame) != nil || len(frame) < 2 || json.Unmarshal(frame[0], &name) != nil {
		return "", nil, fmt.Errorf("%s sent what is no frame of a relay", w.url)
	}
	return name, frame[1:], nil
}

func wordOf(raw json.RawMessage) string {
	var s string
	_ = json.Unmarshal(raw, &s) // an element that is not a string matches no name
	return s
}

// eventOf parses the event of a frame for a subscription, and verifies the event, because a
// relay may send false data. It returns nil if the frame is not for this subscription or if
// the event is not genuine.
func eventOf(name string, rest []json.RawMessage, sub string) *nostr.Event {
	if name != "EVENT" || len(rest) != 2 || wordOf(rest[0]) != sub {
		return nil
	}
	evt, err := message.DecodeEvent(rest[1])
	if err != nil || !evt.CheckID() {
		return nil
	}
	if ok, err := evt.CheckSignature(); err != nil || !ok {
		return nil
	}
	return evt
}

// stored returns the relay's stored events for a filter.
func (w *relayClient) stored(ctx context.Context, f nostr.Filter) (events []*nostr.Event, err error) {
	sub, err := w.subscribe(ctx, f)
	if err != nil {
		return nil, err
	}
	for {
		name, rest, err := w.read(ctx)
		if err != nil {
			return nil, err
		}
		if evt := eventOf(name, rest, sub); evt != nil && f.Matches(evt) {
			events = append(events, evt)
		}
		if wordOf(rest[0]) == sub && (name == "EOSE" || name == "CLOSED") {
			if name == "CLOSED" {
				return nil, fmt.Errorf("%s refuses: %s", w.url, wordOf(rest[len(rest)-1]))
			}
			return events, w.write(ctx, "CLOSE", sub)
		}
	}
}

// subscribe opens a subscription. Its events are read with next.
func (w *relayClient) subscribe(ctx context.Context, f nostr.Filter) (sub string, err error) {
	w.subs++
	sub = fmt.Sprintf("mostrodex%d", w.subs)
	return sub, w.write(ctx, "REQ", sub, f)
}

// next waits for an event of a subscription.
func (w *relayClient) next(ctx context.Context, sub string) (*nostr.Event, error) {
	for {
		name, rest, err := w.read(ctx)
		if err != nil {
			return nil, err
		}
		if name == "CLOSED" && wordOf(rest[0]) == sub {
			return nil, fmt.Errorf("%s refuses: %s", w.url, wordOf(rest[len(rest)-1]))
		}
		if evt := eventOf(name, rest, sub); evt != nil {
			return evt, nil
		}
	}
}

// publish sends an event and waits for the relay's OK.
func (w *relayClient) publish(ctx context.Context, evt *nostr.Event) error {
	if err := w.write(ctx, "EVENT", evt); err != nil {
		return fmt.Errorf("%s: %w", w.url, err)
	}
	for {
		name, rest, err := w.read(ctx)
		if err != nil {
			return err
		}
		if name != "OK" || len(rest) < 2 || wordOf(rest[0]) != evt.ID {
			continue
		}
		var ok bool
		if json.Unmarshal(rest[1], &ok) == nil && ok {
			return nil
		}
		reason := "without a reason"
		if len(rest) > 2 {
			reason = wordOf(rest[2])
		}
		return fmt.Errorf("%s refuses the event: %s", w.url, strings.TrimSpace(reason))
	}
}

// keysets returns a host's keysets that the relay stores. A relay stores only the newest
// version of an addressable event.
func (w *relayClient) keysets(ctx context.Context, node string) (receipt.Keysets, error) {
	events, err := w.stored(ctx, nostr.Filter{Kinds: mostro.KeysetKinds, Authors: []string{node}})
	if err != nil {
		return nil, err
	}
	return func(host, id string) *nostr.Event {
		for _, evt := range events {
			if k, err := receipt.ParseKeyset(evt); err == nil && evt.PubKey == host && k.ID == id {
				return evt
			}
		}
		return nil
	}, nil
}

// keysetOf returns a host's keyset of an epoch. The keyset may be published under the present
// kind, the former kind or both. If the two hold different keys, the host could use the key
// to identify the user, so keysetOf returns neither.
func (w *relayClient) keysetOf(ctx context.Context, node, epoch string) (receipt.Keyset, error) {
	events, err := w.stored(ctx, nostr.Filter{Kinds: mostro.KeysetKinds, Authors: []string{node}, Tags: nostr.TagMap{"d": {epoch}}})
	if err != nil {
		return receipt.Keyset{}, err
	}
	var found receipt.Keyset
	for _, evt := range events {
		k, err := receipt.ParseKeyset(evt)
		if errors.Is(err, mostro.ErrForeign) {
			continue // the event is an announcement
		}
		if err != nil {
			return receipt.Keyset{}, fmt.Errorf("the Mostro's key for blind receipts: %w", err)
		}
		if found.ID != "" && found.ID != k.ID {
			return receipt.Keyset{}, fmt.Errorf("the Mostro has published two keys for blind receipts of %s at %s, and could tell by them who asked", epoch, w.url)
		}
		found = k
	}
	if found.ID == "" {
		return found, fmt.Errorf("the Mostro has published no key for blind receipts of %s at %s", epoch, w.url)
	}
	return found, nil
}

// patience is the time for which a verb waits for an answer.
const patience = 30 * time.Second

// withTimeout limits the duration of a conversation, and returns an error that says so if the limit
// is exceeded.
func withTimeout(ctx context.Context, limit time.Duration, fn func(context.Context) error) error {
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := fn(within)
	if err != nil && ctx.Err() == nil && errors.Is(within.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", limit)
	}
	return err
}
