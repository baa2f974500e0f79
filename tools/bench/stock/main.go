// Command stock is a relay as most Go operators run it: khatru with eventstore's
// badger, configured as their documentation shows. One guard is added, against
// malformed d tags, because a single message with such a tag would end the process. The
// program exists for comparison only.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/fiatjaf/eventstore/badger"
	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address")
	data := flag.String("data", "", "data directory")
	limit := flag.Int("cap", 0, "maximum number of events in one answer; 0: the store's default")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *data, *limit); err != nil {
		fmt.Fprintln(os.Stderr, "stock:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen, data string, limit int) error {
	db := badger.BadgerBackend{Path: data, MaxLimit: limit}
	if err := db.Init(); err != nil {
		return err
	}
	defer db.Close()
	relay := khatru.NewRelay()
	relay.RejectEvent = append(relay.RejectEvent, wholeAddress)
	relay.StoreEvent = append(relay.StoreEvent, db.SaveEvent)
	relay.QueryEvents = append(relay.QueryEvents, db.QueryEvents)
	relay.CountEvents = append(relay.CountEvents, db.CountEvents)
	relay.DeleteEvent = append(relay.DeleteEvent, db.DeleteEvent)
	relay.ReplaceEvent = append(relay.ReplaceEvent, db.ReplaceEvent)

	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "serving relay=ws://%s/\n", l.Addr())
	srv := &http.Server{Handler: relay}
	go func() {
		<-ctx.Done()
		srv.Close()
	}()
	if err := srv.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}

// wholeAddress refuses an event if its d tag has no value, because khatru would index
// out of range.
func wholeAddress(_ context.Context, evt *nostr.Event) (bool, string) {
	for _, tag := range evt.Tags {
		if len(tag) == 1 && tag[0] == "d" {
			return true, "invalid: a d tag has no value"
		}
	}
	return false, ""
}
