package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
	"github.com/spf13/cobra"
)

// watching is one call of the verb watch.
type watching struct {
	url, relay  string
	command     []string // program and arguments; empty: orders are printed
	timeout     time.Duration
	asJSON, all bool
	count       int // orders after which the verb ends; 0: no end

	out, errs io.Writer
	told      map[string]struct{}
	shown     int
	reached   bool // the server has answered once
}

func newWatchCmd() *cobra.Command {
	var w watching
	var program string
	cmd := &cobra.Command{
		Use:   "watch [FILTER] [--exec PROGRAM [-- ARG...]]",
		Short: "Print orders that fit as they come, or run a program for each",
		Long: `Print the orders on offer that fit as they come, each once, or run a program for
each. FILTER has pairs such as fiat:VES or premium:<=2; the flags mean the same.

The program gets the order as JSON at its standard input and in variables:
ORDER_SIDE ORDER_FIAT ORDER_FIAT_MIN ORDER_FIAT_MAX ORDER_SATS ORDER_PREMIUM
ORDER_METHODS ORDER_PLATFORM ORDER_INSTANCE ORDER_INSTANCE_NAME ORDER_D
ORDER_EVENT_ID ORDER_LINK. It runs without a shell, one at a time. All values are
texts of strangers: a script must quote them. If the program fails or takes too
long, a line says so and the watch goes on.

With --relay the orders come from any relay. The JSON is then the signed event.`,
		Example: `  mostrodex watch fiat:VES side:sell "premium:<=2"
  mostrodex watch --fiat USD --json
  mostrodex watch fiat:EUR method:sepa --exec notify-send -- "New order"
  mostrodex watch fiat:ARS --relay wss://relay.mostro.network`,
	}
	params := addOrderFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter, rest := args, []string(nil)
		if at := cmd.ArgsLenAtDash(); at >= 0 {
			filter, rest = args[:at], args[at:]
		}
		switch {
		case program != "":
			w.command = append([]string{program}, rest...)
		case len(rest) > 0:
			return usagef("arguments behind -- belong to a program: name it with --exec")
		}
		q := params()
		for _, name := range []string{"open", "at", "sort", "limit", "cursor"} {
			if q.Has(name) {
				return usagef("watch has no --%s: it shows orders as they come", name)
			}
		}
		if len(filter) > 0 {
			q.Set("q", strings.Join(filter, " "))
		}
		w.out, w.errs, w.told = cmd.OutOrStdout(), cmd.ErrOrStderr(), map[string]struct{}{}
		if w.relay != "" {
			return w.fromRelay(cmd.Context(), q)
		}
		return w.fromServer(cmd.Context(), q)
	}
	f := cmd.Flags()
	for _, name := range []string{"open", "at", "sort", "limit", "cursor"} {
		if flag := f.Lookup(name); flag != nil {
			flag.Hidden = true
		}
	}
	f.StringVar(&w.url, "url", defaultURL, "running server, http(s) or ws(s)")
	f.StringVar(&w.relay, "relay", "", "relay to ask in the place of a server, ws(s)")
	f.StringVar(&program, "exec", "", "program to run for each order; its arguments stand behind --")
	f.DurationVar(&w.timeout, "exec-timeout", time.Minute, "time after which the program is ended")
	f.BoolVar(&w.asJSON, "json", false, "print JSON, one order per line")
	f.BoolVar(&w.all, "all", false, "show each new version of an order")
	f.IntVar(&w.count, "count", 0, "end after this number of orders; 0: no end")
	cmd.MarkFlagsMutuallyExclusive("url", "relay")
	return cmd
}

// errEnough ends a watch after its last order.
var errEnough = errors.New("enough orders")

// watchedOrder holds the fields of an order that watch shows.
type watchedOrder struct {
	Pubkey, D, Side, Status, Fiat, Platform string
	FiatAmount                              *struct{ Min, Max *string } `json:"fiat_amount"`
	AmountSats                              *int64                      `json:"amount_sats"`
	PremiumPct                              *string                     `json:"premium_pct"`
	Methods                                 []string
	TakeLink                                *string `json:"take_link"`
	EventID                                 string  `json:"event_id"`
	Instance                                struct {
		Pubkey, Name string
	}
}

const (
	maxWatchLine = 4 << 20 // bytes of one event of the stream
	maxTold      = 100_000 // orders that are remembered
	longestPause = time.Minute
)

// fromServer reads the stream of a server. After a break it comes back with Last-Event-ID, so
// that no order is left out.
func (w *watching) fromServer(ctx context.Context, q url.Values) error {
	last := ""
	for pause := time.Second; ; {
		began := time.Now()
		err := w.stream(ctx, q, &last)
		var usage usageError
		switch {
		case errors.Is(err, errEnough), ctx.Err() != nil:
			return nil
		case errors.As(err, &usage):
			return err
		case !w.reached:
			return err
		}
		if time.Since(began) > longestPause {
			pause = time.Second
		}
		fmt.Fprintf(w.errs, "mostrodex: %v; trying again in %s\n", err, pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
	}
}

func (w *watching) stream(ctx context.Context, q url.Values, last *string) error {
	u, err := apiURL(w.url, "/api/v1/stream", q)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return err
	}
	if *last != "" {
		req.Header.Set("Last-Event-ID", *last)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return unreachable(w.url, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		if *last != "" && (resp.StatusCode == http.StatusGone || resp.StatusCode == http.StatusBadRequest) { // away for too long, or another log
			*last = ""
			return errors.New("the server cannot go on where the stream broke off; orders in between are left out")
		}
		return answerError(resp)
	}
	w.reached = true
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 0, 64<<10), maxWatchLine)
	var event, data, id string
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			event = value
		case "id":
			id = value
		case "data":
			data += value
		}
		if lines.Text() != "" {
			continue
		}
		if event == "order" {
			if err := w.order(ctx, []byte(data)); err != nil {
				return err
			}
		}
		if event == "end" {
			return errors.New("the server has ended the stream, because it was read too slowly")
		}
		if id != "" {
			*last = id
		}
		event, data, id = "", "", ""
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("the stream has broken off: %w", err)
	}
	return errors.New("the stream has ended")
}

// order shows an order in the JSON of the API.
func (w *watching) order(ctx context.Context, body []byte) error {
	var o watchedOrder
	if err := json.Unmarshal(body, &o); err != nil {
		return fmt.Errorf("the server's answer is not understood: %w", err)
	}
	return w.show(ctx, &o, body)
}

// fromRelay reads the orders of a relay.
func (w *watching) fromRelay(ctx context.Context, values url.Values) error {
	q, err := orders.ParseQuery(values)
	switch {
	case err != nil:
		return usageError{err}
	case q.Text != "":
		return usagef("FILTER has pairs such as fiat:VES only; words are not compared")
	case q.MinRank != 0:
		return usagef("a relay knows no ranks: use --url")
	}
	relay, err := dialRelay(ctx, w.relay)
	if err != nil {
		return err
	}
	defer relay.close()
	since := nostr.Now()
	sub, err := relay.subscribe(ctx, nostr.Filter{Kinds: []int{mostro.KindOrder}, Since: &since})
	for err == nil {
		var evt *nostr.Event
		if evt, err = relay.next(ctx, sub); err == nil {
			err = w.event(ctx, evt, &q)
		}
	}
	if errors.Is(err, errEnough) || ctx.Err() != nil {
		return nil
	}
	return err
}

// event shows an order event that fits.
func (w *watching) event(ctx context.Context, evt *nostr.Event, q *orders.Query) error {
	o, err := mostro.ParseOrder(evt)
	if err != nil {
		return nil // not an order
	}
	v := orders.Version{Order: o}
	if !q.Matches(&v, time.Now()) {
		return nil
	}
	shown := watchedOrder{Pubkey: o.Pubkey, D: o.D, Side: string(o.Side), Status: string(o.Status), Fiat: o.Fiat, Platform: o.Platform, AmountSats: o.AmountSats, Methods: o.Methods, EventID: o.EventID}
	shown.Instance.Pubkey, shown.Instance.Name = o.Pubkey, o.InstanceName
	if o.FiatAmount.Min != nil || o.FiatAmount.Max != nil {
		shown.FiatAmount = &struct{ Min, Max *string }{decimalText(o.FiatAmount.Min), decimalText(o.FiatAmount.Max)}
	}
	shown.PremiumPct = decimalText(o.PremiumPct)
	return w.show(ctx, &shown, mostro.EncodeEvent(evt))
}

func decimalText(d *mostro.Decimal) *string {
	if d == nil {
		return nil
	}
	return new(d.String())
}

// show prints an order, or runs the program for it. The first version of an order that fits is
// shown, and later versions only with --all.
func (w *watching) show(ctx context.Context, o *watchedOrder, body []byte) error {
	key := o.Pubkey + ":" + o.D
	if _, known := w.told[key]; known && !w.all {
		return nil
	}
	if len(w.told) >= maxTold {
		clear(w.told)
	}
	w.told[key] = struct{}{}
	var err error
	switch {
	case len(w.command) > 0:
		w.run(ctx, o, body)
	case w.asJSON:
		_, err = fmt.Fprintf(w.out, "%s\n", body)
	default:
		_, err = fmt.Fprintln(w.out, o.line())
	}
	if w.shown++; err == nil && w.count > 0 && w.shown >= w.count {
		return errEnough
	}
	return err
}

// run runs the program for an order. Its failure does not end the watch.
func (w *watching) run(ctx context.Context, o *watchedOrder, body []byte) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.command[0], w.command[1:]...)
	cmd.Env = append(os.Environ(), o.environ()...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(append(bytes.Clone(body), '\n')), w.out, w.errs
	cmd.WaitDelay = time.Second // a child that keeps the output open
	if err := cmd.Run(); err != nil {
		fmt.Fprintf(w.errs, "mostrodex: %s for order %s: %v\n", w.command[0], clip(o.D, 64), err)
	}
}

// fiat returns both ends of the fiat amount, or "".
func (o *watchedOrder) fiat() (lo, hi string) {
	if a := o.FiatAmount; a != nil {
		lo, hi = firstOf(text(a.Min), text(a.Max)), firstOf(text(a.Max), text(a.Min))
	}
	return lo, hi
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (o *watchedOrder) sats() string {
	if o.AmountSats == nil {
		return ""
	}
	return strconv.FormatInt(*o.AmountSats, 10)
}

// environ returns the variables of an order. Control characters are replaced by spaces, and a
// value has at most 1,000 characters.
func (o *watchedOrder) environ() (env []string) {
	lo, hi := o.fiat()
	for _, v := range [][2]string{{"SIDE", o.Side}, {"FIAT", o.Fiat}, {"FIAT_MIN", lo}, {"FIAT_MAX", hi}, {"SATS", o.sats()}, {"PREMIUM", text(o.PremiumPct)},
		{"METHODS", strings.Join(o.Methods, ", ")}, {"PLATFORM", o.Platform}, {"INSTANCE", firstOf(o.Instance.Pubkey, o.Pubkey)}, {"INSTANCE_NAME", o.Instance.Name},
		{"D", o.D}, {"EVENT_ID", o.EventID}, {"LINK", text(o.TakeLink)}} {
		env = append(env, "ORDER_"+v[0]+"="+clip(v[1], 1000))
	}
	return env
}

// line returns an order as one line.
func (o *watchedOrder) line() string {
	lo, hi := o.fiat()
	amount := firstOf(lo, "-")
	if hi != lo {
		amount += "-" + hi
	}
	sats := firstOf(o.sats(), "-")
	if sats == "0" {
		sats = "market"
	}
	premium := "-"
	if o.PremiumPct != nil {
		premium = *o.PremiumPct + "%"
	}
	var fields []string
	for _, f := range []string{firstOf(o.Side, "-"), firstOf(o.Fiat, "-"), amount, sats, premium, clip(strings.Join(o.Methods, ", "), 60), clip(firstOf(o.Instance.Name, o.Platform), 24), clip(o.D, 64), o.Pubkey, firstOf(text(o.TakeLink), "-")} {
		fields = append(fields, clip(f, 2048))
	}
	return strings.Join(fields, "\t")
}
