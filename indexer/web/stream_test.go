package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// growingLog is a log in memory, for one goroutine.
type growingLog struct {
	emptyLog
	entries []mostro.Entry
}

func (l *growingLog) add(d string) {
	evt := &nostr.Event{PubKey: strings.Repeat("0b", 32), Kind: mostro.KindOrder, CreatedAt: 1_790_000_000, Tags: nostr.Tags{
		{"d", d}, {"k", "sell"}, {"f", "USD"}, {"s", "pending"}, {"amt", "0"}, {"fa", "5"}, {"pm", "cash"}, {"y", "mostro"}, {"z", "order"}}}
	evt.ID = evt.GetID()
	l.entries = append(l.entries, mostro.Entry{Seq: uint64(len(l.entries) + 1), Event: evt, ReceivedAt: evt.CreatedAt.Time(), Source: mostro.Source{Origin: mostro.OriginLive}})
}

func (l *growingLog) Head() uint64 { return uint64(len(l.entries)) }

func (l *growingLog) Read(_ context.Context, after uint64, fn func(mostro.Entry) error) error {
	for _, e := range l.entries[min(after, l.Head()):] {
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

func (l *growingLog) ReadEvidence(ctx context.Context, after uint64, fn func(mostro.Entry) error) error {
	return l.Read(ctx, after, fn)
}

// TestSlowReaderIsDropped lets the book grow by more than a reader may be behind while the reader
// takes one event.
func TestSlowReaderIsDropped(t *testing.T) {
	l := &growingLog{}
	x, err := indexer.Open(indexer.Config{Dir: t.TempDir(), Log: l, Events: l})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	s := newStream(&views{index: x}, nil)
	s.behind = 5
	grow := func(n int) {
		for range n {
			l.add(fmt.Sprint(len(l.entries)))
		}
		if err := x.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	grow(3)
	for _, c := range []struct {
		grows int
		want  string
	}{{4, ""}, {7, "too_slow"}} {
		sent := 0
		enough := errors.New("enough")
		err := s.follow(httptest.NewRequest(http.MethodGet, "/", nil), orders.Query{}, x.Position()-2, func(text string) error {
			if !strings.HasPrefix(text, "event: order") {
				t.Errorf("sent %q", text)
			}
			if sent++; sent == 1 {
				grow(c.grows)
			}
			if sent == 4 {
				return enough
			}
			return nil
		})
		var dropped errDropped
		if errors.As(err, &dropped); string(dropped) != c.want || c.want == "" && !errors.Is(err, enough) {
			t.Errorf("after %d events while one was written: %v, want %q", c.grows, err, c.want)
		}
	}
}
